//! Refusals as Docker words and numbers them.
//!
//! Owns the one table from (operation, reason) to a status; every other refusal gets the status
//! of its kind. It must not make up sentences that the controller already says.

#[cfg(test)]
mod tests;

use crate::body::{Body, json_response};
use hyper::{Response, StatusCode};
use serde::Serialize;
use vw_model::{Error, Kind};

/// A refusal on its way out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ApiError {
    /// The status.
    pub(crate) status: StatusCode,
    /// The sentence.
    pub(crate) message: String,
}

/// The body of every refusal.
#[derive(Serialize)]
struct Refusal<'a> {
    message: &'a str,
}

impl ApiError {
    /// A refusal with any status.
    pub(crate) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self {
            status,
            message: message.into(),
        }
    }

    /// 400: the request can never be carried out as it stands.
    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    /// 404 as the engine answers for a path that it does not know.
    pub(crate) fn page_not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "page not found")
    }

    /// 501: an engine that has none of it.
    pub(crate) fn not_implemented(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_IMPLEMENTED, message)
    }

    /// 501 for one option, by name: an option is accepted only when it has its effect.
    pub(crate) fn unsupported_option(name: &str, why: &str) -> Self {
        Self::not_implemented(format!("{name} is not supported by vethwork: {why}"))
    }

    /// 500: a defect of ours, such as a task that ended without an answer.
    pub(crate) fn internal(message: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, message)
    }

    /// The same refusal with words put before its sentence.
    pub(crate) fn led_by(mut self, lead: &str) -> Self {
        if !self.message.starts_with(lead) {
            self.message.insert_str(0, lead);
        }
        self
    }

    /// The answer to send. A 304 has no body.
    pub(crate) fn into_response(self) -> Response<Body> {
        if self.status == StatusCode::NOT_MODIFIED {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = self.status;
            return response;
        }
        json_response(
            self.status,
            &Refusal {
                message: &self.message,
            },
        )
    }

    /// What a refused command answers.
    pub(crate) fn of(operation: &str, error: &Error) -> Self {
        let rows = || ROWS.iter().filter(|row| row.reason == error.reason);
        let row = rows()
            .find(|row| row.operation == operation)
            .or_else(|| rows().find(|row| row.operation == ANY));
        let status = row.map_or_else(|| status_of(error.kind), |row| row.status);
        Self::new(status, error.chain())
    }
}

/// A refusal that the model words itself, such as a malformed name.
impl From<Error> for ApiError {
    fn from(error: Error) -> Self {
        Self::of(ANY, &error)
    }
}

/// Any operation.
const ANY: &str = "";

/// Where Docker's answer differs from what the kind of the refusal gives.
struct Row {
    operation: &'static str,
    reason: &'static str,
    status: StatusCode,
}

const fn row(operation: &'static str, reason: &'static str, status: StatusCode) -> Row {
    Row {
        operation,
        reason,
        status,
    }
}

const ROWS: &[Row] = &[
    // `ErrNoMoreSubnets` is an invalid parameter, `ErrNoAvailableIPs` unavailable.
    row(ANY, "pools-exhausted", StatusCode::BAD_REQUEST),
    row(ANY, "addresses-exhausted", StatusCode::SERVICE_UNAVAILABLE),
    // Errors of the port mapper carry no class, which makes them 500.
    row("service create", "port-allocated", StatusCode::CONFLICT),
    row("service update", "port-allocated", StatusCode::CONFLICT),
    row(ANY, "port-allocated", StatusCode::INTERNAL_SERVER_ERROR),
    row(ANY, "ports-exhausted", StatusCode::INTERNAL_SERVER_ERROR),
    row(
        ANY,
        "port-host-ip-foreign",
        StatusCode::INTERNAL_SERVER_ERROR,
    ),
    // Nor does the error of `DisconnectFromNetwork`.
    row(
        "network disconnect",
        "not-connected",
        StatusCode::INTERNAL_SERVER_ERROR,
    ),
    // Clients take a 404 of this operation for a missing image, and begin to pull it; moby
    // looks for these only at the start.
    row("create", "network-not-found", StatusCode::BAD_REQUEST),
    row("create", "container-not-found", StatusCode::BAD_REQUEST),
    row("create", "service-not-found", StatusCode::BAD_REQUEST),
];

/// The status of a kind (`httpstatus.FromError` in moby).
const fn status_of(kind: Kind) -> StatusCode {
    match kind {
        Kind::InvalidArgument => StatusCode::BAD_REQUEST,
        Kind::NotFound => StatusCode::NOT_FOUND,
        Kind::Conflict => StatusCode::CONFLICT,
        Kind::Forbidden => StatusCode::FORBIDDEN,
        Kind::NotModified => StatusCode::NOT_MODIFIED,
        Kind::Unsupported => StatusCode::NOT_IMPLEMENTED,
        Kind::Unavailable | Kind::Exhausted => StatusCode::SERVICE_UNAVAILABLE,
        Kind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// Several problems as moby's `multierror` lists them: one by itself, more as a bulleted list.
pub(crate) fn listed(problems: &[String]) -> String {
    match problems {
        [only] => only.clone(),
        many => many
            .iter()
            .map(|problem| format!("* {problem}"))
            .collect::<Vec<_>>()
            .join("\n"),
    }
}

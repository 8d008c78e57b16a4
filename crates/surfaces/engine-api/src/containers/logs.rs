//! `GET /containers/{name}/logs`.

use crate::{
    call::{Answer, Call},
    errors::ApiError,
    query::Query,
    streams::{self, Output},
    time,
};
use std::time::SystemTime;
use vw_controller::command::{ContainerLogs, LogOptions};

/// Answers it.
///
/// # Errors
/// The refusal to send.
pub(super) async fn answer(call: Call, name: &str) -> Answer {
    let options = options(&call.query)?;
    let (stdout, stderr) = (options.stdout, options.stderr);
    let attached = call
        .submit(ContainerLogs {
            container: name.to_owned(),
            options,
        })
        .await?;
    let wanted = Output {
        stdout,
        stderr,
        tty: attached.tty,
    };
    Ok(streams::body(attached, wanted, call.version))
}

/// Reads the query. `details` shows attributes that a log driver was told to add: there are none.
fn options(query: &Query) -> Result<LogOptions, ApiError> {
    let (stdout, stderr) = (query.truth("stdout"), query.truth("stderr"));
    if !stdout && !stderr {
        let message = "Bad parameters: you must choose at least one stream";
        return Err(ApiError::bad_request(message));
    }
    let now = SystemTime::now();
    let moment = |key: &str| match query.get(key) {
        "" | "0" => Ok(None),
        text => time::moment(text, now).map(Some),
    };
    Ok(LogOptions {
        follow: query.truth("follow"),
        stdout,
        stderr,
        since: moment("since")?,
        until: moment("until")?,
        // What is no number is all of it, as Docker takes it.
        tail: query.get("tail").parse().ok(),
        timestamps: query.truth("timestamps"),
    })
}

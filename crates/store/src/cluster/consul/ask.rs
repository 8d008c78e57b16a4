//! Asking Consul: one server after the other, with a token where there is one.
//!
//! Owns which answers are worth another server and which leave a change uncertain. It must not
//! know what is asked.

use super::{
    super::{
        ClusterError, Member, Outcome,
        http::{Client, Request, Response},
        options::Fresh,
        turns::{PATIENCE, Refusal},
    },
    STORE,
    codec::protocol,
};
use serde_json::Value;
use std::time::{Duration, Instant};

/// How much longer than another answer one with everything may take to begin.
const ALL: Duration = Duration::from_secs(20);

/// The servers, and who we are to them.
pub(super) struct Asker {
    client: Client,
    token: Fresh<Option<String>>,
}

/// What came.
pub(super) struct Answer {
    /// Null where nothing is.
    pub(super) body: Value,
    /// The place in Consul's history that it is of.
    pub(super) index: u64,
}

impl Asker {
    pub(super) fn new(client: Client, token: Fresh<Option<String>>) -> Self {
        Self { client, token }
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// The headers that say who we are.
    pub(super) fn headers(&self) -> Vec<(&'static str, String)> {
        let token = self.token.get().map(|token| ("X-Consul-Token", token));
        token.into_iter().collect()
    }

    /// Reads; nothing found is no error.
    pub(super) fn read(&self, target: &str) -> Result<Answer, ClusterError> {
        let headers = self.headers();
        let request = request("GET", target, &headers, b"");
        self.client.turns().ask(true, |server, deadline| {
            parse(&self.client.call(server, &request, deadline)?)
        })
    }

    /// Reads what may be much: no part of an answer is sent before all of it is there. So a server has
    /// longer for it, once it has shown by another read that it lives.
    pub(super) fn read_all(&self, little: &str, target: &str) -> Result<Answer, ClusterError> {
        let headers = self.headers();
        let [little, request] = [little, target].map(|at| request("GET", at, &headers, b""));
        self.client.turns().ask(true, |server, deadline| {
            parse(&self.client.call(server, &little, deadline)?)?;
            parse(&self.client.call(server, &request, deadline + ALL)?)
        })
    }

    /// Asks of a session what may be asked any number of times; null where there is none.
    pub(super) fn repeat(&self, target: &str, body: &Value) -> Result<Value, ClusterError> {
        let body = match body {
            Value::Null => String::new(),
            body => body.to_string(),
        };
        let headers = self.headers();
        let request = request("PUT", target, &headers, body.as_bytes());
        self.client.turns().ask(true, |server, deadline| {
            let response = self.client.call(server, &request, deadline)?;
            match response.status {
                404 => Ok(Value::Null),
                _ => parse(&response).map(|answer| answer.body),
            }
        })
    }

    /// Applies operations, those that check first, together or not at all.
    pub(super) fn commit(&self, operations: &[Value]) -> Result<Outcome, ClusterError> {
        self.transact(operations, false)
    }

    /// As [`Self::commit`], for operations that may be applied any number of times.
    pub(super) fn transact(
        &self,
        operations: &[Value],
        repeatable: bool,
    ) -> Result<Outcome, ClusterError> {
        let body = Value::from(operations).to_string();
        // What only checks is a read for Consul, which may otherwise be of an old leader.
        let headers = self.headers();
        let request = request("PUT", "/v1/txn?consistent", &headers, body.as_bytes());
        self.client.turns().ask(repeatable, |server, deadline| {
            let response = self.client.call(server, &request, deadline)?;
            if response.status == 404 {
                return Err(Refusal::Final(protocol(
                    "it has no transactions at /v1/txn",
                )));
            }
            if response.status != 409 {
                return parse(&response).map(|_| Outcome::Applied);
            }
            let answer: Value = serde_json::from_slice(&response.body)
                .map_err(|error| Refusal::Garbled(protocol(format!("no JSON: {error}"))))?;
            let errors = answer["Errors"].as_array().map_or(&[][..], Vec::as_slice);
            conflict(operations, errors).map_err(Refusal::Final)
        })
    }

    /// Asks one server and no other, with its errors in words.
    pub(super) fn read_only(
        &self,
        server: usize,
        target: &str,
        deadline: Instant,
    ) -> Result<Answer, String> {
        let headers = self.headers();
        let request = request("GET", target, &headers, b"");
        let response = self.client.call(server, &request, deadline);
        response
            .and_then(|response| parse(&response))
            .map_err(Refusal::said)
    }

    /// Each server's health.
    pub(super) fn members(&self) -> Vec<Member> {
        self.client.turns().members(|server| self.member(server))
    }

    fn member(&self, server: usize) -> Member {
        let start = Instant::now();
        let deadline = start + PATIENCE;
        let answer = self.read_only(server, "/v1/status/leader", deadline);
        let took = start.elapsed();
        let answer = answer.and_then(|answer| match answer.body.as_str() {
            Some("") | None => Err("it knows no leader".to_owned()),
            Some(_) => Ok(took),
        });
        // A token may not allow this; then the store does not tell.
        let agent = self
            .read_only(server, "/v1/agent/self", deadline)
            .map_or(Value::Null, |answer| answer.body);
        Member {
            address: self.client.turns().servers()[server].to_string(),
            answer,
            leader: agent["Stats"]["consul"]["leader"]
                .as_str()
                .map(|leads| leads == "true"),
            version: agent["Config"]["Version"].as_str().map(str::to_owned),
        }
    }
}

/// What a request of this target needs.
pub(super) fn request<'a>(
    method: &'static str,
    target: &'a str,
    headers: &'a [(&'static str, String)],
    body: &'a [u8],
) -> Request<'a> {
    Request {
        method,
        target,
        headers,
        body,
    }
}

/// What the errors of a transaction mean that was rolled back.
fn conflict(operations: &[Value], errors: &[Value]) -> Result<Outcome, ClusterError> {
    for error in errors {
        let what = error["What"].as_str().unwrap_or_default();
        if what.contains("Permission denied") {
            return Err(forbidden(what));
        }
        let at = error["OpIndex"].as_u64().and_then(|at| at.try_into().ok());
        let operation = at.and_then(|at: usize| operations.get(at));
        let verb = operation.and_then(|operation| operation["KV"]["Verb"].as_str());
        if !verb.is_some_and(|verb| verb.starts_with("check-")) {
            return Err(protocol(format!("a transaction failed: {what}")));
        }
    }
    Ok(Outcome::Refused)
}

/// The answer that a response is, or what it refuses.
///
/// Consul leaves out without a word what a token may not read (it says so since 1.11); and what is
/// between may have a 404 of its own, which comes from no place in Consul's history.
pub(super) fn parse(response: &Response) -> Result<Answer, Refusal> {
    let index = response
        .header("x-consul-index")
        .and_then(|index| index.parse().ok())
        .unwrap_or(0);
    let text = || String::from_utf8_lossy(&response.body).trim().to_owned();
    let filtered = response.header("x-consul-results-filtered-by-acls");
    if filtered.is_some_and(|filtered| filtered == "true") {
        return Err(Refusal::Garbled(forbidden(
            "the token may not read all records of the cluster",
        )));
    }
    match response.status {
        404 if index == 0 => Err(Refusal::Elsewhere(
            "HTTP status 404, and not from Consul".to_owned(),
        )),
        200 => {
            let body = serde_json::from_slice(&response.body)
                .map_err(|error| Refusal::Garbled(protocol(format!("no JSON: {error}"))))?;
            Ok(Answer { body, index })
        }
        404 => Ok(Answer {
            body: Value::Null,
            index,
        }),
        401 | 403 => Err(Refusal::Final(forbidden(&text()))),
        413 => Err(Refusal::Final(ClusterError::Unfit { reason: text() })),
        400 => Err(Refusal::Final(protocol(text()))),
        429 => Err(Refusal::Elsewhere(text())),
        status => {
            let said = text();
            let refused = ["No cluster leader", "node is not the leader", "not ready"];
            let reason = format!("HTTP status {status}: {said}");
            // These never reached the log of changes.
            Err(if refused.iter().any(|words| said.contains(words)) {
                Refusal::Elsewhere(reason)
            } else if said.contains("ACL not found") || said.contains("Permission denied") {
                Refusal::Final(forbidden(&said))
            } else {
                Refusal::Uncertain(reason)
            })
        }
    }
}

fn forbidden(said: &str) -> ClusterError {
    ClusterError::Forbidden {
        store: STORE,
        reason: said.to_owned(),
    }
}

//! Asking etcd: one server after the other, with a token where there is a user.
//!
//! Owns which errors are worth another server and which leave a change uncertain, by the
//! sentences of etcd's `api/v3rpc/rpctypes`. It must not know what is asked.

use super::{
    super::{
        ClusterError, Member,
        http::{Client, Request, Response},
        options::Fresh,
        turns::{PATIENCE, Refusal},
    },
    STORE,
    codec::protocol,
};
use serde_json::{Value, json};
use std::{
    sync::{Mutex, PoisonError},
    time::Instant,
};

/// The servers, and who we are to them.
pub(super) struct Asker {
    client: Client,
    user: Fresh<Option<(String, String)>>,
    token: Mutex<Option<Token>>,
}

/// What requests are to carry.
#[derive(Debug, Clone)]
enum Token {
    /// Nothing: the servers ask nobody who he is, as etcd's own clients take it.
    Needless,
    Given(String),
}

impl Asker {
    pub(super) fn new(client: Client, user: Fresh<Option<(String, String)>>) -> Self {
        Self {
            client,
            user,
            token: Mutex::new(None),
        }
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// Asks what may be asked any number of times.
    pub(super) fn read(&self, target: &str, body: &Value) -> Result<Value, ClusterError> {
        self.ask(target, body, true)
    }

    /// Asks for a change, which is sent to a second server only if the first cannot have made it.
    pub(super) fn write(&self, target: &str, body: &Value) -> Result<Value, ClusterError> {
        self.ask(target, body, false)
    }

    fn ask(&self, target: &str, body: &Value, repeatable: bool) -> Result<Value, ClusterError> {
        let body = body.to_string();
        self.client.turns().ask(repeatable, |server, deadline| {
            self.ask_server(server, target, &body, deadline)
        })
    }

    /// Asks one server and no other, with its errors in words.
    pub(super) fn ask_only(
        &self,
        server: usize,
        target: &str,
        body: &Value,
        deadline: Instant,
    ) -> Result<Value, String> {
        self.ask_server(server, target, &body.to_string(), deadline)
            .map_err(Refusal::said)
    }

    fn ask_server(
        &self,
        server: usize,
        target: &str,
        body: &str,
        deadline: Instant,
    ) -> Result<Value, Refusal> {
        let headers: Vec<_> = self.token(server, deadline)?.into_iter().collect();
        let response = self.send(server, target, &headers, body, deadline)?;
        let answer = parse(&response);
        match answer {
            Err(Refusal::Elsewhere(reason)) if is_old_token(&reason) => {
                self.forget_token();
                Err(Refusal::Elsewhere(reason))
            }
            // They ask since.
            Err(Refusal::Final(ClusterError::Forbidden { reason, .. }))
                if headers.is_empty() && reason.contains(NOBODY) && self.user.get().is_some() =>
            {
                self.forget_token();
                Err(Refusal::Elsewhere(reason))
            }
            answer => answer,
        }
    }

    fn send(
        &self,
        server: usize,
        target: &str,
        headers: &[(&'static str, String)],
        body: &str,
        deadline: Instant,
    ) -> Result<Response, Refusal> {
        let request = Request {
            method: "POST",
            target,
            headers,
            body: body.as_bytes(),
        };
        self.client.call(server, &request, deadline)
    }

    /// The header that says who we are.
    fn token(
        &self,
        server: usize,
        deadline: Instant,
    ) -> Result<Option<(&'static str, String)>, Refusal> {
        let known = self.known_token();
        let token = match known {
            Some(token) => token,
            None => {
                let Some((name, password)) = self.user.get() else {
                    return Ok(None);
                };
                let body = json!({"name": name, "password": password}).to_string();
                let answer = self.send(server, "/v3/auth/authenticate", &[], &body, deadline);
                // Nothing was asked yet that could have changed anything.
                let token = match answer.and_then(|response| parse(&response)) {
                    Ok(answer) => {
                        Token::Given(answer["token"].as_str().unwrap_or_default().to_owned())
                    }
                    Err(Refusal::Final(ClusterError::Forbidden { reason, .. }))
                        if reason.contains(OFF) =>
                    {
                        Token::Needless
                    }
                    Err(Refusal::Uncertain(reason)) => return Err(Refusal::Elsewhere(reason)),
                    Err(Refusal::Garbled(error)) => return Err(Refusal::Final(error)),
                    Err(other) => return Err(other),
                };
                *self.token.lock().unwrap_or_else(PoisonError::into_inner) = Some(token.clone());
                token
            }
        };
        Ok(match token {
            Token::Needless => None,
            Token::Given(token) => Some(("Authorization", token)),
        })
    }

    /// The header that says who we are, for a stream of the caller's own.
    pub(super) fn authorization(
        &self,
        server: usize,
        deadline: Instant,
    ) -> Result<Option<(&'static str, String)>, String> {
        self.token(server, deadline).map_err(Refusal::said)
    }

    fn known_token(&self) -> Option<Token> {
        let token = self.token.lock().unwrap_or_else(PoisonError::into_inner);
        token.clone()
    }

    pub(super) fn forget_token(&self) {
        *self.token.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Each server's health.
    pub(super) fn members(&self) -> Vec<Member> {
        self.client.turns().members(|server| self.member(server))
    }

    fn member(&self, server: usize) -> Member {
        let start = Instant::now();
        let answer = self.ask_only(
            server,
            "/v3/maintenance/status",
            &json!({}),
            start + PATIENCE,
        );
        let took = start.elapsed();
        let status = answer.as_ref().ok();
        Member {
            address: self.client.turns().servers()[server].to_string(),
            leader: status.map(|status| {
                let id = &status["header"]["member_id"];
                !id.is_null() && status["leader"] == *id
            }),
            version: status.and_then(|status| status["version"].as_str().map(str::to_owned)),
            answer: answer.map(|_| took),
        }
    }
}

fn parse(response: &Response) -> Result<Value, Refusal> {
    let body: Result<Value, _> = serde_json::from_slice(&response.body);
    match (response.status, body) {
        (200, Ok(mut body)) => match body["result"].take() {
            // What etcd has as a stream, of which we ask for one answer.
            Value::Null => Ok(body),
            result => Ok(result),
        },
        (200, Err(error)) => Err(Refusal::Garbled(protocol(format!("no JSON: {error}")))),
        (status, Ok(body)) => {
            let said = body["error"].as_str().or(body["message"].as_str());
            Err(classify(said.unwrap_or(&format!("HTTP status {status}"))))
        }
        (404, Err(_)) => Err(Refusal::Final(protocol(
            "it has no JSON gateway at /v3, as etcd has since 3.4".to_owned(),
        ))),
        // Something between that is no etcd.
        (status, Err(_)) => Err(Refusal::Uncertain(format!("HTTP status {status}"))),
    }
}

/// What etcd's sentence means.
fn classify(said: &str) -> Refusal {
    let has = |words: &[&str]| words.iter().any(|&word| said.contains(word));
    let reason = said.to_owned();
    if is_old_token(said) {
        Refusal::Elsewhere(reason)
    } else if has(&[
        "permission denied",
        NOBODY,
        "invalid user ID or password",
        OFF,
        "user name not found",
    ]) {
        Refusal::Final(ClusterError::Forbidden {
            store: STORE,
            reason,
        })
    } else if has(&["request is too large", "too many operations"]) {
        Refusal::Final(ClusterError::Unfit { reason })
    } else if has(&["requested lease not found"]) {
        Refusal::Final(ClusterError::Expired { store: STORE })
    } else if has(&["required revision "]) {
        // It was compacted, or is one that the store has lost.
        Refusal::Final(ClusterError::Lost {
            store: STORE,
            reason,
        })
    } else if has(&[
        // None of these reached the log of changes.
        "no leader",
        "too many requests",
        "database space exceeded",
        "not capable",
        "unhealthy cluster",
        "corrupt cluster",
    ]) {
        Refusal::Elsewhere(reason)
    } else {
        // Timeouts, a leader that changed, a server that stops, and what is not known here.
        Refusal::Uncertain(reason)
    }
}

/// Authentication is off.
const OFF: &str = "authentication is not enabled";
/// It is on, and the request does not say whose it is.
const NOBODY: &str = "user name is empty";

/// Whether a new token would do.
fn is_old_token(said: &str) -> bool {
    said.contains("invalid auth token") || said.contains("revision in header is old")
}

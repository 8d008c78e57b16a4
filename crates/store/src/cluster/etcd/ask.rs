//! Asking etcd: one server after the other, with a token where there is a user.
//!
//! Owns which errors are worth another server and which leave a change uncertain, by the
//! sentences of etcd's `api/v3rpc/rpctypes`. It must not know what is asked.

use super::{
    super::{
        ClusterError, Member,
        http::{Client, Failure, Request, Response},
    },
    STORE,
    codec::protocol,
};
use serde_json::{Value, json};
use std::{
    sync::{Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

/// How long one server may take to answer a read. It is more than an election takes.
const PATIENCE: Duration = Duration::from_secs(3);

/// How long one server may take to answer a change: etcd itself gives up after 7 s, and no other
/// may be asked meanwhile.
const LONG_PATIENCE: Duration = Duration::from_secs(8);

/// How long all servers together may take.
const LIMIT: Duration = Duration::from_secs(10);

/// How long it waits after all servers were asked, before it asks them once more.
const PAUSE: Duration = Duration::from_millis(100);

/// What a refusal of etcd's means for us.
enum Refusal {
    /// This server cannot now; nothing was changed.
    Elsewhere(String),
    /// It may have been changed.
    Uncertain(String),
    /// The token is old.
    Token,
    /// Nothing that another server or time would mend.
    Final(ClusterError),
}

/// The servers, and who we are to them.
pub(super) struct Asker {
    client: Client,
    user: Option<(String, String)>,
    token: Mutex<Option<String>>,
}

impl Asker {
    pub(super) fn new(client: Client, user: Option<(String, String)>) -> Self {
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
        let end = Instant::now() + LIMIT;
        let patience = if repeatable { PATIENCE } else { LONG_PATIENCE };
        let body = body.to_string();
        let servers = self.client.servers().len();
        let mut complaints: Vec<String> = Vec::new();
        let mut renewed = false;
        for attempt in 1.. {
            let server = self.client.preferred();
            let deadline = end.min(Instant::now() + patience);
            let refusal = match self.ask_server(server, target, &body, deadline) {
                Ok(answer) => return Ok(answer),
                Err(refusal) => refusal,
            };
            let reason = match refusal {
                Refusal::Final(error) => return Err(error),
                Refusal::Token if !renewed => {
                    renewed = true;
                    self.forget_token();
                    continue;
                }
                Refusal::Token => "the token is refused".to_owned(),
                Refusal::Uncertain(reason) if !repeatable => {
                    self.client.avoid(server);
                    let reason = self.told(server, &reason);
                    return Err(ClusterError::Uncertain {
                        store: STORE,
                        reason,
                    });
                }
                Refusal::Elsewhere(reason) | Refusal::Uncertain(reason) => reason,
            };
            self.client.avoid(server);
            let complaint = self.told(server, &reason);
            if !complaints.contains(&complaint) {
                complaints.push(complaint);
            }
            if Instant::now() >= end || attempt >= 2 * servers {
                break;
            }
            if attempt % servers == 0 {
                // An election or a restart: there is no event to wait for.
                thread::sleep(PAUSE);
            }
        }
        Err(ClusterError::Unavailable {
            store: STORE,
            reason: complaints.join("; "),
        })
    }

    fn told(&self, server: usize, reason: &str) -> String {
        format!("{}: {reason}", self.client.servers()[server])
    }

    /// Asks one server and no other, with its errors in words.
    pub(super) fn ask_only(
        &self,
        server: usize,
        target: &str,
        body: &Value,
        deadline: Instant,
    ) -> Result<Value, String> {
        match self.ask_server(server, target, &body.to_string(), deadline) {
            Ok(answer) => Ok(answer),
            Err(Refusal::Elsewhere(reason) | Refusal::Uncertain(reason)) => Err(reason),
            Err(Refusal::Token) => {
                self.forget_token();
                Err("the token is refused".to_owned())
            }
            Err(Refusal::Final(error)) => Err(error.to_string()),
        }
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
        parse(&response)
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
        self.client
            .call(server, &request, deadline)
            .map_err(|failure| match failure {
                Failure::Unsent(error) => Refusal::Elsewhere(error.to_string()),
                Failure::Unanswered(error) => Refusal::Uncertain(error.to_string()),
            })
    }

    /// The header that says who we are.
    fn token(
        &self,
        server: usize,
        deadline: Instant,
    ) -> Result<Option<(&'static str, String)>, Refusal> {
        let Some((name, password)) = &self.user else {
            return Ok(None);
        };
        let known = self.known_token();
        let token = match known {
            Some(token) => token,
            None => {
                let body = json!({"name": name, "password": password}).to_string();
                let answer = self.send(server, "/v3/auth/authenticate", &[], &body, deadline);
                // Nothing was asked yet that could have changed anything.
                let answer = answer.and_then(|response| parse(&response));
                let answer = answer.map_err(|refusal| match refusal {
                    Refusal::Uncertain(reason) => Refusal::Elsewhere(reason),
                    other => other,
                })?;
                let token = answer["token"].as_str().unwrap_or_default().to_owned();
                *self.token.lock().unwrap_or_else(PoisonError::into_inner) = Some(token.clone());
                token
            }
        };
        Ok(Some(("Authorization", token)))
    }

    /// The header that says who we are, for a stream of the caller's own.
    pub(super) fn authorization(
        &self,
        server: usize,
        deadline: Instant,
    ) -> Result<Option<(&'static str, String)>, String> {
        self.token(server, deadline)
            .map_err(|refusal| match refusal {
                Refusal::Elsewhere(reason) | Refusal::Uncertain(reason) => reason,
                Refusal::Token => "the token is refused".to_owned(),
                Refusal::Final(error) => error.to_string(),
            })
    }

    fn known_token(&self) -> Option<String> {
        let token = self.token.lock().unwrap_or_else(PoisonError::into_inner);
        token.clone()
    }

    pub(super) fn forget_token(&self) {
        *self.token.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Each server's health, all asked at once.
    pub(super) fn members(&self) -> Vec<Member> {
        thread::scope(|scope| {
            let asked: Vec<_> = (0..self.client.servers().len())
                .map(|server| scope.spawn(move || self.member(server)))
                .collect();
            asked
                .into_iter()
                .map(|thread| thread.join().expect("asking does not panic"))
                .collect()
        })
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
            address: self.client.servers()[server].to_string(),
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
        (200, Err(error)) => Err(Refusal::Final(protocol(format!("no JSON: {error}")))),
        (status, Ok(body)) => {
            let said = body["error"].as_str().or(body["message"].as_str());
            Err(classify(said.unwrap_or(&format!("HTTP status {status}"))))
        }
        // Something between that is no etcd.
        (status, Err(_)) => Err(Refusal::Uncertain(format!("HTTP status {status}"))),
    }
}

/// What etcd's sentence means.
fn classify(said: &str) -> Refusal {
    let has = |words: &[&str]| words.iter().any(|&word| said.contains(word));
    let reason = said.to_owned();
    if has(&["invalid auth token", "revision in header is old"]) {
        Refusal::Token
    } else if has(&[
        "permission denied",
        "user name is empty",
        "invalid user ID or password",
        "authentication is not enabled",
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

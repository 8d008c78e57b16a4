//! `POST /containers/{name}/exec` and `/exec`.

use super::config::Words;
use crate::{
    body::{empty_response, json_response},
    call::{Answer, Call},
    errors::ApiError,
    json::go_struct,
    streams::{self, Channel, DetachKeys, Output},
    version::ApiVersion,
};
use hyper::{Method, StatusCode};
use serde::Serialize;
use std::sync::mpsc;
use vw_controller::{
    command::{Attached, Chunk, ExecCreate, ExecInspect, ExecRequest, ExecResize, ExecStart},
    view::ExecView,
};

go_struct! {
    /// What is to run.
    CreateRequest {
        user: String,
        privileged: bool,
        tty: bool,
        console_size: Option<(u16, u16)>,
        attach_stdin: bool,
        attach_stderr: bool,
        attach_stdout: bool,
        detach_keys: String,
        env: Vec<String>,
        working_dir: String,
        cmd: Option<Words>,
    }

    /// How it is started.
    StartRequest {
        detach: bool,
        tty: bool,
        console_size: Option<(u16, u16)>,
    }
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct CreateResponse {
    id: String,
}

/// How it stands (moby's `container.ExecInspectResponse`).
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct InspectResponse {
    #[serde(rename = "ID")]
    id: String,
    running: bool,
    exit_code: Option<i32>,
    process_config: ProcessConfig,
    open_stdin: bool,
    open_stderr: bool,
    open_stdout: bool,
    can_remove: bool,
    #[serde(rename = "ContainerID")]
    container_id: String,
    detach_keys: &'static str,
    pid: u32,
}

#[derive(Serialize)]
struct ProcessConfig {
    tty: bool,
    entrypoint: String,
    arguments: Vec<String>,
    privileged: bool,
    #[serde(skip_serializing_if = "String::is_empty")]
    user: String,
}

/// Answers a path below `/exec`.
///
/// # Errors
/// The refusal to send.
pub(crate) async fn route(call: Call, path: &[&str]) -> Answer {
    match (&call.method, path) {
        (&Method::GET, [id, "json"]) => {
            let view = call
                .submit(ExecInspect {
                    exec: (*id).to_owned(),
                })
                .await?;
            Ok(json_response(StatusCode::OK, &rendered(view)))
        }
        (&Method::POST, [id, "start"]) => start(call, (*id).to_owned()).await,
        (&Method::POST, [id, "resize"]) => {
            let (height, width) = call.query.terminal_size()?;
            call.submit(ExecResize {
                exec: (*id).to_owned(),
                height,
                width,
            })
            .await?;
            Ok(empty_response(StatusCode::OK))
        }
        _ => Err(ApiError::page_not_found()),
    }
}

/// `POST /containers/{name}/exec`.
///
/// # Errors
/// The refusal to send.
pub(super) async fn create(call: Call, container: String) -> Answer {
    let (call, request) = call.into_json::<CreateRequest>().await?;
    let cmd = request.cmd.unwrap_or_default().0;
    if cmd.is_empty() {
        return Err(ApiError::bad_request("No exec command specified"));
    }
    DetachKeys::parse(&request.detach_keys)?;
    let exec = ExecRequest {
        cmd,
        env: request.env,
        user: request.user,
        working_dir: request.working_dir,
        tty: request.tty,
        stdin: request.attach_stdin,
        stdout: request.attach_stdout,
        stderr: request.attach_stderr,
        privileged: request.privileged,
    };
    let id = call.app.submit(ExecCreate { container, exec }).await?;
    Ok(json_response(StatusCode::CREATED, &CreateResponse { id }))
}

/// Starts it, and stays attached unless told to leave.
///
/// A command that cannot be run is told inside the stream, as Docker does: its clients then ask
/// for the exit code, 126 or 127. Every other refusal is an answer of its own.
async fn start(call: Call, exec: String) -> Answer {
    let (call, request) = call.into_json::<StartRequest>().await?;
    let view = call.app.submit(ExecInspect { exec: exec.clone() }).await?;
    let tty = view.request.tty;
    let size = request
        .console_size
        .filter(|_| tty && call.version >= ApiVersion::v1(42));
    let command = ExecStart {
        exec,
        detach: request.detach,
        size,
    };
    let started = call.app.submit(command).await;
    if request.detach {
        started?;
        return Ok(empty_response(StatusCode::OK));
    }
    let wanted = Output {
        stdout: view.request.stdout,
        stderr: view.request.stderr,
        tty,
    };
    let attached = match started {
        Ok(Some(attached)) => attached,
        Ok(None) => ended(tty, None),
        Err(error) if error.status == StatusCode::BAD_REQUEST => ended(tty, Some(error.message)),
        Err(error) => return Err(error),
    };
    let keys = if tty {
        Some(DetachKeys::parse("")?)
    } else {
        None
    };
    let channel = Channel::of(call.upgrade, None);
    Ok(streams::take_over(
        channel,
        attached,
        wanted,
        keys,
        call.version,
    ))
}

/// A stream that says one thing at most.
fn ended(tty: bool, message: Option<String>) -> Attached {
    let (sender, output) = mpsc::channel();
    if let Some(message) = message {
        let bytes = format!("{message}\r\n").into_bytes();
        // The receiver is right here: this cannot fail.
        let _ = sender.send(Ok(Chunk {
            stderr: false,
            bytes,
        }));
    }
    Attached {
        tty,
        output,
        input: None,
    }
}

fn rendered(view: ExecView) -> InspectResponse {
    let request = view.request;
    let mut words = request.cmd.into_iter();
    InspectResponse {
        id: view.id,
        running: view.running,
        exit_code: view.exit_code,
        process_config: ProcessConfig {
            tty: request.tty,
            entrypoint: words.next().unwrap_or_default(),
            arguments: words.collect(),
            privileged: request.privileged,
            user: request.user,
        },
        open_stdin: request.stdin,
        open_stderr: request.stderr,
        open_stdout: request.stdout,
        can_remove: !view.running && view.exit_code.is_some(),
        container_id: view.container.to_string(),
        detach_keys: "",
        pid: view.pid,
    }
}

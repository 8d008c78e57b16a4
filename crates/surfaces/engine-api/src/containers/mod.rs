//! `/containers` and `/exec`.

mod attach;
mod config;
mod create;
mod exec;
mod inspect;
mod list;
mod logs;
mod mounts;
mod network_mode;
mod ports;
mod refuse;
mod sandbox;
mod state;
mod summary;
mod sysctls;

pub(crate) use config::{PortBindings, Set};
pub(crate) use create::container_name;
pub(crate) use exec::route as route_exec;
pub(crate) use ports::{exposed as exposed_ports, requests as port_requests};
pub(crate) use sandbox::{dns, extra_hosts};

use crate::{
    absent::without,
    body::{Body, empty_response, json_response, typed_response},
    call::{Answer, Call},
    errors::ApiError,
    networks::until,
    version::ApiVersion,
};
use hyper::{Method, StatusCode, body::Bytes};
use serde::Serialize;
use std::time::SystemTime;
use tokio::sync::mpsc;
use vw_controller::{
    command::{
        ContainerInspect, ContainerKill, ContainerList, ContainerRemove, ContainerRename,
        ContainerResize, ContainerRestart, ContainerStart, ContainerStop, ContainerWait,
        WaitCondition,
    },
    view::WaitView,
};

/// Answers a path below `/containers`.
///
/// # Errors
/// The refusal to send.
pub(crate) async fn route(call: Call, path: &[&str]) -> Answer {
    match (&call.method, path) {
        (&Method::GET, ["json"]) => list(call).await,
        (&Method::POST, ["create"]) => create(call).await,
        (&Method::POST, ["prune"]) => prune(call).await,
        (&Method::DELETE, [name]) => remove(call, name).await,
        (&Method::GET, [name, "json"]) => inspect(call, name).await,
        (&Method::GET, [name, "logs"]) => logs::answer(call, name).await,
        (&Method::POST, [name, action]) => act(call, name, action).await,
        (&Method::GET, [_, "attach", "ws"]) => Err(without("attaching by WebSocket")),
        (&Method::GET, [_, "top"]) => Err(without("process lists: use `exec NAME ps`")),
        (&Method::GET, [_, "stats"]) => Err(without("resource statistics")),
        (&Method::GET, [_, "changes" | "export"]) => {
            Err(without("view of a container's file system"))
        }
        (&Method::GET | &Method::HEAD | &Method::PUT, [_, "archive"]) => Err(without(
            "copying into and out of containers: bind a folder, or use exec and tar",
        )),
        _ => Err(ApiError::page_not_found()),
    }
}

/// `POST /containers/{name}/{action}`.
async fn act(call: Call, name: &str, action: &str) -> Answer {
    let container = name.to_owned();
    match action {
        "start" => {
            call.submit(ContainerStart { container }).await?;
        }
        "stop" => {
            let (timeout, signal) = stop_options(&call)?;
            call.submit(ContainerStop {
                container,
                timeout,
                signal,
            })
            .await?;
        }
        "restart" => {
            let (timeout, signal) = stop_options(&call)?;
            call.submit(ContainerRestart {
                container,
                timeout,
                signal,
            })
            .await?;
        }
        "kill" => {
            let signal = call.query.get("signal").to_owned();
            let lead = format!("cannot kill container: {name}: ");
            let killed = call.submit(ContainerKill { container, signal }).await;
            killed.map_err(|error| error.led_by(&lead))?;
        }
        "rename" => return rename(call, container).await,
        "resize" => {
            let (height, width) = call.query.terminal_size()?;
            call.submit(ContainerResize {
                container,
                height,
                width,
            })
            .await?;
            return Ok(empty_response(StatusCode::OK));
        }
        "wait" => return wait(call, container).await,
        "attach" => return attach::answer(call, container).await,
        "exec" => return exec::create(call, container).await,
        "pause" | "unpause" => return Err(without("pausing of containers: stop it")),
        "update" => return Err(without("changing of limits: create the container anew")),
        _ => return Err(ApiError::page_not_found()),
    }
    Ok(empty_response(StatusCode::NO_CONTENT))
}

/// `t`, and from API 1.42 on `signal`.
fn stop_options(call: &Call) -> Result<(Option<i64>, Option<String>), ApiError> {
    let signal = call
        .query
        .given("signal")
        .filter(|_| call.version >= ApiVersion::v1(42));
    Ok((call.query.integer("t")?, signal.map(str::to_owned)))
}

async fn list(call: Call) -> Answer {
    let request = list::ListRequest::parse(&call.query)?;
    let views = call.submit(ContainerList).await?;
    let now = SystemTime::now();
    let lines: Vec<_> = request
        .select(&views)?
        .into_iter()
        .map(|view| summary::summary(view, now))
        .collect();
    Ok(json_response(StatusCode::OK, &lines))
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct CreateResponse {
    id: String,
    warnings: Vec<String>,
}

async fn create(call: Call) -> Answer {
    let (call, request) = call.into_json::<config::CreateRequest>().await?;
    if call.version >= ApiVersion::v1(41) {
        crate::images::check_platform(call.query.get("platform"))?;
    }
    let (command, more) = create::command(call.query.get("name"), request, call.version)?;
    let mut created = call.app.submit(command).await?;
    created.warnings.extend(more);
    let response = CreateResponse {
        id: created.id,
        warnings: created.warnings,
    };
    Ok(json_response(StatusCode::CREATED, &response))
}

async fn inspect(call: Call, name: &str) -> Answer {
    let view = call
        .submit(ContainerInspect {
            container: name.to_owned(),
        })
        .await?;
    Ok(json_response(
        StatusCode::OK,
        &inspect::inspect(&view, call.version),
    ))
}

/// `v` asks for anonymous volumes to go too: there are none.
async fn remove(call: Call, name: &str) -> Answer {
    let (force, link) = (call.query.truth("force"), call.query.truth("link"));
    call.submit(ContainerRemove {
        container: name.to_owned(),
        force,
        link,
    })
    .await?;
    Ok(empty_response(StatusCode::NO_CONTENT))
}

async fn rename(call: Call, container: String) -> Answer {
    let name = container_name(call.query.get("name"))?;
    let name =
        name.ok_or_else(|| ApiError::bad_request("Neither old nor new names may be empty"))?;
    call.submit(ContainerRename { container, name }).await?;
    Ok(empty_response(StatusCode::NO_CONTENT))
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct PruneReport {
    containers_deleted: Option<Vec<String>>,
    space_reclaimed: u64,
}

/// Removes those that do not run, one by one: what starts meanwhile is refused and stays.
async fn prune(call: Call) -> Answer {
    let filters = call
        .query
        .filters()?
        .accept(&["label", "label!", "until"])?;
    let until = until(&filters)?;
    let views = call.submit(ContainerList).await?;
    let mut deleted = Vec::new();
    for view in &views {
        let labels = &view.sandbox.labels;
        let kept = view.container.is_none()
            || state::is_alive(&view.state.status)
            || until.is_some_and(|until| view.sandbox.created >= until)
            || !filters.labels("label", labels)
            || !filters.no_labels("label!", labels);
        if kept {
            continue;
        }
        let container = view.sandbox.id.to_string();
        let command = ContainerRemove {
            container: container.clone(),
            force: false,
            link: false,
        };
        match call.submit(command).await {
            Ok(()) => deleted.push(container),
            Err(error) => tracing::warn!(container, error.message, "not pruned"),
        }
    }
    let containers_deleted = Some(deleted).filter(|deleted| !deleted.is_empty());
    Ok(json_response(
        StatusCode::OK,
        &PruneReport {
            containers_deleted,
            space_reclaimed: 0,
        },
    ))
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct WaitResponse {
    status_code: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<WaitError>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct WaitError {
    message: String,
}

/// Answers its head at once, so that clients know that the wait is in place before they start
/// the container, and its body when the condition holds.
async fn wait(call: Call, container: String) -> Answer {
    let condition = match call.query.get("condition") {
        "" | "not-running" => WaitCondition::NotRunning,
        "next-exit" => WaitCondition::NextExit,
        "removed" => WaitCondition::Removed,
        other => {
            return Err(ApiError::bad_request(format!(
                "invalid condition: {other:?}"
            )));
        }
    };
    let ended = call
        .submit(ContainerWait {
            container,
            condition,
        })
        .await?;
    let (sender, receiver) = mpsc::channel(1);
    crate::streams::forward("wait", ended, sender, |view| view.map(wait_body));
    Ok(typed_response(
        StatusCode::OK,
        "application/json",
        Body::Stream(receiver),
    ))
}

fn wait_body(view: WaitView) -> Bytes {
    let error = Some(view.error).filter(|text| !text.is_empty());
    let response = WaitResponse {
        status_code: view.code,
        error: error.map(|message| WaitError { message }),
    };
    let mut text = serde_json::to_vec(&response).unwrap_or_default();
    text.push(b'\n');
    text.into()
}

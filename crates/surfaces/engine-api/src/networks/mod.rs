//! `/networks`, as Docker's engine answers it.

mod filter;
mod parse;
pub(crate) use parse::until;
mod render;

#[cfg(test)]
mod tests;

use crate::{
    body::{empty_response, json_response},
    call::{Answer, Call},
    errors::ApiError,
};
use filter::NetworkFilter;
use hyper::{Method, StatusCode};
use parse::{ConnectRequest, CreateRequest, DisconnectRequest};
use vw_controller::command::{Disconnect, NetworkInspect, NetworkList, NetworkRemove};

/// Answers a path below `/networks`. A network's name may hold slashes.
///
/// # Errors
/// The refusal to send.
pub(crate) async fn route(call: Call, path: &[&str]) -> Answer {
    match (&call.method, path) {
        (&Method::GET, [] | [""]) => list(call).await,
        (&Method::POST, ["create"]) => create(call).await,
        (&Method::POST, ["prune"]) => prune(call).await,
        (&Method::POST, [name @ .., "connect"]) if !name.is_empty() => {
            connect(call, name.join("/")).await
        }
        (&Method::POST, [name @ .., "disconnect"]) if !name.is_empty() => {
            disconnect(call, name.join("/")).await
        }
        (&Method::GET, name) => inspect(call, name.join("/")).await,
        (&Method::DELETE, name) => {
            call.submit(NetworkRemove {
                network: name.join("/"),
            })
            .await?;
            Ok(empty_response(StatusCode::NO_CONTENT))
        }
        _ => Err(ApiError::page_not_found()),
    }
}

async fn list(call: Call) -> Answer {
    let filter = NetworkFilter::parse(call.query.filters()?)?;
    let networks = call.submit(NetworkList).await?;
    let resources: Vec<_> = networks
        .iter()
        .filter(|network| filter.keeps(network))
        .map(render::summary)
        .collect();
    Ok(json_response(StatusCode::OK, &resources))
}

async fn inspect(call: Call, network: String) -> Answer {
    if let Some(text) = call.query.given("verbose") {
        // Services are all that `verbose` adds, and there are none; the value is checked alone.
        parse::go_bool(text).map_err(|error| {
            ApiError::bad_request(format!("invalid value for verbose: {text}: {error}"))
        })?;
    }
    let missing = || {
        let message = format!("network {network} not found");
        ApiError::new(StatusCode::NOT_FOUND, message)
    };
    let scope = call.query.get("scope").to_owned();
    let view = call
        .submit(NetworkInspect {
            network: network.clone(),
        })
        .await?;
    if !scope.is_empty() && scope != render::scope(view.spec.scope) {
        return Err(missing());
    }
    Ok(json_response(StatusCode::OK, &render::resource(&view)))
}

async fn create(call: Call) -> Answer {
    let (call, request) = call.into_json::<CreateRequest>().await?;
    let command = request.into_command(call.version)?;
    let created = call.app.submit(command).await?;
    Ok(json_response(
        StatusCode::CREATED,
        &render::created(&created),
    ))
}

async fn connect(call: Call, network: String) -> Answer {
    let (call, request) = call.into_json::<ConnectRequest>().await?;
    call.app
        .submit(request.into_command(network, call.version)?)
        .await?;
    Ok(empty_response(StatusCode::OK))
}

async fn disconnect(call: Call, network: String) -> Answer {
    let (call, request) = call.into_json::<DisconnectRequest>().await?;
    let DisconnectRequest { container, force } = request;
    call.app
        .submit(Disconnect {
            network,
            sandbox: container,
            force,
        })
        .await?;
    Ok(empty_response(StatusCode::OK))
}

async fn prune(call: Call) -> Answer {
    let command = parse::prune(call.query.filters()?)?;
    let pruned = call.submit(command).await?;
    Ok(json_response(StatusCode::OK, &render::pruned(&pruned)))
}

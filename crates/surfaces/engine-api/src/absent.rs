//! Everything of the Engine API that vethwork has none of: volumes, plugins, swarm, builds.
//!
//! Answers as an engine that has none: empty lists, 503 for swarm, and 501 with a sentence for
//! what would change something.

use crate::{
    body::{Body, typed_response},
    call::Answer,
    errors::ApiError,
};
use hyper::{Method, StatusCode};

const NOT_A_MANAGER: &str = "This node is not a swarm manager. Use \"docker swarm init\" or \
     \"docker swarm join\" to connect this node to swarm and try again.";

/// Answers paths that no other part knows.
///
/// # Errors
/// The refusal: most of them are.
pub(crate) fn route(method: &Method, segments: &[&str]) -> Answer {
    match (method, segments) {
        (&Method::GET, ["volumes"]) => fixed("{\"Volumes\":[],\"Warnings\":null}\n"),
        (&Method::GET | &Method::DELETE, ["volumes", name @ ..]) if !name.is_empty() => {
            Err(ApiError::new(
                StatusCode::NOT_FOUND,
                format!("get {}: no such volume", name.join("/")),
            ))
        }
        (&Method::POST, ["volumes", "prune"]) => {
            fixed("{\"VolumesDeleted\":[],\"SpaceReclaimed\":0}\n")
        }
        (&Method::GET, ["plugins"]) => fixed("[]\n"),
        // `docker inspect` asks for everything by a name, plugins last.
        (&Method::GET, ["plugins", name @ .., "json"]) if !name.is_empty() => Err(ApiError::new(
            StatusCode::NOT_FOUND,
            format!("plugin \"{}\" not found", name.join("/")),
        )),
        (&Method::POST, ["build", "prune"]) => {
            fixed("{\"CachesDeleted\":null,\"SpaceReclaimed\":0}\n")
        }
        (&Method::POST, ["swarm", "init" | "join"]) => Err(without("swarm mode")),
        (&Method::POST, ["swarm", "leave"]) => Err(unavailable("This node is not part of a swarm")),
        (
            _,
            [
                "swarm" | "services" | "nodes" | "tasks" | "secrets" | "configs",
                ..,
            ],
        ) => Err(unavailable(NOT_A_MANAGER)),
        (_, ["volumes", ..]) => Err(without("volumes: mount a folder with --mount type=bind")),
        (_, ["plugins", ..]) => Err(without("managed plugins")),
        (_, ["build", ..] | ["session"] | ["grpc"]) => Err(without(
            "builds: build with another tool and use `vethwork load`",
        )),
        (_, ["commit"]) => Err(without("committing containers")),
        (_, ["distribution", ..]) => Err(without("registry client")),
        _ => Err(ApiError::page_not_found()),
    }
}

/// 501 for a whole part.
pub(crate) fn without(what: &str) -> ApiError {
    ApiError::not_implemented(format!("not implemented: vethwork has no {what}"))
}

fn unavailable(message: &str) -> ApiError {
    ApiError::new(StatusCode::SERVICE_UNAVAILABLE, message)
}

fn fixed(document: &'static str) -> Answer {
    Ok(typed_response(
        StatusCode::OK,
        "application/json",
        Body::whole(document),
    ))
}

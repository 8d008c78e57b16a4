//! Which part answers which path.
//!
//! Paths come decoded and without their version. Each part matches the rest of its paths in a
//! table of its own.

use crate::{
    absent,
    call::{Answer, Call},
    containers, events, images, networks, system, vethwork,
};

/// Answers one request.
///
/// # Errors
/// The refusal to send; 404 `page not found` for a path or method that no engine knows.
pub(crate) async fn route(call: Call, path: &str) -> Answer {
    let segments: Vec<&str> = path.split('/').collect();
    match segments.as_slice() {
        ["networks", rest @ ..] => networks::route(call, rest).await,
        ["containers", rest @ ..] => containers::route(call, rest).await,
        ["exec", rest @ ..] => containers::route_exec(call, rest).await,
        ["images", rest @ ..] => images::route(call, rest).await,
        ["events"] => events::route(call),
        ["_ping" | "version" | "info" | "auth"] | ["system", "df"] => {
            system::route(call, &segments).await
        }
        ["vethwork", rest @ ..] => vethwork::route(call, rest).await,
        _ => absent::route(&call.method, &segments),
    }
}

//! Commands about containers: Docker's grammar for running them and looking at them.

pub(crate) mod attach;
pub(crate) mod exec;
pub(crate) mod lifecycle;
pub(crate) mod list;
pub(crate) mod logs;
pub(crate) mod port;
pub(crate) mod run;
pub(crate) mod spec;
pub(crate) mod start;

use crate::client::{Client, Error, Request};
use serde::Deserialize;

/// What the client needs to know of a container.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Details {
    id: String,
    state: State,
    config: Config,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct State {
    running: bool,
    paused: bool,
    restarting: bool,
    exit_code: i64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Config {
    tty: bool,
    open_stdin: bool,
}

async fn details(client: &Client, container: &str) -> Result<Details, Error> {
    client
        .json(Request::get(&["containers", container, "json"]))
        .await
}

//! `exec`.

use super::{
    attach::{check_terminal, ended, exit_status},
    spec::environment,
};
use crate::{
    cli::{Context, Done, Failure, endpoint::put},
    client::{self, DetachKeys, Ended, Request, ResizeTarget, Session, follow_size},
};
use clap::Args;
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// `exec`.
#[derive(Debug, Args)]
pub(crate) struct Exec {
    /// Detached mode: run command in the background
    #[arg(short, long)]
    detach: bool,
    /// Override the key sequence for detaching a container
    #[arg(long, value_name = "KEYS", default_value = DetachKeys::DEFAULT)]
    detach_keys: DetachKeys,
    /// Set environment variables
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    env: Vec<String>,
    /// Keep STDIN open even if not attached
    #[arg(short, long)]
    interactive: bool,
    /// Give extended privileges to the command
    #[arg(long)]
    privileged: bool,
    /// Allocate a pseudo-TTY
    #[arg(short, long)]
    tty: bool,
    /// Username or UID (format: "<name|uid>[:<group|gid>]")
    #[arg(
        short,
        long,
        value_name = "USER",
        default_value = "",
        hide_default_value = true
    )]
    user: String,
    /// Working directory inside the container
    #[arg(
        short,
        long,
        value_name = "DIR",
        default_value = "",
        hide_default_value = true
    )]
    workdir: String,
    /// The container, and what runs in it
    #[arg(required = true, num_args = 2.., trailing_var_arg = true,
          value_names = ["CONTAINER", "COMMAND"])]
    container_and_command: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Created {
    id: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Inspected {
    exit_code: Option<i64>,
}

impl Exec {
    /// The body of `POST /containers/{id}/exec`.
    fn body(&self, command: &[String]) -> Result<Value, String> {
        let mut body = Map::new();
        put(&mut body, "User", self.user.clone());
        put(&mut body, "Privileged", self.privileged);
        put(&mut body, "Tty", self.tty);
        put(&mut body, "AttachStdin", self.interactive && !self.detach);
        put(&mut body, "AttachStdout", !self.detach);
        put(&mut body, "AttachStderr", !self.detach);
        put(&mut body, "Detach", self.detach);
        put(&mut body, "DetachKeys", self.detach_keys.custom());
        put(&mut body, "Env", environment(self.env.iter().cloned())?);
        put(&mut body, "WorkingDir", self.workdir.clone());
        put(&mut body, "Cmd", command.to_vec());
        self.add_size(&mut body);
        Ok(body.into())
    }

    fn add_size(&self, body: &mut Map<String, Value>) {
        if let Some((rows, columns)) = client::terminal_size().filter(|_| self.tty) {
            body.insert("ConsoleSize".to_owned(), json!([rows, columns]));
        }
    }

    /// Runs a command in a container.
    ///
    /// # Errors
    /// As the daemon refuses; [`Failure::Status`] with what the command returned.
    pub(crate) async fn run(self, context: &Context) -> Done {
        let [container, command @ ..] = self.container_and_command.as_slice() else {
            return Err(Failure::refused("exec needs a container and a command"));
        };
        let client = &context.client;
        check_terminal(self.tty && self.interactive && !self.detach)?;
        let body = self.body(command).map_err(Failure::Refused)?;
        let request = Request::post(&["containers", container, "exec"]).body(&body);
        let id = client.json::<Created>(request).await?.id;
        let mut how = Map::new();
        put(&mut how, "Detach", self.detach);
        put(&mut how, "Tty", self.tty);
        self.add_size(&mut how);
        let start = Request::post(&["exec", &id, "start"]).body(&how.into());
        if self.detach {
            return Ok(client.run(start).await?);
        }
        let connection = client.hijack(start).await?;
        if self.tty {
            tokio::spawn(follow_size(client.clone(), ResizeTarget::Exec(id.clone())));
        }
        let (tty, stdin, keys) = (self.tty, self.interactive, self.detach_keys);
        let session = Session { tty, stdin, keys }.run(connection);
        if ended(tokio::spawn(session)).await? == Ended::Detached {
            return Ok(());
        }
        let inspected: Inspected = client.json(Request::get(&["exec", &id, "json"])).await?;
        match inspected.exit_code {
            None | Some(0) => Ok(()),
            Some(code) => Err(Failure::Status(exit_status(code))),
        }
    }
}

//! `attach`, and what `run` and `start` share with it: the session and how it ends.

use super::details;
use crate::{
    cli::{Context, Done, Failure, failure::UNUSABLE, grammar},
    client::{
        Answer, Client, DetachKeys, Ended, Error, Request, ResizeTarget, Session, follow_size,
        forward_signals,
    },
};
use clap::Args;
use serde::Deserialize;
use std::io::{self, IsTerminal};
use tokio::task::JoinHandle;

/// `attach`.
#[derive(Debug, Args)]
pub(crate) struct Attach {
    /// Override the key sequence for detaching a container
    #[arg(long, value_name = "KEYS", default_value = DetachKeys::DEFAULT)]
    detach_keys: DetachKeys,
    /// Do not attach STDIN
    #[arg(long)]
    no_stdin: bool,
    /// Proxy all received signals to the process (--sig-proxy=false)
    #[arg(long, action = clap::ArgAction::Set, value_name = "BOOL", num_args = 0..=1, require_equals = true,
          default_value = "true", default_missing_value = "true", value_parser = grammar::truth)]
    sig_proxy: bool,
    /// The container
    container: String,
}

impl Attach {
    /// Joins a running container.
    ///
    /// # Errors
    /// As the daemon refuses; [`Failure::Status`] with what the container returned.
    pub(crate) async fn run(self, context: &Context) -> Done {
        let client = &context.client;
        let details = details(client, &self.container).await?;
        let refuse = |why: &str| Err(Failure::refused(format!("cannot attach to a {why}")));
        match &details.state {
            state if !state.running => {
                return refuse("stopped container, start the container first");
            }
            state if state.paused => {
                return refuse("paused container, unpause the container first");
            }
            state if state.restarting => {
                return refuse("restarting container, wait until it is running");
            }
            _ => {}
        }
        let (tty, stdin) = (
            details.config.tty,
            details.config.open_stdin && !self.no_stdin,
        );
        check_terminal(tty && stdin)?;
        if self.sig_proxy && !tty {
            tokio::spawn(forward_signals(client.clone(), details.id.clone()));
        }
        let exit = Exit::watch(client, &details.id, false).await?;
        let connection = client
            .hijack(request(&details.id, stdin, &self.detach_keys))
            .await?;
        if tty {
            tokio::spawn(follow_size(
                client.clone(),
                ResizeTarget::Container(details.id),
            ));
        }
        let session = Session {
            tty,
            stdin,
            keys: self.detach_keys,
        }
        .run(connection);
        match ended(tokio::spawn(session)).await? {
            Ended::Detached => Ok(()),
            Ended::Closed => exit.status().await,
        }
    }
}

/// A request to join a container's streams.
pub(super) fn request(container: &str, stdin: bool, keys: &DetachKeys) -> Request {
    Request::post(&["containers", container, "attach"])
        .option("detachKeys", keys.custom())
        .flag("stderr", true)
        .flag("stdin", stdin)
        .flag("stdout", true)
        .flag("stream", true)
}

/// Refuses to give a terminal to who has none.
///
/// # Errors
/// Docker's sentence.
pub(crate) fn check_terminal(wanted: bool) -> Done {
    if wanted && !io::stdin().is_terminal() {
        eprintln!("the input device is not a TTY");
        return Err(Failure::Status(crate::cli::failure::REFUSED));
    }
    Ok(())
}

/// Waits for a session's end, and says when the user left it.
///
/// # Errors
/// When it broke.
pub(crate) async fn ended(session: JoinHandle<Result<Ended, Error>>) -> Done<Ended> {
    let ended = session
        .await
        .map_err(|error| Failure::refused(error.to_string()))??;
    if ended == Ended::Detached {
        eprintln!("read escape sequence");
    }
    Ok(ended)
}

/// The coming end of a container.
#[derive(Debug)]
pub(super) struct Exit(Answer);

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Waited {
    status_code: i64,
    error: Option<WaitError>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct WaitError {
    message: String,
}

impl Exit {
    /// Watches for the next end, or for the removal of a container that goes with its end. The
    /// daemon watches once this returns.
    ///
    /// # Errors
    /// As the daemon refuses.
    pub(super) async fn watch(client: &Client, id: &str, removed: bool) -> Result<Self, Error> {
        let condition = if removed { "removed" } else { "next-exit" };
        let request = Request::post(&["containers", id, "wait"]).query("condition", condition);
        Ok(Self(client.stream(request).await?))
    }

    /// Waits for the end.
    ///
    /// # Errors
    /// [`Failure::Status`] unless the container returned 0; 125 when its end cannot be told.
    pub(super) async fn status(mut self) -> Done {
        let mut document = Vec::new();
        let waited = loop {
            match self.0.next().await {
                Ok(Some(bytes)) => document.extend_from_slice(&bytes),
                Ok(None) => {
                    break serde_json::from_slice::<Waited>(&document).map_err(Error::Answer);
                }
                Err(error) => break Err(error),
            }
        };
        let failed = |message: &str| {
            eprintln!("error waiting for container: {message}");
            Err(Failure::Status(UNUSABLE))
        };
        match waited {
            Err(error) => failed(&Failure::from(error).chain()),
            Ok(Waited {
                error: Some(WaitError { message }),
                ..
            }) if !message.is_empty() => failed(&message),
            Ok(Waited { status_code: 0, .. }) => Ok(()),
            Ok(Waited { status_code, .. }) => Err(Failure::Status(exit_status(status_code))),
        }
    }
}

/// What the system takes of an exit status.
pub(super) const fn exit_status(code: i64) -> u8 {
    (code & 0xff) as u8
}

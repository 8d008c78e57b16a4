//! `start`.

use super::{
    attach::{self, Exit, check_terminal},
    details,
};
use crate::{
    cli::{Context, Done, Failure, output::each},
    client::{DetachKeys, Ended, Request, ResizeTarget, Session, follow_size, forward_signals},
};
use clap::Args;

/// `start`.
#[derive(Debug, Args)]
pub(crate) struct Start {
    /// Attach STDOUT/STDERR and forward signals
    #[arg(short, long)]
    attach: bool,
    /// Override the key sequence for detaching a container
    #[arg(long, value_name = "KEYS", default_value = DetachKeys::DEFAULT)]
    detach_keys: DetachKeys,
    /// Attach container's STDIN
    #[arg(short, long)]
    interactive: bool,
    /// The containers
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

impl Start {
    /// Starts containers, or one and stays attached to it.
    ///
    /// # Errors
    /// As the daemon refuses; [`Failure::Status`] with what the container returned.
    pub(crate) async fn run(self, context: &Context) -> Done {
        if self.attach || self.interactive {
            return match self.containers.as_slice() {
                [one] => self.attached(context, one).await,
                _ => Err(Failure::refused(
                    "you cannot start and attach multiple containers at once",
                )),
            };
        }
        each(&self.containers, async |name| {
            context
                .client
                .run(Request::post(&["containers", name, "start"]))
                .await?;
            Ok(format!("{name}\n"))
        })
        .await
    }

    async fn attached(&self, context: &Context, name: &str) -> Done {
        let client = &context.client;
        let details = details(client, name).await?;
        let (tty, stdin) = (
            details.config.tty,
            self.interactive && details.config.open_stdin,
        );
        check_terminal(tty && stdin)?;
        if !tty {
            tokio::spawn(forward_signals(client.clone(), details.id.clone()));
        }
        let connection = client
            .hijack(attach::request(&details.id, stdin, &self.detach_keys))
            .await?;
        let exit = Exit::watch(client, &details.id, false).await?;
        let keys = self.detach_keys.clone();
        let session = tokio::spawn(Session { tty, stdin, keys }.run(connection));
        let start = Request::post(&["containers", &details.id, "start"]);
        if let Err(refused) = client.run(start).await {
            session.abort();
            let _ = session.await;
            return Err(refused.into());
        }
        if tty {
            tokio::spawn(follow_size(
                client.clone(),
                ResizeTarget::Container(details.id),
            ));
        }
        match attach::ended(session).await? {
            Ended::Detached => Ok(()),
            Ended::Closed => exit.status().await,
        }
    }
}

//! `run` and `create`.

use super::{
    attach::{self, Exit},
    spec::Spec,
};
use crate::{
    cli::{Context, Done, Failure, output::print_line},
    client::{DetachKeys, Ended, Request, ResizeTarget, Session, follow_size, forward_signals},
};
use clap::Args;
use serde::Deserialize;
use std::{fs, io::Write, path::Path};

/// `run`.
#[derive(Debug, Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Run {
    /// Run container in background and print container ID
    #[arg(short, long)]
    detach: bool,
    /// Override the key sequence for detaching a container
    #[arg(long, value_name = "KEYS", default_value = DetachKeys::DEFAULT)]
    detach_keys: DetachKeys,
    /// Proxy received signals to the process (--sig-proxy=false)
    #[arg(long, action = clap::ArgAction::Set, value_name = "BOOL", num_args = 0..=1, require_equals = true,
          default_value = "true", default_missing_value = "true",
          value_parser = crate::cli::grammar::truth)]
    sig_proxy: bool,
    #[command(flatten)]
    spec: Spec,
}

/// `create`.
#[derive(Debug, Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Create {
    #[command(flatten)]
    spec: Spec,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Created {
    id: String,
    warnings: Option<Vec<String>>,
}

impl Create {
    /// Makes a container and prints its id.
    ///
    /// # Errors
    /// As the daemon refuses.
    pub(crate) async fn run(&self, context: &Context) -> Done {
        let id = create(context, &self.spec, true).await?;
        print_line(&id)
    }
}

impl Run {
    /// Runs a container, attached to it or not.
    ///
    /// # Errors
    /// As the daemon refuses; [`Failure::Status`] with what the container returned.
    pub(crate) async fn run(self, context: &Context) -> Done {
        let client = &context.client;
        attach::check_terminal(self.spec.tty && self.spec.interactive && !self.detach)?;
        let id = create(context, &self.spec, !self.detach).await?;
        let start = Request::post(&["containers", &id, "start"]);
        if self.detach {
            client.run(start).await?;
            return print_line(&id);
        }
        let (tty, stdin) = (self.spec.tty, self.spec.interactive);
        if self.sig_proxy && !tty {
            tokio::spawn(forward_signals(client.clone(), id.clone()));
        }
        let connection = client
            .hijack(attach::request(&id, stdin, &self.detach_keys))
            .await?;
        // Asked before the start, so that no end can be missed.
        let exit = Exit::watch(client, &id, self.spec.rm).await?;
        let session = tokio::spawn(
            Session {
                tty,
                stdin,
                keys: self.detach_keys,
            }
            .run(connection),
        );
        if let Err(refused) = client.run(start).await {
            session.abort();
            let _ = session.await;
            return Err(refused.into());
        }
        if tty {
            tokio::spawn(follow_size(client.clone(), ResizeTarget::Container(id)));
        }
        match attach::ended(session).await? {
            Ended::Detached => Ok(()),
            Ended::Closed => exit.status().await,
        }
    }
}

/// Makes a container, says what the daemon warns of, and writes the id where asked.
async fn create(context: &Context, spec: &Spec, attached: bool) -> Done<String> {
    let body = spec.body(attached).map_err(Failure::Refused)?;
    let file = spec.cidfile.as_deref().map(IdFile::new).transpose()?;
    let request = Request::post(&["containers", "create"])
        .option("name", spec.name.as_deref())
        .body(&body);
    let created = context.client.json::<Created>(request).await;
    let created = match (created, file) {
        (Ok(created), None) => created,
        (Ok(created), Some(mut file)) => {
            file.write(&created.id)?;
            created
        }
        (Err(refused), file) => {
            if let Some(file) = file {
                file.remove();
            }
            return Err(refused.into());
        }
    };
    for warning in created.warnings.iter().flatten() {
        eprintln!("WARNING: {warning}");
    }
    Ok(created.id)
}

/// The file that gets a container's id: made before the container, so that none goes unrecorded.
struct IdFile<'a> {
    path: &'a Path,
    file: fs::File,
}

impl<'a> IdFile<'a> {
    fn new(path: &'a Path) -> Done<Self> {
        match fs::File::create_new(path) {
            Ok(file) => Ok(Self { path, file }),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                Err(Failure::refused(format!(
                    "container ID file found, make sure the other container isn't running or \
                     delete {}",
                    path.display()
                )))
            }
            Err(source) => {
                let what = format!("failed to create the container ID file {}", path.display());
                Err(Failure::Io { what, source })
            }
        }
    }

    fn write(&mut self, id: &str) -> Done {
        self.file
            .write_all(id.as_bytes())
            .map_err(|source| Failure::Io {
                what: format!(
                    "failed to write the container ID file {}",
                    self.path.display()
                ),
                source,
            })
    }

    fn remove(self) {
        // It is ours and empty; leaving it would only stop the next run.
        let _ = fs::remove_file(self.path);
    }
}

//! `logs`.

use super::details;
use crate::{
    cli::{Context, Done, Failure},
    client::{Demux, Request, Stream, moment},
};
use clap::Args;
use std::io::{self, Write};

/// `logs`.
#[derive(Debug, Args)]
pub(crate) struct Logs {
    /// Show extra details provided to logs
    #[arg(long)]
    details: bool,
    /// Follow log output
    #[arg(short, long)]
    follow: bool,
    /// Show logs since timestamp (e.g. "2013-01-02T13:23:37Z") or relative (e.g. "42m")
    #[arg(long, value_name = "TIME", value_parser = moment)]
    since: Option<String>,
    /// Number of lines to show from the end of the logs
    #[arg(short = 'n', long, value_name = "LINES", default_value = "all")]
    tail: String,
    /// Show timestamps
    #[arg(short, long)]
    timestamps: bool,
    /// Show logs before a timestamp (e.g. "2013-01-02T13:23:37Z") or relative (e.g. "42m")
    #[arg(long, value_name = "TIME", value_parser = moment)]
    until: Option<String>,
    /// The container
    container: String,
}

impl Logs {
    /// Prints what a container wrote.
    ///
    /// # Errors
    /// As the daemon refuses.
    pub(crate) async fn run(&self, context: &Context) -> Done {
        let container = details(&context.client, &self.container).await?;
        let request = Request::get(&["containers", &container.id, "logs"])
            .flag("details", self.details)
            .flag("follow", self.follow)
            .option("since", self.since.as_deref())
            .flag("stderr", true)
            .flag("stdout", true)
            .query("tail", &self.tail)
            .flag("timestamps", self.timestamps)
            .option("until", self.until.as_deref());
        let mut answer = context.client.stream(request).await?;
        let mut demux = Demux::default();
        let (mut out, mut err) = (io::stdout(), io::stderr());
        while let Some(bytes) = answer.next().await? {
            let written = if container.config.tty {
                out.write_all(&bytes)
            } else {
                demux.feed(&bytes, |stream, bytes| match stream {
                    Stream::Out => out.write_all(bytes),
                    Stream::Err | Stream::Daemon => err.write_all(bytes),
                })
            };
            written
                .and_then(|()| out.flush())
                .map_err(Failure::output)?;
        }
        Ok(())
    }
}

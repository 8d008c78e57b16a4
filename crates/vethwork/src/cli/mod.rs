//! The command line: what there is to say, and who carries it out.
//!
//! Each command is parsed into its own structure, sent to the daemon as one or a few requests of
//! the Engine API, and its answer rendered. Nothing here touches the kernel or the store.

mod adopt;
mod cluster;
mod container;
mod endpoint;
mod failure;
mod grammar;
mod image;
mod inspect;
mod natural;
mod network;
mod output;
mod service;
mod shown;
mod system;

use crate::{
    client::{Client, Host},
    daemon,
};
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use container::{attach, exec, lifecycle, list, logs, port, run, start};
use failure::{Done, Failure, UNUSABLE};
pub(crate) use grammar::truth;
use std::{ffi::OsString, process::ExitCode};
use vw_agents::wireguard::agent;

/// Container networking as an engine of its own: networks, names and published ports for any
/// runtime, process or namespace.
#[derive(Debug, Parser)]
#[command(
    name = "vethwork",
    version,
    max_term_width = 100,
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = "Run 'vethwork COMMAND --help' for more information on a command."
)]
pub(crate) struct Cli {
    /// Daemon socket to connect to: unix:///PATH or tcp://ADDRESS:PORT [default: $VETHWORK_HOST or
    /// unix:///run/vethwork/vethwork.sock]
    #[arg(short = 'H', long, value_name = "ADDRESS")]
    host: Option<String>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the engine, in the foreground
    Daemon(Box<daemon::Flags>),
    #[command(flatten)]
    Talk(Talk),
    /// Print a completion script for a shell
    Completion(system::Completion),
    /// Write manual pages
    #[command(hide = true)]
    Man(system::Man),
    /// Carry the packets of encrypted networks, on the socket that is standard input
    #[command(name = agent::COMMAND, hide = true)]
    TunnelAgent,
}

/// Commands that talk to the daemon.
#[derive(Debug, Subcommand)]
enum Talk {
    /// Manage networks
    #[command(subcommand)]
    Network(Box<network::Network>),

    /// Manage services
    #[command(subcommand)]
    Service(Box<service::Service>),

    /// Create and run a new container from an image
    #[command(override_usage = "vethwork run [OPTIONS] IMAGE [COMMAND] [ARG]...")]
    Run(Box<run::Run>),
    /// Create a new container
    #[command(override_usage = "vethwork create [OPTIONS] IMAGE [COMMAND] [ARG]...")]
    Create(Box<run::Create>),
    /// Start one or more stopped containers
    Start(start::Start),
    /// Restart one or more containers
    Restart(lifecycle::Restart),
    /// Stop one or more running containers
    Stop(lifecycle::Stop),
    /// Kill one or more running containers
    Kill(lifecycle::Kill),
    /// Remove one or more containers
    Rm(lifecycle::Remove),
    /// Rename a container
    Rename(lifecycle::Rename),
    /// List containers
    Ps(list::List),
    /// Execute a command in a running container
    #[command(override_usage = "vethwork exec [OPTIONS] CONTAINER COMMAND [ARG]...")]
    Exec(exec::Exec),
    /// Attach local standard input, output, and error streams to a running container
    Attach(attach::Attach),
    /// Return low-level information on containers, images and networks
    Inspect(inspect::Inspect),
    /// Fetch the logs of a container
    Logs(logs::Logs),
    /// List port mappings or a specific mapping for the container
    Port(port::Port),
    /// Block until one or more containers stop, then print their exit codes
    Wait(lifecycle::Wait),

    /// Import a root file system from a tar archive or a folder
    Import(image::Import),
    /// Load images from an archive of `docker save` or in the OCI layout
    Load(image::Load),
    /// List images
    Images(image::List),
    /// Remove one or more images
    Rmi(image::Remove),
    /// Give an image a further name
    Tag(image::Tag),

    /// Put an existing process or network namespace on networks
    Adopt(Box<adopt::Adopt>),
    /// Take adopted sandboxes off their networks and leave them as they were
    Release(adopt::Release),

    /// Manage the cluster that this host is in
    #[command(subcommand)]
    Cluster(cluster::Cluster),

    /// Get real time events from the daemon
    Events(system::Events),
    /// Display system-wide information
    Info(system::Info),
    /// Show the versions of the client and the daemon
    Version(system::Version),
}

/// What every command of the client has at hand.
#[derive(Debug)]
pub(crate) struct Context {
    /// The daemon.
    client: Client,
}

/// Runs a command line to its exit status.
pub(crate) fn main(line: &[OsString]) -> ExitCode {
    let parsed = grammar::parse(Cli::command, line)
        .and_then(|mut matches| Cli::from_arg_matches_mut(&mut matches));
    let cli = match parsed {
        Ok(cli) => cli,
        Err(error) => {
            // A terminal that is gone needs no message.
            let _ = error.print();
            return if error.use_stderr() {
                UNUSABLE.into()
            } else {
                ExitCode::SUCCESS
            };
        }
    };
    match cli.command {
        Command::Daemon(flags) => daemon::main(*flags),
        Command::Completion(args) => report(args.run(), None),
        Command::Man(args) => report(args.run(), None),
        Command::TunnelAgent => {
            let done = agent::run().map_err(|source| Failure::Io {
                what: "cannot carry the packets of encrypted networks".to_owned(),
                source,
            });
            report(done, None)
        }
        Command::Talk(command) => {
            let runs = command.runs();
            report(talk(cli.host.as_deref(), command), runs)
        }
    }
}

/// Runs a command that talks to the daemon.
fn talk(host: Option<&str>, command: Talk) -> Done {
    let host = Host::choose(host).map_err(Failure::Refused)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| Failure::Io {
            what: "cannot start the client".to_owned(),
            source,
        })?;
    let context = Context {
        client: Client::new(host),
    };
    let done = runtime.block_on(command.run(&context));
    // Reads of standard input cannot be ended, and must not be waited for.
    runtime.shutdown_background();
    done
}

/// Says what failed, and gives the exit status. `runs` is the name of a command whose statuses are
/// those of `docker run`.
fn report(done: Done, runs: Option<&str>) -> ExitCode {
    let Err(failure) = done else {
        return ExitCode::SUCCESS;
    };
    let said = matches!(failure, Failure::Status(_));
    let Some(name) = runs else {
        if !said {
            eprintln!("{}", failure.chain());
        }
        return failure.status().into();
    };
    if !said {
        eprintln!(
            "vethwork: {}\n\nRun 'vethwork {name} --help' for more information",
            failure.chain()
        );
    }
    failure.run_status().into()
}

impl Talk {
    /// The name of a command whose exit statuses are those of `docker run`.
    const fn runs(&self) -> Option<&'static str> {
        match self {
            Self::Run(_) => Some("run"),
            _ => None,
        }
    }

    async fn run(self, context: &Context) -> Done {
        match self {
            Self::Network(command) => command.run(context).await,
            Self::Service(command) => command.run(context).await,
            Self::Run(args) => args.run(context).await,
            Self::Create(args) => args.run(context).await,
            Self::Start(args) => args.run(context).await,
            Self::Restart(args) => args.run(context).await,
            Self::Stop(args) => args.run(context).await,
            Self::Kill(args) => args.run(context).await,
            Self::Rm(args) => args.run(context).await,
            Self::Rename(args) => args.run(context).await,
            Self::Ps(args) => args.run(context).await,
            Self::Exec(args) => args.run(context).await,
            Self::Attach(args) => args.run(context).await,
            Self::Inspect(args) => args.run(context).await,
            Self::Logs(args) => args.run(context).await,
            Self::Port(args) => args.run(context).await,
            Self::Wait(args) => args.run(context).await,
            Self::Import(args) => args.run(context).await,
            Self::Load(args) => args.run(context).await,
            Self::Images(args) => args.run(context).await,
            Self::Rmi(args) => args.run(context).await,
            Self::Tag(args) => args.run(context).await,
            Self::Adopt(args) => args.run(context).await,
            Self::Release(args) => args.run(context).await,
            Self::Cluster(command) => command.run(context).await,
            Self::Events(args) => args.run(context).await,
            Self::Info(args) => args.run(context).await,
            Self::Version(args) => args.run(context).await,
        }
    }
}

#[cfg(test)]
mod tests;

//! `vethwork daemon`: from flags and a file to checked settings, and the engine that they start.

mod anew;
mod cluster;
mod config;
mod encryption;
mod file;
mod flags;
mod listen;
mod memory;
mod notify;
mod pulse;
mod run;
pub(crate) mod settings;
mod signals;
mod sockets;
mod values;
mod watch;

pub(crate) use flags::Flags;

use anew::Start;
use run::Ended;
use settings::DaemonSettings;
use std::{io::IsTerminal, process::ExitCode};

/// Runs the daemon until it is told to stop.
pub(crate) fn main(flags: Flags) -> ExitCode {
    let validate = flags.validate;
    let settings = match file::merge(flags.clone()).and_then(DaemonSettings::check) {
        Ok(settings) => settings,
        Err(refused) => {
            eprintln!("{refused}");
            return ExitCode::FAILURE;
        }
    };
    if validate {
        println!("configuration OK");
        return ExitCode::SUCCESS;
    }
    tracing_subscriber::fmt()
        .with_max_level(settings.log_level)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .init();
    for notice in &settings.notices {
        tracing::info!("{notice}");
    }
    match run::run(Start { flags, settings }) {
        Ok(Ended::Stopped) => ExitCode::SUCCESS,
        Ok(Ended::BeginsAnew(stops, next)) => anew::exec(&stops, &next),
        Err(error) => {
            eprintln!("failed to start daemon: {}", error.chain());
            ExitCode::FAILURE
        }
    }
}

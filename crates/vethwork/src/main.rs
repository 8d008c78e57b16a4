//! The one program: the engine's daemon and the client that talks to it.

mod cli;
mod client;
mod daemon;
mod render;

use std::process::ExitCode;

fn main() -> ExitCode {
    let line: Vec<_> = std::env::args_os().collect();
    cli::main(&line)
}

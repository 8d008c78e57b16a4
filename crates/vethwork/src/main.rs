//! The one program: the engine's daemon and the client that talks to it.

mod cli;
mod client;
mod daemon;
mod render;

use std::{ffi::CString, os::unix::ffi::OsStrExt, path::Path, process::ExitCode};

fn main() -> ExitCode {
    let line: Vec<_> = std::env::args_os().collect();
    take_name(line.first().map(Path::new));
    cli::main(&line)
}

/// Has `ps` and others show the program by the name that it was called by: where it took its own place,
/// the kernel calls it `exe`.
fn take_name(program: Option<&Path>) {
    let name = program.and_then(Path::file_name);
    let name = name.and_then(|name| CString::new(name.as_bytes()).ok());
    if let Some(name) = name {
        // Nothing but what is shown depends on it.
        let _ = rustix::thread::set_name(&name);
    }
}

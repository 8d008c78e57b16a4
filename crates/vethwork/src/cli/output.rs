//! Standard output and the order of several objects' outcomes.

use super::{Done, Failure, failure::REFUSED};
use std::io::{self, IsTerminal, Write};

/// Writes to standard output.
///
/// # Errors
/// When nobody reads it or the disk is full.
pub(crate) fn print(text: &str) -> Done {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(Failure::output)
}

/// Writes a line to standard output.
///
/// # Errors
/// As [`print`].
pub(crate) fn print_line(text: &str) -> Done {
    print(&format!("{text}\n"))
}

/// Does the same to several objects: each that succeeds prints what it returns, each that fails
/// says so, and the others go on.
///
/// # Errors
/// When one of them failed.
pub(crate) async fn each(names: &[String], act: impl AsyncFn(&str) -> Done<String>) -> Done {
    let mut status = None;
    for name in names {
        match act(name).await {
            Ok(text) => print(&text)?,
            Err(failure) => {
                eprintln!("{}", failure.chain());
                status = Some(Failure::Status(REFUSED));
            }
        }
    }
    status.map_or(Ok(()), Err)
}

/// Asks before something is removed; whoever answers without a terminal is asked as well.
///
/// # Errors
/// When the answer cannot be read.
pub(crate) fn confirm(warning: &str) -> Done<bool> {
    print(&format!(
        "{warning}\nAre you sure you want to continue? [y/N] "
    ))?;
    let mut answer = String::new();
    io::stdin()
        .read_line(&mut answer)
        .map_err(|source| Failure::Io {
            what: "cannot read the answer".to_owned(),
            source,
        })?;
    if !io::stdin().is_terminal() {
        print("\n")?;
    }
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

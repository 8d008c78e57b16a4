//! Tests that cannot run here, and how they say so.
//!
//! Owns the one format of a skip, `SKIP: <test>: <reason>`, which `scripts/run-tests`
//! gathers and, in CI, holds against `tests/skips.txt`.

use std::{
    fmt,
    io::{self, Write},
    path::Path,
};

/// Says on stderr why the running test is skipped; [`skip!`](crate::skip) also returns from it.
pub fn report(reason: fmt::Arguments<'_>) {
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("main");
    let line = format!("SKIP: {test}: {reason}\n");
    // Not `eprintln!`: the test harness would keep it to itself while the test passes.
    // In one write, so that no other thread's output comes between.
    // A closed stderr leaves nobody to tell.
    let _ = io::stderr().write_all(line.as_bytes());
}

/// Whether this process is root.
#[must_use]
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The first of `programs` that is not on the path.
#[must_use]
pub fn missing_program<'a>(programs: &[&'a str]) -> Option<&'a str> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<_> = std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin"].map(|folder| Path::new(folder).to_path_buf()))
        .collect();
    let is_there = |program: &str| folders.iter().any(|folder| folder.join(program).is_file());
    programs.iter().copied().find(|program| !is_there(program))
}

/// Says why the test is skipped, and returns from it.
#[macro_export]
macro_rules! skip {
    ($($reason:tt)+) => {{
        $crate::report(::std::format_args!($($reason)+));
        return;
    }};
}

/// Skips the test unless the condition holds: `require!(condition, "reason")`.
#[macro_export]
macro_rules! require {
    ($condition:expr, $($reason:tt)+) => {
        if !$condition {
            $crate::skip!($($reason)+);
        }
    };
}

/// Skips the test unless it runs as root; in CI that fails.
#[macro_export]
macro_rules! require_root {
    () => {
        $crate::require!($crate::is_root(), "needs root: run it by `sudo make test`")
    };
}

/// Skips the test unless each of these programs is installed; in CI that fails.
#[macro_export]
macro_rules! require_programs {
    ($($program:expr),+ $(,)?) => {
        if let Some(missing) = $crate::missing_program(&[$($program),+]) {
            $crate::skip!("needs the program {missing}: run `scripts/install-deps`");
        }
    };
}

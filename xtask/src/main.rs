//! The project's own checks, run as `cargo xtask`.
//!
//! Owns what no compiler checks: the order of the crates and the rules of
//! ARCHITECTURE.md. It builds nothing, changes no file, and knows no other crate.

mod check;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

const USAGE: &str = "usage: cargo xtask check

  check   hold the tree against the rules of ARCHITECTURE.md; each violation is
          printed as `path:line: rule: remedy`";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["check"] => report(&root()),
        ["help" | "--help" | "-h"] => {
            println!("{USAGE}");
            ExitCode::SUCCESS
        }
        _ => {
            eprintln!("{USAGE}");
            ExitCode::from(2)
        }
    }
}

/// The workspace's root: this crate's folder is one below it.
fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_path_buf()
}

fn report(root: &Path) -> ExitCode {
    match check::run(root) {
        Ok(found) if found.is_empty() => {
            println!("architecture: no violation");
            ExitCode::SUCCESS
        }
        Ok(found) => {
            for violation in &found {
                println!("{violation}");
            }
            eprintln!("architecture: {} violations", found.len());
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("xtask check: {error}");
            ExitCode::from(2)
        }
    }
}

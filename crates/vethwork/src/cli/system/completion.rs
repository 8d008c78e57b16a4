//! What the program says of itself: shell completions and manual pages.

use crate::cli::{Cli, Done, Failure, output::print};
use clap::{Args, CommandFactory, ValueEnum};
use clap_complete::Shell;
use std::path::PathBuf;

/// `completion`.
#[derive(Debug, Args)]
pub(crate) struct Completion {
    /// The shell
    shell: KnownShell,
}

/// Shells that completions are written for.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum KnownShell {
    Bash,
    Fish,
    Zsh,
}

/// `man`.
#[derive(Debug, Args)]
pub(crate) struct Man {
    /// The folder that gets the pages
    folder: PathBuf,
}

impl Completion {
    /// Prints a completion script.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn run(&self) -> Done {
        let shell = match self.shell {
            KnownShell::Bash => Shell::Bash,
            KnownShell::Fish => Shell::Fish,
            KnownShell::Zsh => Shell::Zsh,
        };
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut Cli::command(), "vethwork", &mut script);
        print(&String::from_utf8_lossy(&script))
    }
}

impl Man {
    /// Writes `vethwork.1` and a page for every subcommand.
    ///
    /// # Errors
    /// When the folder cannot be written to.
    pub(crate) fn run(&self) -> Done {
        let written = std::fs::create_dir_all(&self.folder)
            .and_then(|()| clap_mangen::generate_to(Cli::command(), &self.folder));
        written.map_err(|source| Failure::Io {
            what: format!("cannot write manual pages to {}", self.folder.display()),
            source,
        })
    }
}

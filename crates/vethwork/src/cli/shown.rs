//! How a list of things that have ids is shown.
//!
//! Owns the flags that `ls` of networks, services and images have alike. What a line says each
//! decides.

use super::{Done, output::print};
use crate::render::{Listing, Row, short_id};
use clap::Args;

/// See the module.
#[derive(Debug, Args)]
pub(super) struct Shown {
    /// Format output: 'table', 'table TEMPLATE', 'json', or a Go template
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Do not truncate the output
    #[arg(long)]
    no_trunc: bool,
    /// Only display IDs
    #[arg(short, long)]
    quiet: bool,
}

impl Shown {
    /// An id as it is shown.
    pub(super) fn id<'a>(&self, id: &'a str) -> &'a str {
        match self.no_trunc {
            true => id,
            false => short_id(id),
        }
    }

    /// Prints the lines.
    ///
    /// # Errors
    /// When the template is wrong, or nobody reads it.
    pub(super) fn print(&self, listing: &Listing, rows: Vec<Row>) -> Done {
        print(&listing.render(self.format.as_deref(), self.quiet, rows)?)
    }
}

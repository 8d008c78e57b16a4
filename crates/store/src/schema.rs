//! Which version of the records a file holds, and the ways from older versions.

use crate::{Batch, Error, Store};
use std::path::Path;

/// One way from a version to the next.
#[derive(Debug, Clone, Copy)]
pub struct Migration {
    /// The version that it starts from; it leads to the one after.
    pub from: u32,
    /// What to change; committed in one with the new version.
    pub changes: fn(&dyn Store) -> Result<Batch, Error>,
}

/// A version and the migrations that lead to it.
#[derive(Debug, Clone, Copy)]
pub struct Schema {
    /// The version that this binary writes.
    pub version: u32,
    /// The known ways from older ones.
    pub migrations: &'static [Migration],
}

impl Schema {
    /// The one of this binary.
    pub const CURRENT: Self = Self {
        version: 1,
        migrations: &[],
    };

    /// The migrations from `found` to this version, in order; none when it is this version.
    pub(crate) fn path_from(&self, found: u32, path: &Path) -> Result<Vec<&Migration>, Error> {
        let (path, known) = (path.to_owned(), self.version);
        if found > known {
            return Err(Error::NewerSchema { path, found, known });
        }
        (found..known)
            .map(|from| self.migrations.iter().find(|step| step.from == from))
            .collect::<Option<_>>()
            .ok_or(Error::NoMigration { path, found, known })
    }
}

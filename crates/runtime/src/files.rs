//! Small files that must be whole or not there.
//!
//! Owns replacement by rename, and removal that does not mind absence.

use crate::error::{Context, Error, Result};
use serde::{Serialize, de::DeserializeOwned};
use std::{
    fs,
    io::{ErrorKind, Write},
    path::Path,
};

/// Replaces a file's contents in one step, not flushed.
pub(crate) fn replace(path: &Path, contents: &[u8]) -> Result<()> {
    write_beside(path, contents, false)
}

/// Replaces a file's contents in one step that survives a loss of power.
pub(crate) fn replace_durably(path: &Path, contents: &[u8]) -> Result<()> {
    write_beside(path, contents, true)?;
    let directory = path.parent().unwrap_or(path);
    fs::File::open(directory)
        .and_then(|directory| directory.sync_all())
        .context(|| format!("flush {}", directory.display()))
}

fn write_beside(path: &Path, contents: &[u8], flush: bool) -> Result<()> {
    let beside = path.with_extension("new");
    let write = || {
        let mut file = fs::File::create(&beside)?;
        file.write_all(contents)?;
        if flush {
            file.sync_all()?;
        }
        fs::rename(&beside, path)
    };
    write().context(|| format!("write {}", path.display()))
}

/// Reads a JSON file; `None` when it is not there.
pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    let Some(text) = read(path)? else {
        return Ok(None);
    };
    serde_json::from_str(&text)
        .map(Some)
        .map_err(|error| Error::Damaged {
            path: path.to_owned(),
            why: error.to_string(),
        })
}

/// A value as JSON text; our own types cannot fail to serialise but for a map whose key is no string.
pub(crate) fn to_json<T: Serialize>(path: &Path, value: &T) -> Result<Vec<u8>> {
    serde_json::to_vec(value).map_err(|error| Error::Damaged {
        path: path.to_owned(),
        why: error.to_string(),
    })
}

/// Reads a text file; `None` when it is not there.
pub(crate) fn read(path: &Path) -> Result<Option<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).context(|| format!("read {}", path.display())),
    }
}

/// Makes a directory and those above it, for root alone.
pub(crate) fn make_dir(path: &Path) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .context(|| format!("make {}", path.display()))
}

/// Makes a directory that everyone may enter, whatever our umask: a container's root.
pub(crate) fn make_public_dir(path: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let make = || {
        match fs::create_dir(path) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        fs::set_permissions(path, fs::Permissions::from_mode(0o755))
    };
    make().context(|| format!("make {}", path.display()))
}

/// Removes a file, if it is there.
pub(crate) fn remove_file(path: &Path) -> Result<()> {
    forgive_absence(fs::remove_file(path)).context(|| format!("remove {}", path.display()))
}

/// Removes a directory and all below it, if it is there. Never crosses symlinks.
pub(crate) fn remove_tree(path: &Path) -> Result<()> {
    forgive_absence(fs::remove_dir_all(path)).context(|| format!("remove {}", path.display()))
}

pub(crate) fn forgive_absence(result: std::io::Result<()>) -> std::io::Result<()> {
    match result {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

//! One opener a file.

use crate::Error;
use std::{
    fs::{File, OpenOptions, TryLockError},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

/// Holds `FILE.lock` locked (flock) while it lives; the kernel lets go when the process dies.
///
/// A file of its own, as a lock on the store's file would stay with the old one when a rewritten
/// one is renamed over it.
#[derive(Debug)]
pub(crate) struct FileLock(#[expect(dead_code, reason = "held for its lock")] File);

impl FileLock {
    pub(crate) fn acquire(store: &Path) -> Result<Self, Error> {
        let mut path = store.as_os_str().to_owned();
        path.push(".lock");
        let path = Path::new(&path);
        let failed = |source| Error::Io {
            path: path.to_owned(),
            action: "lock",
            source,
        };
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)
            .map_err(failed)?;
        match file.try_lock() {
            Ok(()) => Ok(Self(file)),
            Err(TryLockError::WouldBlock) => Err(Error::InUse {
                path: store.to_owned(),
            }),
            Err(TryLockError::Error(source)) => Err(failed(source)),
        }
    }
}

//! The store of the run directory: one `write` a commit, never a flush.
//!
//! What lies here is void after a reboot, so that it need not outlive the machine; it must
//! outlive the process. Bytes that `write` took lie in the page cache, which a `kill -9` does
//! not touch, on a tmpfs and on a disk alike. All records are in memory; the file is a log that
//! is replayed at the start and rewritten when most of it is history.
//!
//! Measured beside it: redb over the same page cache, its flushes left out, takes 35 us a
//! commit, which would be a tenth of an attachment.

mod frame;

use crate::{Batch, Change, Error, Memory, Schema, Store, Table, lock::FileLock, tables::Tables};
use frame::End;
use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

/// Below this a file is never rewritten.
const MIN_REWRITE: u64 = 1 << 20;
/// A file is rewritten when it is this many times as long as its records need, so that the
/// price of rewriting is a fraction of what was written since.
const REWRITE_RATIO: u64 = 4;

/// A store that survives the process, not the machine.
///
/// A commit costs one `write` whatever the number of records; reading costs none.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    schema: u32,
    boot: String,
    state: Mutex<State>,
    _lock: FileLock,
}

#[derive(Debug)]
struct State {
    tables: Tables,
    file: File,
    len: u64,
    rewrite_at: u64,
    broken: bool,
}

impl Journal {
    /// Opens the file, or makes it.
    ///
    /// `boot` names this run of the machine (`/proc/sys/kernel/random/boot_id`). What a former
    /// boot left is read as far as it is whole, for the caller to finish or void: losing power
    /// may damage a file that was never flushed, and must not keep a daemon from starting.
    /// Within a boot only a torn end is taken for what it is; anything else is refused.
    ///
    /// # Errors
    /// [`Error::InUse`], [`Error::Corrupt`], [`Error::NewerSchema`], [`Error::NoMigration`] and
    /// [`Error::Io`]; the file is then as it was.
    pub fn open(path: &Path, schema: Schema, boot: &str) -> Result<Self, Error> {
        let lock = FileLock::acquire(path)?;
        let found = read(path)?;
        let keep = found
            .as_ref()
            .filter(|f| f.boot == boot && f.schema == schema.version && f.end == End::Clean)
            .map(|f| f.valid as u64);
        let memory = Memory::new();
        if let Some(found) = found {
            if let End::Damaged(detail) = found.end
                && found.boot == boot
            {
                let path = path.to_owned();
                return Err(Error::Corrupt { path, detail });
            }
            let steps = schema.path_from(found.schema, path)?;
            for batch in found.batches {
                memory.commit(batch)?;
            }
            for step in steps {
                memory.commit((step.changes)(&memory)?)?;
            }
        }
        let tables = memory.into_tables();
        let (file, len) = match keep {
            Some(len) => (open_existing(path)?, len),
            None => rewrite(path, schema.version, boot, &tables)?,
        };
        let rewrite_at = rewrite_at(&tables);
        Ok(Self {
            path: path.to_owned(),
            schema: schema.version,
            boot: boot.to_owned(),
            state: Mutex::new(State {
                tables,
                file,
                len,
                rewrite_at,
                broken: false,
            }),
            _lock: lock,
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing that runs under the lock can panic between the file and the tables.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Replaces the log by its records. Failing is no loss: the log is still whole, and the next
    /// attempt waits until it has doubled.
    fn compact(&self, state: &mut State) {
        match rewrite(&self.path, self.schema, &self.boot, &state.tables) {
            Ok((file, len)) => {
                state.file = file;
                state.len = len;
                state.rewrite_at = rewrite_at(&state.tables);
            }
            Err(_) => state.rewrite_at = state.len.saturating_mul(2),
        }
    }
}

impl Store for Journal {
    fn commit(&self, batch: Batch) -> Result<(), Error> {
        if batch.is_empty() {
            return Ok(());
        }
        check_size(&self.path, &batch)?;
        let bytes = frame::encode(&batch);
        let mut state = self.state();
        if state.broken {
            let path = self.path.clone();
            return Err(Error::Broken { path });
        }
        if let Err(source) = state.file.write_all_at(&bytes, state.len) {
            // Part of it may be there; were it left, a shorter frame over it would look damaged.
            state.broken = state.file.set_len(state.len).is_err();
            return Err(io_error(&self.path, "write", source));
        }
        state.len += bytes.len() as u64;
        state.tables.apply(batch);
        if state.len > state.rewrite_at {
            self.compact(&mut state);
        }
        Ok(())
    }

    fn get(&self, table: Table, key: &str) -> Result<Option<Vec<u8>>, Error> {
        Ok(self.state().tables.get(table, key))
    }

    fn scan_prefix(&self, table: Table, prefix: &str) -> Result<Vec<(String, Vec<u8>)>, Error> {
        Ok(self.state().tables.scan_prefix(table, prefix))
    }
}

fn rewrite_at(tables: &Tables) -> u64 {
    MIN_REWRITE.max(REWRITE_RATIO * tables.bytes() as u64)
}

/// A frame's length has 32 bits.
fn check_size(path: &Path, batch: &Batch) -> Result<(), Error> {
    let size: usize = batch
        .changes()
        .iter()
        .map(|change| match change {
            Change::Put { key, value, .. } => 10 + key.len() + value.len(),
            Change::Delete { key, .. } => 6 + key.len(),
        })
        .sum();
    match u32::try_from(size) {
        Ok(_) => Ok(()),
        Err(_) => {
            let source = io::Error::from(io::ErrorKind::FileTooLarge);
            Err(io_error(
                path,
                "write a batch of over four gigabytes to",
                source,
            ))
        }
    }
}

fn read(path: &Path) -> Result<Option<frame::Journaled>, Error> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(io_error(path, "read", source)),
    };
    frame::decode(&bytes).map_err(|detail| Error::Corrupt {
        path: path.to_owned(),
        detail,
    })
}

fn open_existing(path: &Path) -> Result<File, Error> {
    OpenOptions::new()
        .write(true)
        .open(path)
        .map_err(|source| io_error(path, "open", source))
}

/// Writes the records beside the file and renames that over it, so that at every moment the
/// path holds a whole journal.
fn rewrite(path: &Path, schema: u32, boot: &str, tables: &Tables) -> Result<(File, u64), Error> {
    let mut bytes = frame::header(schema, boot);
    for (table, key, value) in tables.iter() {
        frame::encode_record(&mut bytes, table, key, value);
    }
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = Path::new(&beside);
    let written = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(beside)
        .and_then(|file| file.write_all_at(&bytes, 0).map(|()| file))
        .and_then(|file| fs::rename(beside, path).map(|()| file));
    match written {
        Ok(file) => Ok((file, bytes.len() as u64)),
        Err(source) => {
            // Best effort: the next rewrite truncates what is left of it.
            drop(fs::remove_file(beside));
            Err(io_error(path, "rewrite", source))
        }
    }
}

fn io_error(path: &Path, action: &'static str, source: io::Error) -> Error {
    Error::Io {
        path: path.to_owned(),
        action,
        source,
    }
}

#[cfg(test)]
mod tests;

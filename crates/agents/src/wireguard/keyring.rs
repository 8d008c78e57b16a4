//! The file that keeps a host's keys.
//!
//! Owns its form and its mode: only root reads it, it is replaced whole, and what it held in
//! memory is overwritten.

use super::{PrivateKey, rotation::KeyRing};
use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};
use zeroize::Zeroizing;

/// What the file begins with: its kind and its form.
const MAGIC: &[u8; 8] = b"vwkeys01";
/// The beginning, the time, which keys there are, and room for three.
const LENGTH: usize = 8 + 8 + 1 + 3 * 32;
/// Only its owner reads and writes it.
const MODE: u32 = 0o600;
/// Which keys there are.
const NEXT: u8 = 1;
const FORMER: u8 = 2;

/// Why keys are not to be had.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// The system refused an operation on the file.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// It is not a file of keys.
    #[error(
        "{} holds no keys of a form that is known: put back a copy of it, or move it away to \
         start with new ones", path.display()
    )]
    Form {
        /// The file.
        path: PathBuf,
    },
}

impl KeyRing {
    /// The keys in a file; made, with the file, when it is not there.
    ///
    /// # Errors
    /// When it cannot be read or made, or is something else.
    pub fn open(path: &Path, now: SystemTime) -> Result<Self, KeyFileError> {
        let failed = |action| failed(path, action);
        let mut file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let ring = Self::new(PrivateKey::generate().map_err(failed("make"))?, now);
                ring.save(path)?;
                return Ok(ring);
            }
            Err(error) => return Err(failed("read")(error)),
        };
        file.set_permissions(PermissionsExt::from_mode(MODE))
            .map_err(failed("protect"))?;
        let mut bytes = Zeroizing::new([0; LENGTH + 1]);
        let mut filled = 0;
        loop {
            match file.read(&mut bytes[filled..]).map_err(failed("read"))? {
                0 => break,
                size => filled += size,
            }
        }
        Self::decode(&bytes[..filled]).ok_or_else(|| KeyFileError::Form {
            path: path.to_owned(),
        })
    }

    /// Replaces the file, flushed.
    ///
    /// # Errors
    /// When it cannot be written; the former one then stands.
    pub fn save(&self, path: &Path) -> Result<(), KeyFileError> {
        let failed = |action| failed(path, action);
        let new = path.with_extension("new");
        match fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(failed("write")(error));
            }
            _ => {}
        }
        let mut options = OpenOptions::new();
        let file = options.write(true).create_new(true).mode(MODE).open(&new);
        let mut file = file.map_err(failed("write"))?;
        file.write_all(&*self.encode())
            .and_then(|()| file.sync_all())
            .and_then(|()| fs::rename(&new, path))
            .map_err(failed("write"))?;
        let folder = path.parent().unwrap_or_else(|| Path::new("."));
        File::open(folder)
            .and_then(|folder| folder.sync_all())
            .map_err(failed("flush"))
    }

    fn encode(&self) -> Zeroizing<[u8; LENGTH]> {
        let mut bytes = Zeroizing::new([0; LENGTH]);
        bytes[..8].copy_from_slice(MAGIC);
        let since = self.since.duration_since(SystemTime::UNIX_EPOCH);
        let since = since.unwrap_or_default().as_secs();
        bytes[8..16].copy_from_slice(&since.to_be_bytes());
        let keys = [
            Some(&self.current),
            self.next.as_ref(),
            self.former.as_ref(),
        ];
        for (at, key) in keys.into_iter().enumerate() {
            if let Some(key) = key {
                bytes[17 + 32 * at..49 + 32 * at].copy_from_slice(&*key.to_bytes());
            }
        }
        let flag = |key: &Option<PrivateKey>, flag| if key.is_some() { flag } else { 0 };
        bytes[16] = flag(&self.next, NEXT) | flag(&self.former, FORMER);
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; LENGTH] = bytes.try_into().ok()?;
        if &bytes[..8] != MAGIC || bytes[16] & !(NEXT | FORMER) != 0 {
            return None;
        }
        let key = |at: usize| {
            let mut key = Zeroizing::new([0; 32]);
            key.copy_from_slice(&bytes[17 + 32 * at..49 + 32 * at]);
            PrivateKey::from_bytes(&mut key)
        };
        let since = Duration::from_secs(u64::from_be_bytes(bytes[8..16].try_into().ok()?));
        Some(Self {
            current: key(0),
            since: SystemTime::UNIX_EPOCH.checked_add(since)?,
            next: (bytes[16] & NEXT != 0).then(|| key(1)),
            former: (bytes[16] & FORMER != 0).then(|| key(2)),
        })
    }
}

fn failed(path: &Path, action: &'static str) -> impl Fn(io::Error) -> KeyFileError {
    let path = path.to_owned();
    move |source| KeyFileError::Io {
        path: path.clone(),
        action,
        source,
    }
}

#[cfg(test)]
mod tests;

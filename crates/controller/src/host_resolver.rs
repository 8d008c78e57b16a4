//! The host's resolver files as they were last read, read again when they changed.
//!
//! Every view of a sandbox rests on them, and reading one costs more than looking whether it is
//! still the same.

use crate::registry::lock;
use std::{
    collections::HashMap,
    fs::{self, Metadata},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};
use vw_names::ResolvConf;

/// A file that changed less long ago may change once more without its time showing it: the kernel
/// keeps times by the tick (`current_time`).
const SETTLED: Duration = Duration::from_secs(1);

/// What tells one state of a file from another.
#[derive(Debug, PartialEq, Eq)]
struct Stamp {
    inode: (u64, u64),
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    fn of(file: &Metadata) -> Self {
        Self {
            inode: (file.dev(), file.ino()),
            size: file.size(),
            modified: (file.mtime(), file.mtime_nsec()),
            changed: (file.ctime(), file.ctime_nsec()),
        }
    }

    /// Whether the file has been as it is for long enough that a change would show.
    fn is_settled(&self, now: SystemTime) -> bool {
        let seconds = self.changed.0.max(self.modified.0);
        let changed = Duration::from_secs(seconds.try_into().unwrap_or_default());
        let age = now.duration_since(SystemTime::UNIX_EPOCH + changed);
        age.is_ok_and(|age| age > SETTLED)
    }
}

/// Resolver files, by path.
#[derive(Debug, Default)]
pub(crate) struct ResolverFiles(Mutex<HashMap<PathBuf, (Stamp, Arc<ResolvConf>)>>);

impl ResolverFiles {
    /// What a file says now; `None` where it cannot be read.
    pub(crate) fn read(&self, path: &Path) -> Option<Arc<ResolvConf>> {
        let stamp = Stamp::of(&fs::metadata(path).ok()?);
        let mut kept = lock(&self.0);
        if let Some((of, conf)) = kept.get(path)
            && *of == stamp
        {
            return Some(conf.clone());
        }
        let conf = Arc::new(ResolvConf::parse(&fs::read_to_string(path).ok()?));
        // Looked at before it was read: a change meanwhile shows at the next look.
        if stamp.is_settled(SystemTime::now()) {
            kept.insert(path.to_owned(), (stamp, conf.clone()));
        } else {
            kept.remove(path);
        }
        Some(conf)
    }
}

#[cfg(test)]
mod tests;

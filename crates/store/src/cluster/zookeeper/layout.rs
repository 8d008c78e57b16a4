//! Where records lie in ZooKeeper's tree.
//!
//! Owns the translation of keys to paths. A key's first segment is a folder of its own, and the
//! rest of it one name below, so that a record may lie below another and no folder is ever left
//! behind: folders are containers, which ZooKeeper removes when they have become empty.
//!
//! | key | node |
//! |---|---|
//! | `a` | `/PREFIX/records/:/a` |
//! | `a/b/c` | `/PREFIX/records/a/b:c` |
//!
//! Beside the records lie the fences, `/PREFIX/fences/0` to `255`: see [`super::commit`].

/// How many fences there are: the fewer, the more often two transactions wait for each other.
const FENCES: u32 = 256;

/// The folder of the keys of one segment.
const SINGLE: &str = ":";

/// The paths of one prefix.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    /// With a `/` before it.
    prefix: String,
}

impl Layout {
    pub(super) fn new(prefix: &str) -> Self {
        Self {
            prefix: format!("/{prefix}"),
        }
    }

    /// What all folders lie in.
    pub(super) fn records(&self) -> String {
        format!("{}/records", self.prefix)
    }

    /// What all fences lie in.
    pub(super) fn fences(&self) -> String {
        format!("{}/fences", self.prefix)
    }

    /// The nodes above a path of ours, the highest first.
    pub(super) fn above(path: &str) -> Vec<String> {
        let slashes = path.match_indices('/').skip(1);
        slashes.map(|(at, _)| path[..at].to_owned()).collect()
    }

    /// The folder that a key's node lies in.
    pub(super) fn folder_of(&self, key: &str) -> String {
        let folder = key.split_once('/').map_or(SINGLE, |(first, _)| first);
        format!("{}/{folder}", self.records())
    }

    /// A key's node.
    pub(super) fn node(&self, key: &str) -> String {
        let name = key.split_once('/').map_or(key, |(_, rest)| rest);
        format!("{}/{}", self.folder_of(key), name.replace('/', ":"))
    }

    /// The key whose node this is; none when it is a folder, or none of ours.
    pub(super) fn key(&self, node: &str) -> Option<String> {
        let below = node.strip_prefix(&self.records())?.strip_prefix('/')?;
        let (folder, name) = below.split_once('/')?;
        let name = name.replace(':', "/");
        Some(match folder {
            SINGLE => name,
            folder => format!("{folder}/{name}"),
        })
    }

    /// The folder that holds all below a prefix; none when more than one do.
    pub(super) fn folder_below(&self, prefix: &str) -> Option<String> {
        let first = prefix.split('/').next().filter(|first| !first.is_empty())?;
        Some(format!("{}/{first}", self.records()))
    }

    /// The fence that a key's making moves.
    pub(super) fn fence(&self, key: &str) -> String {
        // FNV-1a: the same on every host, for ever.
        let hash = key.bytes().fold(0x811c_9dc5_u32, |hash, byte| {
            (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
        });
        format!("{}/{}", self.fences(), hash % FENCES)
    }
}

/// Whether a key lies below a prefix.
pub(super) fn is_below(key: &str, prefix: &str) -> bool {
    prefix.is_empty()
        || key
            .strip_prefix(prefix)
            .is_some_and(|rest| rest.starts_with('/'))
}

//! Where records lie in ZooKeeper's tree.
//!
//! Owns the translation of keys to paths. Each segment of a key but the last is a folder, whose name
//! ends in a colon, so that a record may lie beside a folder of its name; what is deeper than
//! [`DEPTH`] is one name. So who lists or follows a part reads no more than that part, and no folder
//! is ever left behind: folders are containers, which ZooKeeper removes when they have become empty.
//!
//! | key | node |
//! |---|---|
//! | `a` | `/PREFIX/records/a` |
//! | `a/b/c` | `/PREFIX/records/a:/b:/c` |
//! | `a/b/c/d/e/f` | `/PREFIX/records/a:/b:/c:/d:/e:f` |
//!
//! Beside the records lie the fences, `/PREFIX/fences/0` to `255`: see [`super::commit`].

use super::wire::Life;

/// How many fences there are: the fewer, the more often two transactions wait for each other.
const FENCES: u32 = 256;

/// How many folders lie in each other at most: each is asked for by itself when all is read.
const DEPTH: usize = 4;

/// What ends a folder's name; no key has it.
const FOLDER: char = ':';

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
        let above = key.rsplit_once('/').map_or("", |(above, _)| above);
        self.folder_below(above)
    }

    /// A key's node.
    pub(super) fn node(&self, key: &str) -> String {
        let segments: Vec<&str> = key.split('/').collect();
        let name = segments[DEPTH.min(segments.len() - 1)..].join(":");
        format!("{}/{name}", self.folder_of(key))
    }

    /// The key whose node this is; none when it is a folder, or none of ours.
    pub(super) fn key(&self, node: &str) -> Option<String> {
        let below = node.strip_prefix(&self.records())?.strip_prefix('/')?;
        if is_folder(below) {
            return None;
        }
        // A folder's colon and the slash after it are one slash, and so is a colon in a name.
        Some(below.replace(":/", "/").replace(FOLDER, "/"))
    }

    /// The folder that holds all below a prefix, and nothing else unless it is the deepest.
    pub(super) fn folder_below(&self, prefix: &str) -> String {
        let segments = prefix.split('/').filter(|segment| !segment.is_empty());
        let mut folder = self.records();
        for segment in segments.take(DEPTH) {
            folder.extend(["/", segment]);
            folder.push(FOLDER);
        }
        folder
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

/// Whether a node is a folder of records.
pub(super) fn is_folder(path: &str) -> bool {
    path.ends_with(FOLDER)
}

/// How long an inner node lives.
pub(super) fn life(path: &str) -> Life {
    match is_folder(path) {
        true => Life::Container,
        false => Life::Persistent,
    }
}

/// Whether a key lies below a prefix.
pub(super) fn is_below(key: &str, prefix: &str) -> bool {
    prefix.is_empty()
        || key
            .strip_prefix(prefix)
            .is_some_and(|rest| rest.starts_with('/'))
}

//! A directory of a test's own, and the stores to try.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};
use vw_store::{Embedded, Error, Journal, Schema, Store};

/// A directory that goes with the test.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "store-{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::SeqCst)
        );
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::create_dir_all(&path).expect("the target directory can be written");
        Self(path)
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.0.join("records")
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).expect("it is ours");
    }
}

/// Opens one kind of durable store.
pub(crate) type Open = fn(&Path, Schema) -> Result<Box<dyn Store>, Error>;

/// Every durable store, by name.
pub(crate) const DURABLE: [(&str, Open); 2] = [
    ("embedded", |path, schema| {
        Ok(Box::new(Embedded::open(path, schema)?))
    }),
    ("journal", |path, schema| {
        Ok(Box::new(Journal::open(path, schema, "boot-1")?))
    }),
];

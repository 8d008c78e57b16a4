//! The store in memory, held to what the real ones do.

use super::conformance::{self, Subject};
use std::time::Duration;
use vw_store::cluster::memory::MemoryStore;

#[test]
fn memory_is_a_store() {
    let memory = MemoryStore::new();
    conformance::run(&Subject {
        store: &*memory.client("a"),
        other: &*memory.client("b"),
        least_ttl: Duration::from_secs(1),
    });
}

//! How often something is logged of records that cannot be read.

use super::MOST;
use crate::mirror::Mirror;
use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tracing::{Event, Metadata, Subscriber, span};
use vw_model::HostId;
use vw_store::cluster::{Change, Record, Version};

/// Counts what is logged.
#[derive(Default)]
struct Lines(Arc<AtomicUsize>);

impl Subscriber for Lines {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }
    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }
    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn event(&self, _: &Event<'_>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

fn key(n: usize) -> String {
    format!("v1/shared/networks/{n:064x}")
}

fn newer(n: usize, format: u32) -> Record {
    Record {
        key: key(n),
        value: format!("{format} {{}}").into_bytes(),
        version: Version(1, 0),
    }
}

#[test]
fn a_record_that_cannot_be_read_is_told_once() {
    let lines = Lines::default();
    let count = lines.0.clone();
    tracing::subscriber::with_default(lines, || {
        let me = HostId::from_bytes([9; 32]);
        let mut mirror = Mirror::new(me, Duration::from_secs(1));
        let mut told = |changes: Vec<Change>| {
            mirror.apply(changes, Duration::ZERO);
            count.swap(0, Ordering::SeqCst)
        };
        let put = |n, format| vec![Change::Put(newer(n, format))];
        assert_eq!(told(put(1, 7)), 1);
        assert_eq!(told(put(1, 7)), 0, "with each change");
        assert_eq!(told(put(1, 8)), 1, "for another reason");
        assert_eq!(told(vec![Change::Deleted(key(1))]), 0);
        assert_eq!(told(put(1, 8)), 1, "after it was gone");
        let many = || (0..2 * MOST).flat_map(|n| put(n, 8)).collect();
        assert_eq!(told(many()), MOST, "one of them that there are more");
        assert_eq!(told(many()), 0);
        let block = "v1/blocks/of-nobody";
        mirror.unread.forget(&key(2));
        mirror.unread.tell(block, "as others are read".to_owned());
        count.store(0, Ordering::SeqCst);
        mirror.replace(vec![newer(1, 8)], &BTreeSet::new(), Duration::ZERO);
        assert_eq!(count.load(Ordering::SeqCst), 0, "when all is read anew");
        let left: Vec<_> = mirror.unread.told.keys().collect();
        assert_eq!(left, [block, &key(1)], "what is gone is forgotten");
        let changes = (2..MOST).flat_map(|n| put(n, 8)).collect();
        mirror.apply(changes, Duration::ZERO);
        let told = count.load(Ordering::SeqCst);
        assert_eq!(told, MOST - 2, "so others are told");
    });
}

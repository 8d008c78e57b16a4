//! What every store does, whichever it is.

use crate::scratch::{DURABLE, Open, Scratch};
use proptest::{prelude::*, test_runner::TestRunner};
use std::collections::BTreeMap;
use vw_store::{Batch, Change, Memory, Schema, Store, Table, faults::Failing};

/// Runs a check on a new store of each kind.
fn for_each_store(check: impl Fn(&dyn Store)) {
    check(&Memory::new());
    check(&Failing::new(Memory::new()));
    for (name, open) in DURABLE {
        let scratch = Scratch::new();
        println!("{name}");
        check(&*open(&scratch.file(), Schema::CURRENT).expect("opens"));
    }
}

fn keys(store: &dyn Store, table: Table) -> Vec<String> {
    let records = store.scan(table).expect("reads");
    records.into_iter().map(|(key, _)| key).collect()
}

#[test]
fn a_new_store_is_empty() {
    for_each_store(|store| {
        for table in Table::ALL {
            assert_eq!(store.scan(table).expect("reads"), []);
            assert_eq!(store.get(table, "x").expect("reads"), None);
        }
    });
}

#[test]
fn records_are_found_by_how_their_keys_begin() {
    for_each_store(|store| {
        let all = ["a", "a/1", "a/2", "a0", "b/1"];
        let batch = all.iter().fold(Batch::new(), |batch, key| {
            batch.put(Table::Networks, *key, key.as_bytes().to_vec())
        });
        store.commit(batch).expect("commits");
        let rows: [(&str, &[&str]); 5] = [
            ("", &all),
            ("a/", &["a/1", "a/2"]),
            ("a/2", &["a/2"]),
            ("a", &all[..4]),
            ("c", &[]),
        ];
        for (prefix, expected) in rows {
            let found = store.scan_prefix(Table::Networks, prefix).expect("reads");
            let keys: Vec<&str> = found.iter().map(|(key, _)| key.as_str()).collect();
            assert_eq!(keys, expected, "{prefix:?}");
            assert!(found.iter().all(|(key, value)| key.as_bytes() == value));
        }
        let other = store.scan_prefix(Table::Leases, "a").expect("reads");
        assert_eq!(other, []);
    });
}

#[test]
fn values_are_opaque_and_keys_are_ordered() {
    for_each_store(|store| {
        let all: Vec<u8> = (0..=255).collect();
        let batch = Batch::new()
            .put(Table::Networks, "b", all.clone())
            .put(Table::Networks, "", Vec::new())
            .put(Table::Networks, "ä/…", vec![1])
            .put(Table::Networks, "a", vec![0; 100_000]);
        store.commit(batch).expect("commits");
        assert_eq!(keys(store, Table::Networks), ["", "a", "b", "ä/…"]);
        assert_eq!(store.get(Table::Networks, "b").expect("reads"), Some(all));
        assert_eq!(
            store.get(Table::Networks, "").expect("reads"),
            Some(Vec::new())
        );
        assert_eq!(keys(store, Table::Containers), Vec::<String>::new());
    });
}

#[test]
fn changes_apply_in_their_order() {
    for_each_store(|store| {
        let batch = Batch::new()
            .put(Table::Meta, "twice", vec![1])
            .put(Table::Meta, "twice", vec![2])
            .put(Table::Meta, "gone", vec![1])
            .delete(Table::Meta, "gone")
            .delete(Table::Meta, "never")
            .delete(Table::Meta, "back")
            .put(Table::Meta, "back", vec![3]);
        store.commit(batch).expect("commits");
        store.commit(Batch::new()).expect("nothing to do");
        assert_eq!(keys(store, Table::Meta), ["back", "twice"]);
        assert_eq!(
            store.get(Table::Meta, "twice").expect("reads"),
            Some(vec![2])
        );
    });
}

#[test]
fn threads_share_it() {
    for_each_store(|store| {
        std::thread::scope(|scope| {
            for thread in 0..4 {
                scope.spawn(move || {
                    for n in 0..25 {
                        let key = format!("{thread}-{n}");
                        let batch = Batch::new()
                            .put(Table::Leases, key.clone(), vec![thread])
                            .put(Table::Attachments, key, vec![thread]);
                        store.commit(batch).expect("commits");
                        let leases = store.scan(Table::Leases).expect("reads").len();
                        let attachments = store.scan(Table::Attachments).expect("reads").len();
                        assert!(leases <= attachments, "half a batch was seen");
                    }
                });
            }
        });
        assert_eq!(keys(store, Table::Leases).len(), 100);
    });
}

#[test]
fn only_the_nth_commit_fails() {
    let store = Failing::new(Memory::new());
    store.fail_nth(2);
    let commit = |key: &str| store.commit(Batch::new().put(Table::Meta, key, Vec::new()));
    let outcomes = ["a", "b", "c"].map(|key| commit(key).is_ok());
    assert_eq!(outcomes, [true, false, true]);
    assert_eq!(
        (keys(&store, Table::Meta), store.commits()),
        (vec!["a".into(), "c".into()], 3)
    );
}

fn change() -> impl Strategy<Value = Change> {
    let table = prop_oneof![Just(Table::Leases), Just(Table::Sandboxes)];
    (table, 0..12u8, proptest::option::of(0..2_000usize)).prop_map(|(table, key, value)| {
        let key = key.to_string();
        match value {
            Some(len) => Change::Put {
                table,
                key,
                value: vec![7; len],
            },
            None => Change::Delete { table, key },
        }
    })
}

/// Opens a store that was just closed: a program that another test is just starting may hold a copy
/// of its lock until it is executed.
fn opened_again(open: Open, scratch: &Scratch) -> Box<dyn Store> {
    let free = || match open(&scratch.file(), Schema::CURRENT) {
        Err(vw_store::Error::InUse { .. }) => None,
        opened => Some(opened.expect("opens again")),
    };
    vw_testkit::poll(std::time::Duration::from_secs(10), free).expect("nobody has it")
}

#[test]
fn reopened_at_any_moment_it_holds_what_was_committed() {
    let step = (
        proptest::collection::vec(change(), 0..6),
        proptest::bool::weighted(0.2),
    );
    let steps = proptest::collection::vec(step, 1..20);
    for (name, open) in DURABLE {
        let config = ProptestConfig {
            cases: 24,
            ..ProptestConfig::default()
        };
        let run = TestRunner::new(config).run(&steps, |steps| {
            let scratch = Scratch::new();
            let mut store = open(&scratch.file(), Schema::CURRENT).expect("opens");
            let mut model: BTreeMap<(Table, String), Vec<u8>> = BTreeMap::new();
            for (changes, reopen) in steps {
                for change in changes.clone() {
                    match change {
                        Change::Put { table, key, value } => model.insert((table, key), value),
                        Change::Delete { table, key } => model.remove(&(table, key)),
                    };
                }
                store
                    .commit(changes.into_iter().collect())
                    .expect("commits");
                if reopen {
                    drop(store);
                    store = opened_again(open, &scratch);
                }
                let mut held = BTreeMap::new();
                for table in Table::ALL {
                    let records = store.scan(table).expect("reads");
                    held.extend(
                        records
                            .into_iter()
                            .map(|(key, value)| ((table, key), value)),
                    );
                }
                prop_assert_eq!(&held, &model);
            }
            Ok(())
        });
        run.unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}

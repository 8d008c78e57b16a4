//! Files that must be refused are refused by name, and left as they are.

use crate::scratch::{DURABLE, Scratch};
use std::{fs, os::unix::fs::PermissionsExt, time::Duration};
use vw_store::{Batch, Error, Journal, Migration, Schema, Store, Table};

const V2: Schema = Schema {
    version: 2,
    migrations: &[Migration {
        from: 1,
        changes: |store| {
            let old = store.scan(Table::Networks)?;
            Ok(old.into_iter().fold(Batch::new(), |batch, (key, value)| {
                batch.delete(Table::Networks, key.clone()).put(
                    Table::Networks,
                    format!("new-{key}"),
                    value,
                )
            }))
        },
    }],
};

fn network(key: &str) -> Batch {
    Batch::new().put(Table::Networks, key, vec![1])
}

fn keys(store: &dyn Store) -> Vec<String> {
    let records = store.scan(Table::Networks).expect("reads");
    records.into_iter().map(|(key, _)| key).collect()
}

#[test]
fn an_older_file_is_migrated_once() {
    for (name, open) in DURABLE {
        let scratch = Scratch::new();
        let file = scratch.file();
        let store = open(&file, Schema::CURRENT).expect("opens");
        store.commit(network("a")).expect("commits");
        drop(store);
        for _ in 0..2 {
            let store = open(&file, V2).expect("migrates");
            assert_eq!(keys(&*store), ["new-a"], "{name}");
        }
    }
}

#[test]
fn a_newer_or_much_older_file_is_refused_and_untouched() {
    for (_, open) in DURABLE {
        let scratch = Scratch::new();
        let file = scratch.file();
        drop(open(&file, V2).expect("opens"));
        let before = fs::read(&file).expect("is there");
        let newer = open(&file, Schema::CURRENT)
            .err()
            .expect("refused")
            .to_string();
        assert_eq!(
            newer,
            format!(
                "{} has schema version 2, but this binary knows none after 1; start a newer one, \
                 or move the file away to start with nothing",
                file.display()
            )
        );
        let gap = Schema { version: 9, ..V2 };
        let older = open(&file, gap).err();
        assert!(matches!(
            older,
            Some(Error::NoMigration {
                found: 2,
                known: 9,
                ..
            })
        ));
        assert!(fs::read(&file).expect("is there") == before);
    }
}

#[test]
fn a_failed_migration_changes_nothing() {
    let failing = Schema {
        version: 2,
        migrations: &[Migration {
            from: 1,
            changes: |_| Err(Error::Injected { nth: 1 }),
        }],
    };
    for (name, open) in DURABLE {
        let scratch = Scratch::new();
        let file = scratch.file();
        open(&file, Schema::CURRENT)
            .expect("opens")
            .commit(network("a"))
            .expect("commits");
        assert!(
            matches!(open(&file, failing), Err(Error::Injected { .. })),
            "{name}"
        );
        let store = open(&file, Schema::CURRENT).expect("still version 1");
        assert_eq!(keys(&*store), ["a"], "{name}");
    }
}

#[test]
fn a_second_opener_is_refused() {
    for (name, open) in DURABLE {
        let scratch = Scratch::new();
        let store = open(&scratch.file(), Schema::CURRENT).expect("opens");
        let second = open(&scratch.file(), Schema::CURRENT);
        assert!(matches!(second, Err(Error::InUse { .. })), "{name}");
        store
            .commit(network("a"))
            .expect("the first is not disturbed");
        drop(store);
        open(&scratch.file(), Schema::CURRENT).expect("free again");
    }
}

#[test]
fn only_its_owner_may_read_it() {
    for (name, open) in DURABLE {
        let scratch = Scratch::new();
        drop(open(&scratch.file(), Schema::CURRENT).expect("opens"));
        let mode = fs::metadata(scratch.file())
            .expect("is there")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
}

#[test]
fn a_missing_directory_is_named() {
    for (_, open) in DURABLE {
        let scratch = Scratch::new();
        let file = scratch.path().join("missing/records");
        let error = vw_model::Error::from(open(&file, Schema::CURRENT).err().expect("refused"));
        assert_eq!(error.reason, "store-unavailable");
        assert!(
            error.chain().contains("missing/records"),
            "{}",
            error.chain()
        );
        assert!(error.chain().contains("No such file"), "{}", error.chain());
    }
}

/// Damages a file in many ways. Each must be refused and leave the file as it is, or, where the
/// damage hit nothing that is in use, open with every record.
#[test]
fn a_corrupt_file_is_refused_and_untouched() {
    for (name, open) in DURABLE {
        let scratch = Scratch::new();
        let file = scratch.file();
        let store = open(&file, Schema::CURRENT).expect("opens");
        for n in 0..60 {
            let batch = Batch::new().put(Table::Networks, format!("{n:02}"), vec![n; 3_000]);
            store.commit(batch).expect("commits");
        }
        let records = store.scan(Table::Networks).expect("reads");
        drop(store);
        let good = fs::read(&file).expect("is there");
        let mut refused = 0;
        for image in damaged(&good) {
            fs::write(&file, &image).expect("writes");
            // A child that another test has just made holds all files until it begins its program.
            let mut opened = None;
            vw_testkit::eventually("nobody has it open", Duration::from_secs(20), || {
                opened = Some(open(&file, Schema::CURRENT));
                !matches!(opened, Some(Err(Error::InUse { .. })))
            });
            match opened.expect("it was tried") {
                Err(Error::Corrupt { path, .. }) => {
                    refused += 1;
                    assert_eq!(path, file);
                    assert!(
                        fs::read(&file).expect("is there") == image,
                        "{name}: overwritten"
                    );
                }
                Err(other) => panic!("{name}: {other}"),
                Ok(store) => {
                    let read = store.scan(Table::Networks).expect("reads");
                    // A journal's last frame may look as if its write had been cut short.
                    let kept = if name == "journal" {
                        read.len().max(59)
                    } else {
                        60
                    };
                    assert!(read == records[..kept], "{name}: {} records", read.len());
                }
            }
        }
        println!("{name}: {refused} refused");
        assert!(refused > 20, "{name}: {refused}");
    }
}

/// Two files that never were stores, and a good one with one byte changed, in many places.
fn damaged(good: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let places = (0..good.len()).step_by(good.len() / 150);
    let changed = places.map(|at| {
        let mut bytes = good.to_vec();
        bytes[at] ^= 0xff;
        bytes
    });
    [b"not a store".repeat(999), vec![b'x'; 3]]
        .into_iter()
        .chain(changed)
}

#[test]
fn a_journal_of_a_former_boot_is_read_as_far_as_it_is_whole() {
    let scratch = Scratch::new();
    let file = scratch.file();
    let journal = Journal::open(&file, Schema::CURRENT, "boot-1").expect("opens");
    for key in ["a", "b", "c"] {
        journal.commit(network(key)).expect("commits");
    }
    drop(journal);
    let mut bytes = fs::read(&file).expect("is there");
    let record = bytes
        .windows(2)
        .rposition(|pair| pair == b"b\x01")
        .expect("b's key and value");
    // Its key's frame no longer fits its checksum.
    bytes[record.saturating_sub(6)] ^= 1;
    fs::write(&file, &bytes).expect("writes");
    let refused = Journal::open(&file, Schema::CURRENT, "boot-1");
    assert!(matches!(refused, Err(Error::Corrupt { .. })));
    let salvaged = Journal::open(&file, Schema::CURRENT, "boot-2").expect("a daemon starts");
    assert_eq!(keys(&salvaged), ["a"]);
    drop(salvaged);
    Journal::open(&file, Schema::CURRENT, "boot-2").expect("whole again");
}

#[test]
fn a_torn_journal_keeps_what_was_acknowledged() {
    let scratch = Scratch::new();
    let file = scratch.file();
    let journal = Journal::open(&file, Schema::CURRENT, "boot-1").expect("opens");
    journal.commit(network("a")).expect("commits");
    let whole = fs::metadata(&file).expect("is there").len();
    journal.commit(network("b")).expect("commits");
    drop(journal);
    let bytes = fs::read(&file).expect("is there");
    let whole = usize::try_from(whole).expect("small");
    for cut in whole..bytes.len() {
        fs::write(&file, &bytes[..cut]).expect("writes");
        let journal = Journal::open(&file, Schema::CURRENT, "boot-1").expect("opens");
        assert_eq!(keys(&journal), ["a"], "cut at {cut}");
        journal.commit(network("c")).expect("commits");
        drop(journal);
        let journal = Journal::open(&file, Schema::CURRENT, "boot-1").expect("opens");
        assert_eq!(keys(&journal), ["a", "c"], "cut at {cut}");
    }
}

#[test]
fn a_journal_stays_in_proportion_to_its_records() {
    let scratch = Scratch::new();
    let file = scratch.file();
    let journal = Journal::open(&file, Schema::CURRENT, "boot-1").expect("opens");
    for n in 0..20_000_u32 {
        let key = (n % 100).to_string();
        let batch = Batch::new().put(Table::Attachments, key, n.to_le_bytes().repeat(150));
        journal.commit(batch).expect("commits");
    }
    let len = fs::metadata(&file).expect("is there").len();
    assert!(len < 2 << 20, "{len} bytes for 60,000 of records");
    drop(journal);
    let journal = Journal::open(&file, Schema::CURRENT, "boot-1").expect("opens");
    let last = journal.get(Table::Attachments, "99").expect("reads");
    assert_eq!(last, Some(19_999_u32.to_le_bytes().repeat(150)));
}

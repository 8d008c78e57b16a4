//! A full disk refuses a commit and nothing else; with room again, the same store goes on.

use crate::scratch::{DURABLE, Open, Scratch};
use rustix::{
    mount::{MountFlags, MountPropagationFlags, mount, mount_change},
    thread::{UnshareFlags, unshare_unsafe},
};
use std::{fs, path::Path, thread};
use vw_store::{Batch, Error, Schema, Table};

#[test]
fn a_full_disk_is_survived() {
    for (name, open) in DURABLE {
        let scratch = Scratch::new();
        let directory = scratch.path().to_owned();
        // On a thread of its own: its mount namespace, and so the tmpfs, goes with it.
        let outcome = thread::spawn(move || {
            mount_small(&directory)?;
            fill_and_go_on(name, open, &directory);
            rustix::io::Result::Ok(())
        });
        if let Err(error) = outcome.join().expect("no panic") {
            println!("SKIP {name}: cannot mount a tmpfs: {error}");
        }
    }
}

fn mount_small(directory: &Path) -> rustix::io::Result<()> {
    // SAFETY: only this thread's view of mounts changes, and nothing else runs on it.
    unsafe { unshare_unsafe(UnshareFlags::NEWNS)? };
    mount_change(
        "/",
        MountPropagationFlags::REC | MountPropagationFlags::PRIVATE,
    )?;
    mount(
        "tmpfs",
        directory,
        "tmpfs",
        MountFlags::empty(),
        Some(c"size=6m"),
    )
}

fn fill_and_go_on(name: &str, open: Open, directory: &Path) {
    let file = directory.join("records");
    let ballast = directory.join("ballast");
    let store = open(&file, Schema::CURRENT).expect("opens");
    let put = |key: u32| {
        let batch = Batch::new()
            .put(Table::Leases, format!("{key:04}"), vec![1; 3_000])
            .put(Table::Attachments, format!("{key:04}"), vec![2; 3_000]);
        store.commit(batch)
    };
    fs::write(&ballast, vec![0; 2 << 20]).expect("room for ballast");
    let mut committed = 0;
    let refused = loop {
        match put(committed) {
            Ok(()) => committed += 1,
            Err(error) => break error,
        }
        assert!(committed < 5_000, "{name}: the disk is never full");
    };
    assert!(matches!(refused, Error::Io { .. }), "{name}: {refused:?}");
    println!(
        "{name}: refused after {committed}: {}",
        vw_model::Error::from(refused).chain()
    );
    let seen = || {
        store
            .scan(Table::Leases)
            .map(|records| records.len() as u32)
    };
    for _ in 0..3 {
        assert!(put(committed).is_err(), "{name}: still full");
    }

    fs::remove_file(&ballast).expect("ours");
    assert_eq!(
        seen().expect("reads"),
        committed,
        "{name}: none lost, none half there"
    );
    put(committed).expect("goes on with room again");
    assert_eq!(seen().expect("reads"), committed + 1);
    drop(store);
    let store = open(&file, Schema::CURRENT).expect("opens again");
    let leases = store.scan(Table::Leases).expect("reads").len();
    let attachments = store.scan(Table::Attachments).expect("reads").len();
    assert_eq!(
        (leases, attachments),
        (committed as usize + 1, leases),
        "{name}"
    );
}

//! `kill -9` at any moment loses no acknowledged commit and shows no half of one.
//!
//! The test starts itself as the child that commits.

use crate::scratch::{DURABLE, Scratch};
use std::{
    env,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Command, Stdio},
};
use vw_store::{Batch, Schema, Table};

const CHILD: &str = "VW_STORE_KILL_CHILD";

#[test]
fn acknowledged_commits_survive() {
    for (name, _) in DURABLE {
        let scratch = Scratch::new();
        let mut acknowledged = 0;
        for round in 0..6 {
            acknowledged = run_and_kill(name, &scratch.file(), acknowledged, 5 + round * 37);
            check(name, &scratch.file(), acknowledged);
        }
        println!("{name}: {acknowledged} commits, six kills");
    }
}

/// Starts a child that commits from `first` on, kills it after it acknowledged `enough`, and
/// returns the first number that it did not acknowledge.
fn run_and_kill(name: &str, file: &Path, first: u64, enough: u64) -> u64 {
    let mut child = Command::new(env::current_exe().expect("known"))
        .args(["--exact", "kill::child", "--nocapture", "--include-ignored"])
        .env(CHILD, format!("{name} {first} {}", file.display()))
        .stdout(Stdio::piped())
        .spawn()
        .expect("starts");
    let mut next = first;
    let output = BufReader::new(child.stdout.take().expect("piped"));
    for line in output.lines() {
        let line = line.expect("text");
        if let Some(number) = line.strip_prefix("committed ") {
            next = number.parse::<u64>().expect("a number") + 1;
            if next == first + enough {
                child.kill().expect("SIGKILL");
            }
        }
    }
    child.wait().expect("reaped");
    assert!(next >= first + enough, "{name}: the child ended by itself");
    next
}

fn check(name: &str, file: &Path, acknowledged: u64) {
    let (_, open) = DURABLE
        .into_iter()
        .find(|(known, _)| *known == name)
        .expect("known");
    let store = open(file, Schema::CURRENT).expect("opens after a kill");
    let leases = store.scan(Table::Leases).expect("reads");
    let attachments = store.scan(Table::Attachments).expect("reads");
    let seen = leases.len() as u64;
    assert!(
        seen == acknowledged || seen == acknowledged + 1,
        "{name}: {seen} of {acknowledged}"
    );
    assert_eq!(leases, attachments, "{name}: half a batch");
    for n in 0..acknowledged {
        let value = store.get(Table::Leases, &n.to_string()).expect("reads");
        assert_eq!(value, Some(vec![n as u8; 500]), "{name}: commit {n}");
    }
    // What was not acknowledged is taken back, so that the next round counts on.
    let key = acknowledged.to_string();
    let undo = Batch::new()
        .delete(Table::Leases, key.clone())
        .delete(Table::Attachments, key);
    store.commit(undo).expect("commits");
}

/// The child; does nothing in a normal run.
#[test]
fn child() {
    let Ok(task) = env::var(CHILD) else { return };
    let mut task = task.splitn(3, ' ');
    let mut word = || task.next().expect("three words");
    let (name, first, file) = (word(), word(), word());
    let (_, open) = DURABLE
        .into_iter()
        .find(|(known, _)| *known == name)
        .expect("known");
    let store = open(Path::new(file), Schema::CURRENT).expect("opens");
    let mut out = std::io::stdout();
    for n in first.parse::<u64>().expect("a number").. {
        let value = vec![n as u8; 500];
        let batch = Batch::new()
            .put(Table::Leases, n.to_string(), value.clone())
            .put(Table::Attachments, n.to_string(), value);
        store.commit(batch).expect("commits");
        // The parent may be gone already when it kills late.
        writeln!(out, "\ncommitted {n}")
            .and_then(|()| out.flush())
            .expect("the parent reads");
    }
}

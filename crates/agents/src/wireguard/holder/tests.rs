//! A change of keys, step by step, with one other host.

use super::*;
use std::fs;
use vw_model::PublicKey;

/// A folder that goes with the test.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The other host, with what it accepts.
fn other(taken: impl IntoIterator<Item = PublicKey>) -> RemoteHost {
    RemoteHost {
        id: HostId::from_bytes([2; 32]),
        name: "b".to_owned(),
        tunnel: [192, 0, 2, 2].into(),
        keys: Some(TunnelKeys {
            public: PublicKey::from_bytes([2; 32]),
            next: None,
            port: 51_820,
            taken: taken.into_iter().collect(),
            idle: false,
            woke: 0,
        }),
        unpublished: Default::default(),
        away: false,
    }
}

fn only(host: RemoteHost) -> OtherHosts {
    std::iter::once(host).collect()
}

#[test]
fn a_key_is_used_when_the_others_accept_it_whatever_is_restarted_between() {
    let name = format!("vw-holder-{}", std::process::id());
    let folder = Folder(std::env::temp_dir().join(name));
    fs::create_dir(&folder.0).unwrap();
    let file = folder.0.join("tunnel.key");
    let open = || KeyHolder::open(file.clone(), Duration::ZERO).unwrap();
    let first = open().keys(7).public;
    // With nobody there each key is used at once: a period that is over begins another.
    let mut holder = open();
    assert_eq!(holder.change(&only(other([])), None).unwrap(), ANSWER);
    let told = holder.keys(7);
    let next = told.next.unwrap();
    assert_eq!((told.public, told.port), (first, 7));
    // Who does not accept it keeps it from being used, also from one that starts.
    let mut holder = open();
    assert_eq!(holder.change(&only(other([])), None).unwrap(), ANSWER);
    assert_eq!(holder.keys(7), told);
    assert!(holder.former().is_none());
    // One without keys has no tunnel, and is not waited for; the one that accepts is the last.
    let without = RemoteHost {
        id: HostId::from_bytes([3; 32]),
        keys: None,
        ..other([])
    };
    assert_eq!(
        holder
            .change(&[other([next]), without].into_iter().collect(), None)
            .unwrap(),
        ANSWER
    );
    let used = holder.keys(7);
    assert_eq!(used.public, next);
    assert!(used.next.is_some_and(|following| following != next));
    assert_eq!(holder.former().map(PrivateKey::public), Some(first));
    assert_eq!(open().keys(7), used);
}

#[test]
fn one_that_is_idle_is_waited_for_until_the_store_has_the_next_key() {
    let name = format!("vw-holder-idle-{}", std::process::id());
    let folder = Folder(std::env::temp_dir().join(name));
    fs::create_dir(&folder.0).unwrap();
    let file = folder.0.join("tunnel.key");
    let mut holder = KeyHolder::open(file, Duration::ZERO).unwrap();
    let mut idle = other([]);
    if let Some(keys) = &mut idle.keys {
        keys.idle = true;
    }
    holder.change(&only(idle.clone()), None).unwrap();
    let told = holder.keys(7);
    // What the store has is another key, as when a former one was read.
    holder
        .change(&only(idle.clone()), Some(told.public))
        .unwrap();
    assert_eq!(holder.keys(7), told);
    holder.change(&only(idle), told.next).unwrap();
    assert_eq!(Some(holder.keys(7).public), told.next);
}

#[test]
fn what_hosts_answer_is_taken_from_those_that_change() {
    let name = format!("vw-holder-many-{}", std::process::id());
    let folder = Folder(std::env::temp_dir().join(name));
    fs::create_dir(&folder.0).unwrap();
    let file = folder.0.join("tunnel.key");
    let mut holder = KeyHolder::open(file, Duration::ZERO).unwrap();
    let host = |number, taken: Option<PublicKey>| {
        let mut host = other(taken);
        host.id = HostId::from_bytes([number; 32]);
        if let Some(keys) = &mut host.keys {
            keys.public = PublicKey::from_bytes([number; 32]);
        }
        host
    };
    let mut others: OtherHosts = (2..=9).map(|number| host(number, None)).collect();
    holder.change(&others, None).unwrap();
    let told = holder.keys(7);
    for number in 2..=9 {
        others.settle();
        let answered = (number < 9).then(|| host(number, told.next));
        others.take(HostId::from_bytes([number; 32]), answered);
        assert_eq!(others.changed().len(), 1);
        assert_eq!(holder.keys(7), told, "{number} has not answered");
        holder.change(&others, None).unwrap();
    }
    // The last is gone instead.
    assert_eq!(Some(holder.keys(7).public), told.next);
    // One that comes while the following key is next keeps that from being used.
    let told = holder.keys(7);
    for number in 2..=8 {
        others.take(
            HostId::from_bytes([number; 32]),
            Some(host(number, told.next)),
        );
    }
    others.take(HostId::from_bytes([10; 32]), Some(host(10, None)));
    holder.change(&others, None).unwrap();
    assert_eq!(holder.keys(7), told);
}

#[test]
fn a_clock_that_is_set_back_has_the_key_changed_at_once_and_after_a_start() {
    let name = format!("vw-holder-clock-{}", std::process::id());
    let folder = Folder(std::env::temp_dir().join(name));
    fs::create_dir(&folder.0).unwrap();
    let file = folder.0.join("tunnel.key");
    let hour = Duration::from_secs(3600);
    let start = Reading::now();
    let at = |wall: Duration, boot: Duration| Reading {
        wall: start.wall + wall,
        boot: start.boot + boot,
    };
    let open = || KeyHolder::open(file.clone(), 1000 * hour).unwrap();
    let nobody = OtherHosts::default();
    let mut holder = open();
    let first = holder.keys(7).public;
    let change = |holder: &mut KeyHolder, now: Reading| {
        let wait = holder.change_at(&nobody, None, now).unwrap();
        assert_eq!(
            wait, LOOK,
            "the clock is looked at before the period is over"
        );
        holder.keys(7).public
    };
    assert_eq!(change(&mut holder, at(9 * hour, hour)), first);
    assert_eq!(change(&mut holder, at(10 * hour, 2 * hour)), first);
    let second = change(&mut holder, at(5 * hour, 3 * hour));
    assert_ne!(second, first);
    assert_eq!(change(&mut holder, at(6 * hour, 4 * hour)), second);
    assert_eq!(change(&mut open(), at(6 * hour, Duration::ZERO)), second);
    // It had not begun before the key by which the time is told.
    let third = change(&mut open(), at(6 * hour - hour / 2, Duration::ZERO));
    assert_ne!(third, second);
    assert_eq!(change(&mut open(), at(6 * hour, hour)), third);
}

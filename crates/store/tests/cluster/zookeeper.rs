//! A real ZooKeeper: the suite, and what is ZooKeeper's own.

use super::{
    conformance::{self, Subject, commit, delete, get, put, value},
    faults::{self, making, open},
    proxy::{Mode, Proxy},
    replay::{LONG, Replay},
    stopped,
};
use std::{cell::RefCell, time::Duration};
use vw_store::cluster::ClusterError;
use vw_testkit::{
    Lab,
    cluster_stores::{Certificates, Place, ZooKeeper, ZooKeeperSettings},
    eventually, require, require_programs,
};

/// Two ticks.
const LEAST_TTL: Duration = Duration::from_secs(2);

fn places(number: usize) -> Vec<Place> {
    vec![Place::machine(); number]
}

macro_rules! require_zookeeper {
    () => {
        require_programs!("java");
        require!(
            ZooKeeper::is_installed(),
            "needs the classes of zookeeper: run `scripts/install-deps`"
        );
    };
}

#[test]
fn zookeeper_is_a_store() {
    require_zookeeper!();
    let lab = Lab::new();
    let zookeeper = ZooKeeper::start(&lab, &places(1));
    let url = zookeeper.url() + "/some/where";
    conformance::run(&Subject {
        store: &*open(&url, &[]),
        other: &*open(&url, &[]),
        least_ttl: LEAST_TTL,
    });
    stopped::run(&*open(&url, &[]), &url, LEAST_TTL);
    // What lies below another prefix is another store.
    assert_eq!(get(&*open(&zookeeper.url(), &[]), "once/a"), None);
}

#[test]
fn zookeeper_of_three_servers_goes_on_without_one() {
    require_zookeeper!();
    let lab = Lab::new();
    let mut zookeeper = ZooKeeper::start(&lab, &places(3));
    let mut addresses = zookeeper.addresses();
    addresses.reverse();
    let store = open(&zookeeper.url(), &[]);
    conformance::run(&Subject {
        store: &*store,
        other: &*open(&format!("zk://{}", addresses.join(",")), &[]),
        least_ttl: LEAST_TTL,
    });
    faults::member_lost(&*store, || zookeeper.kill(0));
    zookeeper.restart(0);
    zookeeper.wait();
    // A store that begins with the server that hangs.
    let store = open(&format!("{}/hung", zookeeper.url()), &[]);
    faults::member_lost(&*store, || zookeeper.pause(0));
    zookeeper.resume(0);
    zookeeper.wait();
    let store = open(&format!("{}/led", zookeeper.url()), &[]);
    let leader = zookeeper.leader();
    faults::member_lost(&*store, || zookeeper.kill(leader));
}

#[test]
fn zookeeper_may_come_later_and_go_meanwhile() {
    require_zookeeper!();
    let lab = Lab::new();
    let zookeeper = RefCell::new(ZooKeeper::start(&lab, &places(1)));
    let restart = || {
        zookeeper.borrow_mut().restart(0);
        zookeeper.borrow_mut().wait();
    };
    zookeeper.borrow_mut().kill(0);
    let store = open(&zookeeper.borrow().url(), &[]);
    faults::away(&*store, restart);
    faults::restarted(&*store, || zookeeper.borrow_mut().kill(0), restart);
    let address = zookeeper.borrow().addresses().remove(0);
    let open = |address: &str| open(&format!("zk://{address}"), &[]);
    faults::cut(&address, 1, open);
    faults::overtaken(&address, 1, open);
    faults::switched_off(&address, open);
}

#[test]
fn a_presence_outlives_the_server_that_it_was_made_at() {
    require_zookeeper!();
    let lab = Lab::new();
    let mut zookeeper = ZooKeeper::start(&lab, &places(3));
    let store = open(&zookeeper.url(), &[]);
    let ttl = Duration::from_secs(20);
    let mut presence = store.announce("host/a", b"me", ttl).expect("it is there");
    let before = get(&*store, "host/a");
    zookeeper.kill(0);
    let renewed = vw_testkit::poll(LONG, || match presence.renew() {
        Err(ClusterError::Unavailable { .. }) => None,
        other => Some(other),
    });
    assert_eq!(renewed, Some(Ok(())));
    assert_eq!(get(&*store, "host/a"), before);
}

#[test]
fn a_watch_of_a_zookeeper_that_lost_its_history_says_so() {
    require_zookeeper!();
    let lab = Lab::new();
    let mut zookeeper = ZooKeeper::start(&lab, &places(1));
    let store = open(&zookeeper.url(), &[]);
    for round in 0..20 {
        commit(&*store, [], [put("history/a", round.to_string())]);
    }
    let mut replay = Replay::follow(&*store, "history");
    replay.step().expect("nothing was missed");
    zookeeper.kill(0);
    zookeeper.forget(0);
    zookeeper.restart(0);
    zookeeper.wait();
    let lost = vw_testkit::poll(LONG, || replay.step().err());
    assert!(matches!(lost, Some(ClusterError::Lost { .. })), "{lost:?}");
}

#[test]
fn a_watch_of_a_zookeeper_that_was_brought_back_says_so() {
    require_zookeeper!();
    let lab = Lab::new();
    let zookeeper = RefCell::new(ZooKeeper::start(&lab, &places(3)));
    let store = open(&zookeeper.borrow().url(), &[]);
    let folder = |name: &str| lab.folder().join(name.replace('/', "-"));
    faults::brought_back(
        &*store,
        |name| zookeeper.borrow().save(&folder(name)),
        |name| zookeeper.borrow_mut().bring_back(&folder(name)),
    );
}

#[test]
fn a_presence_that_loses_its_server_goes_on_at_the_one_that_others_use() {
    require_zookeeper!();
    let lab = Lab::new();
    let zookeeper = ZooKeeper::start(&lab, &places(2));
    let [first, second] = [0, 1].map(|number| Proxy::to(&zookeeper.addresses()[number]));
    let url = format!("zk://{},{}", first.address(), second.address());
    let store = open(&url, &[]);
    let ttl = Duration::from_secs(20);
    let mut presence = store.announce("host/a", b"me", ttl).expect("it is there");
    // Others are asked of the second.
    first.set(Mode::Refuse);
    assert!(get(&*store, "host/a").is_some());
    first.set(Mode::Pass);
    assert_eq!(presence.renew(), Ok(()));
    first.set(Mode::Refuse);
    let taken = first.taken();
    assert_eq!(presence.renew(), Ok(()));
    assert_eq!(first.taken(), taken, "the first is not asked again");
}

#[test]
fn nothing_is_left_of_what_is_deleted() {
    require_zookeeper!();
    let lab = Lab::new();
    let zookeeper = ZooKeeper::start(&lab, &places(1));
    let store = open(&zookeeper.url(), &[]);
    commit(&*store, [], [put("stays/a", "1"), put("goes/a/b", "1")]);
    let folders = || zookeeper.ctl(&["ls", "/vethwork/records"]).ok();
    assert!(folders().contains("[goes:, stays:]"), "{}", folders());
    commit(&*store, [], [delete("goes/a/b")]);
    eventually("the empty folder goes", LONG, || {
        folders().contains("[stays:]")
    });
    commit(&*store, [], [put("goes/a/b", "2")]);
    assert_eq!(value(&*store, "goes/a/b").as_deref(), Some(&b"2"[..]));
}

#[test]
fn who_asks_for_a_part_is_told_of_no_more() {
    require_zookeeper!();
    let lab = Lab::new();
    let zookeeper = ZooKeeper::start(&lab, &places(1));
    let direct = open(&zookeeper.url(), &[]);
    let fill = |below: &str| {
        for batch in 0..20 {
            let keys = (0..50).map(|n| format!("{below}/{batch}-{n}"));
            let writes: Vec<_> = keys.map(|key| put(&key, "1")).collect();
            commit(&*direct, [], writes);
        }
    };
    fill("part/many");
    commit(&*direct, [], [put("part/few/a", "1")]);
    let proxy = Proxy::to(&zookeeper.addresses()[0]);
    let store = open(&format!("zk://{}", proxy.address()), &[]);
    let mut replay = Replay::follow(&*store, "part/few");
    let keys = store.list("part/few").expect("it is there");
    assert_eq!(keys.len(), 1);
    fill("part/others");
    commit(&*direct, [], [put("part/few/b", "1")]);
    replay.reaches(direct.list("part/few").expect("it is there"));
    // A name and an event have some twenty bytes each, of each of 2,000 records.
    let told = proxy.told();
    assert!(told < 10_000, "{told} bytes");
}

#[test]
fn zookeeper_lets_in_whom_it_knows() {
    require_zookeeper!();
    let lab = Lab::new();
    let zookeeper = ZooKeeper::start(&lab, &places(1));
    let store = open(&zookeeper.url(), &["user=me", "password=hush"]);
    commit(&*store, [], [put("auth/a", "1")]);
    assert_eq!(value(&*store, "auth/a").as_deref(), Some(&b"1"[..]));
    faults::everything(&*store);
    for options in [&[][..], &["user=me", "password=wrong"]] {
        let stranger = open(&zookeeper.url(), options);
        let ttl = Duration::from_secs(10);
        for refused in [
            stranger.get("auth/a").map(|_| ()),
            stranger.list("auth").map(|_| ()),
            stranger.follow("auth").map(|_| ()),
            stranger.commit(&making("auth/b")).map(|_| ()),
            stranger.announce("auth/c", b"", ttl).map(|_| ()),
        ] {
            let forbidden = matches!(refused, Err(ClusterError::Forbidden { .. }));
            assert!(forbidden, "{options:?}: {refused:?}");
        }
    }
}

#[test]
fn zookeeper_speaks_tls_both_ways() {
    require_zookeeper!();
    require_programs!("openssl");
    let lab = Lab::new();
    let ours = Certificates::new(&lab, "ours", &["127.0.0.1"]);
    let theirs = Certificates::new(&lab, "theirs", &["127.0.0.1"]);
    let settings = ZooKeeperSettings {
        tls: Some(ours.clone()),
    };
    let zookeeper = ZooKeeper::start_with(&lab, &places(1), settings);
    let url = format!("zk://{}", zookeeper.secure_address().expect("it has one"));
    let option = |key: &str, from: &Certificates, file: &str| {
        format!("tls.{key}={}", from.file(file).display())
    };
    let ca = option("ca", &ours, "ca.pem");
    let cert = option("cert", &ours, "client.pem");
    let key = option("key", &ours, "client.key");
    let store = open(&url, &[&ca, &cert, &key]);
    faults::make(&*store, "tls/a");
    assert!(store.members()[0].answer.is_ok(), "{:?}", store.members());
    let wrong = option("ca", &theirs, "ca.pem");
    for options in [&[][..], &[&*ca], &[&*wrong, &*cert, &*key]] {
        let refused = open(&url, options).get("a");
        assert!(refused.is_err(), "{options:?}");
    }
}

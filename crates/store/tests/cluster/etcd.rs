//! A real etcd: the suite, and what is etcd's own.

use super::{
    conformance::{self, Subject, commit, delete, get, put, value},
    faults::{self, making, open},
    replay::Replay,
    stopped,
};
use std::{cell::RefCell, time::Duration};
use vw_store::cluster::{ClusterError, ClusterUrl, Options, connect};
use vw_testkit::{
    Lab,
    cluster_stores::{Certificates, Etcd, EtcdSettings, Place},
    eventually, require_programs,
};

const LEAST_TTL: Duration = Duration::from_secs(2);

fn places(number: usize) -> Vec<Place> {
    vec![Place::machine(); number]
}

#[test]
fn etcd_is_a_store() {
    require_programs!("etcd", "etcdctl");
    let lab = Lab::new();
    let etcd = Etcd::start(&lab, &places(1));
    let url = etcd.url() + "/some/where";
    conformance::run(&Subject {
        store: &*open(&url, &[]),
        other: &*open(&url, &[]),
        least_ttl: LEAST_TTL,
    });
    stopped::run(&*open(&url, &[]), &url, LEAST_TTL);
    // What lies below another prefix is another store.
    assert_eq!(get(&*open(&etcd.url(), &[]), "once/a"), None);
    let raw = etcd.ctl(&["get", "some/where/once/a", "--print-value-only"]);
    assert_eq!(raw.ok(), "1");
}

#[test]
fn etcd_of_three_members_goes_on_without_one() {
    require_programs!("etcd", "etcdctl");
    let lab = Lab::new();
    let mut etcd = Etcd::start(&lab, &places(3));
    let store = open(&etcd.url(), &[]);
    conformance::run(&Subject {
        store: &*store,
        other: &*open(&reversed(&etcd), &[]),
        least_ttl: LEAST_TTL,
    });
    faults::member_lost(&*store, || etcd.kill(0));
    etcd.restart(0);
    etcd.wait();
    // A store that begins with the member that hangs.
    let store = open(&format!("{}/hung", etcd.url()), &[]);
    faults::member_lost(&*store, || etcd.pause(0));
    etcd.resume(0);
}

fn reversed(etcd: &Etcd) -> String {
    let mut addresses = etcd.addresses();
    addresses.reverse();
    format!("etcd://{}", addresses.join(","))
}

#[test]
fn etcd_without_a_majority_serves_nothing_and_then_goes_on() {
    require_programs!("etcd", "etcdctl");
    let lab = Lab::new();
    let etcd = RefCell::new(Etcd::start(&lab, &places(3)));
    let store = open(&etcd.borrow().url(), &[]);
    commit(&*store, [], [put("majority/a", "1")]);
    let mut replay = Replay::follow(&*store, "majority");
    replay.step().expect("nothing was missed");
    etcd.borrow_mut().kill(1);
    etcd.borrow_mut().kill(2);
    eventually("reading stops", super::replay::LONG, || {
        matches!(
            store.get("majority/a"),
            Err(ClusterError::Unavailable { .. })
        )
    });
    let written = store.commit(&making("majority/b"));
    let refused = matches!(
        written,
        Err(ClusterError::Unavailable { .. } | ClusterError::Uncertain { .. })
    );
    assert!(refused, "{written:?}");
    etcd.borrow_mut().restart(1);
    etcd.borrow_mut().restart(2);
    faults::make(&*store, "majority/b");
    replay.reaches(store.list("majority").expect("it is back"));
}

#[test]
fn etcd_may_come_later_and_go_meanwhile() {
    require_programs!("etcd", "etcdctl");
    let lab = Lab::new();
    let etcd = RefCell::new(Etcd::start(&lab, &places(1)));
    let restart = || {
        etcd.borrow_mut().restart(0);
        etcd.borrow_mut().wait();
    };
    etcd.borrow_mut().kill(0);
    let store = open(&etcd.borrow().url(), &[]);
    faults::away(&*store, restart);
    faults::restarted(&*store, || etcd.borrow_mut().kill(0), restart);
    let address = etcd.borrow().addresses().remove(0);
    let open = |address: &str| open(&format!("etcd://{address}"), &[]);
    faults::cut(&address, 0, open);
    faults::overtaken(&address, 0, open);
    faults::switched_off(&address, open);
}

#[test]
fn a_watch_that_compaction_overtook_says_so() {
    require_programs!("etcd", "etcdctl");
    let lab = Lab::new();
    let etcd = Etcd::start(&lab, &places(1));
    let store = open(&etcd.url(), &[]);
    let mut stalled = Replay::follow(&*store, "compacted");
    for round in 0..5 {
        commit(&*store, [], [put("compacted/a", round.to_string())]);
    }
    let (_, mut fresh) = store.follow("compacted").expect("it is there");
    compact(&etcd);
    let lost = stalled.step();
    assert!(matches!(lost, Err(ClusterError::Lost { .. })), "{lost:?}");
    assert_eq!(fresh.next(Duration::from_millis(100)), Ok(Vec::new()));
}

#[test]
fn a_watch_goes_on_over_a_compaction_after_which_nothing_of_it_changed() {
    require_programs!("etcd", "etcdctl");
    let lab = Lab::new();
    let mut etcd = Etcd::start(&lab, &places(1));
    let store = open(&etcd.url(), &[]);
    commit(&*store, [], [put("idle/a", "1"), put("idle/b", "1")]);
    let others = |etcd: &Etcd| {
        for round in 0..5 {
            commit(&*store, [], [put("elsewhere/a", round.to_string())]);
        }
        compact(etcd);
    };
    let (_, mut watch) = store.follow("idle").expect("it is there");
    // What takes no second to come does not come.
    let mut next = move || {
        let told = vw_testkit::poll(super::replay::LONG, || {
            match watch.next(Duration::from_secs(1)) {
                Err(ClusterError::Unavailable { .. }) => None,
                other => Some(other.expect("nothing was missed")),
            }
        });
        told.expect("the store is there")
    };
    others(&etcd);
    assert_eq!(next(), []);
    let rounds = [
        vec![put("idle/c", "1")],
        vec![put("idle/c", "2"), delete("idle/b")],
        vec![put("idle/b", "1"), delete("idle/c"), delete("idle/a")],
    ];
    for changes in rounds {
        commit(&*store, [], changes.clone());
        assert_eq!(next().len(), changes.len());
        others(&etcd);
        // Its stream ends, and another one begins.
        etcd.kill(0);
        etcd.restart(0);
        etcd.wait();
        assert_eq!(next(), []);
    }
    // Neither has begun its stream yet.
    let missed = |change| {
        let mut late = Replay::follow(&*store, "idle");
        commit(&*store, [], [change]);
        others(&etcd);
        let lost = late.step();
        assert!(matches!(lost, Err(ClusterError::Lost { .. })), "{lost:?}");
    };
    missed(put("idle/b", "2"));
    missed(delete("idle/b"));
}

/// Has it forget what is not any more.
fn compact(etcd: &Etcd) {
    let status = etcd.ctl(&["endpoint", "status", "--write-out=fields"]).ok();
    let revision = status
        .lines()
        .find_map(|line| line.strip_prefix("\"Revision\" : "))
        .expect("etcdctl tells it");
    etcd.ctl(&["compact", revision]).must();
}

#[test]
fn a_watch_goes_on_where_what_it_told_last_was_deleted_and_compacted() {
    require_programs!("etcd", "etcdctl");
    let lab = Lab::new();
    let mut etcd = Etcd::start(&lab, &places(1));
    let (store, backup) = (open(&etcd.url(), &[]), lab.folder().join("backup"));
    commit(&*store, [], [put("witness/a", "1"), put("witness/b", "1")]);
    let mut replay = Replay::follow(&*store, "witness");
    etcd.save(&backup);
    commit(&*store, [], [put("witness/c", "1")]);
    commit(&*store, [], [put("witness/d", "1")]);
    commit(&*store, [], [delete("witness/d")]);
    replay.reaches(store.list("witness").expect("it is there"));
    compact(&etcd);
    // Its stream ends, and another one begins.
    let restart = |etcd: &mut Etcd| {
        etcd.kill(0);
        etcd.restart(0);
        etcd.wait();
    };
    restart(&mut etcd);
    faults::make(&*store, "witness/e");
    replay.reaches(store.list("witness").expect("it is there"));
    commit(&*store, [], [delete("witness/e")]);
    replay.reaches(store.list("witness").expect("it is there"));
    // One of before what stands was told is none to go on with; it is in no earlier term.
    etcd.bring_back(&backup);
    restart(&mut etcd);
    for round in 0..9 {
        commit(&*store, [], [put("elsewhere/a", round.to_string())]);
    }
    compact(&etcd);
    let lost = vw_testkit::poll(super::replay::LONG, || replay.step().err());
    assert!(matches!(lost, Some(ClusterError::Lost { .. })), "{lost:?}");
}

#[test]
fn a_watch_of_a_history_that_was_lost_says_so() {
    require_programs!("etcd", "etcdctl");
    let lab = Lab::new();
    let mut etcd = Etcd::start(&lab, &places(1));
    let store = open(&etcd.url(), &[]);
    for round in 0..5 {
        commit(&*store, [], [put("history/a", round.to_string())]);
    }
    let mut replay = Replay::follow(&*store, "history");
    replay.step().expect("nothing was missed");
    etcd.kill(0);
    etcd.forget(0);
    etcd.restart(0);
    etcd.wait();
    let lost = vw_testkit::poll(super::replay::LONG, || replay.step().err());
    assert!(matches!(lost, Some(ClusterError::Lost { .. })), "{lost:?}");
}

#[test]
fn a_watch_of_a_history_that_was_written_past_says_so() {
    require_programs!("etcd", "etcdctl");
    let lab = Lab::new();
    let mut etcd = Etcd::start(&lab, &places(1));
    let (store, backup) = (open(&etcd.url(), &[]), lab.folder().join("backup"));
    commit(&*store, [], [put("history/a", "1")]);
    etcd.save(&backup);
    let mut replay = Replay::follow(&*store, "history");
    commit(&*store, [], [put("history/b", "1")]);
    let told = vw_testkit::poll(super::replay::LONG, || {
        replay.step().expect("nothing was missed");
        replay.value("history/b").map(|_| ())
    });
    assert!(told.is_some());
    etcd.bring_back(&backup);
    // As many revisions as there were, and more.
    for round in 0..5 {
        commit(&*store, [], [put("elsewhere/a", round.to_string())]);
    }
    let lost = vw_testkit::poll(super::replay::LONG, || replay.step().err());
    assert!(matches!(lost, Some(ClusterError::Lost { .. })), "{lost:?}");
    // One that goes on in the same history misses nothing.
    let mut replay = Replay::follow(&*store, "history");
    commit(&*store, [], [put("history/a", "2"), put("history/c", "1")]);
    etcd.kill(0);
    etcd.restart(0);
    etcd.wait();
    faults::make(&*store, "history/d");
    let told = vw_testkit::poll(super::replay::LONG, || {
        replay.step().expect("nothing was missed");
        replay.value("history/d").map(|_| ())
    });
    assert!(told.is_some() && replay.value("history/c").is_some());
}

#[test]
fn etcd_lets_in_whom_it_knows() {
    require_programs!("etcd", "etcdctl");
    let lab = Lab::new();
    let mut etcd = Etcd::start(&lab, &places(1));
    for arguments in [
        &["user", "add", "root:hush"][..],
        &["user", "grant-role", "root", "root"],
        &["user", "add", "other:hush"],
        &["role", "add", "net"],
        &[
            "role",
            "grant-permission",
            "--prefix=true",
            "net",
            "readwrite",
            "vethwork/",
        ],
        &["user", "add", "net:hush"],
        &["user", "grant-role", "net", "net"],
        &["auth", "enable"],
    ] {
        etcd.ctl(arguments).must();
    }
    let file = lab.folder().join("password");
    std::fs::write(&file, "hush\n").expect("the folder is ours");
    let from_file = format!("password-file={}", file.display());
    let store = open(&etcd.url(), &["user=root", &from_file]);
    let mut replay = Replay::follow(&*store, "auth");
    commit(&*store, [], [put("auth/a", "1")]);
    replay.reaches(store.list("auth").expect("it lets us in"));
    // No more rights than docs/cluster-store.md wants.
    faults::everything(&*open(&etcd.url(), &["user=net", "password=hush"]));
    std::fs::write(&file, "wrong\n").expect("the folder is ours");
    let late = open(&etcd.url(), &["user=root", &from_file]);
    assert!(late.get("auth/a").is_err());
    std::fs::write(&file, "hush\n").expect("the folder is ours");
    assert!(get(&*late, "auth/a").is_some(), "the file was read again");
    // A change to the users makes old tokens void, and a restart forgets them.
    etcd.ctl(&["--user=root:hush", "user", "add", "third:hush"])
        .must();
    assert_eq!(value(&*store, "auth/a").as_deref(), Some(&b"1"[..]));
    etcd.kill(0);
    etcd.restart(0);
    faults::make(&*store, "auth/later");
    replay.reaches(store.list("auth").expect("it lets us in"));
    for options in [
        &[][..],
        &["user=root", "password=wrong"],
        &["user=nobody", "password=hush"],
        &["user=other", "password=hush"],
    ] {
        let stranger = open(&etcd.url(), options);
        for refused in [
            stranger.get("auth/a").map(|_| ()),
            stranger.commit(&making("auth/b")).map(|_| ()),
        ] {
            let forbidden = matches!(refused, Err(ClusterError::Forbidden { .. }));
            assert!(forbidden, "{options:?}: {refused:?}");
        }
    }
}

#[test]
fn a_user_is_given_in_vain_or_not_as_etcd_asks_for_one() {
    require_programs!("etcd", "etcdctl");
    let lab = Lab::new();
    let etcd = Etcd::start(&lab, &places(1));
    let store = open(&etcd.url(), &["user=root", "password=hush"]);
    let mut replay = Replay::follow(&*store, "auth");
    // Nobody is asked who he is.
    commit(&*store, [], [put("auth/a", "1")]);
    replay.reaches(store.list("auth").expect("it lets us in"));
    etcd.ctl(&["user", "add", "root:hush"]).must();
    etcd.ctl(&["user", "grant-role", "root", "root"]).must();
    // Switched on, and off again, and on.
    for number in ["2", "3"] {
        etcd.ctl(&["auth", "enable"]).must();
        commit(&*store, [], [put("auth/a", number)]);
        replay.reaches(store.list("auth").expect("it lets us in"));
        let nobody = open(&etcd.url(), &[]).get("auth/a");
        let forbidden = matches!(nobody, Err(ClusterError::Forbidden { .. }));
        assert!(forbidden, "{nobody:?}");
        etcd.ctl(&["--user=root:hush", "auth", "disable"]).must();
        commit(&*store, [], [put("auth/b", number)]);
        let late = open(&etcd.url(), &["user=root", "password=hush"]);
        assert_eq!(value(&*late, "auth/b").as_deref(), Some(number.as_bytes()));
        replay.reaches(store.list("auth").expect("it lets us in"));
    }
}

#[test]
fn etcd_speaks_tls_both_ways() {
    require_programs!("etcd", "etcdctl", "openssl");
    let lab = Lab::new();
    let ours = Certificates::new(&lab, "ours", &["127.0.0.1"]);
    let theirs = Certificates::new(&lab, "theirs", &["127.0.0.1"]);
    let settings = EtcdSettings {
        tls: Some(ours.clone()),
        ..EtcdSettings::default()
    };
    let etcd = Etcd::start_with(&lab, &places(1), settings);
    let option = |key: &str, from: &Certificates, file: &str| {
        format!("tls.{key}={}", from.file(file).display())
    };
    let ca = option("ca", &ours, "ca.pem");
    let cert = option("cert", &ours, "client.pem");
    let key = option("key", &ours, "client.key");
    let store = open(&etcd.url(), &[&ca, &cert, &key]);
    conformance::run(&Subject {
        store: &*store,
        other: &*store,
        least_ttl: LEAST_TTL,
    });
    let wrong = option("ca", &theirs, "ca.pem");
    for options in [&[][..], &[&*ca], &[&*wrong, &*cert, &*key]] {
        let refused = open(&etcd.url(), options).get("a");
        assert!(refused.is_err(), "{options:?}");
    }
    // Files that are replaced count from the next connection on, in any order.
    let copy = |from: &Certificates, file: &str| {
        let to = lab.folder().join(file);
        std::fs::copy(from.file(file), to).expect("the folder is ours");
    };
    let own = |key: &str, file: &str| format!("tls.{key}={}", lab.folder().join(file).display());
    ["client.pem", "client.key"]
        .iter()
        .for_each(|file| copy(&theirs, file));
    let (cert, key) = (own("cert", "client.pem"), own("key", "client.key"));
    let store = open(&etcd.url(), &[&ca, &cert, &key]);
    assert!(store.get("a").is_err());
    for file in ["client.pem", "client.key"] {
        assert!(store.get("a").is_err(), "{file}");
        copy(&ours, file);
    }
    assert_eq!(get(&*store, "a"), None);
    let text = option("ca", &ours, "ca.key");
    let options = Options::parse([text]).expect("its form is good");
    let url: ClusterUrl = etcd.url().parse().expect("it is good");
    let store = connect(&url, &options).expect("no option is wrong");
    let refused = store.get("a").expect_err("a key is no certificate");
    assert!(refused.to_string().contains("tls.ca: "), "{refused}");
}

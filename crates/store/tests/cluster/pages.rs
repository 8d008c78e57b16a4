//! More records than an etcd is asked for at once.

use super::{
    conformance::{commit, put},
    faults::open,
    proxy::{Mode, Proxy},
    replay::Replay,
};
use std::thread;
use vw_testkit::{
    Lab,
    cluster_stores::{Etcd, Place},
    require_programs,
};

/// More than two pages.
const RECORDS: usize = 2500;

#[test]
fn what_takes_etcd_several_answers_is_of_one_moment() {
    require_programs!("etcd", "etcdctl");
    let lab = Lab::new();
    let etcd = Etcd::start(&lab, &[Place::machine()]);
    let direct = open(&etcd.url(), &[]);
    let keys: Vec<String> = (0..RECORDS).map(|n| format!("pages/{n:05}")).collect();
    for keys in keys.chunks(50) {
        let writes: Vec<_> = keys.iter().map(|key| put(key, "1")).collect();
        commit(&*direct, [], writes);
    }
    let ends = [&keys[0], &keys[RECORDS - 1]];
    let change = |value: &str| {
        commit(&*direct, [], ends.map(|key| put(key, value)));
    };
    let proxy = Proxy::to(&etcd.addresses()[0]);
    let store = open(&format!("etcd://{}", proxy.address()), &[]);
    let follow_while = |change: &dyn Fn()| {
        proxy.set(Mode::HoldRequests(1));
        thread::scope(|scope| {
            let following = scope.spawn(|| Replay::follow(&*store, "pages"));
            proxy.wait_until_held();
            change();
            proxy.set(Mode::Pass);
            following.join().expect("it follows")
        })
    };
    let values = |replay: &Replay| ends.map(|key| replay.value(key).map(<[u8]>::to_vec));
    let both = |value: &str| [Some(value.as_bytes().to_vec()), Some(value.into())];
    // What changes between two pages is in neither, and told after.
    let mut replay = follow_while(&|| change("2"));
    assert_eq!(values(&replay), both("1"));
    replay.reaches(direct.list("pages").expect("it is there"));
    assert_eq!(values(&replay), both("2"));
    // It is begun anew where the moment of the first page is compacted before the second.
    let mut replay = follow_while(&|| {
        change("3");
        etcd.ctl(&["compact", &etcd.changes().to_string()]).must();
    });
    assert_eq!(values(&replay), both("3"));
    replay.reaches(direct.list("pages").expect("it is there"));
    assert_eq!(direct.list("pages").map(|all| all.len()), Ok(RECORDS));
}

//! Hosts whose daemons are gone while their kernels answer.

use super::{super::life::SILENT, *};
use crate::{mirror::Life, record::STOPPED};

const SECOND: Duration = Duration::from_secs(1);

/// Host 2 with endpoint 1 on network 1, of which host 1 knows.
fn scene() -> Scene {
    let mut scene = Scene::new();
    for record in [
        network_record(1),
        alive(2),
        host_record(2, 2),
        endpoint_record(1, 2, 1),
    ] {
        scene.put(record);
    }
    scene
}

impl Scene {
    /// The kernels of all that are asked answer now.
    fn answer(&mut self) {
        let asked = self.mirror.to_ask().into_keys().collect();
        self.mirror.heard(&asked, &asked, self.now);
    }

    /// After this time they are asked, and none answers.
    fn silent_for(&mut self, time: Duration) -> Vec<String> {
        let asked = self.mirror.to_ask().into_keys().collect();
        self.mirror.heard(&asked, &BTreeSet::new(), self.now + time);
        self.after(time)
    }

    /// Its daemon is lost, and its kernel answers.
    fn lose(&mut self) -> Vec<String> {
        assert!(self.mirror.to_ask().is_empty(), "nobody is asked in vain");
        self.lapse()
    }

    /// Its presence is gone, and its kernel answers.
    fn lapse(&mut self) -> Vec<String> {
        assert!(self.delete(Shared::Alive(host(2))).is_empty());
        let asked = self.mirror.to_ask();
        assert_eq!(asked, BTreeMap::from([(host(2), [192, 0, 2, 2].into())]));
        self.answer();
        self.after(TTL / 2)
    }
}

const AWAY: [&str; 2] = ["~h2@192.0.2.2", "~e1@192.0.2.2"];
const BACK: [&str; 2] = ["+h2@192.0.2.2", "+e1@192.0.2.2"];
const GONE: [&str; 2] = ["-e1", "-h2"];

#[test]
fn a_host_whose_kernel_answers_is_away_until_it_does_not() {
    let mut scene = scene();
    assert_eq!(scene.lose(), AWAY);
    assert!(
        scene.mirror.hosts[&host(2)].is_lost(),
        "its daemon is not there"
    );
    for _ in 0..20 {
        scene.answer();
        assert!(scene.after(SECOND).is_empty());
    }
    scene.answer();
    assert!(scene.silent_for(SILENT - SECOND).is_empty());
    assert_eq!(scene.silent_for(SECOND), GONE);
    assert!(scene.mirror.to_ask().is_empty());
    scene.answer();
    assert!(scene.after(SECOND).is_empty(), "who is dead is not asked");
}

#[test]
fn a_host_whose_kernel_is_silent_is_dead_when_its_time_is_over() {
    let mut scene = scene();
    scene.delete(Shared::Alive(host(2)));
    assert!(scene.after(TTL / 2 - Duration::from_millis(1)).is_empty());
    assert_eq!(scene.after(Duration::from_millis(1)), GONE);
    // What answered the last time says nothing of this one.
    scene.put(alive(2));
    assert_eq!(scene.lose(), AWAY);
    scene.answer();
    assert_eq!(scene.put(alive(2)), BACK);
    scene.delete(Shared::Alive(host(2)));
    assert_eq!(scene.after(TTL / 2), GONE);
}

#[test]
fn a_host_that_is_away_comes_back_and_goes_with_its_records() {
    let mut scene = scene();
    assert_eq!(scene.lose(), AWAY);
    assert_eq!(scene.put(alive(2)), BACK);
    assert_eq!(scene.lose(), AWAY);
    assert_eq!(
        scene.delete(Shared::Endpoint(network(1), host(2), endpoint(1))),
        ["-e1"]
    );
    assert_eq!(scene.put(endpoint_record(1, 2, 1)), ["~e1@192.0.2.2"]);
    assert_eq!(scene.delete(Shared::Host(host(2))), GONE);
    assert!(scene.mirror.to_ask().is_empty());
    scene.delete(Shared::Endpoint(network(1), host(2), endpoint(1)));
    scene.answer();
    scene.after(SECOND);
    assert!(
        !scene.mirror.hosts.contains_key(&host(2)),
        "nothing is left"
    );
}

#[test]
fn who_cannot_be_asked_is_not_silent_and_nobody_is_away_for_good() {
    let mut scene = scene();
    scene.mirror.asks = true;
    // In doubt it is given up once it was asked in vain, and waited for no longer than a few seconds.
    scene.delete(Shared::Alive(host(2)));
    assert!(scene.after(TTL / 2).is_empty(), "it was not asked yet");
    assert_eq!(scene.silent_for(SECOND), GONE);
    scene.put(alive(2));
    scene.delete(Shared::Alive(host(2)));
    assert!(scene.after(TTL / 2 + 2 * SECOND).is_empty());
    assert_eq!(scene.after(SECOND), GONE);
    scene.put(alive(2));
    assert_eq!(scene.lose(), AWAY);
    assert!(scene.after(10 * SILENT).is_empty());
    scene.answer();
    assert!(scene.after(SECOND).is_empty(), "it could not be asked");
    scene.now += 3600 * SECOND;
    // Each time counts by itself.
    assert_eq!(scene.put(alive(2)), BACK);
    assert_eq!(scene.lose(), AWAY);
    scene.now += 3600 * SECOND;
    scene.answer();
    assert_eq!(scene.after(SECOND), GONE);
}

/// A host whose disk was emptied answers at the address of its former self.
#[test]
fn a_host_at_whose_address_another_lives_is_dead() {
    let mut scene = scene();
    scene.put(alive(3));
    scene.put(host_record(3, 2));
    assert_eq!(scene.lose(), GONE);
}

#[test]
fn a_host_that_was_away_is_so_after_a_start() {
    let mut former = scene();
    former.lose();
    let (hosts, mut endpoints) = (former.mirror.remote_hosts(), Vec::new());
    for endpoint in former.mirror.remote_endpoints(network(1)) {
        endpoints.push((*endpoint).clone());
    }
    let known = hosts.into_iter().map(|told| {
        let record = former.mirror.hosts[&told.id].record.clone();
        (record.expect("it has one").record, told)
    });
    let networks = vec![former.mirror.networks[&network(1)].record.clone()];
    let mut scene = Scene::new();
    let now = scene.now;
    scene
        .mirror
        .restore(networks, known.collect(), Vec::new(), endpoints, now);
    assert_eq!(scene.mirror.hosts[&host(2)].life, Life::Away);
    let told = short(&scene.mirror.everything());
    assert_eq!(told[1..], AWAY);
    // The store has it so, too.
    assert!(scene.replace(records_without_presence()).is_empty());
    scene.answer();
    assert!(scene.silent_for(SILENT - SECOND).is_empty());
    assert_eq!(scene.silent_for(SECOND), GONE);
}

/// The presence that host 2 left behind when it stopped for the n-th time.
fn stopped(n: u64) -> Record {
    Record {
        version: Version(10 + n, 0),
        ..record(Shared::Alive(host(2)), STOPPED.to_vec())
    }
}

#[test]
fn a_host_that_stopped_in_order_is_dead_once_its_kernel_falls_silent() {
    let mut scene = scene();
    assert!(scene.put(stopped(1)).is_empty(), "it counts as alive");
    let asked = scene.mirror.to_ask();
    assert_eq!(asked, BTreeMap::from([(host(2), [192, 0, 2, 2].into())]));
    for _ in 0..20 {
        scene.answer();
        assert!(scene.after(SECOND).is_empty());
        assert!(scene.mirror.hosts[&host(2)].lives());
    }
    scene.answer();
    assert!(scene.silent_for(SILENT - SECOND).is_empty());
    assert!(!scene.mirror.outlived(host(2), stopped(1).version));
    assert_eq!(scene.silent_for(SECOND), GONE);
    assert!(scene.mirror.hosts[&host(2)].is_lost());
    assert!(scene.mirror.outlived(host(2), stopped(1).version));
    assert!(!scene.mirror.outlived(host(2), stopped(2).version));
    // What it left behind is there still.
    let records = [records_without_presence(), vec![stopped(1)]].concat();
    assert!(scene.replace(records).is_empty());
    assert!(scene.mirror.to_ask().is_empty());
    assert!(scene.delete(Shared::Alive(host(2))).is_empty());
    assert_eq!(scene.put(alive(2)), BACK);
    assert!(scene.put(stopped(2)).is_empty());
    assert!(!scene.mirror.outlived(host(2), stopped(2).version));
}

#[test]
fn a_host_that_stopped_in_order_and_never_answers_has_its_grace() {
    let mut scene = scene();
    scene.put(stopped(1));
    assert!(scene.after(15 * SILENT).is_empty());
    assert!(scene.delete(Shared::Alive(host(2))).is_empty());
    assert_eq!(scene.after(TTL / 2), GONE);
    // One whose kernel answers is away after it, and back with its daemon.
    assert_eq!(scene.put(alive(2)), BACK);
    scene.put(stopped(2));
    scene.answer();
    assert_eq!(scene.lapse(), AWAY);
    assert_eq!(scene.put(stopped(3)), BACK);
    // A presence that all of a sudden is not there is in doubt like any other.
    assert!(scene.replace(records_without_presence()).is_empty());
    assert_eq!(scene.after(2 * TTL), GONE);
}

#[test]
fn what_this_host_left_behind_itself_has_nobody_asked() {
    let mut scene = scene();
    scene.put(host_record(1, 1));
    scene.put(record(Shared::Alive(host(1)), STOPPED.to_vec()));
    assert!(scene.mirror.to_ask().is_empty());
}

fn records_without_presence() -> Vec<Record> {
    vec![
        network_record(1),
        host_record(2, 2),
        endpoint_record(1, 2, 1),
    ]
}

//! Seeded runs over each store, `VETHWORK_TRIAL_SEED=N` plays the schedule of one seed again; and
//! histories that must be refused.

#![cfg(test)]

use super::{
    host::{self, PART},
    log::{Entry, Event, Lease, Why},
    sample::Sample,
    schedule::schedule,
    stage::{HOSTS, MEMBERS, Stage},
    verdict::judge,
};
use crate::{
    keys::{self, Shared},
    record::{self, BlockRecord, Claims, ForgottenRecord, NetworkRecord, NetworkState},
    simulation,
};
use std::{env, time::Duration};
use vw_ipam::Division;
use vw_model::{EndpointId, HostId, NetworkId, PoolSpec};
use vw_store::cluster::{Record, Version};
use vw_testkit::{cluster_stores::Kind, require, require_programs, require_root};

/// The process of a host, when the environment says of which.
#[test]
fn host() {
    if let Ok(told) = env::var(PART) {
        host::run(&serde_json::from_str(&told).expect("it was written by the test"));
    }
}

/// Plays faults for so long over a store whose presences last so long.
fn play(kind: Kind, length: u64, ttl: u64, presence: u64) {
    let asked = env::var("VETHWORK_TRIAL_SEED").ok();
    let seed = asked.map_or(1, |text| text.parse().expect("a number"));
    let length = Duration::from_secs(length);
    let faults = schedule(
        seed,
        (HOSTS, MEMBERS),
        length,
        Duration::from_secs(presence),
    );
    eprintln!("play it again: VETHWORK_TRIAL_SEED={seed}");
    faults.iter().for_each(|fault| eprintln!("{fault}"));
    let mut stage = Stage::new(kind, seed, Duration::from_secs(ttl));
    stage.play(&faults);
    stage.come_to_rest();
    let (logs, samples) = stage.history();
    let tally = judge(&logs, &samples).unwrap_or_else(|why| panic!("{why}"));
    eprintln!("{tally:?}");
    assert!(
        tally["addresses compared with the store"] > 100,
        "{tally:?}"
    );
}

#[test]
fn over_etcd_whatever_goes_wrong_hosts_agree() {
    require_root!();
    require_programs!("etcd", "etcdctl", "ip", "nft");
    play(Kind::Etcd, 25, 1, 4);
}

#[test]
fn over_consul_whatever_goes_wrong_hosts_agree() {
    require_root!();
    require_programs!("consul", "ip", "nft");
    play(Kind::Consul, 30, 10, 22);
}

#[test]
fn over_zookeeper_whatever_goes_wrong_hosts_agree() {
    require_root!();
    require_programs!("java", "ip", "nft");
    require!(
        Kind::ZooKeeper.is_installed(),
        "needs the classes of zookeeper: run `scripts/install-deps`"
    );
    play(Kind::ZooKeeper, 25, 1, 5);
}

const A: HostId = HostId::from_bytes([1; 32]);
const B: HostId = HostId::from_bytes([2; 32]);

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn entries<const N: usize>(host: HostId, events: [(u64, Event); N]) -> Vec<Entry> {
    let first = [(0, Event::Started(host)), (0, Event::Joined)];
    let all = first.into_iter().chain(events);
    let entry = |(at, event)| Entry {
        at: seconds(at),
        event,
    };
    all.map(entry).collect()
}

/// One network, with one block.
struct Store(NetworkRecord);

impl Store {
    fn new() -> Self {
        let (mut spec, _) = simulation::network();
        spec.ipam.pools = vec![PoolSpec {
            subnet: "10.1.0.0/24".parse().unwrap(),
            ip_range: None,
            gateway: None,
            aux: Default::default(),
            given: false,
        }];
        let claims = Claims {
            name: "n".to_owned(),
            subnets: vec![spec.ipam.pools[0].subnet],
            vnis: [7].into(),
        };
        let state = NetworkState::Active(None);
        Self(NetworkRecord {
            claims,
            spec,
            state,
        })
    }

    fn network(&self) -> NetworkId {
        self.0.spec.id
    }

    fn lease(&self, id: u8) -> Lease {
        Lease {
            network: self.network(),
            addr: "10.1.0.5".parse().unwrap(),
            id: EndpointId::from_bytes([id; 32]),
        }
    }

    /// The store at a time, with its hosts, the block's among them, and without the network where
    /// there is no block.
    fn at(&self, at: u64, hosts: &[HostId], owner: Option<HostId>) -> Sample {
        let mut records = Vec::new();
        for host in hosts {
            records.push((Shared::Host(*host).key(), Vec::new()));
            records.push((Shared::Alive(*host).key(), Vec::new()));
        }
        if let Some(host) = owner {
            let range = Division::of(self.0.claims.subnets[0]).block("10.1.0.5".parse().unwrap());
            let block = keys::block(self.network(), range.unwrap());
            records.push((block, record::encode(&BlockRecord { host })));
            let network = Shared::Network(self.network()).key();
            records.push((network, record::encode(&self.0)));
        }
        let record = |(key, value)| Record {
            key,
            value,
            version: Version(1, 1),
        };
        let records = records.into_iter().map(record).collect();
        Sample::new(seconds(at), seconds(at), records)
    }
}

#[track_caller]
fn refused(logs: &[Vec<Entry>], samples: &[Sample], why: &str) {
    let said = judge(logs, samples).unwrap_err();
    assert!(said.contains(why), "{said}");
}

#[test]
fn an_address_twice_is_found_unless_one_of_both_was_forgotten() {
    let store = Store::new();
    let (one, two) = (store.lease(1), store.lease(2));
    let a = entries(
        A,
        [
            (1, Event::Leased(one)),
            (5, Event::Dropped(one, Why::Asked)),
        ],
    );
    let b = entries(B, [(4, Event::Leased(two))]);
    refused(&[a.clone(), b], &[], "twice");
    let both = [(1, Event::Leased(one)), (4, Event::Leased(two))];
    refused(&[entries(A, both)], &[], "twice");
    let later = entries(B, [(5, Event::Leased(two))]);
    judge(&[a.clone(), later], &[]).unwrap();
    let samples = [store.at(4, &[B], None)];
    let forgetting = [(3, Event::Forgetting(A)), (4, Event::Leased(two))];
    judge(&[a.clone(), entries(B, forgetting)], &samples).unwrap();
    let refusal = [
        (2, Event::Forgetting(A)),
        (3, Event::NotForgotten(A)),
        (4, Event::Leased(two)),
    ];
    refused(&[a, entries(B, refusal)], &samples, "twice");
}

#[test]
fn an_address_out_of_anothers_block_is_found() {
    let store = Store::new();
    let logs = [entries(A, [(1, Event::Leased(store.lease(1)))])];
    judge(&logs, &[store.at(2, &[A, B], Some(A))]).unwrap();
    refused(&logs, &[store.at(2, &[A, B], Some(B))], "is not");
}

#[test]
fn a_verdict_shows_what_led_to_it() {
    let store = Store::new();
    let (a, b) = (
        entries(A, [(2, Event::Leased(store.lease(1)))]),
        entries(B, [(1, Event::Forgetting(A)), (2, Event::NotForgotten(A))]),
    );
    let at = |at, owner| store.at(at, &[A, B], Some(owner));
    let samples = [at(1, A), at(3, B), at(4, B), at(20, A)];
    let said = judge(&[a, b], &samples).unwrap_err();
    let found = ["is of", "Forgetting", "Leased"].map(|word| said.matches(word).count());
    // The lease itself is told as a use.
    assert_eq!(found, [2, 1, 1], "{said}");
    let order = ["1s", "2s", "3s"].map(|at| said.find(&format!("\n{at} ")));
    assert!(order.is_sorted() && order[0].is_some(), "{said}");
}

#[test]
fn a_lease_lost_over_a_restart_is_found() {
    let store = Store::new();
    let lease = store.lease(1);
    let lost = [
        (1, Event::Leased(lease)),
        (3, Event::Dropped(lease, Why::Lost)),
    ];
    let logs = [entries(A, lost)];
    refused(&logs, &[store.at(4, &[A], Some(A))], "lost");
    judge(&logs, &[store.at(4, &[A], None)]).unwrap();
}

#[test]
fn a_removal_under_a_living_hosts_endpoint_is_found() {
    let store = Store::new();
    let lease = store.lease(1);
    let (id, gone) = (store.network(), Event::Dropped(lease, Why::NetworkGone));
    let a = entries(A, [(1, Event::Leased(lease)), (4, gone)]);
    let b = entries(B, [(4, Event::Removed(id, seconds(3)))]);
    let logs = [a, b];
    let before = || store.at(2, &[A, B], Some(A));
    refused(&logs, &[before(), store.at(5, &[A, B], None)], "removed");
    judge(&logs, &[before(), store.at(5, &[B], None)]).unwrap();
}

#[test]
fn what_a_forgotten_host_makes_is_found() {
    let store = Store::new();
    let samples = |owner| [store.at(1, &[B], None), store.at(2, &[B], Some(owner))];
    refused(&[], &samples(A), "forgotten");
    judge(&[], &samples(B)).unwrap();
    // It joined meanwhile, and was forgotten after it.
    let since = |host, version| {
        let mut samples = samples(A);
        let (key, name) = (keys::FORGOTTEN.to_owned(), String::new());
        let last = record::encode(&ForgottenRecord { host, name });
        samples[1].records.insert(key.clone(), last);
        samples[1].versions.insert(key, Version(version, 1));
        samples
    };
    judge(&[], &since(A, 2)).unwrap();
    for (host, version) in [(A, 1), (B, 2)] {
        refused(&[], &since(host, version), "forgotten");
    }
}

#[test]
fn a_network_that_comes_back_is_found() {
    let store = Store::new();
    let at = |at, owner| store.at(at, &[A], owner);
    let samples = [at(1, Some(A)), at(2, None), at(3, Some(A))];
    refused(&[], &samples, "comes back");
}

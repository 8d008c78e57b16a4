//! What changes of records mean to a follower.

mod away;

use super::Mirror;
use crate::{
    Delta, Parting,
    keys::Shared,
    record::{self, Claims, EndpointRecord, HostRecord, NetworkRecord, NetworkState},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, SystemTime},
};
use vw_model::{EndpointId, HostId, IpamSpec, MacAddr, NetworkId, NetworkSpec, Scope, ServiceId};
use vw_store::cluster::{Change, Record, Version};

const TTL: Duration = Duration::from_secs(4);

fn host(n: u8) -> HostId {
    HostId::from_bytes([n; 32])
}

fn network(n: u8) -> NetworkId {
    NetworkId::from_bytes([n; 32])
}

fn endpoint(n: u8) -> EndpointId {
    EndpointId::from_bytes([n; 32])
}

fn record(key: Shared, value: Vec<u8>) -> Record {
    Record {
        key: key.key(),
        value,
        version: Version(1, 0),
    }
}

fn host_record(n: u8, last: u8) -> Record {
    let known = HostRecord {
        name: format!("h{n}"),
        advertise: [192, 0, 2, last].into(),
        version: String::new(),
        instance: String::new(),
        since: 0,
    };
    record(Shared::Host(host(n)), record::encode(&known))
}

fn alive(n: u8) -> Record {
    record(Shared::Alive(host(n)), Vec::new())
}

fn network_record(n: u8) -> Record {
    let name = format!("n{n}");
    let spec = NetworkSpec {
        id: network(n),
        name: name.parse().unwrap(),
        driver: "overlay".to_owned(),
        scope: Scope::Global,
        created: SystemTime::UNIX_EPOCH,
        enable_ipv4: true,
        enable_ipv6: false,
        internal: false,
        attachable: false,
        predefined: false,
        ipam: IpamSpec {
            driver: "default".to_owned(),
            options: BTreeMap::new(),
            pools: Vec::new(),
        },
        options: BTreeMap::new(),
        labels: BTreeMap::new(),
    };
    let claims = Claims {
        name,
        subnets: Vec::new(),
        vnis: BTreeSet::new(),
    };
    let known = NetworkRecord {
        claims,
        spec,
        state: NetworkState::Active(None),
    };
    record(Shared::Network(network(n)), record::encode(&known))
}

fn endpoint_record(on: u8, of: u8, n: u8) -> Record {
    let known = EndpointRecord {
        mac: MacAddr([2, 0, 0, 0, 0, n]),
        addresses: Vec::new(),
        names: vec![format!("e{n}")],
        sandbox: vw_model::SandboxId::from_bytes([n; 32]),
        ports: Vec::new(),
        service: None,
    };
    record(
        Shared::Endpoint(network(on), host(of), endpoint(n)),
        record::encode(&known),
    )
}

/// The deltas in short.
fn short(deltas: &[Delta]) -> Vec<String> {
    let word = |delta: &Delta| match delta {
        Delta::Network(spec) => format!("+{}", spec.name),
        Delta::NetworkGone(id) => format!("-n{}", id.0.as_bytes()[0]),
        Delta::Service(spec) => format!("+{}", spec.name),
        Delta::ServiceGone(id) => format!("-s{}", id.0.as_bytes()[0]),
        Delta::Endpoint(endpoint) => {
            let sign = sign(endpoint.away);
            format!("{sign}{}@{}", endpoint.names[0], endpoint.tunnel)
        }
        Delta::EndpointGone(_, id, parting) => {
            let withdrawn = match parting {
                Parting::Withdrawn => " withdrawn",
                Parting::Lost => "",
            };
            format!("-e{}{withdrawn}", id.0.as_bytes()[0])
        }
        Delta::Host(host) => format!("{}{}@{}", sign(host.away), host.name, host.tunnel),
        Delta::HostGone(id) => format!("-h{}", id.0.as_bytes()[0]),
        Delta::Store(_) | Delta::Forgotten | Delta::Joined => unreachable!("not the mirror's"),
    };
    deltas.iter().map(word).collect()
}

/// Who is away is there, in a way.
const fn sign(away: bool) -> char {
    if away { '~' } else { '+' }
}

struct Scene {
    mirror: Mirror,
    now: Duration,
}

impl Scene {
    fn new() -> Self {
        Self {
            mirror: Mirror::new(host(1), TTL),
            now: Duration::ZERO,
        }
    }

    fn put(&mut self, record: Record) -> Vec<String> {
        short(
            &self
                .mirror
                .apply(vec![Change::Put(record)], self.now)
                .deltas,
        )
    }

    fn delete(&mut self, key: Shared) -> Vec<String> {
        short(
            &self
                .mirror
                .apply(vec![Change::Deleted(key.key())], self.now)
                .deltas,
        )
    }

    fn replace(&mut self, records: Vec<Record>) -> Vec<String> {
        short(
            &self
                .mirror
                .replace(records, &BTreeSet::new(), self.now)
                .deltas,
        )
    }

    fn after(&mut self, time: Duration) -> Vec<String> {
        self.now += time;
        short(&self.mirror.tick(self.now).deltas)
    }
}

#[test]
fn an_endpoint_is_shown_once_its_network_its_host_and_its_life_are_known() {
    let mut scene = Scene::new();
    assert!(scene.put(endpoint_record(1, 2, 1)).is_empty());
    assert_eq!(scene.put(network_record(1)), ["+n1"]);
    assert!(scene.put(alive(2)).is_empty());
    assert_eq!(
        scene.put(host_record(2, 2)),
        ["+h2@192.0.2.2", "+e1@192.0.2.2"]
    );
    assert!(scene.put(endpoint_record(1, 2, 1)).is_empty(), "told twice");
    assert!(scene.put(alive(2)).is_empty(), "renewed");
    assert_eq!(
        scene.put(host_record(2, 9)),
        ["+h2@192.0.2.9", "+e1@192.0.2.9"]
    );
    assert_eq!(scene.delete(Shared::Network(network(1))), ["-e1", "-n1"]);
    assert_eq!(scene.put(network_record(1)), ["+n1", "+e1@192.0.2.9"]);
    assert_eq!(
        scene.delete(Shared::Host(host(2))),
        ["-e1", "-h2"],
        "forgotten"
    );
}

#[test]
fn what_is_this_hosts_own_is_not_shown() {
    let mut scene = Scene::new();
    scene.put(network_record(1));
    for record in [host_record(1, 1), alive(1), endpoint_record(1, 1, 1)] {
        assert!(scene.put(record).is_empty());
    }
    let seen = scene
        .mirror
        .apply(vec![Change::Put(endpoint_record(1, 1, 1))], scene.now);
    assert_eq!(seen.own.len(), 1);
}

#[test]
fn a_presence_that_comes_back_in_time_is_not_missed() {
    let mut scene = Scene::new();
    scene.replace(vec![
        network_record(1),
        host_record(2, 2),
        alive(2),
        endpoint_record(1, 2, 1),
    ]);
    assert!(scene.delete(Shared::Alive(host(2))).is_empty());
    assert!(scene.after(TTL / 4).is_empty());
    assert!(scene.put(alive(2)).is_empty());
    assert!(scene.after(TTL * 9).is_empty());
    assert!(scene.delete(Shared::Alive(host(2))).is_empty());
    assert_eq!(scene.after(TTL / 2), ["-e1", "-h2"]);
    assert_eq!(scene.put(alive(2)), ["+h2@192.0.2.2", "+e1@192.0.2.2"]);
}

#[test]
fn reading_everything_tells_the_differences_and_gives_the_absent_time() {
    let mut scene = Scene::new();
    let all = || {
        vec![
            endpoint_record(1, 2, 1),
            network_record(1),
            host_record(2, 2),
            alive(2),
        ]
    };
    assert_eq!(
        scene.replace(all()),
        ["+n1", "+h2@192.0.2.2", "+e1@192.0.2.2"]
    );
    assert!(scene.replace(all()).is_empty());
    let without_presences = all()
        .into_iter()
        .filter(|record| !record.key.contains("alive"));
    assert!(scene.replace(without_presences.collect()).is_empty());
    assert!(scene.after(TTL).is_empty());
    assert!(scene.replace(all()).is_empty());
    assert!(scene.after(TTL * 3).is_empty());
    let another = vec![
        endpoint_record(1, 2, 2),
        network_record(1),
        host_record(2, 2),
        alive(2),
    ];
    assert_eq!(
        scene.replace(another),
        ["-e1", "+e2@192.0.2.2"],
        "it may come back"
    );
    scene.put(endpoint_record(1, 2, 3));
    let three = Shared::Endpoint(network(1), host(2), endpoint(3));
    assert_eq!(scene.delete(three), ["-e3 withdrawn"]);
    assert_eq!(scene.replace(vec![network_record(1)]), ["-e2", "-h2"]);
    assert_eq!(scene.replace(Vec::new()), ["-n1"]);
}

#[test]
fn a_network_made_here_is_not_taken_for_gone_by_an_older_reading() {
    let mut scene = Scene::new();
    scene.put(network_record(1));
    let newer = BTreeSet::from([network(1)]);
    let seen = scene.mirror.replace(Vec::new(), &newer, scene.now);
    assert!(seen.deltas.is_empty());
    assert_eq!(scene.replace(Vec::new()), ["-n1"]);
}

#[test]
fn what_cannot_be_read_changes_nothing() {
    let mut scene = Scene::new();
    scene.put(network_record(1));
    let newer = b"2 {\"claims\":{}}".to_vec();
    for value in [newer, b"1 {\"cla".to_vec(), b"".to_vec(), b"x {}".to_vec()] {
        assert!(
            scene
                .put(record(Shared::Network(network(1)), value.clone()))
                .is_empty()
        );
        assert!(
            scene
                .put(record(Shared::Network(network(2)), value))
                .is_empty()
        );
    }
    assert_eq!(scene.mirror.networks.len(), 1);
    let unknown = Record {
        key: "v1/shared/services/x".to_owned(),
        value: Vec::new(),
        version: Version(1, 0),
    };
    assert!(scene.put(unknown).is_empty());
}

fn service_record(n: u8, on: u8, drain: u64) -> Record {
    let id = ServiceId::from_bytes([n; 32]);
    let json = serde_json::json!({
        "id": id, "name": "web", "network": network(on), "created": SystemTime::UNIX_EPOCH,
        "mode": "vip", "vips": [], "ports": [], "affinity": "none",
        "drain": Duration::from_secs(drain), "health": null, "labels": {},
    });
    let record = serde_json::json!({ "spec": json });
    self::record(Shared::Service(id), format!("1 {record}").into_bytes())
}

#[test]
fn the_services_of_a_network_are_those_that_were_told_last() {
    let mut scene = Scene::new();
    let on = |scene: &Scene, n: u8| -> Vec<u8> {
        let services = scene.mirror.services.on(network(n));
        services.map(|spec| spec.id.0.as_bytes()[0]).collect()
    };
    for n in [3, 1, 2] {
        scene.put(service_record(n, 1, 1));
    }
    scene.put(service_record(4, 2, 1));
    assert_eq!((on(&scene, 1), on(&scene, 2)), (vec![1, 2, 3], vec![4]));
    scene.put(service_record(2, 2, 1));
    scene.put(service_record(1, 1, 2));
    scene.delete(Shared::Service(ServiceId::from_bytes([3; 32])));
    assert_eq!((on(&scene, 1), on(&scene, 2)), (vec![1], vec![2, 4]));
    scene.put(network_record(2));
    scene.delete(Shared::Network(network(2)));
    assert_eq!((on(&scene, 1), on(&scene, 2)), (vec![1], vec![]));
}

#[test]
fn a_service_is_told_once_its_network_is_known_and_goes_with_it() {
    let mut scene = Scene::new();
    let spec = |drain: u64| service_record(9, 1, drain);
    assert!(scene.put(spec(1)).is_empty());
    assert_eq!(scene.put(network_record(1)), ["+n1", "+web"]);
    assert!(scene.put(spec(1)).is_empty());
    assert_eq!(scene.put(spec(2)), ["+web"]);
    let nothing_new = scene.replace(vec![network_record(1), spec(2)]);
    assert!(nothing_new.is_empty(), "{nothing_new:?}");
    assert_eq!(scene.delete(Shared::Network(network(1))), ["-s9", "-n1"]);
}

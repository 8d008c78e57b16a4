//! Many services: what one more costs.

use super::{Host, SOON, services, services::service};
use crate::{cluster::Cluster, keys, record};
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use vw_model::{NetworkId, ServiceSpec};
use vw_store::{
    Memory,
    cluster::{
        ClusterError, ClusterStore, Member, Outcome, Presence, Record, Transaction, Watch, Write,
        memory::{Client, MemoryStore},
    },
};
use vw_testkit::eventually;

const MANY: u16 = 60;

/// A way to the store that counts how many services are listed.
#[derive(Debug)]
struct Counting {
    client: Arc<Client>,
    listed: AtomicUsize,
}

impl ClusterStore for Counting {
    fn kind(&self) -> &'static str {
        self.client.kind()
    }

    fn get(&self, key: &str) -> Result<Option<Record>, ClusterError> {
        self.client.get(key)
    }

    fn list(&self, prefix: &str) -> Result<Vec<Record>, ClusterError> {
        let listed = self.client.list(prefix)?;
        if prefix == keys::SERVICES {
            self.listed.fetch_add(listed.len(), Ordering::SeqCst);
        }
        Ok(listed)
    }

    fn commit(&self, transaction: &Transaction) -> Result<Outcome, ClusterError> {
        self.client.commit(transaction)
    }

    fn follow(&self, prefix: &str) -> Result<(Vec<Record>, Box<dyn Watch>), ClusterError> {
        self.client.follow(prefix)
    }

    fn announce(
        &self,
        key: &str,
        value: &[u8],
        ttl: Duration,
    ) -> Result<Box<dyn Presence>, ClusterError> {
        self.client.announce(key, value, ttl)
    }

    fn members(&self) -> Vec<Member> {
        self.client.members()
    }
}

/// A host that counts, beside another that has made a network.
fn stage(store: &MemoryStore) -> (Host, Arc<Counting>, Arc<Cluster>, NetworkId) {
    let other = Host::new(store, 1);
    let network = services::small(&other, "10.1.0.0/24");
    let counting = Arc::new(Counting {
        client: store.client("host-2"),
        listed: AtomicUsize::new(0),
    });
    let (cluster, _told) = Host::member(counting.clone(), Arc::new(Memory::new()), 2);
    cluster.settled();
    let knows = || cluster.networks().iter().any(|spec| spec.id == network);
    eventually("it knows the network", SOON, knows);
    (other, counting, cluster, network)
}

fn numbered(network: NetworkId, number: u16) -> ServiceSpec {
    service(network, &format!("s{number}"), 1000 + number)
}

#[test]
fn one_more_service_lists_none_of_the_others() {
    let store = MemoryStore::new();
    let (other, counting, cluster, network) = stage(&store);
    let mut ninth = None;
    for number in 0..MANY {
        let made = match number % 8 {
            // In between somebody else makes one.
            0 => &other.cluster,
            _ => &cluster,
        };
        let spec = made.create_service(numbered(network, number), &[]).unwrap();
        let known = || cluster.service(spec.id).is_some();
        eventually("the host knows it", SOON, known);
        ninth = (number == 9).then_some(spec.id).or(ninth);
    }
    let listed = counting.listed.load(Ordering::SeqCst);
    // The first is made before a watch has told of any, and one may be made before it tells.
    assert!(
        listed <= usize::from(MANY),
        "{MANY} were made, and {listed} listed"
    );
    for (name, port, reason) in [
        ("s8", 80, "service-exists"),
        ("s9", 80, "service-exists"),
        ("new", 1008, "port-allocated"),
        ("new", 1009, "port-allocated"),
    ] {
        let refused = cluster.create_service(service(network, name, port), &[]);
        assert_eq!(refused.unwrap_err().reason, reason, "{name} {port}");
    }
    // What has gone is in nobody's way, whether a watch has told of it or not.
    other.cluster.remove_service(ninth.unwrap()).unwrap();
    let again = service(network, "s9", 1009);
    cluster.create_service(again, &[]).unwrap();
    cluster.close();
}

/// What another host did of which no watch has told yet: it is asked for in the store.
#[test]
fn what_no_watch_has_told_of_is_found_in_the_store() {
    let store = MemoryStore::new();
    let (other, _counting, cluster, network) = stage(&store);
    for number in 0..3 {
        cluster
            .create_service(numbered(network, number), &[])
            .unwrap();
    }
    // An older version's, which names no order.
    let spec = numbered(network, 9);
    let record = format!("1 {}", serde_json::json!({ "spec": spec }));
    let (order, key) = (keys::ROSTER, crate::keys::Shared::Service(spec.id).key());
    let writes = vec![
        Write::Put(key, record.into()),
        Write::Put(order.to_owned(), br#"1 {"changes":99}"#.to_vec()),
    ];
    let conditions = Vec::new();
    store.edit(&Transaction { conditions, writes });
    let twice = numbered(network, 9);
    let refused = cluster.create_service(twice, &[]).unwrap_err();
    assert_eq!(refused.reason, "service-exists");
    // The next of a version that names it is made, and what comes after it goes by the watch again.
    for number in 10..14 {
        cluster
            .create_service(numbered(network, number), &[])
            .unwrap();
        let refused = other.cluster.create_service(numbered(network, number), &[]);
        assert_eq!(refused.unwrap_err().reason, "service-exists");
    }
    let order = store.records().into_iter().find(|r| r.key == keys::ROSTER);
    let order: record::RosterRecord = record::decode(&order.unwrap().value).unwrap();
    assert_ne!(order.stamp, 0);
    cluster.close();
}

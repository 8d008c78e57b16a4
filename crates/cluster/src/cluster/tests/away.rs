//! A host whose daemon is gone while its kernel answers: what is told of it, and what is agreed on.

use super::*;
use crate::Pulse;
use std::{collections::BTreeSet, sync::atomic::AtomicBool};

/// Kernels that answer, or do not.
#[derive(Debug, Default)]
struct Kernels {
    silent: AtomicBool,
}

impl Pulse for Kernels {
    fn answering(&self, hosts: &BTreeSet<IpAddr>) -> BTreeSet<IpAddr> {
        match self.silent.load(Ordering::SeqCst) {
            true => BTreeSet::new(),
            false => hosts.clone(),
        }
    }
}

#[test]
fn a_host_whose_kernel_answers_is_away_and_holds_nobody_up() {
    let store = MemoryStore::new();
    let kernels = Arc::new(Kernels::default());
    let one = Settings {
        pulse: Some(kernels.clone()),
        ..settings(1)
    };
    let local = Arc::new(Memory::new());
    let a = Host::of(one, store.client("host-1"), local, 1);
    a.cluster.settled();
    let b = Host::new(&store, 2);
    let network = a.create("blue");
    eventually("the network is known", SOON, || b.knows(network.id));
    let two = b.connect(network.id, "two");
    let shown = || {
        let endpoints = a.cluster.remote_endpoints(network.id);
        let hosts = a.cluster.hosts();
        let away = |found: Option<bool>| found.map(|away| if away { "away" } else { "there" });
        (
            away(hosts.first().map(|host| host.away)),
            away(endpoints.first().map(|one| one.away)),
        )
    };
    let is = |word: &str| shown() == (Some(word), Some(word));
    eventually("it is seen", SOON, || is("there"));
    b.client.cut(true);
    eventually("it is away", SOON, || is("away"));
    let told = a
        .told
        .count(|delta| *delta == Delta::EndpointGone(network.id, two.id));
    assert_eq!(told, 0, "what leads there stays");
    let status = a.cluster.status();
    let away = status.hosts.iter().find(|host| host.id == b.id);
    assert!(away.is_some_and(|host| host.away && !host.alive));
    b.client.cut(false);
    eventually("it is back", SOON, || is("there"));
    b.client.cut(true);
    eventually("it is away again", SOON, || is("away"));
    // Nobody waits for it.
    a.cluster.remove_network(network.id).unwrap();
    eventually("its endpoints are gone", SOON, || {
        shown() == (Some("away"), None)
    });
    kernels.silent.store(true, Ordering::SeqCst);
    eventually("it is dead", SOON, || shown() == (None, None));
}

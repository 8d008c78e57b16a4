//! A host whose daemon is gone while its kernel answers: what is told of it, and what is agreed on.

use super::*;
use crate::{Answers, Parting, Pulse, keys::Shared};
use std::{collections::BTreeSet, sync::atomic::AtomicBool};

/// Kernels that answer, or do not.
#[derive(Debug, Default)]
struct Kernels {
    silent: AtomicBool,
}

impl Pulse for Kernels {
    fn ask(&self, hosts: &BTreeSet<IpAddr>) -> Answers {
        let answering = match self.silent.load(Ordering::SeqCst) {
            true => BTreeSet::new(),
            false => hosts.clone(),
        };
        Answers {
            asked: hosts.clone(),
            answering,
        }
    }
}

/// Host 1, which asks them.
fn asker(store: &MemoryStore, kernels: &Arc<Kernels>) -> Host {
    let one = Settings {
        pulse: Some(kernels.clone()),
        ..settings(1)
    };
    let local = Arc::new(Memory::new());
    let host = Host::of(one, store.client("host-1"), local, 1);
    host.cluster.settled();
    host
}

#[test]
fn a_host_whose_kernel_answers_is_away_and_holds_nobody_up() {
    let store = MemoryStore::new();
    let kernels = Arc::new(Kernels::default());
    let a = asker(&store, &kernels);
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
        .count(|delta| *delta == Delta::EndpointGone(network.id, two.id, Parting::Lost));
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

#[test]
fn a_host_that_is_shut_down_in_order_is_dead_when_its_kernel_falls_silent_and_can_be_given_up() {
    let store = MemoryStore::new();
    let kernels = Arc::new(Kernels::default());
    let a = asker(&store, &kernels);
    let b = Host::new(&store, 2);
    let network = a.create("blue");
    eventually("the network is known", SOON, || b.knows(network.id));
    let two = b.connect(network.id, "two");
    eventually("it is seen", SOON, || a.sees(&two));
    b.cluster.close();
    // While its kernel answers its daemon may be about to be replaced.
    stays("it is there", Duration::from_secs(1), || {
        a.sees(&two) && a.cluster.hosts().iter().all(|host| !host.away)
    });
    let refused = a.cluster.forget("host-2").unwrap_err();
    assert_eq!(refused.reason, "cluster-host-alive");
    kernels.silent.store(true, Ordering::SeqCst);
    eventually("it is dead", SOON, || {
        !a.sees(&two) && a.cluster.hosts().is_empty()
    });
    let alive = Shared::Alive(b.id).key();
    let left = |record: &vw_store::cluster::Record| record.key == alive;
    assert!(store.records().iter().any(left), "its grace is not over");
    a.cluster.remove_network(network.id).unwrap();
    a.cluster.forget("host-2").unwrap();
}

//! What a host does to services while nothing is told to it, and others undo.

use super::{
    Host, SOON,
    services::{service, small},
};
use crate::Delta;
use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};
use vw_model::{Error, NetworkId, ServiceId};
use vw_store::cluster::memory::{Call, Fate, MemoryStore, Weather};
use vw_testkit::eventually;

/// The thread of the first host that follows the store.
fn is_follower(client: &str) -> bool {
    client == "host-1" && thread::current().name() == Some("cluster-follow")
}

/// A store that tells the first host nothing, and answers what it asks otherwise.
#[derive(Default)]
struct Silent(AtomicBool);

impl Weather for Silent {
    fn before(&self, client: &str, _: Call) -> Fate {
        match self.0.load(Ordering::SeqCst) && is_follower(client) {
            true => Fate::Unreachable,
            false => Fate::Answered,
        }
    }
}

/// Two hosts, of which the first may hear nothing, and a network that both know.
struct Scene {
    silent: Arc<Silent>,
    a: Host,
    b: Host,
    network: NetworkId,
}

impl Scene {
    fn new() -> Self {
        let store = MemoryStore::new();
        let silent = Arc::<Silent>::default();
        store.set_weather(silent.clone());
        let (a, b) = (Host::new(&store, 1), Host::new(&store, 2));
        let network = small(&a, "10.1.0.0/28");
        eventually("b knows the network", SOON, || b.knows(network));
        Self {
            silent,
            a,
            b,
            network,
        }
    }

    fn silence(&self) {
        self.silent.0.store(true, Ordering::SeqCst);
        self.a.client.lose_watches();
    }

    fn hear(&self) {
        self.silent.0.store(false, Ordering::SeqCst);
    }
}

fn told_gone(host: &Host, id: ServiceId) -> usize {
    host.told.count(|delta| *delta == Delta::ServiceGone(id))
}

#[test]
fn a_service_made_while_nothing_is_told_and_removed_by_another_is_gone_here_too() {
    let scene = Scene::new();
    let (a, b) = (&scene.a.cluster, &scene.b.cluster);
    scene.silence();
    let made = a
        .create_service(service(scene.network, "web", 80), &[])
        .unwrap();
    assert_eq!(a.service(made.id), Some(made.clone()), "known at once");
    b.remove_service(made.id).unwrap();
    assert!(a.service(made.id).is_some(), "nothing was told");
    scene.hear();
    eventually("it is gone", SOON, || told_gone(&scene.a, made.id) == 1);
    assert_eq!(a.service(made.id), None);
}

#[test]
fn a_change_made_while_nothing_is_told_and_undone_by_another_is_undone_here_too() {
    let scene = Scene::new();
    let (a, b) = (&scene.a.cluster, &scene.b.cluster);
    let made = a
        .create_service(service(scene.network, "web", 80), &[])
        .unwrap();
    let drained = |seconds| {
        move |mut spec: vw_model::ServiceSpec| -> Result<_, Error> {
            spec.drain = Duration::from_secs(seconds);
            Ok(spec)
        }
    };
    eventually("b knows it", SOON, || b.service(made.id).is_some());
    scene.silence();
    let changed = a.update_service(made.id, drained(1)).unwrap();
    assert_eq!(a.service(made.id), Some(changed), "known at once");
    let undone = b
        .update_service(made.id, drained(made.drain.as_secs()))
        .unwrap();
    assert_eq!(undone, made);
    scene.hear();
    eventually("it is undone", SOON, || {
        a.service(made.id) == Some(made.clone())
    });
    eventually("and told", SOON, || {
        let told = scene.a.told.deltas.lock().unwrap();
        let mut specs = told.iter().rev().filter_map(|delta| match delta {
            Delta::Service(spec) => Some(&**spec),
            _ => None,
        });
        specs.next() == Some(&made)
    });
}

#[test]
fn a_service_removed_while_nothing_is_told_is_not_back_after_a_restart_without_the_store() {
    let scene = Scene::new();
    let a = &scene.a.cluster;
    let made = a
        .create_service(service(scene.network, "web", 80), &[])
        .unwrap();
    let known = |host: &Host| host.told.count(|delta| matches!(delta, Delta::Service(_)));
    eventually("it is told", SOON, || known(&scene.a) > 0);
    scene.silence();
    a.remove_service(made.id).unwrap();
    assert_eq!(a.service(made.id), None);
    eventually("it is gone", SOON, || told_gone(&scene.a, made.id) == 1);
    scene.a.client.cut(true);
    let a = scene.a.restart();
    assert!(a.knows(scene.network), "from the local copy");
    assert_eq!((known(&a), a.cluster.service(made.id)), (0, None));
}

/// Does something before the next calls of the thread that follows the store for the first host.
struct Meanwhile {
    left: AtomicUsize,
    act: Mutex<Option<Box<dyn Fn() + Send>>>,
}

impl Weather for Meanwhile {
    fn before(&self, client: &str, _: Call) -> Fate {
        let less = |left: usize| left.checked_sub(1);
        let due = || {
            let order = Ordering::SeqCst;
            self.left.fetch_update(order, order, less).is_ok()
        };
        // What it does itself calls the store as well.
        if is_follower(client)
            && let Ok(act) = self.act.try_lock()
            && let Some(act) = &*act
            && due()
        {
            act();
        }
        Fate::Answered
    }
}

#[test]
fn what_is_made_and_removed_while_everything_is_read_is_not_taken_for_new() {
    let store = MemoryStore::new();
    let meanwhile = Arc::new(Meanwhile {
        left: AtomicUsize::new(0),
        act: Mutex::default(),
    });
    store.set_weather(meanwhile.clone());
    let (a, b) = (Host::new(&store, 1), Host::new(&store, 2));
    let network = small(&a, "10.1.0.0/28");
    let (here, there) = (a.cluster.clone(), b.cluster.clone());
    eventually("it has joined", SOON, || b.knows(network));
    let made = Arc::<Mutex<Vec<_>>>::default();
    let ids = made.clone();
    *meanwhile.act.lock().unwrap() = Some(Box::new(move || {
        let service = here
            .create_service(service(network, "web", 80), &[])
            .unwrap();
        there.remove_service(service.id).unwrap();
        let request = super::request(&[]);
        let blue = here.create_network(super::spec("blue"), &request, &[], true);
        let blue = blue.unwrap().id;
        assert!(here.networks().iter().any(|known| known.id == blue));
        there.remove_network(blue).unwrap();
        ids.lock().unwrap().push((service.id, blue));
    }));
    meanwhile.left.store(4, Ordering::SeqCst);
    a.client.lose_watches();
    eventually("all was read", SOON, || made.lock().unwrap().len() == 4);
    let made = made.lock().unwrap().clone();
    for (service, blue) in made {
        eventually("the service is gone", SOON, || {
            a.cluster.service(service).is_none()
        });
        eventually("the network is gone", SOON, || !a.knows(blue));
    }
    *meanwhile.act.lock().unwrap() = None;
}

//! A host that is cut off from its cluster, and comes back to one that went on without it.

use crate::{
    global::{create, remove},
    inject::{Effect, Mode},
    scenario::{adopt, create_overlay_on, create_service, join, release, remove_service},
    world::World,
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU8, Ordering},
    },
    thread,
    time::Duration,
};
use vw_controller::{
    Controller,
    command::{ClusterForget, Info, NetworkInspect, ServiceInspect},
};
use vw_hoststate::{Netns, Object};
use vw_model::{EndpointId, EndpointMode, PROBE_NETWORKS};
use vw_store::{
    Change, Table,
    cluster::{
        Record, Transaction, Write,
        memory::{Call, Fate, MemoryStore, Weather},
    },
};

/// A presence ends within seconds.
const PATIENCE: Duration = Duration::from_secs(60);

const MENDED: u8 = 0;
const CUT: u8 = 1;
const TAKES_NOTHING_ONCE_JOINED: u8 = 2;

/// The way of the first host to the store.
struct Way {
    store: MemoryStore,
    state: Arc<AtomicU8>,
}

impl Weather for Way {
    fn before(&self, client: &str, call: Call) -> Fate {
        let members = || {
            let records = self.store.records().into_iter();
            let hosts = records.filter(|record| record.key.starts_with("v1/shared/hosts/"));
            hosts.count()
        };
        let cut = match self.state.load(Ordering::SeqCst) {
            CUT => true,
            TAKES_NOTHING_ONCE_JOINED => call == Call::Commit && members() == 2,
            _ => false,
        };
        match client == "host-1" && cut {
            true => Fate::Unreachable,
            false => Fate::Answered,
        }
    }
}

struct Scene {
    here: World,
    a: Controller,
    b: Controller,
    way: Arc<AtomicU8>,
    store: MemoryStore,
    there: World,
}

impl Scene {
    /// Two hosts on a network, of which the first has an endpoint there.
    fn new() -> Self {
        let store = MemoryStore::new();
        let way = Arc::<AtomicU8>::default();
        let weather = Way {
            store: store.clone(),
            state: way.clone(),
        };
        store.set_weather(Arc::new(weather));
        let (here, there) = (World::in_cluster(&store, 1), World::in_cluster(&store, 2));
        let (a, b) = (here.open(), there.open());
        eventually("the network is made", || create(&b).is_ok());
        eventually("it is known", || members(&a) == Some(0));
        adopt(&a, &here, "one", &["shop"], &[]).unwrap();
        eventually("the endpoint is known", || members(&b) == Some(1));
        Self {
            here,
            a,
            b,
            way,
            store,
            there,
        }
    }

    fn set(&self, state: u8) {
        self.way.store(state, Ordering::SeqCst);
    }

    /// Has the second host give up the first, which cannot know.
    fn give_up(&self) {
        self.set(CUT);
        let host = "host-1".to_owned();
        let forget = ClusterForget { host };
        eventually("it is given up", || self.b.submit(forget.clone()).is_ok());
    }

    /// The first host's endpoint.
    fn endpoint(&self) -> Option<EndpointId> {
        let network = "shop".to_owned();
        let shop = self.a.submit(NetworkInspect { network }).ok()?;
        let first = shop.members.into_iter().next()?;
        Some(first.endpoint)
    }

    /// Waits until it is there anew, and all know.
    fn await_return(&self, before: Option<EndpointId>) {
        eventually("it is back", || {
            let now = self.endpoint();
            now.is_some() && now != before
        });
        eventually("and the others know", || members(&self.b) == Some(1));
        assert_eq!(self.a.repair().unwrap(), 0);
    }
}

#[track_caller]
fn eventually(what: &str, holds: impl FnMut() -> bool) {
    vw_testkit::eventually(what, PATIENCE, holds);
}

fn members(controller: &Controller) -> Option<usize> {
    let network = "shop".to_owned();
    let shop = controller.submit(NetworkInspect { network }).ok()?;
    Some(shop.members.len())
}

#[test]
fn a_removal_that_comes_while_endpoints_come_leaves_nothing() {
    let scene = Scene::new();
    let (a, b, here) = (&scene.a, &scene.b, &scene.here);
    scene.set(CUT);
    eventually("it is removed once its user is dead", || remove(b).is_ok());
    let (over, came) = (AtomicBool::new(false), AtomicBool::new(false));
    thread::scope(|scope| {
        for name in ["two", "three"] {
            let (over, came) = (&over, &came);
            scope.spawn(move || {
                while !over.load(Ordering::SeqCst) {
                    if adopt(a, here, name, &["shop"], &[]).is_ok() {
                        came.store(true, Ordering::SeqCst);
                    }
                    // It may not have come, or been taken off already.
                    let _ = release(a, name);
                }
            });
        }
        // A removal may be heard of before anybody comes.
        let come = vw_testkit::poll(PATIENCE, || came.load(Ordering::SeqCst).then_some(()));
        scene.set(MENDED);
        let gone = vw_testkit::poll(PATIENCE, || members(a).is_none().then_some(()));
        over.store(true, Ordering::SeqCst);
        assert!(come.is_some(), "nobody comes");
        assert!(gone.is_some(), "the removal is never heard of");
    });
    assert_eq!(a.repair().unwrap(), 0);
    release(a, "one").unwrap();
    // As on a host that never had the network.
    eventually("it can be made again", || create(a).is_ok());
    adopt(a, here, "one", &["shop"], &[]).unwrap();
    release(a, "one").unwrap();
    eventually("and be removed", || remove(a).is_ok());
    let left = here.kernel.objects();
    // The one by which hosts look whether they reach each other stays.
    let probe = format!("{:?}", Netns::Network(PROBE_NETWORKS[0]));
    let of_network =
        |text: &str| (text.contains("vxlan") || text.contains("br0")) && !text.contains(&probe);
    let left: Vec<String> = left.keys().map(|key| format!("{key:?}")).collect();
    assert!(!left.iter().any(|key| of_network(key)), "{left:#?}");
    assert_eq!(a.repair().unwrap(), 0);
}

fn knows(host: &Controller, name: &str) -> bool {
    let network = name.to_owned();
    host.submit(NetworkInspect { network }).is_ok()
}

/// Has the store, once the first host hears that the network is gone and takes it down, be brought back
/// to what it was before.
#[track_caller]
fn bring_back_while_taken_down(scene: &Scene, before: Vec<Record>) {
    let (a, here) = (&scene.a, &scene.here);
    let (store, maker, hearer) = (scene.store.clone(), scene.b.clone(), a.clone());
    let watchers = [scene.here.client(), scene.there.client()];
    let taken_off = |effect: &Effect<'_>| matches!(effect, Effect::Change(Change::Delete { table, .. }) if *table == Table::Attachments);
    here.faults.beside(taken_off, Mode::Never, move || {
        let now = store.records();
        let is_gone = |was: &Record| now.iter().all(|record| record.key != was.key);
        let gone = before.into_iter().filter(is_gone);
        let writes = gone.map(|Record { key, value, .. }| Write::Put(key, value));
        let back = Transaction {
            conditions: Vec::new(),
            writes: writes.collect(),
        };
        assert!(store.edit(&back));
        // No watch goes on from what a backup never had: all is read.
        watchers.iter().for_each(|client| client.lose_watches());
        // What is told after it was told after it.
        create_overlay_on(&maker, "mark", "10.43.0.0/24", true, &[]).unwrap();
        eventually("it is heard", || knows(&hearer, "mark"));
    });
    scene.set(MENDED);
    eventually("the network is back", || knows(a, "mark"));
    here.faults.await_beside();
    assert!(!here.faults.had_to_wait(), "it was back before it was down");
}

#[test]
fn a_network_that_is_back_while_it_is_taken_down_is_known() {
    let scene = Scene::new();
    let (a, b, here) = (&scene.a, &scene.b, &scene.here);
    let before = scene.store.records();
    scene.set(CUT);
    eventually("it is removed once its user is dead", || remove(b).is_ok());
    bring_back_while_taken_down(&scene, before);
    eventually("it can be used", || {
        let came = adopt(a, here, "two", &["shop"], &[]);
        came.is_ok()
    });
    assert_eq!(a.repair().unwrap(), 0);
}

#[test]
fn a_service_of_a_network_that_is_back_while_it_is_taken_down_is_that_of_the_one_that_is_back() {
    let scene = Scene::new();
    let (a, b) = (&scene.a, &scene.b);
    let serve = |host: &Controller| -> Option<Vec<String>> {
        let service = "web".to_owned();
        let view = host.submit(ServiceInspect { service }).ok()?;
        let members = view.members.into_iter();
        Some(members.map(|member| member.name).collect())
    };
    create_service(a, "web", "shop", EndpointMode::Vip, &[]).unwrap();
    eventually("the service is known", || serve(b).is_some());
    let before = scene.store.records();
    scene.set(CUT);
    remove_service(b, "web").unwrap();
    eventually("it is removed once its user is dead", || remove(b).is_ok());
    bring_back_while_taken_down(&scene, before);
    for host in [a, b] {
        eventually("the service is back", || serve(host).is_some());
    }
    adopt(b, &scene.there, "three", &[], &[]).unwrap();
    eventually("an endpoint on another host joins it", || {
        join(b, "shop", "three", "web", 1).is_ok()
    });
    eventually("it is led to", || {
        serve(a) == Some(vec!["three".to_owned()])
    });
    adopt(a, &scene.here, "two", &[], &[]).unwrap();
    eventually("one on this host joins it", || {
        join(a, "shop", "two", "web", 1).is_ok()
    });
    let leads = || {
        let objects = scene.here.kernel.objects().into_values();
        let slots = objects.filter(|object| match object {
            Object::Balance(_, element) => element.to_string().starts_with("vip4_slots"),
            _ => false,
        });
        slots.count()
    };
    eventually("both are led to", || leads() == 2);
    assert_eq!(a.repair().unwrap(), 0);
}

#[test]
fn who_was_given_up_is_back_also_when_the_store_takes_nothing_for_a_while() {
    let scene = Scene::new();
    let (a, before) = (&scene.a, scene.endpoint());
    scene.give_up();
    scene.set(TAKES_NOTHING_ONCE_JOINED);
    eventually("it cannot come back at first", || {
        let warnings = a.submit(Info).unwrap().warnings;
        warnings
            .iter()
            .any(|said| said.contains("one is off network shop"))
    });
    assert_eq!(members(a), Some(0));
    scene.set(MENDED);
    scene.await_return(before);
}

#[test]
fn who_was_given_up_leaves_also_what_cannot_be_recorded() {
    let scene = Scene::new();
    let before = scene.endpoint();
    scene.give_up();
    let recorded = |effect: &Effect<'_>| matches!(effect, Effect::Change(Change::Put { table, .. }) if *table == Table::Attachments);
    let faults = &scene.here.faults;
    faults.beside(recorded, Mode::Once(1), || {});
    scene.set(MENDED);
    scene.await_return(before);
    assert!(faults.struck());
}

#[test]
fn who_was_given_up_comes_back_anew_also_where_its_leaving_could_not_be_recorded_before_a_kill() {
    let scene = Scene::new();
    let before = scene.endpoint();
    scene.give_up();
    let faults = scene.here.faults.clone();
    faults.refuse_writes(Some(Table::Attachments));
    scene.set(MENDED);
    // It does not join again before, nor come back.
    let sentences = ["cannot be recorded: make room", "one is off network shop"];
    eventually("it tells", || {
        let warnings = scene.a.submit(Info).unwrap().warnings;
        let told = |said: &String| sentences.iter().any(|sentence| said.contains(sentence));
        warnings.iter().any(told)
    });
    assert_eq!(members(&scene.a), Some(0));
    scene.here.kill();
    faults.refuse_writes(None);
    let Scene { here, a, b, .. } = scene;
    let a = here.reopen(a);
    let endpoint = || {
        let network = "shop".to_owned();
        let shop = a.submit(NetworkInspect { network }).unwrap();
        shop.members.first().map(|member| member.endpoint)
    };
    eventually("it is back, and another", || {
        endpoint().is_some_and(|now| Some(now) != before)
    });
    eventually("and the others know", || members(&b) == Some(1));
    assert_eq!(a.repair().unwrap(), 0);
}

#[test]
fn who_was_given_up_is_back_also_when_the_kernel_refuses_for_a_while() {
    let scene = Scene::new();
    let before = scene.endpoint();
    let refusing = &scene.here.refusing;
    refusing.set_made(Some(|key| format!("{key:?}").contains("br0")));
    scene.give_up();
    scene.set(MENDED);
    eventually("it is tried", || {
        let warnings = scene.a.submit(Info).unwrap().warnings;
        let off = |said: &String| said.contains("one is off network shop");
        warnings.iter().any(off)
    });
    refusing.set_made(None);
    scene.await_return(before);
    let warnings = scene.a.submit(Info).unwrap().warnings;
    let off = |said: &String| said.contains("is off network");
    assert!(!warnings.iter().any(off), "{warnings:?}");
}

#[test]
fn one_that_was_given_up_is_off_its_networks_before_all_that_starts_has_started() {
    let scene = Scene::new();
    adopt(&scene.a, &scene.here, "two", &[], &[]).unwrap();
    let two = scene.here.sandbox_id(&scene.a, "two");
    scene.give_up();
    let Scene {
        here, a, b, way, ..
    } = scene;
    drop(a);
    here.await_end(PATIENCE);
    // A start goes on with what was being released, and that takes long.
    let record = here.record(Table::Sandboxes, &two).expect("it stands");
    let record = String::from_utf8(record).unwrap();
    let record = record.replace("\"Ready\"", "\"Removing\"");
    here.forge(Table::Sandboxes, &two, record.into_bytes());
    let released = move |effect: &Effect<'_>| matches!(effect, Effect::Change(Change::Delete { table: Table::Sandboxes, key }) if *key == two);
    let (kernel, off) = (here.kernel.clone(), Arc::<AtomicBool>::default());
    let is_off = off.clone();
    here.faults.while_at(released, move || {
        let on = |object: &Object| matches!(object, Object::Address(address) if matches!(address.netns, Netns::Sandbox(_)));
        let seen = vw_testkit::poll(Duration::from_secs(15), || {
            (!kernel.objects().values().any(on)).then_some(())
        });
        is_off.store(seen.is_some(), Ordering::SeqCst);
    });
    way.store(MENDED, Ordering::SeqCst);
    let a = here.open();
    here.faults.await_beside();
    assert!(
        off.load(Ordering::SeqCst),
        "it was on it while others started"
    );
    eventually("it is back", || members(&b) == Some(1));
    assert_eq!(a.repair().unwrap(), 0);
}

//! Every effect of what is done on networks of a cluster fails once, from then on, or is the last
//! before a restart: kernel, local stores and the cluster's store, of who asks for something and
//! of the threads that hear from other hosts and tell them.
//!
//! When it works again a retry, or what the cluster does by itself, reaches what was wanted; and
//! when that is undone all is as before, on this host and in the cluster's store.

use crate::{
    inject::{Faults, Mode, Whose},
    picture::Picture,
    scenario::{adopt, connect, create_overlay, disconnect, release},
    world::World,
};
use std::{
    collections::BTreeMap,
    panic::resume_unwind,
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};
use vw_controller::{
    Controller,
    command::{ClusterForget, NetworkRemove},
};
use vw_hoststate::{Key, Object, Table};
use vw_model::Result;
use vw_store::cluster::{
    Transaction, Write,
    memory::{Call, Fate, MemoryStore, Weather},
};

/// What takes longer never comes.
const PATIENCE: Duration = Duration::from_secs(40);

/// Nothing that comes by itself takes longer: what could not be done for a service is tried again after
/// a second.
const REST: Duration = Duration::from_millis(2500);

/// The other host tells something so often.
const NUDGE: Duration = Duration::from_millis(300);

/// A host that died long ago.
const DEAD: &str = "dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd";

/// The way of one host to the store, whose calls are effects like others.
struct Way(Arc<Faults>);

impl Weather for Way {
    fn before(&self, client: &str, call: Call) -> Fate {
        if client != "host-1" || !self.0.strike() {
            return Fate::Answered;
        }
        match call {
            Call::Commit => Fate::AnswerLost,
            Call::Other => Fate::Unreachable,
        }
    }
}

/// Two hosts; the first one's effects fail.
pub(crate) struct Scene {
    pub(crate) store: MemoryStore,
    pub(crate) here: World,
    pub(crate) there: World,
    a: Mutex<Option<Controller>>,
    pub(crate) b: Controller,
}

/// Something that is done and undone.
pub(crate) struct Operation {
    pub(crate) name: &'static str,
    /// What must stand before.
    pub(crate) before: &'static [Act],
    pub(crate) go: Act,
    pub(crate) back: Act,
    /// Whose effects it has.
    pub(crate) of: &'static [Whose],
}

pub(crate) type Act = fn(&Scene) -> Result<()>;

impl Scene {
    pub(crate) fn of(world: impl Fn(&MemoryStore, u8) -> World) -> Self {
        let store = MemoryStore::new();
        let (here, there) = (world(&store, 1), world(&store, 2));
        store.set_weather(Arc::new(Way(here.faults.clone())));
        let (a, b) = (here.open(), there.open());
        Self {
            store,
            here,
            there,
            a: Mutex::new(Some(a)),
            b,
        }
    }

    pub(crate) fn a(&self) -> Controller {
        self.a.lock().unwrap().clone().expect("it runs")
    }

    pub(crate) fn restart(&self) {
        let mut running = self.a.lock().unwrap();
        self.here.kill();
        if let Some(controller) = running.take() {
            // Whatever it still wants to do fails.
            let _ = controller.close();
        }
        self.here.await_end(PATIENCE);
        self.here.faults.set(Mode::Never);
        *running = Some(self.here.open());
    }

    /// What this host has, and the store, without what lives and times out by itself.
    fn picture(&self) -> (Picture, Vec<String>) {
        let records = self.store.records().into_iter();
        let kinds = records.map(|record| kind(&record.key)).filter(|kind| {
            !["alive", "forgotten", "marks"]
                .iter()
                .any(|own| kind.contains(own))
        });
        let mut kinds: Vec<String> = kinds.collect();
        // What leads to services comes and goes, and a host keeps a block more for it or not.
        if kinds.iter().any(|kind| kind.ends_with("/services")) {
            kinds.retain(|kind| !kind.contains("blocks"));
        }
        kinds.sort();
        let picture = self.here.picture(&self.a());
        (picture.without_leftovers().without_written_behind(), kinds)
    }

    /// Waits until all is as in a picture, and does something about it again and again.
    #[track_caller]
    fn comes_to(&self, what: &str, wanted: &(Picture, Vec<String>), mut again: impl FnMut()) {
        let reached = vw_testkit::poll(PATIENCE, || {
            if self.picture() == *wanted {
                return Some(());
            }
            again();
            None
        });
        if reached.is_none() {
            let (found, records) = self.picture();
            panic!(
                "{what}: {}\n{records:#?}\ninstead of {:#?}",
                found.against("wanted", &wanted.0),
                wanted.1
            );
        }
    }
}

/// A record's key without ids and addresses.
fn kind(key: &str) -> String {
    let words = key.split('/');
    let plain = words.map(|word| match word.len() == 64 || word.contains('.') {
        true => "*",
        false => word,
    });
    plain.collect::<Vec<_>>().join("/")
}

pub(crate) fn create(controller: &Controller) -> Result<()> {
    create_overlay(controller, "shop", true, &[])
}

pub(crate) fn remove(controller: &Controller) -> Result<()> {
    let network = "shop".to_owned();
    controller.submit(NetworkRemove { network })
}

/// A host that is dead from the beginning, with a block.
fn bury(scene: &Scene) -> Result<()> {
    let host =
        r#"1 {"name":"dead","advertise":"192.0.2.3","version":"0","instance":"x","since":0}"#;
    let block = format!("1 {{\"host\":\"{DEAD}\"}}");
    let writes = vec![
        Write::Put(format!("v1/shared/hosts/{DEAD}"), host.into()),
        Write::Put(format!("v1/blocks/{DEAD}/10.9.0.0-28"), block.into()),
    ];
    let conditions = Vec::new();
    scene.store.edit(&Transaction { conditions, writes });
    Ok(())
}

fn made(s: &Scene) -> Result<()> {
    create(&s.a())
}

fn one_here(s: &Scene) -> Result<()> {
    adopt(&s.a(), &s.here, "one", &["shop"], &[])
}

fn one_there(s: &Scene) -> Result<()> {
    adopt(&s.b, &s.there, "one", &["shop"], &[])
}

const OPERATIONS: [Operation; 8] = [
    Operation {
        name: "a network is made",
        before: &[],
        go: made,
        back: |s| remove(&s.a()),
        of: &[Whose::Request],
    },
    Operation {
        name: "a network is removed",
        before: &[made],
        go: |s| remove(&s.a()),
        back: made,
        of: &[Whose::Request],
    },
    Operation {
        name: "another host removes a network",
        before: &[made],
        go: |s| remove(&s.b),
        back: |s| create(&s.b),
        of: &[Whose::Follower],
    },
    Operation {
        name: "the first endpoint comes",
        before: &[made],
        go: one_here,
        back: |s| release(&s.a(), "one"),
        of: &[Whose::Request, Whose::Worker],
    },
    Operation {
        name: "one more endpoint comes",
        before: &[made, one_here, |s| adopt(&s.a(), &s.here, "two", &[], &[])],
        go: |s| connect(&s.a(), "shop", "two"),
        back: |s| disconnect(&s.a(), "shop", "two"),
        of: &[Whose::Request, Whose::Worker],
    },
    Operation {
        name: "the last endpoint leaves",
        before: &[made, one_here],
        go: |s| disconnect(&s.a(), "shop", "one"),
        back: |s| connect(&s.a(), "shop", "one"),
        of: &[Whose::Request, Whose::Worker],
    },
    Operation {
        name: "an endpoint comes on another host, and leaves",
        before: &[made, one_here],
        go: one_there,
        back: |s| release(&s.b, "one"),
        of: &[Whose::Follower],
    },
    Operation {
        name: "a host that died is given up",
        before: &[bury],
        go: |s| {
            let host = "dead".to_owned();
            s.a().submit(ClusterForget { host })
        },
        back: bury,
        of: &[Whose::Request],
    },
];

/// What is done about an effect that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Then {
    Retry,
    Restart,
}

/// Does it and undoes it with each effect chosen in turn, until there are no more.
fn sweep(scene: &Scene, operation: &Operation, mode: fn(usize) -> Mode, then: Then) -> usize {
    for act in operation.before {
        let done = vw_testkit::poll(PATIENCE, || act(scene).ok());
        assert!(done.is_some(), "{}: cannot be prepared", operation.name);
    }
    // What is made at first and stays, such as a block, is made.
    scene.done(operation.go);
    scene.done(operation.back);
    let before = scene.rest();
    scene.done(operation.go);
    let after = scene.rest();
    assert!(before != after, "{} changes nothing", operation.name);
    let undo = |what: &str| scene.comes_to(what, &before, || drop((operation.back)(scene)));
    undo(operation.name);
    let mut cases = 0;
    for whose in operation.of {
        for nth in 1.. {
            let what = format!("{}, {whose:?}, effect {nth}, {then:?}", operation.name);
            scene.here.faults.set_of(*whose, mode(nth));
            let outcome = (operation.go)(scene);
            if *whose != Whose::Request {
                vw_testkit::poll(PATIENCE, || {
                    let over = scene.here.faults.struck() || scene.picture() == after;
                    over.then_some(())
                });
            }
            let struck = scene.here.faults.struck();
            match then {
                Then::Restart if struck => scene.restart(),
                _ => scene.here.faults.set(Mode::Never),
            }
            if !struck {
                outcome.unwrap_or_else(|error| panic!("{what}: {}", error.chain()));
            }
            scene.comes_to(&what, &after, || {
                match whose {
                    Whose::Request => drop((operation.go)(scene)),
                    Whose::Follower if then == Then::Retry => scene.nudge(),
                    _ => {}
                }
                // What was left goes with the next change, which there may be none of here.
                let _ = scene.a().repair();
            });
            assert_eq!(scene.a().repair().unwrap(), 0, "{what}");
            scene.starts_again(&what, &after);
            undo(&format!("{what}, undone"));
            assert_eq!(scene.a().repair().unwrap(), 0, "{what}, undone");
            if !struck {
                break;
            }
            cases += 1;
        }
    }
    cases
}

impl Scene {
    #[track_caller]
    fn done(&self, act: Act) {
        let mut last = None;
        let done = vw_testkit::poll(PATIENCE, || act(self).map_err(|e| last = Some(e)).ok());
        assert!(done.is_some(), "{last:?}");
    }

    /// How all is once nothing changes any more.
    fn rest(&self) -> (Picture, Vec<String>) {
        let mut seen = self.picture();
        let mut since = Instant::now();
        vw_testkit::poll(PATIENCE, || {
            let now = self.picture();
            if now != seen {
                (seen, since) = (now, Instant::now());
            }
            (since.elapsed() > REST).then_some(())
        });
        seen
    }

    /// Ends the daemon in the midst of whatever it does and starts it again, which finds all as it is
    /// to be.
    #[track_caller]
    fn starts_again(&self, what: &str, wanted: &(Picture, Vec<String>)) {
        // A resolver has another port each time.
        let standing = || {
            let mut all = self.here.kernel.objects();
            all.retain(|_, one| !matches!(one, Object::Table(Table::SandboxDns { .. })));
            all
        };
        let before = standing();
        self.restart();
        let found = standing();
        let differ = |all: &BTreeMap<Key, Object>, from: &BTreeMap<Key, Object>| {
            let differ = all.iter().filter(|(key, one)| from.get(key) != Some(one));
            differ
                .map(|(_, one)| format!("{one:?}\n"))
                .collect::<String>()
        };
        let (more, less) = (differ(&found, &before), differ(&before, &found));
        assert!(
            more.is_empty() && less.is_empty(),
            "{what}: the start makes\n{more}and removes\n{less}"
        );
        self.comes_to(&format!("{what}, started again"), wanted, || {});
        assert_eq!(self.a().repair().unwrap(), 0, "{what}, started again");
    }

    /// Has the other host tell something, with which this one takes in what it could not.
    fn nudge(&self) {
        if adopt(&self.b, &self.there, "two", &["shop"], &[]).is_ok() {
            vw_testkit::poll(NUDGE, || None::<()>);
            // It is undone, or tried again.
            let _ = release(&self.b, "two");
            vw_testkit::poll(NUDGE, || None::<()>);
        }
    }
}

/// Every operation, each beside the others; tells how many effects were tried.
pub(crate) fn sweep_all(
    world: fn(&MemoryStore, u8) -> World,
    operations: &[Operation],
    mode: fn(usize) -> Mode,
    then: Then,
) -> usize {
    thread::scope(|scope| {
        let one = |operation| scope.spawn(move || sweep(&Scene::of(world), operation, mode, then));
        let threads: Vec<_> = operations.iter().map(one).collect();
        let joined = threads.into_iter().map(thread::ScopedJoinHandle::join);
        joined
            .map(|joined| joined.unwrap_or_else(|panic| resume_unwind(panic)))
            .sum()
    })
}

fn all(mode: fn(usize) -> Mode, then: Then) {
    let cases = sweep_all(World::in_cluster, &OPERATIONS, mode, then);
    assert!(cases > 50, "only {cases} effects were tried");
}

#[test]
fn what_fails_once_on_a_clusters_network_is_made_up_for() {
    all(Mode::Once, Then::Retry);
}

#[test]
fn a_time_in_which_nothing_works_on_a_clusters_network_is_made_up_for() {
    all(Mode::From, Then::Retry);
}

#[test]
fn a_restart_after_any_effect_on_a_clusters_network_reaches_what_was_wanted() {
    all(Mode::From, Then::Restart);
}

//! A network that another host removes before who made it has listed it.

use crate::{
    global::{Scene, create, remove},
    scenario::create_overlay_on,
    world::World,
};
use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};
use vw_controller::{Controller, command::NetworkList};
use vw_store::cluster::memory::{Call, Fate, Weather};

/// What takes longer never comes.
const SOON: Duration = Duration::from_secs(20);

/// The thread that asks for the network.
const MAKER: &str = "maker";

/// Does something once the maker's transaction is done, before the maker goes on.
struct Then {
    committed: AtomicBool,
    act: Mutex<Option<Box<dyn FnOnce() + Send>>>,
}

impl Weather for Then {
    fn before(&self, _client: &str, call: Call) -> Fate {
        if call == Call::Commit && thread::current().name() == Some(MAKER) {
            self.committed.store(true, Ordering::SeqCst);
        }
        Fate::Answered
    }

    fn after(&self, _client: &str) {
        let makes = thread::current().name() == Some(MAKER);
        if makes && self.committed.load(Ordering::SeqCst) {
            let act = self.act.lock().unwrap().take();
            act.into_iter().for_each(|act| act());
        }
    }
}

fn lists(controller: &Controller, name: &str) -> bool {
    let networks = controller.submit(NetworkList).unwrap();
    networks.iter().any(|n| n.spec.name.as_str() == name)
}

#[test]
fn a_network_that_is_removed_before_it_is_listed_is_not_listed() {
    let scene = Scene::of(World::in_cluster);
    let (a, b) = (scene.a(), scene.b.clone());
    let ready = || create_overlay_on(&b, "first", "10.43.0.0/24", true, &[]).is_ok();
    vw_testkit::eventually("the hosts are there", SOON, || {
        ready() || lists(&b, "first")
    });
    let (here, there) = (a.clone(), b.clone());
    let act = move || {
        vw_testkit::eventually("another host removes it", SOON, || remove(&there).is_ok());
        let made = create_overlay_on(&there, "later", "10.44.0.0/24", true, &[]);
        made.expect("a network");
        // Whatever was told before was heard, too.
        vw_testkit::eventually("it hears", SOON, || lists(&here, "later"));
    };
    scene.store.set_weather(Arc::new(Then {
        committed: AtomicBool::new(false),
        act: Mutex::new(Some(Box::new(act))),
    }));
    let maker = thread::Builder::new().name(MAKER.to_owned());
    let asks = a.clone();
    let made = maker.spawn(move || create(&asks)).unwrap().join();
    made.unwrap().expect("it was made");
    assert!(lists(&a, "later") && !lists(&b, "shop"));
    assert!(!lists(&a, "shop"), "it is nobody's");
    assert_eq!(a.repair().unwrap(), 0);
}

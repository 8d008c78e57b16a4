//! Whether what leads to the services of a network is to go, where one goes as another comes.

use crate::{
    inject::Effect,
    scenario::{adopt, connect, create_overlay, create_service, remove_service},
    world::World,
};
use std::{
    fs,
    sync::mpsc::channel,
    thread::{self, JoinHandle},
    time::Duration,
};
use vw_controller::{Controller, command::ServiceList};
use vw_hoststate::Object;
use vw_model::EndpointMode;
use vw_store::{Change, Table, cluster::memory::MemoryStore};

/// What takes longer never comes.
const PATIENCE: Duration = Duration::from_secs(20);

#[track_caller]
fn eventually(what: &str, holds: impl FnMut() -> bool) {
    vw_testkit::eventually(what, PATIENCE, holds);
}

fn listed(controller: &Controller) -> Vec<String> {
    let services = controller.submit(ServiceList).unwrap();
    let names = services.iter().map(|service| service.spec.name.to_string());
    names.collect()
}

/// Whether a thread of this process sleeps.
fn sleeps(tid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/self/task/{tid}/stat")).unwrap_or_default();
    let state = stat
        .rsplit(')')
        .next()
        .and_then(|rest| rest.split_whitespace().next());
    state == Some("S")
}

/// Removes the last service, whose removal has to wait for who makes what leads to it, and makes
/// another once it waits. Both go on then.
fn replace_last(controller: &Controller) -> [JoinHandle<()>; 2] {
    let (removing, making) = (controller.clone(), controller.clone());
    let (told, tid) = channel();
    let removal = thread::spawn(move || {
        let tid = rustix::thread::gettid().as_raw_nonzero().get();
        told.send(tid).expect("somebody waits");
        remove_service(&removing, "web").unwrap();
    });
    let tid = tid.recv_timeout(PATIENCE).expect("it begins");
    eventually("it is listed no more", || listed(controller).is_empty());
    eventually("its removal waits for its turn", || sleeps(tid));
    let making = thread::spawn(move || {
        create_service(&making, "api", "shop", EndpointMode::Vip, &[]).unwrap();
    });
    eventually("another is listed", || listed(controller) == ["api"]);
    [removal, making]
}

#[test]
fn what_leads_to_a_service_that_came_stays_when_the_last_before_it_goes() {
    let world = World::in_cluster(&MemoryStore::new(), 1);
    let controller = world.open();
    eventually("the network is made", || {
        create_overlay(&controller, "shop", false, &[]).is_ok()
    });
    create_service(&controller, "web", "shop", EndpointMode::Vip, &[]).unwrap();
    adopt(&controller, &world, "one", &[], &[]).unwrap();
    world.noted();
    let endpoint = |effect: &Effect<'_>| {
        matches!(
            effect,
            Effect::Change(Change::Put {
                table: Table::Attachments,
                ..
            })
        )
    };
    let (other, (begun, both)) = (controller.clone(), channel());
    world.faults.while_at(endpoint, move || {
        begun.send(replace_last(&other)).expect("somebody waits");
    });
    // Before it is on the network, it makes what leads to the services.
    connect(&controller, "shop", "one").unwrap();
    world.faults.await_beside();
    let led = || {
        let objects = world.kernel.objects().into_values();
        let mut led = objects.filter(|object| matches!(object, Object::Balance(..)));
        led.next().is_some()
    };
    for thread in both.recv().expect("they have begun") {
        thread.join().expect("it is done");
    }
    eventually("the other is led to", led);
    assert_eq!(controller.repair().unwrap(), 0);
    let gone = |change: &Change| {
        matches!(
            change,
            Change::Delete {
                table: Table::Sandboxes,
                ..
            }
        )
    };
    assert!(!world.noted().iter().any(gone), "it was taken away");
}

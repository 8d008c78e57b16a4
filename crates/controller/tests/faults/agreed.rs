//! Services of a cluster on a host that hears of others' changes late, and one that is full.

use crate::{
    global::create,
    inject::{Effect, Mode},
    led::update,
    scenario::{adopt, create_overlay, create_service, join, release},
    world::World,
};
use std::{
    collections::BTreeSet,
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};
use vw_controller::{
    Controller,
    command::{
        NetworkList, NetworkRemove, ServiceInspect, ServiceList, ServiceRemove, ServiceUpdate,
    },
    view::{ServiceMemberView, ServiceView},
};
use vw_hoststate::{Object, Step};
use vw_model::{EndpointMode, Result, ServiceId};
use vw_store::cluster::{
    Transaction, Write,
    memory::{Call, Fate, MemoryStore, Weather},
};

const PATIENCE: Duration = Duration::from_secs(60);

#[track_caller]
fn eventually(what: &str, holds: impl FnMut() -> bool) {
    vw_testkit::eventually(what, PATIENCE, holds);
}

/// A store that tells the first host nothing, and answers what it asks otherwise.
#[derive(Default)]
struct Silent(AtomicBool);

impl Weather for Silent {
    fn before(&self, client: &str, _: Call) -> Fate {
        let follows = thread::current().name() == Some("cluster-follow");
        match self.0.load(Ordering::SeqCst) && follows && client == "host-1" {
            true => Fate::Unreachable,
            false => Fate::Answered,
        }
    }
}

/// Two hosts with the network `shop`.
struct Scene {
    store: MemoryStore,
    silent: Arc<Silent>,
    worlds: [World; 2],
    a: Controller,
    b: Controller,
}

impl Scene {
    /// With the service `web` on it.
    fn new() -> Self {
        let scene = Self::without_service();
        let web = || create_service(&scene.a, "web", "shop", EndpointMode::Vip, &[]).is_ok();
        eventually("the service is made", web);
        eventually("the service is known", || listed(&scene.b) == ["web"]);
        scene
    }

    fn without_service() -> Self {
        Self::on(|b| create(b).is_ok())
    }

    fn on(network: impl Fn(&Controller) -> bool) -> Self {
        let store = MemoryStore::new();
        let silent = Arc::<Silent>::default();
        store.set_weather(silent.clone());
        let worlds = [World::in_cluster(&store, 1), World::in_cluster(&store, 2)];
        let [a, b] = [worlds[0].open(), worlds[1].open()];
        eventually("the network is made", || network(&b));
        eventually("the network is known", || has_shop(&a));
        Self {
            store,
            silent,
            worlds,
            a,
            b,
        }
    }

    fn silence(&self) {
        self.silent.0.store(true, Ordering::SeqCst);
        self.worlds[0].client().lose_watches();
    }

    fn hear(&self) {
        self.silent.0.store(false, Ordering::SeqCst);
    }

    /// Adopts a process on one of the hosts, as an endpoint of the service.
    fn come(&self, host: usize, name: &str, weight: u32) -> Result<()> {
        let controller = [&self.a, &self.b][host];
        fs::write(self.worlds[host].folder.join(name), "").unwrap();
        adopt(controller, &self.worlds[host], name, &[], &[]).unwrap();
        join(controller, "shop", name, "web", weight)
    }
}

fn has_shop(controller: &Controller) -> bool {
    let networks = controller.submit(NetworkList).unwrap();
    networks.iter().any(|one| one.spec.name.as_str() == "shop")
}

fn listed(controller: &Controller) -> Vec<String> {
    let services = controller.submit(ServiceList).unwrap();
    services
        .iter()
        .map(|one| one.spec.name.to_string())
        .collect()
}

fn inspect(controller: &Controller) -> ServiceView {
    let service = "web".to_owned();
    controller.submit(ServiceInspect { service }).unwrap()
}

fn member(controller: &Controller, name: &str) -> Option<ServiceMemberView> {
    let mut members = inspect(controller).members.into_iter();
    members.find(|member| member.name == name)
}

fn remove(controller: &Controller, service: &str) -> Result<()> {
    let service = service.to_owned();
    controller.submit(ServiceRemove { service })
}

fn drain(controller: &Controller, drain: Duration) {
    let update = ServiceUpdate {
        service: "web".to_owned(),
        drain: Some(drain),
        ..ServiceUpdate::default()
    };
    controller.submit(update).unwrap();
}

#[test]
fn what_others_undo_while_a_host_hears_nothing_is_undone_there() {
    let scene = Scene::new();
    let (a, b) = (&scene.a, &scene.b);
    scene.silence();
    create_service(a, "ghost", "shop", EndpointMode::Vip, &[]).unwrap();
    let former = inspect(a).spec.drain;
    drain(a, former + Duration::from_secs(5));
    assert_eq!(listed(a), ["ghost", "web"], "its own are there at once");
    eventually("the other knows", || {
        listed(b) == ["ghost", "web"] && inspect(b).spec.drain != former
    });
    remove(b, "ghost").unwrap();
    drain(b, former);
    scene.hear();
    eventually("it is gone", || listed(a) == ["web"]);
    eventually("it is undone", || inspect(a).spec.drain == former);
    assert_eq!(a.repair().unwrap(), 0);
}

#[test]
fn who_found_a_service_full_is_led_to_once_another_leaves() {
    let scene = Scene::new();
    let (a, b) = (&scene.a, &scene.b);
    scene.silence();
    // Neither host can know of the other's endpoints yet.
    scene.come(1, "far", 100).unwrap();
    for n in 0..10 {
        scene.come(0, &format!("near{n}"), 100).unwrap();
    }
    let refused = scene.come(0, "more", 100).unwrap_err();
    assert_eq!(refused.reason, "service-full");
    scene.hear();
    eventually("it waits here", || {
        member(a, "far").is_some_and(|far| far.state == "waiting" && !far.serves)
    });
    let waits = |one: &ServiceMemberView| one.state == "waiting";
    eventually("and one of the others there", || {
        let members = inspect(b).members;
        members.len() == 11 && members.iter().filter(|one| waits(one)).count() == 1
    });
    release(a, "near3").unwrap();
    for controller in [a, b] {
        eventually("all are led to", || {
            let members = inspect(controller).members;
            members.len() == 10 && members.iter().all(|one| one.serves)
        });
        assert_eq!(controller.repair().unwrap(), 0);
    }
}

#[test]
fn a_service_whose_record_cannot_be_read_is_removed_by_its_id() {
    let scene = Scene::new();
    let id = ServiceId::from_bytes([7; 32]);
    let key = format!("v1/shared/services/{id}");
    let writes = vec![Write::Put(key.clone(), r#"1 {"spec":{"na"#.into())];
    let conditions = Vec::new();
    assert!(scene.store.edit(&Transaction { conditions, writes }));
    create_service(&scene.a, "more", "shop", EndpointMode::Vip, &[]).unwrap();
    assert_eq!(
        remove(&scene.a, id.short().as_str()).unwrap_err().reason,
        "service-not-found"
    );
    remove(&scene.a, &id.to_string()).unwrap();
    assert!(scene.store.records().iter().all(|record| record.key != key));
    let again = remove(&scene.a, &id.to_string()).unwrap_err();
    assert_eq!(again.reason, "service-not-found");
}

#[test]
fn a_network_that_is_removed_is_not_back_because_that_is_heard_late() {
    let scene = Scene::without_service();
    scene.silence();
    let network = "shop".to_owned();
    scene.a.submit(NetworkRemove { network }).unwrap();
    assert!(!has_shop(&scene.a), "it is listed again");
    scene.hear();
    eventually("it is made anew", || create(&scene.a).is_ok());
    eventually("the other host has it too", || has_shop(&scene.b));
    assert!(has_shop(&scene.a));
    assert_eq!(scene.a.repair().unwrap(), 0);
}

#[test]
fn a_port_that_another_host_gave_up_is_taken_by_nobody() {
    let s = Scene::on(|b| create_overlay(b, "shop", false, &[]).is_ok());
    let vip = EndpointMode::Vip;
    create_service(&s.b, "web", "shop", vip, &["8080:80"]).unwrap();
    create_service(&s.b, "db", "shop", vip, &["9090:90"]).unwrap();
    let held = || {
        let held = s.worlds[0].kernel.claimed().into_iter();
        held.map(|(_, addr)| addr.port()).collect::<BTreeSet<u16>>()
    };
    eventually("both are published", || held() == [8080, 9090].into());
    s.silence();
    // To another port of the same endpoints.
    update(&s.b, &["80"], &[], &[]).unwrap();
    update(&s.a, &[], &["8080:81"], &[]).unwrap();
    // By another service.
    update(&s.b, &["81"], &["8081:81"], &[]).unwrap();
    remove(&s.b, "db").unwrap();
    create_service(&s.a, "other", "shop", vip, &["8080:80", "9090:90"]).unwrap();
    // What another host has just published is known to be.
    update(&s.b, &[], &["8082:82"], &[]).unwrap();
    update(&s.a, &["82"], &[], &[]).unwrap();
    // And what it publishes still is taken.
    let error = create_service(&s.a, "third", "shop", vip, &["8081:80"]).unwrap_err();
    assert_eq!(error.reason, "port-allocated", "{}", error.message);
    s.hear();
    eventually("all is as it should be", || {
        held() == [8080, 8081, 9090].into() && s.a.repair().unwrap() == 0
    });
}

#[test]
fn a_port_that_this_host_is_about_to_give_up_is_taken_by_nobody() {
    let s = Scene::on(|b| create_overlay(b, "shop", false, &[]).is_ok());
    let vip = EndpointMode::Vip;
    create_service(&s.b, "web", "shop", vip, &["8080:80"]).unwrap();
    s.come(1, "one", 1).unwrap();
    let kernel = &s.worlds[0].kernel;
    let leads = |object: &Object| matches!(object, Object::Balance(..));
    eventually("it is led to", || {
        kernel.objects().values().any(leads) && !kernel.claimed().is_empty()
    });
    let is_undone = move |effect: &Effect<'_>| matches!(effect, Effect::Step(Step::Delete(object)) if leads(object));
    let other = s.a.clone();
    let faults = &s.worlds[0].faults;
    faults.beside(is_undone, Mode::Never, move || {
        create_service(&other, "other", "shop", vip, &["8080:80"]).unwrap();
    });
    update(&s.b, &["80"], &[], &[]).unwrap();
    eventually("it has another port", || {
        listed(&s.b).contains(&"other".to_owned())
    });
    faults.await_beside();
    eventually("all is as it should be", || s.a.repair().unwrap() == 0);
}

//! A host among a thousand others, where networks are encrypted: what one of them does costs the look
//! at that one, and a second in which nothing happens costs the look at none.

use crate::{
    scenario::{adopt, create_overlay, release},
    world::World,
};
use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use vw_controller::{Controller, Tunnel};
use vw_drivers::Carrier;
use vw_hoststate::{Fragment, Object};
use vw_model::{HostId, OtherHosts, PublicKey, RemoteHost, Result, TunnelKeys};
use vw_store::cluster::{Transaction, Write, memory::MemoryStore};

const SOON: Duration = Duration::from_secs(60);
const LONG: Duration = Duration::from_secs(24 * 60 * 60);
const MANY: u16 = 1000;

/// How many hosts were looked at.
#[derive(Default)]
pub(crate) struct Looks {
    /// To plan what stands for them.
    planned: AtomicUsize,
    /// To tell whoever carries packets of them.
    told: AtomicUsize,
    /// How often whoever carries packets was looked after.
    rounds: AtomicUsize,
}

/// A tunnel whose looks at hosts are counted.
pub(crate) struct Counted {
    pub(crate) tunnel: Arc<dyn Tunnel>,
    pub(crate) looks: Arc<Looks>,
}

impl Tunnel for Counted {
    fn carrier(&self) -> Carrier {
        self.tunnel.carrier()
    }

    fn keys(&self) -> TunnelKeys {
        self.tunnel.keys()
    }

    fn change(&self, others: &OtherHosts, told: Option<PublicKey>) -> Result<Duration> {
        self.tunnel.change(others, told)
    }

    fn objects(&self) -> Result<Fragment> {
        self.tunnel.objects()
    }

    fn peers(&self, hosts: &[RemoteHost]) -> Result<Vec<Fragment>> {
        self.looks.planned.fetch_add(hosts.len(), Ordering::SeqCst);
        self.tunnel.peers(hosts)
    }

    fn carry(&self, others: &OtherHosts) -> Result<()> {
        let told = others.changed().len();
        self.looks.told.fetch_add(told, Ordering::SeqCst);
        self.looks.rounds.fetch_add(1, Ordering::SeqCst);
        self.tunnel.carry(others)
    }

    fn end(&self) -> Result<()> {
        self.tunnel.end()
    }
}

fn id(number: u16) -> HostId {
    let [high, low] = number.to_be_bytes();
    HostId::from_bytes(std::array::from_fn(|at| [0xee, high, low][at % 3]))
}

fn key(number: u16) -> PublicKey {
    PublicKey::from_bytes(*id(number).0.as_bytes())
}

/// What a host writes of itself.
fn records(number: u16, addr: IpAddr, public: PublicKey, next: Option<PublicKey>) -> Vec<Write> {
    let keys = TunnelKeys {
        public,
        next,
        port: 51_820,
        taken: Default::default(),
        idle: false,
        woke: 0,
    };
    let keys = serde_json::to_value(keys).unwrap();
    let host = serde_json::json!({
        "name": format!("far-{number}"), "advertise": addr, "version": "0", "instance": "i",
        "since": 0,
    });
    let put = |table: &str, value| {
        let key = format!("v1/shared/{table}/{}", id(number));
        Write::Put(key, format!("1 {value}").into_bytes())
    };
    vec![
        put("hosts", host),
        put("tunnels", keys),
        put("alive", serde_json::json!({})),
    ]
}

fn write(store: &MemoryStore, writes: Vec<Write>) {
    assert!(store.edit(&Transaction {
        writes,
        ..Transaction::default()
    }));
}

fn home(number: u16) -> IpAddr {
    let [high, low] = number.to_be_bytes();
    [10, 200, high, low].into()
}

/// The host, and how much it looks at.
struct Scene {
    store: MemoryStore,
    world: World,
    controller: Controller,
    looks: Arc<Looks>,
}

impl Scene {
    fn new(carrier: Carrier) -> Self {
        let store = MemoryStore::new();
        let mut world = World::that_encrypts(&store, 1, LONG);
        if carrier == Carrier::UserSpace {
            world.kernel.lack_wireguard();
        }
        let looks = Arc::<Looks>::default();
        world.looks = Some(looks.clone());
        let controller = world.open();
        let made = || create_overlay(&controller, "shop", true, &[("encrypted", "")]);
        vw_testkit::eventually("a network is made", SOON, || made().is_ok());
        let host = |number| records(number, home(number), key(number), None);
        for first in (0..MANY).step_by(100) {
            write(&store, (first..first + 100).flat_map(host).collect());
        }
        let scene = Self {
            store,
            world,
            controller,
            looks,
        };
        scene.enter();
        scene
    }

    fn enter(&self) {
        adopt(&self.controller, &self.world, "one", &["shop"], &[]).unwrap();
        vw_testkit::eventually("all hosts are known", SOON, || self.ways().len() == 1000);
        self.rest();
    }

    /// Where the hosts are asked inside the tunnel.
    fn ways(&self) -> BTreeMap<String, Object> {
        let objects = self.world.kernel.objects().into_iter();
        let probe = vw_hoststate::Netns::Network(vw_model::PROBE_NETWORKS[1]);
        objects
            .filter(
                |(_, object)| matches!(object, Object::Forward(forward) if forward.netns == probe),
            )
            .map(|(key, object)| (format!("{key:?}"), object))
            .collect()
    }

    /// The keys that the kernel knows, with their places.
    fn peers(&self) -> BTreeMap<PublicKey, IpAddr> {
        let objects = self.world.kernel.objects().into_values();
        let peers = objects.filter_map(|object| match object {
            Object::WireguardPeer(peer) => Some((peer.public, peer.endpoint.ip())),
            _ => None,
        });
        peers.collect()
    }

    fn looked(&self) -> (usize, usize) {
        let read = |count: &AtomicUsize| count.load(Ordering::SeqCst);
        (read(&self.looks.planned), read(&self.looks.told))
    }

    /// Waits until all that was told is done, and some rounds more.
    fn rest(&self) {
        let rounds = || self.looks.rounds.load(Ordering::SeqCst);
        let mut quiet = (self.looked(), rounds());
        vw_testkit::eventually("it rests", SOON, || {
            let now = self.looked();
            if now != quiet.0 {
                quiet = (now, rounds());
            }
            rounds() >= quiet.1 + 2
        });
    }

    /// Does something about one host, waits for what comes of it, and tells how many hosts were
    /// looked at for it.
    fn change(&self, writes: Vec<Write>, done: impl Fn(&Self) -> bool) -> (usize, usize) {
        let before = self.looked();
        write(&self.store, writes);
        let taken = || self.looked().1 > before.1 && done(self);
        vw_testkit::eventually("it is taken in", SOON, taken);
        self.rest();
        let after = self.looked();
        (after.0 - before.0, after.1 - before.1)
    }
}

/// Each of a host's three records may be a round of its own.
const FEW: usize = 4;

fn what_one_does_costs_one(carrier: Carrier) {
    let scene = Scene::new(carrier);
    let in_kernel = carrier == Carrier::Kernel;
    assert_eq!(scene.peers().len(), if in_kernel { 1000 } else { 0 });
    let elsewhere: IpAddr = [10, 201, 0, 7].into();
    let knows = |peer, at| move |scene: &Scene| !in_kernel || scene.peers().get(&peer) == Some(&at);
    let at = |scene: &Scene, count| scene.ways().len() == count;
    let before = scene.looked();
    scene.rest();
    assert_eq!(scene.looked(), before, "nothing happened");
    let told = |writes: Vec<Write>, done: &dyn Fn(&Scene) -> bool| {
        let (planned, told) = scene.change(writes, done);
        assert!(told <= FEW, "{told} were looked at");
        assert!(planned <= FEW, "{planned} were planned");
    };
    told(
        records(7, elsewhere, key(7), None),
        &knows(key(7), elsewhere),
    );
    told(
        records(7, elsewhere, key(2007), None),
        &knows(key(2007), elsewhere),
    );
    let new = records(1000, home(1000), key(1000), None);
    told(new, &|scene| {
        at(scene, 1001) && knows(key(1000), home(1000))(scene)
    });
    let gone = records(1000, home(1000), key(1000), None).into_iter();
    let gone = gone.map(|write| match write {
        Write::Put(key, _) => Write::Delete(key),
        other => other,
    });
    told(gone.collect(), &|scene| {
        at(scene, 1000) && !scene.peers().contains_key(&key(1000))
    });
    assert_eq!(scene.controller.repair().unwrap(), 0);
    // With the last endpoint nothing of any is left, and who comes then knows all.
    release(&scene.controller, "one").unwrap();
    assert_eq!((scene.peers().len(), scene.ways().len()), (0, 0));
    scene.enter();
    assert_eq!(scene.peers().len(), if in_kernel { 1000 } else { 0 });
    assert_eq!(scene.controller.repair().unwrap(), 0);
}

#[test]
fn what_one_host_of_a_thousand_does_costs_the_look_at_that_one() {
    what_one_does_costs_one(Carrier::Kernel);
}

#[test]
fn what_one_host_of_a_thousand_does_is_all_that_the_process_is_told() {
    what_one_does_costs_one(Carrier::UserSpace);
}

/// Who was copied with its disk but for its id.
#[test]
fn two_hosts_with_one_key_keep_no_other_out() {
    let scene = Scene::new(Carrier::Kernel);
    let twin = records(2000, home(2000), key(7), None);
    scene.change(twin, |scene| {
        scene.peers().get(&key(7)) == Some(&home(2000))
    });
    let late = records(2001, home(2001), key(2001), None);
    scene.change(late, |scene| scene.peers().contains_key(&key(2001)));
    let apart = records(2000, home(2000), key(2000), None);
    scene.change(apart, |scene| {
        let peers = scene.peers();
        (peers.get(&key(7)), peers.get(&key(2000))) == (Some(&home(7)), Some(&home(2000)))
    });
    assert_eq!(scene.controller.repair().unwrap(), 0);
}

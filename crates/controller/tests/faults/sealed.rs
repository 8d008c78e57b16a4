//! Encrypted networks whose packets the kernel carries: which objects stand for them, how keys
//! change, and what becomes of it when effects fail.

use crate::{
    global::{Operation, Scene, Then, sweep_all},
    inject::{Mode, Whose},
    scenario::{adopt, connect, create_overlay, create_overlay_on, disconnect, release},
    world::{OVERLAY, World},
};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};
use vw_controller::command::NetworkList;
use vw_hoststate::{Key, LinkKind, Netns, Object, RouteKind};
use vw_kernel::{Kernel, fake::FakeKernel};
use vw_model::{PROBE_NETWORKS, Protocol, PublicKey, Result};
use vw_store::{
    Change, Table,
    cluster::{
        ClusterStore, Record, Transaction, Write,
        memory::{Call, Fate, MemoryStore, Weather},
    },
};

/// What takes longer never comes.
const SOON: Duration = Duration::from_secs(20);
/// No key gets as old.
const LONG: Duration = Duration::from_secs(24 * 60 * 60);

pub(crate) fn encrypted(store: &MemoryStore, number: u8) -> World {
    World::that_encrypts(store, number, LONG)
}

/// One on which a key is soon changed.
fn restless(store: &MemoryStore, number: u8) -> World {
    World::that_encrypts(store, number, Duration::from_millis(50))
}

#[track_caller]
pub(crate) fn eventually(what: &str, holds: impl FnMut() -> bool) {
    let mut holds = holds;
    let held = vw_testkit::poll(SOON, || holds().then_some(()));
    assert!(held.is_some(), "{what}");
}

pub(crate) fn made(s: &Scene) -> Result<()> {
    create_overlay(&s.a(), "shop", true, &[("encrypted", "")])
}

pub(crate) fn one_here(s: &Scene) -> Result<()> {
    adopt(&s.a(), &s.here, "one", &["shop"], &[])
}

fn one_there(s: &Scene) -> Result<()> {
    adopt(&s.b, &s.there, "one", &["shop"], &[])
}

/// The key and the port of a host's tunnel.
fn key(kernel: &FakeKernel) -> Option<(PublicKey, u16)> {
    let name = vw_drivers::tunnel_link().unwrap();
    match kernel
        .objects()
        .get(&Key::WireguardKey(Netns::Tunnel, name))
    {
        Some(Object::WireguardKey(key)) => Some((key.public, key.port)),
        _ => None,
    }
}

/// The other hosts' keys, and how many addresses each has.
fn peers(kernel: &FakeKernel) -> BTreeMap<PublicKey, usize> {
    let objects = kernel.objects().into_values();
    let peers = objects.filter_map(|object| match object {
        Object::WireguardPeer(peer) => Some((peer.public, peer.allowed.len())),
        _ => None,
    });
    peers.collect()
}

fn kind(kernel: &FakeKernel) -> Option<LinkKind> {
    let facts = kernel.tunnel_facts(&vw_drivers::tunnel_link().unwrap());
    facts.unwrap().standing.map(|(kind, _)| kind)
}

/// Both hosts with one endpoint each on an encrypted network.
pub(crate) fn pair(world: fn(&MemoryStore, u8) -> World) -> Scene {
    let scene = Scene::of(world);
    for act in [made, one_here, one_there] {
        eventually("it is prepared", || act(&scene).is_ok());
    }
    scene
}

#[test]
fn the_kernel_carries_what_is_encrypted_and_a_restart_repairs_nothing() {
    let scene = pair(encrypted);
    let (here, there) = (&scene.here.kernel, &scene.there.kernel);
    assert_eq!(kind(here), Some(LinkKind::Wireguard));
    eventually("they know each other", || {
        let one = |(public, _)| BTreeMap::from([(public, 1)]);
        key(there).map(one) == Some(peers(here)) && key(here).map(one) == Some(peers(there))
    });
    assert_eq!(key(here).map(|(_, port)| port), Some(51_820));
    let before = (key(here), peers(here));
    scene.restart();
    assert_eq!(scene.a().repair().unwrap(), 0);
    assert_eq!((key(here), peers(here)), before);
    // With the last endpoint all of it goes.
    release(&scene.a(), "one").unwrap();
    assert_eq!((kind(here), key(here)), (None, None));
    assert_eq!(peers(here), BTreeMap::new());
    assert_eq!(scene.a().repair().unwrap(), 0);
}

/// How many routes lead nowhere.
pub(crate) fn refused(kernel: &FakeKernel) -> usize {
    let objects = kernel.objects().into_values();
    let routes = objects.filter(|object| match object {
        Object::Route(route) => route.kind == RouteKind::Unreachable,
        _ => false,
    });
    routes.count()
}

#[test]
fn who_is_on_it_has_no_other_way_there_until_it_leaves() {
    let scene = pair(encrypted);
    let refused = || refused(&scene.here.kernel);
    assert_eq!(refused(), 1);
    disconnect(&scene.a(), "shop", "one").unwrap();
    assert_eq!(refused(), 0);
    connect(&scene.a(), "shop", "one").unwrap();
    assert_eq!(refused(), 1);
    scene.restart();
    assert_eq!(scene.a().repair().unwrap(), 0);
    assert_eq!(refused(), 1);
}

#[test]
fn who_lost_its_address_over_a_restart_has_no_other_way_there_and_comes_back() {
    let scene = pair(encrypted);
    let (here, client) = (&scene.here.kernel, scene.here.client());
    let noted = scene.here.noted().into_iter();
    let mut attachments = noted.filter_map(|change| match change {
        Change::Put {
            table: Table::Attachments,
            key,
            value,
        } => {
            let text = String::from_utf8(value).expect("it is JSON");
            Some((key, text)).filter(|(_, text)| text.contains(OVERLAY))
        }
        _ => None,
    });
    let (key, record) = attachments.next_back().expect("one came");
    // Of no block of this host's.
    let record = record.replace(OVERLAY, "10.42.9.").into_bytes();
    scene.here.forge(Table::Attachments, &key, record);
    // As an older version left it, whose records told by endpoints alone what it is a member of.
    let id = scene.here.sandbox_id(&scene.a(), "one");
    let record = scene.here.record(Table::Sandboxes, &id).expect("it stands");
    let mut record: serde_json::Value = serde_json::from_slice(&record).expect("it is JSON");
    let known = record["memberships"].take();
    assert_eq!(known[0]["name"], "shop");
    record.as_object_mut().unwrap().remove("memberships");
    scene
        .here
        .forge(Table::Sandboxes, &id, record.to_string().into_bytes());
    client.cut(true);
    // At the first start its endpoint tells of it, and then nothing but its own record.
    for _ in 0..2 {
        scene.restart();
        assert_eq!(refused(here), 1);
    }
    let one_here = || {
        let objects = here.objects().into_keys();
        let mut addresses = objects.filter_map(|key| match key {
            Key::Address(Netns::Sandbox(_), _, net) => Some(net.to_string()),
            _ => None,
        });
        addresses.any(|net| net.starts_with(OVERLAY))
    };
    client.cut(false);
    eventually("it is back", one_here);
    assert_eq!(refused(here), 1);
}

#[test]
fn without_wireguard_in_the_kernel_a_process_carries_and_who_does_goes_on() {
    let without = |store: &MemoryStore, number| {
        let world = encrypted(store, number);
        if number == 1 {
            world.kernel.lack_wireguard();
        }
        world
    };
    let scene = pair(without);
    let (here, there) = (&scene.here.kernel, &scene.there.kernel);
    assert_eq!(
        (kind(here), kind(there)),
        (Some(LinkKind::Tun), Some(LinkKind::Wireguard))
    );
    assert_eq!((key(here), peers(here)), (None, BTreeMap::new()));
    eventually("the other host knows its key", || peers(there).len() == 1);
    // The kernel gets it: what stands goes on, and what is made later is the kernel's.
    here.gain_wireguard();
    scene.restart();
    assert_eq!(kind(here), Some(LinkKind::Tun));
    assert_eq!(scene.a().repair().unwrap(), 0);
    release(&scene.a(), "one").unwrap();
    scene.restart();
    one_here(&scene).unwrap();
    assert_eq!(kind(here), Some(LinkKind::Wireguard));
}

#[test]
fn a_port_that_somebody_has_is_left_to_them_and_kept_as_long_as_the_tunnel_stands() {
    let scene = Scene::of(encrypted);
    let here = &scene.here.kernel;
    let taken = |addr: &str| (Protocol::Udp, addr.parse().unwrap());
    let strangers = [taken("192.0.2.1:51820"), taken("[2001:db8::1]:51821")];
    strangers
        .iter()
        .for_each(|(protocol, addr)| here.occupy(*protocol, *addr));
    eventually("the network is made", || made(&scene).is_ok());
    eventually("one comes", || one_here(&scene).is_ok());
    assert_eq!(key(here).map(|(_, port)| port), Some(51_822));
    strangers
        .iter()
        .for_each(|(protocol, addr)| here.vacate(*protocol, *addr));
    scene.restart();
    adopt(&scene.a(), &scene.here, "two", &["shop"], &[]).unwrap();
    assert_eq!(key(here).map(|(_, port)| port), Some(51_822));
    one_there(&scene).unwrap();
    let told = || {
        let objects = scene.there.kernel.objects().into_values();
        let mut ports = objects.filter_map(|object| match object {
            Object::WireguardPeer(peer) => Some(peer.endpoint.port()),
            _ => None,
        });
        ports.next()
    };
    eventually("the other host knows the port", || told() == Some(51_822));
}

#[test]
fn a_tunnel_that_is_made_anew_at_the_start_does_not_find_its_own_port_taken() {
    let scene = pair(encrypted);
    let here = &scene.here.kernel;
    assert_eq!(key(here).map(|(_, port)| port), Some(51_820));
    here.lose(|key| matches!(key, Key::Link(Netns::Tunnel, _)));
    scene.restart();
    // The keeper of the tunnel plans it once more with each change.
    adopt(&scene.a(), &scene.here, "two", &["shop"], &[]).unwrap();
    eventually("they know each other", || {
        let one = |(public, _)| BTreeMap::from([(public, 1)]);
        key(&scene.there.kernel).map(one) == Some(peers(here))
    });
    assert_eq!(key(here).map(|(_, port)| port), Some(51_820));
}

#[test]
fn keys_change_and_the_other_host_has_the_next_before_it_is_used() {
    let scene = pair(restless);
    let (here, there) = (&scene.here.kernel, &scene.there.kernel);
    for (mine, other) in [(here, there), (there, here)] {
        let mut used = Vec::new();
        eventually("keys change", || {
            // Read in this order, what the other host has may be newer, by one change at most.
            let known = peers(other);
            let now = key(mine).map(|(public, _)| public);
            assert!(
                known.values().sum::<usize>() <= 1,
                "one key has the address: {known:?}"
            );
            if let Some(now) = now.filter(|now| used.last() != Some(now)) {
                used.push(now);
            }
            used.len() > 5
        });
    }
    assert_eq!(scene.a().repair().unwrap(), 0);
}

/// The other host's daemon, or the store, fails just when a key is used that its record tells as the
/// next one.
#[test]
fn a_key_that_a_host_uses_has_its_address_before_the_record_tells_it() {
    let scene = pair(encrypted);
    let (here, there) = (&scene.here.kernel, &scene.there.kernel);
    eventually("they know each other", || peers(here).len() == 1);
    let (used, _) = key(there).expect("it stands");
    let next = PublicKey::from_bytes([77; 32]);
    let client = scene.store.client("keeper");
    let mut records = client.list("v1/shared/tunnels").expect("it is there");
    records.retain(|record| {
        String::from_utf8_lossy(&record.value).contains(&format!("\"public\":\"{used}\""))
    });
    let record = records.pop().expect("it tells its keys");
    // It tells the key, and is cut off before it tells more.
    scene.b.close().unwrap();
    let told = String::from_utf8(record.value).expect("it is text");
    let told = told.replace("\"next\":null", &format!("\"next\":\"{next}\""));
    let writes = vec![Write::Put(record.key, told.into_bytes())];
    let transaction = Transaction {
        writes,
        ..Transaction::default()
    };
    client.commit(&transaction).expect("it is written");
    let of = |key| peers(here).get(&key).copied();
    eventually("it is accepted", || {
        (of(used), of(next)) == (Some(1), Some(0))
    });
    here.agree(next);
    eventually("it has the address", || {
        (of(used), of(next)) == (Some(0), Some(1))
    });
}

#[test]
fn hosts_on_which_nothing_encrypted_stands_change_no_keys_and_write_nothing() {
    let scene = Scene::of(restless);
    let records = || {
        let client = scene.store.client("observer");
        client.list("v1/shared/tunnels").unwrap_or_default()
    };
    let idle = |record: &Record| String::from_utf8_lossy(&record.value).contains("\"idle\":true");
    let are_idle = |records: &[Record]| records.len() == 2 && records.iter().all(idle);
    eventually("both tell that they are idle", || are_idle(&records()));
    let before = records();
    // Twenty times as long as a key is used where something stands.
    vw_testkit::stays("nothing is written", Duration::from_secs(1), || {
        records() == before
    });
    eventually("the network is made", || made(&scene).is_ok());
    eventually("one comes", || one_here(&scene).is_ok());
    let (here, first) = (&scene.here.kernel, records());
    eventually("its key changes without the other host", || {
        let known = first.iter().map(|record| &record.value);
        let used = key(here).map(|(public, _)| public.to_string());
        used.is_some_and(|used| {
            known
                .map(|value| String::from_utf8_lossy(value).into_owned())
                .all(|told| !told.contains(&used))
        })
    });
    let other = |records: Vec<Record>| records.into_iter().find(idle);
    assert_eq!(other(records()), other(first), "it wrote nothing");
    release(&scene.a(), "one").unwrap();
    eventually("it is idle again", || are_idle(&records()));
}

#[test]
fn whatever_fails_in_a_change_of_keys_the_other_host_accepts_the_key_that_is_used() {
    let scene = pair(restless);
    let (here, there) = (&scene.here.kernel, &scene.there.kernel);
    let mut struck = 0;
    for nth in [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12] {
        scene.here.faults.set_of(Whose::Encryption, Mode::From(nth));
        eventually("an effect fails", || scene.here.faults.struck());
        let (used, _) = key(here).expect("it has one");
        eventually("the other host has it", || peers(there).contains_key(&used));
        assert_eq!(
            key(here).map(|(public, _)| public),
            Some(used),
            "nothing changes it now"
        );
        match nth % 2 {
            0 => scene.restart(),
            _ => scene.here.faults.set(Mode::Never),
        }
        eventually("it goes on", || {
            key(here).is_some_and(|(public, _)| public != used)
        });
        assert_eq!(scene.a().repair().unwrap(), 0);
        struck += 1;
    }
    assert_eq!(struck, 12);
}

/// Does something before the first host's next transaction, and holds that for a moment.
struct Before(Mutex<Option<Box<dyn FnOnce() + Send>>>);

impl Weather for Before {
    fn before(&self, client: &str, call: Call) -> Fate {
        if (client, call) == ("host-1", Call::Commit)
            && let Some(act) = self.0.lock().unwrap().take()
        {
            act();
            vw_testkit::poll(Duration::from_millis(500), || None::<()>);
        }
        Fate::Answered
    }
}

/// Who comes to the first encrypted network waits for what the host hears of itself, and holds the
/// lock that the end of another network is waiting for.
#[test]
fn a_host_hears_of_others_while_its_tunnel_is_about_to_stand() {
    let scene = Scene::of(encrypted);
    eventually("a network is made", || made(&scene).is_ok());
    let plain = || create_overlay_on(&scene.a(), "blue", "10.43.0.0/24", true, &[]);
    eventually("one in clear text is made", || plain().is_ok());
    let joined = || adopt(&scene.a(), &scene.here, "one", &["blue"], &[]);
    eventually("one is on it", || joined().is_ok());
    let networks = scene.a().submit(NetworkList).unwrap();
    let of = |name: &str| networks.iter().find(|n| n.spec.name.as_str() == name);
    let key = format!("v1/shared/networks/{}", of("blue").unwrap().spec.id);
    assert!(scene.store.records().iter().any(|record| record.key == key));
    let (store, waited) = (scene.store.clone(), Arc::new(Mutex::new(None)));
    let began = waited.clone();
    let remove = move || {
        store.edit(&Transaction {
            writes: vec![Write::Delete(key)],
            ..Transaction::default()
        });
        *began.lock().unwrap() = Some(Instant::now());
    };
    let weather = Before(Mutex::new(Some(Box::new(remove))));
    scene.store.set_weather(Arc::new(weather));
    connect(&scene.a(), "shop", "one").unwrap();
    let began = waited.lock().unwrap().expect("it was removed meanwhile");
    let took = began.elapsed();
    assert!(
        took < Duration::from_secs(3),
        "it heard nothing for {took:?}"
    );
    eventually("the other network is gone", || {
        let networks = scene.a().submit(NetworkList).unwrap();
        !networks.iter().any(|n| n.spec.name.as_str() == "blue")
    });
    eventually("its endpoint too", || {
        disconnect(&scene.a(), "blue", "one").is_err()
    });
    release(&scene.a(), "one").unwrap();
    assert_eq!(scene.a().repair().unwrap(), 0);
}

/// The namespace of a network that is not there to try the way.
fn namespace(kernel: &FakeKernel) -> Option<Key> {
    let mut keys = kernel.objects().into_keys();
    keys.find(|key| match key {
        Key::Namespace(Netns::Network(id)) => !PROBE_NETWORKS.contains(id),
        _ => false,
    })
}

#[test]
fn what_is_left_of_a_network_does_not_keep_the_encrypted_tunnel() {
    let scene = pair(encrypted);
    let here = &scene.here.kernel;
    let left = namespace(here).expect("it stands");
    scene.here.refusing.set(Some(left.clone()));
    // Whether it hears of what is left or not.
    let _ = release(&scene.a(), "one");
    assert!(here.objects().contains_key(&left), "it is refused");
    assert_eq!((kind(here), key(here)), (None, None));
    assert_eq!(peers(here), BTreeMap::new());
    scene.here.refusing.set(None);
    one_here(&scene).unwrap();
    eventually("they know each other again", || {
        key(&scene.there.kernel).map(|(public, _)| BTreeMap::from([(public, 1)]))
            == Some(peers(here))
    });
    release(&scene.a(), "one").unwrap();
    assert_eq!((kind(here), namespace(here)), (None, None));
    assert_eq!(scene.a().repair().unwrap(), 0);
}

#[test]
fn a_tunnel_that_could_not_be_taken_away_is_tried_again_though_nothing_happens() {
    let scene = pair(encrypted);
    let here = &scene.here.kernel;
    let left = Key::Namespace(Netns::Tunnel);
    scene.here.refusing.set(Some(left.clone()));
    // Whether it hears of what is left or not.
    let _ = release(&scene.a(), "one");
    assert!(here.objects().contains_key(&left), "it is refused");
    scene.here.refusing.set(None);
    eventually("it is gone", || !here.objects().contains_key(&left));
    assert_eq!(scene.a().repair().unwrap(), 0);
}

#[test]
fn a_process_that_did_not_end_is_ended_though_nothing_happens() {
    let without = |store: &MemoryStore, number| {
        let world = encrypted(store, number);
        world.kernel.lack_wireguard();
        world
    };
    let scene = pair(without);
    let refusing = &scene.here.refusing;
    refusing.set_hangs(true);
    release(&scene.a(), "one").unwrap();
    let before = refusing.ended();
    refusing.set_hangs(false);
    eventually("it has ended", || refusing.ended() > before);
}

const OPERATIONS: [Operation; 2] = [
    Operation {
        name: "the first encrypted endpoint comes",
        before: &[made],
        go: one_here,
        back: |s| release(&s.a(), "one"),
        of: &[Whose::Request, Whose::Worker],
    },
    Operation {
        name: "the last encrypted endpoint leaves",
        before: &[made, one_here],
        go: |s| disconnect(&s.a(), "shop", "one"),
        back: |s| connect(&s.a(), "shop", "one"),
        of: &[Whose::Request, Whose::Worker],
    },
];

fn all(mode: fn(usize) -> Mode, then: Then) {
    let cases = sweep_all(encrypted, &OPERATIONS, mode, then);
    assert!(cases > 30, "only {cases} effects were tried");
}

#[test]
fn what_fails_once_on_an_encrypted_network_is_made_up_for() {
    all(Mode::Once, Then::Retry);
}

#[test]
fn a_restart_after_any_effect_on_an_encrypted_network_reaches_what_was_wanted() {
    all(Mode::From, Then::Restart);
}

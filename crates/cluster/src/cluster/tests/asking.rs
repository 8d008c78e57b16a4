//! Addresses asked for by name that lie in another host's block.

use super::{
    restored::{block_of, edit, record},
    taken_up::granted,
    *,
};
use crate::{
    Follower,
    core::Core,
    keys::Shared,
    record::{GrantRecord, RequestRecord, decode, encode},
};
use std::{
    sync::{
        atomic::AtomicBool,
        mpsc::{self, Receiver, SyncSender},
    },
    thread::{self, JoinHandle},
};
use vw_model::Result;
use vw_store::cluster::{
    Write,
    memory::{Call, Fate, Weather},
};

/// Holds two who ask back where they could take each other's place.
struct Held {
    first: Gate,
    second: Gate,
    /// Calls of the first up to its first transaction, where it is told.
    until: AtomicU64,
    calls: AtomicU64,
}

/// Where one waits until it is let go.
struct Gate {
    there: SyncSender<()>,
    go: Mutex<Receiver<()>>,
}

impl Gate {
    fn pass(&self) {
        self.there.send(()).unwrap();
        self.go.lock().unwrap().recv_timeout(SOON).unwrap();
    }
}

/// The other side of a gate.
struct Keeper {
    there: Receiver<()>,
    go: SyncSender<()>,
}

fn gate() -> (Gate, Keeper) {
    let (there, arrived) = mpsc::sync_channel(1);
    let (go, goes) = mpsc::sync_channel(1);
    let go_lock = Mutex::new(goes);
    let gate = Gate { there, go: go_lock };
    (gate, Keeper { there: arrived, go })
}

impl Weather for Held {
    fn before(&self, _client: &str, call: Call) -> Fate {
        match thread::current().name() {
            Some("first") => {
                let calls = self.calls.fetch_add(1, Ordering::SeqCst) + 1;
                let until = self.until.load(Ordering::SeqCst);
                if until == 0 {
                    if call == Call::Commit {
                        self.until.store(calls, Ordering::SeqCst);
                        self.calls.store(calls + 1, Ordering::SeqCst);
                    }
                // The last before its request, and the first after it.
                } else if calls + 1 == until || calls == until + 1 {
                    self.first.pass();
                }
            }
            Some("second") if call == Call::Commit => self.second.pass(),
            _ => {}
        }
        Fate::Answered
    }
}

#[test]
fn two_on_one_host_that_ask_for_one_address_do_not_take_it_from_each_other() {
    let store = MemoryStore::new();
    let (a, b) = (Host::new(&store, 1), Host::new(&store, 2));
    let network = given_network(&a);
    eventually("the network is known", SOON, || b.knows(network));
    let own = a.lease(network, EndpointId::from_bytes(random())).addr();
    let (gate_1, first) = gate();
    let (gate_2, second) = gate();
    let held = Arc::new(Held {
        first: gate_1,
        second: gate_2,
        until: AtomicU64::new(0),
        calls: AtomicU64::new(0),
    });
    // Once to know the way, once to count its calls.
    let alone = |n| ask(&b, "first", network, after(own, n)).join().unwrap();
    alone(1).expect("an address");
    store.set_weather(held.clone());
    alone(2).expect("an address");
    held.calls.store(0, Ordering::SeqCst);
    let addr = after(own, 3);
    let asked_first = ask(&b, "first", network, addr);
    first.there.recv_timeout(SOON).unwrap();
    let asked_second = ask(&b, "second", network, addr);
    let mut at_its_request = false;
    eventually("the second is refused, or asks", SOON, || {
        at_its_request |= second.there.try_recv().is_ok();
        at_its_request || asked_second.is_finished()
    });
    first.go.send(()).unwrap();
    first.there.recv_timeout(SOON).unwrap();
    second.go.send(()).unwrap();
    let refused = asked_second.join().unwrap().expect_err("it came second");
    assert_eq!(refused.reason, "address-in-use", "{refused}");
    first.go.send(()).unwrap();
    asked_first.join().unwrap().expect("it came first");
    let taken = || {
        let third = EndpointId::from_bytes(random());
        let leased = a.cluster.lease(network, Family::V4, Some(addr), third);
        leased.is_err()
    };
    stays("it is given to nobody else", Duration::from_secs(3), taken);
}

fn after(addr: IpAddr, n: u32) -> IpAddr {
    let IpAddr::V4(addr) = addr else {
        panic!("{addr}");
    };
    IpAddr::from(std::net::Ipv4Addr::from(u32::from(addr) + n))
}

fn ask(
    host: &Host,
    name: &str,
    network: NetworkId,
    addr: impl Into<Option<IpAddr>>,
) -> JoinHandle<Result<IpNet>> {
    let addr = addr.into();
    let (cluster, id) = (host.cluster.clone(), EndpointId::from_bytes(random()));
    let thread = thread::Builder::new().name(name.to_owned());
    let asked = move || cluster.lease(network, Family::V4, addr, id);
    thread.spawn(asked).unwrap()
}

/// A network with a subnet that its maker chose, so that addresses of it can be asked for.
fn given_network(host: &Host) -> NetworkId {
    host.create("other");
    let made = host
        .cluster
        .create_network(spec("given"), &request(&["10.99.0.0/20"]), &[], true);
    made.expect("a network").id
}

/// Takes down nothing of a host that was forgotten before a call has ended, as a controller does whose
/// call holds a sandbox.
struct Holds(Mutex<Receiver<()>>);

impl Follower for Holds {
    fn follow(&self, deltas: Vec<Delta>) {
        if deltas.iter().any(|delta| matches!(delta, Delta::Forgotten)) {
            // The call's own end is looked at.
            let _ = self.0.lock().unwrap().recv_timeout(SOON);
        }
    }
}

/// One host's transactions do not arrive.
pub(super) struct Mute(pub(super) &'static str);

impl Weather for Mute {
    fn before(&self, client: &str, call: Call) -> Fate {
        if client == self.0 && call == Call::Commit {
            return Fate::Unreachable;
        }
        Fate::Answered
    }
}

#[test]
fn a_host_that_is_forgotten_waits_for_no_answer() {
    let store = MemoryStore::new();
    let a = Host::new(&store, 1);
    let network = given_network(&a);
    let own = a.lease(network, EndpointId::from_bytes(random())).addr();
    let (b, id) = (store.client("host-2"), HostId::from_bytes([2; 32]));
    let mut settings = Settings::new(
        id,
        "host-2".to_owned(),
        IpAddr::from([192, 0, 2, 2]),
        "0.1",
        random,
    );
    settings.ttl = Duration::from_secs(1);
    settings.patience = 3 * SOON;
    let (ended, ends) = mpsc::sync_channel(1);
    let holds = Arc::new(Holds(Mutex::new(ends)));
    let b = Cluster::start(b, Arc::new(Memory::new()), settings, holds).unwrap();
    b.settled();
    eventually("the network is known", SOON, || {
        b.networks().iter().any(|known| known.id == network)
    });
    store.set_weather(Arc::new(Mute("host-1")));
    let cluster = b.clone();
    let asked = thread::spawn(move || {
        let holder = EndpointId::from_bytes(random());
        let leased = cluster.lease(network, Family::V4, Some(after(own, 1)), holder);
        // Nobody listens where it came too late.
        let _ = ended.send(());
        leased
    });
    let request = Shared::Request(network, after(own, 1)).key();
    eventually("it asks", SOON, || record(&store, &request).is_some());
    edit(&store, vec![Write::Delete(Shared::Host(id).key())]);
    eventually("it waits no more", SOON / 2, || asked.is_finished());
    let error = asked.join().unwrap().unwrap_err();
    assert_eq!(error.reason, "cluster-host-forgotten", "{error}");
    b.close();
}

/// One host's worker changes nothing.
struct Idle(&'static str);

impl Weather for Idle {
    fn before(&self, client: &str, call: Call) -> Fate {
        let works = thread::current().name() == Some("cluster-work");
        match works && client == self.0 && call == Call::Commit {
            true => Fate::Unreachable,
            false => Fate::Answered,
        }
    }
}

#[test]
fn an_address_that_was_granted_again_though_it_was_given_back_is_had_anew() {
    let store = MemoryStore::new();
    let ([_a, b], network, addr, former) = granted(&store);
    let key = Shared::Grant(network, addr).key();
    let grant = record(&store, &key).expect("it is granted");
    b.cluster.release(network, addr, former);
    eventually("it is given back", SOON, || record(&store, &key).is_none());
    store.set_weather(Arc::new(Idle("host-2")));
    edit(&store, vec![Write::Put(key, grant)]);
    b.lease_at(network, addr, EndpointId::from_bytes(random()));
}

#[test]
fn who_asks_for_what_it_is_giving_back_is_not_told_that_it_has_it() {
    let store = MemoryStore::new();
    let ([a, b], network, addr, _) = granted(&store);
    let [grant, request] = [Shared::Grant, Shared::Request].map(|of| of(network, addr).key());
    // As where the maker of a grant makes it once more, and has not seen yet that it is gone.
    store.set_weather(Arc::new(Idle("host-2")));
    let next = EndpointId::from_bytes(random());
    let asked = RequestRecord {
        host: b.id,
        holder: next,
        refused: None,
        of: Some(a.id),
    };
    edit(&store, vec![Write::Put(request.clone(), encode(&asked))]);
    stays("it is not refused", Duration::from_millis(300), || {
        let found = record(&store, &request);
        found.is_some_and(|found| decode::<RequestRecord>(&found).is_ok_and(|found| found == asked))
    });
    edit(&store, vec![Write::Delete(grant.clone())]);
    eventually("it is granted anew", SOON, || {
        let found = record(&store, &grant);
        let found = found.and_then(|found| decode::<GrantRecord>(&found).ok());
        found.is_some_and(|found| found.holder == next)
    });
}

/// Changes a network's record whenever a thread is about to commit, for a few times.
struct Busy {
    store: MemoryStore,
    network: String,
    left: AtomicU64,
}

impl Weather for Busy {
    fn before(&self, _client: &str, call: Call) -> Fate {
        let left = || {
            let fewer = |left: u64| left.checked_sub(1);
            let (then, now) = (Ordering::SeqCst, Ordering::SeqCst);
            self.left.fetch_update(then, now, fewer).is_ok()
        };
        if thread::current().name() == Some("asks") && call == Call::Commit && left() {
            let same = record(&self.store, &self.network).unwrap();
            edit(&self.store, vec![Write::Put(self.network.clone(), same)]);
        }
        Fate::Answered
    }
}

#[test]
fn a_network_that_changes_while_its_addresses_are_asked_for_is_not_full() {
    let store = MemoryStore::new();
    let [a, b, c] = [1, 2, 3].map(|n| Host::new(&store, n));
    a.create("other");
    let made = a
        .cluster
        .create_network(spec("small"), &request(&["10.1.0.0/29"]), &[], true);
    let network = made.unwrap().id;
    eventually("the network is known", SOON, || {
        b.knows(network) && c.knows(network)
    });
    let used = [a.connect(network, "one"), b.connect(network, "two")];
    let mut taken: Vec<IpAddr> = used.iter().map(|one| one.addresses[0].addr()).collect();
    for named in [false, true] {
        let mut all = (2..=6).map(|n| IpAddr::from([10, 1, 0, n]));
        let addr = all.find(|addr| !taken.contains(addr)).filter(|_| named);
        let key = Shared::Network(network).key();
        let busy = Busy {
            store: store.clone(),
            network: key,
            left: AtomicU64::new(2),
        };
        let busy = Arc::new(busy);
        store.set_weather(busy.clone());
        let leased = ask(&c, "asks", network, addr).join().unwrap();
        let leased = leased.unwrap_or_else(|error| panic!("{addr:?}: {error}"));
        assert_eq!(busy.left.load(Ordering::SeqCst), 0, "it was changed");
        assert!(addr.is_none_or(|addr| leased.addr() == addr), "{leased}");
        taken.push(leased.addr());
    }
}

/// A host cannot tell the store that it gives a block back.
struct Keeps {
    core: Arc<Core>,
    at: (NetworkId, IpAddr),
    hold: AtomicBool,
}

impl Keeps {
    fn returns(&self) -> bool {
        let (network, addr) = self.at;
        let state = self.core.state();
        let held = state.holdings.get(network);
        held.is_some_and(|held| held.returning().iter().any(|range| range.contains(&addr)))
    }
}

impl Weather for Keeps {
    fn before(&self, client: &str, call: Call) -> Fate {
        let kept = client == "host-1" && call == Call::Commit && self.returns();
        if kept && self.hold.load(Ordering::SeqCst) {
            return Fate::Unreachable;
        }
        Fate::Answered
    }
}

#[test]
fn an_address_of_a_block_that_goes_back_is_had_once_it_is_back() {
    let store = MemoryStore::new();
    let (a, b) = (Host::new(&store, 1), Host::new(&store, 2));
    let network = given_network(&a);
    eventually("the network is known", SOON, || b.knows(network));
    let own = a.lease(network, EndpointId::from_bytes(random())).addr();
    let mut known = b.cluster.networks().into_iter();
    let spec = known.find(|known| known.id == network).unwrap();
    // The first that are empty are kept.
    let others: Vec<IpAddr> = (1..=9)
        .map(|n| IpAddr::from([10, 99, n, 20]))
        .filter(|addr| block_of(&spec, *addr) != block_of(&spec, own))
        .collect();
    let idle = others[others.len() - 1];
    for addr in others {
        let holder = EndpointId::from_bytes(random());
        a.lease_at(network, addr, holder);
        a.cluster.release(network, addr, holder);
    }
    let keeps = Arc::new(Keeps {
        core: a.cluster.core.clone(),
        at: (network, idle),
        hold: AtomicBool::new(true),
    });
    store.set_weather(keeps.clone());
    eventually("it goes back", SOON, || keeps.returns());
    let asked = ask(&b, "asks", network, Some(idle));
    let request = Shared::Request(network, idle).key();
    eventually("it asks", SOON, || record(&store, &request).is_some());
    keeps.hold.store(false, Ordering::SeqCst);
    let leased = asked.join().unwrap().unwrap();
    assert_eq!(leased.addr(), idle);
    let whose = record(&store, &block_of(&spec, idle)).unwrap();
    let block: crate::record::BlockRecord = crate::record::decode(&whose).unwrap();
    assert_eq!(block.host, b.id);
}

//! A store that is brought back from a backup while an answer is under way.

use super::{
    restored::{bring_back, record},
    *,
};
use crate::{
    keys::Shared,
    record::{GrantRecord, encode},
};
use std::thread;
use vw_store::cluster::{
    Record,
    memory::{Call, Fate, Weather},
};

/// The thread that asks for an address.
const ASKER: &str = "asker";

/// Brings a backup back as soon as whoever asked was told that the address is granted, and lets
/// everything be read and compared before it goes on.
struct Midway {
    store: MemoryStore,
    backup: Vec<Record>,
    grant: String,
    granter: Arc<Client>,
    asker: (Arc<Client>, Arc<Cluster>),
    /// What it asked the store last.
    call: Mutex<Option<Call>>,
    done: AtomicU64,
}

impl Weather for Midway {
    fn before(&self, _: &str, call: Call) -> Fate {
        if thread::current().name() == Some(ASKER) {
            *self.call.lock().unwrap() = Some(call);
        }
        Fate::Answered
    }

    fn after(&self, _: &str) {
        let asks = thread::current().name() == Some(ASKER);
        if !asks || record(&self.store, &self.grant).is_none() {
            return;
        }
        // It asks for it before, and looks at other things until it is told.
        let looks = *self.call.lock().unwrap() == Some(Call::Other);
        if !looks || self.asker.1.core.state().mirror.grants.is_empty() {
            return;
        }
        if self.done.fetch_add(1, Ordering::SeqCst) > 0 {
            return;
        }
        let (client, cluster) = &self.asker;
        let reads = cluster.core.state().reads;
        // Whoever gave it away would grant it again.
        self.granter.cut(true);
        bring_back(&self.store, &self.backup);
        client.lose_watches();
        eventually("all was read and compared", SOON, || {
            let state = cluster.core.state();
            state.reads > reads && state.is_asserted()
        });
    }
}

#[test]
fn what_is_granted_just_before_a_backup_is_brought_back_is_compared_with_it() {
    let store = MemoryStore::new();
    let (a, b) = (Host::new(&store, 1), Host::new(&store, 2));
    a.create("any");
    let request = request(&["10.1.0.0/24"]);
    let made = a.cluster.create_network(spec("blue"), &request, &[], true);
    let network = made.unwrap().id;
    eventually("the network is known", SOON, || b.knows(network));
    let former = EndpointId::from_bytes(random());
    let addr = a.lease(network, former).addr();
    a.cluster.release(network, addr, former);
    let grant = Shared::Grant(network, addr).key();
    store.set_weather(Arc::new(Midway {
        store: store.clone(),
        backup: store.records(),
        grant: grant.clone(),
        granter: a.client.clone(),
        asker: (b.client.clone(), b.cluster.clone()),
        call: Mutex::new(None),
        done: AtomicU64::new(0),
    }));
    let holder = EndpointId::from_bytes(random());
    let cluster = b.cluster.clone();
    let ask = move || cluster.lease(network, Family::V4, Some(addr), holder);
    let asker = thread::Builder::new().name(ASKER.to_owned());
    let leased = asker.spawn(ask).unwrap().join().unwrap();
    assert_eq!(leased.expect("it was granted").addr(), addr);
    let theirs = encode(&GrantRecord { host: b.id, holder });
    eventually("it is put back", SOON, || {
        record(&store, &grant) == Some(theirs.clone())
    });
}

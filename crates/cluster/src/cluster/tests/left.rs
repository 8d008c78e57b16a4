//! What is left of addresses, and of blocks, that are another host's by now.

use super::{
    asking::Mute,
    restored::{block_of, edit, record},
    taken_up::granted,
    *,
};
use crate::{
    keys::Shared,
    record::{GrantRecord, encode},
};
use vw_store::{Store, Table, cluster::Write};

/// The keys of what a host keeps on its disk of one kind.
fn kept(host: &Host, kind: &str) -> Vec<String> {
    let records = host.local.scan_prefix(Table::Cluster, kind).unwrap();
    records.into_iter().map(|(key, _)| key).collect()
}

#[test]
fn an_address_that_was_given_back_is_asked_about_no_more_once_another_host_has_it() {
    let store = MemoryStore::new();
    let ([_a, b], network, addr, holder) = granted(&store);
    let key = Shared::Grant(network, addr).key();
    store.set_weather(Arc::new(Mute("host-2")));
    b.cluster.release(network, addr, holder);
    // It went back, and before this host sees that, another one has it.
    let theirs = GrantRecord {
        host: HostId::from_bytes([9; 32]),
        holder: EndpointId::from_bytes([9; 32]),
    };
    edit(&store, vec![Write::Put(key, encode(&theirs))]);
    // Who gave it away takes it from nobody.
    store.set_weather(Arc::new(Mute("host-1")));
    eventually("it is forgotten", SOON, || {
        let state = b.cluster.core.state();
        let held = state.holdings.get(network);
        held.is_some_and(|held| held.grants.is_empty()) && state.due.is_empty()
    });
    assert_eq!(kept(&b, "grant/"), [""; 0]);
}

#[test]
fn what_a_host_gave_away_of_a_block_is_not_taken_from_it_once_it_has_the_block_anew() {
    let store = MemoryStore::new();
    let ([a, b], network, addr, holder) = granted(&store);
    assert_eq!(kept(&a, "given/").len(), 1);
    let mut known = a.cluster.networks().into_iter();
    let spec = known.find(|spec| spec.id == network).unwrap();
    let block = block_of(&spec, addr);
    // As where somebody wanted to remove the network.
    let core = a.cluster.core.clone();
    core.state().holdings.held(network).return_all();
    core.wake();
    eventually("it goes back", SOON, || {
        record(&store, &block).is_none() && kept(&a, "block/").is_empty()
    });
    assert_eq!(kept(&a, "given/"), [""; 0]);
    let grant = Shared::Grant(network, addr).key();
    b.cluster.release(network, addr, holder);
    eventually("it is given back", SOON, || {
        record(&store, &grant).is_none()
    });
    // As a version left it that did not drop it.
    let stale = format!("given/{network}/{addr}");
    let given = format!(r#"{{"host":"{}","holder":"{holder}"}}"#, b.id);
    let batch = vw_store::Batch::new().put(Table::Cluster, stale, given.into_bytes());
    a.local.commit(batch).unwrap();
    let a = a.restart();
    a.cluster.settled();
    let own = EndpointId::from_bytes(random());
    a.lease_at(network, addr, own);
    let a = a.restart();
    let held = a.cluster.hold(network, addr, own);
    held.expect("it is its own");
}

//! What is left of addresses that are another host's by now.

use super::{asking::Mute, restored::edit, taken_up::granted, *};
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

//! Addresses out of another host's block that one endpoint gives back and the next one takes, as a
//! container does that is restarted.

use super::*;

/// Two hosts, and an address of the first one's block that the second one has.
pub(super) fn granted(store: &MemoryStore) -> ([Host; 2], NetworkId, IpAddr, EndpointId) {
    let hosts = [1, 2].map(|n| Host::new(store, n));
    let [a, b] = &hosts;
    a.create("any");
    let request = request(&["10.1.0.0/24"]);
    let made = a.cluster.create_network(spec("blue"), &request, &[], true);
    let network = made.unwrap().id;
    eventually("the network is known", SOON, || b.knows(network));
    let id = EndpointId::from_bytes(random());
    let addr = a.lease(network, id).addr();
    a.cluster.release(network, addr, id);
    b.lease_at(network, addr, id);
    (hosts, network, addr, id)
}

/// Gives the address back and asks for it again at once.
fn restart(host: &Host, network: NetworkId, addr: IpAddr, former: EndpointId) -> EndpointId {
    let (id, late) = restart_at_last(host, network, addr, former);
    assert_eq!(late, 0, "{addr} is not had again at once");
    id
}

/// The same, and how often it was told to try again: a maker of a grant that has not seen it yet makes it
/// once more when it is gone, and how long that goes on is up to the machine's load.
fn restart_at_last(
    host: &Host,
    network: NetworkId,
    addr: IpAddr,
    former: EndpointId,
) -> (EndpointId, u32) {
    host.cluster.release(network, addr, former);
    let id = EndpointId::from_bytes(random());
    let mut late = 0;
    eventually("the block's host is there", SOON, || {
        let again = host.cluster.lease(network, Family::V4, Some(addr), id);
        match again {
            // On a busy machine a presence ends now and then.
            Err(error) if error.reason == "cluster-block-host-away" => false,
            Err(error) if error.reason == "cluster-address-returning" => {
                late += 1;
                false
            }
            again => {
                again.unwrap_or_else(|error| panic!("{addr} is not had again: {error}"));
                true
            }
        }
    });
    (id, late)
}

/// That nobody else is given the address while it is held, and somebody is afterwards.
fn is_held_alone([a, b]: &[Host; 2], network: NetworkId, addr: IpAddr, holder: EndpointId) {
    let id = EndpointId::from_bytes(random());
    let taken = || a.cluster.lease(network, Family::V4, Some(addr), id);
    stays("it is given to nobody else", Duration::from_secs(3), || {
        taken().is_err()
    });
    b.cluster.release(network, addr, holder);
    eventually("it is free", SOON, || taken().is_ok());
}

/// Cuts a host off from the store, and waits until it has noticed.
fn cut_off(host: &Host) {
    host.client.cut(true);
    eventually("the store is away", SOON, || {
        host.cluster.core.state().store != StoreState::Reachable
    });
}

#[test]
fn it_is_had_again_at_once() {
    let (hosts, network, addr, mut id) = granted(&MemoryStore::new());
    let mut all_late = 0;
    for _ in 0..20 {
        let late;
        (id, late) = restart_at_last(&hosts[1], network, addr, id);
        all_late += late;
    }
    assert!(all_late <= 2, "{all_late} times it was not had at once");
    is_held_alone(&hosts, network, addr, id);
}

/// A grant as versions keep and read it that know of no other holder than the store's.
#[derive(serde::Deserialize)]
struct Former {
    holder: EndpointId,
}

#[test]
fn a_version_that_knows_nothing_of_it_refuses_the_address_to_who_took_it_up() {
    let (hosts, network, addr, first) = granted(&MemoryStore::new());
    let [_, b] = &hosts;
    cut_off(b);
    let second = restart(b, network, addr, first);
    let records = vw_store::Store::scan(&*b.local, vw_store::Table::Cluster).unwrap();
    let grants = records.iter().filter(|(key, _)| key.starts_with("grant/"));
    let holders = grants.map(|(_, value)| serde_json::from_slice::<Former>(value).unwrap().holder);
    // It is of who gave it back, so that no start finds it held.
    assert_eq!(holders.collect::<Vec<_>>(), [first]);
    assert_ne!(first, second);
}

#[test]
fn it_is_had_again_while_the_store_is_away_and_over_a_restart_of_the_daemon() {
    let (hosts, network, addr, mut id) = granted(&MemoryStore::new());
    cut_off(&hosts[1]);
    for _ in 0..2 {
        id = restart(&hosts[1], network, addr, id);
    }
    let [a, b] = hosts;
    let b = b.restart();
    b.cluster.hold(network, addr, id).expect("it is its own");
    b.cluster.settled();
    id = restart(&b, network, addr, id);
    // All of a host's containers are started anew after a reboot.
    let b = b.restart();
    b.cluster.settled();
    let former = id;
    id = EndpointId::from_bytes(random());
    let again = b.cluster.lease(network, Family::V4, Some(addr), id);
    again.unwrap_or_else(|error| panic!("not after {former:?}: {error}"));
    b.client.cut(false);
    is_held_alone(&[a, b], network, addr, id);
}

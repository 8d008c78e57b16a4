//! Which addresses others may still be told of, though their endpoints have them no more.

use super::{EndpointRecord, Key, Outbox};
use std::{
    collections::BTreeSet,
    net::IpAddr,
    time::{Duration, Instant},
};
use vw_model::{EndpointId, HostId, Id, IpNet, MacAddr, NetworkId, RemoteEndpoint, SandboxId};

/// All of it takes a hundredth of that; a look at each for each takes many times as long.
const SOON: Duration = Duration::from_secs(10);

fn bytes(number: u32) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes[..4].copy_from_slice(&number.to_be_bytes());
    bytes
}

fn addr(number: u32) -> IpNet {
    IpAddr::from((0x0a00_0000 + number).to_be_bytes()).into()
}

fn key(network: u8, number: u32) -> Key {
    (
        NetworkId::from_bytes([network; 32]),
        EndpointId::from_bytes(bytes(number)),
    )
}

fn record(addresses: &[u32]) -> EndpointRecord {
    EndpointRecord {
        mac: MacAddr::derived_from(addr(0).addr()),
        addresses: addresses.iter().map(|number| addr(*number)).collect(),
        names: Vec::new(),
        sandbox: SandboxId::from_bytes([0; 32]),
        ports: Vec::new(),
        service: None,
    }
}

fn publish(outbox: &mut Outbox, (network, id): Key, addresses: &[u32]) {
    let record = record(addresses);
    outbox.publish(RemoteEndpoint {
        id,
        network,
        host: HostId(Id::from_bytes([0; 32])),
        tunnel: [192, 0, 2, 1].into(),
        sandbox: record.sandbox,
        mac: record.mac,
        addresses: record.addresses,
        names: record.names,
        ports: record.ports,
        service: None,
        away: false,
    });
}

fn saw(outbox: &mut Outbox, (network, id): Key, addresses: Option<&[u32]>) {
    outbox.saw(vec![(network, id, addresses.map(record))], false);
}

/// What each endpoint that may differ says by itself.
fn lags(outbox: &Outbox, network: NetworkId, range: IpNet) -> bool {
    let dirty = outbox.dirty.iter().filter(|(of, _)| *of == network);
    let mut lagging = dirty.flat_map(|key| {
        let wanted = outbox.desired.get(key).map(|record| &record.addresses[..]);
        let written = outbox.written.get(key).map(|record| &record.addresses[..]);
        let wanted = wanted.unwrap_or_default();
        let written = written.unwrap_or_default().iter();
        written.filter(|net| !wanted.contains(net))
    });
    lagging.any(|net| range.contains(net))
}

#[test]
fn an_address_lags_while_any_endpoint_is_seen_to_have_it_that_is_to_have_it_no_more() {
    let mut outbox = Outbox::default();
    let mut seed: u32 = 1;
    let mut any = |below: u32| {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (seed >> 16) % below
    };
    for step in 0..4000 {
        let of = key(u8::from(any(2) == 1), any(5));
        let addresses = [any(8), any(8)];
        match any(9) {
            0 => publish(&mut outbox, of, &addresses[..1]),
            1 => publish(&mut outbox, of, &addresses),
            2 => outbox.withdraw(of.0, of.1),
            3 | 4 => saw(&mut outbox, of, Some(&addresses)),
            5 => saw(&mut outbox, of, None),
            6 => drop(outbox.next(Duration::from_secs(step), &BTreeSet::new())),
            _ if any(8) == 0 => outbox.forget_network(of.0),
            _ if any(8) == 0 => outbox.saw(vec![(of.0, of.1, Some(record(&addresses)))], true),
            _ => outbox.wrote(vec![(of, Some(record(&addresses)))]),
        }
        for network in [key(0, 0).0, key(1, 0).0] {
            let pairs = (0..4).map(|pair| IpNet::new(addr(2 * pair).addr(), 31).expect("a pair"));
            for range in (0..8).map(addr).chain(pairs) {
                let found = outbox.lags_in(network, range);
                assert_eq!(found, lags(&outbox, network, range), "{range}, step {step}");
            }
        }
    }
}

#[test]
fn that_many_lag_costs_a_look_at_one_nothing() {
    let mut outbox = Outbox::default();
    let all = 0..30_000;
    for number in all.clone() {
        saw(&mut outbox, key(0, number), Some(&[number]));
    }
    let began = Instant::now();
    for number in all {
        assert!(outbox.lags_in(key(0, 0).0, addr(number)));
        assert!(!outbox.lags_in(key(0, 0).0, addr(number + 30_000)));
    }
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
}

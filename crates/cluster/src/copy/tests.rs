//! What it costs to keep the copy.

use super::*;
use crate::simulation::network as wanted;
use std::sync::atomic::{AtomicUsize, Ordering};
use vw_model::{MacAddr, SandboxId};

/// A disk that counts what is read of it at once, and how often it is written.
#[derive(Default)]
struct Disk {
    records: Memory,
    scanned: AtomicUsize,
    written: AtomicUsize,
}

impl Store for Disk {
    fn commit(&self, batch: Batch) -> std::result::Result<(), vw_store::Error> {
        self.written.fetch_add(1, Ordering::SeqCst);
        self.records.commit(batch)
    }

    fn get(
        &self,
        table: Table,
        key: &str,
    ) -> std::result::Result<Option<Vec<u8>>, vw_store::Error> {
        self.records.get(table, key)
    }

    fn scan_prefix(
        &self,
        table: Table,
        prefix: &str,
    ) -> std::result::Result<Vec<(String, Vec<u8>)>, vw_store::Error> {
        let found = self.records.scan_prefix(table, prefix)?;
        self.scanned.fetch_add(found.len(), Ordering::SeqCst);
        Ok(found)
    }
}

fn bytes(n: usize) -> [u8; 32] {
    let mut bytes = [7; 32];
    bytes[..8].copy_from_slice(&n.to_be_bytes());
    bytes
}

fn endpoint(network: NetworkId, n: usize) -> Delta {
    let addr = IpAddr::from([10, 1, 0, n as u8]);
    Delta::Endpoint(Arc::new(RemoteEndpoint {
        id: EndpointId::from_bytes(bytes(n)),
        network,
        host: HostId::from_bytes([2; 32]),
        tunnel: addr,
        mac: MacAddr::derived_from(addr),
        addresses: vec![IpNet::from(addr)],
        names: Vec::new(),
        sandbox: SandboxId::from_bytes([0; 32]),
        ports: Vec::new(),
        service: None,
        away: false,
    }))
}

/// Keeps a network with a block, a grant, an address given away and so many endpoints.
fn keep(copy: &Copy, spec: &NetworkSpec, endpoints: usize) {
    let addr = |last: u8| IpAddr::from([10, 1, 0, last]);
    let given = Given::unknown();
    let range = "10.1.0.0/30".parse().unwrap();
    copy.add_blocks(spec, &[range], &[(addr(2), given)])
        .unwrap();
    let holder = EndpointId::from_bytes([9; 32]);
    let grant = Grant {
        holder,
        grantee: holder,
        addr: IpNet::from(addr(9)),
        state: GrantState::Held,
        granter: None,
    };
    copy.add_grant(spec.id, grant).unwrap();
    let told = (0..endpoints).map(|n| endpoint(spec.id, n));
    copy.note(&told.collect::<Vec<_>>()).unwrap();
    copy.flush().unwrap();
}

fn copy_on(disk: &Arc<Disk>) -> Copy {
    let (id, addr) = (HostId::from_bytes([1; 32]), IpAddr::from([192, 0, 2, 1]));
    let settings = Settings::new(id, "one", addr, "0.1", || [3; 32]);
    Copy::new(disk.clone().into(), &settings)
}

#[test]
fn a_grant_whose_end_is_tried_again_and_again_is_written_once() {
    let disk = Arc::new(Disk::default());
    let copy = copy_on(&disk);
    let holder = EndpointId::from_bytes([9; 32]);
    let mut grant = Grant {
        holder,
        grantee: holder,
        addr: IpNet::from(IpAddr::from([10, 1, 0, 9])),
        state: GrantState::Held,
        granter: None,
    };
    let network = NetworkId::from_bytes(bytes(1));
    for (state, writes) in [(GrantState::Held, 1), (GrantState::Ending, 2)] {
        grant.state = state;
        (0..3).for_each(|_| copy.add_grant(network, grant).unwrap());
        assert_eq!(disk.written.load(Ordering::SeqCst), writes, "{state:?}");
    }
}

#[test]
fn a_network_that_goes_costs_what_was_kept_of_it_alone() {
    let disk = Arc::new(Disk::default());
    let copy = copy_on(&disk);
    let [small, large] = [1, 2].map(|n| NetworkSpec {
        id: NetworkId::from_bytes(bytes(n)),
        ..wanted().0
    });
    keep(&copy, &large, 200);
    let before = disk.records.scan(Table::Cluster).unwrap();
    keep(&copy, &small, 5);
    copy.note(&[Delta::NetworkGone(small.id)]).unwrap();
    copy.flush().unwrap();
    copy.drop_network(small.id).unwrap();
    assert_eq!(disk.records.scan(Table::Cluster).unwrap(), before);
    // A block, a grant, an address and the endpoints.
    assert_eq!(disk.scanned.load(Ordering::SeqCst), 8);
}

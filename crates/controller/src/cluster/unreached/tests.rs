//! What of much that cannot be reached one change concerns.

use super::*;
use vw_model::{HostId, SandboxId};

fn remote(number: u16, mac: u8) -> Arc<RemoteEndpoint> {
    let [high, low] = number.to_be_bytes();
    Arc::new(RemoteEndpoint {
        id: id(number),
        network: NetworkId::from_bytes([1; 32]),
        host: HostId::from_bytes([2; 32]),
        tunnel: [192, 0, 2, 2].into(),
        sandbox: SandboxId::from_bytes([3; 32]),
        mac: MacAddr([2, 0, 0, mac, high, low]),
        addresses: vec![vw_model::IpNet::new_assert([10, 9, high, low].into(), 16)],
        names: Vec::new(),
        ports: Vec::new(),
        service: None,
        away: false,
    })
}

fn id(number: u16) -> EndpointId {
    let [high, low] = number.to_be_bytes();
    EndpointId::from_bytes(std::array::from_fn(|at| [high, low][at % 2]))
}

#[test]
fn a_change_concerns_those_that_it_may_have_stood_in_the_way_of() {
    let mut unreached = Unreached::default();
    for number in 0..1000 {
        let new = unreached.note_refused(id(number), "in use".into(), Some(remote(number, 0)));
        assert_eq!(new, number == 0);
    }
    assert!(unreached.note_unplanned(id(1000), "no way there".into()));
    // It has the address of one of them.
    assert_eq!(unreached.behind(&remote(7, 1)), [id(7)].into());
    assert_eq!(unreached.behind(&remote(1000, 0)), [].into());
    assert_eq!(unreached.refused().len(), 1000);
    // What led to one that is gone claims nothing.
    assert!(!unreached.note_refused(id(1001), "in use".into(), None));
    assert_eq!(unreached.refused().len(), 1001);
    assert_eq!(unreached.reasons().count(), 2);
    for number in 0..=1001 {
        assert!(unreached.forget(id(number)).is_some());
    }
    assert!(!unreached.is_any_refused() && unreached.reasons().count() == 0);
    assert!(unreached.of.is_empty() && unreached.by_claim.is_empty());
}

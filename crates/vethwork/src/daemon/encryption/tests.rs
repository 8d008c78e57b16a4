//! What a process is told of a thousand peers.

use super::*;

fn id(number: u16) -> HostId {
    let bytes = number.to_be_bytes();
    HostId::from_bytes(std::array::from_fn(|at| bytes[at % 2]))
}

fn peer(number: u16, public: u16) -> Peer {
    Peer {
        public: PublicKey::from_bytes(*id(public).0.as_bytes()),
        next: None,
        endpoint: SocketAddr::from(([192, 0, 2, 7], number)),
        allowed: vec![IpAddr::V6(inner_address(id(number))).into()],
    }
}

fn told() -> Told {
    Told {
        pid: 7,
        count: 3,
        peers: BTreeMap::new(),
    }
}

fn length(changes: &PeerChanges) -> usize {
    serde_json::to_vec(changes).unwrap().len()
}

#[test]
fn a_process_is_told_of_what_changed_alone() {
    let mut told = told();
    let all = told.take((0..1000).map(|number| (id(number), Some(peer(number, number)))));
    assert_eq!((all.former.len(), all.peers.len()), (0, 1000));
    assert!(length(&all) > 100_000);
    // Hosts tell more than what a process is to know.
    let same = told.take((0..1000).map(|number| (id(number), Some(peer(number, number)))));
    assert!(same.is_empty());
    let key = |public| peer(0, public).public;
    let rows = [
        (1, Some(peer(1, 2001)), vec![key(1)], 1),
        (2, None, vec![key(2)], 0),
        (2, None, vec![], 0),
        (1000, Some(peer(1000, 1000)), vec![], 1),
        (1, Some(peer(1, 2001)), vec![], 0),
    ];
    for (number, now, former, came) in rows {
        let changes = told.take([(id(number), now)]);
        assert_eq!((&changes.former, changes.peers.len()), (&former, came));
        assert!(length(&changes) < 400, "{} octets", length(&changes));
    }
    assert_eq!(told.peers.len(), 1000);
}

#[test]
fn what_a_process_knows_is_known_of_the_one_that_was_told_last_alone() {
    let greeting = |pid: u32, count: u64| -> Greeting {
        let told = serde_json::json!({
            "version": 2, "pid": pid, "public": null, "endpoints": [], "lost": false, "told": count,
        });
        serde_json::from_value(told).unwrap()
    };
    let told = told();
    for (pid, count, is_of) in [(7, 3, true), (8, 3, false), (7, 2, false), (7, 4, false)] {
        assert_eq!(told.is_of(&greeting(pid, count)), is_of, "{pid} {count}");
    }
}

//! What answers say together.

use super::*;
use std::time::Duration;

const fn path(mtu: u32, clear: Option<u16>, encrypted: bool) -> Option<Path> {
    Some(Path {
        latency: Duration::from_micros(300),
        mtu: Some(mtu),
        told: Told { clear, encrypted },
    })
}

fn check(answers: &Answers, encrypted_here: bool) -> (Option<bool>, Option<u32>, String) {
    let asked = Asked {
        port: 4789,
        encrypted: encrypted_here,
        encrypted_port: Some(51_820),
    };
    let tried = judged(answers, &asked);
    let mtu = tried.path.and_then(|path| path.mtu);
    (tried.reachable, mtu, tried.trouble.unwrap_or_default())
}

const NOTHING: Answers = Answers {
    asks_clear: true,
    clear: None,
    beside: None,
    encrypted: None,
};

#[test]
fn a_host_is_reached_when_it_answers_over_every_way_that_it_has() {
    let full = path(1450, Some(4789), true);
    let answers = Answers {
        clear: full,
        encrypted: path(1370, Some(4789), true),
        ..NOTHING
    };
    assert_eq!(
        check(&answers, true),
        (Some(true), Some(1450), String::new())
    );
    assert_eq!(check(&NOTHING, true), (Some(false), None, String::new()));
    let barred = Answers {
        clear: full,
        ..NOTHING
    };
    let (reachable, mtu, why) = check(&barred, true);
    assert_eq!((reachable, mtu), (Some(false), Some(1450)));
    assert!(
        why.contains("encrypted tunnel (UDP 51820), though it does in VXLAN"),
        "{why}"
    );
    // Nothing encrypted stands here, or there.
    assert_eq!(check(&barred, false).0, Some(true));
    let idle = Answers {
        clear: path(1450, Some(4789), false),
        ..NOTHING
    };
    assert_eq!(check(&idle, true).0, Some(true));
}

#[test]
fn what_is_answered_beside_the_tunnels_counts_where_there_is_no_tunnel_to_ask_by() {
    let beside = |clear, asks_clear| Answers {
        asks_clear,
        beside: path(1450, clear, false),
        ..NOTHING
    };
    let (reachable, mtu, why) = check(&beside(Some(4789), true), false);
    assert_eq!((reachable, mtu), (Some(false), None));
    assert!(
        why.contains("in VXLAN (UDP 4789), though it does at UDP 4788"),
        "{why}"
    );
    for answers in [
        // An older version, another port, a cluster with routed networks alone.
        beside(None, true),
        beside(Some(7777), true),
        beside(Some(4789), false),
    ] {
        assert_eq!(
            check(&answers, false),
            (Some(true), Some(1450), String::new())
        );
    }
}

#[test]
fn a_way_that_there_was_no_time_to_measure_is_told() {
    let slow = path(0, Some(4789), true).map(|path| Path {
        latency: Duration::from_millis(1200),
        mtu: None,
        ..path
    });
    for answers in [
        Answers {
            clear: slow,
            ..NOTHING
        },
        Answers {
            clear: path(1450, Some(4789), true),
            encrypted: slow,
            ..NOTHING
        },
    ] {
        let (reachable, mtu, why) = check(&answers, answers.encrypted.is_some());
        let measured = answers.clear.and_then(|path| path.mtu);
        assert_eq!((reachable, mtu), (Some(true), measured));
        assert!(why.contains("answers take 1200 ms"), "{why}");
    }
}

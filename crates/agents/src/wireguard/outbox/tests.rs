//! Which datagrams go in one call.

use super::*;

fn address(port: u16) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1], port))
}

/// The runs of datagrams of these sizes to these ports, as (port, size, bytes).
fn runs(datagrams: &[(u16, usize)]) -> Vec<(u16, usize, usize)> {
    let mut out = Outbox::default();
    for &(port, size) in datagrams {
        out.push(address(port), &vec![0; size]);
    }
    let mut runs = Vec::new();
    out.drain(|run, bytes| {
        assert_eq!(bytes.len(), run.bytes);
        runs.push((run.to.port(), run.size, run.bytes));
    });
    runs
}

#[test]
fn datagrams_of_one_size_to_one_address_go_together() {
    let many = vec![(1, 100); 65];
    let large = vec![(1, 40_000); 2];
    for (datagrams, expected) in [
        (&[][..], &[][..]),
        (&[(1, 100), (1, 100), (1, 40)], &[(1, 100, 240)]),
        (&[(1, 100), (1, 40), (1, 40)], &[(1, 100, 140), (1, 40, 40)]),
        (&[(1, 40), (1, 100)], &[(1, 40, 40), (1, 100, 100)]),
        (
            &[(1, 100), (2, 100), (1, 100)],
            &[(1, 100, 100), (2, 100, 100), (1, 100, 100)],
        ),
        (&many, &[(1, 100, 6400), (1, 100, 100)]),
        (&large, &[(1, 40_000, 40_000), (1, 40_000, 40_000)]),
    ] {
        assert_eq!(runs(datagrams), expected);
    }
}

#[test]
fn bytes_stay_in_their_order_when_it_is_used_again() {
    let mut out = Outbox::default();
    for round in 0..3 {
        out.push(address(1), &[round; 4]);
        // Room that is not used is nothing.
        out.room(100).fill(99);
        out.push(address(1), &[round + 10; 4]);
        let mut seen = Vec::new();
        out.drain(|_, bytes| seen.extend_from_slice(bytes));
        assert_eq!(seen, [[round; 4], [round + 10; 4]].concat());
    }
}

#[test]
fn it_is_full_before_it_grows_without_end() {
    let mut out = Outbox::default();
    while !out.is_full() {
        out.push(address(1), &[0; 1400]);
    }
    assert!((131_014..133_000).contains(&out.filled));
}

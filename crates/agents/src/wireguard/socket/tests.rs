//! Datagrams over the loopback.

use super::*;
use crate::wireguard::outbox::Outbox;
use std::time::Duration;

/// Two sockets of one family on the loopback.
fn pair(address: &str) -> Option<[UdpSocket; 2]> {
    let [a, b] = [(); 2].map(|()| UdpSocket::bind((address, 0)).ok());
    Some([a?, b?])
}

/// What arrives of these datagrams, in order.
fn carry([from, to]: [UdpSocket; 2], datagrams: &[Vec<u8>]) -> Vec<Vec<u8>> {
    prepare(&from).unwrap();
    prepare(&to).unwrap();
    let address = to.local_addr().unwrap();
    let mut out = Outbox::default();
    datagrams
        .iter()
        .for_each(|datagram| out.push(address, datagram));
    out.drain(|run, bytes| assert_eq!(send(&from, run, bytes), 0));
    let mut batch = Batch::new();
    let mut seen = Vec::new();
    let sender = from.local_addr().unwrap();
    vw_testkit::eventually("all datagrams", Duration::from_secs(5), || {
        batch
            .receive(&to, |datagram, from| {
                assert_eq!(from, sender);
                seen.push(datagram.to_vec());
            })
            .unwrap();
        seen.len() == datagrams.len()
    });
    seen
}

#[test]
fn datagrams_arrive_as_they_were() {
    let datagrams: Vec<_> = [(1400, 50), (1400, 60), (700, 1), (1400, 3), (1, 2)]
        .into_iter()
        .flat_map(|(size, count)| (0..count).map(move |at| vec![at; size]))
        .collect();
    for address in ["127.0.0.1", "::1"] {
        let Some(pair) = pair(address) else {
            vw_testkit::report(format_args!("the kernel has no IPv6"));
            continue;
        };
        assert_eq!(carry(pair, &datagrams), datagrams, "{address}");
    }
}

#[test]
fn nothing_there_is_no_error() {
    let [socket, _] = pair("127.0.0.1").unwrap();
    assert_eq!(
        Batch::new().receive(&socket, |_, _| panic!("a datagram")),
        Ok(false)
    );
}

//! Lines as the kernel writes them.

use super::{Ends, accepted, any_listed, any_open, is_open_with, sock_diag, told};
use std::{
    net::{IpAddr, TcpListener, TcpStream},
    time::Duration,
};

fn line(remote: &str, state: &str) -> String {
    format!(
        "   0: 0200000A:1F90 {remote}:C350 {state} 00000000:00000000 00:00000000 00000000 0 0 1"
    )
}

#[test]
fn only_open_connections_with_those_asked_for_count() {
    let peers: [IpAddr; 2] = ["10.0.0.7".parse().unwrap(), "fd00::7".parse().unwrap()];
    let word = |bytes: [u8; 4]| format!("{:08X}", u32::from_ne_bytes(bytes));
    let v4 = word([10, 0, 0, 7]);
    let v6 = [[0xfd, 0, 0, 0], [0; 4], [0; 4], [0, 0, 0, 7]]
        .map(word)
        .concat();
    let mapped = [[0; 4], [0; 4], [0, 0, 0xff, 0xff], [10, 0, 0, 7]]
        .map(word)
        .concat();
    for open in [&v4, &v6, &mapped] {
        assert!(is_open_with(&line(open, "01"), &peers), "{open}");
        assert!(!is_open_with(&line(open, "0A"), &peers), "{open} listens");
        assert!(!is_open_with(&line(open, "06"), &peers), "{open} is over");
    }
    let other = word([10, 0, 0, 8]);
    assert!(!is_open_with(&line(&other, "01"), &peers));
    assert!(!is_open_with("", &peers));
}

#[test]
fn a_connection_that_ended_is_told_by_whom_it_was_with() {
    vw_testkit::require_root!();
    vw_testkit::require_programs!("ip");
    // SAFETY: this thread alone leaves its namespace, and nothing else runs on it.
    unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNET) }
        .expect("a namespace of our own");
    for line in ["link set lo up", "addr add 192.0.2.1/32 dev lo"] {
        let status = std::process::Command::new("ip")
            .args(line.split(' '))
            .status();
        assert!(status.expect("it runs").success(), "{line}");
    }
    let before = accepted().expect("it is counted");
    let ends = Ends::watch().expect("a socket").expect("ends are told");
    let server = TcpListener::bind("[::]:0").expect("a port");
    let port = server.local_addr().expect("bound").port();
    let mut done = 1;
    for (to, peer) in [
        ("127.0.0.1", "127.0.0.1"),
        ("::1", "::1"),
        ("192.0.2.1", "192.0.2.1"),
    ] {
        let peer: IpAddr = peer.parse().expect("an address");
        let client = TcpStream::connect((to, port)).expect("it listens");
        let (served, _) = server.accept().expect("it comes");
        assert!(!ends.any(&[peer]).expect("it is read"), "{to} is open");
        for open in [any_open, any_listed] {
            assert!(open(&[peer]).expect("they are told"), "{to} is open");
            let other = [IpAddr::from([192, 0, 2, 7])];
            assert!(!open(&other).expect("they are told"), "no other is");
        }
        drop((client, served));
        let other = [IpAddr::from([192, 0, 2, 7])];
        vw_testkit::eventually("its end is told", Duration::from_secs(5), || {
            ends.any(&[peer, other[0]]).expect("it is read")
        });
        for open in [any_open, any_listed] {
            assert!(!open(&[peer]).expect("they are told"), "{to} is over");
        }
        assert_eq!(accepted().expect("it is counted"), before + done);
        done += 2;
        let again = TcpStream::connect((to, port)).expect("it listens");
        drop((again, server.accept().expect("it comes")));
        assert!(!ends.any(&other).expect("it is read"), "{to} is no other");
    }
    for _ in 0..2000 {
        let client = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
        drop((client, server.accept().expect("it comes")));
    }
    let other = [IpAddr::from([192, 0, 2, 7])];
    assert!(
        !ends.any(&other).expect("it is read"),
        "many others are none"
    );
    // Of those thousands, which are over, nothing is told, and all of them listed.
    let fd = sock_diag().expect("a socket");
    let everybody = [IpAddr::from([127, 0, 0, 1])];
    let (over, open) = (1 << 6, 1 << 1);
    for (states, wanted) in [(over, true), (open, false)] {
        let told = told(&fd, libc::AF_INET, states, &everybody).expect("they are told");
        assert_eq!(told, Some(wanted));
    }
}

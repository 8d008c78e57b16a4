//! A name server that hangs, and one that comes back.

use super::Names;
use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        mpsc::{self, Receiver, Sender},
    },
    time::{Duration, Instant},
};
use vw_testkit::poll;

/// What a name server answers, when.
type Answer = io::Result<Vec<SocketAddr>>;

/// Names whose server answers when the test does.
fn names() -> (Names, Sender<Answer>) {
    let (send, receive): (_, Receiver<Answer>) = mpsc::channel();
    let receive = Arc::new(Mutex::new(receive));
    let names = Names::by(move |_, _| receive.lock().unwrap().recv().expect("the test answers"));
    (names, send)
}

fn ask(names: &Names, patience: Duration) -> Answer {
    names.addresses("store", 1, Instant::now() + patience)
}

const SHORT: Duration = Duration::from_millis(50);
const LONG: Duration = Duration::from_secs(20);

#[test]
fn a_name_server_that_hangs_holds_nobody_up() {
    let (names, server) = names();
    let start = Instant::now();
    let refused = ask(&names, SHORT).unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::TimedOut);
    assert!(refused.to_string().contains("store"), "{refused}");
    assert!(start.elapsed() < LONG);
    let address: SocketAddr = "192.0.2.1:1".parse().unwrap();
    server.send(Ok(vec![address])).unwrap();
    // Who asked first gave up; what came is known all the same.
    let known = poll(LONG, || ask(&names, SHORT).ok());
    assert_eq!(known, Some(vec![address]));
    // Nothing more is answered.
    assert_eq!(ask(&names, LONG).unwrap(), [address]);
    server.send(Err(io::Error::other("no such name"))).unwrap();
    assert_eq!(ask(&names, LONG).unwrap(), [address]);
}

#[test]
fn a_name_that_is_refused_is_told_so_and_a_new_address_is_taken() {
    let (names, server) = names();
    server.send(Err(io::Error::other("no such name"))).unwrap();
    let refused = ask(&names, LONG).unwrap_err();
    assert!(refused.to_string().contains("no such name"), "{refused}");
    for address in ["192.0.2.1:1", "192.0.2.2:1"].map(|text| text.parse().unwrap()) {
        server.send(Ok(vec![address])).unwrap();
        assert_eq!(ask(&names, LONG).unwrap(), [address]);
    }
}

#[test]
fn an_address_is_no_name() {
    let names = Names::by(|_, _| unreachable!("nobody is asked"));
    for (host, address) in [("192.0.2.1", "192.0.2.1:7"), ("fd00::1", "[fd00::1]:7")] {
        let found = names.addresses(host, 7, Instant::now()).unwrap();
        assert_eq!(found, [address.parse().unwrap()]);
    }
}

//! What one thread hears while nobody, or somebody slow, counts it.

use super::*;
use std::{net::UdpSocket, time::Duration};
use vw_testkit::{Lab, require_root};

#[test]
fn answers_that_nobody_counts_are_not_kept() {
    require_root!();
    let lab = Lab::new();
    let host = lab.host("a");
    host.ip("link set lo up");
    let [at, there] = [1, 2].map(|number| IpAddr::from([127, 0, 0, number]));
    let wire = host.enter(|| Wire::datagrams(at)).unwrap();
    let line = Line::start(Way::Beside, wire, Arc::default()).unwrap();
    line.know(HostId::from_bytes([2; 32]), Some(there));
    let other = host.enter(|| UdpSocket::bind((there, vw_model::PROBE_PORT)));
    let other = other.unwrap();
    let say = |kind, number| {
        let told = Told::default();
        let packet = Packet { kind, number, told };
        other
            .send_to(&packet.bytes(0), (at, vw_model::PROBE_PORT))
            .unwrap();
    };
    other
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    // The answer to a question says that all before it was heard.
    let heard = || {
        say(Kind::Question, 0);
        other.recv(&mut [0; 64]).is_ok()
    };
    let kept = || lock(&line.asking).answers.try_iter().count();
    line.shared.asked.store(7, Ordering::Release);
    (0..WAITING + 500).for_each(|turn| {
        say(Kind::Answer, 7);
        // Nothing is lost before the thread.
        assert!(turn % 50 > 0 || heard());
    });
    assert!(heard());
    assert_eq!(kept(), WAITING, "no more than there is room for");
    (0..10).for_each(|_| say(Kind::Answer, 6));
    assert!(heard());
    assert_eq!(kept(), 0, "nobody waits for these");
    line.end();
    assert!(line.is_over());
}

#[test]
fn of_hosts_at_one_place_the_last_that_came_is_heard() {
    let [first, second] = [9, 2].map(|number| HostId::from_bytes([number; 32]));
    let [here, there] = [1, 2].map(|number| Place::Address([192, 0, 2, number].into()));
    let mut hosts = Hosts::default();
    for (id, place, heard) in [
        (first, Some(here), Some(first)),
        (second, Some(here), Some(second)),
        // It tells something else.
        (first, Some(here), Some(second)),
        (second, Some(there), Some(first)),
        (second, Some(here), Some(second)),
        (second, None, Some(first)),
        (first, None, None),
    ] {
        hosts.know(id, place);
        assert_eq!(hosts.at(here), heard);
    }
    assert!(hosts.places.is_empty() && hosts.ids.is_empty());
}

//! Lines as the kernel writes them.

use super::{is_open_with, passive_opens};
use std::net::IpAddr;

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
fn the_number_of_accepted_connections_is_found_by_its_name() {
    let text = "Ip: Forwarding\nIp: 1\nTcp: RtoMin ActiveOpens PassiveOpens\nTcp: 200 7 42\n";
    assert_eq!(passive_opens(text), Some(42));
    assert_eq!(passive_opens("Ip: 1\n"), None);
}

//! Addresses, good and malformed.

use super::Host;

#[test]
fn addresses_are_read_as_docker_reads_them() {
    for (text, expected) in [
        ("unix:///run/x.sock", Some("unix:///run/x.sock")),
        ("tcp://1.2.3.4:99", Some("tcp://1.2.3.4:99")),
        ("tcp://1.2.3.4", Some("tcp://1.2.3.4:2375")),
        ("tcp://[::1]", Some("tcp://[::1]:2375")),
        ("tcp://[::1]:80/", Some("tcp://[::1]:80")),
        ("tcp://", None),
        ("tcp://host:port", None),
        ("unix://relative", None),
        ("/run/x.sock", None),
        ("http://x", None),
    ] {
        let host = text.parse::<Host>();
        assert_eq!(
            host.as_ref().ok().map(ToString::to_string).as_deref(),
            expected,
            "{text}"
        );
    }
}

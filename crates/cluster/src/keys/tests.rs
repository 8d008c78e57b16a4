//! That keys name what they were made of, in letters that every store takes.

use super::{Shared, block, parse_block};
use std::net::IpAddr;
use vw_model::{EndpointId, HostId, IpNet, NetworkId, ServiceId};

#[test]
fn a_key_is_read_back_and_fits_every_store() {
    let (network, host) = (NetworkId::from_bytes([1; 32]), HostId::from_bytes([2; 32]));
    let v4: IpAddr = "10.0.0.1".parse().unwrap();
    let v6: IpAddr = "fd00::1".parse().unwrap();
    let all = [
        Shared::Host(host),
        Shared::Alive(host),
        Shared::Tunnel(host),
        Shared::Unpublished(host),
        Shared::Network(network),
        Shared::Service(ServiceId::from_bytes([4; 32])),
        Shared::Endpoint(network, host, EndpointId::from_bytes([3; 32])),
        Shared::Request(network, v4),
        Shared::Request(network, v6),
        Shared::Grant(network, v4),
        Shared::Grant(network, v6),
    ];
    let fits = |key: &str| {
        let letter = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-".contains(c);
        key.split('/')
            .all(|part| !part.is_empty() && part.chars().all(letter))
    };
    for shared in all {
        let key = shared.key();
        assert!(fits(&key), "{key}");
        assert_eq!(Shared::parse(&key), Some(shared));
    }
    for range in ["10.0.0.4/30", "fd00:0:0:0:1::/80"] {
        let range: IpNet = range.parse().unwrap();
        let key = block(network, range);
        assert!(fits(&key), "{key}");
        assert_eq!(parse_block(&key), Some((network, range)));
    }
}

#[test]
fn other_keys_name_nothing() {
    for key in [
        "v1/shared",
        "v1/shared/hosts",
        "v1/shared/hosts/x",
        "v2/shared/hosts/00",
        "v1/format",
    ] {
        assert_eq!(Shared::parse(key), None, "{key}");
    }
    assert_eq!(parse_block("v1/blocks/x/10.0.0.0-30"), None);
}

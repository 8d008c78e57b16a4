//! Networks as users want them, and addresses of them: so few and so small that they clash.

use super::chance;
use std::{collections::BTreeMap, net::IpAddr, time::SystemTime};
use vw_ipam::{NetworkRequest, PoolRequest};
use vw_model::{Family, IpamSpec, NetworkId, NetworkSpec, Scope};

/// Subnets, and the ranges out of which addresses are given unasked: of some all blocks are taken soon,
/// by fewer hosts than there are.
const SUBNETS: [(&str, Option<&str>); 10] = [
    ("10.1.0.0/28", None),
    ("10.1.0.0/27", None),
    ("10.1.1.0/26", None),
    ("10.1.0.0/16", None),
    ("10.1.0.0/29", None),
    ("10.1.0.0/16", Some("10.1.5.0/25")),
    ("10.1.2.0/24", Some("10.1.2.9/30")),
    ("fd00:0:0:1::/124", None),
    ("fd00:0:0:2::/64", None),
    ("fd00:0:0:2::/64", Some("fd00:0:0:2:7::/80")),
];

/// A network with one of few names, and with one of few subnets or one by default.
pub(crate) fn network() -> (NetworkSpec, NetworkRequest) {
    let id = NetworkId::from_bytes(chance::bytes());
    let subnet = chance::per_mille(800)
        .then(|| chance::pick(&SUBNETS))
        .flatten();
    let pools = subnet.map(|(subnet, range)| PoolRequest {
        subnet: subnet.parse().expect("a subnet"),
        ip_range: range.map(|range| range.parse().expect("a range")),
        gateway: None,
        aux: BTreeMap::new(),
    });
    let ipv6 = subnet.is_some_and(|(subnet, _)| subnet.contains(':'));
    let spec = NetworkSpec {
        id,
        name: format!("n{}", chance::below(6)).parse().expect("a name"),
        driver: "overlay".to_owned(),
        scope: Scope::Global,
        created: SystemTime::UNIX_EPOCH,
        enable_ipv4: !ipv6,
        enable_ipv6: ipv6,
        internal: false,
        attachable: true,
        predefined: false,
        ipam: IpamSpec {
            driver: "default".to_owned(),
            options: BTreeMap::new(),
            pools: Vec::new(),
        },
        options: BTreeMap::new(),
        labels: BTreeMap::new(),
    };
    let request = NetworkRequest {
        pools: pools.into_iter().collect(),
        ipv4: !ipv6,
        ipv6,
        gateway: chance::per_mille(500),
    };
    (spec, request)
}

pub(crate) fn some_address(network: &NetworkSpec) -> IpAddr {
    let pool = &network.ipam.pools[0];
    let subnet = pool.ip_range.unwrap_or(pool.subnet);
    let bits = subnet.max_prefix_len() - subnet.prefix_len();
    let offset = chance::below(48.min(1 << bits.min(6)));
    match subnet.network() {
        IpAddr::V4(first) => IpAddr::from((first.to_bits() + offset as u32).to_be_bytes()),
        IpAddr::V6(first) => IpAddr::from((first.to_bits() + offset as u128).to_be_bytes()),
    }
}

/// Of which family the addresses of a network are.
pub(crate) fn family(network: &NetworkSpec) -> Family {
    Family::of(network.ipam.pools[0].subnet.addr())
}

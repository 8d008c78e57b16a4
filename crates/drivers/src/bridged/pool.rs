//! Which subnets a network can have.

use vw_model::{Error, IpNet, PoolSpec, Result};

/// A subnet of stations, and IPv6 as Docker wants it.
pub(crate) fn validate_pool(pool: &PoolSpec) -> Result<()> {
    let invalid = |sentence| Err(Error::invalid("pool-invalid", sentence));
    match pool {
        PoolSpec { subnet, .. } if subnet.network().is_multicast() => {
            invalid(format!("multicast subnet '{subnet}' is not allowed"))
        }
        PoolSpec {
            subnet: IpNet::V6(subnet),
            ..
        } if clashes_with_link_local(subnet) => invalid(format!(
            "'{subnet}' clashes with the Link-Local prefix 'fe80::/64'"
        )),
        _ => Ok(()),
    }
}

/// Whether a subnet overlaps `fe80::/64` without being it.
fn clashes_with_link_local(subnet: &vw_model::Ipv6Net) -> bool {
    let link_local = vw_model::Ipv6Net::new_assert([0xfe80, 0, 0, 0, 0, 0, 0, 0].into(), 64);
    let overlaps = subnet.contains(&link_local) || link_local.contains(subnet);
    overlaps && subnet.trunc() != link_local
}

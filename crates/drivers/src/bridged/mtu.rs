//! The MTU of a network, as an option and as a bound.

use crate::option;
use vw_model::{Error, NetworkSpec, Result};

/// The option, Docker's for every driver.
pub(crate) const MTU: &str = "com.docker.network.driver.mtu";
/// The least MTU that IPv4 works with (`ETH_MIN_MTU`), and IPv6 (RFC 8200, section 5).
const LEAST: (u32, u32) = (68, 1280);

/// The MTU that a network asks for, or the default. Zero is the default, as Docker's.
///
/// # Errors
/// When the value cannot be read, or is no MTU of the network's families.
pub(crate) fn read_mtu(network: &NetworkSpec, default: u32) -> Result<u32> {
    let given = option::value(&network.options, MTU, option::integer)?;
    let Some(given) = given.filter(|mtu| *mtu != 0) else {
        return Ok(default);
    };
    let (v4, v6) = LEAST;
    let least = if network.enable_ipv6 { v6 } else { v4 };
    let refuse = || {
        Error::invalid(
            "mtu-invalid",
            format!("invalid MTU number: {given}: use {least} to 65535 on this network"),
        )
    };
    let fits = u32::try_from(given)
        .ok()
        .filter(|mtu| (least..=65535).contains(mtu));
    fits.ok_or_else(refuse)
}

/// Whether the kernel gives links of this MTU an IPv6 configuration at all, to be switched off.
pub(crate) const fn fits_ipv6(mtu: u32) -> bool {
    mtu >= LEAST.1
}

//! Which UDP port takes this host's encrypted packets, whoever carries them.
//!
//! Owns the order in which ports are tried. It must not know how one is had.

use std::net::{IpAddr, SocketAddr};
use vw_kernel::Kernel;
use vw_model::{ENCRYPTION_PORTS, Error, Kind, Protocol, Result};

/// Has the first port that `take` gets: `kept`, which other hosts know already, else as near to the
/// usual one as can be. None else is tried: firewalls between hosts let in these. Others learn from
/// this host's record which it is.
///
/// # Errors
/// As `take` says, which gives nothing where somebody has a port; and when somebody has each of them.
pub fn encryption_port<T>(
    kernel: &dyn Kernel,
    addr: IpAddr,
    kept: Option<u16>,
    mut take: impl FnMut(u16) -> Result<Option<T>>,
) -> Result<(u16, T)> {
    let (first, last) = ENCRYPTION_PORTS.into_inner();
    let kept = kept.filter(|port| ENCRYPTION_PORTS.contains(port));
    let wished = kept.unwrap_or(first);
    let others = ENCRYPTION_PORTS.filter(|port| *port != wished);
    for port in [wished].into_iter().chain(others) {
        let Some(taken) = take(port)? else { continue };
        if port != wished {
            tracing::warn!(
                "UDP port {wished} is not free, as {} has it: encrypted packets come in at UDP port {port}, which must get through between the hosts",
                holder(kernel, addr, wished)
            );
        }
        return Ok((port, taken));
    }
    let sentence = format!(
        "no UDP port from {first} to {last} is free for encrypted packets, {} has {wished}: free one of them",
        holder(kernel, addr, wished)
    );
    Err(Error::new(Kind::Unavailable, "encryption-failed", sentence))
}

fn holder(kernel: &dyn Kernel, addr: IpAddr, port: u16) -> String {
    match kernel.port_holder(Protocol::Udp, SocketAddr::new(addr, port)) {
        Some(holder) => format!("{} (process {})", holder.program, holder.process),
        None => "something on this host".to_owned(),
    }
}

#[cfg(test)]
mod tests;

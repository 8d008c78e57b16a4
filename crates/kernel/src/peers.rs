//! Which TCP connections are open in a namespace, and with whom (`/proc/net/tcp`, `tcp6`), and how
//! many came in at all (`/proc/net/snmp`).

use std::{fs, io, net::IpAddr};

/// `TCP_ESTABLISHED`, `TCP_SYN_RECV`, `TCP_FIN_WAIT1`, `TCP_FIN_WAIT2`, `TCP_CLOSE_WAIT` and
/// `TCP_LAST_ACK` of `net/tcp_states.h`: what the other end has not heard the end of.
const OPEN: [u8; 6] = [1, 3, 4, 5, 8, 9];

/// How many connections have come in to the namespace of the calling thread, from anybody: those
/// that are over before somebody looks count too.
pub(crate) fn accepted() -> io::Result<u64> {
    let text = fs::read_to_string("/proc/thread-self/net/snmp")?;
    Ok(passive_opens(&text).unwrap_or_default())
}

/// The field `PassiveOpens` of the two lines `Tcp:`, names and numbers.
fn passive_opens(text: &str) -> Option<u64> {
    let mut lines = text.lines().filter(|line| line.starts_with("Tcp:"));
    let names = lines.next()?.split(' ');
    let mut fields = names.zip(lines.next()?.split(' '));
    let (_, number) = fields.find(|(name, _)| *name == "PassiveOpens")?;
    number.parse().ok()
}

/// Whether a connection is open with one of these, in the namespace of the calling thread.
pub(crate) fn any_open(peers: &[IpAddr]) -> io::Result<bool> {
    for file in ["/proc/thread-self/net/tcp", "/proc/thread-self/net/tcp6"] {
        match fs::read_to_string(file) {
            Ok(text) if text.lines().skip(1).any(|line| is_open_with(line, peers)) => {
                return Ok(true);
            }
            Ok(_) => {}
            // A kernel without IPv6 has no such file.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(false)
}

/// Whether a line of such a file is of a connection that is open with one of these.
fn is_open_with(line: &str, peers: &[IpAddr]) -> bool {
    let mut fields = line.split_whitespace().skip(2);
    let (Some(remote), Some(state)) = (fields.next(), fields.next()) else {
        return false;
    };
    let state = u8::from_str_radix(state, 16).is_ok_and(|state| OPEN.contains(&state));
    let remote = remote.split(':').next().and_then(address);
    state && remote.is_some_and(|remote| peers.contains(&remote))
}

/// An address as words of the machine's byte order, in hexadecimal.
fn address(text: &str) -> Option<IpAddr> {
    let words =
        (0..text.len() / 8).map(|at| u32::from_str_radix(text.get(at * 8..at * 8 + 8)?, 16).ok());
    let bytes: Vec<u8> = words
        .collect::<Option<Vec<u32>>>()?
        .into_iter()
        .flat_map(u32::to_ne_bytes)
        .collect();
    match bytes.len() {
        4 => Some(IpAddr::from(<[u8; 4]>::try_from(bytes).ok()?)),
        // A socket of IPv6 may talk IPv4.
        16 => Some(IpAddr::from(<[u8; 16]>::try_from(bytes).ok()?).to_canonical()),
        _ => None,
    }
}

#[cfg(test)]
mod tests;

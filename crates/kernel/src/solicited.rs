//! Whether who looks for an IPv6 address on its link is heard.
//!
//! Owns reading which groups an interface is in. An address can be used at once that no twin is looked
//! for, but the kernel has the interface join its solicited-node group (RFC 4291, 2.7.1) later, on a
//! thread of its own that waits for the lock of all links (`addrconf_dad_work`, `net/ipv6/addrconf.c`):
//! until then nobody who asks for the neighbour is answered, and asks again after a second.

use std::{fs, io, net::Ipv6Addr};
use vw_model::IfName;

/// Where a thread finds the addresses and the groups of its namespace's interfaces.
const ADDRESSES: &str = "/proc/thread-self/net/if_inet6";
const GROUPS: &str = "/proc/thread-self/net/igmp6";

/// Whether an interface of the thread's namespace is in the groups of all of these addresses that it
/// has. What it lost is not waited for, as where a container makes no use of IPv6.
///
/// # Errors
/// The system's answer.
pub(crate) fn hears(link: &IfName, addresses: &[Ipv6Addr]) -> io::Result<bool> {
    let read = |path| match fs::read_to_string(path) {
        // The kernel knows no IPv6.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        read => read,
    };
    Ok(is_heard(&read(ADDRESSES)?, &read(GROUPS)?, link, addresses))
}

fn is_heard(standing: &str, groups: &str, link: &IfName, addresses: &[Ipv6Addr]) -> bool {
    let standing = of_link(standing, link, [5, 0]);
    let groups = of_link(groups, link, [1, 2]);
    addresses.iter().all(|addr| {
        let stands = standing.contains(&&*format!("{:032x}", u128::from(*addr)));
        !stands || groups.contains(&&*group_of(*addr))
    })
}

/// What stands in the second of these columns of lines that name a link in the first.
fn of_link<'a>(lines: &'a str, link: &IfName, [name, value]: [usize; 2]) -> Vec<&'a str> {
    let lines = lines.lines().map(|line| {
        let column = |at| line.split_ascii_whitespace().nth(at);
        (column(name), column(value))
    });
    lines
        .filter(|(name, _)| *name == Some(link.as_str()))
        .filter_map(|(_, value)| value)
        .collect()
}

/// The group of those who have an address with these last 24 bits.
fn group_of(addr: Ipv6Addr) -> String {
    let [.., a, b, c] = addr.octets();
    format!("ff0200000000000000000001ff{a:02x}{b:02x}{c:02x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As Linux 6.18 shows them.
    const STANDING: &str = "\
fd000000000000000000000000000006 05 40 00 82     eth0
fd000000000000000000000100000007 05 40 00 82     eth0
fd000000000000000000000000000006 06 40 00 82     eth1
";
    const JOINED: &str = "\
1    lo              ff020000000000000000000000000001     1 0000000C 0
5    eth0            ff0200000000000000000001ff000006     1 00000004 0
5    eth0            ff020000000000000000000000000001     1 0000000C 0
6    eth1            ff020000000000000000000000000001     1 0000000C 0
";

    #[test]
    fn an_address_is_heard_of_once_its_group_is_joined() {
        let [six, seven, eight] =
            ["fd00::6", "fd00::1:0:7", "fd00::8"].map(|text| text.parse().unwrap());
        let hears = |link: &str, addresses: &[Ipv6Addr]| {
            is_heard(STANDING, JOINED, &link.parse().unwrap(), addresses)
        };
        assert!(hears("eth0", &[six]));
        assert!(!hears("eth0", &[six, seven]));
        assert!(hears("eth0", &[six, eight]), "it has not the address");
        assert!(!hears("eth1", &[six]));
        assert!(hears("eth1", &[]));
        assert!(hears("eth2", &[six]), "it is gone");
    }
}

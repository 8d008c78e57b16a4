//! Whether who looks for an IPv6 address on its link is heard.
//!
//! Owns reading which groups an interface is in. An address can be used at once that no twin is looked
//! for, but the kernel has the interface join its solicited-node group (RFC 4291, 2.7.1) later, on a
//! thread of its own that waits for the lock of all links (`addrconf_dad_work`, `net/ipv6/addrconf.c`):
//! until then nobody who asks for the neighbour is answered, and asks again after a second.

use std::net::Ipv6Addr;
use vw_model::IfName;

/// Where a thread finds the groups of its namespace's interfaces.
pub(crate) const GROUPS: &str = "/proc/thread-self/net/igmp6";

/// Whether an interface is in the groups of all these addresses, by what stands in [`GROUPS`]; one that
/// is in none is gone, and not waited for.
pub(crate) fn hears(groups: &str, link: &IfName, addresses: &[Ipv6Addr]) -> bool {
    let lines = groups.lines().filter_map(|line| {
        let mut words = line.split_ascii_whitespace().skip(1);
        Some((words.next()?, words.next()?))
    });
    let own: Vec<&str> = lines
        .filter(|(name, _)| *name == link.as_str())
        .map(|(_, group)| group)
        .collect();
    own.is_empty()
        || addresses
            .iter()
            .all(|addr| own.contains(&&*group_of(*addr)))
}

/// The group of those who have an address with these last 24 bits.
fn group_of(addr: Ipv6Addr) -> String {
    let [.., a, b, c] = addr.octets();
    format!("ff0200000000000000000001ff{a:02x}{b:02x}{c:02x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As Linux 6.18 shows it.
    const SHOWN: &str = "\
1    lo              ff020000000000000000000000000001     1 0000000C 0
5    eth0            ff0200000000000000000001ff000006     1 00000004 0
5    eth0            ff020000000000000000000000000001     1 0000000C 0
6    eth1            ff020000000000000000000000000001     1 0000000C 0
";

    #[test]
    fn an_address_is_heard_of_once_its_group_is_joined() {
        let [six, seven] = ["fd00::6", "fd00::1:0:7"].map(|text| text.parse().unwrap());
        let hears = |link: &str, addresses: &[Ipv6Addr]| {
            super::hears(SHOWN, &link.parse().unwrap(), addresses)
        };
        assert!(hears("eth0", &[six]));
        assert!(!hears("eth0", &[six, seven]));
        assert!(!hears("eth1", &[six]));
        assert!(hears("eth1", &[]));
        assert!(hears("eth2", &[six]), "it is gone");
    }
}

//! What the kernel says of an address.

use super::*;

/// As `inet6_fill_ifaddr` writes one with these flags.
fn told(flags: u32) -> Vec<u8> {
    let addr: [u8; 16] = "2001:db8::1"
        .parse::<std::net::Ipv6Addr>()
        .unwrap()
        .octets();
    let [flags, ..] = flags.to_le_bytes();
    let mut payload = vec![libc::AF_INET6 as u8, 64, flags, 0, 7, 0, 0, 0];
    payload.extend(20_u16.to_ne_bytes());
    payload.extend(libc::IFA_ADDRESS.to_ne_bytes());
    payload.extend(addr);
    payload
}

#[test]
fn an_address_that_is_looked_for_a_twin_cannot_be_bound_yet() {
    let (tentative, optimistic) = (libc::IFA_F_TENTATIVE, libc::IFA_F_OPTIMISTIC);
    for (flags, usable) in [
        (libc::IFA_F_PERMANENT, true),
        (tentative, false),
        (tentative | optimistic, true),
        (tentative | libc::IFA_F_DADFAILED, false),
        (libc::IFA_F_PERMANENT | libc::IFA_F_DADFAILED, false),
    ] {
        let seen = parse(&told(flags)).expect("it is one");
        assert_eq!(seen.addr.to_string(), "2001:db8::1/64");
        assert_eq!(seen.usable, usable, "{flags:#x}");
    }
}

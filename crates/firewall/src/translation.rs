//! Addresses by which IPv6 and IPv4 are translated into one another, for published ports alone.
//!
//! Owns which IPv6 address stands for an IPv4 one, and the elements of the link that translates. It
//! must not know how that is done.

use crate::policy::receives;
use crate::{Chain, Datum, Element, SetName};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use vw_model::{Family, IfName, Ipv6Net};

/// The link of the host by which they are translated.
pub const TRANSLATOR: &str = "vw_translator";

/// Who asks over IPv6, as an endpoint sees him: an address for hosts that translate (RFC 7335).
pub const TRANSLATED: Ipv4Addr = Ipv4Addr::new(192, 0, 0, 6);

/// What stands before an IPv4 address (RFC 6052). It is unique local (RFC 4193, of a global id drawn
/// at random), and the sum of its 16-bit words in one's complement is zero, so that no checksum of a
/// transport protocol changes.
const PREFIX: [u16; 6] = [0xfd5a, 0x9c3e, 0x41b7, 0, 0, 0x24af];

/// The IPv6 address that stands for an IPv4 one.
#[must_use]
pub const fn mapped(addr: Ipv4Addr) -> Ipv6Addr {
    let [a, b, c, d, e, f] = PREFIX;
    let [w, x, y, z] = addr.octets();
    let (g, h) = (u16::from_be_bytes([w, x]), u16::from_be_bytes([y, z]));
    Ipv6Addr::new(a, b, c, d, e, f, g, h)
}

/// The address that one of those stands for; any other stands for itself.
#[must_use]
pub fn unmapped(addr: IpAddr) -> IpAddr {
    match addr {
        IpAddr::V6(six) if mapped_net().contains(&six) => {
            let [.., w, x, y, z] = six.octets();
            Ipv4Addr::new(w, x, y, z).into()
        }
        _ => addr,
    }
}

/// All of those.
#[must_use]
pub const fn mapped_net() -> Ipv6Net {
    Ipv6Net::new_assert(mapped(Ipv4Addr::UNSPECIFIED), 96)
}

/// Whether an element leads to where packets are translated.
#[must_use]
pub fn is_translated(element: &Element) -> bool {
    matches!(element.value.first(), Some(Datum::V6(addr)) if mapped_net().contains(addr))
}

/// The elements of the link that translates: what is led there takes the source that stands for
/// [`TRANSLATED`], and nothing goes there but what was led there, and its answers.
#[must_use]
pub fn translator(link: &IfName) -> Vec<Element> {
    let name = || Datum::Interface(link.clone());
    let mut elements = Vec::from([SetName::Bridges, SetName::Translators].map(|set| Element {
        set,
        key: vec![name()],
        value: Vec::new(),
    }));
    elements.extend(receives(link, Family::V4, Chain::ToNat));
    elements.extend(receives(link, Family::V6, Chain::ToNat));
    elements
}

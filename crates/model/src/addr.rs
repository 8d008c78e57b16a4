//! Link-layer addresses and address families.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
    str::FromStr,
};

/// An Internet protocol version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Family {
    /// RFC 791.
    V4,
    /// RFC 8200.
    V6,
}

impl Family {
    /// The family of an address.
    #[must_use]
    pub const fn of(addr: IpAddr) -> Self {
        match addr {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }
}

/// A text that is not six octets in one of the usual notations.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid MAC address: {0}")]
pub struct ParseMacError(pub String);

/// An IEEE 802 48-bit address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MacAddr(pub [u8; 6]);

impl MacAddr {
    /// The stable locally administered unicast address of an endpoint that holds `addr`.
    ///
    /// IPv4: `02:42` and the four octets, as Docker made them. IPv6: the low 46 bits, and over them
    /// a hash of the high ones: those of one /82 differ, and of others few pairs are alike.
    #[must_use]
    pub fn derived_from(addr: IpAddr) -> Self {
        match addr {
            IpAddr::V4(v4) => {
                let [a, b, c, d] = v4.octets();
                Self([0x02, 0x42, a, b, c, d])
            }
            IpAddr::V6(v6) => {
                let low = v6.to_bits() as u64;
                let [_, _, a, b, c, d, e, f] = (low ^ hash(v6.to_bits() >> FREE)).to_be_bytes();
                // Locally administered, and no multicast address.
                Self([a << 2 | 0x02, b, c, d, e, f])
            }
        }
    }

    /// The IPv6 link-local address that an interface with this address makes for itself:
    /// `fe80::/64` with the modified EUI-64 of RFC 4291, appendix A.
    #[must_use]
    pub const fn link_local(&self) -> Ipv6Addr {
        let [a, b, c, d, e, f] = self.0;
        let iid = [a ^ 0x02, b, c, 0xff, 0xfe, d, e, f];
        Ipv6Addr::from_bits(0xfe80 << 112 | u64::from_be_bytes(iid) as u128)
    }

    /// Whether an interface may carry it: not multicast and not all zero.
    #[must_use]
    pub const fn is_unicast(&self) -> bool {
        self.0[0] & 1 == 0 && !matches!(self.0, [0, 0, 0, 0, 0, 0])
    }
}

/// How many bits of an address are free, beside the two that tell what kind it is.
const FREE: u32 = 46;

/// FNV-1a, whose high bits are folded into the low ones, which are the weaker.
fn hash(bits: u128) -> u64 {
    let octets = bits.to_be_bytes().into_iter();
    let hash = octets.fold(0xcbf2_9ce4_8422_2325_u64, |hash, octet| {
        (hash ^ u64::from(octet)).wrapping_mul(0x0100_0000_01b3)
    });
    hash ^ hash >> FREE
}

impl fmt::Display for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for MacAddr {
    type Err = ParseMacError;

    /// Takes `02:42:ac:11:00:02`, `02-42-ac-11-00-02` and `0242.ac11.0002`, as Go's `ParseMAC`
    /// does for six octets.
    fn from_str(text: &str) -> Result<Self, ParseMacError> {
        let refuse = || ParseMacError(text.to_owned());
        let (separator, digits) = match text.as_bytes().get(2) {
            Some(separator @ (b':' | b'-')) => (*separator, 2),
            _ => (b'.', 4),
        };
        let groups = text.as_bytes().split(|byte| *byte == separator);
        let mut nibbles = Vec::with_capacity(12);
        for group in groups {
            if group.len() != digits {
                return Err(refuse());
            }
            let values = group.iter().map(|byte| char::from(*byte).to_digit(16));
            nibbles.extend(values.collect::<Option<Vec<_>>>().ok_or_else(refuse)?);
        }
        let octets: Vec<u8> = nibbles
            .chunks_exact(2)
            .map(|pair| (pair[0] << 4 | pair[1]) as u8)
            .collect();
        octets.try_into().map(Self).map_err(|_| refuse())
    }
}

impl Serialize for MacAddr {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for MacAddr {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests;

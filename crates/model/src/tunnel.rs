//! What names a host inside the encrypted tunnel: its public key and its inner address.
//!
//! Owns their forms. It must not make or know a private key.

use crate::{HostId, MacAddr, NetworkId};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
    str::FromStr,
};

/// The bits that every inner address begins with: a unique local /48 (RFC 4193) of our own.
const INNER_PREFIX: [u8; 6] = [0xfd, 0x76, 0x65, 0x74, 0x68, 0x77];

/// The letters of base64 (RFC 4648, section 4).
const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// A text that is not a WireGuard public key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a public key: 32 bytes as 44 letters of base64")]
pub struct ParsePublicKeyError(pub String);

/// The public half of a host's WireGuard key (X25519), written in base64 as `wg` does.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey([u8; 32]);

impl PublicKey {
    /// The key of these bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for group in self.0.chunks(3) {
            let mut bits = [0; 4];
            bits[1..=group.len()].copy_from_slice(group);
            let bits = u32::from_be_bytes(bits);
            for place in 0..4_usize {
                let letter = LETTERS[(bits >> (18 - 6 * place)) as usize & 63];
                let letter = if place > group.len() { b'=' } else { letter };
                write!(f, "{}", char::from(letter))?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for PublicKey {
    type Err = ParsePublicKeyError;

    fn from_str(text: &str) -> Result<Self, ParsePublicKeyError> {
        let refuse = || ParsePublicKeyError(text.to_owned());
        let letters = text.strip_suffix('=').filter(|letters| letters.len() == 43);
        let mut bytes = [0; 32];
        let (mut bits, mut count, mut filled) = (0_u32, 0_u32, 0);
        for letter in letters.ok_or_else(refuse)?.bytes() {
            let value = LETTERS.iter().position(|&known| known == letter);
            bits = bits << 6 | value.ok_or_else(refuse)? as u32;
            count += 6;
            if count >= 8 {
                count -= 8;
                bytes[filled] = (bits >> count) as u8;
                filled += 1;
                bits &= (1 << count) - 1;
            }
        }
        // Two bits are left over; a key has one way of being written.
        if bits == 0 {
            Ok(Self(bytes))
        } else {
            Err(refuse())
        }
    }
}

impl Serialize for PublicKey {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PublicKey {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// A host's address inside the encrypted tunnel: the same on every host, from its id alone.
///
/// It exists only in the tunnel's own namespace. Eighty bits of a random id follow the prefix, so
/// that two hosts of one cluster never share one.
#[must_use]
pub fn inner_address(host: HostId) -> Ipv6Addr {
    let mut bytes = [0; 16];
    bytes[..6].copy_from_slice(&INNER_PREFIX);
    bytes[6..].copy_from_slice(&host.0.as_bytes()[..10]);
    Ipv6Addr::from(bytes)
}

/// The networks by which hosts try the way to one another: in clear text, and inside the encrypted
/// tunnel. A network's own id is random and none of these, and no endpoint is on them.
pub const PROBE_NETWORKS: [NetworkId; 2] = {
    let mut second = [0; 32];
    second[31] = 1;
    [
        NetworkId::from_bytes([0; 32]),
        NetworkId::from_bytes(second),
    ]
};

/// A host's link-layer address on [`PROBE_NETWORKS`]: a unicast one of its own making (IEEE 802,
/// clause 8.4.2), with 46 bits of its random id.
#[must_use]
pub fn station_address(host: HostId) -> MacAddr {
    let [a, rest @ ..] = *host.0.as_bytes();
    let mut mac = MacAddr([0; 6]);
    mac.0[0] = a & 0xfc | 0x02;
    mac.0[1..].copy_from_slice(&rest[..5]);
    mac
}

/// A host's link-local address on the link that leads to the others, where they need an IPv6 next
/// hop and it advertises IPv4: the same on every host, from its id alone, as [`inner_address`].
#[must_use]
pub fn link_address(host: HostId) -> Ipv6Addr {
    let mut bytes = [0; 16];
    bytes[..2].copy_from_slice(&[0xfe, 0x80]);
    bytes[8..].copy_from_slice(&host.0.as_bytes()[..8]);
    Ipv6Addr::from(bytes)
}

/// Whether an address lies inside the encrypted tunnel.
#[must_use]
pub fn is_inner(addr: IpAddr) -> bool {
    matches!(addr, IpAddr::V6(addr) if addr.octets().starts_with(&INNER_PREFIX))
}

#[cfg(test)]
mod tests;

//! Names whose labels mean something: reverse names and services.
//!
//! Owns reading them (RFC 1035, section 3.5; RFC 3596, section 2.5; RFC 2782).

use crate::name::labels;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use vw_model::Protocol;

/// The address that a whole reverse name in wire form and lower case stands for.
pub(crate) fn reverse(name: &[u8]) -> Option<IpAddr> {
    if let Some(digits) = name.strip_suffix(b"\x07in-addr\x04arpa\0") {
        let mut octets = [0; 4];
        let mut found = labels(digits);
        for octet in octets.iter_mut().rev() {
            *octet = decimal(found.next()?)?;
        }
        return found
            .next()
            .is_none()
            .then(|| Ipv4Addr::from(octets).into());
    }
    let nibbles = name.strip_suffix(b"\x03ip6\x04arpa\0")?;
    let mut bits: u128 = 0;
    let mut found = labels(nibbles);
    for shift in (0..32).map(|nibble| 4 * nibble) {
        let &[digit] = found.next()? else {
            return None;
        };
        bits |= u128::from(char::from(digit).to_digit(16)?) << shift;
    }
    found.next().is_none().then(|| Ipv6Addr::from(bits).into())
}

/// One octet in decimal, without leading zeros.
fn decimal(label: &[u8]) -> Option<u8> {
    let plain =
        label.iter().all(u8::is_ascii_digit) && (label.len() == 1 || label.first() != Some(&b'0'));
    let text = std::str::from_utf8(label).ok()?;
    plain.then(|| text.parse().ok())?
}

/// A service of a host: `_http._tcp.web` or `_80._tcp.web`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Service<'a> {
    /// Without its underscore.
    pub(crate) port: &'a [u8],
    pub(crate) protocol: Protocol,
    /// The host's name in wire form.
    pub(crate) host: &'a [u8],
}

impl<'a> Service<'a> {
    /// Reads a whole name in wire form and lower case.
    pub(crate) fn parse(name: &'a [u8]) -> Option<Self> {
        // Nearly every name ends here, at its second octet.
        if name.get(1) != Some(&b'_') {
            return None;
        }
        let mut found = labels(name);
        let port = found.next()?;
        let protocol = found.next()?;
        let host = &name[port.len() + protocol.len() + 2..];
        let protocol = match protocol {
            b"_tcp" => Protocol::Tcp,
            b"_udp" => Protocol::Udp,
            b"_sctp" => Protocol::Sctp,
            _ => return None,
        };
        Some(Self {
            port: &port[1..],
            protocol,
            host,
        })
    }

    /// The port that it means: a number, or one of the common names of IANA's registry.
    pub(crate) fn number(&self) -> Option<u16> {
        let text = std::str::from_utf8(self.port).ok()?;
        if text.starts_with(|c: char| c.is_ascii_digit()) {
            return text.parse().ok();
        }
        REGISTERED
            .iter()
            .find(|(name, _)| *name == text)
            .map(|(_, port)| *port)
    }
}

/// Service names of IANA's registry that containers commonly serve (RFC 6335); each stands
/// for the same port in every protocol that has it. Others are asked for by number.
const REGISTERED: [(&str, u16); 22] = [
    ("amqp", 5672),
    ("amqps", 5671),
    ("domain", 53),
    ("etcd-client", 2379),
    ("etcd-server", 2380),
    ("ftp", 21),
    ("http", 80),
    ("http-alt", 8080),
    ("https", 443),
    ("imap", 143),
    ("imaps", 993),
    ("ldap", 389),
    ("ldaps", 636),
    ("mqtt", 1883),
    ("mysql", 3306),
    ("nats", 4222),
    ("postgresql", 5432),
    ("redis", 6379),
    ("sip", 5060),
    ("smtp", 25),
    ("ssh", 22),
    ("submission", 587),
];

#[cfg(test)]
mod tests;

//! The wire format of DNS messages (RFC 1035, section 4; RFC 6891).
//!
//! Owns reading queries, writing replies, and what a forwarder does to messages that pass
//! through. It must not know zones, and must stand any octets.

mod query;
mod reply;
mod response;

pub use query::{Edns, Malformed, Query};
pub use response::{Response, Unfit};

pub(crate) use reply::Reply;

/// What a reply's code says (RFC 1035, section 4.1.1; RFC 6891, section 9).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Rcode {
    /// The answer, which may be empty.
    NoError,
    /// The query cannot be understood.
    FormErr,
    /// It could not be answered now.
    ServFail,
    /// The name does not exist.
    NxDomain,
    /// This kind of query is not served here.
    NotImp,
    /// It is not answered as a matter of policy, or for want of room.
    Refused,
    /// An EDNS version that is not spoken here.
    BadVers,
}

impl Rcode {
    /// The number: twelve bits, the upper eight of which travel in the OPT record.
    #[must_use]
    pub const fn number(self) -> u16 {
        match self {
            Self::NoError => 0,
            Self::FormErr => 1,
            Self::ServFail => 2,
            Self::NxDomain => 3,
            Self::NotImp => 4,
            Self::Refused => 5,
            Self::BadVers => 16,
        }
    }
}

/// How the client asked, which limits what it can be told at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transport {
    /// One datagram: 512 octets, or what the client's EDNS says.
    Udp,
    /// One message on a stream: 65,535 octets.
    Tcp,
}

/// Types of records, by number.
pub(crate) mod rtype {
    pub(crate) const A: u16 = 1;
    pub(crate) const SOA: u16 = 6;
    pub(crate) const PTR: u16 = 12;
    pub(crate) const AAAA: u16 = 28;
    pub(crate) const SRV: u16 = 33;
    pub(crate) const OPT: u16 = 41;
    /// 249 to 254 ask for keys, signatures, transfers: never one answer to one question.
    pub(crate) const META: std::ops::RangeInclusive<u16> = 249..=254;
    pub(crate) const ANY: u16 = 255;
}

/// The class of the Internet; all others name something else than hosts.
pub(crate) const CLASS_IN: u16 = 1;

/// The length of a message's header.
pub(crate) const HEADER: usize = 12;

/// What can be sent in a datagram to a client that says nothing (RFC 1035, section 4.2.1).
pub(crate) const PLAIN_UDP: usize = 512;

/// What is sent in a datagram at most, whatever the client says it takes; more goes by TCP.
pub(crate) const MAX_UDP: usize = 4096;

/// The largest datagram that we say we take, and ask upstreams for: no fragments on a path
/// of IPv6's least MTU (DNS flag day 2020).
pub(crate) const OUR_UDP_SIZE: u16 = 1232;

/// Bits of the header's second word.
pub(crate) mod flag {
    pub(crate) const QR: u16 = 0x8000;
    pub(crate) const OPCODE: u16 = 0x7800;
    pub(crate) const TC: u16 = 0x0200;
    pub(crate) const RD: u16 = 0x0100;
    pub(crate) const RA: u16 = 0x0080;
    pub(crate) const AD: u16 = 0x0020;
    pub(crate) const CD: u16 = 0x0010;
    pub(crate) const RCODE: u16 = 0x000f;
}

/// Reads big-endian numbers off the front of a message; `None` past its end.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cursor<'a> {
    message: &'a [u8],
    pub(crate) at: usize,
}

impl<'a> Cursor<'a> {
    pub(crate) const fn new(message: &'a [u8], at: usize) -> Self {
        Self { message, at }
    }

    pub(crate) fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let end = self.at.checked_add(length)?;
        let taken = self.message.get(self.at..end)?;
        self.at = end;
        Some(taken)
    }

    pub(crate) fn u16(&mut self) -> Option<u16> {
        self.take(2).map(|b| u16::from_be_bytes([b[0], b[1]]))
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.take(4)
            .map(|b| u32::from_be_bytes([b[0], b[1], b[2], b[3]]))
    }

    /// Steps over a name, compressed or not.
    pub(crate) fn skip_name(&mut self) -> Option<()> {
        loop {
            let length = self.take(1)?[0];
            match length {
                0 => return Some(()),
                1..=63 => self.take(usize::from(length))?,
                192.. => return self.take(1).map(drop),
                64..=191 => return None,
            };
        }
    }

    /// Reads the fixed part of a record behind its name, and steps over its data.
    pub(crate) fn record(&mut self) -> Option<Record<'a>> {
        self.skip_name()?;
        let rtype = self.u16()?;
        let class = self.u16()?;
        let ttl_at = self.at;
        let ttl = self.u32()?;
        let length = self.u16()?;
        let data = self.take(usize::from(length))?;
        Some(Record {
            rtype,
            class,
            ttl,
            ttl_at,
            data,
        })
    }
}

/// One record of a message, its owner aside.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Record<'a> {
    pub(crate) rtype: u16,
    pub(crate) class: u16,
    pub(crate) ttl: u32,
    /// Where the TTL stands in the message.
    pub(crate) ttl_at: usize,
    pub(crate) data: &'a [u8],
}

#[cfg(test)]
mod tests;

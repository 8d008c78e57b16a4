//! Reading a query.
//!
//! Owns what is a well-formed query for us: one question, uncompressed, at most one OPT.

use super::{Cursor, HEADER, MAX_UDP, OUR_UDP_SIZE, PLAIN_UDP, Rcode, Transport, flag, rtype};
use crate::name::MAX_NAME;

/// The EDNS part of a query (RFC 6891, section 6.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Edns<'a> {
    /// The largest datagram that the sender takes.
    pub udp_size: u16,
    /// It wants DNSSEC's records (RFC 3225).
    pub dnssec_ok: bool,
    /// Its options, as they came.
    pub options: &'a [u8],
    pub(crate) version: u8,
}

/// A query, read and checked; it borrows the message.
#[derive(Debug, Clone)]
pub struct Query<'a> {
    message: &'a [u8],
    pub(crate) flags: u16,
    question_end: usize,
    /// The name in wire form and lower case.
    folded: [u8; MAX_NAME],
    folded_len: usize,
    qtype: u16,
    qclass: u16,
    edns: Option<Edns<'a>>,
}

/// What is no query for us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Malformed {
    /// Not even a header, or itself a reply: answering could make a circle.
    Drop,
    /// To be answered by [`Malformed::reply`].
    Refuse {
        /// The query's id.
        id: u16,
        /// The query's flags.
        flags: u16,
        /// What to say.
        rcode: Rcode,
    },
}

impl Malformed {
    /// Writes the reply into `out`; false when there is none to send.
    ///
    /// It is a header alone, as what follows could not be read (RFC 1035, section 7.3).
    pub fn reply(self, out: &mut Vec<u8>) -> bool {
        out.clear();
        let Self::Refuse { id, flags, rcode } = self else {
            return false;
        };
        let flags = flag::QR | flag::RA | (flags & (flag::OPCODE | flag::RD)) | rcode.number();
        out.extend_from_slice(&id.to_be_bytes());
        out.extend_from_slice(&flags.to_be_bytes());
        out.extend_from_slice(&[0; 8]);
        true
    }
}

impl<'a> Query<'a> {
    /// Reads a message.
    ///
    /// # Errors
    /// Replies and scraps are dropped; another opcode is not implemented; anything but one
    /// question (RFC 9619), two OPT records (RFC 6891, section 6.1.1) or a record that
    /// runs over the end is a format error. Octets behind the last record do not matter.
    pub fn parse(message: &'a [u8]) -> Result<Self, Malformed> {
        let mut cursor = Cursor::new(message, 0);
        let mut word = || cursor.u16().ok_or(Malformed::Drop);
        let (id, flags) = (word()?, word()?);
        let [questions, answers, authority, additional] = [word()?, word()?, word()?, word()?];
        if flags & flag::QR != 0 {
            return Err(Malformed::Drop);
        }
        let refuse = |rcode| Malformed::Refuse { id, flags, rcode };
        if flags & flag::OPCODE != 0 {
            return Err(refuse(Rcode::NotImp));
        }
        if questions != 1 {
            return Err(refuse(Rcode::FormErr));
        }
        let before = u32::from(answers) + u32::from(authority);
        Self::body(message, flags, before, additional).ok_or_else(|| refuse(Rcode::FormErr))
    }

    fn body(message: &'a [u8], flags: u16, before: u32, additional: u16) -> Option<Self> {
        let (folded, folded_len) = fold_name(message.get(HEADER..)?)?;
        let mut cursor = Cursor::new(message, HEADER + folded_len);
        let (qtype, qclass) = (cursor.u16()?, cursor.u16()?);
        let question_end = cursor.at;
        for _ in 0..before {
            cursor.record()?;
        }
        let mut edns = None;
        for _ in 0..additional {
            let at_root = message.get(cursor.at) == Some(&0);
            let record = cursor.record()?;
            if record.rtype != rtype::OPT {
                continue;
            }
            if !at_root || edns.is_some() {
                return None;
            }
            let [_, version, flags, _] = record.ttl.to_be_bytes();
            edns = Some(Edns {
                udp_size: record.class,
                dnssec_ok: flags & 0x80 != 0,
                options: record.data,
                version,
            });
        }
        Some(Self {
            message,
            flags,
            question_end,
            folded,
            folded_len,
            qtype,
            qclass,
            edns,
        })
    }

    /// Its id.
    #[must_use]
    pub const fn id(&self) -> u16 {
        u16::from_be_bytes([self.message[0], self.message[1]])
    }

    /// The name asked for, in wire form and lower case.
    #[must_use]
    pub fn name(&self) -> &[u8] {
        &self.folded[..self.folded_len]
    }

    /// The type asked for.
    #[must_use]
    pub const fn qtype(&self) -> u16 {
        self.qtype
    }

    /// The class asked for.
    #[must_use]
    pub const fn qclass(&self) -> u16 {
        self.qclass
    }

    /// Its EDNS part.
    #[must_use]
    pub const fn edns(&self) -> Option<Edns<'a>> {
        self.edns
    }

    /// Whether it wants data that failed DNSSEC's checks too (RFC 4035, section 3.2.2).
    #[must_use]
    pub const fn checking_disabled(&self) -> bool {
        self.flags & flag::CD != 0
    }

    /// The question as it came, its case kept.
    #[must_use]
    pub fn question(&self) -> &'a [u8] {
        &self.message[HEADER..self.question_end]
    }

    /// How many octets a reply may have.
    #[must_use]
    pub fn limit(&self, transport: Transport) -> usize {
        match (transport, self.edns) {
            (Transport::Tcp, _) => usize::from(u16::MAX),
            (Transport::Udp, Some(edns)) => usize::from(edns.udp_size).clamp(PLAIN_UDP, MAX_UDP),
            (Transport::Udp, None) => PLAIN_UDP,
        }
    }

    /// Writes the query to send upstream into `out`, under `id`.
    ///
    /// The question goes in its own case. EDNS goes on only where the client speaks it,
    /// with our size, and its options but those that bind one hop alone (cookies RFC 7873,
    /// keepalive RFC 7828, padding RFC 7830).
    ///
    /// Returns whether the answer depends on nothing but question, DO and CD, and so may be
    /// kept for others.
    pub fn forward(&self, id: u16, out: &mut Vec<u8>) -> bool {
        const HOP_BY_HOP: [u16; 3] = [10, 11, 12];
        out.clear();
        let flags = self.flags & (flag::RD | flag::AD | flag::CD);
        for word in [id, flags, 1, 0, 0, u16::from(self.edns.is_some())] {
            out.extend_from_slice(&word.to_be_bytes());
        }
        out.extend_from_slice(self.question());
        let Some(edns) = self.edns else {
            return true;
        };
        push_opt(out, 0, edns.dnssec_ok);
        let start = out.len();
        let mut cursor = Cursor::new(edns.options, 0);
        while let (Some(code), Some(length)) = (cursor.u16(), cursor.u16()) {
            let Some(value) = cursor.take(usize::from(length)) else {
                break;
            };
            if !HOP_BY_HOP.contains(&code) {
                out.extend_from_slice(&code.to_be_bytes());
                out.extend_from_slice(&length.to_be_bytes());
                out.extend_from_slice(value);
            }
        }
        // Fits: the options were read from a record whose length is a u16.
        let length = (out.len() - start) as u16;
        out[start - 2..start].copy_from_slice(&length.to_be_bytes());
        length == 0
    }
}

/// Appends an OPT record of ours without options (RFC 6891, section 6.1.2).
pub(crate) fn push_opt(out: &mut Vec<u8>, rcode: u16, dnssec_ok: bool) {
    out.push(0);
    out.extend_from_slice(&rtype::OPT.to_be_bytes());
    out.extend_from_slice(&OUR_UDP_SIZE.to_be_bytes());
    // The upper bits of the code, version 0, flags.
    let upper = (rcode >> 4) as u8;
    out.extend_from_slice(&[upper, 0, u8::from(dnssec_ok) << 7, 0, 0, 0]);
}

/// The name at the front of `wire` in lower case, and its length.
///
/// A pointer is refused: there is nothing before the question that it could point to.
fn fold_name(wire: &[u8]) -> Option<([u8; MAX_NAME], usize)> {
    let mut folded = [0; MAX_NAME];
    let mut at = 0;
    loop {
        let length = usize::from(*wire.get(at)?);
        if length > 63 {
            return None;
        }
        let next = at + 1 + length;
        let label = wire.get(at..next)?;
        // Length octets are below 'A', so folding leaves them as they are.
        let target = folded.get_mut(at..next)?;
        target.copy_from_slice(label);
        target.make_ascii_lowercase();
        if length == 0 {
            return Some((folded, next));
        }
        at = next;
    }
}

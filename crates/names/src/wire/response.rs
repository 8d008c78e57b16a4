//! Reading what an upstream said, and handing it on.
//!
//! Owns the checks that a reply belongs to its question, how long it may be kept, and how
//! it is fitted to each client that waits for it.

use super::{
    CLASS_IN, Cursor, HEADER, PLAIN_UDP, Query, Rcode, Transport, flag, query::push_opt, rtype,
};

/// Why a message is no reply to what was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// Cut off, or not a reply at all.
    #[error("it is not a well-formed reply")]
    Malformed,
    /// Another id: a guess, or an answer to somebody else.
    #[error("it carries another id")]
    WrongId,
    /// Another question.
    #[error("it answers another question")]
    WrongQuestion,
}

/// An upstream's reply, checked against its question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    message: Vec<u8>,
    /// Where TTLs stand, so that age is taken off without reading it all again.
    ttls: Vec<u16>,
    question_end: usize,
    lifetime: u32,
}

impl Response {
    /// Checks that `message` is the reply to `query` as it was sent under `id`.
    ///
    /// The question must come back the same, letter case aside: some servers fold it. An
    /// error without a question is taken too, as those send it who cannot read the query.
    ///
    /// # Errors
    /// What does not fit.
    pub fn parse(message: Vec<u8>, id: u16, query: &Query<'_>) -> Result<Self, Unfit> {
        let mut cursor = Cursor::new(&message, 0);
        let mut word = || cursor.u16().ok_or(Unfit::Malformed);
        let (its_id, flags) = (word()?, word()?);
        let [questions, answers, authority, additional] = [word()?, word()?, word()?, word()?];
        if flags & flag::QR == 0 || flags & flag::OPCODE != 0 {
            return Err(Unfit::Malformed);
        }
        if its_id != id {
            return Err(Unfit::WrongId);
        }
        if questions == 0 && flags & flag::RCODE != 0 {
            return Ok(Self {
                ttls: Vec::new(),
                question_end: HEADER,
                lifetime: 0,
                message,
            });
        }
        let asked = query.question();
        let echo = message.get(HEADER..HEADER + asked.len());
        if questions != 1 || !echo.is_some_and(|echo| echo.eq_ignore_ascii_case(asked)) {
            return Err(Unfit::WrongQuestion);
        }
        let question_end = HEADER + asked.len();
        let counts = [answers, authority, additional];
        // A truncated message may end anywhere, and is not kept.
        let found = records(&message, question_end, counts);
        let (ttls, lifetime) = match found {
            Some(found) => found,
            None if flags & flag::TC != 0 => (Vec::new(), 0),
            None => return Err(Unfit::Malformed),
        };
        let mut response = Self {
            message,
            ttls,
            question_end,
            lifetime,
        };
        if !response.is_keepable() {
            response.lifetime = 0;
        }
        Ok(response)
    }

    /// The code of its header.
    #[must_use]
    pub fn rcode(&self) -> u16 {
        self.flags() & flag::RCODE
    }

    /// Whether the upstream could not or would not answer, so that another should be asked.
    #[must_use]
    pub fn is_failure(&self) -> bool {
        [
            Rcode::FormErr,
            Rcode::ServFail,
            Rcode::NotImp,
            Rcode::Refused,
        ]
        .iter()
        .any(|rcode| rcode.number() == self.rcode())
    }

    /// Whether it was cut to fit a datagram.
    #[must_use]
    pub fn is_truncated(&self) -> bool {
        self.flags() & flag::TC != 0
    }

    /// Whether it tells that there is no such name or no such record.
    #[must_use]
    pub fn is_negative(&self) -> bool {
        self.rcode() == Rcode::NxDomain.number() || self.message[6..8] == [0, 0]
    }

    /// For how many seconds it may be kept; 0 is not at all.
    ///
    /// The least TTL of its records; of a negative one also the SOA's minimum, without
    /// which it is not kept (RFC 2308, section 5).
    #[must_use]
    pub const fn lifetime(&self) -> u32 {
        self.lifetime
    }

    /// How much memory it takes, roughly.
    #[must_use]
    pub const fn weight(&self) -> usize {
        self.message.len() + 2 * self.ttls.len() + size_of::<Self>()
    }

    /// Writes it into `out` as the reply to `query`, which asks the same, `age` seconds
    /// after it came.
    ///
    /// Id, case and the RD bit are the query's own. What is over the client's limit goes
    /// as a truncated reply without records, so that it comes again by TCP.
    pub fn reply(&self, query: &Query<'_>, transport: Transport, age: u32, out: &mut Vec<u8>) {
        out.clear();
        let whole = self.question_end == HEADER + query.question().len();
        let fits = self.message.len() <= query.limit(transport);
        let mut flags = (self.flags() & !flag::RD) | (query.flags & flag::RD) | flag::RA;
        if whole && fits {
            out.extend_from_slice(&self.message);
            out[HEADER..self.question_end].copy_from_slice(query.question());
            for at in self.ttls.iter().map(|at| usize::from(*at)) {
                // Each was read from these four octets.
                let place = &mut out[at..at + 4];
                let ttl = u32::from_be_bytes([place[0], place[1], place[2], place[3]]);
                place.copy_from_slice(&ttl.saturating_sub(age).to_be_bytes());
            }
        } else {
            out.extend_from_slice(&self.message[..HEADER]);
            out.extend_from_slice(query.question());
            let edns = query.edns();
            let counts = [1, 0, 0, u16::from(edns.is_some())];
            for (word, place) in counts.iter().zip(out[4..HEADER].chunks_exact_mut(2)) {
                place.copy_from_slice(&word.to_be_bytes());
            }
            if let Some(edns) = edns {
                push_opt(out, 0, edns.dnssec_ok);
            }
            if whole {
                flags |= flag::TC;
            }
        }
        out[..2].copy_from_slice(&query.id().to_be_bytes());
        out[2..4].copy_from_slice(&flags.to_be_bytes());
        debug_assert!(out.len() <= query.limit(transport).max(PLAIN_UDP));
    }

    fn flags(&self) -> u16 {
        u16::from_be_bytes([self.message[2], self.message[3]])
    }

    fn is_keepable(&self) -> bool {
        let kept = [Rcode::NoError.number(), Rcode::NxDomain.number()];
        kept.contains(&self.rcode()) && !self.is_truncated()
    }
}

/// Where the TTLs of a message stand, and how long it may be kept.
///
/// `None` when it does not read to its end.
fn records(message: &[u8], start: usize, counts: [u16; 3]) -> Option<(Vec<u16>, u32)> {
    let [answers, authority, additional] = counts.map(usize::from);
    let mut cursor = Cursor::new(message, start);
    let mut ttls = Vec::new();
    let mut lifetime = u32::MAX;
    let mut negative = None;
    for i in 0..answers + authority + additional {
        let record = cursor.record()?;
        if record.rtype == rtype::OPT {
            continue;
        }
        // RFC 2181, section 8: a TTL with its top bit set counts as zero.
        let ttl = i32::try_from(record.ttl).unwrap_or(0).unsigned_abs();
        ttls.push(u16::try_from(record.ttl_at).ok()?);
        lifetime = lifetime.min(ttl);
        let in_authority = (answers..answers + authority).contains(&i);
        if in_authority && record.rtype == rtype::SOA && record.class == CLASS_IN {
            // The minimum is the last of the SOA's five numbers.
            let minimum = record.data.last_chunk::<4>()?;
            negative = Some(ttl.min(u32::from_be_bytes(*minimum)));
        }
    }
    let nxdomain = u16::from(message[3]) & flag::RCODE == Rcode::NxDomain.number();
    if answers == 0 || nxdomain {
        lifetime = lifetime.min(negative.unwrap_or(0));
    }
    Some((ttls, lifetime))
}

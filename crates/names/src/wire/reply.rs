//! Writing a reply of our own.
//!
//! Owns layout, size and truncation. The question is copied as it was asked and every
//! answer's owner points to it, so the client's case comes back (draft-vixie-dnsext-dns0x20).

use super::{CLASS_IN, HEADER, Query, Rcode, Transport, flag, query::push_opt};
use crate::rng::Rng;

/// The length of an OPT record without options.
const OPT_LEN: usize = 11;
/// The octets of a record whose owner is a pointer, without its data.
const RECORD_HEAD: usize = 12;
/// A pointer to the question's name.
const TO_QUESTION: u16 = 0xc000 | HEADER as u16;

/// A reply under way.
pub(crate) struct Reply<'a, 'q> {
    query: &'a Query<'q>,
    out: &'a mut Vec<u8>,
    /// What may be used, the OPT record's room set aside.
    limit: usize,
    answers: usize,
    additional: usize,
    truncated: bool,
}

impl<'a, 'q> Reply<'a, 'q> {
    /// Starts a reply to `query` in `out`, whose content is lost.
    pub(crate) fn new(query: &'a Query<'q>, transport: Transport, out: &'a mut Vec<u8>) -> Self {
        out.clear();
        out.resize(HEADER, 0);
        out.extend_from_slice(query.question());
        let opt = if query.edns().is_some() { OPT_LEN } else { 0 };
        let limit = query.limit(transport) - opt;
        Self {
            query,
            out,
            limit,
            answers: 0,
            additional: 0,
            truncated: false,
        }
    }

    /// Answers with these addresses (or other data of one length `N`), in random order.
    ///
    /// What does not fit is left out and said so: a client that cannot come back by TCP
    /// has some to go on with, a different choice each time.
    pub(crate) fn addresses<const N: usize>(
        &mut self,
        rtype: u16,
        ttl: u32,
        data: impl Iterator<Item = [u8; N]>,
        rng: &mut Rng,
    ) -> bool {
        let start = self.out.len();
        let mut count = 0;
        for octets in data {
            self.record(TO_QUESTION, rtype, ttl, &octets);
            count += 1;
        }
        let size = RECORD_HEAD + N;
        shuffle(&mut self.out[start..], size, count, rng);
        let room = self.limit.saturating_sub(start) / size;
        if count > room {
            self.truncated = true;
            self.out.truncate(start + room * size);
            count = room;
        }
        self.answers += count;
        count > 0
    }

    /// Answers with one record; where its data starts, if it fits.
    pub(crate) fn answer(&mut self, rtype: u16, ttl: u32, data: &[u8]) -> Option<usize> {
        if self.out.len() + RECORD_HEAD + data.len() > self.limit {
            self.truncated = true;
            return None;
        }
        self.record(TO_QUESTION, rtype, ttl, data);
        self.answers += 1;
        Some(self.out.len() - data.len())
    }

    /// Adds a record that spares the client a question, if it fits; its owner is the name
    /// written at `owner`.
    pub(crate) fn additional(&mut self, owner: usize, rtype: u16, ttl: u32, data: &[u8]) {
        let pointer = u16::try_from(owner).ok().filter(|owner| *owner < 0x4000);
        if let Some(owner) = pointer
            && self.out.len() + RECORD_HEAD + data.len() <= self.limit
        {
            self.record(0xc000 | owner, rtype, ttl, data);
            self.additional += 1;
        }
    }

    /// Completes the message.
    pub(crate) fn finish(self, rcode: Rcode) {
        let edns = self.query.edns();
        if let Some(edns) = edns {
            push_opt(self.out, rcode.number(), edns.dnssec_ok);
        }
        let mut flags = flag::QR | flag::RA | (self.query.flags & (flag::RD | flag::CD));
        if self.truncated {
            flags |= flag::TC;
        }
        let counts = [
            self.query.id(),
            flags | (rcode.number() & flag::RCODE),
            1,
            // A message of 65,535 octets holds fewer records than that.
            self.answers as u16,
            0,
            (self.additional + usize::from(edns.is_some())) as u16,
        ];
        for (word, place) in counts.iter().zip(self.out.chunks_exact_mut(2)) {
            place.copy_from_slice(&word.to_be_bytes());
        }
    }

    fn record(&mut self, owner: u16, rtype: u16, ttl: u32, data: &[u8]) {
        let [o0, o1] = owner.to_be_bytes();
        let [t0, t1] = rtype.to_be_bytes();
        let [c0, c1] = CLASS_IN.to_be_bytes();
        let [l0, l1, l2, l3] = ttl.to_be_bytes();
        // Callers pass names and addresses, 261 octets at most.
        let [d0, d1] = (data.len() as u16).to_be_bytes();
        self.out
            .extend_from_slice(&[o0, o1, t0, t1, c0, c1, l0, l1, l2, l3, d0, d1]);
        self.out.extend_from_slice(data);
    }
}

/// Fisher and Yates over `count` records of `size` octets each.
fn shuffle(records: &mut [u8], size: usize, count: usize, rng: &mut Rng) {
    for i in (1..count).rev() {
        // Lossless: a zone's addresses are far fewer than 2^32.
        let j = rng.below(i as u32 + 1) as usize;
        if i != j {
            let (left, right) = records.split_at_mut(i * size);
            left[j * size..][..size].swap_with_slice(&mut right[..size]);
        }
    }
}

//! The form of the table: which slots a station may have, and what is in one.
//!
//! Owns the order in which slots change: who looks between two changes finds of a station what was there
//! before, what is there afterwards, or nothing. A program that looks while they change may take one side
//! of a station that is on both for a frame, and never what is another's. A slot is one word, which is
//! read and written whole. One at a time changes them.

use super::Entry;
use crate::netlink::link::TUNNEL_INDEX;
use std::sync::atomic::{AtomicU64, Ordering};
use vw_hoststate::Station;
use vw_model::MacAddr;

/// Slots of a bucket, which a processor fetches at once.
pub(super) const DEPTH: usize = 8;
/// Of an address, how many bits tell the bucket.
const BUCKET_BITS: u32 = 12;
/// How many slots there are: 256 KiB. Of 16,384 stations with addresses by chance one in a hundred
/// finds its bucket full, of 10,000 one in a thousand, of 1,000 none.
pub(super) const SLOTS: usize = DEPTH << BUCKET_BITS;

/// Of a slot's word, how many bits tell the link: those of its index that come last. The others tell
/// what the bucket does not of the address. A link whose index has more of them than the kind of its
/// station has no entry: a pair's where a namespace made 134 million links.
const LINK_BITS: u32 = 28;
/// What they are less than.
pub(super) const LINK_END: u32 = 1 << LINK_BITS;
/// Which of them tells a tunnel, and a station that lies elsewhere, from a pair's end.
pub(super) const ELSEWHERE: u32 = 1 << (LINK_BITS - 1);
/// What a tunnel's index has besides them.
pub(super) const BEYOND: u32 = TUNNEL_INDEX & !(LINK_END - 1);
const _: () = assert!(
    TUNNEL_INDEX & ELSEWHERE == ELSEWHERE,
    "no pair's end has it"
);

/// What an address has besides as a number.
const UNUSED_BITS: u32 = 16;
/// An odd factor spreads addresses that are counted up, and leads each to another number: the golden
/// section's, so that neighbours lie far from each other.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;
/// What it is undone by.
const GATHER: u64 = inverse(SPREAD);
/// Has the bits of an address's number that count above the others.
pub(super) const FACTOR: u64 = SPREAD << UNUSED_BITS;
/// How far the bucket is to be found behind those bits, and the rest before them.
pub(super) const TO_BUCKET: u32 = u64::BITS - BUCKET_BITS;
pub(super) const TO_REST: u32 = BUCKET_BITS;

/// The table's memory.
#[derive(Debug, Clone, Copy)]
pub(super) struct Slots<'a>(pub(super) &'a [AtomicU64]);

impl<'a> Slots<'a> {
    /// Sets an entry, as [`put`] says.
    pub(super) fn put(self, entry: &Entry) {
        put(self.bucket(entry.mac), entry);
    }

    /// The link that a station's entry leads to.
    pub(super) fn link_to(self, mac: MacAddr, station: Station) -> Option<u32> {
        let bucket = self.bucket(mac);
        find(bucket, mac, station).map(|slot| link(read(&bucket[slot])).1)
    }

    /// Removes a station's entry, if it is there.
    pub(super) fn remove(self, mac: MacAddr, station: Station) {
        let bucket = self.bucket(mac);
        if let Some(slot) = find(bucket, mac, station) {
            write(&bucket[slot], 0);
        }
    }

    /// All entries, bucket by bucket.
    pub(super) fn entries(self) -> Vec<Entry> {
        let words = self.0.iter().map(read).enumerate();
        let taken = words.filter(|(_, word)| *word != 0);
        let entries = taken.map(|(slot, word)| {
            let (station, index) = link(word);
            Entry {
                mac: address((slot / DEPTH) as u64, word),
                station,
                index,
            }
        });
        entries.collect()
    }

    fn bucket(self, mac: MacAddr) -> &'a [AtomicU64] {
        &self.0[bucket(mac) * DEPTH..][..DEPTH]
    }
}

/// Whether one is left out beside those of these entries, as [`Slots::entries`] tells them, that stay.
pub(super) fn leaves_out(
    wanted: &Entry,
    entries: &[Entry],
    stays: impl Fn(&Entry) -> bool,
) -> bool {
    let own = bucket(wanted.mac);
    let start = entries.partition_point(|entry| bucket(entry.mac) < own);
    let beside = entries[start..].iter();
    let beside = beside.take_while(|entry| bucket(entry.mac) == own);
    let slots = [const { AtomicU64::new(0) }; DEPTH];
    for (slot, entry) in slots.iter().zip(beside.filter(|entry| stays(entry))) {
        write(slot, word(entry).unwrap_or_default());
    }
    put(&slots, wanted);
    find(&slots, wanted.mac, wanted.station).is_none()
}

/// Sets an entry in its bucket. One that there is no room for is left out, as is one whose link no slot can
/// tell; one that is here takes the place of its own that leads elsewhere then.
fn put(bucket: &[AtomicU64], entry: &Entry) {
    let Entry { mac, station, .. } = *entry;
    let (same, other) = (
        find(bucket, mac, station),
        find(bucket, mac, opposite(station)),
    );
    let Some(word) = word(entry) else {
        if let Some(slot) = same {
            write(&bucket[slot], 0);
        }
        return;
    };
    let free = bucket.iter().position(|slot| read(slot) == 0);
    match (same, free, other) {
        (Some(slot), ..) | (None, Some(slot), None) => write(&bucket[slot], word),
        // The first one found is what counts: the one that is here. The free slot comes first, so
        // that there always is one.
        (None, Some(free), Some(taken)) => {
            let (here, elsewhere) = match station {
                Station::Here => (word, read(&bucket[taken])),
                Station::Elsewhere => (read(&bucket[taken]), word),
            };
            let first = free.min(taken);
            for slot in [free, taken] {
                write(&bucket[slot], if slot == first { here } else { elsewhere });
            }
        }
        (None, None, Some(taken)) if station == Station::Here => write(&bucket[taken], word),
        (None, None, _) => {}
    }
}

/// An address as a number, as the program reads it: four octets, and the two behind them.
fn number(mac: MacAddr) -> u64 {
    let [a, b, c, d, e, f] = mac.0;
    let (low, high) = (u32::from_ne_bytes([a, b, c, d]), u16::from_ne_bytes([e, f]));
    u64::from(low) | u64::from(high) << u32::BITS
}

fn bucket(mac: MacAddr) -> usize {
    (number(mac).wrapping_mul(FACTOR) >> TO_BUCKET) as usize
}

/// What the bucket does not tell of an address, where a word has it.
fn rest(mac: MacAddr) -> u64 {
    number(mac).wrapping_mul(FACTOR) << TO_REST
}

/// The address of an entry.
fn address(bucket: u64, word: u64) -> MacAddr {
    let rest = word >> LINK_BITS << LINK_BITS >> TO_REST;
    let spread = (bucket << TO_BUCKET | rest) >> UNUSED_BITS;
    let number = spread.wrapping_mul(GATHER);
    let [a, b, c, d] = (number as u32).to_ne_bytes();
    let [e, f] = ((number >> u32::BITS) as u16).to_ne_bytes();
    MacAddr([a, b, c, d, e, f])
}

fn word(entry: &Entry) -> Option<u64> {
    let word = rest(entry.mac) | u64::from(entry.index & (LINK_END - 1));
    Some(word).filter(|word| link(*word) == (entry.station, entry.index))
}

fn link(word: u64) -> (Station, u32) {
    let link = word as u32 & (LINK_END - 1);
    match link & ELSEWHERE {
        0 => (Station::Here, link),
        _ => (Station::Elsewhere, link | BEYOND),
    }
}

fn find(bucket: &[AtomicU64], mac: MacAddr, station: Station) -> Option<usize> {
    bucket.iter().position(|slot| {
        let word = read(slot);
        word != 0 && (word ^ rest(mac)) < LINK_END.into() && link(word).0 == station
    })
}

const fn opposite(station: Station) -> Station {
    match station {
        Station::Here => Station::Elsewhere,
        Station::Elsewhere => Station::Here,
    }
}

/// Nobody else writes.
fn read(slot: &AtomicU64) -> u64 {
    slot.load(Ordering::Relaxed)
}

/// Nobody sees a later one without the earlier ones.
fn write(slot: &AtomicU64, word: u64) {
    slot.store(word, Ordering::Release);
}

/// What an odd number times it is one, in 64 bits: each turn of Newton's doubles the bits that are
/// right, of which an odd number is its own inverse in the first three.
const fn inverse(odd: u64) -> u64 {
    let mut inverse = odd;
    let mut right = 3;
    while right < u64::BITS {
        inverse = inverse.wrapping_mul(2_u64.wrapping_sub(odd.wrapping_mul(inverse)));
        right *= 2;
    }
    inverse
}

#[cfg(test)]
mod tests;

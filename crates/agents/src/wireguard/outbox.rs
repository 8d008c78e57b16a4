//! Datagrams that wait to be sent, in one buffer, grouped as the system takes them.
//!
//! Owns the grouping: a run is datagrams of one size to one address, of which only the last may be
//! shorter, so that one call sends it (UDP_SEGMENT, since Linux 4.18).

use std::net::SocketAddr;

/// Datagrams in one call: the kernel's own limit up to Linux 6.9 (UDP_MAX_SEGMENTS).
const MOST_SEGMENTS: usize = 64;
/// Bytes in one call: what an IPv4 datagram carries.
const MOST_BYTES: usize = 65_507;
/// Bytes that wait before they are sent whatever else comes: two full runs.
const ENOUGH: usize = 2 * MOST_BYTES;

/// Consecutive datagrams for one address.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) to: SocketAddr,
    /// Each datagram's size but the last's.
    pub(crate) size: usize,
    /// All their bytes.
    pub(crate) bytes: usize,
    /// A shorter one ends it.
    closed: bool,
}

/// A buffer of datagrams.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    buffer: Vec<u8>,
    filled: usize,
    runs: Vec<Run>,
}

impl Outbox {
    /// Room for one datagram of up to `size` bytes; [`Self::commit`] makes it one.
    pub(crate) fn room(&mut self, size: usize) -> &mut [u8] {
        let end = self.filled + size;
        if self.buffer.len() < end {
            self.buffer.resize(end, 0);
        }
        &mut self.buffer[self.filled..end]
    }

    /// What was written into the first `size` bytes of the room is a datagram for `to`.
    pub(crate) fn commit(&mut self, to: SocketAddr, size: usize) {
        self.filled += size;
        if let Some(run) = self.runs.last_mut() {
            let fits = run.to == to
                && !run.closed
                && size <= run.size
                && run.bytes + size <= MOST_BYTES
                && run.bytes / run.size < MOST_SEGMENTS;
            if fits {
                run.bytes += size;
                run.closed = size < run.size;
                return;
            }
        }
        self.runs.push(Run {
            to,
            size,
            bytes: size,
            closed: false,
        });
    }

    /// Adds a datagram.
    pub(crate) fn push(&mut self, to: SocketAddr, datagram: &[u8]) {
        self.room(datagram.len()).copy_from_slice(datagram);
        self.commit(to, datagram.len());
    }

    /// Whether it should be sent before more is put in.
    pub(crate) const fn is_full(&self) -> bool {
        self.filled >= ENOUGH
    }

    /// Takes the runs with their bytes, and leaves it empty.
    pub(crate) fn drain(&mut self, mut send: impl FnMut(&Run, &[u8])) {
        let mut at = 0;
        for run in self.runs.drain(..) {
            send(&run, &self.buffer[at..at + run.bytes]);
            at += run.bytes;
        }
        self.filled = 0;
    }
}

#[cfg(test)]
mod tests;

//! The TUN link's packets, and how many of them go into the kernel in one write.
//!
//! Owns the header that precedes each (`struct virtio_net_hdr`) and the joining of datagrams: a
//! tunnel's datagrams of one flow and one size are written as one (`VIRTIO_NET_HDR_GSO_UDP_L4`,
//! Linux 6.2), which the kernel takes apart on its way to the socket. Their VXLAN device then joins
//! what they carry, so that a burst of TCP costs one passage of the stack.

use rustix::io::{Errno, read, write};
use std::os::fd::{AsFd, OwnedFd};

/// The length of the header.
pub(crate) const HEADER: usize = 10;
/// The longest packet with its header.
pub(crate) const LARGEST: usize = HEADER + 40 + u16::MAX as usize;
/// Of the header's flags: the checksum is to be completed.
const NEEDS_CHECKSUM: u8 = 1;
/// Of the header's kinds of joined packets: UDP, of one size.
const JOINED_UDP: u8 = 5;
/// Where a datagram's parts are in an IPv6 packet without extensions.
const UDP: usize = 40;
const UDP_LENGTH: usize = UDP + 4;
const UDP_CHECKSUM: usize = UDP + 6;
const PAYLOAD: usize = UDP + 8;
/// Datagrams in one packet: the kernel's own limit up to Linux 6.9 (UDP_MAX_SEGMENTS).
const MOST_SEGMENTS: usize = 64;

/// Packets that wait to be written, in one buffer.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    buffer: Vec<u8>,
    filled: usize,
    packets: Vec<Packet>,
}

/// One packet, or several joined.
#[derive(Debug)]
struct Packet {
    /// Where its header begins.
    at: usize,
    end: usize,
    /// Each datagram's bytes without its headers, where it can be joined.
    size: Option<usize>,
    segments: usize,
    closed: bool,
}

impl Inbox {
    /// Adds a packet.
    pub(crate) fn push(&mut self, packet: &[u8]) {
        let size = joinable(packet);
        if let Some(size) = size
            && self.join(packet, size)
        {
            return;
        }
        let at = self.filled;
        self.append(&[0; HEADER]);
        self.append(packet);
        self.packets.push(Packet {
            at,
            end: self.filled,
            size,
            segments: 1,
            closed: false,
        });
    }

    /// Adds a datagram to the one before it.
    fn join(&mut self, packet: &[u8], size: usize) -> bool {
        let Some(last) = self.packets.last_mut() else {
            return false;
        };
        let Some(each) = last.size else {
            return false;
        };
        let first = &self.buffer[last.at + HEADER..last.end];
        // Lengths and checksum apart, the headers are the flow.
        let same = first[..4] == packet[..4]
            && first[6..UDP_LENGTH] == packet[6..UDP_LENGTH]
            && size <= each
            && !last.closed
            && last.segments < MOST_SEGMENTS
            && first.len() - UDP + size <= usize::from(u16::MAX);
        if same {
            last.segments += 1;
            last.end += size;
            last.closed = size < each;
            self.append(&packet[PAYLOAD..]);
        }
        same
    }

    fn append(&mut self, bytes: &[u8]) {
        let end = self.filled + bytes.len();
        if self.buffer.len() < end {
            self.buffer.resize(end, 0);
        }
        self.buffer[self.filled..end].copy_from_slice(bytes);
        self.filled = end;
    }

    /// Writes all packets; answers how many of them the link would not take.
    pub(crate) fn write(&mut self, tun: &OwnedFd, headers: bool) -> u64 {
        let mut refused = 0;
        for packet in self.packets.drain(..) {
            let bytes = &mut self.buffer[packet.at..packet.end];
            if packet.segments > 1 {
                seal(bytes, packet.size.unwrap_or_default());
            }
            let bytes = if headers { &*bytes } else { &bytes[HEADER..] };
            if put(tun, bytes).is_err() {
                refused += packet.segments as u64;
            }
        }
        self.filled = 0;
        refused
    }
}

/// Reads one packet into `room`, whose [`HEADER`] bytes come first; `None` when none waits.
pub(crate) fn take<'a>(
    tun: &OwnedFd,
    headers: bool,
    room: &'a mut [u8],
) -> Result<Option<&'a mut [u8]>, Errno> {
    let at = if headers { 0 } else { HEADER };
    loop {
        return match read(tun.as_fd(), &mut room[at..]) {
            Ok(size) if at + size > HEADER => Ok(Some(&mut room[HEADER..at + size])),
            Ok(_) | Err(Errno::INTR) => continue,
            Err(Errno::AGAIN) => Ok(None),
            Err(error) => Err(error),
        };
    }
}

fn put(tun: &OwnedFd, bytes: &[u8]) -> Result<(), Errno> {
    loop {
        match write(tun.as_fd(), bytes) {
            Err(Errno::INTR) => {}
            other => return other.map(drop),
        }
    }
}

/// A datagram's bytes without its headers, where others can be joined to it.
fn joinable(packet: &[u8]) -> Option<usize> {
    let is_udp = packet.len() > PAYLOAD && packet[0] >> 4 == 6 && packet[6] == 17;
    let size = u16::from_be_bytes([*packet.get(UDP_LENGTH)?, *packet.get(UDP_LENGTH + 1)?]);
    (is_udp && usize::from(size) == packet.len() - UDP).then(|| packet.len() - PAYLOAD)
}

/// Makes the headers say that datagrams of one size follow one another.
fn seal(packet: &mut [u8], size: usize) {
    let (header, packet) = packet.split_at_mut(HEADER);
    header[0] = NEEDS_CHECKSUM;
    header[1] = JOINED_UDP;
    // In the machine's own order, as everything in this header.
    header[2..4].copy_from_slice(&(PAYLOAD as u16).to_ne_bytes());
    header[4..6].copy_from_slice(&(size as u16).to_ne_bytes());
    header[6..8].copy_from_slice(&(UDP as u16).to_ne_bytes());
    header[8..10].copy_from_slice(&6_u16.to_ne_bytes());
    let length = (packet.len() - UDP) as u16;
    packet[4..6].copy_from_slice(&length.to_be_bytes());
    packet[UDP_LENGTH..UDP_LENGTH + 2].copy_from_slice(&length.to_be_bytes());
    let partial = pseudo_header_sum(packet, length);
    packet[UDP_CHECKSUM..UDP_CHECKSUM + 2].copy_from_slice(&partial.to_be_bytes());
}

/// The sum over an IPv6 datagram's addresses, length and protocol (RFC 8200, section 8.1), which
/// the kernel completes.
fn pseudo_header_sum(packet: &[u8], length: u16) -> u16 {
    let words = packet[8..40].chunks_exact(2);
    let sum: u32 = words
        .map(|word| u32::from(u16::from_be_bytes([word[0], word[1]])))
        .sum();
    let mut sum = sum + u32::from(length) + 17;
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

#[cfg(test)]
mod tests;

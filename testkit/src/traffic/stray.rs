//! A segment of a TCP connection that lies beyond what its receiver takes, as retransmissions and
//! reordering on a fast path make it: connection tracking takes it for no part of the connection.

use super::{Conversation, raw::Raw};
use crate::Host;
use rustix::net::ipproto;
use std::{
    io,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

const PATIENCE: Duration = Duration::from_secs(2);

/// How far beyond: more than any window.
const BEYOND: u32 = 0x2000_0000;

/// What is said to learn where the connection stands, in a line.
const SAID: &str = "where are we";

const PSH_ACK: u8 = 0x18;

/// Where a segment stands in its connection.
struct Segment {
    ports: (u16, u16),
    seq: u32,
    ack: u32,
    length: u32,
}

impl Segment {
    fn read(bytes: &[u8]) -> Option<Self> {
        let word = |at: usize| Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?));
        let long = |at: usize| Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
        let header = usize::from(bytes.get(12)? >> 4) * 4;
        Some(Self {
            ports: (word(0)?, word(2)?),
            seq: long(4)?,
            ack: long(8)?,
            length: u32::try_from(bytes.len().checked_sub(header)?).ok()?,
        })
    }

    /// With one octet of data (RFC 9293, section 3.1).
    fn write(&self, from: IpAddr, to: IpAddr) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend(self.ports.0.to_be_bytes());
        bytes.extend(self.ports.1.to_be_bytes());
        bytes.extend(self.seq.to_be_bytes());
        bytes.extend(self.ack.to_be_bytes());
        bytes.extend([5 << 4, PSH_ACK, 2, 0, 0, 0, 0, 0, b'x']);
        let sum = checksum(from, to, &bytes);
        bytes[16..18].copy_from_slice(&sum.to_be_bytes());
        bytes
    }
}

/// The Internet checksum over the pseudo header and the segment.
fn checksum(from: IpAddr, to: IpAddr, segment: &[u8]) -> u16 {
    let mut bytes = Vec::new();
    for addr in [from, to] {
        match addr {
            IpAddr::V4(addr) => bytes.extend(addr.octets()),
            IpAddr::V6(addr) => bytes.extend(addr.octets()),
        }
    }
    bytes.extend([0, 6, 0, segment.len() as u8]);
    bytes.extend(segment);
    let pairs = bytes.chunks(2);
    let sum = pairs.fold(0u32, |sum, pair| {
        let second = pair.get(1).copied().unwrap_or_default();
        sum + u32::from(u16::from_be_bytes([pair[0], second]))
    });
    let folded = (sum & 0xffff) + (sum >> 16);
    !((folded & 0xffff) + (folded >> 16)) as u16
}

/// Sends one to the client of a conversation, from the server's host and as from its socket `at`
/// there.
pub fn stray_answer(
    host: &Host,
    at: SocketAddr,
    conversation: &mut Conversation,
) -> io::Result<()> {
    let seen = conversation.answer.seen;
    let peer = SocketAddr::new(seen.ip().to_canonical(), seen.port());
    stray(host, (at, peer), conversation)
}

/// Sends one to the server of a conversation, from the client's host.
pub fn stray_question(host: &Host, conversation: &mut Conversation) -> io::Result<()> {
    let stream = conversation.stream.get_ref();
    let ends = (stream.local_addr()?, stream.peer_addr()?);
    stray(host, ends, conversation)
}

fn stray(
    host: &Host,
    (at, peer): (SocketAddr, SocketAddr),
    conversation: &mut Conversation,
) -> io::Result<()> {
    let raw = Raw::open(host, at.is_ipv4(), ipproto::TCP, PATIENCE)?;
    conversation.say(SAID)?;
    let mut said = 0;
    // A line may come in several.
    let heard = loop {
        let (bytes, from) = raw.receive()?;
        let segment = Segment::read(&bytes).ok_or(io::ErrorKind::InvalidData)?;
        if (from, segment.ports) == (peer.ip(), (peer.port(), at.port())) {
            said += segment.length as usize;
            if said > SAID.len() {
                break segment;
            }
        }
    };
    let beyond = Segment {
        ports: (at.port(), peer.port()),
        seq: heard.ack.wrapping_add(BEYOND),
        ack: heard.seq.wrapping_add(heard.length),
        length: 1,
    };
    raw.send(&beyond.write(at.ip(), peer.ip()), peer.ip())
}

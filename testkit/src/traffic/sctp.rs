//! The beginning of associations of SCTP, by packets made by hand: kernels without SCTP sockets
//! translate it all the same.
//!
//! Owns the first two packets of an association (RFC 9260, section 5.1), and no more of it.

use super::raw::Raw;
use crate::Host;
use rustix::net::ipproto;
use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU16, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// What does not answer within this is taken for unreachable.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often a server looks whether it should end.
const TICK: Duration = Duration::from_millis(50);

const INIT: u8 = 1;
const INIT_ACK: u8 = 2;

/// A packet with one chunk that opens an association, or answers to that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Packet {
    from: u16,
    to: u16,
    /// What the other side asked to be called by; 0 in the first packet.
    verification: u32,
    chunk: u8,
    /// What this side asks to be called by.
    tag: u32,
}

impl Packet {
    fn write(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend(self.from.to_be_bytes());
        bytes.extend(self.to.to_be_bytes());
        bytes.extend(self.verification.to_be_bytes());
        bytes.extend([0; 4]);
        // The acknowledgement must carry a cookie.
        let cookie: &[u8] = match self.chunk {
            INIT_ACK => &[0, 7, 0, 8, 1, 2, 3, 4],
            _ => &[],
        };
        bytes.extend([self.chunk, 0, 0, 20 + cookie.len() as u8]);
        bytes.extend(self.tag.to_be_bytes());
        // The window, one stream each way, the first number.
        bytes.extend([0, 1, 0, 0, 0, 1, 0, 1, 0, 0, 0, 1]);
        bytes.extend(cookie);
        let sum = checksum(&bytes);
        bytes[8..12].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    /// Nothing where it is another chunk, or the checksum is wrong.
    fn read(bytes: &[u8]) -> Option<Self> {
        let word = |at: usize| Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?));
        let long = |at: usize| Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
        let mut zeroed = bytes.to_vec();
        zeroed.get_mut(8..12)?.fill(0);
        let is_intact = long(8)?.swap_bytes() == checksum(&zeroed);
        is_intact.then_some(Self {
            from: word(0)?,
            to: word(2)?,
            verification: long(4)?,
            chunk: *bytes.get(12)?,
            tag: long(16)?,
        })
    }
}

/// CRC32c (RFC 9260, appendix A).
fn checksum(bytes: &[u8]) -> u32 {
    let mut sum = u32::MAX;
    for byte in bytes {
        sum ^= u32::from(*byte);
        for _ in 0..8 {
            sum = (sum >> 1) ^ (0x82f6_3b78 * (sum & 1));
        }
    }
    !sum
}

/// Acknowledges whatever association is opened to one port.
#[derive(Debug)]
pub struct Server {
    stop: Arc<AtomicBool>,
    threads: Vec<thread::JoinHandle<()>>,
}

/// What the server asks to be called by.
const SERVER: u32 = 0x5e7;

impl Server {
    /// Starts one in a namespace, over both IP versions.
    #[track_caller]
    #[must_use]
    pub fn start(host: &Host, port: u16) -> Self {
        let stop = Arc::<AtomicBool>::default();
        let serve = |v4| {
            let raw = Raw::open(host, v4, ipproto::SCTP, TICK).expect("root may open raw sockets");
            let stop = Arc::clone(&stop);
            thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    if let Ok((packet, peer)) = raw.receive()
                        && let Some(asked) = Packet::read(&packet)
                        && (asked.to, asked.chunk) == (port, INIT)
                    {
                        let reply = Packet {
                            from: asked.to,
                            to: asked.from,
                            verification: asked.tag,
                            chunk: INIT_ACK,
                            tag: SERVER,
                        };
                        // Who does not wait for it has left.
                        let _ = raw.send(&reply.write(), peer);
                    }
                }
            })
        };
        let threads = vec![serve(true), serve(false)];
        Self { stop, threads }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // A panic of it has failed the test by a missing answer.
            let _ = thread.join();
        }
    }
}

/// Where the next association comes from: each is led anew.
static PORT: AtomicU16 = AtomicU16::new(40000);

/// Whether a server acknowledges an association from a host, by the address it was asked at.
pub fn opens(from: &Host, to: &str) -> io::Result<bool> {
    let to: SocketAddr = to.parse().map_err(io::Error::other)?;
    let raw = Raw::open(from, to.is_ipv4(), ipproto::SCTP, TICK)?;
    let init = Packet {
        from: PORT.fetch_add(1, Ordering::Relaxed),
        to: to.port(),
        verification: 0,
        chunk: INIT,
        tag: 0xc11,
    };
    raw.send(&init.write(), to.ip())?;
    let until = Instant::now() + PATIENCE;
    while Instant::now() < until {
        // Its own packet comes back by the loopback, and a kernel with SCTP may answer too.
        if let Ok((packet, peer)) = raw.receive()
            && let Some(reply) = Packet::read(&packet)
            && reply.chunk == INIT_ACK
        {
            let expected = (to.port(), init.from, init.tag, SERVER, to.ip());
            let told = (reply.from, reply.to, reply.verification, reply.tag, peer);
            return Ok(told == expected);
        }
    }
    Ok(false)
}

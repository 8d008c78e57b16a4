//! Whether the kernels of other hosts answer: ICMP echo, which takes no daemon.
//!
//! Owns what such a packet looks like, and how often one is sent. It must not know what silence
//! means.

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    net::{
        AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, ipproto, recvfrom,
        sendto, socket_with,
    },
};
use std::{
    collections::BTreeSet,
    hash::{BuildHasher, RandomState},
    io,
    net::{IpAddr, SocketAddr},
    os::fd::OwnedFd,
    time::{Duration, Instant},
};

/// How often a host that does not answer is asked.
const TRIES: u32 = 3;
/// How long it has to answer each time.
const PATIENCE: Duration = Duration::from_millis(300);
/// How many are asked before what came is taken.
const AT_ONCE: usize = 64;
/// The header of an echo (RFC 792, RFC 4443).
const HEADER: usize = 8;
/// What tells answers to these questions from others.
const TOKEN: usize = 8;

/// One question, which all hosts are asked.
struct Question {
    bytes: [u8; HEADER + TOKEN],
    /// The type of an answer.
    answer: u8,
    is_v4: bool,
}

/// Who could be asked, and who of them answered.
#[derive(Debug, Default)]
pub struct Answers {
    /// Those to whom this host has a way.
    pub asked: BTreeSet<IpAddr>,
    /// Those that answered.
    pub answering: BTreeSet<IpAddr>,
}

/// Sends these addresses an echo from `from`, three times to who does not answer; returns after 900 ms,
/// and as soon as all have answered. Addresses of the other IP version are not asked.
///
/// # Errors
/// When there is no raw socket, which takes `CAP_NET_RAW`, or `from` is not this host's.
pub fn ask(from: IpAddr, hosts: &BTreeSet<IpAddr>) -> io::Result<Answers> {
    let (family, protocol) = match from {
        IpAddr::V4(_) => (AddressFamily::INET, ipproto::ICMP),
        IpAddr::V6(_) => (AddressFamily::INET6, ipproto::ICMPV6),
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(family, SocketType::RAW, flags, Some(protocol))?;
    bind(&socket, &SocketAddr::new(from, 0))?;
    let question = Question::new(from.is_ipv4());
    let alike = hosts.iter().filter(|at| at.is_ipv4() == from.is_ipv4());
    let mut silent: BTreeSet<IpAddr> = alike.copied().collect();
    let mut answers = Answers::default();
    for _ in 0..TRIES {
        let asked: Vec<IpAddr> = silent.iter().copied().collect();
        for some in asked.chunks(AT_ONCE) {
            for at in some {
                let to = SocketAddr::new(*at, 0);
                let sent = sendto(&socket, &question.bytes, SendFlags::empty(), &to);
                // Where there is no way now there may be one the next time.
                if sent.is_ok() {
                    answers.asked.insert(*at);
                }
            }
            // What comes meanwhile finds room.
            let now = Instant::now();
            question.listen(&socket, now, &mut silent, &mut answers)?;
        }
        let until = Instant::now() + PATIENCE;
        question.listen(&socket, until, &mut silent, &mut answers)?;
    }
    Ok(answers)
}

/// Waits until something comes, or it is this late.
fn is_readable(socket: &OwnedFd, until: Instant) -> io::Result<bool> {
    let left = until.saturating_duration_since(Instant::now());
    let left = Timespec {
        tv_sec: 0,
        tv_nsec: left.subsec_nanos().into(),
    };
    match poll(&mut [PollFd::new(socket, PollFlags::IN)], Some(&left)) {
        Ok(ready) => Ok(ready > 0),
        Err(Errno::INTR) => Ok(true),
        Err(error) => Err(error.into()),
    }
}

impl Question {
    fn new(is_v4: bool) -> Self {
        let (ask, answer) = if is_v4 { (8, 0) } else { (128, 129) };
        let mut bytes = [0; HEADER + TOKEN];
        bytes[0] = ask;
        bytes[HEADER..].copy_from_slice(&RandomState::new().hash_one(()).to_be_bytes());
        bytes.copy_within(HEADER..HEADER + 4, 4);
        if is_v4 {
            // Over IPv6 the kernel does this, as it covers the addresses (raw(7), RFC 3542).
            let sum = checksum(&bytes);
            bytes[2..4].copy_from_slice(&sum.to_be_bytes());
        }
        Self {
            bytes,
            answer,
            is_v4,
        }
    }

    /// Takes answers until it is this late, at least those that are there, or all have answered.
    fn listen(
        &self,
        socket: &OwnedFd,
        until: Instant,
        silent: &mut BTreeSet<IpAddr>,
        answers: &mut Answers,
    ) -> io::Result<()> {
        while !silent.is_empty() && is_readable(socket, until)? {
            if let Some(at) = self.answered(socket)
                && silent.remove(&at)
            {
                answers.answering.insert(at);
            }
        }
        Ok(())
    }

    /// Who answered, if the next packet is an answer.
    fn answered(&self, socket: &OwnedFd) -> Option<IpAddr> {
        let mut room = [0; 128];
        let (_, length, from) = recvfrom(socket, &mut room[..], RecvFlags::DONTWAIT).ok()?;
        let from = SocketAddr::try_from(from?).ok()?.ip();
        let packet = room.get(..length)?;
        // Only over IPv4 does a raw socket show the header of IP.
        let skipped = match self.is_v4 {
            true => usize::from(*packet.first()? & 0x0f) * 4,
            false => 0,
        };
        let echo = packet.get(skipped..)?;
        let is_answer = echo.first() == Some(&self.answer) && echo.get(4..) == self.bytes.get(4..);
        is_answer.then_some(from)
    }
}

/// RFC 1071, of an even number of bytes.
fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks_exact(2);
    let mut sum: u32 = words
        .map(|word| u32::from(u16::from_be_bytes([word[0], word[1]])))
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests;

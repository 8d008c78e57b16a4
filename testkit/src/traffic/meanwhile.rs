//! Connections that are made while something else is done, and what becomes of each.
//!
//! A packet that was lost is told by its being sent again, which the kernel counts: the time that a
//! connection took tells of the machine's load as well.

use super::Conversation;
use crate::Host;
use std::{
    io,
    net::TcpStream,
    os::fd::AsRawFd,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

/// What became of the connections from one host to one address.
#[derive(Debug, Default)]
pub struct Outcome {
    /// How many there were.
    pub asked: usize,
    /// What was wrong with those that failed or lost a packet.
    pub bad: Vec<String>,
}

/// Says that it is over, also when what went on meanwhile panicked.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Does something while each host asks its address, one connection after the other: `ask` makes
/// one in the host's namespace and says what is wrong with it. Answers what became of each way's.
pub fn meanwhile<A: Sync, T>(
    ways: &[(&Host, A)],
    ask: impl Fn(&A) -> Result<(), String> + Sync,
    work: impl FnOnce() -> T,
) -> (T, Vec<Outcome>) {
    let (over, ask) = (AtomicBool::new(false), &ask);
    let run = |to| {
        let mut outcome = Outcome::default();
        while !over.load(Ordering::Relaxed) {
            outcome.asked += 1;
            outcome.bad.extend(ask(to).err());
            crate::eventually::let_others_run();
        }
        outcome
    };
    thread::scope(|scope| {
        let asking: Vec<_> = ways
            .iter()
            .map(|(from, to)| scope.spawn(|| from.enter(|| run(to))))
            .collect();
        let done = {
            let _over = Over(&over);
            work()
        };
        let outcomes = asking.into_iter().map(|one| match one.join() {
            Ok(outcome) => outcome,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        (done, outcomes.collect())
    })
}

/// Asks a server of [`Server::tcp`](super::Server::tcp) who it is, from the namespace of the calling
/// thread.
///
/// # Errors
/// What failed, or that a packet was lost: until the answer came, the client or the server had
/// sent one again.
pub fn without_loss(to: &String) -> Result<(), String> {
    let asked = Conversation::to(to).and_then(|talk| talk.sent_again());
    match asked {
        Ok(0) => Ok(()),
        Ok(again) => Err(format!("to {to}: {again} packets were sent again")),
        Err(error) => Err(format!("to {to}: {error}")),
    }
}

/// How many packets the kernel has sent again on a connection, of this end: those that begin it
/// count (`tcpi_total_retrans` of tcp(7)).
///
/// # Errors
/// As `getsockopt`(2).
pub fn sent_again(stream: &TcpStream) -> io::Result<u32> {
    // SAFETY: all of it is integers, for which zero is a value.
    let mut info: libc::tcp_info = unsafe { std::mem::zeroed() };
    let mut length = size_of::<libc::tcp_info>() as libc::socklen_t;
    // SAFETY: the kernel writes `length` bytes at most, and `info` has as many.
    let got = unsafe {
        libc::getsockopt(
            stream.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            (&raw mut info).cast(),
            &raw mut length,
        )
    };
    match got {
        0 => Ok(info.tcpi_total_retrans),
        _ => Err(io::Error::last_os_error()),
    }
}

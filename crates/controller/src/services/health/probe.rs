//! One check: a connection, and for HTTP a question and the first line of its answer.

use rustix::{
    event::{PollFd, PollFlags},
    io::Errno,
    net::{RecvFlags, SendFlags, connect, recv, send, sockopt},
};
use std::{
    net::SocketAddr,
    os::fd::{AsFd, OwnedFd},
    time::Instant,
};
use vw_model::{HealthSpec, Probe};

/// What is read of an answer at most: its first line is shorter.
const HEAD: usize = 256;

/// How a check is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Open,
    Well,
    Failed,
}

/// A check that goes on.
pub(super) struct Running {
    socket: Option<OwnedFd>,
    to: Option<SocketAddr>,
    deadline: Instant,
    asked: bool,
    answer: Vec<u8>,
}

pub(super) const fn port(probe: &Probe) -> u16 {
    match probe {
        Probe::Tcp { port } | Probe::Http { port, .. } => *port,
    }
}

impl Running {
    /// Begins to connect.
    pub(super) fn begin(socket: OwnedFd, to: SocketAddr, spec: &HealthSpec, now: Instant) -> Self {
        let begun = matches!(connect(&socket, &to), Ok(()) | Err(Errno::INPROGRESS));
        Self {
            socket: begun.then_some(socket),
            to: Some(to),
            deadline: now + spec.timeout,
            asked: false,
            answer: Vec::new(),
        }
    }

    /// One that could not begin.
    pub(super) const fn failed(now: Instant) -> Self {
        Self {
            socket: None,
            to: None,
            deadline: now,
            asked: false,
            answer: Vec::new(),
        }
    }

    /// What is waited for.
    pub(super) fn poll(&self) -> Option<PollFd<'_>> {
        let flags = match self.asked {
            true => PollFlags::IN,
            false => PollFlags::OUT,
        };
        Some(PollFd::new(self.socket.as_ref()?, flags))
    }

    pub(super) const fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Does what can be done without waiting.
    pub(super) fn go_on(&mut self, probe: &Probe, now: Instant) -> Outcome {
        match self.step(probe) {
            Outcome::Open if now >= self.deadline => Outcome::Failed,
            outcome => outcome,
        }
    }

    fn step(&mut self, probe: &Probe) -> Outcome {
        let (Some(socket), Some(to)) = (&self.socket, self.to) else {
            return Outcome::Failed;
        };
        if !self.asked {
            match connected(socket) {
                None => return Outcome::Open,
                Some(false) => return Outcome::Failed,
                Some(true) => {}
            }
            let Probe::Http { path, .. } = probe else {
                return Outcome::Well;
            };
            let question = format!(
                "GET {path} HTTP/1.1\r\nHost: {to}\r\nUser-Agent: vethwork\r\nAccept: */*\r\nConnection: close\r\n\r\n"
            );
            // A buffer that is new takes so little at once.
            if send(socket, question.as_bytes(), SendFlags::NOSIGNAL).is_err() {
                return Outcome::Failed;
            }
            self.asked = true;
        }
        let mut buf = [0; HEAD];
        loop {
            match recv(socket, &mut buf, RecvFlags::empty()) {
                Ok((0, _)) => return judge(&self.answer, true),
                Ok((len, _)) => self.answer.extend_from_slice(&buf[..len]),
                Err(Errno::AGAIN | Errno::INTR) => return Outcome::Open,
                Err(_) => return Outcome::Failed,
            }
            let judged = judge(&self.answer, self.answer.len() >= HEAD);
            if judged != Outcome::Open {
                return judged;
            }
        }
    }
}

/// Whether a connection stands; `None` while it is not decided.
fn connected(socket: &OwnedFd) -> Option<bool> {
    let mut fds = [PollFd::new(socket, PollFlags::OUT)];
    let now = rustix::event::Timespec::default();
    if !matches!(rustix::event::poll(&mut fds, Some(&now)), Ok(1..)) {
        return None;
    }
    Some(matches!(sockopt::socket_error(socket.as_fd()), Ok(Ok(()))))
}

/// Reads the status of an answer; undecided until its first line is whole, unless it ended.
fn judge(answer: &[u8], ended: bool) -> Outcome {
    let line = answer
        .split(|byte| *byte == b'\n')
        .next()
        .unwrap_or_default();
    if line.len() == answer.len() && !ended {
        return Outcome::Open;
    }
    let text = String::from_utf8_lossy(line);
    let mut words = text.split_ascii_whitespace();
    let http = words.next().is_some_and(|word| word.starts_with("HTTP/1."));
    let status: Option<u16> = words.next().and_then(|word| word.parse().ok());
    match status {
        Some(200..=399) if http => Outcome::Well,
        _ => Outcome::Failed,
    }
}

#[cfg(test)]
mod tests;

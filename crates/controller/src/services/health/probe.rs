//! One check: a connection, and for HTTP a question and the first line of its answer.

use super::answer::Answer;
use rustix::{
    event::{PollFd, PollFlags},
    io::Errno,
    net::{RecvFlags, SendFlags, connect, recv, send, sockopt},
};
use std::{
    net::SocketAddr,
    os::fd::{AsFd, OwnedFd},
    time::{Duration, Instant},
};
use vw_model::{HealthSpec, Probe};

/// What is read of an answer at most: its first line is shorter.
const HEAD: usize = 256;

/// A check that goes on.
pub(super) struct Running {
    socket: OwnedFd,
    to: SocketAddr,
    /// Why it could not begin.
    refused: Option<Errno>,
    timeout: Duration,
    deadline: Instant,
    asked: bool,
    answer: Vec<u8>,
}

impl Running {
    /// Begins to connect.
    pub(super) fn begin(socket: OwnedFd, to: SocketAddr, spec: &HealthSpec, now: Instant) -> Self {
        let refused = connect(&socket, &to).err();
        Self {
            refused: refused.filter(|errno| *errno != Errno::INPROGRESS),
            socket,
            to,
            timeout: spec.timeout,
            deadline: now + spec.timeout,
            asked: false,
            answer: Vec::new(),
        }
    }

    /// What is waited for.
    pub(super) fn poll(&self) -> PollFd<'_> {
        let flags = match self.asked {
            true => PollFlags::IN,
            false => PollFlags::OUT,
        };
        PollFd::new(&self.socket, flags)
    }

    pub(super) const fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Does what can be done without waiting; `None` while it is not decided.
    pub(super) fn go_on(&mut self, probe: &Probe, now: Instant) -> Option<Answer> {
        let late = now >= self.deadline;
        self.step(probe)
            .or_else(|| late.then(|| Answer::late(self.timeout, &[])))
    }

    fn step(&mut self, probe: &Probe) -> Option<Answer> {
        if let Some(errno) = self.refused {
            return Some(failed("connect", self.to, errno));
        }
        if !self.asked {
            if let Err(errno) = connected(&self.socket)? {
                return Some(failed("connect", self.to, errno));
            }
            let Probe::Http { path, .. } = probe else {
                return Some(Answer::well(""));
            };
            let question = format!(
                "GET {path} HTTP/1.1\r\nHost: {}\r\nUser-Agent: vethwork\r\nAccept: */*\r\nConnection: close\r\n\r\n",
                self.to
            );
            // A buffer that is new takes so little at once.
            if let Err(errno) = send(&self.socket, question.as_bytes(), SendFlags::NOSIGNAL) {
                return Some(failed("send", self.to, errno));
            }
            self.asked = true;
        }
        let mut buf = [0; HEAD];
        loop {
            match recv(&self.socket, &mut buf, RecvFlags::empty()) {
                Ok((0, _)) => return judge(&self.answer, true),
                Ok((len, _)) => self.answer.extend_from_slice(&buf[..len]),
                Err(Errno::AGAIN | Errno::INTR) => return None,
                Err(errno) => return Some(failed("receive", self.to, errno)),
            }
            let judged = judge(&self.answer, self.answer.len() >= HEAD);
            if judged.is_some() {
                return judged;
            }
        }
    }
}

fn failed(what: &str, to: SocketAddr, errno: Errno) -> Answer {
    Answer::failed(format!("{what} {to}: {errno}"))
}

/// Whether a connection stands; `None` while it is not decided.
fn connected(socket: &OwnedFd) -> Option<Result<(), Errno>> {
    let mut fds = [PollFd::new(socket, PollFlags::OUT)];
    let now = rustix::event::Timespec::default();
    if !matches!(rustix::event::poll(&mut fds, Some(&now)), Ok(1..)) {
        return None;
    }
    Some(sockopt::socket_error(socket.as_fd()).and_then(|error| error))
}

/// Reads the status of an answer; undecided until its first line is whole, unless it ended.
fn judge(answer: &[u8], ended: bool) -> Option<Answer> {
    let line = answer
        .split(|byte| *byte == b'\n')
        .next()
        .unwrap_or_default();
    if line.len() == answer.len() && !ended {
        return None;
    }
    let text = String::from_utf8_lossy(line);
    let mut words = text.split_ascii_whitespace();
    let http = words.next().is_some_and(|word| word.starts_with("HTTP/1."));
    let status: Option<u16> = words.next().and_then(|word| word.parse().ok());
    match status {
        Some(200..=399) if http => Some(Answer::well(text.trim_end())),
        _ => Some(Answer::failed(text.trim_end())),
    }
}

#[cfg(test)]
mod tests;

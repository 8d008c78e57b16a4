//! conmon's attach socket: standard input to a process, its output back.
//!
//! Owns the message format (SOCK_SEQPACKET; the first byte of what comes names the
//! stream; what goes is raw). Framing for clients is a surface's business.

use crate::{
    error::{Context, Error, Result},
    layout::RunDir,
};
use rustix::{
    fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    fs::{Mode, OFlags},
    io::Errno,
    net::{
        AddressFamily, SendFlags, Shutdown, SocketAddrUnix, SocketFlags, SocketType, connect, send,
        shutdown, socket_with,
    },
};
use std::{io::IoSliceMut, sync::Arc};

/// A buffer of this size holds any message of conmon's; with a smaller one the rest of a
/// message is lost.
pub const ATTACH_MESSAGE: usize = 64 << 10;

/// conmon reads no more than 32 KiB at once, and would drop the rest of a message.
const MAX_SEND: usize = 8 << 10;

const STDOUT: u8 = 2;
const STDERR: u8 = 3;

/// Which output a piece came from. With a terminal all is [`Stream::Stdout`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// A connection to a process's terminal or pipes. Clones share it.
///
/// Whoever attaches must read: conmon waits for slow readers, and the process with it.
#[derive(Debug, Clone)]
pub struct AttachStream(Arc<OwnedFd>);

impl AttachStream {
    /// Connects to the socket in conmon's directory.
    pub(crate) fn connect(directory: &RunDir, who: &str) -> Result<Self> {
        let what = || format!("attach to {who}");
        let at = rustix::fs::open(
            directory.path(),
            OFlags::PATH | OFlags::CLOEXEC,
            Mode::empty(),
        );
        let at = at.map_err(|_| Error::NotRunning(who.to_owned()))?;
        // A socket's address holds 108 bytes, a path may be longer.
        let address = format!("/proc/self/fd/{}/attach", at.as_raw_fd());
        let address = SocketAddrUnix::new(address).context(what)?;
        let socket = socket_with(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )
        .context(what)?;
        match connect(&socket, &address) {
            Ok(()) => Ok(Self(Arc::new(socket))),
            Err(Errno::CONNREFUSED | Errno::NOENT) => Err(Error::NotRunning(who.to_owned())),
            Err(error) => Err(error).context(what),
        }
    }

    /// Receives one piece of output into the buffer, which should hold [`ATTACH_MESSAGE`]
    /// bytes; `None` when the process has ended and all was read.
    ///
    /// # Errors
    /// [`Error::Io`]; also `WouldBlock`, when a caller made the socket non-blocking.
    pub fn recv(&self, buffer: &mut [u8]) -> Result<Option<(Stream, usize)>> {
        loop {
            let mut first = [0];
            let mut parts = [IoSliceMut::new(&mut first), IoSliceMut::new(buffer)];
            match rustix::io::readv(&*self.0, &mut parts) {
                Ok(0) => return Ok(None),
                Ok(count) => match first[0] {
                    STDOUT => return Ok(Some((Stream::Stdout, count - 1))),
                    STDERR => return Ok(Some((Stream::Stderr, count - 1))),
                    _ => {}
                },
                // conmon left without having read all input: the kernel says so once, before
                // the messages that still wait here, and an end follows those.
                Err(Errno::INTR | Errno::CONNRESET) => {}
                Err(error) => return Err(error).context(|| "read from conmon".to_owned()),
            }
        }
    }

    /// Sends to standard input; waits while the process does not read.
    ///
    /// # Errors
    /// [`Error::Io`] with `BrokenPipe` when the process has ended.
    pub fn send(&self, data: &[u8]) -> Result<()> {
        for piece in data.chunks(MAX_SEND) {
            while let Err(error) = send(&*self.0, piece, SendFlags::NOSIGNAL) {
                if error != Errno::INTR {
                    return Err(error).context(|| "write to conmon".to_owned());
                }
            }
        }
        Ok(())
    }

    /// Says that no more input comes. Output goes on.
    ///
    /// Whether the process's standard input ends by it was decided when it was created
    /// (`StdinOnce`).
    pub fn close_stdin(&self) {
        // Fails only when the other side has gone already.
        let _ = shutdown(&*self.0, Shutdown::Write);
    }

    /// Gives up the connection for all clones: a blocked [`AttachStream::recv`] returns `None`.
    pub fn close(&self) {
        let _ = shutdown(&*self.0, Shutdown::Both);
    }
}

impl AsFd for AttachStream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests;

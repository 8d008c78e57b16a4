//! The user's standard streams joined to a container's or an exec's.

use super::{Demux, Error, frames::Stream, terminal::RawMode};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use std::{
    io::{self, Read, Write},
    str::FromStr,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf},
    sync::mpsc,
};

/// How much is moved at once.
const PIECE: usize = 32 << 10;

type Connection = TokioIo<Upgraded>;

/// Keys that leave a terminal without ending what runs there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DetachKeys {
    /// As they were written.
    text: String,
    keys: Vec<u8>,
}

impl DetachKeys {
    /// Docker's own.
    pub(crate) const DEFAULT: &str = "ctrl-p,ctrl-q";

    /// As they were written, unless they are Docker's: the daemon has to know others, as it looks
    /// for them as well.
    pub(crate) fn custom(&self) -> Option<&str> {
        Some(self.text.as_str()).filter(|text| *text != Self::DEFAULT)
    }
}

impl FromStr for DetachKeys {
    type Err = String;

    /// `ctrl-X` or single characters, separated by commas; empty for none.
    fn from_str(text: &str) -> Result<Self, String> {
        let keys = text
            .split(',')
            .filter(|_| !text.is_empty())
            .map(|key| match key.as_bytes() {
                [byte] => Ok(*byte),
                key => match key.strip_prefix(b"ctrl-") {
                    Some(b"@") => Ok(0),
                    Some([letter @ b'a'..=b'z']) => Ok(letter - b'a' + 1),
                    Some([sign @ (b'[' | b'\\' | b']' | b'^' | b'_')]) => Ok(sign - b'@'),
                    _ => Err(format!(
                        "Unknown character: '{}': use ctrl- and a letter or one of @[\\]^_, or a \
                     single character",
                        String::from_utf8_lossy(key)
                    )),
                },
            });
        let keys = keys.collect::<Result<_, _>>()?;
        let text = text.to_owned();
        Ok(Self { text, keys })
    }
}

/// How a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// The other side is done.
    Closed,
    /// The user pressed the detach keys.
    Detached,
}

/// What is joined.
#[derive(Debug)]
pub(crate) struct Session {
    /// Whether the other side has a terminal.
    pub(crate) tty: bool,
    /// Whether standard input goes there.
    pub(crate) stdin: bool,
    /// What detaches, where there is a terminal.
    pub(crate) keys: DetachKeys,
}

impl Session {
    /// Moves bytes until one side is done; the user's terminal is raw meanwhile.
    ///
    /// # Errors
    /// When the connection or standard output breaks.
    pub(crate) async fn run(self, connection: Connection) -> Result<Ended, Error> {
        let raw = if self.tty && self.stdin {
            RawMode::enter().map_err(Error::Stream)?
        } else {
            None
        };
        let (from, to) = tokio::io::split(connection);
        let keys = if self.tty { self.keys.keys } else { Vec::new() };
        let ended = tokio::select! {
            done = output(from, self.tty) => done.map(|()| Ended::Closed),
            () = input(to, self.stdin, keys) => Ok(Ended::Detached),
        };
        drop(raw);
        ended.map_err(Error::Stream)
    }
}

/// Writes what comes until it ends.
async fn output(mut from: ReadHalf<Connection>, tty: bool) -> io::Result<()> {
    let mut buffer = vec![0; PIECE];
    let mut demux = Demux::default();
    let (mut out, mut err) = (io::stdout(), io::stderr());
    loop {
        let count = from.read(&mut buffer).await?;
        if count == 0 {
            return Ok(());
        }
        let bytes = &buffer[..count];
        if tty {
            out.write_all(bytes)?;
        } else {
            demux.feed(bytes, |stream, bytes| match stream {
                Stream::Out => out.write_all(bytes),
                Stream::Err | Stream::Daemon => err.write_all(bytes),
            })?;
        }
        out.flush()?;
    }
}

/// Sends standard input and half-closes after it. Ends only when the user detached: whether the
/// other side goes on is for its output to tell.
async fn input(mut to: WriteHalf<Connection>, stdin: bool, keys: Vec<u8>) {
    let mut watch = KeyWatch::new(keys);
    let mut pieces = stdin.then(read_stdin);
    while let Some(pieces) = &mut pieces {
        let Some(piece) = pieces.recv().await else {
            break;
        };
        let (send, detached) = watch.feed(&piece);
        // What no longer reads is about to end.
        if to.write_all(&send).await.is_err() || to.flush().await.is_err() {
            break;
        }
        if detached {
            return;
        }
    }
    let _ = to.shutdown().await;
    std::future::pending().await
}

/// Reads standard input in a thread of its own, which lives as long as the program: nothing
/// interrupts a read from a terminal.
fn read_stdin() -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel(1);
    std::thread::spawn(move || {
        let mut stdin = io::stdin().lock();
        let mut buffer = vec![0; PIECE];
        loop {
            match stdin.read(&mut buffer) {
                Ok(0) => return,
                Ok(count) if sender.blocking_send(buffer[..count].to_vec()).is_err() => return,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
    });
    receiver
}

/// Looks for the detach keys in what is typed, and holds them back.
#[derive(Debug)]
struct KeyWatch {
    keys: Vec<u8>,
    seen: usize,
}

impl KeyWatch {
    const fn new(keys: Vec<u8>) -> Self {
        Self { keys, seen: 0 }
    }

    /// What is to be sent, and whether the keys were completed.
    fn feed(&mut self, bytes: &[u8]) -> (Vec<u8>, bool) {
        let mut send = Vec::with_capacity(bytes.len() + self.seen);
        for &byte in bytes {
            if self.keys.get(self.seen) == Some(&byte) {
                self.seen += 1;
                if self.seen == self.keys.len() {
                    return (send, true);
                }
                continue;
            }
            send.extend_from_slice(&self.keys[..self.seen]);
            self.seen = 0;
            if self.keys.first() == Some(&byte) && self.keys.len() > 1 {
                self.seen = 1;
            } else {
                send.push(byte);
            }
        }
        (send, false)
    }
}

#[cfg(test)]
mod tests;

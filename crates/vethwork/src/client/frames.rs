//! Docker's framing of two output streams over one connection.
//!
//! A frame is a byte for the stream (0 stdin, 1 stdout, 2 stderr, 3 an error of the daemon), three
//! of zero, the payload's length in four bytes, highest first, and the payload.

use std::io;

const HEADER: usize = 8;

/// Which stream bytes belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
    /// Standard output.
    Out,
    /// Standard error.
    Err,
    /// A sentence of the daemon that ends the stream.
    Daemon,
}

/// Takes frames apart, whatever pieces they come in.
#[derive(Debug, Default)]
pub(crate) struct Demux {
    header: Vec<u8>,
    stream: Option<Stream>,
    left: usize,
}

impl Demux {
    /// Hands the payloads in `bytes` to `write`, in order and without copying them.
    ///
    /// # Errors
    /// What `write` returns; `InvalidData` for an unknown stream.
    pub(crate) fn feed(
        &mut self,
        mut bytes: &[u8],
        mut write: impl FnMut(Stream, &[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        while !bytes.is_empty() {
            let stream = match self.stream {
                Some(stream) => stream,
                None => {
                    let take = bytes.len().min(HEADER - self.header.len());
                    self.header.extend_from_slice(&bytes[..take]);
                    bytes = &bytes[take..];
                    self.begin()?;
                    continue;
                }
            };
            let (payload, rest) = bytes.split_at(bytes.len().min(self.left));
            write(stream, payload)?;
            bytes = rest;
            self.left -= payload.len();
            if self.left == 0 {
                self.stream = None;
            }
        }
        Ok(())
    }

    /// Starts a payload once its header is whole.
    fn begin(&mut self) -> io::Result<()> {
        let &[stream, _, _, _, a, b, c, d] = self.header.as_slice() else {
            return Ok(());
        };
        let stream = match stream {
            0 | 1 => Stream::Out,
            2 => Stream::Err,
            3 => Stream::Daemon,
            other => {
                let message = format!("unrecognized input header: {other}");
                return Err(io::Error::new(io::ErrorKind::InvalidData, message));
            }
        };
        self.header.clear();
        self.left = u32::from_be_bytes([a, b, c, d]) as usize;
        self.stream = (self.left > 0).then_some(stream);
        Ok(())
    }
}

#[cfg(test)]
mod tests;

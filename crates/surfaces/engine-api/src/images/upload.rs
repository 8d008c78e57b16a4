//! A request's body as a blocking reader.

use http_body_util::BodyExt;
use hyper::body::{Bytes, Incoming};
use std::io::{self, Read};
use tokio::sync::mpsc;

/// How many pieces wait for a slow reader before the client is held back.
const PIECES: usize = 16;

/// Reads what the client sends, for a thread that may block.
///
/// Ends with an error when the connection breaks, so that half an archive is never taken for a
/// whole one. Must be called on the runtime that the body belongs to.
pub(super) fn reader(mut body: Incoming) -> impl Read + Send + 'static {
    let (sender, pieces) = mpsc::channel(PIECES);
    tokio::task::spawn_local(async move {
        while let Some(frame) = body.frame().await {
            let piece = match frame {
                Ok(frame) => frame.into_data().map_err(|_| None),
                Err(error) => Err(Some(error)),
            };
            let piece = match piece {
                Ok(data) => Ok(data),
                // Trailers carry nothing of an archive.
                Err(None) => continue,
                Err(Some(error)) => Err(io::Error::other(error)),
            };
            if sender.send(piece).await.is_err() {
                return;
            }
        }
    });
    Upload {
        pieces,
        rest: Bytes::new(),
    }
}

struct Upload {
    pieces: mpsc::Receiver<io::Result<Bytes>>,
    rest: Bytes,
}

impl Read for Upload {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.rest.is_empty() {
            match self.pieces.blocking_recv() {
                Some(piece) => self.rest = piece?,
                None => return Ok(0),
            }
        }
        let length = buffer.len().min(self.rest.len());
        let taken = self.rest.split_to(length);
        buffer[..length].copy_from_slice(&taken);
        Ok(length)
    }
}

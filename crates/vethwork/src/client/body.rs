//! Bodies: what is sent, whole or in pieces, and an answer read piece by piece.

use super::Error;
use http_body_util::BodyExt;
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};
use tokio::sync::mpsc;

/// What a request carries.
#[derive(Debug)]
pub(crate) enum Sent {
    /// All of it, taken when sent.
    Whole(Option<Bytes>),
    /// Pieces until the sender is dropped.
    Pieces(mpsc::Receiver<io::Result<Bytes>>),
}

impl Body for Sent {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        match self.get_mut() {
            Self::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Pieces(pieces) => pieces
                .poll_recv(context)
                .map(|piece| piece.map(|piece| piece.map(Frame::data))),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(None))
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Self::Pieces(_) => SizeHint::default(),
        }
    }
}

/// An answer that comes in pieces.
#[derive(Debug)]
pub(crate) struct Answer {
    body: Incoming,
    /// The start of a line whose end has not come yet.
    partial: Vec<u8>,
}

impl Answer {
    pub(super) const fn new(body: Incoming) -> Self {
        Self {
            body,
            partial: Vec::new(),
        }
    }

    /// The next bytes; `None` at the end.
    ///
    /// # Errors
    /// When the connection breaks.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        while let Some(frame) = self.body.frame().await {
            if let Ok(bytes) = frame?.into_data() {
                return Ok(Some(bytes));
            }
        }
        Ok(None)
    }

    /// The next line, without its end and not empty; `None` at the end.
    ///
    /// # Errors
    /// When the connection breaks.
    pub(crate) async fn line(&mut self) -> Result<Option<String>, Error> {
        loop {
            if let Some(end) = self.partial.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.partial.drain(..=end).collect();
                let line = String::from_utf8_lossy(&line).trim().to_owned();
                if !line.is_empty() {
                    return Ok(Some(line));
                }
                continue;
            }
            match self.next().await? {
                Some(bytes) => self.partial.extend_from_slice(&bytes),
                None if self.partial.is_empty() => return Ok(None),
                None => self.partial.push(b'\n'),
            }
        }
    }
}

//! Streams between the controller's blocking channels and connections.
//!
//! Owns the framing of standard output and error in one stream, and the threads that stand
//! between a blocking channel and an asynchronous one. Streams may last as long as a container
//! does, so they have threads of their own rather than places in tokio's bounded blocking pool.

mod detach;
#[cfg(test)]
mod tests;

pub(crate) use detach::DetachKeys;

use crate::{
    body::{Body, typed_response},
    version::ApiVersion,
};
use http_body_util::BodyExt;
use hyper::{
    Response, StatusCode, Version,
    body::{Bytes, Incoming},
    header::{CONNECTION, CONTENT_TYPE, HeaderValue, UPGRADE},
    upgrade::OnUpgrade,
};
use hyper_util::rt::TokioIo;
use std::{
    io::Write,
    sync::mpsc::{Receiver, RecvTimeoutError},
    thread,
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    sync::mpsc,
};
use vw_controller::command::{Attached, Chunk};

/// How much output waits for a slow client before its source is held back.
const PIECES: usize = 64;
/// The most of standard input that is read at once.
const INPUT: usize = 32 << 10;
/// How often a silent stream looks whether its client has left: a blocking channel cannot be
/// waited on together with that.
const PROBE: Duration = Duration::from_secs(1);

/// Bytes with a terminal or unframed.
const RAW: &str = "application/vnd.docker.raw-stream";
/// Framed standard output and error, told apart from [`RAW`] from API 1.42 on.
const MULTIPLEXED: &str = "application/vnd.docker.multiplexed-stream";

/// Which of the output a client wants, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Output {
    /// Standard output.
    pub(crate) stdout: bool,
    /// Standard error.
    pub(crate) stderr: bool,
    /// A terminal: no frames.
    pub(crate) tty: bool,
}

impl Output {
    /// The content type that an API version has for it.
    pub(crate) fn content_type(self, version: ApiVersion) -> &'static str {
        if !self.tty && version >= ApiVersion::v1(42) {
            MULTIPLEXED
        } else {
            RAW
        }
    }

    /// A chunk as it is sent; `None` when it is not wanted.
    ///
    /// A frame is one byte for the stream (1 output, 2 error), three of zero and the payload's
    /// length in network order (moby's `stdcopy`).
    fn encode(self, chunk: Chunk) -> Option<Bytes> {
        if self.tty {
            return Some(chunk.bytes.into());
        }
        if !(if chunk.stderr {
            self.stderr
        } else {
            self.stdout
        }) {
            return None;
        }
        let length = u32::try_from(chunk.bytes.len())
            .unwrap_or(u32::MAX)
            .to_be_bytes();
        let mut frame = Vec::with_capacity(8 + chunk.bytes.len());
        frame.extend_from_slice(&[1 + u8::from(chunk.stderr), 0, 0, 0]);
        frame.extend_from_slice(&length);
        frame.extend_from_slice(&chunk.bytes);
        Some(frame.into())
    }
}

/// Moves what a blocking channel gives to an asynchronous one, on a thread of its own, until
/// either end is gone.
pub(crate) fn forward<T: Send + 'static>(
    name: &str,
    from: Receiver<T>,
    to: mpsc::Sender<Bytes>,
    mut encode: impl FnMut(T) -> Option<Bytes> + Send + 'static,
) {
    let forwarding = move || {
        loop {
            match from.recv_timeout(PROBE) {
                Ok(item) => {
                    let Some(bytes) = encode(item) else { continue };
                    if to.blocking_send(bytes).is_err() {
                        return;
                    }
                }
                Err(RecvTimeoutError::Timeout) if !to.is_closed() => {}
                Err(_) => return,
            }
        }
    };
    spawn(name, forwarding);
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) {
    if let Err(error) = thread::Builder::new()
        .name(format!("api-{name}"))
        .spawn(work)
    {
        // What the thread would have fed ends, which its reader sees as the stream's end.
        tracing::error!(%error, name, "no thread for a stream");
    }
}

/// Output as pieces of a body or a connection.
fn output(attached: Receiver<std::io::Result<Chunk>>, wanted: Output) -> mpsc::Receiver<Bytes> {
    let (sender, receiver) = mpsc::channel(PIECES);
    forward("output", attached, sender, move |chunk| match chunk {
        Ok(chunk) => wanted.encode(chunk),
        Err(error) => {
            let text = format!("Error grabbing logs: {error}\n").into_bytes();
            wanted.encode(Chunk {
                stderr: true,
                bytes: text,
            })
        }
    });
    receiver
}

/// What a two-way stream runs over.
#[derive(Debug)]
pub(crate) enum Channel {
    /// The connection itself (`Upgrade: tcp`).
    Connection(OnUpgrade),
    /// The answer's body, and the request's where that is still to be read.
    Exchange(Option<Incoming>),
}

impl Channel {
    /// The connection when the client asked for it.
    pub(crate) fn of(upgrade: Option<OnUpgrade>, request: Option<Incoming>) -> Self {
        match upgrade {
            Some(upgrade) => Self::Connection(upgrade),
            None => Self::Exchange(request),
        }
    }
}

/// Feeds standard input from a request's body.
async fn feed(mut request: Incoming, sink: Box<dyn Write + Send>) {
    let sender = input_thread(sink);
    while let Some(Ok(frame)) = request.frame().await {
        // Trailers are no input.
        let Ok(data) = frame.into_data() else {
            continue;
        };
        if sender.send(data).await.is_err() {
            return;
        }
    }
}

/// Output as the body of an ordinary answer.
pub(crate) fn body(attached: Attached, wanted: Output, version: ApiVersion) -> Response<Body> {
    let stream = Body::Stream(output(attached.output, wanted));
    typed_response(StatusCode::OK, wanted.content_type(version), stream)
}

/// Takes the connection over for a two-way stream.
///
/// With `Upgrade: tcp` it answers 101 and the connection becomes the stream: what the client
/// sends is standard input, and its half-close ends it. Clients that did not ask for that get
/// the output as a body that ends with the connection, which is what they read off a connection
/// taken over, and send standard input as the request's body.
pub(crate) fn take_over(
    channel: Channel,
    mut attached: Attached,
    wanted: Output,
    keys: Option<DetachKeys>,
    version: ApiVersion,
) -> Response<Body> {
    let upgrade = match channel {
        Channel::Connection(upgrade) => upgrade,
        Channel::Exchange(request) => {
            if let (Some(request), Some(sink)) = (request, attached.input.take()) {
                tokio::task::spawn_local(feed(request, sink));
            }
            let mut response = body(attached, wanted, version);
            // Only a body of HTTP/1.0 ends with its connection and has no chunks of its own.
            *response.version_mut() = Version::HTTP_10;
            return response;
        }
    };
    tokio::task::spawn_local(async move {
        match upgrade.await {
            Ok(connection) => run(TokioIo::new(connection), attached, wanted, keys).await,
            Err(error) => tracing::debug!(%error, "a connection was not taken over"),
        }
    });
    upgraded(wanted.content_type(version))
}

/// 101, in the words that Docker's clients read.
fn upgraded(content_type: &'static str) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("tcp"));
    response
}

/// How long a client may take to close its side after the output has ended.
const DRAIN: Duration = Duration::from_secs(10);

/// Copies both ways until the output ends or the client asks to be let go.
async fn run<S>(stream: S, attached: Attached, wanted: Output, keys: Option<DetachKeys>)
where
    S: AsyncRead + tokio::io::AsyncWrite + Send + 'static,
{
    let (mut reader, mut writer) = tokio::io::split(stream);
    let mut pieces = output(attached.output, wanted);
    let to_client = async {
        while let Some(piece) = pieces.recv().await {
            if writer.write_all(&piece).await.is_err() {
                break;
            }
        }
    };
    let from_client = input(&mut reader, attached.input, keys);
    tokio::select! {
        () = to_client => {}
        () = from_client => {}
    }
    // The client may be gone already.
    let _ = writer.shutdown().await;
    // Closed over input that nobody has read, the connection would be reset, and the client could
    // lose the end of the output.
    let mut rest = [0; 4096];
    let drain = async { while matches!(reader.read(&mut rest).await, Ok(1..)) {} };
    let _ = tokio::time::timeout(DRAIN, drain).await;
}

/// Feeds standard input. Ends only when the client leaves by its detach keys or its connection
/// breaks: a half-close ends the input, not the output.
async fn input<R: AsyncRead + Unpin>(
    mut reader: R,
    sink: Option<Box<dyn Write + Send>>,
    mut keys: Option<DetachKeys>,
) {
    let mut sender = sink.map(input_thread);
    let mut buffer = vec![0; INPUT];
    loop {
        let bytes = match reader.read(&mut buffer).await {
            Ok(0) => break,
            Ok(length) => &buffer[..length],
            Err(_) => return,
        };
        let (bytes, detached) = match &mut keys {
            Some(keys) => keys.filter(bytes),
            None => (bytes.to_vec(), false),
        };
        if let Some(to) = &sender
            && to.send(bytes.into()).await.is_err()
        {
            // Nobody reads: what follows is dropped, as a closed pipe would.
            sender = None;
        }
        if detached {
            return;
        }
    }
    drop(sender);
    std::future::pending().await
}

/// Writes to a blocking sink from a thread of its own; dropping the sender closes the sink.
fn input_thread(mut sink: Box<dyn Write + Send>) -> mpsc::Sender<Bytes> {
    let (sender, mut receiver) = mpsc::channel::<Bytes>(PIECES);
    spawn("input", move || {
        while let Some(bytes) = receiver.blocking_recv() {
            if sink.write_all(&bytes).and_then(|()| sink.flush()).is_err() {
                return;
            }
        }
    });
    sender
}

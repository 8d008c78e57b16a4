//! One HTTP/1.1 connection (RFC 9112): a request out, an answer in, whole or chunk by chunk.
//!
//! Owns framing. Whatever has come of an answer is kept when time is over, so that the next call
//! goes on; a connection whose answer was not read to its end must not be asked again.

use super::super::net::Stream;
use std::{fmt::Write, io, time::Instant};

/// More than any server's head has.
const MAX_HEAD: usize = 64 * 1024;

/// More than any list of a cluster's records has; a limit against a broken server.
const MAX_BODY: usize = 512 * 1024 * 1024;

/// How much is read at once.
const PIECE: usize = 16 * 1024;

/// What is asked.
pub(crate) struct Request<'a> {
    /// `GET`, `POST`, `PUT`.
    pub(crate) method: &'static str,
    /// Path and query.
    pub(crate) target: &'a str,
    /// Names and values of further headers, free of control characters.
    pub(crate) headers: &'a [(&'static str, String)],
    /// Empty for none.
    pub(crate) body: &'a [u8],
}

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    #[cfg(feature = "consul")]
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// Whether the connection can be asked again.
    pub(crate) keeps: bool,
}

impl Response {
    /// The first header of a name, in whatever case it is written.
    #[cfg(feature = "consul")]
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        find(&self.headers, name)
    }
}

/// How the end of a body is known.
#[derive(Debug, Clone, Copy)]
enum Framing {
    Length(usize),
    Chunked,
    UntilClosed,
}

#[derive(Debug)]
struct Head {
    status: u16,
    #[cfg(feature = "consul")]
    headers: Vec<(String, String)>,
    framing: Framing,
    keeps: bool,
}

/// One connection, and what has come over it and was not taken yet.
pub(crate) struct Connection {
    stream: Stream,
    host: String,
    come: Vec<u8>,
    /// The head of the answer that is being read, and what its body is so far.
    partial: Option<(Head, Vec<u8>)>,
}

impl Connection {
    pub(crate) fn new(stream: Stream, host: String) -> Self {
        Self {
            stream,
            host,
            come: Vec::new(),
            partial: None,
        }
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.come.is_empty() && self.partial.is_none() && self.stream.is_idle()
    }

    /// Sends a request.
    pub(crate) fn send(&mut self, request: &Request<'_>, deadline: Instant) -> io::Result<()> {
        let mut head = format!(
            "{} {} HTTP/1.1\r\nHost: {}\r\nContent-Length: {}\r\n",
            request.method,
            request.target,
            self.host,
            request.body.len()
        );
        for (name, value) in request.headers {
            if value.bytes().any(|byte| byte.is_ascii_control()) {
                return Err(io::Error::other(format!("bad value of the header {name}")));
            }
            write!(head, "{name}: {value}\r\n").expect("a string takes all");
        }
        head.push_str("\r\n");
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(request.body);
        self.stream.write_all(&bytes, deadline)
    }

    /// The whole answer.
    pub(crate) fn receive(&mut self, deadline: Instant) -> io::Result<Response> {
        self.status(deadline)?;
        while self.take_piece(deadline)? {}
        let (head, body) = self.partial.take().expect("its head has come");
        // A list may have been of megabytes, and the connection stays.
        self.come.shrink_to(PIECE);
        Ok(Response {
            status: head.status,
            #[cfg(feature = "consul")]
            headers: head.headers,
            body,
            keeps: head.keeps && self.come.is_empty(),
        })
    }

    /// The status of an answer, as soon as its head is there.
    pub(crate) fn status(&mut self, deadline: Instant) -> io::Result<u16> {
        loop {
            if let Some((head, _)) = &self.partial {
                return Ok(head.status);
            }
            if let Some((head, length)) = parse_head(&self.come)? {
                self.come.drain(..length);
                self.partial = Some((head, Vec::new()));
            } else if self.come.len() > MAX_HEAD {
                return Err(malformed("an endless head"));
            } else {
                self.fill(deadline)?;
            }
        }
    }

    /// The next line of an endless answer whose head has come.
    #[cfg(feature = "etcd")]
    pub(crate) fn line(&mut self, deadline: Instant) -> io::Result<Vec<u8>> {
        let mut searched = 0;
        loop {
            let (_, body) = self.partial.as_mut().expect("its head has come");
            if let Some(at) = body[searched..].iter().position(|&byte| byte == b'\n') {
                let line = body.drain(..=searched + at).collect();
                body.shrink_to(PIECE);
                self.come.shrink_to(PIECE);
                return Ok(line);
            }
            searched = body.len();
            if !self.take_piece(deadline)? {
                return Err(closed());
            }
        }
    }

    /// Takes a part of the body, waiting for it; whether more is to come.
    fn take_piece(&mut self, deadline: Instant) -> io::Result<bool> {
        let (head, body) = self.partial.as_mut().expect("its head has come");
        if body.len() > MAX_BODY {
            return Err(malformed("an endless body"));
        }
        match head.framing {
            Framing::Length(length) => {
                let taken = self.come.len().min(length - body.len());
                body.extend(self.come.drain(..taken));
                if body.len() == length {
                    return Ok(false);
                }
                self.fill(deadline)?;
                Ok(true)
            }
            Framing::UntilClosed => {
                body.append(&mut self.come);
                match self.fill(deadline) {
                    Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
                    filled => filled.map(|()| true),
                }
            }
            Framing::Chunked => self.take_chunk(deadline),
        }
    }

    fn take_chunk(&mut self, deadline: Instant) -> io::Result<bool> {
        loop {
            let size = httparse::parse_chunk_size(&self.come)
                .map_err(|_| malformed("a bad size of a chunk"))?;
            if let httparse::Status::Complete((start, size)) = size {
                let size = usize::try_from(size).unwrap_or(usize::MAX);
                if size > MAX_BODY {
                    return Err(malformed("an endless chunk"));
                }
                if size == 0 {
                    // Trailers may follow, up to an empty line; nothing here needs them.
                    let rest = &self.come[start..];
                    let end = match rest.starts_with(b"\r\n") {
                        true => Some(2),
                        false => rest
                            .windows(4)
                            .position(|window| window == b"\r\n\r\n")
                            .map(|at| at + 4),
                    };
                    if let Some(end) = end {
                        self.come.drain(..start + end);
                        return Ok(false);
                    }
                } else if self.come.len() >= start + size + 2 {
                    let (_, body) = self.partial.as_mut().expect("its head has come");
                    body.extend_from_slice(&self.come[start..start + size]);
                    self.come.drain(..start + size + 2);
                    return Ok(true);
                }
            }
            self.fill(deadline)?;
        }
    }

    fn fill(&mut self, deadline: Instant) -> io::Result<()> {
        let mut piece = [0; PIECE];
        let read = self.stream.read(&mut piece, deadline)?;
        if read == 0 {
            return Err(closed());
        }
        self.come.extend_from_slice(&piece[..read]);
        Ok(())
    }
}

/// The head, and its length, once all of it is there.
fn parse_head(bytes: &[u8]) -> io::Result<Option<(Head, usize)>> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut parsed = httparse::Response::new(&mut headers);
    let status = parsed
        .parse(bytes)
        .map_err(|error| malformed(&format!("no HTTP: {error}")))?;
    let httparse::Status::Complete(length) = status else {
        return Ok(None);
    };
    let headers: Vec<(String, String)> = parsed
        .headers
        .iter()
        .map(|header| {
            let value = String::from_utf8_lossy(header.value).trim().to_owned();
            (header.name.to_owned(), value)
        })
        .collect();
    let status = parsed.code.unwrap_or_default();
    let framing = if find(&headers, "transfer-encoding").is_some_and(|coding| coding == "chunked") {
        Framing::Chunked
    } else if matches!(status, 100..=199 | 204 | 304) {
        Framing::Length(0)
    } else {
        match find(&headers, "content-length") {
            None => Framing::UntilClosed,
            Some(length) => Framing::Length(
                length
                    .parse()
                    .ok()
                    .filter(|&length| length <= MAX_BODY)
                    .ok_or_else(|| malformed("a bad length"))?,
            ),
        }
    };
    let closes = find(&headers, "connection").is_some_and(|said| said.contains("close"));
    let head = Head {
        status,
        keeps: parsed.version == Some(1) && !closes && !matches!(framing, Framing::UntilClosed),
        #[cfg(feature = "consul")]
        headers,
        framing,
    };
    Ok(Some((head, length)))
}

fn find<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    headers
        .iter()
        .find(|(found, _)| found.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.as_str())
}

fn malformed(reason: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

fn closed() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the connection was closed")
}

//! An HTTP client that keeps its connection, as Docker's own client does.
//!
//! Owns just enough of HTTP/1.1 to know where an answer ends, so that what is measured is the
//! engine and not the client.

use crate::Result;
use serde_json::Value;
use std::{
    io::{BufRead, BufReader, Read, Write},
    os::unix::net::UnixStream,
    path::Path,
    time::{Duration, Instant},
};

/// No request here takes longer, unless the engine hangs.
const LIMIT: Duration = Duration::from_secs(60);

/// A connection to an engine.
#[derive(Debug)]
pub(crate) struct Client {
    stream: BufReader<UnixStream>,
}

impl Client {
    /// Connects to the engine at this socket.
    pub(crate) fn open(socket: &Path) -> Result<Self> {
        let stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(LIMIT))?;
        Ok(Self {
            stream: BufReader::new(stream),
        })
    }

    /// Sends a request and reads the answer to its end; a refusal is an error.
    pub(crate) fn post(&mut self, path: &str, body: &Value) -> Result<Value> {
        let body = body.to_string();
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: engine\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        self.stream.get_mut().write_all(request.as_bytes())?;
        let (status, answer) = self.answer()?;
        if !(200..300).contains(&status) {
            let text = String::from_utf8_lossy(&answer).into_owned();
            return Err(format!("POST {path}: {status} {text}").into());
        }
        Ok(serde_json::from_slice(&answer).unwrap_or(Value::Null))
    }

    /// As [`Client::post`]; tells how long it took.
    pub(crate) fn timed(&mut self, path: &str, body: &Value) -> Result<Duration> {
        let start = Instant::now();
        self.post(path, body)?;
        Ok(start.elapsed())
    }

    /// Has a container join a network; tells how long it took.
    pub(crate) fn connect(&mut self, network: &str, container: &str) -> Result<Duration> {
        let body = serde_json::json!({ "Container": container });
        self.timed(&format!("/v1.41/networks/{network}/connect"), &body)
    }

    /// Has a container leave a network; tells how long it took.
    pub(crate) fn disconnect(&mut self, network: &str, container: &str) -> Result<Duration> {
        let body = serde_json::json!({ "Container": container });
        self.timed(&format!("/v1.41/networks/{network}/disconnect"), &body)
    }

    fn answer(&mut self) -> Result<(u16, Vec<u8>)> {
        let status = self.line()?;
        let status = status.split(' ').nth(1).ok_or("not an HTTP answer")?;
        let status = status.parse()?;
        let (mut length, mut chunked) = (0, false);
        loop {
            let line = self.line()?.to_ascii_lowercase();
            match line.split_once(": ") {
                Some(("content-length", value)) => length = value.parse()?,
                Some(("transfer-encoding", value)) => chunked = value == "chunked",
                None if line.is_empty() => break,
                _ => {}
            }
        }
        let mut body = Vec::new();
        while chunked {
            let size = usize::from_str_radix(&self.line()?, 16)?;
            self.read(size, &mut body)?;
            self.line()?;
            chunked = size > 0;
        }
        self.read(length, &mut body)?;
        Ok((status, body))
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        self.stream.read_line(&mut line)?;
        Ok(line.trim_end().to_owned())
    }

    fn read(&mut self, length: usize, into: &mut Vec<u8>) -> Result<()> {
        let start = into.len();
        into.resize(start + length, 0);
        Ok(self.stream.read_exact(&mut into[start..])?)
    }
}

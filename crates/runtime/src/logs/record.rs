//! One record of the log file.
//!
//! Owns its format (Kubernetes' CRI logging: `TIME STREAM F|P TEXT`).

use crate::conmon::Stream;
use vw_model::rfc3339::{self, Nanos};

/// What a container wrote at one moment to one stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEntry {
    /// Which stream.
    pub stream: Stream,
    /// The bytes, with the line feed when the container wrote one.
    pub data: Vec<u8>,
    pub(crate) nanos: Nanos,
}

impl LogEntry {
    /// When, as Docker shows it: RFC 3339 in UTC with nanoseconds.
    #[must_use]
    pub fn timestamp(&self) -> String {
        rfc3339::format(self.nanos)
    }
}

/// Reads one line of the file, without its line feed.
pub(super) fn parse(line: &[u8]) -> Option<LogEntry> {
    let mut fields = line.splitn(4, |byte| *byte == b' ');
    let time = std::str::from_utf8(fields.next()?).ok()?;
    let nanos = rfc3339::parse(time)?;
    let stream = match fields.next()? {
        b"stdout" => Stream::Stdout,
        b"stderr" => Stream::Stderr,
        _ => return None,
    };
    let whole = match fields.next()? {
        b"F" => true,
        b"P" => false,
        _ => return None,
    };
    let mut data = fields.next()?.to_vec();
    if whole {
        data.push(b'\n');
    }
    Some(LogEntry {
        stream,
        data,
        nanos,
    })
}

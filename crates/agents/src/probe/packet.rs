//! A question or an answer on the wire: a mark, what it is, its number, what its sender tells, and
//! as many zeros as make it as large as wanted.

use super::Told;

/// What tells it from whatever else comes to the port.
const MARK: [u8; 8] = *b"vwprobe1";
/// Mark, kind, number, port and whether there is an encrypted tunnel.
const HEADER: usize = 8 + 1 + 8 + 2 + 1;

/// What a packet is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Question,
    Answer,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Packet {
    pub(super) kind: Kind,
    /// The asker's, given back.
    pub(super) number: u64,
    /// Zeros, which say that there is nothing, where an older version sent it.
    pub(super) told: Told,
}

impl Packet {
    /// The packet in this many bytes, or as few as it needs.
    pub(super) fn bytes(self, length: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(length.max(HEADER));
        bytes.extend_from_slice(&MARK);
        bytes.push(match self.kind {
            Kind::Question => 0,
            Kind::Answer => 1,
        });
        bytes.extend_from_slice(&self.number.to_be_bytes());
        bytes.extend_from_slice(&self.told.clear.unwrap_or_default().to_be_bytes());
        bytes.push(u8::from(self.told.encrypted));
        bytes.resize(length.max(HEADER), 0);
        bytes
    }

    /// Reads one; `None` for what is none.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let rest = bytes.strip_prefix(&MARK)?;
        let (kind, rest) = rest.split_first()?;
        let kind = match kind {
            0 => Kind::Question,
            1 => Kind::Answer,
            _ => return None,
        };
        let (number, rest) = rest.split_first_chunk()?;
        let (port, rest) = rest.split_first_chunk()?;
        let port = u16::from_be_bytes(*port);
        Some(Self {
            kind,
            number: u64::from_be_bytes(*number),
            told: Told {
                clear: (port != 0).then_some(port),
                encrypted: *rest.first()? != 0,
            },
        })
    }
}

#[cfg(test)]
mod tests;

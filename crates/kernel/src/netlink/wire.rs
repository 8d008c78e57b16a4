//! Netlink messages and attributes as bytes in host order, padded to four.

use std::ffi::CStr;
use zeroize::Zeroize;

const ALIGN: usize = 4;
const HEADER: usize = 16;
const NESTED: u16 = 1 << 15;
const TYPE_MASK: u16 = 0x3fff;

/// Requests that go out in one send; each carries a tag of its caller's.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    buf: Vec<u8>,
    starts: Vec<usize>,
}

impl Batch {
    /// Appends a request; `body` writes the family header and the attributes.
    pub(crate) fn push(&mut self, kind: u16, flags: i32, body: impl FnOnce(&mut Body<'_>)) {
        let start = self.buf.len();
        self.starts.push(start);
        let flags = (flags | libc::NLM_F_REQUEST) as u16;
        self.buf.extend_from_slice(&0_u32.to_ne_bytes());
        self.buf.extend_from_slice(&kind.to_ne_bytes());
        self.buf.extend_from_slice(&flags.to_ne_bytes());
        self.buf.extend_from_slice(&[0; 8]);
        body(&mut Body { buf: &mut self.buf });
        let len = (self.buf.len() - start) as u32;
        self.buf[start..start + 4].copy_from_slice(&len.to_ne_bytes());
    }

    /// One that has room for requests of so many bytes, so that they are in no other place.
    pub(crate) fn with_room(bytes: usize) -> Self {
        Self {
            buf: Vec::with_capacity(bytes),
            starts: Vec::new(),
        }
    }

    /// Overwrites what it holds.
    pub(crate) fn wipe(&mut self) {
        self.buf.zeroize();
        self.starts.clear();
    }

    /// How many requests it holds.
    pub(crate) fn len(&self) -> usize {
        self.starts.len()
    }

    /// The bytes of at most `most` requests from `first` that fit into `limit` bytes (at least
    /// one), numbered from `seq`, the last asking for an ACK; and the request after them.
    pub(crate) fn chunk(
        &mut self,
        first: usize,
        (most, limit): (usize, usize),
        seq: u32,
    ) -> (&[u8], usize) {
        let start = self.starts[first];
        let end_of = |starts: &[usize], len, i: usize| starts.get(i + 1).copied().unwrap_or(len);
        let mut next = first + 1;
        while next < self.starts.len()
            && next - first < most
            && end_of(&self.starts, self.buf.len(), next) - start <= limit
        {
            next += 1;
        }
        for i in first..next {
            let at = self.starts[i];
            let number = seq.wrapping_add((i - first) as u32);
            self.buf[at + 8..at + 12].copy_from_slice(&number.to_ne_bytes());
        }
        let last = self.starts[next - 1];
        let flags = get_u16(&self.buf, last + 6) | libc::NLM_F_ACK as u16;
        self.buf[last + 6..last + 8].copy_from_slice(&flags.to_ne_bytes());
        let end = self.starts.get(next).copied().unwrap_or(self.buf.len());
        (&self.buf[start..end], next)
    }

    /// The bytes of all requests, numbered from `seq`, request `ack` asking for an ACK.
    pub(crate) fn whole(&mut self, seq: u32, ack: usize) -> &[u8] {
        for (i, at) in self.starts.iter().enumerate() {
            let number = seq.wrapping_add(i as u32);
            self.buf[at + 8..at + 12].copy_from_slice(&number.to_ne_bytes());
            if i == ack {
                let flags = get_u16(&self.buf, at + 6) | libc::NLM_F_ACK as u16;
                self.buf[at + 6..at + 8].copy_from_slice(&flags.to_ne_bytes());
            }
        }
        &self.buf
    }
}

/// The payload of a message under construction.
pub(crate) struct Body<'a> {
    buf: &'a mut Vec<u8>,
}

impl Body<'_> {
    /// Appends raw bytes: the family's fixed header.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.buf.extend_from_slice(bytes);
        self.pad();
    }

    /// Appends an attribute.
    pub(crate) fn attr(&mut self, kind: u16, value: &[u8]) {
        let len = (4 + value.len()) as u16;
        self.buf.extend_from_slice(&len.to_ne_bytes());
        self.buf.extend_from_slice(&kind.to_ne_bytes());
        self.buf.extend_from_slice(value);
        self.pad();
    }

    /// Appends a 32-bit attribute.
    pub(crate) fn attr_u32(&mut self, kind: u16, value: u32) {
        self.attr(kind, &value.to_ne_bytes());
    }

    /// Appends a text attribute with its final zero.
    pub(crate) fn attr_str(&mut self, kind: u16, value: &str) {
        let mut bytes = Vec::with_capacity(value.len() + 1);
        bytes.extend_from_slice(value.as_bytes());
        bytes.push(0);
        self.attr(kind, &bytes);
    }

    /// Appends an attribute made of attributes.
    pub(crate) fn nest(&mut self, kind: u16, body: impl FnOnce(&mut Body<'_>)) {
        let start = self.buf.len();
        self.buf.extend_from_slice(&[0; 2]);
        self.buf.extend_from_slice(&(kind | NESTED).to_ne_bytes());
        body(&mut Body { buf: self.buf });
        let len = (self.buf.len() - start) as u16;
        self.buf[start..start + 2].copy_from_slice(&len.to_ne_bytes());
    }

    fn pad(&mut self) {
        self.buf.resize(self.buf.len().next_multiple_of(ALIGN), 0);
    }
}

/// The attributes in a payload, as (type, value).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attrs<'a>(&'a [u8]);

impl<'a> Attrs<'a> {
    /// Attributes that follow `skip` bytes of fixed header.
    pub(crate) fn after(payload: &'a [u8], skip: usize) -> Self {
        Self(payload.get(skip..).unwrap_or_default())
    }

    /// Attributes nested in a value.
    pub(crate) const fn of(value: &'a [u8]) -> Self {
        Self(value)
    }
}

impl<'a> Iterator for Attrs<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let header = self.0.get(..4)?;
        let (len, kind) = (get_u16(header, 0) as usize, get_u16(header, 2));
        let value = self.0.get(4..len)?;
        self.0 = self
            .0
            .get(len.next_multiple_of(ALIGN)..)
            .unwrap_or_default();
        Some((kind & TYPE_MASK, value))
    }
}

/// One message that was received.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Received<'a> {
    /// `nlmsg_type`.
    pub(crate) kind: u16,
    /// `nlmsg_flags`.
    pub(crate) flags: u16,
    /// `nlmsg_seq`.
    pub(crate) seq: u32,
    /// What follows the header.
    pub(crate) payload: &'a [u8],
}

/// The messages in one datagram.
pub(crate) fn messages(mut datagram: &[u8]) -> impl Iterator<Item = Received<'_>> {
    std::iter::from_fn(move || {
        let header = datagram.get(..HEADER)?;
        let len = get_u32(header, 0) as usize;
        let received = Received {
            kind: get_u16(header, 4),
            flags: get_u16(header, 6),
            seq: get_u32(header, 8),
            payload: datagram.get(HEADER..len)?,
        };
        datagram = datagram
            .get(len.next_multiple_of(ALIGN)..)
            .unwrap_or_default();
        Some(received)
    })
}

/// A number in host order; 0 when the bytes are not there.
pub(crate) fn get_u16(bytes: &[u8], at: usize) -> u16 {
    let field = bytes
        .get(at..at + 2)
        .and_then(|field| field.try_into().ok());
    u16::from_ne_bytes(field.unwrap_or_default())
}

/// A number in host order; 0 when the bytes are not there.
pub(crate) fn get_u32(bytes: &[u8], at: usize) -> u32 {
    let field = bytes
        .get(at..at + 4)
        .and_then(|field| field.try_into().ok());
    u32::from_ne_bytes(field.unwrap_or_default())
}

/// A number in host order; 0 when the bytes are not there.
pub(crate) fn get_i32(bytes: &[u8], at: usize) -> i32 {
    get_u32(bytes, at).cast_signed()
}

/// A text that may end in a zero.
pub(crate) fn get_str(bytes: &[u8]) -> String {
    let text = CStr::from_bytes_until_nul(bytes).map_or(bytes, CStr::to_bytes);
    String::from_utf8_lossy(text).into_owned()
}

//! The bytes of a journal: frames that tell a torn end from a damaged middle.
//!
//! Owns encoding and decoding; it must not touch files.
//!
//! A file is [`MAGIC`] and frames. A frame is the payload's length, its complement and its
//! CRC-32, each as four bytes, little end first, then the payload. The first payload is the
//! header: the schema version and the boot's id. Every other one is a batch.

use crate::{Batch, Change, Table};

pub(super) const MAGIC: &[u8; 8] = b"VWJRNL\x00\x01";
const FRAME: usize = 12;
const PUT: u8 = 1;
const DELETE: u8 = 2;

/// What was read.
#[derive(Debug)]
pub(super) struct Journaled {
    pub(super) schema: u32,
    pub(super) boot: String,
    pub(super) batches: Vec<Batch>,
    /// How many bytes of the input made this.
    pub(super) valid: usize,
    /// Why reading stopped before the end.
    pub(super) end: End,
}

/// How a journal ends.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum End {
    /// With a whole frame.
    Clean,
    /// Within the frame that was being written when the process or the machine died.
    Torn,
    /// With bytes that no write of ours leaves behind.
    Damaged(String),
}

/// The start of a file.
pub(super) fn header(schema: u32, boot: &str) -> Vec<u8> {
    let mut payload = schema.to_le_bytes().to_vec();
    payload.extend_from_slice(boot.as_bytes());
    let mut bytes = MAGIC.to_vec();
    frame(&mut bytes, &payload);
    bytes
}

/// A batch as a frame.
pub(super) fn encode(batch: &Batch) -> Vec<u8> {
    let mut payload = Vec::with_capacity(1024);
    for change in batch.changes() {
        match change {
            Change::Put { table, key, value } => put(&mut payload, *table, key, value),
            Change::Delete { table, key } => {
                payload.extend_from_slice(&[DELETE, table.code()]);
                text(&mut payload, key.as_bytes());
            }
        }
    }
    let mut bytes = Vec::with_capacity(FRAME + payload.len());
    frame(&mut bytes, &payload);
    bytes
}

/// One record as a frame, added to `bytes`.
pub(super) fn encode_record(bytes: &mut Vec<u8>, table: Table, key: &str, value: &[u8]) {
    let mut payload = Vec::with_capacity(16 + key.len() + value.len());
    put(&mut payload, table, key, value);
    frame(bytes, &payload);
}

/// Reads a whole file. Nothing when it ends within its header, so that it can hold no batch.
pub(super) fn decode(bytes: &[u8]) -> Result<Option<Journaled>, String> {
    // A first page that never reached the disk before the power went reads as zeros.
    if bytes.iter().take(MAGIC.len()).all(|byte| *byte == 0) {
        return Ok(None);
    }
    let Some(rest) = bytes.strip_prefix(MAGIC) else {
        return match MAGIC.starts_with(bytes) {
            true => Ok(None),
            false => Err("it does not start as a journal does".to_owned()),
        };
    };
    let head = match unframe(rest) {
        Ok(payload) => payload,
        Err(End::Damaged(why)) => return Err(format!("its header: {why}")),
        Err(End::Torn | End::Clean) => return Ok(None),
    };
    let (schema, boot) = decode_header(head).ok_or("its header is malformed")?;
    let mut journaled = Journaled {
        schema,
        boot,
        batches: Vec::new(),
        valid: MAGIC.len() + FRAME + head.len(),
        end: End::Clean,
    };
    loop {
        let at = journaled.valid;
        match unframe(&bytes[at..]) {
            Ok(payload) => match decode_batch(payload) {
                Some(batch) => {
                    journaled.batches.push(batch);
                    journaled.valid += FRAME + payload.len();
                }
                None => {
                    let why = format!("the batch at byte {at} is malformed");
                    journaled.end = End::Damaged(why);
                    break;
                }
            },
            Err(End::Damaged(why)) => {
                journaled.end = End::Damaged(format!("at byte {at}: {why}"));
                break;
            }
            Err(end) => {
                journaled.end = end;
                break;
            }
        }
    }
    Ok(Some(journaled))
}

fn frame(bytes: &mut Vec<u8>, payload: &[u8]) {
    // Batches are a few kilobytes; the store refuses those that pass four gigabytes before.
    let len = payload.len() as u32;
    bytes.extend_from_slice(&len.to_le_bytes());
    bytes.extend_from_slice(&(!len).to_le_bytes());
    bytes.extend_from_slice(&crc32fast::hash(payload).to_le_bytes());
    bytes.extend_from_slice(payload);
}

/// The payload of the frame that `bytes` starts with, or how they end instead.
fn unframe(bytes: &[u8]) -> Result<&[u8], End> {
    if bytes.is_empty() {
        return Err(End::Clean);
    }
    // A short write leaves a prefix; a lost page leaves zeros up to the end.
    if bytes.len() < FRAME || bytes.iter().all(|byte| *byte == 0) {
        return Err(End::Torn);
    }
    let mut reader = Reader(bytes);
    let (len, complement, sum) = (reader.number(), reader.number(), reader.number());
    let (Some(len), Some(sum)) = (len.filter(|len| complement == Some(!len)), sum) else {
        return Err(End::Damaged(
            "a frame's length does not match its complement".to_owned(),
        ));
    };
    let Some(payload) = reader.take(len) else {
        return Err(End::Torn);
    };
    if crc32fast::hash(payload) == sum {
        Ok(payload)
    } else if reader.0.is_empty() {
        Err(End::Torn)
    } else {
        Err(End::Damaged("a frame's checksum does not match".to_owned()))
    }
}

fn put(payload: &mut Vec<u8>, table: Table, key: &str, value: &[u8]) {
    payload.extend_from_slice(&[PUT, table.code()]);
    text(payload, key.as_bytes());
    text(payload, value);
}

fn text(payload: &mut Vec<u8>, bytes: &[u8]) {
    payload.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    payload.extend_from_slice(bytes);
}

fn decode_header(payload: &[u8]) -> Option<(u32, String)> {
    let mut reader = Reader(payload);
    let schema = reader.number()?;
    let boot = String::from_utf8(reader.0.to_vec()).ok()?;
    Some((schema, boot))
}

fn decode_batch(payload: &[u8]) -> Option<Batch> {
    let mut reader = Reader(payload);
    let mut batch = Batch::new();
    while let [kind, table, rest @ ..] = reader.0 {
        let table = Table::from_code(*table)?;
        reader.0 = rest;
        let key = String::from_utf8(reader.text()?.to_vec()).ok()?;
        batch = match *kind {
            PUT => batch.put(table, key, reader.text()?.to_vec()),
            DELETE => batch.delete(table, key),
            _ => return None,
        };
    }
    reader.0.is_empty().then_some(batch)
}

/// What is left to read.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, len: u32) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(usize::try_from(len).ok()?)?;
        self.0 = rest;
        Some(taken)
    }

    fn number(&mut self) -> Option<u32> {
        let (number, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u32::from_le_bytes(*number))
    }

    fn text(&mut self) -> Option<&'a [u8]> {
        let len = self.number()?;
        self.take(len)
    }
}

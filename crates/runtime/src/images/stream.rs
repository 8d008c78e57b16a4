//! Byte streams of images: what compresses them and what they hash to.
//!
//! Owns recognising a compression by its first bytes, and hashing what passes.

use crate::error::{Error, Result};
use flate2::read::MultiGzDecoder;
use sha2::{Digest, Sha256};
use std::io::{self, BufRead, BufReader, Read};

const BUFFER: usize = 64 << 10;

/// Unpacks gzip; passes a plain tar through.
///
/// # Errors
/// [`Error::BadArchive`] that names a compression which is not read here.
pub(crate) fn decompress<'a>(reader: impl Read + Send + 'a) -> Result<Box<dyn Read + Send + 'a>> {
    let mut reader = BufReader::with_capacity(BUFFER, reader);
    let start = reader
        .fill_buf()
        .map_err(|error| Error::BadArchive(format!("the archive cannot be read: {error}")))?;
    let refuse = |name: &str, tool: &str| {
        Err(Error::BadArchive(format!(
            "the archive is compressed with {name}, which is not read here; unpack it first ({tool})"
        )))
    };
    match start {
        [0x1f, 0x8b, ..] => Ok(Box::new(MultiGzDecoder::new(reader))),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => refuse("zstd", "zstd -d"),
        [0xfd, b'7', b'z', b'X', b'Z', ..] => refuse("xz", "xz -d"),
        [b'B', b'Z', b'h', ..] => refuse("bzip2", "bzip2 -d"),
        _ => Ok(Box::new(reader)),
    }
}

/// Hashes what is read through it.
pub(crate) struct Hashing<R> {
    inner: R,
    hash: Sha256,
}

impl<R: Read> Hashing<R> {
    pub(crate) fn new(inner: R) -> Self {
        Self {
            inner,
            hash: Sha256::new(),
        }
    }

    /// Reads what is left and gives the digest of all of it.
    pub(crate) fn finish(mut self) -> io::Result<String> {
        io::copy(&mut self, &mut io::sink())?;
        Ok(hex(&self.hash.finalize()))
    }
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.hash.update(&buffer[..count]);
        Ok(count)
    }
}

/// The SHA-256 of bytes, as 64 hexadecimal digits.
pub(crate) fn digest(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

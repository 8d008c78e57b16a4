//! ZooKeeper's serialisation, jute: numbers in network order, and lengths before what has one.
//!
//! Owns its primitives. It must not know what they are parts of.

use super::super::ClusterError;
use super::protocol;

/// What is being written.
#[derive(Default)]
pub(super) struct Writer(pub(super) Vec<u8>);

impl Writer {
    pub(super) fn bool(&mut self, value: bool) -> &mut Self {
        self.0.push(value.into());
        self
    }

    pub(super) fn int(&mut self, value: i32) -> &mut Self {
        self.0.extend_from_slice(&value.to_be_bytes());
        self
    }

    pub(super) fn long(&mut self, value: i64) -> &mut Self {
        self.0.extend_from_slice(&value.to_be_bytes());
        self
    }

    /// Bytes or text, with their length.
    pub(super) fn bytes(&mut self, value: impl AsRef<[u8]>) -> &mut Self {
        let value = value.as_ref();
        self.int(i32::try_from(value.len()).expect("what is sent was found fit"));
        self.0.extend_from_slice(value);
        self
    }
}

/// What is left to be read.
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], ClusterError> {
        let taken = self.0.split_at_checked(length);
        let (taken, rest) = taken.ok_or_else(|| protocol("a packet that is too short"))?;
        self.0 = rest;
        Ok(taken)
    }

    pub(super) fn bool(&mut self) -> Result<bool, ClusterError> {
        Ok(self.take(1)?[0] != 0)
    }

    pub(super) fn int(&mut self) -> Result<i32, ClusterError> {
        let bytes = self.take(4)?.try_into();
        Ok(i32::from_be_bytes(bytes.expect("it has this length")))
    }

    pub(super) fn long(&mut self) -> Result<i64, ClusterError> {
        let bytes = self.take(8)?.try_into();
        Ok(i64::from_be_bytes(bytes.expect("it has this length")))
    }

    /// Bytes with their length; none where that is negative.
    pub(super) fn bytes(&mut self) -> Result<&'a [u8], ClusterError> {
        let length = self.int()?;
        self.take(usize::try_from(length).unwrap_or(0))
    }

    pub(super) fn text(&mut self) -> Result<String, ClusterError> {
        let text = str::from_utf8(self.bytes()?);
        text.map(str::to_owned)
            .map_err(|_| protocol("a name that is no text"))
    }
}

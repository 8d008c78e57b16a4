//! Telling whether a user has edited a file that was generated.
//!
//! Owns a digest that stays the same over releases, as it is kept beside the file. It must
//! not be used against somebody who wants a collision: users gain nothing by one.

/// The FNV-1a digest of a generated text (64 bits; RFC 9923).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint(pub u64);

impl Fingerprint {
    /// The digest of `text`.
    #[must_use]
    pub fn of(text: &[u8]) -> Self {
        let digest = text
            .iter()
            .fold(0xcbf2_9ce4_8422_2325_u64, |digest, octet| {
                (digest ^ u64::from(*octet)).wrapping_mul(0x0100_0000_01b3)
            });
        Self(digest)
    }

    /// Whether `text` is still what was generated, so that it may be replaced.
    #[must_use]
    pub fn is_of(self, text: &[u8]) -> bool {
        Self::of(text) == self
    }
}

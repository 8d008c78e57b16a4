//! A host's private key.
//!
//! Owns its bytes from the moment they are made until they are overwritten. It is never shown: not
//! by `Debug`, not in an error.

use boringtun::x25519::{PublicKey as Point, StaticSecret};
use rustix::rand::{GetRandomFlags, getrandom};
use std::{fmt, io};
use vw_model::PublicKey;
use zeroize::{Zeroize, Zeroizing};

/// A private key (X25519); its bytes are overwritten when it is dropped.
#[derive(Clone)]
pub struct PrivateKey(StaticSecret);

impl PrivateKey {
    /// A new one, of the system's randomness.
    ///
    /// # Errors
    /// When the system has none to give.
    pub fn generate() -> io::Result<Self> {
        let mut bytes = Zeroizing::new([0_u8; 32]);
        let mut filled = 0;
        while filled < bytes.len() {
            filled += getrandom(&mut bytes[filled..], GetRandomFlags::empty())?;
        }
        Ok(Self(StaticSecret::from(*bytes)))
    }

    /// The key of these bytes, which are overwritten.
    #[must_use]
    pub fn from_bytes(bytes: &mut [u8; 32]) -> Self {
        let key = Self(StaticSecret::from(*bytes));
        bytes.zeroize();
        key
    }

    /// Its bytes, for the file that keeps it or the process that uses it.
    #[must_use]
    pub fn to_bytes(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.0.to_bytes())
    }

    /// The public key that belongs to it.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        PublicKey::from_bytes(Point::from(&self.0).to_bytes())
    }

    pub(crate) const fn secret(&self) -> &StaticSecret {
        &self.0
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateKey(..)")
    }
}

#[cfg(test)]
mod tests;

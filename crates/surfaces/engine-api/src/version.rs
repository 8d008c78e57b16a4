//! API versions: how a request names one, and which are served.
//!
//! Owns only the numbers. What a version changes stands where the field or path is parsed or
//! rendered.

use crate::errors::ApiError;
use std::fmt;

/// A version of the Docker Engine API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ApiVersion(u32, u32);

impl ApiVersion {
    /// The newest served, and the one of paths without a version.
    pub(crate) const MAX: Self = Self(1, 51);
    /// The oldest served.
    pub(crate) const MIN: Self = Self(1, 40);

    /// The version `1.minor`.
    pub(crate) const fn v1(minor: u32) -> Self {
        Self(1, minor)
    }

    /// The version that a path's first segment names: `v1.43`. `None` when it names none.
    pub(crate) fn of_segment(segment: &str) -> Option<Self> {
        let digits = segment.strip_prefix('v').filter(|rest| !rest.is_empty())?;
        if !digits
            .bytes()
            .all(|byte| byte.is_ascii_digit() || byte == b'.')
        {
            return None;
        }
        let mut parts = digits.split('.').map(|part| part.parse().unwrap_or(0));
        Some(Self(parts.next()?, parts.next().unwrap_or(0)))
    }

    /// The version itself when it is served.
    ///
    /// # Errors
    /// Docker's sentence for clients that are too new or too old.
    pub(crate) fn served(self) -> Result<Self, ApiError> {
        if self > Self::MAX {
            let max = Self::MAX;
            return Err(ApiError::bad_request(format!(
                "client version {self} is too new. Maximum supported API version is {max}"
            )));
        }
        if self < Self::MIN {
            let min = Self::MIN;
            return Err(ApiError::bad_request(format!(
                "client version {self} is too old. Minimum supported API version is {min}, \
                 please upgrade your client to a newer version"
            )));
        }
        Ok(self)
    }
}

impl fmt::Display for ApiVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

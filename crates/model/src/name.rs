//! Names that users and the kernel give to things, checked once when they are made.

use crate::Error;
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

macro_rules! checked_name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The text of the name.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = Error;

            fn try_from(text: String) -> Result<Self, Error> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }
    };
}

checked_name!(
    /// A network's name: any text that starts and ends without white space and is not empty.
    NetworkName
);
checked_name!(
    /// A container's name: `[a-zA-Z0-9][a-zA-Z0-9_.-]+`, as Docker's.
    ContainerName
);
/// How long an interface name may be: `IFNAMSIZ`, less the octet that ends it.
const IFNAME_MAX: usize = 15;

/// An interface name as the kernel takes it: 1 to 15 bytes, no `/`, `:` or white space,
/// not `.` or `..` (`dev_valid_name` in `net/core/dev.c`), no `%`, which makes it a template
/// (`dev_alloc_name`), not `all` or `default`, which are no interface's own in
/// `/proc/sys/net/*/conf` (`sysctl_dev_name_is_allowed`).
///
/// It lies where it is used, as nearly every object of a host has one or two.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct IfName {
    /// Zeroes follow the text, which has none: the order is that of the text.
    bytes: [u8; IFNAME_MAX],
    length: u8,
}

impl FromStr for NetworkName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        if text.is_empty() {
            return Err(Error::invalid(
                "network-name-empty",
                "invalid network name: name is empty",
            ));
        }
        let bad =
            text.trim() != text || text.starts_with('/') || text.chars().any(char::is_control);
        if bad || text.len() > 255 {
            return Err(Error::invalid(
                "network-name-invalid",
                format!(
                    "invalid network name: {text:?}: use up to 255 visible characters that do not start with a slash, without white space at either end"
                ),
            ));
        }
        Ok(Self(text.to_owned()))
    }
}

impl FromStr for ContainerName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let mut chars = text.chars();
        let first = chars.next().is_some_and(|c| c.is_ascii_alphanumeric());
        let rest = chars.all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c));
        if !first || !rest || !(2..=255).contains(&text.len()) {
            return Err(Error::invalid(
                "container-name-invalid",
                format!(
                    "Invalid container name ({text}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"
                ),
            ));
        }
        Ok(Self(text.to_owned()))
    }
}

checked_name!(
    /// A service's name: one label of a domain name, `[a-zA-Z0-9][a-zA-Z0-9_-]*`, at most 63 bytes.
    ServiceName
);

impl FromStr for ServiceName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let letter = |c: char| c.is_ascii_alphanumeric();
        let fits = |c: char| letter(c) || c == '_' || c == '-';
        if text.len() > 63 || !text.starts_with(letter) || !text.chars().all(fits) {
            let sentence = format!(
                "invalid service name {text:?}: use 1 to 63 letters, digits, '_' and '-', a letter or digit first"
            );
            return Err(Error::invalid("service-name-invalid", sentence));
        }
        Ok(Self(text.to_owned()))
    }
}

impl IfName {
    /// The loopback interface, which every namespace has.
    #[must_use]
    pub const fn loopback() -> Self {
        let mut bytes = [0; IFNAME_MAX];
        (bytes[0], bytes[1]) = (b'l', b'o');
        Self { bytes, length: 2 }
    }

    /// The text of the name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        let text = std::str::from_utf8(&self.bytes[..usize::from(self.length)]);
        text.expect("a name is made of a text")
    }
}

impl TryFrom<String> for IfName {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl From<IfName> for String {
    fn from(name: IfName) -> Self {
        name.as_str().to_owned()
    }
}

impl AsRef<str> for IfName {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl fmt::Display for IfName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for IfName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl FromStr for IfName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let bad_char = |c: char| "/:%\0".contains(c) || c.is_whitespace();
        let reserved = [".", "..", "all", "default"].contains(&text);
        let fits = (1..=IFNAME_MAX).contains(&text.len());
        if !fits || reserved || text.contains(bad_char) {
            return Err(Error::invalid(
                "interface-name-invalid",
                format!(
                    "invalid interface name {text:?}: use 1 to 15 bytes without '/', ':', '%' or white space, other than '.', '..', 'all' and 'default'"
                ),
            ));
        }
        let mut bytes = [0; IFNAME_MAX];
        bytes[..text.len()].copy_from_slice(text.as_bytes());
        // It is at most 15.
        let length = text.len() as u8;
        Ok(Self { bytes, length })
    }
}

#[cfg(test)]
mod tests;

//! Where the daemon listens: `unix://` and `tcp://` addresses.

use std::{fmt, path::PathBuf, str::FromStr};

/// The socket of the daemon that a service manager starts.
pub(crate) const DEFAULT: &str = "unix:///run/vethwork/vethwork.sock";
/// The environment variable that chooses another.
pub(crate) const VARIABLE: &str = "VETHWORK_HOST";
/// The port of a `tcp://` address that names none, as Docker's.
const TCP_PORT: u16 = 2375;

/// One daemon's address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Host {
    /// `unix://PATH`.
    Unix(PathBuf),
    /// `tcp://ADDRESS:PORT`, brackets around an IPv6 address.
    Tcp(String),
}

impl Host {
    /// The one that `-H` names, else the environment, else the default.
    ///
    /// # Errors
    /// A sentence when the address has another form.
    pub(crate) fn choose(flag: Option<&str>) -> Result<Self, String> {
        let variable = std::env::var(VARIABLE).unwrap_or_default();
        let given = flag
            .or(Some(variable.as_str()))
            .filter(|text| !text.is_empty());
        given.unwrap_or(DEFAULT).parse()
    }
}

impl FromStr for Host {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refuse = || {
            format!(
                "unable to parse host address ({text}): use unix:///PATH or tcp://ADDRESS[:PORT]"
            )
        };
        match text.split_once("://") {
            Some(("unix", path)) if path.starts_with('/') => Ok(Self::Unix(path.into())),
            Some(("tcp", rest)) => {
                let authority = rest.trim_end_matches('/');
                if authority.is_empty() || authority.contains('/') {
                    return Err(refuse());
                }
                let bracketed = authority.ends_with(']');
                match authority.rsplit_once(':').filter(|_| !bracketed) {
                    Some((name, port)) if !name.is_empty() && port.parse::<u16>().is_ok() => {
                        Ok(Self::Tcp(authority.to_owned()))
                    }
                    Some(_) => Err(refuse()),
                    None => Ok(Self::Tcp(format!("{authority}:{TCP_PORT}"))),
                }
            }
            _ => Err(refuse()),
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Tcp(authority) => write!(f, "tcp://{authority}"),
        }
    }
}

#[cfg(test)]
mod tests;

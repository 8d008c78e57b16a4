//! Reading of driver options: Docker's notations, and Docker's sentences when they are broken.

use std::{fmt::Display, net::IpAddr, str::FromStr};
use vw_model::{Error, Options, Result};

/// Prefixes of option names that mean something to an engine: one that is not known is a mistake.
const RESERVED: [&str; 2] = ["com.docker.network.", "vethwork."];

/// Refuses options under a reserved prefix other than those known; others are kept and echoed.
pub(crate) fn refuse_unknown(options: &Options, known: &[&str], of: &str) -> Result<()> {
    let reserved = |key: &&String| RESERVED.iter().any(|prefix| key.starts_with(prefix));
    let mut keys = options.keys().filter(reserved);
    match keys.find(|key| !known.contains(&key.as_str())) {
        None => Ok(()),
        Some(key) => {
            let known = match known {
                [] => "it has none of that kind".to_owned(),
                known => format!("known are {}", known.join(", ")),
            };
            Err(Error::invalid(
                "option-unknown",
                format!("unknown option {key} for {of}: {known}"),
            ))
        }
    }
}

/// The value of an option, read by `read`.
pub(crate) fn value<T>(
    options: &Options,
    key: &str,
    read: impl FnOnce(&str) -> Result<T, String>,
) -> Result<Option<T>> {
    let Some(text) = options.get(key) else {
        return Ok(None);
    };
    let refuse = |why| {
        let sentence = format!("failed to parse {key} value: {text} ({why})");
        Error::invalid("option-invalid", sentence)
    };
    read(text).map(Some).map_err(refuse)
}

/// A truth value in the notations of Go's `strconv.ParseBool`.
pub(crate) fn boolean(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(format!(
            "strconv.ParseBool: parsing {text:?}: invalid syntax"
        )),
    }
}

/// A whole number as Go's `strconv.Atoi` reads it.
pub(crate) fn integer(text: &str) -> Result<i64, String> {
    let invalid = |_| format!("strconv.Atoi: parsing {text:?}: invalid syntax");
    text.parse().map_err(invalid)
}

/// An address of either family.
pub(crate) fn address(text: &str) -> Result<IpAddr, String> {
    let addr: IpAddr = of_type(text)?;
    Ok(addr.to_canonical())
}

/// An address of the wanted type.
pub(crate) fn of_type<T: FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| "nil ip".to_owned())
}

/// A name that checks itself.
pub(crate) fn name<T: FromStr<Err: Display>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|why: T::Err| why.to_string())
}

#[cfg(test)]
mod tests;

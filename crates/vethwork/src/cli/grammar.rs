//! The docker CLI's conventions for flags, on top of clap.
//!
//! A truth flag may carry its value (`--rm=false`), and the last of several counts.

use clap::{Arg, ArgAction, ArgMatches, Command, builder::ValueParser, error::ErrorKind};
use std::ffi::OsString;

/// Reads a command line.
///
/// # Errors
/// What clap has to say, help and version included.
pub(crate) fn parse(
    command: impl Fn() -> Command,
    line: &[OsString],
) -> Result<ArgMatches, clap::Error> {
    let parsed = with_truth_values(command(), line).try_get_matches_from(line);
    match parsed {
        // Help shows flags as they are meant to be written, without their possible values.
        Err(error) if error.kind() == ErrorKind::DisplayHelp => {
            Err(command().try_get_matches_from(line).err().unwrap_or(error))
        }
        parsed => parsed,
    }
}

/// Lets flags carry `=true` or `=false`, and be repeated. Only the subcommands that the line may
/// mean are rebuilt, as that costs more than all the rest of a short command.
fn with_truth_values(command: Command, line: &[OsString]) -> Command {
    let command = command.args_override_self(true).mut_args(truth_value);
    let meant: Vec<String> = command
        .get_subcommands()
        .filter(|sub| {
            let mut names = sub.get_name_and_visible_aliases().into_iter();
            names.any(|name| line.iter().any(|word| word == name))
        })
        .map(|sub| sub.get_name().to_owned())
        .collect();
    meant.into_iter().fold(command, |command, name| {
        command.mut_subcommand(name, |sub| with_truth_values(sub, line))
    })
}

fn truth_value(arg: Arg) -> Arg {
    if !matches!(arg.get_action(), ArgAction::SetTrue) {
        return arg;
    }
    arg.action(ArgAction::Set)
        .num_args(0..=1)
        .require_equals(true)
        .default_value("false")
        .default_missing_value("true")
        .value_parser(ValueParser::from(truth))
}

/// `strconv.ParseBool`.
///
/// # Errors
/// Go's sentence.
pub(crate) fn truth(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(format!(
            "strconv.ParseBool: parsing {text:?}: invalid syntax"
        )),
    }
}

/// `KEY=VALUE` of a filter.
///
/// # Errors
/// Docker's sentence.
pub(crate) fn filter(text: &str) -> Result<(String, String), String> {
    let (key, value) = text
        .split_once('=')
        .ok_or("bad format of filter (expected name=value)")?;
    Ok((key.trim().to_lowercase(), value.trim().to_owned()))
}

/// `KEY[=VALUE]` of a label or an option.
///
/// # Errors
/// When there is no key.
pub(crate) fn pair(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').unwrap_or((text, ""));
    if key.trim().is_empty() {
        return Err(format!(
            "invalid format for {text:?}: give NAME or NAME=VALUE"
        ));
    }
    Ok((key.to_owned(), value.to_owned()))
}

/// `KEY=VALUE` where the value must be given.
///
/// # Errors
/// When it is not.
pub(crate) fn full_pair(text: &str) -> Result<(String, String), String> {
    let (key, value) = pair(text)?;
    if value.is_empty() {
        return Err(format!("invalid argument {text:?}: give NAME=VALUE"));
    }
    Ok((key, value))
}

/// `--service NAME[,weight=N]`, as the labels or driver options that say so.
///
/// # Errors
/// When it is not of that form; what is named is for the daemon to check.
pub(crate) fn service(text: &str) -> Result<Service, String> {
    let (name, weight) = match text.split_once(',') {
        None => (text, None),
        Some((name, more)) => {
            let weight = more.strip_prefix("weight=");
            let refuse = || format!("invalid service {text:?}: use NAME or NAME,weight=N");
            (name, Some(weight.ok_or_else(refuse)?))
        }
    };
    if name.is_empty() {
        return Err("a service needs a name".to_owned());
    }
    let mut pairs = vec![("vethwork.service".to_owned(), name.to_owned())];
    pairs.extend(weight.map(|weight| ("vethwork.weight".to_owned(), weight.to_owned())));
    Ok(Service(pairs))
}

/// What is asked of a service that an endpoint joins.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Service(pub(crate) Vec<(String, String)>);

/// A length of time as Go writes it, such as `1m30s`, `500ms` or `0`, in nanoseconds.
///
/// # Errors
/// Go's sentence.
pub(crate) fn duration(text: &str) -> Result<i64, String> {
    let refuse = || format!("time: invalid duration {text:?}: use such as 30s, 500ms or 1m30s");
    if text == "0" {
        return Ok(0);
    }
    let mut rest = text;
    let mut total = 0.0;
    while !rest.is_empty() {
        let at = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .ok_or_else(refuse)?;
        let number: f64 = rest[..at].parse().map_err(|_| refuse())?;
        let units = [
            ("ns", 1.0),
            ("us", 1e3),
            ("ms", 1e6),
            ("s", 1e9),
            ("m", 60e9),
            ("h", 3600e9),
        ];
        let mut units = units.into_iter();
        let (unit, nanos) = units
            .find(|(unit, _)| rest[at..].starts_with(unit))
            .ok_or_else(refuse)?;
        total += number * nanos;
        rest = &rest[at + unit.len()..];
    }
    if text.is_empty() || total > 9e18 {
        return Err(refuse());
    }
    Ok(total as i64)
}

/// The fields of a comma-separated value; a field with commas stands in double quotes, as in a
/// CSV file.
pub(crate) fn csv(text: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut quoted = false;
    for c in text.chars() {
        match c {
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(String::new()),
            c => {
                if let Some(field) = fields.last_mut() {
                    field.push(c);
                }
            }
        }
    }
    fields
}

#[cfg(test)]
mod tests;

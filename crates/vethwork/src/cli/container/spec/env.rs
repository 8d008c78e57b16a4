//! Environment variables and labels, given by themselves or in files.

use serde_json::{Map, Value};
use std::fs;

/// The environment: what files hold, then what was given. A name alone takes its value from the
/// client's own environment, and is left out where that has none.
///
/// # Errors
/// Docker's sentences for files that cannot be read and lines without a name.
pub(super) fn environment(files: &[String], given: &[String]) -> Result<Vec<String>, String> {
    let mut lines = Vec::new();
    for file in files {
        lines.extend(read(file, "environment")?);
    }
    pairs(lines.into_iter().chain(given.iter().cloned()))
}

/// Completes `NAME` and `NAME=VALUE`.
///
/// # Errors
/// Docker's sentence for a line without a name.
pub(crate) fn pairs(lines: impl Iterator<Item = String>) -> Result<Vec<String>, String> {
    let mut env = Vec::new();
    for line in lines {
        match line.split_once('=') {
            Some(("", _)) => return Err(format!("invalid environment variable: {line}")),
            Some(_) => env.push(line),
            None if line.is_empty() => {
                return Err("invalid environment variable: ''".to_owned());
            }
            None => env.extend(std::env::var(&line).map(|value| format!("{line}={value}"))),
        }
    }
    Ok(env)
}

/// Labels: what files hold, then what was given; the last of a name counts.
///
/// # Errors
/// As [`environment`].
pub(super) fn labels(
    files: &[String],
    given: &[(String, String)],
) -> Result<Map<String, Value>, String> {
    let mut labels = Map::new();
    for file in files {
        for line in read(file, "label")? {
            let (name, value) = line.split_once('=').unwrap_or((&line, ""));
            labels.insert(name.to_owned(), value.into());
        }
    }
    labels.extend(
        given
            .iter()
            .map(|(name, value)| (name.clone(), value.clone().into())),
    );
    Ok(labels)
}

/// The lines of a file but for empty ones and comments.
fn read(file: &str, what: &str) -> Result<Vec<String>, String> {
    let text = fs::read_to_string(file).map_err(|error| format!("open {file}: {error}"))?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let mut lines = Vec::new();
    for line in text.lines().map(str::trim_start) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let name = line.split_once('=').map_or(line, |(name, _)| name);
        if name.is_empty() {
            let message = format!("no variable name on line '{line}'");
            return Err(format!("poorly formatted {what}: {message}"));
        }
        if name.contains([' ', '\t']) {
            let message = format!("variable '{name}' contains whitespaces");
            return Err(format!("poorly formatted {what}: {message}"));
        }
        lines.push(line.to_owned());
    }
    Ok(lines)
}

//! `import --change`: single Dockerfile instructions on an image's configuration.
//!
//! Owns their grammar as far as Docker's `import` takes them. An instruction that would
//! have no effect here is refused by name.

use super::config::ImageConfig;
use crate::error::{Error, Result};
use serde_json::json;

/// Applies one instruction.
///
/// # Errors
/// [`Error::BadChange`] with what is wrong in it.
pub(crate) fn apply(config: &mut ImageConfig, change: &str) -> Result<()> {
    let change = change.trim();
    let (word, rest) = change
        .split_once(char::is_whitespace)
        .unwrap_or((change, ""));
    let rest = rest.trim();
    let word = word.to_ascii_uppercase();
    if rest.is_empty() {
        return Err(Error::BadChange(format!(
            "{word} requires at least one argument"
        )));
    }
    match word.as_str() {
        "CMD" => config.cmd = command(rest),
        "ENTRYPOINT" => config.entrypoint = Some(command(rest)),
        "ENV" => {
            let pairs = pairs(&word, rest)?;
            let lines: Vec<_> = pairs.into_iter().map(|(k, v)| format!("{k}={v}")).collect();
            crate::spec::merge_env(&mut config.env, &lines);
        }
        "LABEL" => config.labels.extend(pairs(&word, rest)?),
        "EXPOSE" => {
            for port in rest.split_whitespace() {
                config.exposed_ports.insert(port_key(port)?, json!({}));
            }
        }
        "VOLUME" => {
            let paths =
                list(rest).unwrap_or_else(|| rest.split_whitespace().map(str::to_owned).collect());
            config
                .volumes
                .extend(paths.into_iter().map(|path| (path, json!({}))));
        }
        "WORKDIR" => config.working_dir = work_dir(&config.working_dir, rest),
        "USER" => rest.clone_into(&mut config.user),
        "STOPSIGNAL" => rest.clone_into(&mut config.stop_signal),
        other => {
            return Err(Error::BadChange(format!(
                "{other} is not a valid change command; use CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, STOPSIGNAL, USER, VOLUME or WORKDIR"
            )));
        }
    }
    Ok(())
}

/// A JSON list of words, or a line for the shell.
fn command(text: &str) -> Vec<String> {
    list(text).unwrap_or_else(|| ["/bin/sh", "-c", text].map(str::to_owned).into())
}

fn list(text: &str) -> Option<Vec<String>> {
    serde_json::from_str(text).ok()
}

/// `name=value …` with quotes, or `name value` for a single one.
fn pairs(word: &str, text: &str) -> Result<Vec<(String, String)>> {
    let words = words(text)
        .ok_or_else(|| Error::BadChange(format!("{word}: a quote is not closed in {text:?}")))?;
    let legacy = words.first().is_some_and(|first| !first.contains('='));
    if legacy {
        let (name, value) = text
            .split_once(char::is_whitespace)
            .ok_or_else(|| Error::BadChange(format!("{word} must have two arguments")))?;
        return Ok(vec![(name.to_owned(), value.trim().to_owned())]);
    }
    let pair = |entry: String| match entry.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(Error::BadChange(format!(
            "Syntax error - can't find = in {entry:?}. Must be of the form: name=value"
        ))),
    };
    words.into_iter().map(pair).collect()
}

/// Splits at blanks outside quotes; `None` when a quote is not closed.
fn words(text: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match (quote, character) {
            (Some(open), close) if open == close => quote = None,
            (None, '"' | '\'') => {
                quote = Some(character);
                word.get_or_insert_default();
            }
            (None | Some('"'), '\\') => word.get_or_insert_default().extend(characters.next()),
            (None, blank) if blank.is_whitespace() => words.extend(word.take()),
            _ => word.get_or_insert_default().push(character),
        }
    }
    words.extend(word);
    quote.is_none().then_some(words)
}

fn port_key(text: &str) -> Result<String> {
    let (port, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = protocol.to_ascii_lowercase();
    let (low, high) = port.split_once('-').unwrap_or((port, port));
    let number = |text: &str| text.parse::<u16>().ok().filter(|port| *port > 0);
    let in_order = number(low)
        .zip(number(high))
        .is_some_and(|(low, high)| low <= high);
    if !in_order || !matches!(protocol.as_str(), "tcp" | "udp" | "sctp") {
        return Err(Error::BadChange(format!("Invalid containerPort: {text}")));
    }
    Ok(format!("{port}/{protocol}"))
}

fn work_dir(current: &str, change: &str) -> String {
    if change.starts_with('/') {
        change.to_owned()
    } else {
        format!("{}/{change}", current.trim_end_matches('/'))
    }
}

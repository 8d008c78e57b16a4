//! The daemon's JSON file, and what it says together with the flags.

use super::flags::{Directives, Flags};
use serde_json::{Map, Value};
use std::{fs, io, path::Path};

/// The file that is read when none is named, and need not be there.
const DEFAULT: &str = "/etc/vethwork/daemon.json";

/// The directive whose values may be secrets, and are never shown.
const SECRETIVE: &str = "cluster-store-opts";

/// Flags and file as one.
///
/// # Errors
/// One sentence that names the file and the directives: a file that cannot be read, unknown
/// directives, values of the wrong kind, and directives on which file and flags disagree.
pub(super) fn merge(flags: Flags) -> Result<Directives, String> {
    let path = flags.config_file.as_deref();
    let shown = path.unwrap_or(Path::new(DEFAULT));
    let refuse = |why: String| {
        format!(
            "unable to configure the vethwork daemon with file {}: {why}",
            shown.display()
        )
    };
    let text = match fs::read_to_string(shown) {
        Ok(text) => text,
        Err(error) if path.is_none() && error.kind() == io::ErrorKind::NotFound => {
            return Ok(flags.directives);
        }
        Err(error) => return Err(refuse(error.to_string())),
    };
    combine(&flags.directives, &text).map_err(refuse)
}

/// As [`merge`], of the file's text.
fn combine(flags: &Directives, text: &str) -> Result<Directives, String> {
    let text = text.trim_start_matches('\u{feff}').trim();
    // dockerd takes an empty file for an empty object.
    let text = if text.is_empty() { "{}" } else { text };
    let file: Map<String, Value> = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let known = fields(&Directives::default())?;
    let unknown: Vec<&str> = file
        .keys()
        .map(String::as_str)
        .filter(|key| !known.contains_key(canonical(key)))
        .collect();
    if !unknown.is_empty() {
        return Err(format!(
            "the following directives don't match any configuration option: {}",
            unknown.join(", ")
        ));
    }
    let from_file = read(&file)?;
    let (mut merged, from_file) = (fields(flags)?, given(fields(&from_file)?));
    merged = given(merged);
    let conflicts: Vec<String> = from_file
        .iter()
        .filter_map(|(key, value)| {
            let flag = merged.get(key).filter(|flag| *flag != value)?;
            let [flag, file] = [flag, value].map(|value| match key.as_str() {
                SECRETIVE => keys(value),
                _ => shown(value),
            });
            Some(format!("{key}: (from flag: {flag}, from file: {file})"))
        })
        .collect();
    if !conflicts.is_empty() {
        return Err(format!(
            "the following directives are specified both as a flag and in the configuration \
             file: {}",
            conflicts.join(", ")
        ));
    }
    merged.extend(from_file);
    serde_json::from_value(merged.into()).map_err(|error| error.to_string())
}

/// The file's directives, each by itself so that a wrong one can be named.
fn read(file: &Map<String, Value>) -> Result<Directives, String> {
    for (key, value) in file {
        let alone = Map::from_iter([(key.clone(), value.clone())]);
        if let Err(error) = serde_json::from_value::<Directives>(alone.into()) {
            if key == SECRETIVE {
                return Err(format!(
                    "invalid value for directive {key}: give an object of texts, {{\"KEY\": \"VALUE\"}}"
                ));
            }
            return Err(format!("invalid value for directive {key}: {error}"));
        }
    }
    serde_json::from_value(file.clone().into()).map_err(|error| error.to_string())
}

/// An older name's newer one.
fn canonical(key: &str) -> &str {
    if key == "host-gateway-ip" {
        "host-gateway-ips"
    } else {
        key
    }
}

fn fields(directives: &Directives) -> Result<Map<String, Value>, String> {
    match serde_json::to_value(directives) {
        Ok(Value::Object(fields)) => Ok(fields),
        Ok(_) => Err("directives are not an object".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// What somebody said: no value, no element and no key is nothing said.
fn given(fields: Map<String, Value>) -> Map<String, Value> {
    let said = |value: &Value| match value {
        Value::Null => false,
        Value::Array(list) => !list.is_empty(),
        Value::Object(map) => !map.is_empty(),
        _ => true,
    };
    fields
        .into_iter()
        .filter(|(_, value)| said(value))
        .collect()
}

/// What is given, but not what it is.
fn keys(value: &Value) -> String {
    let keys = value.as_object().into_iter().flat_map(Map::keys);
    let keys = keys.map(|key| format!("{key}=…"));
    format!("[{}]", keys.collect::<Vec<_>>().join(" "))
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(list) => {
            format!("[{}]", list.iter().map(shown).collect::<Vec<_>>().join(" "))
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests;

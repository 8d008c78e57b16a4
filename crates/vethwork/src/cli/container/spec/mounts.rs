//! Binds, mounts and file systems in memory.

use crate::{
    cli::{endpoint::put, grammar},
    render::bytes_of,
};
use clap::Args;
use serde_json::{Map, Value, json};
use std::path::{Path, absolute};

/// A JSON object.
type Object = Map<String, Value>;

/// Flags about mounts.
#[derive(Debug, Default, Args)]
pub(super) struct Mounts {
    /// Attach a filesystem mount to the container
    #[arg(long, value_name = "type=TYPE,source=…,target=…")]
    mount: Vec<String>,
    /// Mount a tmpfs directory
    #[arg(long, value_name = "PATH[:OPTIONS]")]
    tmpfs: Vec<String>,
    /// Bind mount a folder of the host
    #[arg(short, long, value_name = "HOST:CONTAINER[:OPTIONS]")]
    volume: Vec<String>,
}

impl Mounts {
    /// The config's `Volumes`, and their part of the `HostConfig`.
    ///
    /// # Errors
    /// Docker's sentences.
    pub(super) fn parse(&self) -> Result<(Object, Object), String> {
        let mut volumes = Map::new();
        let mut binds = Vec::new();
        for text in &self.volume {
            match text.split_once(':') {
                Some((source, rest)) => binds.push(format!("{}:{rest}", resolve(source)?)),
                None => {
                    volumes.insert(text.clone(), json!({}));
                }
            }
        }
        let tmpfs: Map<_, _> = self
            .tmpfs
            .iter()
            .map(|text| {
                let (path, options) = text.split_once(':').unwrap_or((text, ""));
                (path.to_owned(), options.into())
            })
            .collect();
        let mounts = self
            .mount
            .iter()
            .map(|text| mount(text))
            .collect::<Result<Vec<_>, String>>()?;
        let mut host = Map::new();
        put(&mut host, "Binds", binds);
        put(&mut host, "Tmpfs", tmpfs);
        put(&mut host, "Mounts", mounts);
        Ok((volumes, host))
    }
}

/// `./folder` and `../folder` are the client's.
fn resolve(source: &str) -> Result<String, String> {
    if !source.starts_with('.') {
        return Ok(source.to_owned());
    }
    let path = absolute(Path::new(source)).map_err(|error| format!("{source}: {error}"))?;
    // `absolute` keeps `..`; the folder must be there for a bind anyway, so ask the file system.
    let path = path.canonicalize().unwrap_or(path);
    Ok(path.display().to_string())
}

/// `--mount` (`opts.MountOpt`).
fn mount(text: &str) -> Result<Value, String> {
    let (mut mount, mut bind, mut tmpfs) = (Map::new(), Map::new(), Map::new());
    put(&mut mount, "Type", "volume");
    for field in grammar::csv(text) {
        let (key, value) = match field.split_once('=') {
            Some((key, value)) => (key.to_lowercase(), Some(value)),
            None => (field.to_lowercase(), None),
        };
        let truth = |value: Option<&str>| {
            grammar::truth(value.unwrap_or("true"))
                .map_err(|_| format!("invalid value for {key}: {}", value.unwrap_or_default()))
        };
        let word =
            || value.ok_or_else(|| format!("invalid field '{field}' must be a key=value pair"));
        match key.as_str() {
            "type" => put(&mut mount, "Type", word()?.to_lowercase()),
            "source" | "src" => put(&mut mount, "Source", resolve(word()?)?),
            "target" | "dst" | "destination" => put(&mut mount, "Target", word()?),
            "readonly" | "ro" => put(&mut mount, "ReadOnly", truth(value)?),
            "consistency" => put(&mut mount, "Consistency", word()?.to_lowercase()),
            "bind-propagation" => put(&mut bind, "Propagation", word()?.to_lowercase()),
            "bind-nonrecursive" => put(&mut bind, "NonRecursive", truth(value)?),
            "tmpfs-size" => {
                let size = bytes_of(word()?).map_err(|_| {
                    format!("invalid value for {key}: {}", value.unwrap_or_default())
                })?;
                put(&mut tmpfs, "SizeBytes", size);
            }
            "tmpfs-mode" => {
                let mode = u32::from_str_radix(word()?, 8).map_err(|_| {
                    format!("invalid value for {key}: {}", value.unwrap_or_default())
                })?;
                put(&mut tmpfs, "Mode", mode);
            }
            _ => return Err(format!("unexpected key '{key}' in '{field}'")),
        }
    }
    if !mount.contains_key("Target") {
        return Err("target is required".to_owned());
    }
    let kind = mount
        .get("Type")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned();
    for (options, owner) in [(&bind, "bind"), (&tmpfs, "tmpfs")] {
        if !options.is_empty() && kind != owner {
            return Err(format!(
                "cannot mix '{owner}-*' options with mount type '{kind}'"
            ));
        }
    }
    put(&mut mount, "BindOptions", bind);
    put(&mut mount, "TmpfsOptions", tmpfs);
    Ok(mount.into())
}

#[cfg(test)]
mod tests {
    use super::mount;

    #[test]
    fn malformed_mounts_are_refused_in_dockers_words() {
        for (text, error) in [
            ("type=bind,source=/x", "target is required"),
            (
                "type=bind,target=/x,tmpfs-size=1m",
                "cannot mix 'tmpfs-*' options with mount type 'bind'",
            ),
            ("target=/x,nope=1", "unexpected key 'nope' in 'nope=1'"),
            ("target", "invalid field 'target' must be a key=value pair"),
            (
                "target=/x,readonly=maybe",
                "invalid value for readonly: maybe",
            ),
            (
                "type=tmpfs,target=/x,tmpfs-mode=9",
                "invalid value for tmpfs-mode: 9",
            ),
        ] {
            assert_eq!(mount(text).unwrap_err(), error, "{text}");
        }
    }
}

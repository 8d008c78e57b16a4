//! An image's configuration: the JSON whose digest is the image's id.
//!
//! Owns its shape (opencontainers/image-spec `config.md`, Docker's superset) and how it
//! fills what a request left open.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use vw_model::{ContainerSpec, Options};

/// A set, as Go writes one: an object with empty objects for values.
pub type StringSet = BTreeMap<String, Value>;

/// What a container gets from its image unless the request says otherwise.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ImageConfig {
    /// `name|uid[:group|gid]`.
    #[serde(
        skip_serializing_if = "String::is_empty",
        deserialize_with = "or_default"
    )]
    pub user: String,
    /// Such as `80/tcp`.
    #[serde(
        skip_serializing_if = "StringSet::is_empty",
        deserialize_with = "or_default"
    )]
    pub exposed_ports: StringSet,
    /// `NAME=VALUE`.
    #[serde(deserialize_with = "or_default")]
    pub env: Vec<String>,
    /// The entry point; `None` when it has none.
    pub entrypoint: Option<Vec<String>>,
    /// The command, or the arguments of the entry point.
    #[serde(deserialize_with = "or_default")]
    pub cmd: Vec<String>,
    /// Paths that hold data; kept and shown, no volume is made of them.
    #[serde(
        skip_serializing_if = "StringSet::is_empty",
        deserialize_with = "or_default"
    )]
    pub volumes: StringSet,
    /// The working directory.
    #[serde(deserialize_with = "or_default")]
    pub working_dir: String,
    /// Labels.
    #[serde(deserialize_with = "or_default")]
    pub labels: Options,
    /// Such as `SIGQUIT`.
    #[serde(
        skip_serializing_if = "String::is_empty",
        deserialize_with = "or_default"
    )]
    pub stop_signal: String,
    /// The health check as it stands in the image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<Value>,
}

/// The whole document.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Document {
    pub(crate) architecture: String,
    pub(crate) os: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) created: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) config: ImageConfig,
    pub(crate) rootfs: LayerList,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) history: Option<Value>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct LayerList {
    #[serde(rename = "type")]
    pub(crate) kind: String,
    /// SHA-256 of each layer's uncompressed tar, lowest first.
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) diff_ids: Vec<super::ImageId>,
}

/// Go writes an empty slice or map as null.
fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

impl ImageConfig {
    /// Fills what a request left open, by Docker's rules: the image's command counts only when
    /// the request gave neither entry point nor command; environment is merged by name.
    pub fn fill(&self, spec: &mut ContainerSpec) {
        if spec.entrypoint.is_none() {
            if spec.cmd.is_empty() {
                spec.cmd.clone_from(&self.cmd);
            }
            spec.entrypoint.clone_from(&self.entrypoint);
        }
        let name = |entry: &str| entry.split('=').next().unwrap_or_default().to_owned();
        let missing = self.env.iter().filter(|entry| {
            let wanted = name(entry);
            spec.env.iter().all(|given| name(given) != wanted)
        });
        let mut env: Vec<String> = missing.cloned().collect();
        env.append(&mut spec.env);
        spec.env = env;
        for (ours, images) in [
            (&mut spec.user, &self.user),
            (&mut spec.working_dir, &self.working_dir),
            (&mut spec.stop_signal, &self.stop_signal),
        ] {
            if ours.is_empty() {
                ours.clone_from(images);
            }
        }
    }
}

/// The architecture as Go names it.
pub(crate) fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        "powerpc64" => "ppc64le",
        other => other,
    }
}

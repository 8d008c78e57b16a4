//! Images as JSON, and which of them a list keeps.

use crate::{errors::ApiError, filters::Filters, query::Query, time, version::ApiVersion};
use serde::Serialize;
use serde_json::Value;
use std::{collections::BTreeMap, time::SystemTime};
use vw_controller::view::ImageView;
use vw_model::Options;

/// This machine's architecture, as image configurations name it.
pub(crate) const ARCHITECTURE: &str = match std::env::consts::ARCH.as_bytes() {
    b"x86_64" => "amd64",
    b"aarch64" => "arm64",
    _ => std::env::consts::ARCH,
};

/// One line of a list.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Summary<'a> {
    containers: i64,
    created: i64,
    id: &'a str,
    labels: Options,
    parent_id: &'static str,
    repo_digests: [&'static str; 0],
    repo_tags: &'a [String],
    shared_size: i64,
    size: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    virtual_size: Option<u64>,
}

/// An image by itself.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Inspect<'a> {
    id: &'a str,
    repo_tags: &'a [String],
    repo_digests: [&'static str; 0],
    parent: &'static str,
    comment: &'static str,
    created: String,
    docker_version: &'static str,
    author: &'static str,
    config: &'a Value,
    architecture: &'a str,
    os: &'a str,
    size: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    virtual_size: Option<u64>,
    graph_driver: GraphDriver,
    #[serde(rename = "RootFS")]
    root_fs: RootFs<'a>,
    metadata: Metadata,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct GraphDriver {
    data: Option<BTreeMap<String, String>>,
    name: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct RootFs<'a> {
    r#type: &'static str,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    layers: &'a [String],
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Metadata {
    last_tag_time: &'static str,
}

/// What lies on disk.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct DiskUsage<'a> {
    layers_size: u64,
    images: Vec<Summary<'a>>,
    containers: [(); 0],
    volumes: [(); 0],
    build_cache: [(); 0],
}

impl<'a> DiskUsage<'a> {
    /// Of these images.
    pub(super) fn of(images: &'a [ImageView], version: ApiVersion) -> Self {
        Self {
            layers_size: images.iter().map(|image| image.size).sum(),
            images: images.iter().map(|image| summary(image, version)).collect(),
            containers: [],
            volumes: [],
            build_cache: [],
        }
    }
}

/// One step of a removal.
#[derive(Debug, Serialize)]
pub(super) enum Removed {
    /// A name was taken off.
    Untagged(String),
    /// The image went.
    Deleted(String),
}

impl Removed {
    /// An image's id is a digest, everything else a name.
    pub(super) fn of(text: String) -> Self {
        if text.starts_with("sha256:") {
            Self::Deleted(text)
        } else {
            Self::Untagged(text)
        }
    }
}

/// Checked filters of `GET /images/json`.
#[derive(Debug)]
pub(super) struct ImageFilter {
    filters: Filters,
    dangling: Option<bool>,
    until: Option<SystemTime>,
}

impl ImageFilter {
    /// Checks keys and values.
    ///
    /// # Errors
    /// 400 with Docker's sentences.
    pub(super) fn parse(query: &Query) -> Result<Self, ApiError> {
        let filters = query
            .filters()?
            .accept(&["dangling", "label", "reference", "until"])?;
        let until = crate::networks::until(&filters)?;
        Ok(Self {
            dangling: filters.truth("dangling")?,
            until,
            filters,
        })
    }

    /// Whether the list shows it.
    pub(super) fn keeps(&self, image: &ImageView) -> bool {
        let referenced = !self.filters.contains("reference")
            || self.filters.get("reference").any(|pattern| {
                image.tags.iter().any(|tag| {
                    let name = tag.rsplit_once(':').map_or(tag.as_str(), |(name, _)| name);
                    glob(pattern, tag) || glob(pattern, name)
                })
            });
        referenced
            && self
                .dangling
                .is_none_or(|dangling| dangling == image.tags.is_empty())
            && self
                .until
                .is_none_or(|until| image.created.is_some_and(|made| made < until))
            && self.filters.labels("label", &labels(image))
    }
}

/// One line of a list. Containers were not counted before API 1.51, `VirtualSize` went in 1.44.
pub(super) fn summary(image: &ImageView, version: ApiVersion) -> Summary<'_> {
    let counted = version >= ApiVersion::v1(51);
    Summary {
        containers: if counted {
            i64::try_from(image.containers).unwrap_or(-1)
        } else {
            -1
        },
        created: image.created.map(time::unix).unwrap_or_default(),
        id: &image.id,
        labels: labels(image),
        parent_id: "",
        repo_digests: [],
        repo_tags: &image.tags,
        shared_size: -1,
        size: image.size,
        virtual_size: virtual_size(image, version),
    }
}

/// An image by itself.
pub(super) fn inspect(image: &ImageView, version: ApiVersion) -> Inspect<'_> {
    Inspect {
        id: &image.id,
        repo_tags: &image.tags,
        repo_digests: [],
        parent: "",
        comment: "",
        created: time::rfc3339_or_zero(image.created),
        docker_version: "",
        author: "",
        config: &image.config,
        architecture: &image.architecture,
        os: &image.os,
        size: image.size,
        virtual_size: virtual_size(image, version),
        graph_driver: GraphDriver {
            data: None,
            name: "overlay2",
        },
        root_fs: RootFs {
            r#type: "layers",
            layers: &image.layers,
        },
        metadata: Metadata {
            last_tag_time: time::ZERO,
        },
    }
}

fn virtual_size(image: &ImageView, version: ApiVersion) -> Option<u64> {
    (version < ApiVersion::v1(44)).then_some(image.size)
}

fn labels(image: &ImageView) -> Options {
    let labels = image.config.get("Labels").and_then(Value::as_object);
    let pairs = labels.into_iter().flatten();
    pairs
        .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
        .collect()
}

/// `path.Match` without classes: `*` is any run and `?` any one character, neither a slash.
fn glob(pattern: &str, text: &str) -> bool {
    match pattern.chars().next() {
        None => text.is_empty(),
        Some('*') => {
            let rest = &pattern[1..];
            let run = text.find('/').unwrap_or(text.len());
            text.char_indices()
                .map(|(at, _)| at)
                .chain([text.len()])
                .take_while(|at| *at <= run)
                .any(|at| glob(rest, &text[at..]))
        }
        Some(first) => text.chars().next().is_some_and(|next| {
            let same = if first == '?' {
                next != '/'
            } else {
                next == first
            };
            same && glob(&pattern[first.len_utf8()..], &text[next.len_utf8()..])
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::glob;

    #[test]
    fn patterns_match_as_path_match() {
        for (pattern, text, found) in [
            ("web", "web", true),
            ("we*", "web", true),
            ("*", "a/b", false),
            ("a/*", "a/b", true),
            ("w?b:1*", "web:1.2", true),
            ("?", "", false),
            ("*b", "web", true),
        ] {
            assert_eq!(glob(pattern, text), found, "{pattern} {text}");
        }
    }
}

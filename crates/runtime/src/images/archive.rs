//! Image archives: `docker save`'s and OCI layouts.
//!
//! Owns reading one into images: a configuration, its layers' files, its names. Every
//! digest that an archive states is checked; a path in it is only ever a key.

use super::{config::Document, reference::Reference, stream};
use crate::error::{Context, Error, Result};
use serde::{Deserialize, de::DeserializeOwned};
use std::{
    collections::HashMap,
    fs::{self, File},
    io::{self, Read},
    path::{Component, Path, PathBuf},
};
use tar::{Archive, EntryType};

/// How deep an OCI index may nest.
const MAX_NESTING: usize = 4;
/// A manifest or configuration beyond this is no honest one.
const MAX_JSON: u64 = 8 << 20;

/// One image of an archive, its layers not yet unpacked.
#[derive(Debug)]
pub(crate) struct Packed {
    pub(crate) document: Document,
    /// The configuration's bytes, whose digest is the id.
    pub(crate) raw: Vec<u8>,
    /// Files of the layers, lowest first, perhaps compressed.
    pub(crate) layers: Vec<PathBuf>,
    pub(crate) names: Vec<Reference>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct SavedImage {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    #[serde(default)]
    media_type: String,
    digest: String,
    #[serde(default)]
    annotations: HashMap<String, String>,
    #[serde(default)]
    platform: Option<Platform>,
}

#[derive(Deserialize)]
struct Platform {
    architecture: String,
    os: String,
}

#[derive(Deserialize)]
struct Index {
    manifests: Vec<Descriptor>,
}

#[derive(Deserialize)]
struct Manifest {
    config: Descriptor,
    layers: Vec<Descriptor>,
}

/// Reads an archive; its files go to `scratch`, an empty directory.
///
/// # Errors
/// [`Error::BadArchive`] when it is no image archive, or states a digest that is not so.
pub(crate) fn read(reader: impl Read + Send, scratch: &Path) -> Result<Vec<Packed>> {
    let files = Files::spill(stream::decompress(reader)?, scratch)?;
    if files.find("manifest.json").is_some() {
        let saved: Vec<SavedImage> = files.json("manifest.json")?;
        saved.into_iter().map(|image| files.saved(image)).collect()
    } else if files.find("index.json").is_some() {
        let mut images = Vec::new();
        let index = files.json("index.json")?;
        files.index(index, &[], 0, &mut images)?;
        if images.is_empty() {
            let platform = format!("linux/{}", super::config::architecture());
            return Err(Error::BadArchive(format!(
                "the archive holds no image for {platform}"
            )));
        }
        Ok(images)
    } else {
        Err(Error::BadArchive(
            "invalid archive: it holds neither manifest.json (docker save) nor index.json (OCI); \
             to use the files of a tar as they are, import it"
                .to_owned(),
        ))
    }
}

/// The archive's files by their normalised names.
struct Files {
    paths: HashMap<PathBuf, PathBuf>,
    links: HashMap<PathBuf, PathBuf>,
}

impl Files {
    fn spill(reader: impl Read, scratch: &Path) -> Result<Self> {
        let unreadable = |error: io::Error| Error::BadArchive(format!("invalid archive: {error}"));
        let mut archive = Archive::new(reader);
        let mut files = Self {
            paths: HashMap::new(),
            links: HashMap::new(),
        };
        for (number, entry) in archive.entries().map_err(unreadable)?.enumerate() {
            let mut entry = entry.map_err(unreadable)?;
            let name = entry.path().map_err(unreadable)?.into_owned();
            let kind = entry.header().entry_type();
            if matches!(kind, EntryType::Symlink | EntryType::Link) {
                let target = entry.link_name().map_err(unreadable)?.unwrap_or_default();
                let target = if kind.is_symlink() {
                    name.parent().unwrap_or(Path::new("")).join(target)
                } else {
                    target.into_owned()
                };
                files.links.insert(normal(&name), normal(&target));
            } else if kind.is_file() {
                // Our own name: the archive's cannot lead anywhere.
                let path = scratch.join(number.to_string());
                let expected = entry.size();
                let mut file =
                    File::create(&path).context(|| format!("make {}", path.display()))?;
                let copied = io::copy(&mut entry, &mut file).map_err(unreadable)?;
                if copied != expected {
                    return Err(Error::BadArchive(
                        "invalid archive: it ends too early".to_owned(),
                    ));
                }
                files.paths.insert(normal(&name), path);
            }
        }
        Ok(files)
    }

    fn find(&self, name: &str) -> Option<&Path> {
        let name = normal(Path::new(name));
        let target = self.links.get(&name).unwrap_or(&name);
        self.paths.get(target).map(PathBuf::as_path)
    }

    fn path(&self, name: &str) -> Result<&Path> {
        self.find(name)
            .ok_or_else(|| Error::BadArchive(format!("invalid archive: {name} is missing")))
    }

    fn bytes(&self, name: &str) -> Result<Vec<u8>> {
        let path = self.path(name)?;
        let size = fs::metadata(path).map_or(0, |meta| meta.len());
        if size > MAX_JSON {
            return Err(Error::BadArchive(format!(
                "invalid archive: {name} is too large"
            )));
        }
        fs::read(path).context(|| format!("read {}", path.display()))
    }

    fn json<T: DeserializeOwned>(&self, name: &str) -> Result<T> {
        parse(name, &self.bytes(name)?)
    }

    /// An image of `docker save`.
    fn saved(&self, image: SavedImage) -> Result<Packed> {
        let raw = self.bytes(&image.config)?;
        let stated = Path::new(&image.config).file_stem().unwrap_or_default();
        let stated = stated.to_string_lossy();
        if stated.len() == 64 {
            check(&image.config, &stated, &raw)?;
        }
        let names = image.repo_tags.unwrap_or_default();
        let names = names
            .iter()
            .map(|name| name.parse())
            .collect::<Result<_>>()?;
        let layers = image
            .layers
            .iter()
            .map(|name| self.path(name).map(Path::to_owned));
        packed(&image.config, raw, layers.collect::<Result<_>>()?, names)
    }

    fn index(
        &self,
        index: Index,
        names: &[Reference],
        depth: usize,
        images: &mut Vec<Packed>,
    ) -> Result<()> {
        for descriptor in index.manifests {
            let mut names = names.to_vec();
            names.extend(named(&descriptor));
            let ours = descriptor.platform.as_ref().is_none_or(|platform| {
                platform.os == "linux" && platform.architecture == super::config::architecture()
            });
            if !ours {
                continue;
            }
            let nested = descriptor.media_type.contains("image.index")
                || descriptor.media_type.contains("manifest.list");
            let (name, raw) = self.blob(&descriptor)?;
            if !nested {
                images.push(self.manifest(&parse(&name, &raw)?, names)?);
            } else if depth < MAX_NESTING {
                self.index(parse(&name, &raw)?, &names, depth + 1, images)?;
            } else {
                return Err(Error::BadArchive(
                    "invalid archive: its indexes nest too deep".to_owned(),
                ));
            }
        }
        Ok(())
    }

    fn manifest(&self, manifest: &Manifest, names: Vec<Reference>) -> Result<Packed> {
        let (name, raw) = self.blob(&manifest.config)?;
        let layer = |layer: &Descriptor| {
            let name = blob_name(&layer.digest)?;
            let path = self.path(&name)?;
            let file = File::open(path).context(|| format!("read {}", path.display()))?;
            let digest = stream::Hashing::new(file).finish();
            let digest = digest.context(|| format!("read {}", path.display()))?;
            check_digest(&name, &layer.digest, &digest)?;
            Ok(path.to_owned())
        };
        let layers = manifest.layers.iter().map(layer).collect::<Result<_>>()?;
        packed(&name, raw, layers, names)
    }

    fn blob(&self, descriptor: &Descriptor) -> Result<(String, Vec<u8>)> {
        let name = blob_name(&descriptor.digest)?;
        let raw = self.bytes(&name)?;
        check(&name, &descriptor.digest, &raw)?;
        Ok((name, raw))
    }
}

/// The tag that an OCI descriptor carries: containerd's full name, or the layout's.
fn named(descriptor: &Descriptor) -> Option<Reference> {
    [
        "io.containerd.image.name",
        "org.opencontainers.image.ref.name",
    ]
    .iter()
    .filter_map(|key| descriptor.annotations.get(*key))
    .find_map(|name| name.parse().ok())
}

fn blob_name(digest: &str) -> Result<String> {
    match digest.split_once(':') {
        Some(("sha256", hex)) => Ok(format!("blobs/sha256/{hex}")),
        _ => Err(Error::BadArchive(format!(
            "invalid archive: {digest:?} is not a sha256 digest"
        ))),
    }
}

fn packed(name: &str, raw: Vec<u8>, layers: Vec<PathBuf>, names: Vec<Reference>) -> Result<Packed> {
    let document: Document = parse(name, &raw)?;
    if document.os != "linux" {
        return Err(Error::BadArchive(format!(
            "cannot load {} image on linux",
            document.os
        )));
    }
    let stated = document.rootfs.diff_ids.len();
    if stated != layers.len() {
        return Err(Error::BadArchive(format!(
            "invalid manifest, layers length mismatch: expected {stated}, got {}",
            layers.len()
        )));
    }
    Ok(Packed {
        document,
        raw,
        layers,
        names,
    })
}

fn parse<T: DeserializeOwned>(name: &str, raw: &[u8]) -> Result<T> {
    serde_json::from_slice(raw)
        .map_err(|error| Error::BadArchive(format!("invalid archive: {name}: {error}")))
}

fn check(name: &str, stated: &str, raw: &[u8]) -> Result<()> {
    check_digest(name, stated, &stream::digest(raw))
}

fn check_digest(name: &str, stated: &str, found: &str) -> Result<()> {
    if stated.trim_start_matches("sha256:") == found {
        Ok(())
    } else {
        Err(Error::BadArchive(format!(
            "invalid archive: {name} has the digest sha256:{found}"
        )))
    }
}

/// A name without `.`, `..` and a leading `/`.
fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => normal.push(name),
            Component::ParentDir => drop(normal.pop()),
            _ => {}
        }
    }
    normal
}

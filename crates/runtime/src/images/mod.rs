//! Images: root file systems to run, with what their authors say of running them.
//!
//! Owns the store below `<data-root>/images`: `configs/<id>.json`, `layers/<diff id>/fs`
//! (each layer on its own, so that images share them), `repositories.json` (the names).
//! What is there is whole: everything is made beside and renamed into place. It knows no
//! containers; whoever removes an image says which are in use.

mod archive;
mod changes;
mod config;
mod directory;
mod intake;
mod layer;
mod reference;
mod stream;

pub use config::{ImageConfig, StringSet};
pub use reference::{ImageId, Reference};

use crate::{
    error::{Context, Error, Result},
    files,
};
use config::{Document, LayerList};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};
use vw_model::rfc3339;

/// The image that is always there: a private, writable view of this machine's own root.
pub const HOST: &str = "host";

type Names = BTreeMap<Reference, ImageId>;

/// An image as it is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// The digest of its configuration.
    pub id: ImageId,
    /// Its names.
    pub tags: Vec<Reference>,
    /// When it was made, as its configuration says (RFC 3339); may be empty.
    pub created: String,
    /// The sum of its files' sizes, in bytes.
    pub size: u64,
    /// As Go names it, such as `amd64`.
    pub architecture: String,
    /// Always `linux`.
    pub os: String,
    /// What a container gets from it.
    pub config: ImageConfig,
    /// Digests of its layers, lowest first.
    pub layers: Vec<ImageId>,
}

impl Image {
    /// When it was made; `None` where its configuration does not say.
    #[must_use]
    pub fn made(&self) -> Option<SystemTime> {
        let nanos = rfc3339::parse(&self.created).filter(|nanos| *nanos >= 0)?;
        rfc3339::system_time(nanos)
    }
}

/// What a removal did, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Removed {
    /// A name.
    Untagged(Reference),
    /// The image itself, with the layers that no other has.
    Deleted(ImageId),
}

/// The store. Its methods may be called from several threads; changes go one at a time.
#[derive(Debug)]
pub struct Images {
    root: PathBuf,
    names: Mutex<Names>,
    /// Held while layers and configurations come and go.
    changing: Mutex<()>,
}

impl Images {
    /// Opens the store below a data directory, making it; clears what a crash left half-made.
    ///
    /// # Errors
    /// [`Error::Damaged`] when the list of names does not parse, [`Error::Io`].
    pub fn open(data_root: &Path) -> Result<Self> {
        let root = data_root.join("images");
        for part in ["configs", "layers", "tmp"] {
            files::make_dir(&root.join(part))?;
        }
        for left in fs::read_dir(root.join("tmp"))
            .into_iter()
            .flatten()
            .flatten()
        {
            files::remove_tree(&left.path())?;
        }
        let names = files::read_json(&root.join("repositories.json"))?.unwrap_or_default();
        Ok(Self {
            root,
            names: Mutex::new(names),
            changing: Mutex::new(()),
        })
    }

    /// All images, newest first, the image `host` last.
    ///
    /// # Errors
    /// [`Error::Damaged`], [`Error::Io`].
    pub fn list(&self) -> Result<Vec<Image>> {
        let mut images = Vec::new();
        for id in self.ids()? {
            images.push(self.image(&id)?);
        }
        images.sort_by(|a, b| b.created.cmp(&a.created).then_with(|| a.id.cmp(&b.id)));
        images.push(host()?);
        Ok(images)
    }

    /// Finds an image by its name, its id or a prefix of its id.
    ///
    /// # Errors
    /// [`Error::NoSuchImage`], [`Error::AmbiguousImage`].
    pub fn get(&self, wanted: &str) -> Result<Image> {
        let host = host()?;
        let reference = wanted.parse::<Reference>().ok();
        if let Some(reference) = &reference {
            let id = lock(&self.names).get(reference).cloned();
            if let Some(id) = id {
                return self.image(&id);
            }
            if host.tags.contains(reference) {
                return Ok(host);
            }
        }
        let prefix = wanted.strip_prefix("sha256:").unwrap_or(wanted);
        let is_hex = !prefix.is_empty() && prefix.bytes().all(|byte| byte.is_ascii_hexdigit());
        let mut matching = Vec::new();
        if is_hex {
            let ids = self.ids()?.into_iter().chain([host.id.clone()]);
            matching.extend(ids.filter(|id| id.hex().starts_with(prefix)));
        }
        match matching.as_slice() {
            [] => {
                let shown = reference.map_or_else(|| wanted.to_owned(), |name| name.to_string());
                Err(Error::NoSuchImage(shown))
            }
            [only] if *only == host.id => Ok(host),
            [only] => self.image(only),
            _ => Err(Error::AmbiguousImage(wanted.to_owned())),
        }
    }

    /// Gives an image a further name, taking it from another that had it.
    ///
    /// # Errors
    /// [`Error::NoSuchImage`], [`Error::InvalidReference`] (also for the name `host`).
    pub fn tag(&self, image: &str, name: &str) -> Result<()> {
        let name = parse_name(name)?;
        let image = self.get(image)?;
        if image.id == host()?.id {
            return Err(Error::InvalidReference(HOST.to_owned()));
        }
        self.set_name(name, &image.id)
    }

    /// Removes a name and, with its last one, the image; by id, the image with its one name.
    ///
    /// `used_by` names the container that uses an image, and whether it runs.
    ///
    /// # Errors
    /// [`Error::NoSuchImage`]; [`Error::ImageInUse`] by Docker's rules: a running container
    /// holds an image even against `force`.
    pub fn remove(
        &self,
        wanted: &str,
        force: bool,
        used_by: impl Fn(&ImageId) -> Option<(String, bool)>,
    ) -> Result<Vec<Removed>> {
        let _changing = lock(&self.changing);
        let image = self.get(wanted)?;
        let refuse = |how, why| {
            Err(Error::ImageInUse {
                reference: wanted.to_owned(),
                how,
                why,
            })
        };
        if image.id == host()?.id {
            return refuse(
                "cannot be forced",
                "the image host is always there".to_owned(),
            );
        }
        let by_name = wanted
            .parse::<Reference>()
            .ok()
            .filter(|name| image.tags.contains(name));
        let mut removed = Vec::new();
        if let Some(name) = by_name.clone().filter(|_| image.tags.len() > 1) {
            self.forget_names(std::slice::from_ref(&name))?;
            return Ok(vec![Removed::Untagged(name)]);
        }
        if by_name.is_none() && image.tags.len() > 1 && !force {
            return refuse(
                "must be forced",
                "image is referenced in multiple repositories".to_owned(),
            );
        }
        if let Some((container, running)) = used_by(&image.id) {
            if running {
                return refuse(
                    "cannot be forced",
                    format!("image is being used by running container {container}"),
                );
            }
            if !force {
                return refuse(
                    "must force",
                    format!(
                        "container {container} is using its referenced image {}",
                        short(&image.id)
                    ),
                );
            }
        }
        self.forget_names(&image.tags)?;
        removed.extend(image.tags.into_iter().map(Removed::Untagged));
        files::remove_file(&self.config_path(&image.id))?;
        self.remove_unused_layers(&image.layers)?;
        removed.push(Removed::Deleted(image.id));
        Ok(removed)
    }

    /// Directories to stack for an image, lowest first; `None` for the image `host`.
    ///
    /// # Errors
    /// [`Error::NoSuchImage`] when a layer is gone.
    pub(crate) fn layers(&self, id: &ImageId) -> Result<Option<Vec<PathBuf>>> {
        if *id == host()?.id {
            return Ok(None);
        }
        let image = self.image(id)?;
        let layers: Vec<_> = image
            .layers
            .iter()
            .map(|layer| self.layer(layer).join("fs"))
            .collect();
        if layers.iter().all(|layer| layer.is_dir()) {
            Ok(Some(layers))
        } else {
            Err(Error::NoSuchImage(id.to_string()))
        }
    }

    fn ids(&self) -> Result<Vec<ImageId>> {
        let configs = self.root.join("configs");
        let entries = fs::read_dir(&configs).context(|| format!("read {}", configs.display()))?;
        let stem = |path: PathBuf| path.file_stem()?.to_str()?.parse().ok();
        Ok(entries
            .flatten()
            .filter_map(|entry| stem(entry.path()))
            .collect())
    }

    fn image(&self, id: &ImageId) -> Result<Image> {
        let document: Document = files::read_json(&self.config_path(id))?
            .ok_or_else(|| Error::NoSuchImage(id.to_string()))?;
        let names = lock(&self.names);
        let tags = names
            .iter()
            .filter(|(_, of)| *of == id)
            .map(|(name, _)| name.clone());
        let size = |layer| files::read_json::<u64>(&self.layer(layer).join("size"));
        let sizes = document.rootfs.diff_ids.iter().map(size);
        let sizes: Vec<u64> = sizes
            .map(|size| size.map(Option::unwrap_or_default))
            .collect::<Result<_>>()?;
        Ok(shown(
            id.clone(),
            tags.collect(),
            sizes.iter().sum(),
            document,
        ))
    }

    fn set_name(&self, name: Reference, id: &ImageId) -> Result<()> {
        self.change_names(|names| drop(names.insert(name, id.clone())))
    }

    fn forget_names(&self, gone: &[Reference]) -> Result<()> {
        self.change_names(|names| names.retain(|name, _| !gone.contains(name)))
    }

    fn change_names(&self, change: impl FnOnce(&mut Names)) -> Result<()> {
        let mut names = lock(&self.names);
        let mut changed = names.clone();
        change(&mut changed);
        let path = self.root.join("repositories.json");
        files::replace_durably(&path, &files::to_json(&path, &changed)?)?;
        *names = changed;
        Ok(())
    }

    fn remove_unused_layers(&self, candidates: &[ImageId]) -> Result<()> {
        let mut used = BTreeSet::new();
        for id in self.ids()? {
            used.extend(self.image(&id)?.layers);
        }
        for layer in candidates.iter().filter(|layer| !used.contains(*layer)) {
            files::remove_tree(&self.layer(layer))?;
        }
        Ok(())
    }

    fn config_path(&self, id: &ImageId) -> PathBuf {
        self.root.join("configs").join(format!("{}.json", id.hex()))
    }

    fn layer(&self, id: &ImageId) -> PathBuf {
        self.root.join("layers").join(id.hex())
    }
}

/// The image `host`: it has no layers of its own.
fn host() -> Result<Image> {
    let shell = if Path::new("/bin/bash").exists() {
        "/bin/bash"
    } else {
        "/bin/sh"
    };
    let document = Document {
        architecture: config::architecture().to_owned(),
        os: "linux".to_owned(),
        created: String::new(),
        config: ImageConfig {
            cmd: vec![shell.to_owned()],
            ..ImageConfig::default()
        },
        rootfs: LayerList {
            kind: "host".to_owned(),
            diff_ids: Vec::new(),
        },
        history: None,
    };
    let raw = files::to_json(Path::new(HOST), &document)?;
    let id = stream::digest(&raw).parse()?;
    Ok(shown(id, vec![HOST.parse()?], 0, document))
}

fn shown(id: ImageId, tags: Vec<Reference>, size: u64, document: Document) -> Image {
    Image {
        id,
        tags,
        created: document.created,
        size,
        architecture: document.architecture,
        os: document.os,
        config: document.config,
        layers: document.rootfs.diff_ids,
    }
}

fn parse_name(name: &str) -> Result<Reference> {
    let reference: Reference = name.parse()?;
    if reference.name() == HOST {
        return Err(Error::InvalidReference(name.to_owned()));
    }
    Ok(reference)
}

fn short(id: &ImageId) -> &str {
    &id.hex()[..12]
}

/// A panic elsewhere leaves the data as it was: changes are made on a copy.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;

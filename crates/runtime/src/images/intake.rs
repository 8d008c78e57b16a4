//! How images come in: a tar, a directory, an archive of images.
//!
//! Owns the order: layers first, then the configuration, then the names, so that a crash
//! leaves at most layers that nobody names, in a scratch directory that the next start
//! clears.

use super::{
    Image, ImageConfig, ImageId, Images, Reference, archive, changes,
    config::{self, Document, LayerList},
    directory, layer, lock, parse_name, stream,
};
use crate::{
    error::{Context, Error, Result},
    files,
};
use std::{
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
    time::SystemTime,
};
use vw_model::rfc3339;

impl Images {
    /// Makes an image of one layer from a tar, plain or compressed with gzip.
    ///
    /// # Errors
    /// [`Error::BadArchive`], [`Error::BadChange`], [`Error::InvalidReference`]; nothing
    /// changed then.
    pub fn import(
        &self,
        reader: impl Read + Send,
        name: Option<&str>,
        changes: &[String],
    ) -> Result<Image> {
        let name = name.map(parse_name).transpose()?;
        let mut config = ImageConfig::default();
        for change in changes {
            changes::apply(&mut config, change)?;
        }
        let _changing = lock(&self.changing);
        let scratch = self.scratch()?;
        let layer = self.unpack(reader, scratch.path())?;
        let document = Document {
            architecture: config::architecture().to_owned(),
            os: "linux".to_owned(),
            created: rfc3339::format(rfc3339::nanos(SystemTime::now())),
            config,
            rootfs: LayerList {
                kind: "layers".to_owned(),
                diff_ids: vec![layer],
            },
            history: None,
        };
        let raw = files::to_json(&self.root, &document)?;
        self.commit(&raw, &document, name)
    }

    /// The same from a directory of the host, by the same rules as from a tar of it.
    ///
    /// # Errors
    /// As [`Images::import`]; [`Error::Io`] when the directory cannot be read.
    pub fn import_directory(
        &self,
        directory: &Path,
        name: Option<&str>,
        changes: &[String],
    ) -> Result<Image> {
        let what = || format!("read {}", directory.display());
        let (reader, writer) = io::pipe().context(what)?;
        std::thread::scope(|scope| {
            let written =
                scope.spawn(move || directory::write(directory, io::BufWriter::new(writer)));
            let image = self.import(reader, name, changes);
            match written.join() {
                // When the import ended first, its own error tells why.
                Ok(Err(error)) if error.kind() != io::ErrorKind::BrokenPipe => {
                    Err(error).context(what)
                }
                Err(_) => Err(io::Error::other("the reader of the directory failed")).context(what),
                Ok(_) => image,
            }
        })
    }

    /// Takes in the images of an archive (`docker save`, OCI layout), plain or gzip.
    ///
    /// # Errors
    /// [`Error::BadArchive`]; images of the archive before the bad one are there then.
    pub fn load(&self, reader: impl Read + Send) -> Result<Vec<Image>> {
        let _changing = lock(&self.changing);
        let scratch = self.scratch()?;
        let mut images = Vec::new();
        for packed in archive::read(reader, scratch.path())? {
            for (stated, path) in packed.document.rootfs.diff_ids.iter().zip(&packed.layers) {
                if self.layer(stated).exists() {
                    continue;
                }
                let file = File::open(path).context(|| format!("read {}", path.display()))?;
                let found = self.unpack_checked(file, scratch.path(), Some(stated))?;
                tracing::debug!(layer = %found, "unpacked");
            }
            let mut names = packed.names.into_iter();
            let mut image = self.commit(&packed.raw, &packed.document, names.next())?;
            for name in names {
                self.set_name(name, &image.id)?;
                image = self.image(&image.id)?;
            }
            images.push(image);
        }
        Ok(images)
    }

    fn scratch(&self) -> Result<Scratch> {
        let name = format!(
            "{}-{}",
            std::process::id(),
            rfc3339::nanos(SystemTime::now())
        );
        let path = self.root.join("tmp").join(name);
        files::make_dir(&path)?;
        Ok(Scratch(path))
    }

    fn unpack(&self, reader: impl Read + Send, scratch: &Path) -> Result<ImageId> {
        self.unpack_checked(reader, scratch, None)
    }

    /// Unpacks a layer and puts it into its place.
    fn unpack_checked(
        &self,
        reader: impl Read + Send,
        scratch: &Path,
        stated: Option<&ImageId>,
    ) -> Result<ImageId> {
        let beside = scratch.join("layer");
        files::remove_tree(&beside)?;
        files::make_dir(&beside)?;
        let root = beside.join("fs");
        files::make_public_dir(&root)?;
        let mut hashing = stream::Hashing::new(stream::decompress(reader)?);
        let size = layer::unpack(&mut hashing, &root)?;
        let digest = hashing
            .finish()
            .map_err(|error| Error::BadArchive(format!("invalid layer: {error}")))?;
        let id: ImageId = digest.parse()?;
        if let Some(stated) = stated.filter(|stated| **stated != id) {
            return Err(Error::BadArchive(format!(
                "invalid layer: it has the digest {id}, and {stated} was stated"
            )));
        }
        files::replace(&beside.join("size"), size.to_string().as_bytes())?;
        let place = self.layer(&id);
        if !place.exists() {
            fs::rename(&beside, &place).context(|| format!("make {}", place.display()))?;
        }
        Ok(id)
    }

    fn commit(&self, raw: &[u8], document: &Document, name: Option<Reference>) -> Result<Image> {
        let id: ImageId = stream::digest(raw).parse()?;
        files::replace_durably(&self.config_path(&id), raw)?;
        if let Some(name) = name {
            self.set_name(name, &id)?;
        }
        tracing::debug!(image = %id, layers = document.rootfs.diff_ids.len(), "image stored");
        self.image(&id)
    }
}

/// A directory for what is half-made, removed whatever happens.
struct Scratch(PathBuf);

impl Scratch {
    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = files::remove_tree(&self.0) {
            tracing::warn!(%error, "a half-made image stays until the next start");
        }
    }
}

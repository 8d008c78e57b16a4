//! A container's root file system: an image's layers below, a writable layer of its own
//! on top, joined by overlayfs.
//!
//! Owns the writable layer (data directory, outlives a reboot) and the mount (in the
//! host's mount namespace, below the run directory). Knows nothing of processes.

mod host;

use crate::{
    error::{Context, Error, Result},
    files,
    images::{ImageId, Images},
    inroot,
};
use rustix::{
    fd::{AsFd, OwnedFd},
    io::Errno,
    mount::{MountFlags, UnmountFlags},
};
use serde::{Deserialize, Serialize};
use std::{
    ffi::CString,
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

/// overlayfs takes its options on one page.
const MAX_OPTIONS: usize = 4095;

/// What a container's root was made from; kept beside its writable layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Origin {
    pub(crate) image: ImageId,
}

/// The directories of one container's root.
#[derive(Debug, Clone)]
pub(crate) struct Rootfs {
    /// Below the data directory.
    pub(crate) data: PathBuf,
    /// Where it is mounted.
    pub(crate) mounted: PathBuf,
}

impl Rootfs {
    fn upper(&self) -> PathBuf {
        self.data.join("upper")
    }

    fn work(&self) -> PathBuf {
        self.data.join("work")
    }

    fn origin_path(&self) -> PathBuf {
        self.data.join("rootfs.json")
    }

    /// The container's id, which its directory is named by.
    fn name(&self) -> String {
        let name = self.data.file_name().unwrap_or_default();
        name.to_string_lossy().into_owned()
    }

    /// What it was made from.
    pub(crate) fn origin(&self) -> Result<Option<Origin>> {
        files::read_json(&self.origin_path())
    }

    /// Makes the writable layer. Doing it again for the same image changes nothing.
    ///
    /// `hidden` are directories that a view of the host must not show.
    pub(crate) fn prepare(&self, image: &ImageId, images: &Images, hidden: &[&Path]) -> Result<()> {
        match self.origin()? {
            Some(origin) if origin.image == *image => return Ok(()),
            Some(_) => return Err(Error::AlreadyCreated(self.name())),
            None => {}
        }
        // Without the origin's file it is a half-made one, whose parts may be there already.
        let layers = images.layers(image)?;
        files::make_dir(&self.data)?;
        files::make_public_dir(&self.upper())?;
        files::make_dir(&self.work())?;
        let top = layers.as_ref().and_then(|layers| layers.last());
        same_mode(top.map_or(Path::new("/"), PathBuf::as_path), &self.upper())?;
        if layers.is_none() {
            host::hide(&self.upper(), hidden)?;
        }
        let origin = Origin {
            image: image.clone(),
        };
        let path = self.origin_path();
        files::replace(&path, &files::to_json(&path, &origin)?)
    }

    /// Mounts it, unless it is mounted; tells whether it is a view of the host.
    ///
    /// # Errors
    /// [`Error::NoSuchContainer`] when it was never prepared; [`Error::UnfitDirectory`] when
    /// the file system of the data directory cannot hold overlayfs's writable layer.
    pub(crate) fn mount(&self, images: &Images) -> Result<bool> {
        let origin = self
            .origin()?
            .ok_or_else(|| Error::NoSuchContainer(self.name()))?;
        let layers = images.layers(&origin.image)?;
        let host_view = layers.is_none();
        files::make_dir(&self.mounted)?;
        if !self.is_mounted()? {
            self.overlay(&layers.unwrap_or_else(|| vec![PathBuf::from("/")]))?;
        }
        Ok(host_view)
    }

    /// Unmounts it as often as it was mounted. Idempotent.
    pub(crate) fn unmount(&self) -> Result<()> {
        loop {
            match rustix::mount::unmount(
                &self.mounted,
                UnmountFlags::DETACH | UnmountFlags::NOFOLLOW,
            ) {
                Ok(()) => {}
                Err(Errno::INVAL | Errno::NOENT) => return Ok(()),
                error => return error.context(|| format!("unmount {}", self.mounted.display())),
            }
        }
    }

    fn is_mounted(&self) -> Result<bool> {
        // overlayfs has a device number of its own.
        let device = |path: &Path| fs::metadata(path).map(|meta| meta.dev());
        let above = self.mounted.parent().unwrap_or(&self.mounted);
        let differ = || Ok::<_, std::io::Error>(device(&self.mounted)? != device(above)?);
        differ().context(|| format!("look at {}", self.mounted.display()))
    }

    /// Layers are named by descriptors: a path may hold what overlayfs takes for a separator,
    /// and a hundred paths do not fit its one page of options.
    fn overlay(&self, layers: &[PathBuf]) -> Result<()> {
        let open =
            |path: &Path| inroot::open_root(path).context(|| format!("open {}", path.display()));
        let lower: Vec<OwnedFd> = layers
            .iter()
            .rev()
            .map(|layer| open(layer))
            .collect::<Result<_>>()?;
        let (upper, work) = (open(&self.upper())?, open(&self.work())?);
        let by_fd = |fd: &OwnedFd| inroot::through(fd.as_fd()).display().to_string();
        let lower: Vec<String> = lower.iter().map(by_fd).collect();
        let options = format!(
            "lowerdir={},upperdir={},workdir={}",
            lower.join(":"),
            by_fd(&upper),
            by_fd(&work)
        );
        if options.len() > MAX_OPTIONS {
            return Err(Error::InvalidSpec(format!(
                "the image has {} layers, more than overlayfs stacks; flatten it (docker export, then import)",
                lower.len()
            )));
        }
        let options = CString::new(options).context(|| "mount overlayfs".to_owned())?;
        let flags = MountFlags::empty();
        match rustix::mount::mount(
            "vethwork",
            &self.mounted,
            "overlay",
            flags,
            options.as_c_str(),
        ) {
            Err(Errno::INVAL) => Err(Error::UnfitDirectory {
                path: self.data.clone(),
                why: "its file system cannot hold overlayfs's writable layer; \
                      choose a --data-root on ext4, xfs, btrfs or tmpfs"
                    .to_owned(),
            }),
            other => other.context(|| format!("mount {}", self.mounted.display())),
        }
    }
}

/// The merged root shows the writable layer's owner and mode.
fn same_mode(from: &Path, to: &Path) -> Result<()> {
    use std::os::unix::fs::{PermissionsExt, chown};
    let copy = || {
        let meta = fs::metadata(from)?;
        chown(to, Some(meta.uid()), Some(meta.gid()))?;
        fs::set_permissions(to, fs::Permissions::from_mode(meta.mode() & 0o7777))
    };
    copy().context(|| format!("prepare {}", to.display()))
}

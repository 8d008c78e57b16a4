//! Unpacking one layer's tar into a directory that overlayfs can stack.
//!
//! Owns the safety of it: every path is resolved below the layer's root by
//! [`crate::inroot`], so that neither `..` nor a symlink that an earlier entry planted
//! leads out, and nothing is written through a symlink. Whiteouts become overlayfs's own
//! (`.wh.NAME` a character device 0:0, `.wh..wh..opq` an attribute); attributes in the
//! archive that overlayfs would obey are dropped.

mod meta;

use crate::{
    error::{Context, Error, Result},
    inroot,
};
use meta::{finish_entry, mode, mtime, owner, times};
use rustix::{
    fd::{AsFd, BorrowedFd, OwnedFd},
    fs::{AtFlags, Dev, FileType, Mode, OFlags, XattrFlags},
    io::Errno,
};
use std::{
    ffi::{OsStr, OsString},
    fs::File,
    io::{self, Read},
    os::unix::ffi::OsStrExt,
    path::{Component, Path, PathBuf},
};
use tar::{Archive, Entry, EntryType};

const WHITEOUT: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";
/// aufs's own files, of no meaning to others.
const AUFS: &[u8] = b".wh..wh.";

/// Unpacks a tar and returns the sum of its files' sizes.
///
/// # Errors
/// [`Error::BadArchive`] for what is no tar or tries to lead out.
pub(crate) fn unpack(archive: impl Read, directory: &Path) -> Result<u64> {
    let root = inroot::open_root(directory).context(|| format!("open {}", directory.display()))?;
    let mut unpacker = Unpacker {
        root,
        size: 0,
        directories: Vec::new(),
    };
    let mut archive = Archive::new(archive);
    archive.set_ignore_zeros(false);
    let entries = archive
        .entries()
        .map_err(|error| bad(Path::new("."), &error))?;
    for entry in entries {
        let mut entry = entry.map_err(|error| bad(Path::new("."), &error))?;
        let path = entry
            .path()
            .map_err(|error| bad(Path::new("."), &error))?
            .into_owned();
        unpacker.entry(&mut entry, &path)?;
    }
    unpacker.finish()
}

fn bad(path: &Path, error: &dyn std::fmt::Display) -> Error {
    Error::BadArchive(format!("invalid layer: {}: {error}", path.display()))
}

struct Unpacker {
    root: OwnedFd,
    size: u64,
    /// Their times are set last: making what is in them changes them.
    directories: Vec<(PathBuf, i64)>,
}

/// Where an entry goes: the directory it lies in, opened, and its name there.
struct Place {
    parent: OwnedFd,
    name: OsString,
}

impl Unpacker {
    fn entry<R: Read>(&mut self, entry: &mut Entry<'_, R>, path: &Path) -> Result<()> {
        let kind = entry.header().entry_type();
        if matches!(kind, EntryType::XGlobalHeader) {
            return Ok(());
        }
        let Some(place) = self.place(path)? else {
            // The root itself: only its owner, mode and time.
            return self.describe_root(entry, path);
        };
        let name = place.name.as_bytes();
        if name == OPAQUE {
            return opaque(place.parent.as_fd(), path);
        }
        if name.starts_with(AUFS) {
            return Ok(());
        }
        if let Some(hidden) = name.strip_prefix(WHITEOUT) {
            return whiteout(&place, OsStr::from_bytes(hidden)).map_err(|e| bad(path, &e));
        }
        self.make(entry, kind, &place, path)
            .map_err(|error| match error {
                MakeError::Hostile(why) => {
                    Error::BadArchive(format!("invalid layer: {}: {why}", path.display()))
                }
                MakeError::Io(source) => Error::Io {
                    what: format!("unpack {}", path.display()),
                    source,
                },
            })
    }

    /// Finds an entry's place, making directories that the archive left out.
    fn place(&self, path: &Path) -> Result<Option<Place>> {
        if path.components().any(|part| part == Component::ParentDir) {
            return Err(bad(path, &"the path holds `..`"));
        }
        let Some(name) = path.file_name() else {
            return Ok(None);
        };
        let parent = path.parent().unwrap_or(Path::new(""));
        let parent =
            inroot::make_dirs(self.root.as_fd(), parent).map_err(|error| bad(path, &error))?;
        // O_PATH descriptors cannot set attributes: reopen for reading.
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let parent = rustix::fs::openat(&parent, ".", flags, Mode::empty())
            .context(|| format!("open the directory of {}", path.display()))?;
        Ok(Some(Place {
            parent,
            name: name.to_owned(),
        }))
    }

    fn describe_root<R: Read>(&mut self, entry: &Entry<'_, R>, path: &Path) -> Result<()> {
        let header = entry.header();
        let set = || {
            let (uid, gid) = owner(header)?;
            rustix::fs::fchown(&self.root, Some(uid), Some(gid))?;
            rustix::fs::fchmod(&self.root, mode(header)?)?;
            Ok::<_, io::Error>(())
        };
        set().map_err(|error| bad(path, &error))
    }

    fn make<R: Read>(
        &mut self,
        entry: &mut Entry<'_, R>,
        kind: EntryType,
        place: &Place,
        path: &Path,
    ) -> Result<(), MakeError> {
        let at = place.parent.as_fd();
        if !kind.is_dir() || !is_directory(place) {
            clear(at, &place.name)?;
        }
        match kind {
            EntryType::Directory => self.directory(entry, place, path)?,
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                self.file(entry, place)?;
            }
            EntryType::Symlink => {
                let target = link_name(entry)?;
                rustix::fs::symlinkat(&target, at, &place.name)?;
            }
            EntryType::Link => return self.hard_link(&link_name(entry)?, place),
            EntryType::Fifo => {
                rustix::fs::mknodat(at, &place.name, FileType::Fifo, mode(entry.header())?, 0)?;
            }
            EntryType::Char | EntryType::Block => node(entry, kind, place)?,
            other => return Err(MakeError::Hostile(format!("unknown type {other:?}"))),
        }
        finish_entry(entry, kind, place)
    }

    fn directory<R: Read>(
        &mut self,
        entry: &Entry<'_, R>,
        place: &Place,
        path: &Path,
    ) -> io::Result<()> {
        match rustix::fs::mkdirat(&place.parent, &place.name, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
        self.directories
            .push((path.to_owned(), mtime(entry.header())));
        Ok(())
    }

    fn file<R: Read>(&mut self, entry: &mut Entry<'_, R>, place: &Place) -> Result<(), MakeError> {
        let flags =
            OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(&place.parent, &place.name, flags, Mode::RUSR | Mode::WUSR)?;
        let mut file = File::from(fd);
        let expected = entry.size();
        let copied = io::copy(entry, &mut file)?;
        if copied != expected {
            return Err(MakeError::Hostile("the archive ends within it".to_owned()));
        }
        self.size += copied;
        Ok(())
    }

    /// Links to a file of the same layer; the target's own last part is not followed.
    fn hard_link(&self, target: &Path, place: &Place) -> Result<(), MakeError> {
        let parent = target.parent().unwrap_or(Path::new(""));
        let climbs = target.components().any(|part| part == Component::ParentDir);
        let Some(name) = target.file_name().filter(|_| !climbs) else {
            return Err(MakeError::Hostile(format!(
                "it links to {}",
                target.display()
            )));
        };
        let from = inroot::open(self.root.as_fd(), parent, OFlags::PATH | OFlags::DIRECTORY)?;
        rustix::fs::linkat(&from, name, &place.parent, &place.name, AtFlags::empty())?;
        Ok(())
    }

    fn finish(self) -> Result<u64> {
        for (path, mtime) in self.directories.iter().rev() {
            // A later entry may have replaced it by something else: then there is nothing to do.
            if let Ok(fd) =
                inroot::open(self.root.as_fd(), path, OFlags::RDONLY | OFlags::DIRECTORY)
            {
                let set = rustix::fs::futimens(&fd, &times(*mtime));
                set.context(|| format!("set the time of {}", path.display()))?;
            }
        }
        // What is renamed into place after this must be whole after a loss of power.
        rustix::fs::syncfs(&self.root).context(|| "flush the layer".to_owned())?;
        Ok(self.size)
    }
}

enum MakeError {
    Hostile(String),
    Io(io::Error),
}

impl<E: Into<io::Error>> From<E> for MakeError {
    fn from(error: E) -> Self {
        Self::Io(error.into())
    }
}

fn is_directory(place: &Place) -> bool {
    rustix::fs::statat(&place.parent, &place.name, AtFlags::SYMLINK_NOFOLLOW)
        .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
}

/// Removes what an earlier entry of the same name left.
fn clear(at: BorrowedFd<'_>, name: &OsStr) -> io::Result<()> {
    match rustix::fs::unlinkat(at, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(Errno::ISDIR | Errno::PERM) => {
            // Only ever a directory of this layer, below a directory that is open: the path
            // through the descriptor cannot be turned elsewhere.
            let path = crate::inroot::through(at).join(name);
            std::fs::remove_dir_all(path)
        }
        Err(error) => Err(error.into()),
    }
}

fn node<R: Read>(entry: &Entry<'_, R>, kind: EntryType, place: &Place) -> Result<(), MakeError> {
    let header = entry.header();
    let major = header.device_major()?.unwrap_or(0);
    let minor = header.device_minor()?.unwrap_or(0);
    if kind == EntryType::Char && (major, minor) == (0, 0) {
        return Err(MakeError::Hostile(
            "a character device 0:0 would hide a file of a lower layer".to_owned(),
        ));
    }
    let kind = if kind == EntryType::Char {
        FileType::CharacterDevice
    } else {
        FileType::BlockDevice
    };
    let device: Dev = rustix::fs::makedev(major, minor);
    rustix::fs::mknodat(&place.parent, &place.name, kind, mode(header)?, device)?;
    Ok(())
}

fn opaque(directory: BorrowedFd<'_>, path: &Path) -> Result<()> {
    rustix::fs::fsetxattr(
        directory,
        "trusted.overlay.opaque",
        b"y",
        XattrFlags::empty(),
    )
    .context(|| format!("make {} opaque", path.display()))
}

fn whiteout(place: &Place, hidden: &OsStr) -> io::Result<()> {
    if hidden.is_empty() || hidden == "." || hidden == ".." {
        return Err(io::Error::other("it hides nothing"));
    }
    // Within one layer, what the layer itself brings wins over its whiteouts.
    match rustix::fs::mknodat(
        &place.parent,
        hidden,
        FileType::CharacterDevice,
        Mode::empty(),
        0,
    ) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn link_name<R: Read>(entry: &Entry<'_, R>) -> Result<PathBuf, MakeError> {
    match entry.link_name()? {
        Some(target) if !target.as_os_str().is_empty() => Ok(target.into_owned()),
        _ => Err(MakeError::Hostile("a link without a target".to_owned())),
    }
}

#[cfg(test)]
pub(crate) mod tests;

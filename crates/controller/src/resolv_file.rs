//! The resolver file of what was adopted: replaced on request, put back on release.
//!
//! What was adopted has a say in its own files, symlinks among them: its path is resolved below
//! its root and nowhere else, so that none of these leads to a file of the host.

use crate::{
    Controller, records,
    registry::{Sandbox, lock},
};
use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags, mkdirat, open, openat2, unlinkat};
use std::{
    fs::{self, File},
    io::{self, Read, Seek, Write},
    os::{fd::OwnedFd, unix::fs::MetadataExt},
    path::{Path, PathBuf},
};
use vw_model::{AdoptedFrom, Error, Kind, Result, SandboxKind};

/// Symlinks stay below the root, as after chroot(2), whoever renames meanwhile (openat2(2)).
const BELOW: ResolveFlags = ResolveFlags::IN_ROOT.union(ResolveFlags::NO_MAGICLINKS);

/// No resolver file is larger; a hostile one is not read whole.
const LARGEST: u64 = 1 << 20;

/// A file by its root and its path below.
struct Place {
    root: OwnedFd,
    folder: PathBuf,
}

/// Its name in its folder.
const NAME: &str = "resolv.conf";

impl Place {
    fn below(root: &Path, folder: PathBuf) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = open(root, flags, Mode::empty())?;
        Ok(Self { root, folder })
    }

    fn of(from: &AdoptedFrom) -> io::Result<Self> {
        match from {
            AdoptedFrom::Pid { pid, start_time } => {
                let root = format!("/proc/{pid}/root");
                let place = Self::below(Path::new(&root), "etc".into())?;
                // Read after the root is held: a reused id has another start time.
                if crate::sandboxes::start_time(*pid)? == *start_time {
                    Ok(place)
                } else {
                    Err(io::ErrorKind::NotFound.into())
                }
            }
            AdoptedFrom::Netns(path) => {
                let name = path.file_name().unwrap_or_default();
                Self::below(Path::new("/"), Path::new("etc/netns").join(name))
            }
        }
    }

    fn open(&self, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
        let mode = if flags.contains(OFlags::CREATE) {
            Mode::from_raw_mode(0o644)
        } else {
            Mode::empty()
        };
        Ok(openat2(
            &self.root,
            path,
            flags | OFlags::CLOEXEC,
            mode,
            BELOW,
        )?)
    }

    fn file(&self, flags: OFlags) -> io::Result<File> {
        // NONBLOCK: a FIFO must not hang us.
        let flags = flags | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = File::from(self.open(&self.folder.join(NAME), flags)?);
        if file.metadata()?.is_file() {
            Ok(file)
        } else {
            Err(io::Error::other("it is not a regular file"))
        }
    }

    /// The text; `None` where there is no file.
    fn read(&self) -> io::Result<Option<String>> {
        let file = match self.file(OFlags::RDONLY) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(e),
        };
        let mut text = String::new();
        file.take(LARGEST).read_to_string(&mut text)?;
        Ok(Some(text))
    }

    /// Replaces the text in place: the file may be a mount, which cannot be renamed over.
    fn write(&self, text: &str) -> io::Result<()> {
        let mut folder = PathBuf::new();
        for name in &self.folder {
            let parent = self.open(&Path::new(".").join(&folder), OFlags::PATH)?;
            folder.push(name);
            if let Err(error) = self.open(&folder, OFlags::PATH | OFlags::DIRECTORY) {
                if error.kind() != io::ErrorKind::NotFound {
                    return Err(error);
                }
                mkdirat(&parent, name, Mode::from_raw_mode(0o755))?;
            }
        }
        let mut file = self.file(OFlags::RDWR | OFlags::CREATE)?;
        file.set_len(0)?;
        file.rewind()?;
        file.write_all(text.as_bytes())
    }

    fn remove(&self) -> io::Result<()> {
        let folder = self.open(&self.folder, OFlags::PATH | OFlags::DIRECTORY)?;
        Ok(unlinkat(&folder, NAME, AtFlags::empty())?)
    }

    /// Whether it is the file at this path of the host.
    fn is(&self, path: &Path) -> io::Result<bool> {
        let file = match self.file(OFlags::RDONLY) {
            Ok(file) => file.metadata()?,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(e) => return Err(e),
        };
        let host = fs::metadata(path).ok();
        Ok(host.is_some_and(|host| (host.dev(), host.ino()) == (file.dev(), file.ino())))
    }
}

impl Controller {
    /// The resolver file of what is adopted; refused where it is the host's own.
    pub(crate) fn resolv_conf_of(&self, from: &AdoptedFrom) -> Result<PathBuf> {
        let path = match from {
            AdoptedFrom::Pid { pid, .. } => {
                PathBuf::from(format!("/proc/{pid}/root/etc")).join(NAME)
            }
            AdoptedFrom::Netns(path) => {
                let name = path.file_name().unwrap_or_default();
                Path::new("/etc/netns").join(name).join(NAME)
            }
        };
        let shared = Place::of(from).and_then(|place| place.is(&self.config.resolv_conf));
        if shared.map_err(|e| unreplaceable(&path, e))? {
            let message = format!(
                "{} is the host's {}: give the process a mount namespace with a file of its own, or leave out --resolv-conf",
                path.display(),
                self.config.resolv_conf.display()
            );
            return Err(Error::new(Kind::Forbidden, "resolv-conf-shared", message));
        }
        Ok(path)
    }

    /// Replaces the resolver file of what was adopted, where that is asked for. The file may lie where
    /// the adopted process has it hang, so that it is touched without `placing`, under `ops` alone.
    ///
    /// # Errors
    /// When it cannot be replaced.
    pub(crate) fn take_over_resolv_conf(&self, sandbox: &Sandbox) -> Result<()> {
        let state = sandbox.state();
        let SandboxKind::Adopted {
            resolv_conf: Some(path),
            from,
        } = state.spec.kind.clone()
        else {
            return Ok(());
        };
        let resolver = match state.resolver {
            Some(_) => vw_names::Resolver::Embedded,
            None => vw_names::Resolver::Direct { ipv6: true },
        };
        let file = self.resolver_file(&state.spec.dns, resolver);
        drop(state);
        let failed = |e| unreplaceable(&path, e);
        let place = Place::of(&from).map_err(failed)?;
        let former = place.read().map_err(failed)?;
        {
            let _placing = lock(&sandbox.placing);
            sandbox.state().former_resolv_conf = Some(records::FormerFile {
                text: former,
                ours: file.text.clone(),
            });
            self.note_sandbox(sandbox)?;
        }
        place.write(&file.text).map_err(failed)
    }

    /// Puts the resolver file back, unless somebody else changed it meanwhile.
    pub(crate) fn give_back_resolv_conf(&self, sandbox: &Sandbox) {
        let mut state = sandbox.state();
        let Some(former) = state.former_resolv_conf.take() else {
            return;
        };
        let SandboxKind::Adopted {
            resolv_conf: Some(path),
            from,
        } = state.spec.kind.clone()
        else {
            return;
        };
        drop(state);
        // Nothing is to be put back where the process has gone.
        let Ok(place) = Place::of(&from) else {
            return;
        };
        if !place.read().is_ok_and(|text| text == Some(former.ours)) {
            return;
        }
        let put_back = match &former.text {
            Some(text) => place.write(text),
            None => place.remove(),
        };
        if let Err(error) = put_back {
            self.warn(format!("cannot put {} back: {error}", path.display()));
        }
    }
}

fn unreplaceable(path: &Path, error: io::Error) -> Error {
    Error::internal(
        "resolv-conf-unwritable",
        format!("cannot replace {}", path.display()),
    )
    .because(error)
}

#[cfg(test)]
mod tests;

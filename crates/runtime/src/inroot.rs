//! Opening files of a foreign root file system without leaving it.
//!
//! Owns path resolution below a directory by openat2(2) with `RESOLVE_IN_ROOT`:
//! absolute symlinks and `..` stay inside, as they would after chroot(2), and no
//! race can lead out. Nothing else in this crate may follow a path that an image
//! or a container had a say in.

use rustix::{
    fd::{AsFd, BorrowedFd, OwnedFd},
    fs::{self, Mode, OFlags, ResolveFlags},
    io::Errno,
};
use std::{
    ffi::{OsStr, OsString},
    fs::File,
    io::{self, Read},
    path::{Component, Path, PathBuf},
};

const IN_ROOT: ResolveFlags = ResolveFlags::IN_ROOT.union(ResolveFlags::NO_MAGICLINKS);

/// The largest file that is read whole (`/etc/passwd` and the like).
const READ_LIMIT: u64 = 4 << 20;

/// Opens the root itself.
pub(crate) fn open_root(path: &Path) -> io::Result<OwnedFd> {
    Ok(fs::open(
        path,
        OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::RDONLY,
        Mode::empty(),
    )?)
}

/// Opens a path below the root; symlinks resolve inside.
pub(crate) fn open(root: BorrowedFd<'_>, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
    let relative = relative(path);
    // A concurrent rename somewhere makes openat2 give up with EAGAIN (openat2(2)).
    for _ in 0..16 {
        match fs::openat2(
            root,
            &relative,
            flags | OFlags::CLOEXEC,
            Mode::empty(),
            IN_ROOT,
        ) {
            Err(Errno::AGAIN) => {}
            other => return Ok(other?),
        }
    }
    Err(Errno::AGAIN.into())
}

/// Reads a small regular file below the root; `None` when it is not there.
pub(crate) fn read(root: BorrowedFd<'_>, path: &Path) -> io::Result<Option<String>> {
    // NONBLOCK: a FIFO in a hostile image must not hang us.
    let fd = match open(root, path, OFlags::RDONLY | OFlags::NONBLOCK) {
        Ok(fd) => fd,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut text = Vec::new();
    File::from(fd).take(READ_LIMIT).read_to_end(&mut text)?;
    Ok(Some(String::from_utf8_lossy(&text).into_owned()))
}

/// Makes a directory and those above it below the root, mode 0755, and opens it.
pub(crate) fn make_dirs(root: BorrowedFd<'_>, path: &Path) -> io::Result<OwnedFd> {
    let mut at = PathBuf::new();
    let mut parent = open(root, Path::new("."), OFlags::PATH | OFlags::DIRECTORY)?;
    for name in names(path) {
        at.push(&name);
        parent = match open(root, &at, OFlags::PATH | OFlags::DIRECTORY) {
            Ok(fd) => fd,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                match fs::mkdirat(parent.as_fd(), &name, Mode::from_raw_mode(0o755)) {
                    Ok(()) | Err(Errno::EXIST) => {}
                    Err(error) => return Err(error.into()),
                }
                open(root, &at, OFlags::PATH | OFlags::DIRECTORY)?
            }
            Err(error) => return Err(error),
        };
    }
    Ok(parent)
}

/// The plain names of a path, without its root, `.` and `..`.
fn names(path: &Path) -> impl Iterator<Item = OsString> + '_ {
    path.components().filter_map(|part| match part {
        Component::Normal(name) => Some(name.to_owned()),
        _ => None,
    })
}

/// A path relative to the root; `.` for the root itself.
fn relative(path: &Path) -> PathBuf {
    let path = path.strip_prefix("/").unwrap_or(path);
    if path == OsStr::new("") {
        PathBuf::from(".")
    } else {
        path.to_owned()
    }
}

/// A path that stands for an open descriptor, whatever was renamed meanwhile.
pub(crate) fn through(fd: BorrowedFd<'_>) -> PathBuf {
    use rustix::fd::AsRawFd;
    PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd()))
}

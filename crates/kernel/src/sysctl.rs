//! Kernel parameters, read and written by the thread whose namespace they belong to.
//!
//! `/proc/sys/net` shows the namespace of the calling thread (`net_ctl_root`), whoever mounted
//! `/proc`; so these run on threads that are in the right one.

use rustix::fs::{Mode, OFlags};
use std::{
    fs::{self, File},
    io::{self, Write},
    os::fd::OwnedFd,
    path::PathBuf,
};

/// Where parameters of links lie that are written at every attachment.
const IPV6_CONF: &str = "net/ipv6/conf";

/// A namespace's own parameters of IPv6 on its links, written from any namespace.
///
/// A folder of `/proc/sys` looks its entries up in the table that it was opened in
/// (`proc_sys_lookup`), whoever asks; so a folder that was opened inside once spares a visit, two
/// switches of threads, for every value.
#[derive(Debug)]
pub(crate) struct Ipv6Conf(OwnedFd);

impl Ipv6Conf {
    /// Opens the one of the calling thread's namespace.
    pub(crate) fn open() -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = rustix::fs::open(file(IPV6_CONF)?, flags, Mode::empty())?;
        Ok(Self(folder))
    }

    /// Whether a parameter lies in it.
    pub(crate) fn holds(path: &str) -> bool {
        below(path).is_some()
    }

    /// Writes a value, as [`write`].
    pub(crate) fn write(&self, path: &str, value: &str) -> io::Result<()> {
        file(path)?;
        let name = below(path).ok_or(io::ErrorKind::InvalidInput)?;
        let flags = OFlags::WRONLY | OFlags::CLOEXEC;
        let opened = rustix::fs::openat(&self.0, name, flags, Mode::empty())?;
        File::from(opened).write_all(value.as_bytes())
    }
}

fn below(path: &str) -> Option<&str> {
    path.strip_prefix(IPV6_CONF)?.strip_prefix('/')
}

/// The link and the name of a parameter of IPv6 on a link.
pub(crate) fn ipv6_of_link(path: &str) -> Option<(&str, &str)> {
    below(path)?.split_once('/')
}

/// Writes a value.
pub(crate) fn write(path: &str, value: &str) -> io::Result<()> {
    fs::write(file(path)?, value)
}

/// Reads a value, without the final line feed; `None` where the parameter does not exist.
pub(crate) fn read(path: &str) -> io::Result<Option<String>> {
    match fs::read_to_string(file(path)?) {
        Ok(text) => Ok(Some(text.trim_end().to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether two values say the same: the kernel separates numbers by tabs, people by blanks.
pub(crate) fn same(a: &str, b: &str) -> bool {
    a.split_ascii_whitespace().eq(b.split_ascii_whitespace())
}

fn file(path: &str) -> io::Result<PathBuf> {
    let inside = |part: &str| !part.is_empty() && part != "." && part != "..";
    if !path.split('/').all(inside) {
        let text = format!("{path:?} is not a path under /proc/sys");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    Ok(PathBuf::from("/proc/sys").join(path))
}

//! Kernel parameters, read and written by the thread whose namespace they belong to.
//!
//! `/proc/sys/net` shows the namespace of the calling thread (`net_ctl_root`), whoever mounted
//! `/proc`; so these run on threads that are in the right one.

use std::{fs, io, path::PathBuf};

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

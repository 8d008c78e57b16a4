//! What an entry says of its file beside the contents: owner, mode, time, attributes.
//!
//! Owns setting them in an order in which none takes another away.

use super::{MakeError, Place};
use rustix::{
    fd::AsFd,
    fs::{AtFlags, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags},
};
use std::io::{self, Read};
use tar::{Entry, EntryType};

const XATTR_PREFIX: &str = "SCHILY.xattr.";

/// Owner, mode, attributes and time of what was made. In this order: a change of owner takes
/// set-user-id and capabilities away.
pub(super) fn finish_entry<R: Read>(
    entry: &mut Entry<'_, R>,
    kind: EntryType,
    place: &Place,
) -> Result<(), MakeError> {
    let header = entry.header();
    let damaged = |error: io::Error| MakeError::Hostile(error.to_string());
    let (uid, gid) = owner(header).map_err(damaged)?;
    let (mode, mtime) = (mode(header).map_err(damaged)?, mtime(header));
    let at = place.parent.as_fd();
    rustix::fs::chownat(
        at,
        &place.name,
        Some(uid),
        Some(gid),
        AtFlags::SYMLINK_NOFOLLOW,
    )?;
    if kind.is_symlink() {
        rustix::fs::utimensat(at, &place.name, &times(mtime), AtFlags::SYMLINK_NOFOLLOW)?;
        return Ok(());
    }
    // Made by us a moment ago and not a symlink, in a directory that none but us can reach.
    rustix::fs::chmodat(at, &place.name, mode, AtFlags::empty())?;
    if kind.is_file() || kind.is_dir() {
        attributes(entry, place)?;
    }
    if !kind.is_dir() {
        rustix::fs::utimensat(at, &place.name, &times(mtime), AtFlags::SYMLINK_NOFOLLOW)?;
    }
    Ok(())
}

/// File capabilities and `user.*`. Others are the host's business, and `trusted.overlay.*`
/// would redirect overlayfs.
fn attributes<R: Read>(entry: &mut Entry<'_, R>, place: &Place) -> Result<(), MakeError> {
    let Some(extensions) = entry.pax_extensions()? else {
        return Ok(());
    };
    let mut wanted = Vec::new();
    for extension in extensions {
        let extension = extension?;
        let name = extension
            .key()
            .ok()
            .and_then(|key| key.strip_prefix(XATTR_PREFIX));
        if let Some(name) =
            name.filter(|name| *name == "security.capability" || name.starts_with("user."))
        {
            wanted.push((name.to_owned(), extension.value_bytes().to_vec()));
        }
    }
    if wanted.is_empty() {
        return Ok(());
    }
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = rustix::fs::openat(&place.parent, &place.name, flags, Mode::empty())?;
    for (name, value) in wanted {
        rustix::fs::fsetxattr(&fd, &name, &value, XattrFlags::empty())?;
    }
    Ok(())
}

pub(super) fn owner(header: &tar::Header) -> io::Result<(Uid, Gid)> {
    let id = |id: u64| u32::try_from(id).map_err(|_| io::Error::other("an owner beyond 32 bits"));
    Ok((
        Uid::from_raw(id(header.uid()?)?),
        Gid::from_raw(id(header.gid()?)?),
    ))
}

pub(super) fn mode(header: &tar::Header) -> io::Result<Mode> {
    Ok(Mode::from_raw_mode(header.mode()? & 0o7777))
}

pub(super) fn mtime(header: &tar::Header) -> i64 {
    header
        .mtime()
        .ok()
        .and_then(|time| i64::try_from(time).ok())
        .unwrap_or(0)
}

pub(super) const fn times(mtime: i64) -> Timestamps {
    let time = Timespec {
        tv_sec: mtime,
        tv_nsec: 0,
    };
    Timestamps {
        last_access: time,
        last_modification: time,
    }
}

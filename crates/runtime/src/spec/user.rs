//! `--user` and `--group-add`, looked up in the container's own files.
//!
//! Owns Docker's rules: a name wins over a number, a number need not be known, and
//! a user without an explicit group also joins the groups that list it.

use super::oci::User;
use crate::error::{Error, Result};

/// A user as found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) user: User,
    pub(crate) home: String,
}

struct PasswdEntry<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

struct GroupEntry<'a> {
    name: &'a str,
    gid: u32,
    members: Vec<&'a str>,
}

/// Looks up `name|uid[:group|gid]`; empty is root.
///
/// # Errors
/// [`Error::NoSuchUser`] for a name that the files do not know, and
/// [`Error::InvalidSpec`] for a number out of range.
pub(crate) fn lookup(wanted: &str, extra: &[String], passwd: &str, group: &str) -> Result<Found> {
    let users: Vec<_> = passwd.lines().filter_map(passwd_entry).collect();
    let groups: Vec<_> = group.lines().filter_map(group_entry).collect();
    let (user, explicit) = match wanted.split_once(':') {
        Some((user, group)) => (user, Some(group).filter(|group| !group.is_empty())),
        None => (wanted, None),
    };
    let user = if user.is_empty() { "0" } else { user };
    let entry = users
        .iter()
        .find(|entry| entry.name == user)
        .or_else(|| users.iter().find(|entry| user.parse() == Ok(entry.uid)));
    let uid = match entry {
        Some(entry) => entry.uid,
        None => number("user", user)?,
    };
    let gid = match explicit {
        Some(group) => gid_of(group, &groups)?,
        None => entry.map_or(0, |entry| entry.gid),
    };
    let mut additional_gids = Vec::new();
    let mut join = |gid| {
        if !additional_gids.contains(&gid) {
            additional_gids.push(gid);
        }
    };
    // The primary group too: without it a file that denies it to the group would be open
    // (CVE-2022-36109).
    join(gid);
    if let (Some(entry), None) = (entry, explicit) {
        let listing = groups
            .iter()
            .filter(|group| group.members.contains(&entry.name));
        listing.for_each(|group| join(group.gid));
    }
    for group in extra {
        join(gid_of(group, &groups)?);
    }
    Ok(Found {
        user: User {
            uid,
            gid,
            additional_gids,
        },
        home: entry.map_or("", |entry| entry.home).to_owned(),
    })
}

fn gid_of(group: &str, groups: &[GroupEntry<'_>]) -> Result<u32> {
    match groups.iter().find(|entry| entry.name == group) {
        Some(entry) => Ok(entry.gid),
        None => number("group", group),
    }
}

fn number(what: &'static str, text: &str) -> Result<u32> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Error::NoSuchUser {
            what,
            name: text.to_owned(),
        });
    }
    // Docker's range: ids beyond 2^31-1 are refused by older file systems and tools.
    text.parse::<u32>()
        .ok()
        .filter(|id| i32::try_from(*id).is_ok())
        .ok_or_else(|| Error::InvalidSpec("uids and gids must be in range 0-2147483647".to_owned()))
}

fn passwd_entry(line: &str) -> Option<PasswdEntry<'_>> {
    let mut fields = line.trim().split(':');
    let name = fields.next()?;
    let uid = fields.nth(1)?.parse().ok()?;
    let gid = fields.next()?.parse().ok()?;
    let home = fields.nth(1).unwrap_or("");
    Some(PasswdEntry {
        name,
        uid,
        gid,
        home,
    })
}

fn group_entry(line: &str) -> Option<GroupEntry<'_>> {
    let mut fields = line.trim().split(':');
    let name = fields.next()?;
    let gid = fields.nth(1)?.parse().ok()?;
    let members = fields.next().unwrap_or("").split(',').collect();
    Some(GroupEntry { name, gid, members })
}

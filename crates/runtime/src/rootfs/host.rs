//! What the image `host` does not show of this machine.
//!
//! Owns the list. Hiding is done in the container's writable layer, by overlayfs's
//! whiteouts, not by mounts over the paths: what is hidden has no name inside, and no
//! capability brings it back. `/etc/shadow` keeps its users and loses its hashes, for
//! programs that look users up in it. File systems mounted below `/` are not in the view
//! at all; `/run` and `/tmp`, and with them most sockets, are fresh in each container.

use crate::error::{Context, Result};
use rustix::{
    fs::{CWD, FileType, Mode},
    io::Errno,
};
use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, chown},
    path::{Path, PathBuf},
};

/// Keys, and the states of other engines and of services that hold secrets.
const HIDDEN: [&str; 22] = [
    "/boot",
    "/etc/cni",
    "/etc/docker",
    "/etc/etcd",
    "/etc/gshadow-",
    "/etc/ipsec.secrets",
    "/etc/krb5.keytab",
    "/etc/kubernetes",
    "/etc/letsencrypt",
    "/etc/rancher",
    "/etc/shadow-",
    "/etc/ssl/private",
    "/etc/vethwork",
    "/etc/wireguard",
    "/var/lib/containerd",
    "/var/lib/containers",
    "/var/lib/docker",
    "/var/lib/etcd",
    "/var/lib/kubelet",
    "/var/lib/vethwork",
    "/var/spool/cron",
    "/var/backups",
];

/// The same in every home directory.
const HIDDEN_AT_HOME: [&str; 14] = [
    ".aws",
    ".azure",
    ".bash_history",
    ".cargo/credentials.toml",
    ".config/gcloud",
    ".config/gh",
    ".docker",
    ".git-credentials",
    ".gnupg",
    ".kube",
    ".netrc",
    ".npmrc",
    ".pgpass",
    ".ssh",
];

/// Files of passwords: the fields after the name are hashes.
const HASHES: [&str; 2] = ["/etc/shadow", "/etc/gshadow"];

/// Fills the writable layer of a view of the host; `more` are our own directories.
pub(super) fn hide(upper: &Path, more: &[&Path]) -> Result<()> {
    let mut hidden: Vec<PathBuf> = HIDDEN.iter().map(PathBuf::from).collect();
    hidden.extend(more.iter().map(|path| path.to_path_buf()));
    hidden.extend(host_keys());
    for home in homes() {
        hidden.extend(HIDDEN_AT_HOME.iter().map(|name| home.join(name)));
    }
    for path in hidden {
        whiteout(upper, &path)?;
    }
    HASHES
        .iter()
        .try_for_each(|path| without_hashes(upper, Path::new(path)))
}

fn homes() -> Vec<PathBuf> {
    let users = fs::read_dir("/home").into_iter().flatten().flatten();
    let mut homes: Vec<PathBuf> = users.map(|entry| entry.path()).collect();
    homes.push(PathBuf::from("/root"));
    homes
}

/// The private keys of the SSH server.
fn host_keys() -> Vec<PathBuf> {
    let entries = fs::read_dir("/etc/ssh").into_iter().flatten().flatten();
    let is_private = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("ssh_host_") && !name.ends_with(".pub")
    };
    entries
        .map(|entry| entry.path())
        .filter(is_private)
        .collect()
}

/// Hides a path, if the machine has it. A path through a symlink is hidden where it leads.
fn whiteout(upper: &Path, path: &Path) -> Result<()> {
    let Ok(parent) = path.parent().unwrap_or(path).canonicalize() else {
        return Ok(());
    };
    let Some(name) = path.file_name() else {
        return Ok(());
    };
    if parent.join(name).symlink_metadata().is_err() {
        return Ok(());
    }
    let Some(parent) = mirror(upper, &parent)? else {
        return Ok(());
    };
    let place = parent.join(name);
    match rustix::fs::mknodat(CWD, &place, FileType::CharacterDevice, Mode::empty(), 0) {
        Ok(()) | Err(Errno::EXIST) => {}
        error => error.context(|| format!("hide {}", path.display()))?,
    }
    // What a hidden symlink points at is hidden as well: /var/lib/docker may lie elsewhere.
    match path.canonicalize() {
        Ok(target) if path.is_symlink() && target != path => whiteout(upper, &target),
        _ => Ok(()),
    }
}

/// Makes the directories above a path in the writable layer, with the machine's owners and
/// modes, which the merged view shows. `None` when one of them is hidden itself.
fn mirror(upper: &Path, directory: &Path) -> Result<Option<PathBuf>> {
    let mut at = PathBuf::from("/");
    let mut copy = upper.to_owned();
    for part in directory.components().skip(1) {
        at.push(part);
        copy.push(part);
        match fs::symlink_metadata(&copy) {
            Ok(meta) if meta.is_dir() => continue,
            Ok(_) => return Ok(None),
            Err(_) => {}
        }
        let make = || {
            let meta = fs::metadata(&at)?;
            fs::create_dir(&copy)?;
            chown(&copy, Some(meta.uid()), Some(meta.gid()))?;
            fs::set_permissions(&copy, fs::Permissions::from_mode(meta.mode() & 0o7777))
        };
        make().context(|| format!("make {}", copy.display()))?;
    }
    Ok(Some(copy))
}

fn without_hashes(upper: &Path, path: &Path) -> Result<()> {
    let Ok(text) = fs::read_to_string(path) else {
        return Ok(());
    };
    let parent = path.parent().unwrap_or(path);
    let (Some(parent), Some(name)) = (mirror(upper, parent)?, path.file_name()) else {
        return Ok(());
    };
    let copy = parent.join(name);
    let write = || {
        let meta = fs::metadata(path)?;
        fs::write(&copy, locked(&text))?;
        chown(&copy, Some(meta.uid()), Some(meta.gid()))?;
        fs::set_permissions(&copy, fs::Permissions::from_mode(meta.mode() & 0o7777))
    };
    write().context(|| format!("write {}", copy.display()))
}

/// The same users with `*`, which no password hashes to.
fn locked(text: &str) -> String {
    let mut locked = String::with_capacity(text.len());
    for line in text.lines() {
        let mut fields: Vec<&str> = line.split(':').collect();
        if let Some(hash) = fields.get_mut(1) {
            *hash = "*";
        }
        locked.push_str(&fields.join(":"));
        locked.push('\n');
    }
    locked
}

#[cfg(test)]
mod tests {
    #[test]
    fn hashes_are_replaced() {
        let text = "root:$6$salt$hash:19000:0:99999:7:::\nnobody:*:1::::::\n";
        let expected = "root:*:19000:0:99999:7:::\nnobody:*:1::::::\n";
        assert_eq!(super::locked(text), expected);
    }
}

//! Layers: what they unpack to, and what an attacker's may not do.

use super::unpack;
use expect_test::{Expect, expect};
use proptest::prelude::*;
use std::{
    fs,
    os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt},
    path::PathBuf,
};
use tar::{EntryType, Header};

/// A directory of the test's own, removed with the value.
pub(crate) struct Dir(pub(crate) PathBuf);

impl Dir {
    pub(crate) fn new(name: &str) -> Self {
        let path = PathBuf::from(format!("/var/tmp/vw-images-{name}-{}", std::process::id()));
        fs::create_dir_all(path.join("root")).unwrap();
        Self(path)
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.0.join("root")
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Unpacking sets owners and attributes that only root may set.
pub(crate) fn unprivileged() -> bool {
    let unprivileged = !rustix::process::geteuid().is_root();
    if unprivileged {
        println!("SKIP: not root");
    }
    unprivileged
}

#[derive(Default)]
pub(crate) struct Tar(pub(crate) Vec<u8>);

impl Tar {
    /// Raw: the builder of the crate would refuse the paths that an attacker writes.
    pub(crate) fn add(mut self, path: &str, kind: EntryType, link: &str, data: &[u8]) -> Self {
        let mut header = Header::new_gnu();
        header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
        header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_entry_type(kind);
        header.set_mode(0o755);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1_000_000);
        header.set_size(data.len() as u64);
        if kind == EntryType::Char {
            header.set_device_major(0).unwrap();
            header.set_device_minor(0).unwrap();
        }
        header.set_cksum();
        self.0.extend(header.as_bytes());
        self.0.extend(data);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    pub(crate) fn file(self, path: &str, data: &[u8]) -> Self {
        self.add(path, EntryType::Regular, "", data)
    }

    pub(crate) fn dir(self, path: &str) -> Self {
        self.add(path, EntryType::Directory, "", b"")
    }

    pub(crate) fn symlink(self, path: &str, target: &str) -> Self {
        self.add(path, EntryType::Symlink, target, b"")
    }

    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 1024, 0);
        self.0
    }
}

#[test]
fn a_layer_with_everything() {
    if unprivileged() {
        return;
    }
    let dir = Dir::new("layer");
    let tar = Tar::default()
        .dir("./")
        .dir("bin/")
        .file("bin/tool", b"tool")
        .add("bin/again", EntryType::Link, "bin/tool", b"")
        .symlink("lib", "/bin")
        .file("lib/through", b"x")
        .file("etc/made/parents", b"y")
        .add("fifo", EntryType::Fifo, "", b"")
        .file("etc/.wh.gone", b"")
        .file("opaque/.wh..wh..opq", b"")
        .file(".wh..wh.plnk", b"")
        .finish();
    let size = unpack(tar.as_slice(), &dir.root()).unwrap();
    assert_eq!(size, 6);
    let meta = |path: &str| fs::symlink_metadata(dir.root().join(path)).unwrap();
    assert_eq!(meta("bin/tool").permissions().mode() & 0o7777, 0o755);
    assert_eq!(meta("bin/tool").mtime(), 1_000_000);
    assert_eq!(meta("bin").mtime(), 1_000_000);
    assert_eq!(meta("bin/tool").ino(), meta("bin/again").ino());
    // An absolute symlink leads to the layer's own root.
    assert_eq!(fs::read(dir.root().join("bin/through")).unwrap(), b"x");
    assert!(meta("fifo").file_type().is_fifo());
    assert!(meta("etc/gone").file_type().is_char_device());
    assert_eq!(meta("etc/gone").rdev(), 0);
    let mut value = [0; 8];
    let length = rustix::fs::lgetxattr(
        dir.root().join("opaque"),
        "trusted.overlay.opaque",
        &mut value[..],
    );
    assert_eq!(&value[..length.unwrap()], b"y");
}

/// Unpacks an attack; whatever comes of it, nothing outside the root is touched.
fn attack(name: &str, tar: Tar, expected: Expect) {
    if unprivileged() {
        return;
    }
    let dir = Dir::new(name);
    fs::write(dir.0.join("outside"), "untouched").unwrap();
    let text = match unpack(tar.finish().as_slice(), &dir.root()) {
        Ok(_) => "unpacked".to_owned(),
        Err(error) => error.to_string(),
    };
    let left: Vec<_> = fs::read_dir(&dir.0)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(left.len(), 2, "{name}: {left:?}");
    assert_eq!(
        fs::read(dir.0.join("outside")).unwrap(),
        b"untouched",
        "{name}"
    );
    expected.assert_eq(&text);
}

#[test]
fn paths_that_lead_out() {
    attack(
        "climb",
        Tar::default().file("../outside", b"bad"),
        expect!["invalid layer: ../outside: the path holds `..`"],
    );
    attack(
        "climb-in",
        Tar::default().dir("a/").file("a/../../outside", b"bad"),
        expect!["invalid layer: a/../../outside: the path holds `..`"],
    );
    attack(
        "absolute",
        Tar::default().file("/outside", b"bad"),
        expect!["unpacked"],
    );
    attack(
        "symlink",
        Tar::default().symlink("a", "..").file("a/outside", b"bad"),
        expect!["unpacked"],
    );
    attack(
        "symlink-file",
        Tar::default().symlink("a", "../outside").file("a", b"bad"),
        expect!["unpacked"],
    );
}

#[test]
fn links_and_nodes_that_lead_out() {
    attack(
        "hard-link",
        Tar::default().add("a", EntryType::Link, "../outside", b""),
        expect!["invalid layer: a: it links to ../outside"],
    );
    attack(
        "hard-link-through",
        Tar::default()
            .symlink("up", "..")
            .add("a", EntryType::Link, "up/outside", b""),
        expect!["unpack a: No such file or directory (os error 2)"],
    );
    attack(
        "loop",
        Tar::default().symlink("a", "a").file("a/b", b""),
        expect!["invalid layer: a/b: Too many levels of symbolic links (os error 40)"],
    );
    attack(
        "hide",
        Tar::default().add("a", EntryType::Char, "", b""),
        expect!["invalid layer: a: a character device 0:0 would hide a file of a lower layer"],
    );
    attack(
        "whiteout",
        Tar::default().file(".wh...", b""),
        expect!["invalid layer: .wh...: it hides nothing"],
    );
}

#[test]
fn a_truncated_archive() {
    if unprivileged() {
        return;
    }
    let dir = Dir::new("truncated");
    let tar = Tar::default().file("a", &[1; 2000]).0;
    let error = unpack(&tar[..1000], &dir.root()).unwrap_err();
    expect!["invalid layer: a: the archive ends within it"].assert_eq(&error.to_string());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..2048)) {
        if rustix::process::geteuid().is_root() {
            let dir = Dir::new("random");
            let _ = unpack(bytes.as_slice(), &dir.root());
        }
    }
}

//! A small root file system, for containers that a test runs.

use crate::lab::machine;
use std::{fs, os::unix::fs::symlink, path::Path, path::PathBuf};

/// Makes the tar in `folder`, once, from this machine's static busybox.
pub(crate) fn busybox_tar(folder: &Path) -> PathBuf {
    let tar = folder.join("busybox.tar");
    if !tar.exists() {
        let root = folder.join("busybox");
        fill(&root).unwrap_or_else(|error| panic!("{}: {error}", root.display()));
        machine([
            "tar".as_ref(),
            "-C".as_ref(),
            root.as_os_str(),
            "-cf".as_ref(),
            tar.as_os_str(),
            ".".as_ref(),
        ])
        .must();
    }
    tar
}

fn fill(root: &Path) -> std::io::Result<()> {
    for folder in ["bin", "dev", "etc", "proc", "root", "sys", "tmp", "var/www"] {
        fs::create_dir_all(root.join(folder))?;
    }
    fs::copy("/bin/busybox", root.join("bin/busybox"))?;
    for applet in machine(["/bin/busybox", "--list"]).ok().lines() {
        if applet != "busybox" {
            symlink("busybox", root.join("bin").join(applet))?;
        }
    }
    fs::write(
        root.join("etc/passwd"),
        "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n",
    )?;
    fs::write(root.join("etc/group"), "root:x:0:\nnogroup:x:65534:\n")
}

//! Where things lie: the data directory's half, which outlives a reboot, and
//! the run directory's, which need not.
//!
//! Owns paths alone; it makes and removes nothing.

use std::path::{Path, PathBuf};
use vw_model::SandboxId;

/// The two roots and every path below them.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    data: PathBuf,
    exec: PathBuf,
}

impl Layout {
    pub(crate) fn new(data: &Path, exec: &Path) -> Self {
        Self {
            data: data.to_owned(),
            exec: exec.to_owned(),
        }
    }

    pub(crate) fn data(&self) -> &Path {
        &self.data
    }

    pub(crate) fn exec(&self) -> &Path {
        &self.exec
    }

    /// A container's writable layer, its log and the files mounted into it.
    pub(crate) fn container_data(&self, id: SandboxId) -> PathBuf {
        self.data.join("containers").join(id.to_string())
    }

    /// Where all containers' run directories lie.
    pub(crate) fn run_dirs(&self) -> PathBuf {
        self.exec.join("containers")
    }

    /// The OCI bundle, and conmon's files beside it.
    pub(crate) fn run(&self, id: SandboxId) -> RunDir {
        RunDir(self.run_dirs().join(id.to_string()))
    }

    /// One file a container that ended, named by its id, holding its status: conmon's doing.
    pub(crate) fn exits(&self) -> PathBuf {
        self.exec.join("exits")
    }

    pub(crate) fn exit_file(&self, id: SandboxId) -> PathBuf {
        self.exits().join(id.to_string())
    }

    /// The OCI runtime's own records (`--root`).
    pub(crate) fn runtime_root(&self) -> PathBuf {
        self.exec.join("oci")
    }

    pub(crate) fn log(&self, id: SandboxId) -> PathBuf {
        self.container_data(id).join("container.log")
    }
}

/// The directory that one conmon works in: a container's run directory, or that of one
/// `exec` below it.
#[derive(Debug, Clone)]
pub(crate) struct RunDir(pub(crate) PathBuf);

impl RunDir {
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn rootfs(&self) -> PathBuf {
        self.0.join("rootfs")
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.0.join("config.json")
    }

    /// The container's first process, written by the OCI runtime.
    pub(crate) fn pid_file(&self) -> PathBuf {
        self.0.join("pidfile")
    }

    pub(crate) fn monitor_pid_file(&self) -> PathBuf {
        self.0.join("conmon.pid")
    }

    /// Written by us once `start` succeeded: tells Running from Created without asking the runtime.
    pub(crate) fn started(&self) -> PathBuf {
        self.0.join("started")
    }

    /// conmon's answers to its parent.
    pub(crate) fn sync(&self) -> PathBuf {
        self.0.join("sync")
    }

    /// The OCI runtime's log of the operation at hand, in JSON lines.
    pub(crate) fn runtime_log(&self) -> PathBuf {
        self.0.join("oci.log")
    }

    /// What conmon said before it left its parent's terminal.
    pub(crate) fn monitor_log(&self) -> PathBuf {
        self.0.join("conmon.log")
    }

    /// Made by conmon when the kernel killed for want of memory.
    pub(crate) fn oom(&self) -> PathBuf {
        self.0.join("oom")
    }

    /// conmon's FIFO for the size of the terminal.
    pub(crate) fn control(&self) -> PathBuf {
        self.0.join("ctl")
    }

    pub(crate) fn execs(&self) -> PathBuf {
        self.0.join("exec")
    }
}

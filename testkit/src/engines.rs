//! Other engines in a host of the laboratory, each with folders of its own: those of the machine are
//! never asked.

use crate::{Host, Lab, Output, Running, eventually};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

const PATIENCE: Duration = Duration::from_secs(30);

/// A Docker Engine with the image `box`.
#[derive(Debug)]
pub struct Dockerd {
    running: Running,
    host: Host,
    url: String,
}

impl Dockerd {
    /// Starts one.
    #[track_caller]
    #[must_use]
    pub fn start(lab: &Lab, host: &Host) -> Self {
        let folder = lab.folder().join(format!("dockerd-{}", host.name()));
        fs::create_dir(&folder).expect("the laboratory's folder is ours");
        let url = format!("unix://{}/s", folder.display());
        let mut command = Command::new("dockerd");
        for (flag, name) in [
            ("--data-root", "data"),
            ("--exec-root", "run"),
            ("--pidfile", "pid"),
        ] {
            command.arg(flag).arg(folder.join(name));
        }
        command.args(["-H", &url, "--storage-driver", "vfs"]);
        let docker = Self {
            running: host.spawn_command(&mut command),
            host: host.clone(),
            url,
        };
        eventually("dockerd answers", PATIENCE, || {
            docker.try_run("version").success()
        });
        docker.run(&format!("import {} box", lab.busybox_tar().display()));
        docker
    }

    /// Asks it something.
    #[track_caller]
    #[must_use]
    pub fn try_run(&self, line: &str) -> Output {
        let words = ["docker", "-H", &self.url]
            .into_iter()
            .chain(line.split_whitespace());
        self.host.run(words)
    }

    /// Asks it something that it must do, and gives its answer.
    #[track_caller]
    pub fn run(&self, line: &str) -> String {
        self.try_run(line).ok()
    }

    /// The process of a running container.
    #[track_caller]
    #[must_use]
    pub fn pid(&self, container: &str) -> u32 {
        let pid = self.run(&format!("inspect -f {{{{.State.Pid}}}} {container}"));
        pid.parse().expect("a running container has one")
    }

    /// Ends it in order.
    pub fn stop(mut self) {
        self.running.terminate(PATIENCE);
    }
}

/// The limits that this machine may set; Podman's own may be above them.
const LIMITS: [&str; 4] = [
    "--ulimit",
    "nofile=1024:1024",
    "--ulimit",
    "nproc=1000:1000",
];

/// A Podman with the image `box`.
#[derive(Debug)]
pub struct Podman {
    host: Host,
    folder: PathBuf,
}

impl Podman {
    /// One for a host.
    #[track_caller]
    #[must_use]
    pub fn new(lab: &Lab, host: &Host) -> Self {
        let folder = lab.folder().join("podman");
        fs::create_dir(&folder).expect("the laboratory's folder is ours");
        let podman = Self {
            host: host.clone(),
            folder,
        };
        let tar = lab.busybox_tar();
        podman.run(&["import", tar.to_str().expect("a plain path"), "box"]);
        podman
    }

    /// Asks it something that it must do, and gives its answer.
    #[track_caller]
    pub fn run(&self, words: &[&str]) -> String {
        let mut command = Command::new("podman");
        for (flag, name) in [
            ("--root", "root"),
            ("--runroot", "run"),
            ("--tmpdir", "tmp"),
        ] {
            command.arg(flag).arg(self.folder.join(name));
        }
        command.args(["--storage-driver", "vfs", "--cgroup-manager", "cgroupfs"]);
        command.args(["--events-backend", "none", "--runtime", "runc"]);
        self.host.run_command(command.args(words)).ok()
    }

    /// A container without a network that waits, and its process.
    #[track_caller]
    #[must_use]
    pub fn start(&self, name: &str) -> u32 {
        let mut words = vec!["run", "-d", "--name", name, "--network", "none"];
        words.extend(LIMITS);
        words.extend(["box", "sleep", "1000"]);
        self.run(&words);
        let pid = self.run(&["inspect", "-f", "{{.State.Pid}}", name]);
        pid.parse().expect("a running container has one")
    }
}

/// The namespace of a process, as a host.
#[must_use]
pub fn inside(lab: &Lab, name: &str, pid: u32) -> Host {
    lab.at(name, Path::new(&format!("/proc/{pid}/ns/net")))
}

//! A Docker Engine in a host of its own, as Debian packages it.
//!
//! Owns its folders below the laboratory's and its process. It touches no other engine.

use crate::{Result, api::Client};
use std::{path::PathBuf, process::Command, time::Duration};
use vw_testkit::{Host, Lab, Running, http, missing_program, poll};

/// dockerd starts a containerd of its own first.
const START: Duration = Duration::from_secs(30);
const STOP: Duration = Duration::from_secs(20);
const IMAGE: &str = "bench";

/// A running engine with the image `bench`.
#[derive(Debug)]
pub(crate) struct Dockerd {
    pub(crate) host: Host,
    /// How tables call it.
    pub(crate) name: String,
    running: Running,
    socket: PathBuf,
}

impl Dockerd {
    /// Starts one; the error is the reason why there is none.
    pub(crate) fn start(lab: &Lab) -> Result<Self> {
        if let Some(missing) = missing_program(&["dockerd", "docker", "containerd", "runc"]) {
            return Err(format!("{missing} is not installed").into());
        }
        let host = lab.host("docker");
        let folder = lab.folder().join("docker");
        std::fs::create_dir_all(&folder)?;
        std::fs::write(folder.join("daemon.json"), "{}")?;
        let socket = folder.join("docker.sock");
        let mut command = Command::new("dockerd");
        command
            .args(["--bridge=none", "--iptables=true", "--storage-driver=vfs"])
            .arg("--config-file")
            .arg(folder.join("daemon.json"))
            .arg("--data-root")
            .arg(folder.join("data"))
            .arg("--exec-root")
            .arg(folder.join("run"))
            .arg("--pidfile")
            .arg(folder.join("pid"))
            .arg("--host")
            .arg(format!("unix://{}", socket.display()));
        let mut running = host.spawn_command(&mut command);
        let started = poll(START, || match running.ended() {
            Some(_) => Some(false),
            None => http::request(&socket, "GET", "/_ping", None)
                .is_ok_and(|reply| reply.status == 200)
                .then_some(true),
        });
        if started != Some(true) {
            return Err(format!("dockerd does not start:\n{}", running.output()).into());
        }
        let version = http::request(&socket, "GET", "/version", None)?.json();
        let docker = Self {
            host,
            name: format!("Docker {}", version["Version"].as_str().unwrap_or_default()),
            running,
            socket,
        };
        let tar = lab.busybox_tar();
        docker.cli(&["import", &tar.display().to_string(), IMAGE]);
        Ok(docker)
    }

    /// A connection to it.
    pub(crate) fn client(&self) -> Result<Client> {
        Client::open(&self.socket)
    }

    /// The daemon's process.
    pub(crate) fn pid(&self) -> u32 {
        self.running.pid()
    }

    /// The daemon's process and that of the containerd that it started.
    pub(crate) fn daemons(&self) -> Result<Vec<u32>> {
        let pid = self.pid();
        let mut found = vec![pid];
        for task in std::fs::read_dir(format!("/proc/{pid}/task"))? {
            // A thread that ended meanwhile has no children any more.
            let children = std::fs::read_to_string(task?.path().join("children"));
            for child in children.unwrap_or_default().split_whitespace() {
                let name = std::fs::read_to_string(format!("/proc/{child}/comm"));
                if name.is_ok_and(|name| name.trim() == "containerd") {
                    found.push(child.parse()?);
                }
            }
        }
        Ok(found)
    }

    /// Runs the stock command line against it, which must succeed.
    pub(crate) fn cli(&self, arguments: &[&str]) -> String {
        let socket = format!("unix://{}", self.socket.display());
        let words = ["docker", "-H", &socket];
        self.host.run(words.iter().chain(arguments)).ok()
    }

    /// Runs a container that sleeps, with these options; answers its namespace.
    pub(crate) fn run(&self, lab: &Lab, name: &str, options: &[&str]) -> Host {
        let mut words = vec!["run", "-d", "--name", name];
        words.extend(options);
        words.extend([IMAGE, "/bin/sleep", "1000000"]);
        self.cli(&words);
        let pid = self.cli(&["inspect", "-f", "{{.State.Pid}}", name]);
        lab.at(name, &PathBuf::from(format!("/proc/{pid}/ns/net")))
    }
}

impl Drop for Dockerd {
    fn drop(&mut self) {
        let containers = self.cli(&["ps", "-aq"]);
        // Some at a time: each takes a while to end, and a call has a limit.
        let containers: Vec<&str> = containers.lines().collect();
        for some in containers.chunks(20) {
            let mut words = vec!["rm", "-f"];
            words.extend(some);
            self.cli(&words);
        }
        self.running.terminate(STOP);
    }
}

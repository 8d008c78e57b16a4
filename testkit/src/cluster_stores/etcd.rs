//! An etcd of one or more members.
//!
//! Owns its members' processes and `etcdctl` asked of them.

use super::{Certificates, Place, server::Server};
use crate::{Lab, Output};
use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// What an etcd is started with, besides its places.
#[derive(Debug, Clone, Default)]
pub struct EtcdSettings {
    /// Clients speak TLS, and show a certificate of the same authority.
    pub tls: Option<Certificates>,
    /// Further flags.
    pub flags: Vec<String>,
}

/// A running etcd. Dropping it kills its members.
#[derive(Debug)]
pub struct Etcd {
    members: Vec<Member>,
    settings: EtcdSettings,
    /// See [`Self::log_in`].
    user: Option<String>,
}

#[derive(Debug)]
struct Member {
    server: Server,
    client: String,
    data: PathBuf,
    /// What it is made anew with, out of a snapshot.
    identity: [String; 4],
}

impl Etcd {
    /// Starts one, with a member at each place, and waits until it serves.
    #[track_caller]
    #[must_use]
    pub fn start(lab: &Lab, places: &[Place]) -> Self {
        Self::start_with(lab, places, EtcdSettings::default())
    }

    /// As [`Etcd::start`], with settings.
    #[track_caller]
    #[must_use]
    pub fn start_with(lab: &Lab, places: &[Place], settings: EtcdSettings) -> Self {
        let scheme = settings.tls.as_ref().map_or("http", |_| "https");
        let addresses: Vec<_> = places
            .iter()
            .map(|place| place.free_ports::<2>().map(|port| place.at(port)))
            .collect();
        let number = (0..)
            .find(|number| !lab.folder().join(format!("etcd{number}-0.log")).exists())
            .expect("an endless search finds one");
        let cluster: Vec<_> = addresses
            .iter()
            .enumerate()
            .map(|(member, [_, peer])| format!("m{member}=http://{peer}"))
            .collect();
        let members = addresses.iter().zip(places).enumerate();
        let members = members.map(|(member, ([client, peer], place))| {
            let name = format!("etcd{number}-{member}");
            let data = lab.folder().join(&name);
            let identity = [
                format!("--name=m{member}"),
                format!("--initial-advertise-peer-urls=http://{peer}"),
                format!("--initial-cluster={}", cluster.join(",")),
                format!("--initial-cluster-token={}", lab.name()),
            ];
            let mut words: Vec<String> = [
                "etcd".to_owned(),
                format!("--data-dir={}", data.display()),
                format!("--listen-client-urls={scheme}://{client}"),
                format!("--advertise-client-urls={scheme}://{client}"),
                format!("--listen-peer-urls=http://{peer}"),
                "--log-level=warn".to_owned(),
            ]
            .into();
            words.extend(identity.iter().cloned());
            if let Some(tls) = &settings.tls {
                for (flag, file) in [
                    ("cert-file", "server.pem"),
                    ("key-file", "server.key"),
                    ("trusted-ca-file", "ca.pem"),
                ] {
                    words.push(format!("--{flag}={}", tls.file(file).display()));
                }
                words.push("--client-cert-auth".to_owned());
            }
            words.extend(settings.flags.iter().cloned());
            Member {
                server: Server::start(place, lab.folder().join(format!("{name}.log")), words),
                client: client.to_string(),
                data,
                identity,
            }
        });
        let mut etcd = Self {
            members: members.collect(),
            settings,
            user: None,
        };
        etcd.wait();
        etcd
    }

    /// Waits until every member serves.
    #[track_caller]
    pub fn wait(&mut self) {
        for number in 0..self.members.len() {
            let mut command = self.command(number, &["endpoint", "health"]);
            let member = &mut self.members[number];
            let place = member.server.place.clone();
            member
                .server
                .wait_until(|| place.run(&mut command).success());
        }
    }

    /// From now on a test speaks to it as `USER:PASSWORD`.
    pub fn log_in(&mut self, user: &str) {
        self.user = Some(user.to_owned());
    }

    /// Its address, as `--cluster-store` takes it, without a prefix.
    #[must_use]
    pub fn url(&self) -> String {
        format!("etcd://{}", self.addresses().join(","))
    }

    /// The members' addresses for clients.
    #[must_use]
    pub fn addresses(&self) -> Vec<String> {
        let addresses = self.members.iter().map(|member| member.client.clone());
        addresses.collect()
    }

    /// The keys of all records below a prefix.
    #[track_caller]
    #[must_use]
    pub fn keys(&self, prefix: &str) -> Vec<String> {
        let list = ["get", "--prefix", "--keys-only", &format!("{prefix}/")];
        let told = self.ctl(&list).ok();
        let keys = told.lines().filter(|line| !line.is_empty());
        keys.map(str::to_owned).collect()
    }

    /// What is recorded at a key.
    #[track_caller]
    #[must_use]
    pub fn value(&self, key: &str) -> String {
        self.ctl(&["get", "--print-value-only", key]).ok()
    }

    /// Records something at a key.
    #[track_caller]
    pub fn put(&self, key: &str, value: &str) {
        self.ctl(&["put", key, value]).must();
    }

    /// Removes what is recorded at a key.
    #[track_caller]
    pub fn delete(&self, key: &str) {
        self.ctl(&["del", key]).must();
    }

    /// How many changes it has taken.
    #[track_caller]
    #[must_use]
    pub fn changes(&self) -> u64 {
        let status = self.ctl(&["endpoint", "status", "-w", "json"]).ok();
        let status: Value = serde_json::from_str(&status).expect("JSON");
        let revision = &status[0]["Status"]["header"]["revision"];
        revision.as_u64().expect("a revision")
    }

    /// Kills a member (SIGKILL).
    pub fn kill(&mut self, member: usize) {
        self.members[member].server.kill();
    }

    /// Starts a member again, with what it had on disk.
    #[track_caller]
    pub fn restart(&mut self, member: usize) {
        self.members[member].server.restart();
    }

    /// Removes what a killed member had on disk.
    #[track_caller]
    pub fn forget(&mut self, member: usize) {
        let data = &self.members[member].data;
        fs::remove_dir_all(data).unwrap_or_else(|error| panic!("{}: {error}", data.display()));
    }

    /// Saves what it has into a file.
    #[track_caller]
    pub fn save(&self, file: &Path) {
        self.ctl(&["snapshot", "save", &file.display().to_string()])
            .must();
    }

    /// Brings all members back to what [`Etcd::save`] saved.
    #[track_caller]
    pub fn bring_back(&mut self, file: &Path) {
        for member in 0..self.members.len() {
            self.kill(member);
        }
        for member in 0..self.members.len() {
            self.forget(member);
            let Member { data, identity, .. } = &self.members[member];
            let mut command = Command::new("etcdctl");
            command.env("ETCDCTL_API", "3");
            command.args(["snapshot", "restore"]).arg(file);
            command.arg(format!("--data-dir={}", data.display()));
            command.args(identity);
            self.members[member].server.place.run(&mut command).must();
        }
        for member in 0..self.members.len() {
            self.restart(member);
        }
        self.wait();
    }

    /// Stops a member (SIGSTOP): its connections stay, and nothing answers.
    pub fn pause(&self, member: usize) {
        self.members[member].server.pause();
    }

    /// Lets a stopped member go on.
    pub fn resume(&self, member: usize) {
        self.members[member].server.resume();
    }

    /// Runs `etcdctl` against the first member.
    #[track_caller]
    pub fn ctl(&self, arguments: &[&str]) -> Output {
        let mut command = self.command(0, arguments);
        self.members[0].server.place.run(&mut command)
    }

    fn command(&self, member: usize, arguments: &[&str]) -> Command {
        let mut command = Command::new("etcdctl");
        command.env("ETCDCTL_API", "3");
        let client = &self.members[member].client;
        if let Some(user) = &self.user {
            command.env("ETCDCTL_USER", user);
        }
        match &self.settings.tls {
            None => command.arg(format!("--endpoints=http://{client}")),
            Some(tls) => command
                .arg(format!("--endpoints=https://{client}"))
                .arg("--cacert")
                .arg(tls.file("ca.pem"))
                .arg("--cert")
                .arg(tls.file("client.pem"))
                .arg("--key")
                .arg(tls.file("client.key")),
        };
        command.args(arguments);
        command
    }
}

//! A Consul of one or more servers.
//!
//! Owns the servers' processes and `consul` asked of them.

use super::{Certificates, Place, server::Server};
use crate::{Lab, Output};
use serde_json::{Value, json};
use std::{fs, path::Path, process::Command};

/// What a Consul is started with, besides its places.
#[derive(Debug, Clone, Default)]
pub struct ConsulSettings {
    /// Clients speak TLS, and show a certificate of the same authority.
    pub tls: Option<Certificates>,
    /// Access is denied without a token, and this one may do everything.
    pub token: Option<String>,
}

impl ConsulSettings {
    /// The configuration of a server, but for what tells it from the others.
    fn file(&self, place: &Place, [client, rpc, lan, wan]: [u16; 4]) -> Value {
        let (plain, tls) = match self.tls {
            None => (i32::from(client), -1),
            Some(_) => (-1, i32::from(client)),
        };
        let mut file = json!({
            "server": true,
            "datacenter": "test",
            "bind_addr": place.address(),
            "client_addr": place.address(),
            "retry_interval": "1s",
            "disable_update_check": true,
            // They would be changes, too.
            "disable_coordinates": true,
            "log_level": "warn",
            "performance": {"raft_multiplier": 1},
            "ports": {
                "http": plain, "https": tls, "dns": -1, "grpc": -1,
                "server": rpc, "serf_lan": lan, "serf_wan": wan,
            },
        });
        if let Some(tls) = &self.tls {
            file["ca_file"] = json!(tls.file("ca.pem"));
            file["cert_file"] = json!(tls.file("server.pem"));
            file["key_file"] = json!(tls.file("server.key"));
            file["verify_incoming_https"] = json!(true);
        }
        if let Some(token) = &self.token {
            file["acl"] = json!({
                "enabled": true,
                "default_policy": "deny",
                "tokens": {"master": token, "agent": token},
            });
        }
        file
    }
}

/// A running Consul. Dropping it kills its servers.
#[derive(Debug)]
pub struct Consul {
    members: Vec<Member>,
    settings: ConsulSettings,
}

#[derive(Debug)]
struct Member {
    server: Server,
    client: String,
}

impl Consul {
    /// Starts one, with a server at each place, and waits until it serves.
    #[track_caller]
    #[must_use]
    pub fn start(lab: &Lab, places: &[Place]) -> Self {
        Self::start_with(lab, places, ConsulSettings::default())
    }

    /// As [`Consul::start`], with settings.
    #[track_caller]
    #[must_use]
    pub fn start_with(lab: &Lab, places: &[Place], settings: ConsulSettings) -> Self {
        let ports: Vec<_> = places.iter().map(Place::free_ports::<4>).collect();
        let number = (0..)
            .find(|number| !lab.folder().join(format!("consul{number}-0")).exists())
            .expect("an endless search finds one");
        let gossip: Vec<_> = places
            .iter()
            .zip(&ports)
            .map(|(place, [_, _, lan, _])| place.at(*lan).to_string())
            .collect();
        let members = places.iter().zip(&ports).enumerate();
        let members = members.map(|(member, (place, [client, rpc, lan, wan]))| {
            let name = format!("consul{number}-{member}");
            let data = lab.folder().join(&name);
            fs::create_dir(&data).unwrap_or_else(|error| panic!("{}: {error}", data.display()));
            let mut file = settings.file(place, [*client, *rpc, *lan, *wan]);
            file["bootstrap_expect"] = json!(places.len());
            file["node_name"] = json!(format!("m{member}"));
            file["data_dir"] = json!(data.join("data"));
            file["retry_join"] = json!(gossip);
            let path = data.join("consul.json");
            fs::write(&path, file.to_string())
                .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            let words = [
                "consul",
                "agent",
                "-config-file",
                &path.display().to_string(),
            ];
            Member {
                server: Server::start(
                    place,
                    lab.folder().join(format!("{name}.log")),
                    words.map(str::to_owned).into(),
                ),
                client: place.at(*client).to_string(),
            }
        });
        let mut consul = Self {
            members: members.collect(),
            settings,
        };
        consul.wait();
        consul
    }

    /// Waits until every server takes writes.
    #[track_caller]
    pub fn wait(&mut self) {
        for number in 0..self.members.len() {
            let mut command = self.command(number, &["kv", "put", "ready", "1"]);
            let member = &mut self.members[number];
            let place = member.server.place.clone();
            member
                .server
                .wait_until(|| place.run(&mut command).success());
        }
    }

    /// Its address, as `--cluster-store` takes it, without a prefix.
    #[must_use]
    pub fn url(&self) -> String {
        format!("consul://{}", self.addresses().join(","))
    }

    /// The servers' addresses for clients.
    #[must_use]
    pub fn addresses(&self) -> Vec<String> {
        let addresses = self.members.iter().map(|member| member.client.clone());
        addresses.collect()
    }

    /// The keys of all records below a prefix.
    #[track_caller]
    #[must_use]
    pub fn keys(&self, prefix: &str) -> Vec<String> {
        let list = ["kv", "get", "-keys", "-separator=", &format!("{prefix}/")];
        self.ctl(&list).ok().lines().map(str::to_owned).collect()
    }

    /// What is recorded at a key.
    #[track_caller]
    #[must_use]
    pub fn value(&self, key: &str) -> String {
        self.ctl(&["kv", "get", key]).ok()
    }

    /// Records something at a key.
    #[track_caller]
    pub fn put(&self, key: &str, value: &str) {
        self.ctl(&["kv", "put", key, value]).must();
    }

    /// Removes what is recorded at a key.
    #[track_caller]
    pub fn delete(&self, key: &str) {
        self.ctl(&["kv", "delete", key]).must();
    }

    /// How many changes it has taken.
    #[track_caller]
    #[must_use]
    pub fn changes(&self) -> u64 {
        let told = self.ctl(&["info"]).ok();
        let mut lines = told.lines().map(str::trim);
        let last = lines.find_map(|line| line.strip_prefix("applied_index = "));
        last.expect("it tells").parse().expect("a number")
    }

    /// Kills a server (SIGKILL).
    pub fn kill(&mut self, member: usize) {
        self.members[member].server.kill();
    }

    /// Starts a server again, with what it had on disk.
    #[track_caller]
    pub fn restart(&mut self, member: usize) {
        self.members[member].server.restart();
    }

    /// Saves what it has into a file.
    #[track_caller]
    pub fn save(&self, file: &Path) {
        self.ctl(&["snapshot", "save", &file.display().to_string()])
            .must();
    }

    /// Brings it back to what [`Consul::save`] saved; its servers run on.
    #[track_caller]
    pub fn bring_back(&mut self, file: &Path) {
        self.ctl(&["snapshot", "restore", &file.display().to_string()])
            .must();
    }

    /// Stops a server (SIGSTOP): its connections stay, and nothing answers.
    pub fn pause(&self, member: usize) {
        self.members[member].server.pause();
    }

    /// Lets a stopped server go on.
    pub fn resume(&self, member: usize) {
        self.members[member].server.resume();
    }

    /// A token with a policy of its own of this name.
    #[track_caller]
    #[must_use]
    pub fn token(&self, policy: &str, rules: &str) -> String {
        let name = format!("-name={policy}");
        self.ctl(&["acl", "policy", "create", &name, "-rules", rules])
            .must();
        let policy = format!("-policy-name={policy}");
        let made = self.ctl(&["acl", "token", "create", &policy]).ok();
        let secret = made.lines().find_map(|line| line.strip_prefix("SecretID:"));
        secret.expect("it is told").trim().to_owned()
    }

    /// Gives a policy other rules.
    #[track_caller]
    pub fn allow(&self, policy: &str, rules: &str) {
        let name = format!("-name={policy}");
        self.ctl(&["acl", "policy", "update", &name, "-rules", rules])
            .must();
    }

    /// Runs `consul` against the first server.
    #[track_caller]
    pub fn ctl(&self, arguments: &[&str]) -> Output {
        let mut command = self.command(0, arguments);
        self.members[0].server.place.run(&mut command)
    }

    fn command(&self, member: usize, arguments: &[&str]) -> Command {
        let mut command = Command::new("consul");
        let client = &self.members[member].client;
        let scheme = self.settings.tls.as_ref().map_or("http", |_| "https");
        command.env("CONSUL_HTTP_ADDR", format!("{scheme}://{client}"));
        if let Some(tls) = &self.settings.tls {
            command.env("CONSUL_CACERT", tls.file("ca.pem"));
            command.env("CONSUL_CLIENT_CERT", tls.file("client.pem"));
            command.env("CONSUL_CLIENT_KEY", tls.file("client.key"));
        }
        if let Some(token) = &self.settings.token {
            command.env("CONSUL_HTTP_TOKEN", token);
        }
        command.args(arguments);
        command
    }
}

//! A ZooKeeper of one or more servers.
//!
//! Owns the servers' processes, run from the classes of Debian's package.

mod tree;

use super::{Certificates, Place, server::Server};
use crate::{Lab, Output};
use std::{
    fs,
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

/// Where Debian puts the classes.
const CLASSES: &str = "/usr/share/java/zookeeper.jar";

/// What they do not bring themselves: what prints complaints, and a part of what TLS needs.
const MORE_CLASSES: &str = "/usr/share/java/slf4j-simple.jar:/usr/share/java/netty-codec.jar";

/// Long for loopback; a server that hangs does not hang the test.
const PATIENCE: Duration = Duration::from_secs(2);

/// What a ZooKeeper is started with, besides its places.
#[derive(Debug, Clone, Default)]
pub struct ZooKeeperSettings {
    /// It has a second port, where clients speak TLS and show a certificate of this authority.
    pub tls: Option<Certificates>,
}

/// A running ZooKeeper. Dropping it kills its servers.
#[derive(Debug)]
pub struct ZooKeeper {
    members: Vec<Member>,
}

#[derive(Debug)]
struct Member {
    server: Server,
    port: u16,
    secure: Option<u16>,
    data: PathBuf,
}

impl ZooKeeper {
    /// Whether it can be started here: `require_programs!("java")` tells of the rest.
    #[must_use]
    pub fn is_installed() -> bool {
        Path::new(CLASSES).is_file()
    }

    /// Starts one, with a server at each place, and waits until it serves.
    #[track_caller]
    #[must_use]
    pub fn start(lab: &Lab, places: &[Place]) -> Self {
        Self::start_with(lab, places, ZooKeeperSettings::default())
    }

    /// As [`ZooKeeper::start`], with settings.
    #[track_caller]
    #[must_use]
    pub fn start_with(lab: &Lab, places: &[Place], settings: ZooKeeperSettings) -> Self {
        let ports: Vec<_> = places.iter().map(Place::free_ports::<4>).collect();
        let number = (0..)
            .find(|number| !lab.folder().join(format!("zookeeper{number}-0")).exists())
            .expect("an endless search finds one");
        let ensemble: String = places
            .iter()
            .zip(&ports)
            .enumerate()
            .map(|(id, (place, [_, _, peer, election]))| {
                format!("server.{id}={}:{peer}:{election}\n", place.bracketed())
            })
            .collect();
        let ensemble = if places.len() > 1 {
            ensemble
        } else {
            String::new()
        };
        let members = places.iter().zip(&ports).enumerate();
        let members = members.map(|(id, (place, &[port, secure, ..]))| {
            let data = lab.folder().join(format!("zookeeper{number}-{id}"));
            fs::create_dir(&data).unwrap_or_else(|error| panic!("{}: {error}", data.display()));
            write(&data, "myid", &id.to_string());
            let mut file = format!(
                "tickTime=1000\ninitLimit=10\nsyncLimit=5\ndataDir={}\nclientPort={port}\n\
                 clientPortAddress={}\nadmin.enableServer=false\nmaxClientCnxns=0\n{ensemble}",
                data.display(),
                place.address(),
            );
            if let Some(tls) = &settings.tls {
                file.push_str(&secured(place, secure, &data, tls));
            }
            let words = words(&write(&data, "zoo.cfg", &file));
            Member {
                server: Server::start(place, data.with_extension("log"), words),
                port,
                secure: settings.tls.as_ref().map(|_| secure),
                data,
            }
        });
        let mut zookeeper = Self {
            members: members.collect(),
        };
        zookeeper.wait();
        zookeeper
    }

    /// The command of a server that is a container with this folder as its `/mnt`.
    #[track_caller]
    pub(super) fn contained(folder: &Path, port: u16) -> String {
        let file = format!("dataDir=/mnt\nclientPort={port}\nadmin.enableServer=false\n");
        write(folder, "zoo.cfg", &file);
        words(Path::new("/mnt/zoo.cfg")).join(" ")
    }

    /// Waits until every server serves.
    #[track_caller]
    pub fn wait(&mut self) {
        for member in &mut self.members {
            let (place, port) = (member.server.place.clone(), member.port);
            member
                .server
                .wait_until(|| ask(&place, port).is_some_and(|said| said.contains("\nMode: ")));
        }
    }

    /// Its address, as `--cluster-store` takes it, without a prefix.
    #[must_use]
    pub fn url(&self) -> String {
        format!("zk://{}", self.addresses().join(","))
    }

    /// The servers' addresses for clients without TLS.
    #[must_use]
    pub fn addresses(&self) -> Vec<String> {
        let members = self.members.iter();
        members
            .map(|member| member.server.place.at(member.port).to_string())
            .collect()
    }

    /// The first server's address for clients with TLS, if it has one.
    #[must_use]
    pub fn secure_address(&self) -> Option<String> {
        let member = &self.members[0];
        let port = member.secure?;
        Some(member.server.place.at(port).to_string())
    }

    /// Runs ZooKeeper's command line against the first server: `ctl(&["ls", "/"])`.
    #[track_caller]
    pub fn ctl(&self, arguments: &[&str]) -> Output {
        let place = &self.members[0].server.place;
        let mut command = Command::new("java");
        command
            .arg("-Dorg.slf4j.simpleLogger.defaultLogLevel=error")
            .arg("-cp")
            .arg(format!("{CLASSES}:{MORE_CLASSES}"))
            .arg("org.apache.zookeeper.ZooKeeperMain")
            .args(["-server", &self.addresses()[0]])
            .args(arguments);
        place.run(&mut command)
    }

    /// The number of the server that leads.
    #[track_caller]
    #[must_use]
    pub fn leader(&self) -> usize {
        let leads = |member: &Member| {
            ask(&member.server.place, member.port).is_some_and(|said| said.contains("Mode: leader"))
        };
        self.members
            .iter()
            .position(leads)
            .expect("a server leads once all serve")
    }

    /// The keys of the records that a daemon keeps here below this prefix of its address: each
    /// segment of a key but the last is a folder, whose name ends in a colon.
    #[track_caller]
    #[must_use]
    pub fn keys(&self, prefix: &str) -> Vec<String> {
        let records = format!("/{prefix}/records");
        let nodes = self.at_tree(|address| tree::below(address, &records));
        let nodes = nodes.iter().filter(|node| !node.ends_with(':'));
        let keys = nodes.filter_map(|node| node.strip_prefix(&records));
        keys.map(|key| format!("{prefix}{}", key.replace(":/", "/").replace(':', "/")))
            .collect()
    }

    /// What is recorded at a key.
    #[track_caller]
    #[must_use]
    pub fn value(&self, key: &str) -> String {
        let value = self.at_tree(|address| tree::value(address, &node(key)));
        String::from_utf8(value).expect("text")
    }

    /// Records something at a key.
    #[track_caller]
    pub fn put(&self, key: &str, value: &str) {
        self.at_tree(|address| tree::put(address, &node(key), value.as_bytes()));
    }

    /// Removes what is recorded at a key.
    #[track_caller]
    pub fn delete(&self, key: &str) {
        self.at_tree(|address| tree::delete(address, &node(key)));
    }

    /// Asks the first server for its nodes.
    #[track_caller]
    fn at_tree<T: Send>(&self, ask: impl FnOnce(SocketAddr) -> io::Result<T> + Send) -> T {
        let Member { server, port, .. } = &self.members[0];
        let address = server.place.at(*port);
        let answer = server.place.enter(|| ask(address));
        answer.unwrap_or_else(|error| panic!("{address}: {error}"))
    }

    /// How many changes it has taken, sessions that began and ended among them.
    #[track_caller]
    #[must_use]
    pub fn changes(&self) -> u64 {
        let Member { server, port, .. } = &self.members[0];
        let said = ask(&server.place, *port).expect("it serves");
        let last = said.lines().find_map(|line| line.strip_prefix("Zxid: 0x"));
        u64::from_str_radix(last.expect("it tells"), 16).expect("a number")
    }

    /// Kills a server (SIGKILL).
    pub fn kill(&mut self, member: usize) {
        self.members[member].server.kill();
    }

    /// Removes what a killed server had on disk, but for its configuration.
    #[track_caller]
    pub fn forget(&mut self, member: usize) {
        let data = self.members[member].data.join("version-2");
        fs::remove_dir_all(&data).unwrap_or_else(|error| panic!("{}: {error}", data.display()));
    }

    /// Saves what its servers have on disk into a new folder.
    #[track_caller]
    pub fn save(&self, folder: &Path) {
        for (number, member) in self.members.iter().enumerate() {
            let to = folder.join(number.to_string());
            copy(&member.data.join("version-2"), &to);
        }
    }

    /// Brings all servers back to what [`ZooKeeper::save`] saved.
    #[track_caller]
    pub fn bring_back(&mut self, folder: &Path) {
        for member in 0..self.members.len() {
            self.kill(member);
        }
        for member in 0..self.members.len() {
            self.forget(member);
            let to = self.members[member].data.join("version-2");
            copy(&folder.join(member.to_string()), &to);
        }
        for member in 0..self.members.len() {
            self.restart(member);
        }
        self.wait();
    }

    /// Starts a server again, with what it had on disk.
    #[track_caller]
    pub fn restart(&mut self, member: usize) {
        self.members[member].server.restart();
    }

    /// Stops a server (SIGSTOP): its connections stay, and nothing answers.
    pub fn pause(&self, member: usize) {
        self.members[member].server.pause();
    }

    /// Lets a stopped server go on.
    pub fn resume(&self, member: usize) {
        self.members[member].server.resume();
    }
}

/// The node of a key, behind the first part of which is the prefix: as
/// `crates/store/src/cluster/zookeeper/layout.rs` has it.
fn node(key: &str) -> String {
    const DEPTH: usize = 4;
    let (prefix, key) = key.split_once('/').expect("it has a prefix");
    let parts: Vec<&str> = key.split('/').collect();
    let (folders, name) = parts.split_at(DEPTH.min(parts.len() - 1));
    let folders: String = folders.iter().map(|folder| format!("/{folder}:")).collect();
    format!("/{prefix}/records{folders}/{}", name.join(":"))
}

/// Copies the files of a folder into a new one.
#[track_caller]
fn copy(from: &Path, to: &Path) {
    let copied = fs::create_dir_all(to).and_then(|()| {
        for file in fs::read_dir(from)? {
            let file = file?;
            fs::copy(file.path(), to.join(file.file_name()))?;
        }
        Ok(())
    });
    copied.unwrap_or_else(|error| panic!("{}: {error}", from.display()));
}

#[track_caller]
fn write(folder: &Path, file: &str, text: &str) -> PathBuf {
    let path = folder.join(file);
    fs::write(&path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    path
}

/// The lines of a port where clients speak TLS.
fn secured(place: &Place, port: u16, data: &Path, tls: &Certificates) -> String {
    let read = |name: &str| fs::read_to_string(tls.file(name)).expect("it was made");
    let key = write(data, "key.pem", &(read("server.pem") + &read("server.key")));
    format!(
        "secureClientPort={port}\nsecureClientPortAddress={}\n\
         serverCnxnFactory=org.apache.zookeeper.server.NettyServerCnxnFactory\n\
         ssl.keyStore.location={}\nssl.keyStore.type=PEM\n\
         ssl.trustStore.location={}\nssl.trustStore.type=PEM\nssl.clientAuth=need\n",
        place.address(),
        key.display(),
        tls.file("ca.pem").display(),
    )
}

/// How a server with this configuration is started.
fn words(file: &Path) -> Vec<String> {
    let words = [
        "java",
        "-Xmx128m",
        "-XX:+UseSerialGC",
        "-XX:TieredStopAtLevel=1",
        "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
        // Empty containers go within a second, not a minute.
        "-Dznode.container.checkIntervalMs=1000",
        "-cp",
        &format!("{CLASSES}:{MORE_CLASSES}"),
        "org.apache.zookeeper.server.quorum.QuorumPeerMain",
        &file.display().to_string(),
    ];
    words.map(str::to_owned).into()
}

/// What a server says of itself.
fn ask(place: &Place, port: u16) -> Option<String> {
    let address = place.at(port);
    place.enter(|| {
        let mut stream = TcpStream::connect_timeout(&address, PATIENCE).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        stream.write_all(b"srvr").ok()?;
        let mut said = String::new();
        stream.read_to_string(&mut said).ok()?;
        Some(said)
    })
}

//! The stage of a cluster: hosts on one switch, a store on another host there, a daemon each.

mod daemons;

pub(crate) use crate::store::Kind;
use crate::store::{self, Servers};
use serde_json::Value;
use std::{collections::BTreeMap, path::Path, time::Duration};
use vw_testkit::{Daemon, Host, Lab, poll, wire::Wire};

/// A change is everywhere within this; it takes milliseconds.
pub(crate) const SOON: Duration = Duration::from_secs(10);

/// A dead host is noticed within this: twice the longest least lease (Consul's 10 s), and a little.
pub(crate) const LEASE: Duration = Duration::from_secs(40);

/// The same of a store of that kind: three of its leases (5 s; Consul's may last for 20 s).
pub(crate) const fn lease(kind: Kind) -> Duration {
    match kind {
        Kind::Consul => LEASE,
        Kind::Etcd | Kind::ZooKeeper => Duration::from_secs(15),
    }
}

/// Returns from the test, with the reason, where a cluster cannot be played.
#[macro_export]
macro_rules! require_cluster {
    ($kind:expr) => {
        vw_testkit::require_root!();
        vw_testkit::require_programs!("docker", "conmon", "ip", "nft", "dig", "busybox");
        vw_testkit::require!(
            $kind.is_installed(),
            "needs {}: run `scripts/install-deps stores`",
            $kind.name()
        );
    };
}

/// Makes a test a store of functions that take the store's kind: of what rests on the store.
#[macro_export]
macro_rules! over_every_store {
    ($($name:ident),* $(,)?) => {
        $crate::over_every_store!(@ etcd, Etcd, $($name),*);
        $crate::over_every_store!(@ consul, Consul, $($name),*);
        $crate::over_every_store!(@ zookeeper, ZooKeeper, $($name),*);
    };
    (@ $module:ident, $kind:ident, $($name:ident),*) => {
        mod $module {
            $(#[test]
            fn $name() {
                $crate::require_cluster!($crate::store::Kind::$kind);
                super::$name($crate::store::Kind::$kind);
            })*
        }
    };
}

/// Makes a test of functions that take the store's kind: of what the store has no part in once it
/// has told the hosts of each other. Each is over the store whose [turn](store::turn) it is.
#[macro_export]
macro_rules! over_one_store {
    ($($name:ident),* $(,)?) => {
        mod by_turn {
            $(#[test]
            fn $name() {
                let over = |kind: $crate::store::Kind| {
                    $crate::require_cluster!(kind);
                    super::$name(kind);
                };
                $crate::store::turn(stringify!($name)).into_iter().for_each(over);
            })*
        }
    };
}

struct Member {
    daemon: Daemon,
    host: Host,
    addr: String,
    flags: Vec<String>,
}

/// Hosts with daemons that share a store. Its last field is dropped last.
pub(crate) struct Stage {
    members: BTreeMap<String, Member>,
    pub(crate) store: Option<Servers>,
    /// How every daemon is let in there.
    options: Vec<String>,
    switch: Host,
    lab: Lab,
}

impl Stage {
    /// Hosts of these names that reach each other by IPv4.
    #[track_caller]
    pub(crate) fn new(kind: Kind, names: &[&str]) -> Self {
        Self::made(Some(store::of(kind)), names, "192.0.2.", 24)
    }

    /// As [`Self::new`], with a store that loses a server and lives on.
    #[track_caller]
    pub(crate) fn over_three_servers(kind: Kind, names: &[&str]) -> Self {
        Self::made(Some(store::servers(kind, 3)), names, "192.0.2.", 24)
    }

    /// As [`Self::new`], with a Consul that lets in who shows a token.
    #[track_caller]
    pub(crate) fn guarded(names: &[&str]) -> Self {
        Self::over(Box::new(store::guarded), names)
    }

    /// As [`Self::new`], with a store that is started so.
    #[track_caller]
    pub(crate) fn over(start: store::Start, names: &[&str]) -> Self {
        Self::made(Some(start), names, "192.0.2.", 24)
    }

    /// As [`Self::new`], by IPv6 alone.
    #[track_caller]
    pub(crate) fn over_ipv6(kind: Kind, names: &[&str]) -> Self {
        Self::made(Some(store::of(kind)), names, "2001:db8::", 64)
    }

    /// As [`Self::new`], each with a prefix of its own, though they hear each other.
    #[track_caller]
    pub(crate) fn on_no_segment(kind: Kind, names: &[&str]) -> Self {
        Self::made(Some(store::of(kind)), names, "192.0.2.", 32)
    }

    /// One host, `a`, without a store.
    #[track_caller]
    pub(crate) fn alone() -> Self {
        Self::made(None, &["a"], "192.0.2.", 24)
    }

    fn made(start: Option<store::Start>, names: &[&str], prefix: &str, length: u8) -> Self {
        let lab = Lab::new();
        let hosts: Vec<Host> = names.iter().map(|name| lab.host(name)).collect();
        let server = lab.host("store");
        let addresses: Vec<String> = (1..=names.len()).map(|n| format!("{prefix}{n}")).collect();
        let nets: Vec<String> = addresses
            .iter()
            .map(|addr| format!("{addr}/{length}"))
            .collect();
        let at = format!("{prefix}99");
        let net = format!("{at}/{length}");
        let ends: Vec<[&str; 1]> = nets.iter().map(|net| [net.as_str()]).collect();
        let mut ports: Vec<(&Host, &str, &[&str])> = hosts
            .iter()
            .zip(&ends)
            .map(|(host, nets)| (host, "wire", nets.as_slice()))
            .collect();
        let own = [net.as_str()];
        ports.push((&server, "wire", &own));
        let switch = lab.lan("switch", &ports);
        hosts
            .iter()
            .chain([&server])
            .filter(|_| length == 32)
            .for_each(|host| {
                host.ip(&format!("route add {prefix}0/24 dev wire"));
            });
        let is_cluster = start.is_some();
        let (store, options) = start.map(|start| start(&lab, &server, &at)).unzip();
        let options = options.unwrap_or_default();
        let mut members = BTreeMap::new();
        for ((name, host), addr) in names.iter().zip(hosts).zip(addresses) {
            let flags = store
                .iter()
                .flat_map(|store| flags(store, &options, name))
                .collect::<Vec<_>>();
            let words: Vec<&str> = flags.iter().map(String::as_str).collect();
            let daemon = Daemon::start_with(&lab, &host, &words);
            let member = Member {
                daemon,
                host,
                addr,
                flags,
            };
            members.insert((*name).to_owned(), member);
        }
        let stage = Self {
            members,
            store,
            options,
            switch,
            lab,
        };
        if is_cluster {
            stage.wait_for_all();
        }
        stage
    }

    #[track_caller]
    fn wait_for_all(&self) {
        let all = self.members.len();
        for name in self.members.keys() {
            let met = poll(LEASE, || {
                let status = self.api(name, "/vethwork/cluster");
                let hosts = status["Hosts"].as_array()?;
                let alive = hosts.iter().filter(|host| host["Alive"] == true);
                (alive.count() == all).then_some(())
            });
            assert!(
                met.is_some(),
                "{name} does not see all hosts: {}",
                self.api(name, "/vethwork/cluster")
            );
        }
    }

    fn member(&self, name: &str) -> &Member {
        &self.members[name]
    }

    /// The names of the hosts, in order.
    pub(crate) fn names(&self) -> Vec<String> {
        self.members.keys().cloned().collect()
    }

    /// Where the hosts are.
    pub(crate) fn lab(&self) -> &Lab {
        &self.lab
    }

    /// The daemon of a host.
    pub(crate) fn daemon(&self, name: &str) -> &Daemon {
        &self.member(name).daemon
    }

    /// A host.
    pub(crate) fn host(&self, name: &str) -> &Host {
        &self.member(name).host
    }

    /// The address of a host on the switch.
    pub(crate) fn addr(&self, name: &str) -> String {
        self.member(name).addr.clone()
    }

    /// Runs docker on a host, which must succeed.
    #[track_caller]
    pub(crate) fn docker(&self, host: &str, line: &str) -> String {
        self.daemon(host).docker(line.split_whitespace()).ok()
    }

    /// Runs docker on a host, which must be refused.
    #[track_caller]
    pub(crate) fn refused(&self, host: &str, line: &str) -> String {
        self.daemon(host).docker(line.split_whitespace()).refused()
    }

    /// Runs our own command line on a host, which must succeed.
    #[track_caller]
    pub(crate) fn cli(&self, host: &str, line: &str) -> String {
        self.daemon(host).cli(line.split_whitespace()).ok()
    }

    /// Runs our own command line on a host, which must be refused.
    #[track_caller]
    pub(crate) fn cli_refused(&self, host: &str, line: &str) -> String {
        self.daemon(host).cli(line.split_whitespace()).refused()
    }

    /// What a host's API answers.
    #[track_caller]
    pub(crate) fn api(&self, host: &str, path: &str) -> Value {
        self.daemon(host).api("GET", path, None).json()
    }

    /// Whether a host has a network.
    pub(crate) fn knows(&self, host: &str, network: &str) -> bool {
        self.daemon(host)
            .docker(["network", "inspect", network])
            .success()
    }

    /// Starts a container that waits, and enters its namespace.
    #[track_caller]
    pub(crate) fn start(&self, host: &str, name: &str, arguments: &str) -> Host {
        self.docker(
            host,
            &format!("run -d --name {name} {arguments} host sleep 1000"),
        );
        self.inside(host, name)
    }

    /// The namespace of a container that runs.
    #[track_caller]
    pub(crate) fn inside(&self, host: &str, name: &str) -> Host {
        let key = self.docker(
            host,
            &format!("inspect -f {{{{.NetworkSettings.SandboxKey}}}} {name}"),
        );
        self.lab.at(name, Path::new(&key))
    }

    /// The address of a container on a network.
    #[track_caller]
    pub(crate) fn address(&self, host: &str, name: &str, network: &str) -> String {
        let format = format!("{{{{(index .NetworkSettings.Networks \"{network}\").IPAddress}}}}");
        self.daemon(host)
            .docker(["inspect", "-f", &format, name])
            .ok()
    }

    /// What a name is inside a container; empty where it is nothing.
    pub(crate) fn resolve(&self, inside: &Host, name: &str, family: &str) -> String {
        let dig = [
            "dig",
            "+short",
            "+tries=1",
            "+time=2",
            "@127.0.0.11",
            name,
            family,
        ];
        let output = inside.run(dig);
        if output.success() {
            output.ok()
        } else {
            String::new()
        }
    }

    /// A host on the switch that is in no cluster.
    pub(crate) fn stranger(&self) -> Host {
        self.plugged("stranger", "192.0.2.66")
    }

    /// One more host of the cluster, whose daemon starts now.
    #[track_caller]
    pub(crate) fn join(&mut self, name: &str) {
        let addr = format!("192.0.2.{}", self.members.len() + 1);
        let host = self.plugged(name, &addr);
        let store = self.store.as_ref().expect("there is one");
        let flags = flags(store, &self.options, name);
        let words: Vec<&str> = flags.iter().map(String::as_str).collect();
        let daemon = Daemon::start_with(&self.lab, &host, &words);
        let member = Member {
            daemon,
            host,
            addr,
            flags,
        };
        self.members.insert(name.to_owned(), member);
        self.wait_for_all();
    }

    /// A new host on the switch.
    fn plugged(&self, name: &str, addr: &str) -> Host {
        let host = self.lab.host(name);
        self.lab.link(&host, "wire", &self.switch, name);
        self.switch.ip(&format!("link set {name} master br0"));
        host.ip(&format!("addr add {addr}/24 dev wire"));
        host
    }

    /// Watches what passes between the hosts.
    #[track_caller]
    pub(crate) fn watch(&self) -> Wire {
        Wire::watch(&self.lab, &self.switch)
    }

    /// How many tunnelled packets have come to a host.
    #[track_caller]
    pub(crate) fn tunnelled(&self, host: &str) -> u64 {
        let host = self.host(host);
        let counted = host.run(["nft", "list", "table", "inet", "count"]);
        if !counted.success() {
            let rules = "add table inet count; add chain inet count in { type filter hook prerouting priority -400; }; add rule inet count in udp dport 4789 counter";
            host.run(["nft", rules]).must();
            return 0;
        }
        let text = counted.ok();
        let after = text.split("packets ").nth(1);
        let count = after.and_then(|after| after.split(' ').next()?.parse().ok());
        count.unwrap_or_else(|| panic!("no count: {text}"))
    }

    /// Stops the store where it is: it neither answers nor closes.
    pub(crate) fn pause_store(&self) {
        let store = self.store.as_ref().expect("there is one");
        (0..store.count()).for_each(|member| store.pause(member));
    }

    /// Has it go on.
    pub(crate) fn resume_store(&self) {
        let store = self.store.as_ref().expect("there is one");
        (0..store.count()).for_each(|member| store.resume(member));
    }

    /// How many changes the store has taken.
    #[track_caller]
    pub(crate) fn changes(&self) -> u64 {
        self.store.as_ref().expect("there is one").changes()
    }

    /// Has the switch's port of a host take packets up to so many bytes, which its ends do not see.
    pub(crate) fn narrow(&self, host: &str, mtu: u32) {
        let number = self.members.keys().position(|name| name == host);
        let port = format!("port{}", number.expect("a member"));
        self.switch.ip(&format!("link set {port} mtu {mtu}"));
    }

    /// Pulls a host's wire.
    pub(crate) fn cut(&self, host: &str) {
        self.host(host).ip("link set wire down");
    }

    /// Puts it back.
    pub(crate) fn mend(&self, host: &str) {
        self.host(host).ip("link set wire up");
    }

    #[track_caller]
    fn remove_all(&self, host: &str) {
        let containers = self.docker(host, "ps -aq");
        if !containers.is_empty() {
            let words = ["rm", "-f"].into_iter().chain(containers.lines());
            self.daemon(host).docker(words).must();
        }
    }

    /// Ends the scenario: nothing to repair on any host, and nothing left of what was made.
    #[track_caller]
    pub(crate) fn end(mut self) {
        let names = self.names();
        for name in &names {
            self.forget(name);
        }
        for name in &names {
            self.remove_all(name);
        }
        // Only now: while the hosts take down what led to them, a daemon that starts has to do.
        for service in self.cli(&names[0], "service ls -q").lines() {
            self.cli(&names[0], &format!("service rm {service}"));
        }
        let listed = self.docker(&names[0], "network ls -q --filter type=custom");
        for network in listed.lines() {
            // A host that is no more is asked for as long as its lease lasts.
            let removed = poll(LEASE, || {
                let removed = self.daemon(&names[0]).docker(["network", "rm", network]);
                removed.success().then_some(())
            });
            assert!(removed.is_some(), "network {network} cannot be removed");
        }
        for name in &names {
            let member = self.members.get_mut(name).expect("a member");
            let emptied = poll(SOON, || {
                let left = member
                    .daemon
                    .docker([
                        "network",
                        "ls",
                        "-q",
                        "--filter",
                        "type=custom",
                        "--filter",
                        "scope=global",
                    ])
                    .ok();
                left.is_empty().then_some(())
            });
            assert!(emptied.is_some(), "{name} has global networks still");
            member.daemon.docker(["network", "prune", "-f"]).must();
            member.daemon.stop();
            let left = || leftovers(member);
            let clean = poll(SOON, || left().is_empty().then_some(()));
            assert!(
                clean.is_some(),
                "{name}: left behind: {}",
                left().join("\n")
            );
        }
        let left = || self.records();
        let clean = poll(SOON, || left().is_empty().then_some(()));
        assert!(clean.is_some(), "left in the store: {}", left().join("\n"));
    }

    /// What lies in the store (`vw_cluster::keys`) besides what a cluster without networks has.
    fn records(&self) -> Vec<String> {
        let stays = |key: &str| match key.split('/').collect::<Vec<_>>()[..] {
            ["vethwork", "v1", own] => {
                ["catalogue", "format", "forgotten", "services"].contains(&own)
            }
            // With the host's own record.
            ["vethwork", "v1", "marks", _host, _slot] => true,
            ["vethwork", "v1", "shared", kind, _host] => {
                ["alive", "hosts", "tunnels"].contains(&kind)
            }
            _ => false,
        };
        let stores = self.store.iter();
        let keys = stores.flat_map(|store| store.keys("vethwork"));
        keys.filter(|key| !stays(key)).collect()
    }
}

/// What the daemon of that name is started with.
fn flags(store: &Servers, options: &[String], name: &str) -> Vec<String> {
    let url = store.url();
    let words = ["--cluster-store", &url, "--cluster-advertise", "wire"].map(str::to_owned);
    let options = options.iter().cloned().chain([format!("name={name}")]);
    let options = options.flat_map(|option| ["--cluster-store-opt".to_owned(), option]);
    words.into_iter().chain(options).collect()
}

/// What of ours stands on a host.
fn leftovers(member: &Member) -> Vec<String> {
    let links = member.host.ip("-br link");
    let ours = links.lines().filter(|line| line.starts_with("vw"));
    let mut left: Vec<String> = ours.map(str::to_owned).collect();
    let tables = member.host.run(["nft", "list", "tables"]).ok();
    // The host's own stays for the daemon that starts next.
    let ours = tables.lines().filter(|line| line.contains("vethwork_"));
    left.extend(ours.map(str::to_owned));
    let socket = member.daemon.exec_root().join("wireguard.sock");
    left.extend(socket.exists().then(|| socket.display().to_string()));
    for ours in [
        "route show proto 86",
        "-6 route show proto 86",
        "neigh show proxy",
        "-6 neigh show proxy",
        "-6 addr show deprecated",
    ] {
        left.extend(member.host.ip(ours).lines().map(str::to_owned));
    }
    let pins = std::fs::read_dir(member.daemon.exec_root().join("netns"));
    left.extend(
        pins.into_iter()
            .flatten()
            .flatten()
            .map(|pin| pin.path().display().to_string()),
    );
    left
}

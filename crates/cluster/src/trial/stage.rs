//! The stage: a wire, hosts and members on it, and what is done to them.

use super::{
    host::{CALM, EMPTY, PART, Part, Seen},
    log::{self, Entry, Event, Log, Why},
    sample::{self, Sample},
    schedule::{Fault, Trouble},
};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    collections::BTreeSet,
    env, fs,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};
use vw_model::{EndpointId, HostId, NetworkId};
use vw_store::cluster::{ClusterUrl, Options, connect};
use vw_testkit::{
    Host, Lab, Running,
    cluster_stores::{Kind, Place, Servers},
    eventually, poll,
};

pub(super) const HOSTS: usize = 4;
pub(super) const MEMBERS: usize = 3;

/// All is at rest, and everywhere the same, within this; a slow machine and an election included.
const REST: Duration = Duration::from_secs(90);

/// Its last field is dropped last.
pub(super) struct Stage {
    processes: Vec<Option<Running>>,
    parts: Vec<Part>,
    hosts: Vec<Host>,
    members: Vec<Host>,
    servers: Servers,
    onlooker: Option<(Arc<AtomicBool>, JoinHandle<Vec<Sample>>)>,
    lab: Lab,
}

impl Stage {
    pub(super) fn new(kind: Kind, seed: u64, ttl: Duration) -> Self {
        let lab = Lab::new();
        let named = |prefix: &str, count| -> Vec<Host> {
            let names = (0..count).map(|n| format!("{prefix}{n}"));
            names.map(|name| lab.host(&name)).collect()
        };
        let (hosts, members) = (named("h", HOSTS), named("m", MEMBERS));
        let onlooker = lab.host("onlooker");
        let addresses: Vec<String> = (0..HOSTS)
            .map(|n| format!("192.0.2.{}/24", n + 1))
            .chain((0..MEMBERS).map(|n| format!("{}/24", member_at(n))))
            .chain(["192.0.2.99/24".to_owned()])
            .collect();
        let all = hosts.iter().chain(&members).chain([&onlooker]);
        let ends: Vec<[&str; 1]> = addresses.iter().map(|addr| [addr.as_str()]).collect();
        let ports: Vec<(&Host, &str, &[&str])> = all
            .zip(&ends)
            .map(|(host, at)| (host, "wire", at.as_slice()))
            .collect();
        lab.lan("switch", &ports);
        let places = members.iter().enumerate();
        let places: Vec<Place> = places
            .map(|(n, host)| Place::host(host, &member_at(n)))
            .collect();
        let servers = Servers::start(kind, &lab, &places);
        let parts = (0..HOSTS).map(|n| Part {
            url: servers.url(),
            number: n as u8 + 1,
            seed: seed.wrapping_mul(1000) + n as u64,
            ttl,
            folder: lab.folder().to_path_buf(),
        });
        let mut stage = Self {
            processes: (0..HOSTS).map(|_| None).collect(),
            parts: parts.collect(),
            onlooker: Some(look_on(&onlooker, &servers.url())),
            hosts,
            members,
            servers,
            lab,
        };
        (0..HOSTS).for_each(|n| stage.start(n));
        eventually("every host uses an address", REST, || {
            stage.must_run();
            let mut logs = stage.parts.iter().map(|part| log::read(&part.log()));
            logs.all(|log| !log::held(&log).is_empty())
        });
        stage
    }

    fn start(&mut self, n: usize) {
        // Another one at each start.
        self.parts[n].seed += HOSTS as u64;
        let part = serde_json::to_string(&self.parts[n]).expect("plain data");
        let mut command = Command::new(env::current_exe().expect("known"));
        command
            .args(["--exact", "trial::tests::host", "--nocapture"])
            .env(PART, part);
        self.processes[n] = Some(self.hosts[n].spawn_command(&mut command));
    }

    fn signal(&self, n: usize, signal: Signal) {
        let running = self.processes[n].as_ref().expect("it was started");
        let pid = Pid::from_raw(running.pid().cast_signed()).expect("it has a number");
        kill_process(pid, signal).expect("it is ours");
    }

    /// Lets a schedule happen.
    pub(super) fn play(&mut self, faults: &[Fault]) {
        let begun = faults.iter().map(|fault| (fault.from, true, *fault));
        let ended = faults.iter().map(|fault| (fault.to, false, *fault));
        let mut events: Vec<_> = begun.chain(ended).collect();
        events.sort_by_key(|(at, ..)| *at);
        let start = Instant::now();
        for (at, begins, fault) in events {
            poll(at.saturating_sub(start.elapsed()), || None::<()>);
            self.must_run();
            if begins {
                self.begin(fault);
            } else {
                self.end(fault);
            }
        }
    }

    fn begin(
        &mut self,
        Fault {
            target, trouble, ..
        }: Fault,
    ) {
        match trouble {
            Trouble::CutHost => drop(self.hosts[target].ip("link set wire down")),
            Trouble::HideMember(member) => deafen(&self.hosts[target], &member_at(member)),
            Trouble::KillHost => self.processes[target] = None,
            Trouble::StopHost => self.signal(target, Signal::STOP),
            Trouble::EmptyHost => self.empty(target),
            Trouble::CutMember => drop(self.members[target].ip("link set wire down")),
            Trouble::IsolateMember => {
                let peers = (0..MEMBERS).filter(|peer| *peer != target).map(member_at);
                deafen(&self.members[target], &peers.collect::<Vec<_>>().join(", "));
            }
            Trouble::KillMember => self.servers.kill(target),
            Trouble::StopMember => self.servers.pause(target),
        }
    }

    fn end(
        &mut self,
        Fault {
            target, trouble, ..
        }: Fault,
    ) {
        match trouble {
            Trouble::CutHost => drop(self.hosts[target].ip("link set wire up")),
            Trouble::HideMember(_) => hear(&self.hosts[target]),
            Trouble::KillHost | Trouble::EmptyHost => self.start(target),
            Trouble::StopHost => self.signal(target, Signal::CONT),
            Trouble::CutMember => drop(self.members[target].ip("link set wire up")),
            Trouble::IsolateMember => hear(&self.members[target]),
            Trouble::KillMember => self.servers.restart(target),
            Trouble::StopMember => self.servers.resume(target),
        }
    }

    /// Kills a host with all that it has.
    fn empty(&mut self, n: usize) {
        self.processes[n] = None;
        let part = &self.parts[n];
        let log = Log::open(&part.log());
        for lease in log::held(&log::read(&part.log())) {
            log.note(Event::Dropped(lease, Why::Emptied));
        }
        // It may not have come to make one.
        let _ = fs::remove_dir_all(part.disk());
    }

    fn must_run(&mut self) {
        for running in self.processes.iter_mut().flatten() {
            if let Some(status) = running.ended() {
                panic!("a host ended with {status}:\n{}", running.output());
            }
        }
    }

    fn say(&self, word: &str) {
        fs::write(self.lab.folder().join(word), "").expect("the folder is there");
    }

    fn seen(&self) -> Vec<Seen> {
        let read = |part: &Part| {
            let bytes = fs::read(part.state()).unwrap_or_default();
            serde_json::from_slice(&bytes).unwrap_or_default()
        };
        self.parts.iter().map(read).collect()
    }

    /// Nothing goes wrong any more: every host comes to see the same, and it is what there is.
    /// Then everything can be removed.
    pub(super) fn come_to_rest(&mut self) {
        self.say(CALM);
        let agreed = poll(REST, || {
            self.must_run();
            differences(&self.seen()).is_none().then_some(())
        });
        if agreed.is_none() {
            let seen = self.seen();
            panic!("they do not agree: {:?}\n{seen:#?}", differences(&seen));
        }
        self.say(EMPTY);
        eventually("everything is removed, everywhere", REST, || {
            self.must_run();
            let mut seen = self.seen().into_iter();
            seen.all(|seen| seen.networks.is_empty() && seen.own.is_empty())
        });
    }

    /// What was written down and seen.
    pub(super) fn history(mut self) -> (Vec<Vec<Entry>>, Vec<Sample>) {
        self.processes.clear();
        let (stop, onlooker) = self.onlooker.take().expect("it looks on");
        stop.store(true, Ordering::SeqCst);
        let samples = onlooker.join().expect("it does not panic");
        let logs = self.parts.iter().map(|part| log::read(&part.log()));
        (logs.collect(), samples)
    }
}

fn member_at(n: usize) -> String {
    format!("192.0.2.{}", n + 11)
}

/// From now on nothing that comes from these addresses is heard.
fn deafen(host: &Host, from: &str) {
    host.run([
        "nft",
        &format!(
            "add table inet cut; add chain inet cut in {{ type filter hook input priority 0; }}; \
         add rule inet cut in ip saddr {{ {from} }} drop"
        ),
    ])
    .must();
}

fn hear(host: &Host) {
    host.run(["nft", "delete table inet cut"]).must();
}

fn look_on(host: &Host, url: &str) -> (Arc<AtomicBool>, JoinHandle<Vec<Sample>>) {
    let stop = Arc::<AtomicBool>::default();
    let url: ClusterUrl = url.parse().expect("a store");
    let none = Options::parse(&[] as &[&str]).expect("none");
    let store = connect(&url, &none).expect("a store");
    let (host, told) = (host.clone(), stop.clone());
    let thread = std::thread::spawn(move || host.enter(|| sample::watch(&*store, &told)));
    (stop, thread)
}

/// In what hosts do not see the same, or not what there is.
fn differences(seen: &[Seen]) -> Option<String> {
    let all: BTreeSet<HostId> = seen.iter().filter_map(|seen| seen.host).collect();
    if all.len() < seen.len() {
        return Some("not all have said how they see it".to_owned());
    }
    let first: &BTreeSet<NetworkId> = &seen[0].networks;
    for (n, one) in seen.iter().enumerate() {
        let me = one.host?;
        let others: BTreeSet<HostId> = all.iter().filter(|id| **id != me).copied().collect();
        let theirs: BTreeSet<(EndpointId, std::net::IpAddr)> = seen
            .iter()
            .filter(|other| other.host != one.host)
            .flat_map(|other| other.own.iter().copied())
            .collect();
        if one.hosts != others {
            return Some(format!("host {n} knows {:?}", one.hosts));
        }
        if one.networks != *first {
            return Some(format!("host {n} knows {:?}", one.networks));
        }
        if one.others != theirs {
            return Some(format!("host {n} sees {:?} of {theirs:?}", one.others));
        }
    }
    None
}

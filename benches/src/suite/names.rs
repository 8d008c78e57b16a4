//! Names of a network asked from inside: answers a second and their latency.
//!
//! The servers' threads stay on one processor and the load on another. Vethwork's names change
//! a hundred times a second meanwhile; the others' stand still.

use crate::{
    Result,
    api::Client,
    dns_load::{self, Outcome},
    dockerd::Dockerd,
    machine,
    report::{Aim, OURS, Table},
    samples::Samples,
    scene::Scene,
};
use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};
use vw_testkit::{Host, Lab, Running, poll};

pub(crate) const NAME: &str = "names";

const ROUNDS: usize = 4;
const LENGTH: Duration = Duration::from_secs(3);
const ENDPOINTS: usize = 20;
const PACE: u64 = 50_000;
/// Two changes, an attach and a detach, each time: a hundred a second.
const CHANGE_EVERY: Duration = Duration::from_millis(20);
const EMBEDDED: &str = "127.0.0.11:53";
const AARDVARK: &str = "/usr/lib/podman/aardvark-dns";

/// One that answers names.
struct Server {
    who: String,
    /// Where the questions come from.
    asker: Host,
    resolver: SocketAddr,
    rates: Samples,
    latencies: Samples,
    lost: usize,
}

impl Server {
    fn new(who: &str, asker: Host, resolver: &str) -> Result<Self> {
        Ok(Self {
            who: who.to_owned(),
            asker,
            resolver: resolver.parse()?,
            rates: Samples::default(),
            latencies: Samples::default(),
            lost: 0,
        })
    }

    fn ask(&self, pace: Option<u64>) -> Result<Outcome> {
        let names: Vec<String> = (0..ENDPOINTS).map(|n| format!("box{n}")).collect();
        self.asker.enter(|| {
            machine::pin_thread(None, machine::cores() - 1)?;
            dns_load::run(self.resolver, &names, pace, LENGTH)
        })
    }

    fn round(&mut self) -> Result<()> {
        let outcome = self.ask(None)?;
        self.rates.push(outcome.rate());
        self.latencies.extend(&outcome.latencies);
        self.lost += outcome.lost;
        Ok(())
    }
}

pub(crate) fn run() -> Result<Table> {
    let lab = Lab::new();
    let mut table = Table::new(NAME, "Names of a network, asked from inside a sandbox");
    let mut ours = Scene::start(&lab, "ours")?;
    ours.network("blue", "10.99.0.0/16")?;
    let boxes: Vec<Host> = (0..ENDPOINTS)
        .map(|n| lab.host(&format!("box{n}")))
        .collect();
    for sandbox in &boxes {
        ours.adopt(sandbox, &["blue"])?;
    }
    ours.adopt(&lab.host("changing"), &[])?;
    let mut mine = Server::new(OURS, boxes[0].clone(), EMBEDDED)?;
    let docker = Dockerd::start(&lab);
    let mut peers = Vec::new();
    match &docker {
        Ok(docker) => {
            docker.cli(&["network", "create", "blue"]);
            let run = |n| docker.run(&lab, &format!("box{n}"), &["--net", "blue"]);
            let containers: Vec<Host> = (0..ENDPOINTS).map(run).collect();
            peers.push(Server::new(&docker.name, containers[0].clone(), EMBEDDED)?);
            machine::pin(docker.pid(), 0)?;
        }
        Err(error) => table.note(format!("without Docker: {error}")),
    }
    let aardvark = Aardvark::start(&lab);
    match &aardvark {
        Ok(aardvark) => peers.push(Server::new(
            &aardvark.name,
            aardvark.asker.clone(),
            "10.98.0.1:53",
        )?),
        Err(error) => table.note(format!("without aardvark-dns: {error}")),
    }
    let pid = ours.daemon.pid();
    machine::pin(pid, 0)?;
    let socket = ours.daemon.socket();
    for _ in 0..ROUNDS {
        changing(&socket, || mine.round())?;
        peers.iter_mut().try_for_each(Server::round)?;
    }
    let busy = machine::busy(pid)?;
    let paced = changing(&socket, || mine.ask(Some(PACE)))?;
    let busy = (machine::busy(pid)? - busy).as_secs_f64() / paced.answered.max(1) as f64;
    show(&mut table, &mine, &peers);
    let name = format!("at {PACE} a second");
    let rate: Samples = [paced.rate()].into_iter().collect();
    table.row(&format!("{name}: answers"), OURS, "1/s", &rate);
    table.row(&format!("{name}: latency"), OURS, "us", &paced.latencies);
    let lost: Samples = [paced.lost as f64].into_iter().collect();
    table.row(&format!("{name}: lost"), OURS, "queries", &lost);
    table.note(format!(
        "the daemon took {:.1} us of its processor a query, the changes included",
        busy * 1e6
    ));
    Ok(table)
}

fn show(table: &mut Table, mine: &Server, peers: &[Server]) {
    table.row("answers", OURS, "1/s", &mine.rates);
    for peer in peers {
        let both = (&peer.rates, &mine.rates);
        table.peer("answers", &peer.who, "1/s", both, Aim::AtLeast(1.0));
    }
    table.row("latency, 64 under way", OURS, "us", &mine.latencies);
    for peer in peers {
        let both = (&peer.latencies, &mine.latencies);
        table.peer("latency, 64 under way", &peer.who, "us", both, None);
    }
    for server in peers.iter().chain([mine]).filter(|server| server.lost > 0) {
        let asked = server.lost + server.latencies.len();
        table.note(format!("{}: {} of {asked} lost", server.who, server.lost));
    }
}

/// Does something while names change a hundred times a second.
fn changing<T>(socket: &Path, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let changes = scope.spawn(|| -> Result<()> {
            machine::pin_thread(None, 0)?;
            let mut client = Client::open(socket)?;
            let start = Instant::now();
            let mut count = 0;
            while !done.load(Ordering::Relaxed) {
                client.connect("blue", "changing")?;
                client.disconnect("blue", "changing")?;
                count += 1;
                let due = start + CHANGE_EVERY * count;
                thread::park_timeout(due.saturating_duration_since(Instant::now()));
            }
            Ok(())
        });
        let result = work();
        done.store(true, Ordering::Relaxed);
        changes
            .join()
            .map_err(|_| "the changing thread panicked")??;
        result
    })
}

/// Podman's name server with a network of its own, a host and a container on its bridge.
struct Aardvark {
    name: String,
    asker: Host,
    _running: Running,
}

impl Aardvark {
    fn start(lab: &Lab) -> Result<Self> {
        if !Path::new(AARDVARK).is_file() {
            return Err(format!("{AARDVARK} is not installed").into());
        }
        let (host, asker) = (lab.host("podman"), lab.host("container"));
        lab.link(&host, "veth0", &asker, "eth0");
        host.ip("link add br0 type bridge");
        host.ip("link set br0 up");
        host.ip("link set veth0 master br0");
        host.ip("addr add 10.98.0.1/24 dev br0");
        asker.ip("addr add 10.98.0.2/24 dev eth0");
        let folder = lab.folder().join("aardvark");
        write_config(&folder)?;
        let mut command = Command::new(AARDVARK);
        command
            .arg("--config")
            .arg(&folder)
            .args(["-p", "53", "run"]);
        let running = host.spawn_command(&mut command);
        let resolver = "10.98.0.1:53".parse()?;
        let tried = poll(Duration::from_secs(5), || {
            let names = ["box0".to_owned()];
            let length = Duration::from_millis(20);
            let asked = asker.enter(|| dns_load::run(resolver, &names, Some(100), length));
            asked
                .is_ok_and(|outcome| outcome.answered > 0)
                .then_some(())
        });
        if tried.is_none() {
            return Err(format!("it does not answer: {}", running.output().trim()).into());
        }
        pin_all(&host)?;
        let version = host.run([AARDVARK, "--version"]).ok();
        Ok(Self {
            name: version,
            asker,
            _running: running,
        })
    }
}

/// `NETWORK`: the address to listen on, then a line a container (`aardvark-dns(8)`).
fn write_config(folder: &PathBuf) -> Result<()> {
    fs::create_dir_all(folder)?;
    let mut text = "10.98.0.1\n".to_owned();
    for number in 0..ENDPOINTS {
        text += &format!("{number:064x} 10.98.0.{}  box{number}\n", number + 2);
    }
    Ok(fs::write(folder.join("blue"), text)?)
}

/// Keeps all processes of a host on the first processor, whoever started them.
fn pin_all(host: &Host) -> Result<()> {
    let pids = host.run(["ip", "netns", "pids", &netns_name(host)]).ok();
    for pid in pids.lines() {
        match machine::pin(pid.trim().parse()?, 0) {
            // It ended meanwhile, as one does that starts another.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            result => result?,
        }
    }
    Ok(())
}

fn netns_name(host: &Host) -> String {
    let name = host.netns().file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

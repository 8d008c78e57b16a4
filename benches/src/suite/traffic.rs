//! TCP between two sandboxes of one network, against two namespaces on a plain bridge.
//!
//! Also where `bridge-nf-call-iptables` is 1 in the namespace of either, as Docker and
//! Kubernetes set it: then bridged packets take the IP hooks too.

use crate::{
    Result,
    dockerd::Dockerd,
    machine,
    report::{Aim, OURS, Table},
    samples::Samples,
    scene::Scene,
};
use std::{
    fs,
    io::{self, Read, Write},
    net::{Ipv4Addr, TcpListener, TcpStream},
    thread,
    time::{Duration, Instant},
};
use vw_testkit::{Host, Lab};

pub(crate) const NAME: &str = "traffic";

/// Many short ones: what else the machine does must not fall on one of those compared.
pub(super) const ROUNDS: usize = 100;
const LENGTH: Duration = Duration::from_millis(50);
const NF_CALL: &str = "/proc/sys/net/bridge/bridge-nf-call-iptables";
const PLAIN: &str = "plain bridge";

/// Two ends that reach each other.
pub(super) struct Pair {
    who: String,
    near: Host,
    far: Host,
    /// The median of each round.
    trips: Samples,
    rates: Samples,
    throughput: Samples,
    /// Connections a second; none where they are not asked for.
    connections: Samples,
}

impl Pair {
    pub(super) fn new(who: &str, near: Host, far: Host) -> Self {
        let [trips, rates, throughput, connections] = [(); 4].map(|()| Samples::default());
        Self {
            who: who.to_owned(),
            near,
            far,
            trips,
            rates,
            throughput,
            connections,
        }
    }

    /// Measures once.
    pub(super) fn round(&mut self) -> Result<()> {
        let (trips, elapsed) = ping_pong(&self.near, &self.far)?;
        self.rates.push(trips.len() as f64 / elapsed.as_secs_f64());
        self.trips.push(trips.median());
        self.throughput.push(flood(&self.near, &self.far)?);
        Ok(())
    }

    /// Tries whether the ends reach each other.
    pub(super) fn reached(&self) -> Result<()> {
        join(&self.near, &self.far).map(drop)
    }

    /// Measures once, connections too.
    pub(super) fn round_of_all(&mut self) -> Result<()> {
        self.round()?;
        self.connections.push(connect(&self.near, &self.far)?);
        Ok(())
    }
}

pub(crate) fn run() -> Result<Table> {
    let lab = Lab::new();
    let mut table = Table::new(NAME, "TCP between two sandboxes of one network");
    let mut ours = Scene::start(&lab, "ours")?;
    ours.network("blue", "10.99.0.0/24")?;
    let [a, b] = ["a1", "b1"].map(|name| lab.host(name));
    ours.adopt(&a, &["blue"])?;
    ours.adopt(&b, &["blue"])?;
    let [c, d] = ["a2", "b2"].map(|name| lab.host(name));
    let switch = plain_bridge(&lab, &c, &d);
    let docker = Dockerd::start(&lab);
    let mut dockers = match &docker {
        Ok(docker) => {
            docker.cli(&["network", "create", "blue"]);
            let [a, b] = ["a3", "b3"].map(|name| docker.run(&lab, name, &["--net", "blue"]));
            Some(Pair::new(&docker.name, a, b))
        }
        Err(error) => {
            table.note(format!("without Docker: {error}"));
            None
        }
    };
    let as_we_set_it = ours
        .host
        .enter(|| fs::read_to_string(NF_CALL).unwrap_or_default());
    for (mode, value) in [("", "0"), (", nf-call 1", "1")] {
        if set_nf_call(&switch, value).is_err() {
            table.note("without nf-call: the module br_netfilter is not loaded");
            if value == "1" {
                break;
            }
        } else {
            set_nf_call(&ours.host, value)?;
        }
        let mut mine = Pair::new(OURS, a.clone(), b.clone());
        let mut plain = Pair::new(PLAIN, c.clone(), d.clone());
        for round in 0..ROUNDS {
            // Who comes first changes, so that neither always runs behind the other.
            if round % 2 == 0 {
                mine.round()?;
                plain.round()?;
            } else {
                plain.round()?;
                mine.round()?;
            }
            if let (Some(pair), "1") = (&mut dockers, value) {
                pair.round()?;
            }
        }
        show(&mut table, mode, &mine, &plain, Some(Aim::AtLeast(0.95)));
        if let (Some(pair), "1") = (&dockers, value) {
            show_peer(&mut table, mode, &mine, pair, None);
        }
    }
    let set = as_we_set_it.trim();
    table.note(format!(
        "the daemon left bridge-nf-call-iptables at {set:?}; Docker sets 1"
    ));
    Ok(table)
}

/// What an administrator would make: two namespaces on a bridge, by `ip`.
fn plain_bridge(lab: &Lab, near: &Host, far: &Host) -> Host {
    let members: [(&Host, &str, &[&str]); 2] = [
        (near, "eth0", &["192.0.2.1/24"]),
        (far, "eth0", &["192.0.2.2/24"]),
    ];
    lab.lan("switch", &members)
}

fn set_nf_call(host: &Host, value: &str) -> io::Result<()> {
    host.enter(|| fs::write(NF_CALL, value))
}

/// What vethwork did, and a peer.
pub(super) fn show(table: &mut Table, mode: &str, mine: &Pair, peer: &Pair, aim: Option<Aim>) {
    table.row(&format!("round trips{mode}"), OURS, "1/s", &mine.rates);
    table.row(&format!("round trip{mode}"), OURS, "us", &mine.trips);
    table.row(
        &format!("throughput{mode}"),
        OURS,
        "Gbit/s",
        &mine.throughput,
    );
    if mine.connections.len() > 0 {
        let what = format!("connections{mode}");
        table.row(&what, OURS, "1/s", &mine.connections);
    }
    show_peer(table, mode, mine, peer, aim);
}

/// What a peer did.
pub(super) fn show_peer(table: &mut Table, mode: &str, mine: &Pair, peer: &Pair, aim: Option<Aim>) {
    let who = &peer.who;
    let rates = (&peer.rates, &mine.rates);
    table.rounds(&format!("round trips{mode}"), who, "1/s", rates, aim);
    let trips = (&peer.trips, &mine.trips);
    table.rounds(&format!("round trip{mode}"), who, "us", trips, None);
    let throughput = (&peer.throughput, &mine.throughput);
    table.rounds(&format!("throughput{mode}"), who, "Gbit/s", throughput, aim);
    if peer.connections.len() > 0 {
        let connections = (&peer.connections, &mine.connections);
        table.rounds(&format!("connections{mode}"), who, "1/s", connections, aim);
    }
}

/// A connection between the hosts: (of `near`, of `far`).
fn join(near: &Host, far: &Host) -> Result<(TcpStream, TcpStream)> {
    let address = address_of(far)?;
    let listener = far.enter(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)))?;
    let port = listener.local_addr()?.port();
    let stream = near.enter(|| TcpStream::connect((address, port)))?;
    let (other, _) = listener.accept()?;
    stream.set_nodelay(true)?;
    other.set_nodelay(true)?;
    Ok((stream, other))
}

/// The first address of its `eth0`.
pub(super) fn address_of(host: &Host) -> Result<Ipv4Addr> {
    let shown = host.ip("-4 -o addr show dev eth0");
    let words = shown.split_whitespace().skip_while(|word| *word != "inet");
    let address = words.skip(1).find_map(|word| word.split('/').next());
    Ok(address.ok_or("no address inside")?.parse()?)
}

/// One byte there and back, without pause, both ends on one processor, as waking another one
/// takes longer than the trip and differs from time to time: each trip in microseconds, and how long all took.
fn ping_pong(near: &Host, far: &Host) -> Result<(Samples, Duration)> {
    let (stream, mut other) = join(near, far)?;
    let echo = thread::spawn(move || -> io::Result<()> {
        pin()?;
        let mut byte = [0];
        while other.read(&mut byte)? > 0 {
            other.write_all(&byte)?;
        }
        Ok(())
    });
    let (trips, elapsed) = thread::scope(|scope| {
        let asking = scope.spawn(|| ask(stream));
        asking.join().map_err(|_| "the asking thread panicked")?
    })?;
    echo.join().map_err(|_| "the echo panicked")??;
    Ok((trips, elapsed))
}

fn pin() -> io::Result<()> {
    machine::pin_thread(None, machine::cores() - 1)
}

fn ask(mut stream: TcpStream) -> Result<(Samples, Duration)> {
    pin()?;
    let mut trips = Samples::default();
    let start = Instant::now();
    while start.elapsed() < LENGTH {
        let sent = Instant::now();
        stream.write_all(&[1])?;
        stream.read_exact(&mut [0])?;
        trips.push(sent.elapsed().as_secs_f64() * 1e6);
    }
    Ok((trips, start.elapsed()))
}

/// Connections that are made and reset one after another, a second; both ends on one processor.
fn connect(near: &Host, far: &Host) -> Result<f64> {
    let address = address_of(far)?;
    let listener = far.enter(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)))?;
    let port = listener.local_addr()?.port();
    near.enter(|| {
        pin()?;
        let start = Instant::now();
        let mut made = 0;
        while start.elapsed() < LENGTH {
            let socket = TcpStream::connect((address, port))?;
            let (other, _) = listener.accept()?;
            // Without it ports run out while ended connections wait.
            rustix::net::sockopt::set_socket_linger(&socket, Some(Duration::ZERO))?;
            drop((socket, other));
            made += 1;
        }
        Ok(f64::from(made) / start.elapsed().as_secs_f64())
    })
}

/// As much as goes one way, in Gbit a second.
fn flood(near: &Host, far: &Host) -> Result<f64> {
    let (mut stream, mut other) = join(near, far)?;
    let sink = thread::spawn(move || -> io::Result<usize> {
        let mut block = vec![0; 128 << 10];
        let mut total = 0;
        loop {
            match other.read(&mut block)? {
                0 => return Ok(total),
                some => total += some,
            }
        }
    });
    let block = vec![0; 128 << 10];
    let start = Instant::now();
    while start.elapsed() < LENGTH {
        stream.write_all(&block)?;
    }
    drop(stream);
    let bytes = sink.join().map_err(|_| "the sink panicked")??;
    Ok(bytes as f64 * 8e-9 / start.elapsed().as_secs_f64())
}

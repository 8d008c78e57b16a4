//! A host whose network has 10,000 endpoints on another host: its memory, and the time until it
//! names and reaches them, after a start and when it comes new.
//!
//! The other host takes part without a kernel and publishes them all.

use crate::{
    Result,
    crowd::Crowd,
    dns_load, machine,
    report::{OURS, Table},
    samples::Samples,
    segment::{Segment, adopt_on_wide, make_wide},
};
use std::{
    io,
    net::{Ipv4Addr, UdpSocket},
    time::{Duration, Instant},
};
use vw_testkit::{Host, Lab, poll};

pub(crate) const NAME: &str = "remote";

const ENDPOINTS: u16 = 10_000;
const STARTS: usize = 5;
const AGAIN: Duration = Duration::from_millis(1);
const LIMIT: Duration = Duration::from_secs(120);

pub(crate) fn run() -> Result<Table> {
    let mut table = Table::new(NAME, "10,000 endpoints on another host");
    let segment = Segment::new(2)?;
    let (mut first, mut second) = (segment.daemon(0)?, segment.daemon(1)?);
    make_wide(&mut first)?;
    let near = segment.lab.host("near");
    adopt_on_wide(&mut first, &near)?;
    let crowd = Crowd::join(segment.store(), &segment.url(), 3..5)?;
    let network = crowd.know("wide")?;
    let memory = |pid| -> Result<Samples> { Ok([machine::resident(pid)?].into_iter().collect()) };
    let without = memory(first.daemon.pid())?;

    let [elsewhere, follower] = crowd.hosts() else {
        return Err("two hosts take part without a kernel".into());
    };
    let began = Instant::now();
    for number in 0..ENDPOINTS {
        // Above the addresses that daemons give: nobody takes blocks so high.
        let addr = Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 98, 128, 0)) + u32::from(number));
        elsewhere.publish(network, &format!("far{number}"), addr);
    }
    let last = format!("far{}", ENDPOINTS - 1);
    let all = || (follower.count(network) >= usize::from(ENDPOINTS)).then_some(());
    poll(LIMIT, all).ok_or("another simulated host does not hear of all")?;
    let told = [began.elapsed().as_secs_f64() * 1e3].into_iter().collect();
    table.row("all told to a host without a kernel", OURS, "ms", &told);
    let known = [answered(&near, &last, began)?].into_iter().collect();
    table.row("all named, host that was there", OURS, "ms", &known);
    let inside = inside(&segment.lab, &first, network.to_string().as_str());
    let ways = [programmed(&inside, began)?].into_iter().collect();
    table.row("all neighbours, host that was there", OURS, "ms", &ways);
    table.row("memory without them", OURS, "MiB", &without);
    let with = memory(first.daemon.pid())?;
    table.grown("memory with them", "MiB", (&with, &without), None);

    let [mut starts, mut processor] = [Samples::default(), Samples::default()];
    for _ in 0..STARTS {
        first.daemon.kill9();
        let began = Instant::now();
        first.daemon.restart();
        starts.push(answered(&near, &last, began)?);
        processor.push_millis(machine::busy(first.daemon.pid())?);
    }
    table.row("start until named", OURS, "ms", &starts);
    table.row("start until named, processor time", OURS, "ms", &processor);
    let again = memory(first.daemon.pid())?;
    table.grown("memory after a start", "MiB", (&again, &without), None);

    let new = segment.lab.host("new");
    let busy = machine::busy(second.daemon.pid())?;
    let began = Instant::now();
    adopt_on_wide(&mut second, &new)?;
    let took = [began.elapsed().as_secs_f64() * 1e3].into_iter().collect();
    table.row("first endpoint of a host, API", OURS, "ms", &took);
    let mut processor = Samples::default();
    processor.push_millis(machine::busy(second.daemon.pid())?.saturating_sub(busy));
    let what = "first endpoint of a host, processor time";
    table.row(what, OURS, "ms", &processor);
    let named = [answered(&new, &last, began)?].into_iter().collect();
    table.row("first endpoint of a host, named", OURS, "ms", &named);
    let inside = self::inside(&segment.lab, &second, network.to_string().as_str());
    let ways = [programmed(&inside, began)?].into_iter().collect();
    table.row("first endpoint of a host, neighbours", OURS, "ms", &ways);
    table.note("named: the last of the 10,000 is; neighbours: all are in the kernel");
    Ok(table)
}

/// The network's namespace on a host.
fn inside(lab: &Lab, scene: &crate::scene::Scene, network: &str) -> Host {
    let path = scene
        .daemon
        .exec_root()
        .join(format!("netns/net-{network}"));
    lab.at("network", &path)
}

/// Milliseconds until a name is answered inside.
fn answered(sandbox: &Host, name: &str, began: Instant) -> Result<f64> {
    let took = sandbox.enter(|| -> io::Result<Duration> {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        socket.connect("127.0.0.11:53")?;
        socket.set_read_timeout(Some(AGAIN))?;
        let question = dns_load::query(name);
        let mut answer = [0; 512];
        while began.elapsed() < LIMIT {
            // Refused while nobody listens.
            let _ = socket.send(&question);
            match socket.recv(&mut answer) {
                Ok(_) if answer[3] & 15 == 0 && answer[7] >= 1 => return Ok(began.elapsed()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // What it says does not matter: paces the next question.
                _ => drop(socket.peek(&mut [0; 1])),
            }
        }
        Err(io::Error::other("a name is not answered"))
    })?;
    Ok(took.as_secs_f64() * 1e3)
}

/// Milliseconds until the tunnel has a neighbour for each.
fn programmed(inside: &Host, began: Instant) -> Result<f64> {
    let all = || {
        let shown = inside.ip("neigh show dev vxlan0");
        (shown.lines().count() >= usize::from(ENDPOINTS)).then_some(())
    };
    poll(LIMIT, all).ok_or("the kernel is not told of all")?;
    Ok(began.elapsed().as_secs_f64() * 1e3)
}

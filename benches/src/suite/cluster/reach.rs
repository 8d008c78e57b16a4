//! How long after an endpoint's start every other host reaches it, by its name and by packets.
//!
//! With 2 and 10 hosts all are daemons. With 100 two are, and 98 take part without a kernel
//! (`crowd`): of those, the time counts at which they are told.

use crate::{
    Result,
    crowd::Crowd,
    dns_load,
    report::{OURS, Table},
    samples::Samples,
    scene::Scene,
    segment::{Segment, adopt_on_wide, make_wide},
};
use serde_json::json;
use std::{
    io,
    net::{Ipv4Addr, UdpSocket},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};
use vw_testkit::Host;

pub(crate) const NAME: &str = "reach";

const ROUNDS: usize = 50;
/// Hosts, and how many of them are daemons.
const SIZES: [(u16, u16); 3] = [(2, 2), (10, 10), (100, 2)];
const ECHO: u16 = 7007;
/// How often somebody asks again.
const AGAIN: Duration = Duration::from_millis(2);
const LIMIT: Duration = Duration::from_secs(20);

/// What was measured with one number of hosts, in milliseconds from the request on.
#[derive(Default)]
struct Times {
    /// The answer of the API.
    answered: Samples,
    /// The last daemon's name, and the last one's packet.
    named: Samples,
    reached: Samples,
    /// The last simulated host is told.
    told: Samples,
    /// The last of all.
    all: Samples,
}

pub(crate) fn run() -> Result<Table> {
    let mut table = Table::new(
        NAME,
        "From an endpoint's start until every other host reaches it",
    );
    for (hosts, daemons) in SIZES {
        let times = measure(hosts, daemons)?;
        let mut show = |what: &str, samples: &Samples| {
            if samples.len() > 0 {
                table.row(&format!("{what}, {hosts} hosts"), OURS, "ms", samples);
            }
        };
        show("API's answer", &times.answered);
        show("by name", &times.named);
        show("by packets", &times.reached);
        show("told", &times.told);
        show("everything", &times.all);
    }
    table.note("aim: less than 100 ms at p99 with 100 hosts; of 50 starts p99 is the slowest");
    table.note("100 hosts: two daemons, and 98 that take part without a kernel and are told");
    Ok(table)
}

fn measure(hosts: u16, daemons: u16) -> Result<Times> {
    let segment = Segment::new(daemons.into())?;
    let mut scenes = (0..usize::from(daemons))
        .map(|number| segment.daemon(number))
        .collect::<Result<Vec<Scene>>>()?;
    let crowd = Crowd::join(segment.store(), &segment.url(), daemons + 1..hosts + 1)?;
    let (first, others) = scenes.split_first_mut().ok_or("there is no daemon")?;
    make_wide(first)?;
    if !crowd.hosts().is_empty() {
        crowd.know("wide")?;
    }
    // The network stands there already, as on most hosts that somebody starts one more on.
    adopt_on_wide(first, &segment.lab.host("resident"))?;
    let seers: Vec<Host> = (1..daemons)
        .map(|number| segment.lab.host(&format!("seer{number}")))
        .collect();
    for (scene, seer) in others.iter_mut().zip(&seers) {
        adopt_on_wide(scene, seer)?;
    }
    let comer = segment.lab.host("comer");
    first.network("home", "10.97.0.0/24")?;
    first.adopt(&comer, &["home"])?;
    let mut times = Times::default();
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| comer.enter(|| echo(&over)));
        let result = (0..ROUNDS).try_for_each(|round| {
            let name = format!("round{round}");
            start(first, &seers, &crowd, &name, &mut times)
        });
        over.store(true, Ordering::Relaxed);
        result
    })?;
    Ok(times)
}

/// One start, seen from everywhere, and the end of it.
fn start(
    first: &mut Scene,
    seers: &[Host],
    crowd: &Crowd,
    name: &str,
    times: &mut Times,
) -> Result<()> {
    let body = json!({ "Container": "comer", "EndpointConfig": { "Aliases": [name] } });
    let began = Instant::now();
    let seen = thread::scope(|scope| -> Result<Vec<(Duration, Duration)>> {
        let watches: Vec<_> = seers
            .iter()
            .map(|seer| scope.spawn(|| seer.enter(|| watch(name, began))))
            .collect();
        first.client.post("/v1.41/networks/wide/connect", &body)?;
        times.answered.push_millis(began.elapsed());
        let seen = watches.into_iter().map(|watch| {
            let seen = watch.join().map_err(|_| "a watch panicked")?;
            Ok(seen?)
        });
        seen.collect()
    })?;
    let last = |what: fn(&(Duration, Duration)) -> Duration| seen.iter().map(what).max();
    let named = last(|seen| seen.0).ok_or("nobody watches")?;
    let reached = last(|seen| seen.1).ok_or("nobody watches")?;
    times.named.push_millis(named);
    times.reached.push_millis(reached);
    let told = crowd.heard(name)?.map(|at| at.duration_since(began));
    if let Some(told) = told {
        times.told.push_millis(told);
    }
    times.all.push_millis(reached.max(told.unwrap_or_default()));
    first.client.disconnect("wide", "comer")?;
    // Everybody hears of the end, before the next.
    crowd.missed(name).map(drop)
}

/// Asks for a name until it is answered, then the address until that answers.
fn watch(name: &str, began: Instant) -> io::Result<(Duration, Duration)> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    socket.connect("127.0.0.11:53")?;
    let question = dns_load::query(name);
    let mut answer = [0; 512];
    let addr = loop {
        let length = ask(&socket, &question, &mut answer, began)?;
        // An answer's data stands last.
        if answer[3] & 15 == 0 && answer[7] >= 1 && length > 4 {
            let data: [u8; 4] = [4, 3, 2, 1].map(|back| answer[length - back]);
            break Ipv4Addr::from(data);
        }
        pause(&socket);
    };
    let named = began.elapsed();
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.connect((addr, ECHO))?;
    ask(&socket, b"there?", &mut answer, began)?;
    Ok((named, began.elapsed()))
}

/// Sends until something comes back.
fn ask(
    socket: &UdpSocket,
    question: &[u8],
    answer: &mut [u8],
    began: Instant,
) -> io::Result<usize> {
    socket.set_read_timeout(Some(AGAIN))?;
    while began.elapsed() < LIMIT {
        // Refused while nobody listens.
        let _ = socket.send(question);
        match socket.recv(answer) {
            Ok(length) => return Ok(length),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => pause(socket),
        }
    }
    Err(io::Error::other("an endpoint is not reached"))
}

/// Waits for a datagram, for as long as a client does between questions.
fn pause(socket: &UdpSocket) {
    // What it says does not matter: the caller asks again.
    let _ = socket.peek(&mut [0; 1]);
}

/// Sends back what comes, until it is over.
fn echo(over: &AtomicBool) -> io::Result<()> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, ECHO))?;
    socket.set_read_timeout(Some(Duration::from_millis(100)))?;
    let mut datagram = [0; 64];
    while !over.load(Ordering::Relaxed) {
        if let Ok((length, from)) = socket.recv_from(&mut datagram) {
            // Its asker asks again.
            let _ = socket.send_to(&datagram[..length], from);
        }
    }
    Ok(())
}

//! What the server carries on one core: `cargo run --release -p vw-dns-server --example qps
//! [SECONDS]`.
//!
//! The server's threads stay on processor 0, the load on the last one. 1,000 endpoints have
//! names, and one of them changes 100 times a second. First as much as goes through with
//! 64 queries under way, then 50,000 a second at an even pace, where a query is lost that
//! is not answered within a second. Beside the rate stands the processor time that the
//! answering thread took for a query, which other load on the machine does not blur.

use rustix::{
    net::sockopt::set_socket_recv_buffer_size,
    thread::{CpuSet, sched_setaffinity},
};
use std::{
    error::Error,
    fs, io,
    net::{Ipv4Addr, TcpListener, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};
use vw_dns_server::{Config, DnsServer, HostSockets, SandboxSockets};
use vw_model::{EndpointId, SandboxId};
use vw_names::{EndpointNames, Policy, SharedZone, View, Zone};

const ENDPOINTS: u16 = 1000;
const WINDOW: usize = 64;
const PACE: u64 = 50_000;
const PATIENCE: Duration = Duration::from_secs(1);

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

fn main() -> Result<()> {
    let seconds = std::env::args().nth(1).map_or(Ok(5), |text| text.parse())?;
    let length = Duration::from_secs(seconds);
    // Asked first, as it counts only those that the thread may run on.
    let last = thread::available_parallelism()?.get() - 1;
    pin(0)?;
    let server = DnsServer::start(Config::default(), Arc::new(HostSockets))?;
    pin(last)?;

    let zone = (0..ENDPOINTS).fold(Zone::new("mynet", []), |zone, i| zone.with(&endpoint(i, 0)));
    let zone = SharedZone::new(zone);
    let view = Arc::new(View::new(vec![zone.clone()], &[], &Policy::default()));
    let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    let addr = udp.local_addr()?;
    let tcp = TcpListener::bind(addr)?;
    server.add(
        SandboxId::from_bytes([1; 32]),
        SandboxSockets { udp, tcp },
        Arc::clone(&view),
    )?;
    let client = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    client.connect(addr)?;
    client.set_nonblocking(true)?;
    // What is to be measured is what the server loses.
    set_socket_recv_buffer_size(&client, 8 << 20)?;

    let done = Arc::new(AtomicBool::new(false));
    let changing = change(zone, Arc::clone(&done));
    for pace in [None, Some(PACE)] {
        Load::new(&client, pace).run(length)?.print(pace);
    }
    done.store(true, Ordering::Relaxed);
    let changes = changing
        .join()
        .map_err(|_| "the changing thread panicked")?;
    println!(
        "names changed {:.0} times a second",
        changes as f64 / (2 * seconds) as f64
    );
    many_sandboxes(&server, &view)
}

/// Changes one endpoint's names every 10 ms.
fn change(zone: SharedZone, done: Arc<AtomicBool>) -> thread::JoinHandle<u64> {
    thread::spawn(move || {
        let mut count = 0;
        while !done.load(Ordering::Relaxed) {
            // check-allow(no-sleep-in-tests): paces the changes that the load runs against.
            thread::sleep(Duration::from_millis(10));
            count += 1;
            let changed = endpoint((count % u64::from(ENDPOINTS)) as u16, count);
            zone.update(|zone| zone.with(&changed));
        }
        count
    })
}

/// What a daemon that starts again has to do.
fn many_sandboxes(server: &DnsServer, view: &Arc<View>) -> Result<()> {
    let mut sockets = Vec::new();
    while sockets.len() < 1000 {
        let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        if let Ok(tcp) = TcpListener::bind(udp.local_addr()?) {
            sockets.push(SandboxSockets { udp, tcp });
        }
    }
    let start = Instant::now();
    for (i, sockets) in (0_u16..).zip(sockets) {
        server.add(SandboxId::from_bytes(id(i)), sockets, Arc::clone(view))?;
    }
    println!(
        "1,000 sandboxes added in {:.1} ms",
        start.elapsed().as_secs_f64() * 1e3
    );
    Ok(())
}

/// Queries under way from one socket.
struct Load<'a> {
    socket: &'a UdpSocket,
    pace: Option<u64>,
    queries: Vec<Vec<u8>>,
    /// When the query of each id went out, while it is not answered.
    sent: Vec<Option<Instant>>,
    under_way: usize,
    latencies: Vec<u32>,
}

/// What came of it.
struct Outcome {
    answered: usize,
    lost: usize,
    elapsed: Duration,
    busy: Duration,
    latencies: Vec<u32>,
}

impl<'a> Load<'a> {
    fn new(socket: &'a UdpSocket, pace: Option<u64>) -> Self {
        Self {
            socket,
            pace,
            queries: (0..ENDPOINTS).map(query).collect(),
            sent: vec![None; 1 << 16],
            under_way: 0,
            latencies: Vec::new(),
        }
    }

    fn run(mut self, length: Duration) -> Result<Outcome> {
        let busy = server_time()?;
        let start = Instant::now();
        let mut count = 0_u64;
        while start.elapsed() < length {
            let due = match self.pace {
                Some(pace) => start.elapsed().as_micros() as u64 * pace / 1_000_000,
                None => count + (WINDOW - self.under_way) as u64,
            };
            while count < due {
                self.send(count)?;
                count += 1;
            }
            self.receive()?;
        }
        let elapsed = start.elapsed();
        let last = Instant::now();
        while self.under_way > 0 && last.elapsed() < PATIENCE {
            self.receive()?;
        }
        let answered = self.latencies.len();
        Ok(Outcome {
            answered,
            lost: count as usize - answered,
            elapsed,
            busy: server_time()?.saturating_sub(busy),
            latencies: self.latencies,
        })
    }

    fn send(&mut self, count: u64) -> io::Result<()> {
        let at = (count % u64::from(ENDPOINTS)) as usize;
        let id = count as u16;
        let message = &mut self.queries[at];
        message[..2].copy_from_slice(&id.to_be_bytes());
        if self.sent[usize::from(id)].replace(Instant::now()).is_none() {
            self.under_way += 1;
        }
        self.socket.send(message).map(drop)
    }

    fn receive(&mut self) -> io::Result<()> {
        let mut buffer = [0; 512];
        loop {
            match self.socket.recv(&mut buffer) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
            // Code 0 and one answer: the name was found whatever changed meanwhile.
            let good = buffer[3] & 15 == 0 && buffer[7] == 1;
            let id = u16::from_be_bytes([buffer[0], buffer[1]]);
            if let Some(sent) = self.sent[usize::from(id)].take().filter(|_| good) {
                self.under_way -= 1;
                self.latencies
                    .push(sent.elapsed().as_nanos().try_into().unwrap_or(u32::MAX));
            }
        }
    }
}

impl Outcome {
    fn print(mut self, pace: Option<u64>) {
        self.latencies.sort_unstable();
        let quantile = |part: usize| {
            let at =
                (self.latencies.len() * part / 1000).min(self.latencies.len().saturating_sub(1));
            f64::from(self.latencies.get(at).copied().unwrap_or(0)) / 1e3
        };
        let rate = self.answered as f64 / self.elapsed.as_secs_f64();
        let each = self.busy.as_secs_f64() / self.answered as f64;
        println!(
            "{}: {rate:.0} answers/s, {} lost, p50 {:.0} us, p99 {:.0} us, p99.9 {:.0} us; \
             {:.2} us of one core each, so {:.0} answers/s of a whole one",
            pace.map_or("as many as go".to_owned(), |pace| format!("{pace}/s")),
            self.lost,
            quantile(500),
            quantile(990),
            quantile(999),
            each * 1e6,
            1.0 / each,
        );
    }
}

/// The processor time that the answering thread has used (proc(5), `schedstat`).
fn server_time() -> Result<Duration> {
    for task in fs::read_dir("/proc/self/task")? {
        let task = task?.path();
        if fs::read_to_string(task.join("comm"))? == "dns\n" {
            let stat = fs::read_to_string(task.join("schedstat"))?;
            let first = stat.split(' ').next().ok_or("an empty schedstat")?;
            return Ok(Duration::from_nanos(first.parse()?));
        }
    }
    Err("the server's thread is not there".into())
}

fn pin(processor: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(processor);
    Ok(sched_setaffinity(None, &set)?)
}

fn id(i: u16) -> [u8; 32] {
    let mut id = [0; 32];
    id[..2].copy_from_slice(&i.to_be_bytes());
    id
}

fn endpoint(i: u16, change: u64) -> EndpointNames {
    let [high, low] = i.to_be_bytes();
    EndpointNames {
        endpoint: EndpointId::from_bytes(id(i)),
        name: format!("container-{i}"),
        aliases: vec![format!("alias-{i}-{change}")],
        short_id: EndpointId::from_bytes(id(i)).short(),
        addresses: vec![Ipv4Addr::new(172, 18, high, low).into()],
        ports: vec![],
        weight: 0,
    }
}

fn query(i: u16) -> Vec<u8> {
    let name = format!("container-{i}");
    let mut message = vec![0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, name.len() as u8];
    message.extend_from_slice(name.as_bytes());
    message.extend_from_slice(&[0, 0, 1, 0, 1]);
    message
}

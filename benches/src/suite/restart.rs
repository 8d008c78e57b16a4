//! From the start of a daemon that was killed to its first answer to a name, with 1, 100 and
//! 1,000 sandboxes to find again.

use crate::{
    Result, dns_load,
    report::{OURS, Table},
    samples::Samples,
    scene::Scene,
};
use std::{
    net::UdpSocket,
    sync::mpsc,
    time::{Duration, Instant},
};
use vw_testkit::{Host, Lab};

pub(crate) const NAME: &str = "restart";

const ROUNDS: usize = 5;
/// How often a client asks that gets no answer.
const AGAIN: Duration = Duration::from_millis(1);
const LIMIT: Duration = Duration::from_secs(20);

pub(crate) fn run() -> Result<Table> {
    let lab = Lab::new();
    let mut ours = Scene::start(&lab, "ours")?;
    let mut table = Table::new(NAME, "Names answer again after kill -9 and a start");
    let asker = lab.host("box0");
    let mut sandboxes = 0;
    for wanted in [1_usize, 100, 1000] {
        while sandboxes < wanted {
            // A bridge takes 1,023 ports; in three networks none is near its end.
            let network = format!("net{}", sandboxes / 400);
            if sandboxes % 400 == 0 {
                ours.network(&network, &format!("10.{}.0.0/16", 90 + sandboxes / 400))?;
            }
            let sandbox = match sandboxes {
                0 => asker.clone(),
                number => lab.host(&format!("box{number}")),
            };
            ours.adopt(&sandbox, &[&network])?;
            sandboxes += 1;
        }
        let mut taken = Samples::default();
        for _ in 0..ROUNDS {
            ours.daemon.kill9();
            taken.push_millis(first_answer(&asker, || ours.daemon.restart())?);
        }
        ours.client = crate::api::Client::open(&ours.daemon.socket())?;
        table.row(&format!("{wanted} sandboxes"), OURS, "ms", &taken);
    }
    table.note("aim: less than 100 ms; a client asks every millisecond for a name beside it");
    Ok(table)
}

/// How long from here until a name is answered inside, while `start` starts the daemon.
fn first_answer(sandbox: &Host, start: impl FnOnce()) -> Result<Duration> {
    let (answered, answer) = mpsc::channel();
    let inside = sandbox.clone();
    let asking = std::thread::Builder::new().name("asker".into());
    let began = Instant::now();
    let asking = asking.spawn(move || {
        let asked = inside.enter(|| ask_until_answered(began));
        answered.send(asked)
    })?;
    start();
    let elapsed = answer.recv_timeout(LIMIT)??;
    // It has sent its answer, which we hold.
    let _ = asking.join();
    Ok(elapsed)
}

fn ask_until_answered(began: Instant) -> std::io::Result<Duration> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    socket.connect("127.0.0.11:53")?;
    socket.set_read_timeout(Some(AGAIN))?;
    let question = dns_load::query("box0");
    let mut buffer = [0; 512];
    while began.elapsed() < LIMIT {
        // Refused while nobody listens: paced by the read below all the same.
        let _ = socket.send(&question);
        match socket.recv(&mut buffer) {
            Ok(_) if buffer[3] & 15 == 0 && buffer[7] >= 1 => return Ok(began.elapsed()),
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => pause(&socket),
            Err(_) => {}
        }
    }
    Err(std::io::Error::other("names do not answer"))
}

/// Waits for a datagram, for as long as a client does between questions.
fn pause(socket: &UdpSocket) {
    let mut nothing = [0; 1];
    // What it says does not matter: the caller asks again.
    let _ = socket.peek(&mut nothing);
}

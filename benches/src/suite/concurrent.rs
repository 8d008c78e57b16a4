//! Eight sandboxes join and leave one network at once, without end: nobody waits for another.
//!
//! The kernel makes one link at a time (RTNL), whoever asks; what an engine adds is what stands
//! between one client's rate and eight clients'.

use crate::{
    Result,
    api::Client,
    report::{Aim, OURS, Table},
    samples::Samples,
    scene::Scene,
};
use std::{
    path::Path,
    thread,
    time::{Duration, Instant},
};
use vw_testkit::Lab;

pub(crate) const NAME: &str = "concurrent";

const ROUNDS: usize = 20;
const LENGTH: Duration = Duration::from_millis(500);
const CLIENTS: usize = 8;

pub(crate) fn run() -> Result<Table> {
    let lab = Lab::new();
    let mut ours = Scene::start(&lab, "ours")?;
    ours.network("blue", "10.99.0.0/24")?;
    for number in 0..CLIENTS {
        ours.adopt(&lab.host(&format!("box{number}")), &[])?;
    }
    let mut table = Table::new(
        NAME,
        "Attach and detach without pause, by 1 and by 8 clients",
    );
    let socket = ours.daemon.socket();
    let [mut one, mut many] = [(); 2].map(|()| Taken::default());
    for _ in 0..ROUNDS {
        one.round(&socket, 1)?;
        many.round(&socket, CLIENTS)?;
    }
    table.row("attach, 1 client", OURS, "ms", &one.attaches);
    table.row(
        &format!("attach, {CLIENTS} clients"),
        OURS,
        "ms",
        &many.attaches,
    );
    table.row(
        &format!("pairs a second, {CLIENTS} clients"),
        OURS,
        "1/s",
        &many.rates,
    );
    let rates = (&one.rates, &many.rates);
    table.rounds(
        "pairs a second, 1 client",
        OURS,
        "1/s",
        rates,
        Aim::AtLeast(1.0),
    );
    table.note("deletion of the links that were left goes on meanwhile and is part of this");
    Ok(table)
}

/// What so many clients did, by turns with others.
#[derive(Default)]
struct Taken {
    attaches: Samples,
    /// Pairs of attach and detach a second, of all clients together, one value a round.
    rates: Samples,
}

impl Taken {
    fn round(&mut self, socket: &Path, clients: usize) -> Result<()> {
        let start = Instant::now();
        let attaches = clients_at_once(socket, clients)?;
        self.rates
            .push(attaches.len() as f64 / start.elapsed().as_secs_f64());
        self.attaches.extend(&attaches);
        Ok(())
    }
}

fn clients_at_once(socket: &Path, clients: usize) -> Result<Samples> {
    thread::scope(|scope| {
        let started: Vec<_> = (0..clients)
            .map(|number| scope.spawn(move || one(socket, &format!("box{number}"))))
            .collect();
        let mut all = Samples::default();
        for client in started {
            let done = client.join().map_err(|_| "a client panicked")?;
            all.extend(&done?);
        }
        Ok(all)
    })
}

fn one(socket: &Path, sandbox: &str) -> Result<Samples> {
    let mut client = Client::open(socket)?;
    let mut attaches = Samples::default();
    let start = Instant::now();
    while start.elapsed() < LENGTH {
        attaches.push_millis(client.connect("blue", sandbox)?);
        client.disconnect("blue", sandbox)?;
    }
    Ok(attaches)
}

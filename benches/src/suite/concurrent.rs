//! Eight sandboxes join and leave one network at once, without end: nobody waits for another.
//!
//! The kernel makes one link at a time (RTNL), whoever asks; what an engine adds is what stands
//! between one client's rate and eight clients'.

use crate::{
    Result,
    api::Client,
    report::{OURS, Table},
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

const LENGTH: Duration = Duration::from_secs(5);
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
    let mut alone: Option<Samples> = None;
    for clients in [1, CLIENTS] {
        let start = Instant::now();
        let attaches = clients_at_once(&socket, clients)?;
        let elapsed = start.elapsed().as_secs_f64();
        let rate: Samples = [attaches.len() as f64 / elapsed].into_iter().collect();
        table.row(&format!("attach, {clients} clients"), OURS, "ms", &attaches);
        let what = format!("pairs a second, {clients} clients");
        match &alone {
            None => table.row(&what, OURS, "1/s", &rate),
            Some(alone) => table.grown(&what, "1/s", (&rate, alone), None),
        }
        alone.get_or_insert(rate);
    }
    table.note("deletion of the links that were left goes on meanwhile and is part of this");
    Ok(table)
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

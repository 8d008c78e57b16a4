//! What grows with the number of services or endpoints, and should not: a connection, an endpoint
//! that joins, and a start.

use super::load::{ask_many, meanwhile};
use crate::{
    Result,
    bare::Bare,
    report::{OURS, Table},
    samples::Samples,
    scene::{self, Scene, timed},
};
use serde_json::{Value, json};
use std::{net::SocketAddr, time::Instant};
use vw_testkit::Host;

const ROUNDS: usize = 20;
/// How often one joins in each: what a join takes differs more from one to the next than from number to
/// number.
const JOINS: usize = 5;
const CONNECTIONS: usize = 100;
const STARTS: usize = 5;

/// What is asked and joined, the same with each number.
pub(crate) struct Growth<'a> {
    /// Who asks.
    pub(crate) near: &'a Host,
    /// A service, and its endpoints.
    pub(crate) vip: SocketAddr,
    pub(crate) ends: Vec<SocketAddr>,
    /// A sandbox that joins, and leaves again: itself, on that network, that service.
    pub(crate) guest: (&'a Host, &'a str, &'a str),
    /// The bare netlink calls on the same bridge.
    pub(crate) bare: &'a Bare,
}

/// What a sandbox that joins asks for.
pub(crate) fn joining(sandbox: &Host, service: &str) -> Value {
    json!({
        "Container": sandbox.name(),
        "EndpointConfig": { "DriverOpts": { "vethwork.service": service } },
    })
}

impl Growth<'_> {
    /// With one number more; `first` is what joining took with the first one.
    pub(crate) fn measure(
        &self,
        scene: &mut Scene,
        (count, first): (&str, &mut Option<[Samples; 2]>),
        table: &mut Table,
    ) -> Result<()> {
        let [mut connections, mut direct] = [(); 2].map(|()| Samples::default());
        let [mut joins, mut bare] = [(); 2].map(|()| Samples::default());
        let (guest, network, service) = self.guest;
        let body = joining(guest, service);
        let path = format!("/v1.41/networks/{network}/connect");
        for _ in 0..ROUNDS {
            connections.push(ask_many(self.near, self.vip, CONNECTIONS)?.median());
            // The same endpoints in turn: one that was asked just now answers sooner.
            let mut straight = Samples::default();
            for end in self.ends.iter().cycle().take(CONNECTIONS) {
                straight.extend(&ask_many(self.near, *end, 1)?);
            }
            direct.push(straight.median());
            let full = scene::links(&scene.host);
            for _ in 0..JOINS {
                joins.push_millis(scene.client.timed(&path, &body)?);
                scene.client.disconnect(network, guest.name())?;
                scene::settle(&scene.host, full)?;
                bare.push_millis(timed(|| self.bare.attach())?);
                self.bare.detach()?;
                scene::settle(&scene.host, full)?;
            }
        }
        let what = format!("a connection, {count}");
        table.row(&what, OURS, "us", &connections);
        table.rounds(&what, "direct", "us", (&direct, &connections), None);
        let what = format!("an endpoint joins, {count}");
        match &first {
            None => table.row(&what, OURS, "ms", &joins),
            Some([first, _]) => table.grown(&what, "ms", (&joins, first), None),
        }
        table.rounds(&what, "bare netlink", "ms", (&bare, &joins), None);
        if let Some([ours, kernel]) = &first {
            let kernel = bare.median() - kernel.median();
            let grown = [joins.median() - ours.median() - kernel];
            let what = format!("what that adds to joining, {count}");
            table.row(&what, "bare netlink", "ms", &Samples::from_iter([kernel]));
            table.row(&what, OURS, "ms", &Samples::from_iter(grown));
        }
        first.get_or_insert([joins, bare]);
        Ok(())
    }
}

/// From the start of a daemon that was killed until its API answers, while connections go on.
pub(crate) fn starts(
    scene: &mut Scene,
    ways: &[(&Host, SocketAddr)],
    count: &str,
    table: &mut Table,
) -> Result<()> {
    let daemon = &mut scene.daemon;
    let (taken, meanwhile) = meanwhile(ways, || {
        let mut taken = Samples::default();
        for _ in 0..STARTS {
            daemon.kill9();
            let began = Instant::now();
            daemon.restart();
            taken.push_millis(began.elapsed());
        }
        Ok(taken)
    })?;
    scene.reconnect()?;
    table.row(&format!("start, {count}"), OURS, "ms", &taken);
    table.note(format!(
        "{meanwhile} during {STARTS} kills and starts with {count}"
    ));
    Ok(())
}

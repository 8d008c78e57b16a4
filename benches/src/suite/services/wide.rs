//! What grows with the number of services over several hosts, and should not: the making of one, an
//! endpoint that joins, on its own host and until the others lead to it, a connection, and a start.
//!
//! Every service has an address. The newest one has an endpoint on the second host that stays, so
//! that a connection is refused by nobody, and none waits for what was lost.

use super::{
    growth::{joining, starts},
    load::{Answering, ask_many, ask_one},
};
use crate::{
    Result,
    report::{OURS, Table},
    samples::Samples,
    scene::Scene,
    segment::until_known,
};
use serde_json::json;
use std::{
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};
use vw_testkit::Host;

/// How many services there are in all, one after the other.
const NUMBERS: [usize; 4] = [10, 100, 1000, 10_000];
const ROUNDS: usize = 20;
const CONNECT: &str = "/v1.41/networks/wide/connect";
const CONNECTIONS: usize = 100;
/// Who waits longer for another host to lead there has failed.
const SOON: Duration = Duration::from_secs(20);

/// What is asked and joined, the same with each number.
pub(super) struct Wide<'a> {
    /// Who asks on the first host, a service, and its endpoint.
    pub(super) near: &'a Host,
    pub(super) vip: SocketAddr,
    pub(super) end: SocketAddr,
    /// A sandbox of the first host that joins, and one of the second that has joined.
    pub(super) guest: &'a Host,
    pub(super) stays: &'a Host,
    /// Who asks on each other host.
    pub(super) others: &'a [Host],
}

/// The number by which the one answers that joins; the other's is 0.
const GUEST: u8 = 1;
/// After so many answers of the other in a row nobody is led to who has left: half of them were.
const GONE: usize = 30;

/// What was measured with one number.
#[derive(Default)]
struct Measured {
    made: Samples,
    connections: Samples,
    direct: Samples,
    joins: Samples,
    led: Samples,
}

impl Wide<'_> {
    /// With more and more services, of which there are so many.
    pub(super) fn measure(
        &self,
        [first, second]: [&mut Scene; 2],
        mut services: usize,
        table: &mut Table,
    ) -> Result<()> {
        let _servers = [
            Answering::start(self.guest, GUEST)?,
            Answering::start(self.stays, 0)?,
        ];
        let mut least = None;
        for wanted in NUMBERS {
            let mut measured = Measured::default();
            while services < wanted {
                let name = format!("s{services}");
                let body = json!({ "Name": name, "Network": "wide", "Drain": 0 });
                let made = first.client.timed("/vethwork/services/create", &body)?;
                measured.made.push_millis(made);
                services += 1;
            }
            // Who knows the newest has heard of all.
            let newest = format!("s{}", services - 1);
            let stays = joining(self.stays, &newest);
            second.reconnect()?;
            until_known(|| second.client.post(CONNECT, &stays).map(drop))?;
            self.rounds(first, &newest, &mut measured)?;
            second.client.disconnect("wide", self.stays.name())?;
            let count = format!("{wanted} services");
            show(&measured, least.as_ref(), &count, table);
            least.get_or_insert(measured);
            starts(first, &[(self.near, self.vip)], &count, table)?;
        }
        Ok(())
    }

    fn rounds(&self, scene: &mut Scene, service: &str, measured: &mut Measured) -> Result<()> {
        let shown = super::inspect(scene, service)?;
        let vip: IpAddr = super::first_address(&shown["VirtualIPs"]).ok_or("no virtual address")?;
        let (vip, body) = (SocketAddr::new(vip, 80), joining(self.guest, service));
        for other in self.others {
            until_known(|| other.enter(|| ask_one(vip).map(drop)).map_err(Into::into))?;
        }
        for _ in 0..ROUNDS {
            let connections = ask_many(self.near, self.vip, CONNECTIONS)?;
            let direct = ask_many(self.near, self.end, CONNECTIONS)?;
            measured.connections.push(connections.median());
            measured.direct.push(direct.median());
            let began = Instant::now();
            measured
                .joins
                .push_millis(scene.client.timed(CONNECT, &body)?);
            for other in self.others {
                until(other, vip, 1, |number| number == GUEST)?;
            }
            measured.led.push_millis(began.elapsed());
            scene.client.disconnect("wide", self.guest.name())?;
            for other in self.others {
                until(other, vip, GONE, |number| number != GUEST)?;
            }
        }
        Ok(())
    }
}

/// Asks again and again until so many in a row were answered by whom it should be.
fn until(from: &Host, vip: SocketAddr, row: usize, is_right: fn(u8) -> bool) -> Result<()> {
    let (began, mut right) = (Instant::now(), 0);
    while right < row {
        let answer = from.enter(|| ask_one(vip));
        right = match answer {
            Ok((_, number)) if is_right(number) => right + 1,
            _ => 0,
        };
        if began.elapsed() > SOON {
            return Err("another host does not follow who joins and leaves".into());
        }
    }
    Ok(())
}

fn show(measured: &Measured, first: Option<&Measured>, count: &str, table: &mut Table) {
    type Of = fn(&Measured) -> &Samples;
    let rows: [(&str, &str, Of); 4] = [
        ("a service is made", "ms", |m| &m.made),
        ("a connection", "us", |m| &m.connections),
        ("an endpoint joins", "ms", |m| &m.joins),
        ("and the other hosts lead to it", "ms", |m| &m.led),
    ];
    for (what, unit, of) in rows {
        let what = format!("{what}, {count}");
        match first {
            None => table.row(&what, OURS, unit, of(measured)),
            Some(first) => table.grown(&what, unit, (of(measured), of(first)), None),
        }
        if unit == "us" {
            let both = (&measured.direct, &measured.connections);
            table.rounds(&what, "direct", unit, both, None);
        }
    }
}

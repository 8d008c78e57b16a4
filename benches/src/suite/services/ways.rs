//! The same endpoints asked by several ways, by turns.

use super::load::{ask_many, trips};
use crate::{
    Result,
    report::{Aim, OURS, Table},
    samples::Samples,
};
use std::net::SocketAddr;
use vw_testkit::Host;

/// Many short ones: what else the machine does must not fall on one of those compared.
const ROUNDS: usize = 40;
/// Connections, and requests on one of them, a round.
const CONNECTIONS: usize = 100;
const TRIPS: usize = 200;

/// One who asks, and whom.
pub(crate) struct Way<'a> {
    what: &'static str,
    who: &'static str,
    from: &'a Host,
    to: SocketAddr,
    /// The median of each round.
    connections: Samples,
    trips: Samples,
}

impl<'a> Way<'a> {
    pub(crate) fn new(
        what: &'static str,
        who: &'static str,
        from: &'a Host,
        to: SocketAddr,
    ) -> Self {
        Self {
            what,
            who,
            from,
            to,
            connections: Samples::default(),
            trips: Samples::default(),
        }
    }

    /// Tries whether it leads anywhere.
    pub(crate) fn leads(&self) -> Result<()> {
        let asked = ask_many(self.from, self.to, 1).map(drop);
        asked.map_err(|error| format!("{} by {}: {error}", self.what, self.who).into())
    }

    fn round(&mut self) -> Result<()> {
        let connections = ask_many(self.from, self.to, CONNECTIONS)?;
        self.connections.push(connections.median());
        let trips = trips(self.from, self.to, TRIPS)?;
        self.trips.push(trips.median());
        Ok(())
    }
}

/// Takes turns, and shows each way of ours beside the others that ask for the same.
pub(crate) fn compare(
    table: &mut Table,
    mut ways: Vec<Way<'_>>,
    aim: impl Fn(&str) -> Option<Aim>,
) -> Result<()> {
    for round in 0..ROUNDS {
        // Who follows whom changes.
        if round % 2 == 0 {
            ways.iter_mut().try_for_each(Way::round)?;
        } else {
            ways.iter_mut().rev().try_for_each(Way::round)?;
        }
    }
    for ours in ways.iter().filter(|way| way.who == OURS) {
        let what = ours.what;
        let [connection, request] =
            ["a connection", "a request"].map(|kind| format!("{kind} {what}"));
        table.row(&connection, OURS, "us", &ours.connections);
        table.row(&request, OURS, "us", &ours.trips);
        for other in ways
            .iter()
            .filter(|way| way.what == what && way.who != OURS)
        {
            let pair = (&other.connections, &ours.connections);
            table.rounds(&connection, other.who, "us", pair, aim(other.who));
            let pair = (&other.trips, &ours.trips);
            table.rounds(&request, other.who, "us", pair, aim(other.who));
        }
    }
    Ok(())
}

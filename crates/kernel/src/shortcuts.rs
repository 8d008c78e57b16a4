//! The program that has frames pass a bridge by, and the table that it looks them up in.
//!
//! Owns where both are found again: the program in the block that links of the namespace share, the
//! table by the program. Which stations are in it is said by plans.

mod program;
mod slots;

use crate::{
    bpf::{self, Map, Memory},
    netlink::{Batch, Socket, tc},
};
use slots::Slots;
use std::{collections::BTreeMap, io, os::fd::AsFd};
use vw_hoststate::Station;
use vw_model::MacAddr;

/// Under what name the program is attached; another form of it or of the table has another.
const NAME: &str = "vethwork shortcuts 3";
/// What the program and the table are called themselves.
const SHORT: &str = "vethwork";

/// The link that the kernel gives each namespace first.
const LOOPBACK: u32 = 1;

/// An entry of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The station's address.
    pub(crate) mac: MacAddr,
    /// Where it lies.
    pub(crate) station: Station,
    /// The link that leads to it.
    pub(crate) index: u32,
}

/// What a namespace has of it.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// Links with an ingress discipline, and whether it is ours.
    pub(crate) bound: BTreeMap<u32, bool>,
    /// The table's entries, where there is a table of the form that we make.
    pub(crate) entries: Option<Vec<Entry>>,
    /// Whether there is a program of ours in any form.
    pub(crate) any: bool,
}

/// The table of a namespace.
#[derive(Debug)]
pub(crate) struct Table(Memory);

impl Table {
    /// The one of the socket's namespace, if it has one of the form that we make and there is room to
    /// have it in memory.
    pub(crate) fn find(socket: &mut Socket) -> io::Result<Option<Self>> {
        let programs = tc::programs(socket)?;
        Self::of(&programs)
    }

    fn of(programs: &[(u32, String)]) -> io::Result<Option<Self>> {
        let Some((id, _)) = programs.iter().find(|(_, name)| name == NAME) else {
            return Ok(None);
        };
        let map = match Map::of_program(*id) {
            // It went meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            map => map?,
        };
        match map.memory(slots::SLOTS) {
            Ok(memory) => Ok(Some(Self(memory))),
            // Without, all goes by the bridge; the next comparison tries again.
            Err(error) => {
                tracing::warn!("frames of a network pass its bridge: {error}");
                Ok(None)
            }
        }
    }

    /// Sets an entry. One that there is no room for is left out ([`leaves_out`]); frames of the
    /// address pass the bridge then, until a later comparison finds room.
    pub(crate) fn put(&self, entry: &Entry) {
        self.slots().put(entry);
    }

    /// The link that a station's entry leads to.
    pub(crate) fn link_to(&self, mac: MacAddr, station: Station) -> Option<u32> {
        self.slots().link_to(mac, station)
    }

    /// Removes a station's entry, if it is there.
    pub(crate) fn remove(&self, mac: MacAddr, station: Station) {
        self.slots().remove(mac, station);
    }

    fn slots(&self) -> Slots<'_> {
        Slots(self.0.words())
    }
}

/// Whether [`Table::put`] leaves one out of a table of such entries, as [`look`] found them, once only those
/// are left in it that stay.
pub(crate) fn leaves_out(
    wanted: &Entry,
    entries: &[Entry],
    stays: impl Fn(&Entry) -> bool,
) -> bool {
    slots::leaves_out(wanted, entries, stays)
}

/// Has the frames that come in by links of our block looked up by the program, in an empty table.
///
/// # Errors
/// What the kernel says to it.
pub(crate) fn install(socket: &mut Socket) -> io::Result<()> {
    let map = Map::create(SHORT, slots::SLOTS)?;
    let program = bpf::load(SHORT, &program::program(map.fd()))?;
    let mut batch = Batch::default();
    tc::attach(&mut batch, NAME, program.as_fd());
    carry_out(socket, &mut batch)
}

fn carry_out(socket: &mut Socket, batch: &mut Batch) -> io::Result<()> {
    match socket.transact(batch)?.into_iter().next() {
        Some(refusal) => Err(refusal.into_error()),
        None => Ok(()),
    }
}

/// Reads what the socket's namespace has. What cannot be read is not there: a kernel without it, or
/// one that lets nobody look.
pub(crate) fn look(socket: &mut Socket) -> Seen {
    let bound = tc::bound(socket).unwrap_or_default();
    let programs = tc::programs(socket).unwrap_or_default();
    let table = Table::of(&programs).ok().flatten();
    Seen {
        bound: bound.iter().map(|one| (one.index, one.ours)).collect(),
        entries: table.map(|table| table.slots().entries()),
        any: !programs.is_empty(),
    }
}

/// Does all of it once, in a namespace that is there for nothing else.
///
/// # Errors
/// What the kernel says to it.
pub(crate) fn probe(socket: &mut Socket) -> io::Result<()> {
    let mut batch = Batch::default();
    tc::bind(&mut batch, LOOPBACK);
    carry_out(socket, &mut batch)?;
    install(socket)?;
    match Table::find(socket)? {
        Some(_) => Ok(()),
        None => Err(io::ErrorKind::NotFound.into()),
    }
}

/// Refuses in a debug build that is told to have a kernel without it.
#[cfg(debug_assertions)]
pub(crate) fn hidden() -> io::Result<()> {
    match std::env::var_os("VETHWORK_NO_SHORTCUTS") {
        Some(_) => Err(io::ErrorKind::Unsupported.into()),
        None => Ok(()),
    }
}

/// Nothing: only debug builds can be told so.
#[cfg(not(debug_assertions))]
pub(crate) const fn hidden() -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests;

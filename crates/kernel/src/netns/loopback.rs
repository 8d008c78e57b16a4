//! The loopback interface of adopted namespaces: the resolver needs it up, its owner gets it back.
//!
//! A file beside the pin tells that it was down; so a release after a restart knows too.

use super::{Namespaces, Place};
use crate::netlink::{Batch, addr, link};
use std::{fs, io, net::Ipv4Addr, path::PathBuf, sync::Arc};
use vw_hoststate::Netns;
use vw_model::Ipv4Net;

/// Every namespace has it under this name from its beginning.
const LOOPBACK: &str = "lo";

/// What a note says where the loopback had addresses while it was down.
const ADDRESSED: &str = "addressed";

impl Namespaces {
    fn note(&self, netns: Netns) -> PathBuf {
        let mut name = self.path(netns).into_os_string();
        name.push(".loopback-down");
        name.into()
    }

    /// Brings the loopback up where it is down, and notes that it was.
    pub(super) fn raise_loopback(&self, place: &Arc<Place>, netns: Netns) -> io::Result<()> {
        let seen = self.with_socket(place, |socket| link::get(socket, LOOPBACK))?;
        let Some(seen) = seen.filter(|seen| !seen.up) else {
            return Ok(());
        };
        let addresses = self.with_socket(place, addr::dump)?;
        let addressed = addresses.iter().any(|held| held.index == seen.index);
        let note = if addressed { ADDRESSED } else { "" };
        fs::write(self.note(netns), note)?;
        self.set_loopback(place, true)
    }

    /// Puts the loopback down again where it was, and forgets the note.
    pub(super) fn lower_loopback(&self, netns: Netns) -> io::Result<()> {
        let note = self.note(netns);
        let Ok(said) = fs::read_to_string(&note) else {
            return Ok(());
        };
        // A namespace that is gone needs nothing put back.
        if let Ok(place) = self.place(netns) {
            self.set_loopback(&place, false)?;
            if said != ADDRESSED {
                self.strip_loopback(&place)?;
            }
        }
        fs::remove_file(note)
    }

    /// Removes 127.0.0.1/8: the kernel gives it to a loopback that comes up without an address,
    /// and leaves it there (`inetdev_event` in net/ipv4/devinet.c). IPv6's goes by itself.
    fn strip_loopback(&self, place: &Arc<Place>) -> io::Result<()> {
        let Some(seen) = self.with_socket(place, |socket| link::get(socket, LOOPBACK))? else {
            return Ok(());
        };
        let given = Ipv4Net::new_assert(Ipv4Addr::LOCALHOST, 8).into();
        let held = self.with_socket(place, addr::dump)?;
        if !held
            .iter()
            .any(|held| held.index == seen.index && held.addr == given)
        {
            return Ok(());
        }
        let mut batch = Batch::default();
        addr::delete(&mut batch, seen.index, given);
        self.transact(place, batch)
    }

    fn set_loopback(&self, place: &Arc<Place>, up: bool) -> io::Result<()> {
        let settings = link::Settings {
            up: Some(up),
            ..link::Settings::default()
        };
        let mut batch = Batch::default();
        link::change(&mut batch, link::Which::Name(LOOPBACK), &settings);
        self.transact(place, batch)
    }

    fn transact(&self, place: &Arc<Place>, mut batch: Batch) -> io::Result<()> {
        match self
            .with_socket(place, |socket| socket.transact(&mut batch))?
            .pop()
        {
            Some(refusal) => Err(refusal.into_error()),
            None => Ok(()),
        }
    }
}

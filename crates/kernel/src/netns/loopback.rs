//! The loopback interface of adopted namespaces: the resolver needs it up, its owner gets it back.
//!
//! A file beside the pin tells that it was down; so a release after a restart knows too.

use super::{Namespaces, Place};
use crate::netlink::{Batch, link};
use std::{fs, io, path::PathBuf, sync::Arc};
use vw_hoststate::Netns;
use vw_model::SandboxId;

/// Every namespace has it under this name from its beginning.
const LOOPBACK: &str = "lo";

impl Namespaces {
    fn note(&self, sandbox: SandboxId) -> PathBuf {
        self.dir.join(format!("{sandbox}.loopback-down"))
    }

    /// Brings the loopback up where it is down, and notes that it was.
    pub(super) fn raise_loopback(&self, place: &Arc<Place>, sandbox: SandboxId) -> io::Result<()> {
        let seen = self.with_socket(place, |socket| link::get(socket, LOOPBACK))?;
        if seen.is_none_or(|seen| seen.up) {
            return Ok(());
        }
        fs::write(self.note(sandbox), "")?;
        self.set_loopback(place, true)
    }

    /// Puts the loopback down again where it was, and forgets the note.
    pub(super) fn lower_loopback(&self, sandbox: SandboxId) -> io::Result<()> {
        let note = self.note(sandbox);
        if !note.exists() {
            return Ok(());
        }
        // A namespace that is gone needs nothing put back.
        if let Ok(place) = self.place(Netns::Sandbox(sandbox)) {
            self.set_loopback(&place, false)?;
        }
        fs::remove_file(note)
    }

    fn set_loopback(&self, place: &Arc<Place>, up: bool) -> io::Result<()> {
        let settings = link::Settings {
            up: Some(up),
            ..link::Settings::default()
        };
        let mut batch = Batch::default();
        link::change(&mut batch, link::Which::Name(LOOPBACK), &settings);
        match self
            .with_socket(place, |socket| socket.transact(&mut batch))?
            .pop()
        {
            Some(refusal) => Err(refusal.into_error()),
            None => Ok(()),
        }
    }
}

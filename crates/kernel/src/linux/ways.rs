//! Ways around a network's bridge: the program and its table, once a namespace, and each station's
//! entry, with the link of one that is here.

use super::{
    apply::{Run, Stop},
    names,
    queue::Forgive,
};
use crate::{
    netlink::{Socket, link, tc},
    shortcuts::{self, Entry, Table},
    translator,
};
use std::{collections::BTreeSet, io, sync::Arc};
use vw_hoststate::{Netns, Object, Shortcut, Shortcuts, Station, Step, Translator};

impl Run<'_> {
    /// Makes the table and the program, and has what comes in by the tunnel looked up; a program
    /// that stands stays, with its table. Where somebody else looks at what comes in by the tunnel,
    /// all is left to the bridge.
    pub(super) fn create_shortcuts(&mut self, at: usize, wanted: &Shortcuts) -> Result<(), Stop> {
        self.close_table(at, wanted.netns)?;
        let index = self.required_index(at, wanted.netns, &wanted.link)?;
        let queue = self.queue(at, wanted.netns)?;
        queue.push(at, Forgive::Present, |batch| tc::bind(batch, index));
        self.flush()?;
        let look = |socket: &mut Socket| {
            let bound = tc::bound(socket)?;
            let mut bound = bound.into_iter();
            let ours = bound.any(|one| one.index == index && one.ours);
            Ok((Table::find(socket)?.is_some(), ours))
        };
        let (stands, ours) = self.inside(at, wanted.netns, look)?;
        if stands || !ours {
            return Ok(());
        }
        // Without, all goes by the bridge; the next comparison tries again.
        if let Err((_, error)) = self.inside(at, wanted.netns, shortcuts::install) {
            tracing::warn!("frames of a network pass its bridge: {error}");
        }
        Ok(())
    }

    /// Has what leaves by a link translated. Without, nobody is led by it: elements that would are left
    /// out (`elements`), and the next comparison tries again.
    pub(super) fn create_translator(&mut self, at: usize, wanted: &Translator) -> Result<(), Stop> {
        let index = self.required_index(at, wanted.netns, &wanted.link)?;
        self.flush()?;
        let install = |socket: &mut Socket| translator::install(socket, index);
        let installed = self
            .inside(at, wanted.netns, install)
            .map_err(|(_, error)| {
                let why = std::error::Error::source(&error).map(ToString::to_string);
                let why = why.unwrap_or_else(|| error.to_string());
                tracing::warn!("{error}: {why}: ports of IPv4 endpoints answer over IPv4 alone");
                why
            });
        self.kernel.translated(Some(installed));
        self.done[at] = true;
        Ok(())
    }

    /// Has a link translate no more, once nobody is led to it. Forgets first: whoever comes after one that
    /// died in between finds it to do again.
    pub(super) fn delete_translator(&mut self, at: usize, gone: &Translator) -> Result<(), Stop> {
        self.flush()?;
        self.kernel.forget_translated();
        self.remove(at, gone.netns, Some(&gone.link), |batch, index| {
            tc::unbind(batch, index.unwrap_or_default());
        })?;
        self.flush()
    }

    /// Takes the program from the tunnel, and its table with it.
    pub(super) fn delete_shortcuts(&mut self, at: usize, gone: &Shortcuts) -> Result<(), Stop> {
        if self.is_gone(gone.netns) {
            self.done[at] = true;
            return Ok(());
        }
        self.close_table(at, gone.netns)?;
        let index = self.index(at, gone.netns, &gone.link)?;
        self.flush()?;
        let look = |socket: &mut Socket| {
            let bound = tc::bound(socket)?;
            let is_it = |one: &tc::Bound| Some(one.index) == index && one.ours;
            Ok((bound.iter().any(is_it), !tc::programs(socket)?.is_empty()))
        };
        let (bound, attached) = self.inside(at, gone.netns, look)?;
        let queue = self.queue(at, gone.netns)?;
        if attached {
            queue.push(at, Forgive::Gone, tc::detach);
        }
        if let Some(index) = index.filter(|_| bound) {
            queue.push(at, Forgive::Gone, |batch| tc::unbind(batch, index));
        }
        self.flush()?;
        self.done[at] = true;
        Ok(())
    }

    /// Changes entries of one namespace from `at` on; answers the step behind them.
    pub(super) fn shortcuts(&mut self, at: usize, netns: Netns) -> Result<usize, Stop> {
        let of_netns = |step: &&Step| match step.object() {
            Object::Shortcut(shortcut) => shortcut.netns == netns,
            _ => false,
        };
        let plan = self.plan;
        let steps: Vec<_> = plan.steps[at..].iter().take_while(of_netns).collect();
        let end = at + steps.len();
        let is_deletion = |step: &&Step| matches!(step, Step::Delete(_));
        if steps.iter().all(is_deletion) && self.is_gone(netns) {
            self.done[at..end].fill(true);
            return Ok(end);
        }
        let mut changes = Vec::with_capacity(steps.len());
        let mut bound = None;
        for (at, step) in (at..).zip(steps) {
            if let Object::Shortcut(shortcut) = step.object() {
                let wanted = !is_deletion(&step);
                let index = match wanted {
                    true => Some(self.bind(at, shortcut)?),
                    false => self.unbind(at, shortcut, &mut bound)?,
                };
                changes.push((at, shortcut, index.filter(|_| wanted), index));
            }
        }
        self.flush()?;
        // Without a table all frames pass the bridge, as they did before.
        let Some(table) = self.open_table(at, netns)? else {
            self.done[at..end].fill(true);
            return Ok(end);
        };
        // Two at once could take one slot for two stations.
        self.take_turn();
        for (at, shortcut, wanted, index) in changes {
            match wanted {
                Some(index) => table.put(&entry(shortcut, index)),
                None => self.forget(at, &table, shortcut, index)?,
            }
            self.done[at] = true;
        }
        Ok(end)
    }

    /// Has what a station here sends looked up, and tells its link's index.
    fn bind(&mut self, at: usize, shortcut: &Shortcut) -> Result<u32, Stop> {
        let Shortcut { netns, link, .. } = shortcut;
        let index = self.required_index(at, *netns, link)?;
        if shortcut.station == Station::Here {
            let queue = self.queue(at, *netns)?;
            queue.push(at, Forgive::Present, |batch| tc::bind(batch, index));
        }
        Ok(index)
    }

    /// Has it looked up no more, and tells its link's index, if it is there still; `bound` are the
    /// links that are looked at, once somebody asked. A link that goes takes along what lies on it.
    fn unbind(
        &mut self,
        at: usize,
        shortcut: &Shortcut,
        bound: &mut Option<BTreeSet<u32>>,
    ) -> Result<Option<u32>, Stop> {
        let Shortcut { netns, link, .. } = shortcut;
        let index = self.index(at, *netns, link)?;
        let stays = shortcut.station == Station::Here && !self.leaves(*netns, link);
        let Some(found) = index.filter(|_| stays) else {
            return Ok(index);
        };
        if bound.is_none() {
            let all = self.inside(at, *netns, tc::bound)?;
            let ours = all.iter().filter(|one| one.ours).map(|one| one.index);
            *bound = Some(ours.collect());
        }
        if bound.as_ref().is_some_and(|bound| bound.contains(&found)) {
            let queue = self.queue(at, *netns)?;
            queue.push(at, Forgive::Gone, |batch| tc::unbind(batch, found));
        }
        Ok(index)
    }

    /// Removes an entry, unless it leads to another link by now.
    fn forget(
        &mut self,
        at: usize,
        table: &Table,
        shortcut: &Shortcut,
        index: Option<u32>,
    ) -> Result<(), Stop> {
        let Shortcut { mac, station, .. } = *shortcut;
        let held = table.link_to(mac, station);
        let other = held.filter(|held| Some(*held) != index);
        if let Some(other) = other {
            let stands = |socket: &mut Socket| link::by_index(socket, other);
            if self.inside(at, shortcut.netns, stands)?.is_some() {
                return Ok(());
            }
        }
        table.remove(mac, station);
        Ok(())
    }

    /// The table of a namespace, if it has one.
    fn open_table(&mut self, at: usize, netns: Netns) -> Result<Option<Arc<Table>>, Stop> {
        let place = self.place(netns).map_err(|error| (at, error))?;
        if let Some(open) = place.shortcuts() {
            return Ok(Some(open));
        }
        let found = self.inside(at, netns, Table::find)?.map(Arc::new);
        place.set_shortcuts(found.clone());
        Ok(found)
    }

    /// Closes the table of a namespace, which may be another one from now on.
    fn close_table(&mut self, at: usize, netns: Netns) -> Result<(), Stop> {
        let place = self.place(netns).map_err(|error| (at, error))?;
        place.set_shortcuts(None);
        Ok(())
    }

    /// Asks the kernel something about a namespace.
    fn inside<T>(
        &mut self,
        at: usize,
        netns: Netns,
        ask: impl FnOnce(&mut Socket) -> io::Result<T>,
    ) -> Result<T, Stop> {
        let place = self.place(netns).map_err(|error| (at, error))?;
        let asked = self.kernel.namespaces.with_socket(&Arc::clone(&place), ask);
        asked.map_err(|error| self.failed_at(at, error))
    }

    fn failed_at(&self, at: usize, error: io::Error) -> Stop {
        (at, names::failed(&self.plan.steps[at], error))
    }
}

fn entry(shortcut: &Shortcut, index: u32) -> Entry {
    Entry {
        mac: shortcut.mac,
        station: shortcut.station,
        index,
    }
}

//! Whether the store still has what this host wrote there, or is an older one by now.
//!
//! A backup is a beginning of the store's history: where this host's last transaction stands, all
//! before it do. So each transaction notes its number beside what it changes, and the host looks at
//! that note now and then, which costs one read however much it holds. There are two notes. Those
//! who write take the other one once a look has found the one: what is written into a store that was
//! brought back a moment ago, and that nobody has looked at yet, hides the loss in one of them alone.
//! A backup that is younger than the last look, and that is brought back while nobody notices that the
//! store is away, is not told apart by them.

use crate::{
    core::{Core, Phase},
    keys,
    record::{self, MarkRecord},
};
use std::collections::BTreeSet;
use vw_model::Result;
use vw_store::cluster::Write;

/// What this host noted last.
#[derive(Debug, Clone, Default)]
pub(crate) struct Marks {
    /// Counts the transactions of this run.
    number: u64,
    /// Those that are under way.
    open: BTreeSet<(usize, u64)>,
    /// Which note is written now.
    current: usize,
    /// Whether it was, since a look found it.
    written: bool,
    /// The least number that each note must have; 0 where nothing is known of it.
    least: [u64; 2],
}

/// The number of one transaction, and where it is noted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mark {
    slot: usize,
    number: u64,
    /// The first of those that were under way when it began: they may take effect after it.
    first: u64,
}

impl Marks {
    /// The next transaction's.
    pub(crate) fn begin(&mut self) -> Mark {
        self.number += 1;
        let (slot, number) = (self.current, self.number);
        self.open.insert((slot, number));
        let first = self.open.range((slot, 0)..).next();
        Mark {
            slot,
            number,
            first: first.map_or(number, |(_, first)| *first),
        }
    }

    /// It ended; where it did not take effect, or nobody knows, nothing is known of its note.
    pub(crate) fn end(&mut self, mark: Mark, applied: bool) {
        self.open.remove(&(mark.slot, mark.number));
        if applied {
            let least = &mut self.least[mark.slot];
            *least = mark.first.max(*least);
            self.written |= mark.slot == self.current;
        }
    }

    /// A look found what must be there by `least`, or something else.
    fn looked(&mut self, least: [u64; 2], found: [u64; 2]) -> bool {
        let stands = found
            .iter()
            .zip(least)
            .all(|(found, least)| *found >= least);
        if !stands {
            // It is looked for no more: it is known to be lost, or a late transaction took its place.
            for (kept, found) in self.least.iter_mut().zip(found) {
                *kept = found.min(*kept);
            }
        } else if self.written && least[self.current] == self.least[self.current] {
            (self.current, self.written) = (1 - self.current, false);
        }
        stands
    }

    /// Nothing is known of what the store has: this host joins it with nothing.
    pub(crate) fn forget(&mut self) {
        (self.least, self.written) = ([0; 2], false);
    }
}

impl Core {
    /// What a transaction writes besides.
    pub(crate) fn note_of(&self, mark: Mark) -> Write {
        let note = MarkRecord {
            run: self.copy.run.clone(),
            number: mark.number,
        };
        let key = keys::mark(self.settings.host, mark.slot);
        Write::Put(key, record::encode(&note))
    }

    /// Looks whether the store has what this host wrote last; says whether it has. Where it has not,
    /// everything is read anew, and nothing is leased or freed until then.
    pub(crate) fn look_at_marks(&self) -> Result<bool> {
        let joined = Phase::Joined(self.joined()?);
        let least = self.state().marks.least;
        if least == [0; 2] {
            return Ok(true);
        }
        let mut found = [0; 2];
        for note in self.list(&keys::marks(self.settings.host))? {
            let of_this_run = record::decode::<MarkRecord>(&note.value)
                .ok()
                .filter(|mark| mark.run == self.copy.run);
            let slot = keys::parse_mark(&note.key).and_then(|(_, slot)| found.get_mut(slot));
            if let (Some(slot), Some(mark)) = (slot, of_this_run) {
                *slot = mark.number;
            }
        }
        let mut state = self.state();
        if state.phase != joined {
            return Ok(false);
        }
        if state.marks.looked(least, found) {
            return Ok(true);
        }
        (state.lacks, state.doubted, state.lapsed) = (true, true, true);
        drop(state);
        tracing::warn!(
            "the cluster's store lacks what this host wrote there, as an older backup does: \
             everything is read anew"
        );
        self.wake();
        Ok(false)
    }
}

#[cfg(test)]
mod tests;

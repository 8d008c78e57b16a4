//! What every host does about a network that somebody wants to remove.
//!
//! Owns that a mark is answered once, and anew only where its record or what this host has on the
//! network changes: a mark may stand for long. And that none stands for ever: a host that lives takes
//! away one behind which nobody stands any more, on the condition that it is the one that was seen, so
//! that a removal that goes on after all finds it gone and removes nothing.

use crate::{
    core::{Core, Done, State, is_away},
    keys::Shared,
    mirror::UNCONFIRMED,
    outbox::unchanged,
    record::{self, NetworkRecord, NetworkState, Objection},
};
use std::time::Duration;
use vw_model::{HostId, NetworkId, Result};
use vw_store::cluster::{Version, Write};

/// How long a mark stands before a host looks whether it has blocks that it does not know: most are
/// gone by then.
const LINGER: Duration = Duration::from_secs(1);

/// After how many times its patience a host takes a mark away, whoever made it: an attempt gives up
/// sooner.
const STALE: u32 = 4;

/// What this host did about a mark.
#[derive(Debug)]
pub(crate) struct Answer {
    /// Of the record that has it.
    version: Version,
    /// When it was first seen, by this host's clock.
    since: Duration,
    /// Since when nobody stands behind it, as far as is known.
    forsaken: Option<Duration>,
    /// Hosts take it away at different times.
    spread: Duration,
    objected: bool,
    /// When it is to be taken away at the soonest; `None` once that was done or refused.
    unmark: Option<Duration>,
    /// How often everything had been read when `look` was decided.
    reads: u64,
    /// When it is looked for blocks that this host does not know to be its own.
    look: Option<Duration>,
}

/// A mark as the mirror has it.
struct Marked {
    network: NetworkId,
    record: NetworkRecord,
    version: Version,
}

impl State {
    /// Whether this host knows all blocks of a network that the store has as its own.
    fn knows_blocks(&self, network: NetworkId) -> bool {
        let held = self.holdings.get(network);
        let compared = held.is_some_and(|held| held.is_usable() && held.compared == self.reads);
        !self.unsure.contains(&network) && (compared || self.handed_back == self.reads)
    }

    /// What was done about a mark; about a new one nothing.
    fn answer(&mut self, marked: &Marked, now: Duration, spread: Duration) -> &mut Answer {
        let look = match self.knows_blocks(marked.network) {
            true => None,
            false if self.unsure.contains(&marked.network) => Some(now),
            false => Some(now + LINGER),
        };
        let reads = self.reads;
        let anew = || Answer {
            version: marked.version,
            since: now,
            forsaken: None,
            spread,
            objected: false,
            unmark: Some(now),
            reads,
            look,
        };
        let answer = self.answers.entry(marked.network).or_insert_with(anew);
        if answer.version != marked.version {
            *answer = anew();
        } else if answer.reads != reads {
            // The store may be one of before: with blocks which this host gave back, or with a mark
            // which it took away.
            (answer.reads, answer.look) = (reads, look);
            (answer.unmark, answer.objected) = (Some(now), false);
        }
        answer
    }

    /// Whether nobody stands behind a mark: its attempt is over, or its host does not live.
    fn is_forsaken(&self, attempt: &str, by: Option<HostId>) -> bool {
        match by {
            Some(by) if by == self.mirror.me => !self.attempts.contains(attempt),
            Some(by) => !self.mirror.lives(by),
            None => false,
        }
    }
}

impl Core {
    /// Answers those who want to remove networks: objects, or gives up this host's blocks.
    pub(crate) fn answer_removals(&self) -> Result<()> {
        let marked: Vec<Marked> = {
            let mut state = self.state();
            if !state.settled {
                return Ok(());
            }
            let State {
                mirror, answers, ..
            } = &mut *state;
            answers.retain(|network, _| mirror.removing.contains(network));
            let networks = mirror.removing.iter();
            let known = networks.filter_map(|id| Some((*id, mirror.networks.get(id)?)));
            let confirmed = known.filter(|(_, known)| known.version != UNCONFIRMED);
            let marked = confirmed.map(|(network, known)| Marked {
                network,
                record: known.record.clone(),
                version: known.version,
            });
            marked.collect()
        };
        let mut result = Ok(());
        for marked in marked {
            // What stands in the way of one is none of the others' business.
            match self.answer_removal(&marked) {
                Err(error) if is_away(&error) => return Err(error),
                done => result = result.and(done),
            }
        }
        result
    }

    fn answer_removal(&self, marked: &Marked) -> Result<()> {
        let (network, now) = (marked.network, self.time.now());
        let spread = self.spread();
        let (objected, look, unmark) = {
            let mut state = self.state();
            let answer = state.answer(marked, now, spread);
            (answer.objected, answer.look, answer.unmark)
        };
        if self.is_over(marked, now) {
            if unmark.is_none_or(|due| due > now) {
                return Ok(());
            }
            let due = now + LINGER;
            self.change_answer(marked, |answer| answer.unmark = Some(due));
            if self.unmark(marked)? != Done::Uncertain {
                // Where it was refused, the record is another by now, maybe one of a newer version.
                self.change_answer(marked, |answer| answer.unmark = None);
            }
            return Ok(());
        }
        let uses = !self.give_up_all(network);
        if uses && !objected {
            let done = self.object(network, marked.record.clone(), marked.version)?;
            // Where it was refused, the record is another by now.
            self.change_answer(marked, |answer| answer.objected = done != Done::Uncertain);
        }
        if !uses && look.is_some_and(|due| due <= now) {
            self.look_for_unknown(marked, now)?;
        }
        Ok(())
    }

    fn change_answer(&self, marked: &Marked, change: impl FnOnce(&mut Answer)) {
        let mut state = self.state();
        if let Some(answer) = state.answers.get_mut(&marked.network)
            && answer.version == marked.version
        {
            change(answer);
        }
    }

    /// Whether a mark is to be taken away.
    fn is_over(&self, marked: &Marked, now: Duration) -> bool {
        let NetworkState::Removing { attempt, by } = &marked.record.state else {
            return false;
        };
        let mut state = self.state();
        let mine = *by == Some(self.settings.host);
        let forsaken = state.is_forsaken(attempt, *by);
        let Some(answer) = state.answers.get_mut(&marked.network) else {
            return false;
        };
        answer.forsaken = forsaken.then(|| answer.forsaken.unwrap_or(now));
        if mine {
            // As long as this host's own goes on, what it waits for may come.
            return forsaken;
        }
        let stale = answer.since + self.settings.patience * STALE;
        // Whose presence is missing may be about to show it.
        let dead = answer.forsaken.map(|since| since + self.settings.ttl);
        let due = dead.map_or(stale, |dead| dead.min(stale));
        now >= due + answer.spread
    }

    /// Takes a mark away, where it still stands.
    fn unmark(&self, marked: &Marked) -> Result<Done> {
        let mut record = marked.record.clone();
        record.state = NetworkState::Active(None);
        self.replace_mark(marked.network, marked.version, &record)
    }

    /// Takes the mark of one of this host's attempts away, where it stands; where the store does not
    /// answer, the worker does it later.
    pub(super) fn give_up_attempt(&self, network: NetworkId, attempt: &str) -> Result<()> {
        let Some((record, version)) = self.fetch_network(network)? else {
            return Ok(());
        };
        match &record.state {
            NetworkState::Removing { attempt: of, .. } if of == attempt => {
                let marked = Marked {
                    network,
                    record,
                    version,
                };
                self.unmark(&marked).map(drop)
            }
            _ => Ok(()),
        }
    }

    /// Gives up blocks that this host does not know to be its own.
    fn look_for_unknown(&self, marked: &Marked, now: Duration) -> Result<()> {
        let Some(_turn) = self.try_turn() else {
            return Ok(());
        };
        // Where it fails, or there were some, it is looked again: those may not have been taken over.
        self.change_answer(marked, |answer| answer.look = Some(now + LINGER));
        if self.blocks_but_adopted(&marked.record.spec)?.is_none() {
            self.give_up_all(marked.network);
            return Ok(());
        }
        self.state().unsure.remove(&marked.network);
        self.change_answer(marked, |answer| answer.look = None);
        Ok(())
    }

    /// Takes the mark of a removal away, because this host uses the network or is about to.
    pub(crate) fn object(
        &self,
        network: NetworkId,
        mut record: NetworkRecord,
        version: Version,
    ) -> Result<Done> {
        let NetworkState::Removing { attempt, .. } = record.state else {
            return Ok(Done::Refused);
        };
        let users = self.users(network);
        let mut endpoints = self.describe(network, &users);
        if endpoints.is_empty() {
            endpoints.push("one that is just being made".to_owned());
        }
        let host = self.settings.name.clone();
        let objection = Objection {
            attempt,
            host,
            endpoints,
        };
        record.state = NetworkState::Active(Some(objection));
        self.replace_mark(network, version, &record)
    }

    /// Writes a network's record in place of the one that is marked.
    fn replace_mark(
        &self,
        network: NetworkId,
        version: Version,
        record: &NetworkRecord,
    ) -> Result<Done> {
        let write = Write::Put(Shared::Network(network).key(), record::encode(record));
        self.commit(vec![unchanged(network, version)], vec![write])
    }

    /// Gives up all blocks of a network if nothing of this host is on it; says whether it did.
    fn give_up_all(&self, network: NetworkId) -> bool {
        let mut state = self.state();
        if state.outbox.on(network).next().is_some() {
            return false;
        }
        let Some(held) = state.holdings.0.get_mut(&network) else {
            return true;
        };
        if !held.users().is_empty() {
            return false;
        }
        held.return_all();
        debug_assert!(held.grants.values().all(|grant| grant.state.is_over()));
        true
    }
}

//! Who waits to be asked in one way, who is asked, and whose turn it is.
//!
//! Owns that whom to ask next costs the same however many wait for it.

use super::Place;
use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
    time::Instant,
};
use vw_model::{EndpointId, ServiceId};

/// None comes after it.
const LAST: Place = (
    ServiceId::from_bytes([u8::MAX; 32]),
    EndpointId::from_bytes([u8::MAX; 32]),
);

/// Those that are asked in one way.
#[derive(Default)]
pub(super) struct Lane {
    /// Who waits, in order of time.
    pub(super) waiting: BTreeSet<(Instant, Place)>,
    running: BTreeSet<Place>,
    queues: BTreeMap<ServiceId, Queue>,
    /// Of which services somebody waits: by how many of each are asked, in the order in which their
    /// first are to be.
    turns: BTreeMap<usize, BTreeSet<(Instant, ServiceId)>>,
}

/// Those of one service.
#[derive(Default)]
struct Queue {
    asked: usize,
    waiting: BTreeSet<(Instant, EndpointId)>,
}

impl Queue {
    fn first(&self) -> Option<Instant> {
        self.waiting.first().map(|(next, _)| *next)
    }
}

impl Lane {
    /// One is to be asked then.
    pub(super) fn wait(&mut self, place: Place, next: Instant) {
        self.waiting.insert((next, place));
        self.change(place.0, |queue| {
            queue.waiting.insert((next, place.1));
        });
    }

    /// One that was to be asked then is not.
    pub(super) fn leave(&mut self, place: Place, next: Instant) {
        if self.waiting.remove(&(next, place)) {
            self.change(place.0, |queue| {
                queue.waiting.remove(&(next, place.1));
            });
        }
    }

    /// One is asked from now on.
    pub(super) fn begin(&mut self, place: Place) {
        if self.running.insert(place) {
            self.change(place.0, |queue| queue.asked += 1);
        }
    }

    /// One is asked no more.
    pub(super) fn end(&mut self, place: Place) {
        if self.running.remove(&place) {
            self.change(place.0, |queue| queue.asked -= 1);
        }
    }

    /// Who is asked.
    pub(super) const fn running(&self) -> &BTreeSet<Place> {
        &self.running
    }

    /// When the next one is to be asked after this moment.
    pub(super) fn next_after(&self, now: Instant) -> Option<Instant> {
        let later = (Bound::Excluded((now, LAST)), Bound::Unbounded);
        self.waiting.range(later).next().map(|(next, _)| *next)
    }

    /// So many of those who are to be asked by `now` and are not `held`: first those of whose service
    /// the fewest are asked, and so many `besides`; among those, who waits longest. One place after
    /// another is looked at until there are enough.
    pub(super) fn choose(
        &self,
        now: Instant,
        room: usize,
        besides: &BTreeMap<ServiceId, usize>,
        held: impl Fn(Place) -> bool,
    ) -> Vec<Place> {
        let turn = |service: ServiceId, asked, after: Option<(Instant, EndpointId)>| {
            let from = after.map_or(Bound::Unbounded, Bound::Excluded);
            let waiting = self
                .queues
                .get(&service)?
                .waiting
                .range((from, Bound::Unbounded));
            let mut due = waiting.take_while(|(next, _)| *next <= now);
            let (next, id) = due.find(|(_, id)| !held((service, *id)))?;
            Some(((asked, *next, service), *id))
        };
        let asked = |service| self.queues.get(service).map_or(0, |queue| queue.asked);
        let first = besides.iter();
        let first = first.filter_map(|(service, more)| turn(*service, asked(service) + more, None));
        let mut turns: BTreeSet<_> = first.collect();
        let others = self.turns.iter().flat_map(|(asked, of)| {
            let due = of.iter().take_while(|(next, _)| *next <= now);
            due.map(|(next, service)| (*asked, *next, *service))
        });
        let others = others.filter(|(_, _, service)| !besides.contains_key(service));
        let mut others = others.peekable();
        let mut chosen = Vec::new();
        while chosen.len() < room {
            let first = turns.first().map(|(turn, _)| *turn);
            if let Some((asked, _, service)) =
                others.next_if(|other| first.is_none_or(|first| *other <= first))
            {
                turns.extend(turn(service, asked, None));
                continue;
            }
            let Some(((asked, next, service), id)) = turns.pop_first() else {
                break;
            };
            chosen.push((service, id));
            turns.extend(turn(service, asked + 1, Some((next, id))));
        }
        chosen
    }

    fn change(&mut self, service: ServiceId, change: impl FnOnce(&mut Queue)) {
        let queue = self.queues.entry(service).or_default();
        if let Some(first) = queue.first()
            && let Some(of) = self.turns.get_mut(&queue.asked)
        {
            of.remove(&(first, service));
            if of.is_empty() {
                self.turns.remove(&queue.asked);
            }
        }
        change(queue);
        match queue.first() {
            Some(first) => {
                let of = self.turns.entry(queue.asked).or_default();
                of.insert((first, service));
            }
            None if queue.asked == 0 => {
                self.queues.remove(&service);
            }
            None => {}
        }
    }
}

#[cfg(test)]
mod tests;

//! How a grant ends: who got an address deletes it, and then who gave it away may use it again.
//!
//! What was given back may be taken up by another endpoint of the same host, without the store, until
//! the host sets out to delete the grant: from then on, on disk too before the store is asked, it is
//! used no more, but where the store says that it changed nothing. It may carry the deletion out
//! late. Who was forgotten deletes nothing: its grants are deleted by who made them.
//!
//! Owns which addresses are to be looked at: those of which something was told, or done here, since
//! they were last looked at, however many there are.

use crate::{
    StoreState,
    consent::go_on,
    core::{Core, Done, State},
    holdings::{Given, Grant, GrantState},
    keys::Shared,
    record::{self, GrantRecord, RequestRecord},
};
use std::net::IpAddr;
use vw_model::{HostId, NetworkId, Result, ServiceId};
use vw_store::cluster::{Change, Condition, Version, Write};

/// An address of a network.
pub(crate) type At = (NetworkId, IpAddr);

impl State {
    /// Has the addresses looked at of which a watch told something.
    pub(crate) fn changed(&mut self, changes: &[Change]) {
        for change in changes {
            let key = match change {
                Change::Put(record) => &record.key,
                Change::Deleted(key) => key,
            };
            if let Some(Shared::Grant(network, addr) | Shared::Request(network, addr)) =
                Shared::parse(key)
            {
                self.due.insert((network, addr));
            }
            if let (Change::Deleted(_), Some(Shared::Host(host))) = (change, Shared::parse(key)) {
                self.due.extend(self.given_to(host));
            }
        }
    }

    /// The addresses of this host's blocks that another host has.
    fn given_to(&self, host: HostId) -> Vec<At> {
        let held = self.holdings.0.iter();
        let given = held.flat_map(|(network, held)| {
            let given = held.given.iter();
            given.map(|(addr, given)| ((*network, *addr), given.host))
        });
        let to = given.filter(|(_, to)| *to == host);
        to.map(|(at, _)| at).collect()
    }

    /// Has all looked at that this host has a part in.
    pub(crate) fn all_due(&mut self) {
        let granted = self.mirror.grants.iter();
        let granted = granted.filter(|(_, known)| known.record.host == self.mirror.me);
        let granted = granted.map(|(at, _)| *at);
        let held = self.holdings.0.iter().flat_map(|(network, held)| {
            let addresses = held.grants.keys().chain(held.given.keys());
            addresses.map(|addr| (*network, *addr))
        });
        self.due.extend(granted.chain(held));
    }

    /// A grant to this host that nobody here uses any more.
    fn unused(&self, (network, addr): At) -> Option<Version> {
        let known = self.mirror.grants.get(&(network, addr))?;
        let held = self.holdings.get(network);
        let grant = held.and_then(|held| held.grants.get(&addr));
        let unused =
            grant.is_none_or(|grant| grant.state.is_over() || grant.grantee != known.record.holder);
        let mine = known.record.host == self.mirror.me;
        (mine && unused).then_some(known.version)
    }

    /// What was given back at an address.
    fn over(&self, (network, addr): At) -> Option<Grant> {
        let grant = self.holdings.get(network)?.grants.get(&addr)?;
        grant.state.is_over().then_some(*grant)
    }

    /// Has what was given back taken up no more, or again after all; says whether that is news.
    fn set_over(&mut self, (network, addr): At, to: GrantState) -> bool {
        let held = self.holdings.0.get_mut(&network);
        let grant = held.and_then(|held| held.grants.get_mut(&addr));
        let grant = grant.filter(|grant| grant.state.is_over());
        grant.is_some_and(|grant| std::mem::replace(&mut grant.state, to) != to)
    }

    /// A grant out of this host's blocks to one that is no host of the cluster any more.
    fn given_to_nobody(&self, at: At) -> Option<(HostId, Version)> {
        let given = self.holdings.get(at.0)?.given.get(&at.1)?;
        let known = self.mirror.grants.get(&at)?;
        let host = self.mirror.hosts.get(&given.host);
        let is_host = host.is_some_and(|host| host.record.is_some());
        let is_service = self.mirror.services.get(ServiceId(given.host.0)).is_some();
        let stands = Given::by(&known.record) == *given;
        (stands && !is_host && !is_service).then_some((given.host, known.version))
    }

    /// Who has an address out of this host's blocks, as far as the mirror does not show that.
    fn given_unseen(&self, at: At) -> Option<Given> {
        let given = self.holdings.get(at.0)?.given.get(&at.1)?;
        (!self.mirror.grants.contains_key(&at)).then_some(*given)
    }
}

impl Core {
    /// Ends grants: deletes those that nobody of this host uses any more, and takes addresses into
    /// use again that others have given back. Not before all was told that this host has from before:
    /// what was released until then may stand in the kernel still.
    pub(crate) fn end_grants(&self) -> Result<()> {
        let due = {
            let mut state = self.state();
            if !state.settled {
                return Ok(());
            }
            std::mem::take(&mut state.due)
        };
        let mut left = due.iter();
        while let Some(at) = left.next() {
            let ended = self.end(*at);
            if !matches!(ended, Ok(true)) {
                self.state().due.insert(*at);
            }
            if let Err(error) = go_on(ended.map(drop)) {
                self.state().due.extend(left);
                return Err(error);
            }
        }
        Ok(())
    }

    /// Looks at one address; says whether nothing is left to do there until something is told of it.
    pub(crate) fn end(&self, at: At) -> Result<bool> {
        let begun = {
            let mut state = self.state();
            if state.over(at).is_some() && state.store != StoreState::Reachable {
                // It can be taken up again meanwhile.
                return Ok(false);
            }
            if state.outbox.lags_in(at.0, at.1.into()) {
                // Whoever has it next must not be told of beside who had it here.
                return Ok(false);
            }
            state.set_over(at, GrantState::Ending)
        };
        let noted = self.note_ending(at);
        let cleared = noted.and_then(|()| self.clear_unused(at));
        let cleared = cleared.inspect_err(|_| {
            // The store was asked nothing, or refused: what it may have done is no error.
            if begun {
                self.state().set_over(at, GrantState::Returning);
            }
        });
        let cleared = cleared? & self.end_forgotten(at)?;
        Ok(cleared & self.drop_returned(at)? & self.free_given(at)?)
    }

    /// Notes on disk that a grant ends, whoever set out to end it: no later run takes it up again.
    fn note_ending(&self, at: At) -> Result<()> {
        let ending = self.state().over(at);
        ending.map_or(Ok(()), |grant| self.copy.add_grant(at.0, grant))
    }

    /// Deletes a grant that nobody here uses any more; says whether there is none.
    fn clear_unused(&self, at: At) -> Result<bool> {
        let unused = self.state().unused(at);
        let Some(version) = unused else {
            return Ok(true);
        };
        let key = Shared::Grant(at.0, at.1).key();
        let condition = Condition::Unchanged(key.clone(), version);
        Ok(self.commit(vec![condition], vec![Write::Delete(key)])? == Done::Applied)
    }

    /// Deletes a grant out of this host's blocks whose host was forgotten; says whether there is none.
    fn end_forgotten(&self, at: At) -> Result<bool> {
        let nobody = self.state().given_to_nobody(at);
        let Some((host, version)) = nobody else {
            return Ok(true);
        };
        let grant = Shared::Grant(at.0, at.1).key();
        let mut conditions = vec![Condition::Unchanged(grant.clone(), version)];
        for holder in [Shared::Host(host), Shared::Service(ServiceId(host.0))] {
            let key = holder.key();
            if self.get(&key)?.is_some() {
                return Ok(true);
            }
            conditions.push(Condition::Absent(key));
        }
        Ok(self.commit(conditions, vec![Write::Delete(grant)])? == Done::Applied)
    }

    /// Forgets a grant that was given back, once the store has it no more, or another host has the
    /// address.
    fn drop_returned(&self, at: At) -> Result<bool> {
        let Some(grant) = self.state().over(at) else {
            return Ok(true);
        };
        let (network, addr) = at;
        let found = self.get(&Shared::Grant(network, addr).key())?;
        // Of one that this version cannot read nobody knows whose it is.
        let theirs = |value: &[u8]| {
            let standing = record::decode::<GrantRecord>(value);
            standing.is_ok_and(|standing| standing.host != self.settings.host)
        };
        if found.is_some_and(|found| !theirs(&found.value)) {
            return Ok(false);
        }
        self.copy.drop_grant(network, addr)?;
        let mut state = self.state();
        let grants = &mut state.holdings.held(network).grants;
        if grants.get(&addr) == Some(&grant) {
            grants.remove(&addr);
        }
        drop(state);
        // Somebody may wait for it.
        self.wake();
        Ok(true)
    }

    /// Frees an address that was given away and that its holder has given back: once there is no
    /// request any more, none can be granted; and then there must be no grant.
    fn free_given(&self, at: At) -> Result<bool> {
        let given = {
            let state = self.state();
            let Some(given) = state.given_unseen(at) else {
                return Ok(true);
            };
            // Where it is doubted, the store may have lost the grant.
            let is_made = state.making.contains(&given.holder);
            if is_made || !state.is_compared(at.0) || state.doubted {
                return Ok(false);
            }
            given
        };
        let Some(turn) = self.try_turn() else {
            return Ok(false);
        };
        let (network, addr) = at;
        if !self.cannot_be_granted(given.holder)? {
            return Ok(false);
        }
        if self.is_given(network, addr, given)? {
            // The watch tells when it is not.
            return Ok(true);
        }
        // A grant that this host made since a backup is missing in it, and the watch may have told so
        // before the host noticed anything.
        if !self.look_at_marks()? {
            return Ok(false);
        }
        if self.may_be_lost(network, addr, given) {
            self.grant_once_more(network, addr, given)?;
            return Ok(false);
        }
        self.copy.drop_given(network, addr)?;
        let now = self.time.now();
        let mut state = self.state();
        let held = state.holdings.held(network);
        held.given.remove(&addr);
        held.unseen.remove(&addr);
        held.free(addr, given.holder, now);
        drop(state);
        drop(turn);
        Ok(true)
    }

    /// Whether the store has a request or a grant by which an address is another's.
    fn is_given(&self, network: NetworkId, addr: IpAddr, given: Given) -> Result<bool> {
        let asked = self.get(&Shared::Request(network, addr).key())?;
        let asked = asked.and_then(|found| record::decode::<RequestRecord>(&found.value).ok());
        let still = asked.is_some_and(|asked| {
            (asked.host, asked.holder) == (given.host, given.holder) && asked.refused.is_none()
        });
        Ok(still || self.get(&Shared::Grant(network, addr).key())?.is_some())
    }

    /// Whether a grant that is missing may be one that the store lost, to a host that is there. A
    /// service is lost with its grants.
    fn may_be_lost(&self, network: NetworkId, addr: IpAddr, given: Given) -> bool {
        let state = self.state();
        let held = state.holdings.get(network);
        let host = state.mirror.hosts.get(&given.host);
        held.is_some_and(|held| held.unseen.contains(&addr))
            && host.is_some_and(|host| host.record.is_some())
    }

    fn grant_once_more(&self, network: NetworkId, addr: IpAddr, given: Given) -> Result<()> {
        let range = {
            let state = self.state();
            let held = state.holdings.get(network);
            held.and_then(|held| held.ranges().find(|range| range.contains(&addr)))
        };
        if let (Some(range), Some(version)) = (range, self.version_of(network)?) {
            self.grant_again((network, version), range, addr, given)?;
        }
        Ok(())
    }
}

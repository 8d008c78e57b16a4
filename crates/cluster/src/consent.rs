//! Answering those who ask for an address of this host's blocks.
//!
//! Who wants one leaves a request; the block's host, and nobody else, answers it: it takes the
//! address out of its own use first, then makes the grant, on the condition that the request and
//! the block still stand. From then on the address belongs to whom it was given to, until that
//! host deletes the grant; only then the block's host may use it again. That a grant is missing
//! which the block's host has never seen does not tell so, as a store that was brought back from a
//! backup lacks it too: it is made once more, and its holder deletes it where it has no use for it.

use crate::{
    core::{Core, Done, is_away},
    ending::At,
    holdings::{Given, GrantState},
    keys::{self, Shared},
    lease::pool_of,
    mirror::{Host, Known},
    outbox::unchanged,
    record::{self, GrantRecord, NetworkRecord, NetworkState, RequestRecord},
};
use std::net::IpAddr;
use vw_ipam::Division;
use vw_model::{Family, HostId, IpNet, NetworkId, Result};
use vw_store::cluster::{Condition, Version, Write};

impl Core {
    /// Answers the requests of others for addresses of this host's blocks, and clears away what
    /// is left of this host's own. Not before all was told that this host has from before: what
    /// nobody holds yet may be in use. What becomes of grants is [`crate::ending`]'s.
    pub(crate) fn answer_requests(&self) -> Result<()> {
        let requests: Vec<_> = {
            let state = self.state();
            if !state.settled {
                return Ok(());
            }
            let requests = state.mirror.requests.iter();
            requests.map(|(at, known)| (*at, known.clone())).collect()
        };
        let mut result = Ok(());
        for ((network, addr), known) in requests {
            let done = if known.record.host == self.settings.host {
                self.clear_request(network, addr, &known)
            } else if addr.is_unspecified() {
                self.give_back_empty(network, Family::of(addr), known.record.host);
                Ok(())
            } else if known.record.refused.is_none() && self.is_present(known.record.host) {
                self.answer(network, addr, &known)
            } else {
                Ok(())
            };
            // What is wrong with one, such as a disk that is full, holds up none of the others.
            match go_on(done) {
                Err(error) if is_away(&error) => return Err(error),
                done => result = result.and(done),
            }
        }
        result
    }

    /// Whether a host may be waiting for an answer.
    fn is_present(&self, host: HostId) -> bool {
        let state = self.state();
        let host = state.mirror.hosts.get(&host);
        host.is_some_and(Host::lives)
    }

    /// Whether another had an address of this host's before, and may just be giving it back.
    fn is_ending(&self, at: At, given: Given) -> bool {
        let state = self.state();
        let held = state.holdings.get(at.0);
        let former = held.and_then(|held| held.given.get(&at.1));
        former.is_some_and(|former| *former != given) && !state.mirror.grants.contains_key(&at)
    }

    /// Whether who asks has the address already, for another endpoint of its own: it is giving that back,
    /// and is answered once the store shows it.
    fn is_the_askers(&self, at: At, given: Given) -> bool {
        let state = self.state();
        let held = state.holdings.get(at.0);
        let former = held.and_then(|held| held.given.get(&at.1));
        former.is_some_and(|former| former.host == given.host && *former != given)
    }

    /// Deletes a request of this host for which nobody waits any more.
    fn clear_request(
        &self,
        network: NetworkId,
        addr: IpAddr,
        known: &Known<RequestRecord>,
    ) -> Result<()> {
        let waiting = {
            let state = self.state();
            let held = state.holdings.get(network);
            held.is_some_and(|held| {
                let waiting = held
                    .wants
                    .get(&Family::of(addr))
                    .is_some_and(|count| *count > 0);
                let any = addr.is_unspecified() && waiting;
                let grant = held.grants.get(&addr);
                any || grant.is_some_and(|grant| {
                    grant.state == GrantState::Wanted && grant.holder == known.record.holder
                })
            })
        };
        if !waiting {
            let key = Shared::Request(network, addr).key();
            let condition = Condition::Unchanged(key.clone(), known.version);
            self.commit(vec![condition], vec![Write::Delete(key)])?;
        }
        Ok(())
    }

    fn answer(&self, network: NetworkId, addr: IpAddr, known: &Known<RequestRecord>) -> Result<()> {
        let asked = &known.record;
        let given = Given {
            host: asked.host,
            holder: asked.holder,
        };
        let at = (network, addr);
        if self.is_ending(at, given) && !self.end(at)? {
            self.state().due.insert(at);
            return Ok(());
        }
        if self.is_the_askers(at, given) {
            self.state().due.insert(at);
            return Ok(());
        }
        let Some(_turn) = self.try_turn() else {
            return Ok(());
        };
        let taken = {
            let mut state = self.state();
            let held = state.holdings.0.get_mut(&network);
            held.and_then(|held| held.give(addr, given))
        };
        match taken {
            None if asked.of == Some(self.settings.host) => self.disown_asked(network, addr),
            None => Ok(()),
            Some(Ok(range)) => {
                self.state().due.insert((network, addr));
                self.grant(network, addr, range, given, known.version)
            }
            Some(Err(holder)) => self.refuse(network, addr, known, &holder),
        }
    }

    /// Gives back the block of an address that is this host's by the store, and of which it does not
    /// know: whoever asked then has it. The caller has the turn.
    fn disown_asked(&self, network: NetworkId, addr: IpAddr) -> Result<()> {
        let (pool, known) = {
            let state = self.state();
            let known = state.mirror.networks.get(&network);
            let pool = known.and_then(|known| pool_of(&known.record.spec, addr));
            let held = state.holdings.get(network);
            // One that is being given back is on its way.
            let owned = held.is_some_and(|held| held.owns(addr));
            (pool.map(|pool| pool.subnet), owned)
        };
        let range = pool.and_then(|subnet| Division::of(subnet).block(addr));
        if let Some(range) = range.filter(|_| !known)
            && let Some((stands, _)) = self.own_block(network, range)?
        {
            self.disown(network, stands, keys::block(network, range))?;
        }
        Ok(())
    }

    /// Makes a grant of an address that was taken out of this host's own use. Whatever comes of
    /// it, `free_given` frees the address once neither the request nor the grant stands.
    fn grant(
        &self,
        network: NetworkId,
        addr: IpAddr,
        range: IpNet,
        given: Given,
        asked: Version,
    ) -> Result<()> {
        self.copy.add_given(network, addr, given)?;
        let Some((block, _)) = self.own_block(network, range)? else {
            return Ok(());
        };
        let Some((
            NetworkRecord {
                state: NetworkState::Active(_),
                ..
            },
            version,
        )) = self.fetch_network(network)?
        else {
            return Ok(());
        };
        let request = Shared::Request(network, addr).key();
        let grant = Shared::Grant(network, addr).key();
        let conditions = vec![
            Condition::Unchanged(request.clone(), asked),
            block,
            Condition::Absent(grant.clone()),
            unchanged(network, version),
        ];
        let Given { host, holder } = given;
        let record = record::encode(&GrantRecord { host, holder });
        let writes = vec![Write::Put(grant, record), Write::Delete(request)];
        let news = self.state().expect_grant(network, addr, given);
        let done = self.commit(conditions, writes);
        if news && !matches!(done, Ok(Done::Applied | Done::Uncertain)) {
            self.state().holdings.held(network).unseen.remove(&addr);
        }
        done.map(drop)
    }

    fn refuse(
        &self,
        network: NetworkId,
        addr: IpAddr,
        known: &Known<RequestRecord>,
        holder: &str,
    ) -> Result<()> {
        let request = Shared::Request(network, addr).key();
        let refused = format!("is held by {holder} on host {}", self.settings.name);
        let answer = RequestRecord {
            refused: Some(refused),
            ..known.record.clone()
        };
        let condition = Condition::Unchanged(request.clone(), known.version);
        self.commit(
            vec![condition],
            vec![Write::Put(request, record::encode(&answer))],
        )?;
        Ok(())
    }
}

/// What is wrong with one record, one network's say, is not to hold up the others; a store that
/// does not answer is.
pub(crate) fn go_on(done: Result<()>) -> Result<()> {
    match done {
        Err(error) if error.reason == "cluster-record-unreadable" => {
            tracing::debug!("{}", error.chain());
            Ok(())
        }
        other => other,
    }
}

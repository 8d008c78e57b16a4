//! Answering those who ask for an address of this host's blocks.
//!
//! Who wants one leaves a request; the block's host, and nobody else, answers it: it takes the
//! address out of its own use first, then makes the grant, on the condition that the request and
//! the block still stand. From then on the address belongs to whom it was given to, until that
//! host deletes the grant; only then the block's host may use it again. That a grant is missing
//! which the block's host has never seen does not tell so, as a store that was brought back from a
//! backup lacks it too: it is made once more, and its holder deletes it where it has no use for it.

use crate::{
    core::{Core, Done},
    holdings::{Given, GrantState},
    keys::Shared,
    mirror::Known,
    outbox::unchanged,
    record::{self, GrantRecord, NetworkRecord, NetworkState, RequestRecord},
};
use std::net::IpAddr;
use vw_model::{Family, IpNet, NetworkId, Result};
use vw_store::cluster::{Condition, Version, Write};

impl Core {
    /// Answers the requests of others for addresses of this host's blocks, and clears away what
    /// is left of this host's own.
    pub(crate) fn answer_requests(&self) -> Result<()> {
        let requests: Vec<_> = {
            let state = self.state();
            let requests = state.mirror.requests.iter();
            requests.map(|(at, known)| (*at, known.clone())).collect()
        };
        for ((network, addr), known) in requests {
            let done = if known.record.host == self.settings.host {
                self.clear_request(network, addr, &known)
            } else if addr.is_unspecified() {
                self.give_back_empty(network, Family::of(addr), known.record.host);
                Ok(())
            } else if known.record.refused.is_none() {
                self.answer(network, addr, &known)
            } else {
                Ok(())
            };
            go_on(done)?;
        }
        self.clear_grants()?;
        self.free_given()
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
                let any = addr.is_unspecified() && held.wants.contains(&Family::of(addr));
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
        let Some(_turn) = self.try_turn() else {
            return Ok(());
        };
        let taken = {
            let mut state = self.state();
            let held = state.holdings.0.get_mut(&network);
            held.and_then(|held| held.give(addr, given))
        };
        match taken {
            None => Ok(()),
            Some(Ok(range)) => self.grant(network, addr, range, given, known.version),
            Some(Err(holder)) => self.refuse(network, addr, known, &holder),
        }
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
        let news = self.state().expect_grant(network, addr);
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

    /// Deletes grants that nobody of this host uses any more.
    fn clear_grants(&self) -> Result<()> {
        let me = self.settings.host;
        let unused: Vec<((NetworkId, IpAddr), Version)> = {
            let state = self.state();
            let mine = state
                .mirror
                .grants
                .iter()
                .filter(|(_, known)| known.record.host == me);
            mine.filter(|((network, addr), known)| {
                let held = state.holdings.get(*network);
                let grant = held.and_then(|held| held.grants.get(addr));
                grant.is_none_or(|grant| {
                    grant.state == GrantState::Returning || grant.holder != known.record.holder
                })
            })
            .map(|(at, known)| (*at, known.version))
            .collect()
        };
        for ((network, addr), version) in unused {
            let key = Shared::Grant(network, addr).key();
            let condition = Condition::Unchanged(key.clone(), version);
            self.commit(vec![condition], vec![Write::Delete(key)])?;
        }
        self.drop_returned_grants()
    }

    /// Forgets grants that were given back, once the store has them no more.
    fn drop_returned_grants(&self) -> Result<()> {
        let returning: Vec<(NetworkId, IpAddr)> = {
            let state = self.state();
            let held = state.holdings.0.iter();
            let grants =
                held.flat_map(|(network, held)| held.grants.iter().map(|grant| (*network, grant)));
            grants
                .filter(|(_, (_, grant))| grant.state == GrantState::Returning)
                .map(|(network, (addr, _))| (network, *addr))
                .collect()
        };
        for (network, addr) in returning {
            if self.get(&Shared::Grant(network, addr).key())?.is_none() {
                self.copy.drop_grant(network, addr)?;
                self.state().holdings.held(network).grants.remove(&addr);
            }
        }
        Ok(())
    }

    /// Frees addresses that were given away and that their holders have given back: once there is
    /// no request any more, none can be granted; and then there must be no grant.
    fn free_given(&self) -> Result<()> {
        let given: Vec<(NetworkId, IpAddr, Given)> = {
            let state = self.state();
            if !state.is_asserted() || state.doubted {
                // The store may have lost the grants.
                return Ok(());
            }
            let held = state.holdings.0.iter();
            let all = held.flat_map(|(network, held)| {
                held.given
                    .iter()
                    .map(|(addr, given)| (*network, *addr, *given))
            });
            all.filter(|(network, addr, _)| !state.mirror.grants.contains_key(&(*network, *addr)))
                .collect()
        };
        // A grant that this host made since a backup is missing in it, and the watch may have told so
        // before the host noticed anything.
        if given.is_empty() || !self.look_at_marks()? {
            return Ok(());
        }
        for (network, addr, given) in given {
            let Some(turn) = self.try_turn() else {
                return Ok(());
            };
            if !self.cannot_be_granted(given.holder)? {
                continue;
            }
            if self.is_given(network, addr, given)? {
                continue;
            }
            if self.may_be_lost(network, addr, given) {
                go_on(self.grant_once_more(network, addr, given))?;
                continue;
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
        }
        Ok(())
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
        let version = self.fetch_network(network)?.map(|(_, version)| version);
        if let (Some(range), Some(version)) = (range, version) {
            self.grant_again((network, version), range, addr, given)?;
        }
        Ok(())
    }
}

/// What is wrong with one record, one network's say, is not to hold up the others; a store that
/// does not answer is.
fn go_on(done: Result<()>) -> Result<()> {
    match done {
        Err(error) if error.reason == "cluster-record-unreadable" => {
            tracing::debug!("{}", error.chain());
            Ok(())
        }
        other => other,
    }
}

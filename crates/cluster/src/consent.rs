//! Addresses asked for by name that lie in another host's block.
//!
//! Who wants one leaves a request; the block's host, and nobody else, answers it: it takes the
//! address out of its own use first, then makes the grant, on the condition that the request and
//! the block still stand. From then on the address belongs to whom it was given to, until that
//! host deletes the grant; only then the block's host may use it again.

use crate::{
    core::{Core, Done, contended, uncertain},
    holdings::{Given, Grant, GrantState},
    keys::{self, Shared},
    lease::{Standing, pool_of},
    mirror::Known,
    outbox::unchanged,
    record::{self, GrantRecord, NetworkRecord, NetworkState, RequestRecord},
};
use std::{net::IpAddr, time::Duration};
use vw_ipam::Division;
use vw_model::{EndpointId, Error, Family, HostId, IpNet, Kind, NetworkId, NetworkSpec, Result};
use vw_store::cluster::{Condition, Version, Write};

const ATTEMPTS: usize = 8;

impl Core {
    pub(crate) fn lease_requested(
        &self,
        network: NetworkId,
        family: Family,
        addr: IpAddr,
        holder: EndpointId,
    ) -> Result<IpNet> {
        self.may_lease()?;
        let (record, _) = self.network(network)?;
        let net = check_request(&record.spec, family, addr)?;
        if let Some(taken) = self.take_here(network, addr, holder)? {
            return Ok(taken);
        }
        let turn = self.turn()?;
        for _ in 0..ATTEMPTS {
            if let Some(taken) = self.take_here(network, addr, holder)? {
                return Ok(taken);
            }
            let (record, version) = self.usable_network(network)?;
            let pool = pool_of(&record.spec, addr).ok_or(vw_ipam::Error::OutOfSubnet { addr })?;
            let division = Division::of(pool.subnet);
            let range = division
                .block(addr)
                .ok_or(vw_ipam::Error::OutOfSubnet { addr })?;
            let Some(blocks) = self.blocks_but_adopted(&record.spec)? else {
                continue;
            };
            match blocks.get(&range) {
                None => {
                    let absent = Condition::Absent(keys::block(network, range));
                    self.take_blocks(&record.spec, version, vec![absent], &[range])?;
                }
                Some(Some(standing)) if standing.host == self.settings.host => {
                    return Err(being_returned(addr));
                }
                Some(Some(standing)) => {
                    if self.take_over(&record.spec, version, range, *standing)? {
                        continue;
                    }
                    self.check_alive(*standing, addr)?;
                    drop(turn);
                    return self.ask_for(network, net, holder, version, *standing);
                }
                Some(None) => return Err(unreadable_block(addr)),
            }
        }
        Err(contended())
    }

    /// Takes the address out of an own block, if it lies in one; finds it among the grants.
    fn take_here(
        &self,
        network: NetworkId,
        addr: IpAddr,
        holder: EndpointId,
    ) -> Result<Option<IpNet>> {
        self.may_lease()?;
        let mut state = self.state();
        let Some(held) = state.holdings.0.get_mut(&network) else {
            return Ok(None);
        };
        if let Some(grant) = held.grants.get(&addr) {
            if grant.state == GrantState::Returning {
                return Err(being_returned(addr));
            }
            let holder = vw_ipam::Holder::Endpoint(grant.holder);
            return Err(vw_ipam::Error::AddressInUse { addr, holder }.into());
        }
        Ok(held.take(addr, holder).transpose()?)
    }

    fn check_alive(&self, standing: Standing, addr: IpAddr) -> Result<()> {
        let alive = Shared::Alive(standing.host).key();
        if self.get(&alive)?.is_some() {
            return Ok(());
        }
        let name = self.host_name(standing.host);
        let message = format!(
            "the address {addr} lies in a block of host {name}, which is not alive: choose another \
             address, or give that host up by: vethwork cluster forget {name}"
        );
        Err(Error::new(
            Kind::Unavailable,
            "cluster-block-host-away",
            message,
        ))
    }

    pub(crate) fn host_name(&self, host: HostId) -> String {
        let state = self.state();
        let known = state.mirror.hosts.get(&host);
        let record = known.and_then(|known| known.record.as_ref());
        record.map_or_else(|| host.short(), |known| known.record.name.clone())
    }

    /// Asks the host of a block for one address of it, and waits for the answer.
    fn ask_for(
        &self,
        network: NetworkId,
        addr: IpNet,
        holder: EndpointId,
        version: Version,
        standing: Standing,
    ) -> Result<IpNet> {
        let (request, grant) = (
            Shared::Request(network, addr.addr()).key(),
            Shared::Grant(network, addr.addr()).key(),
        );
        if let Some(found) = self.get(&grant)? {
            return Err(granted_already(addr.addr(), &found.value));
        }
        let wanted = Grant {
            holder,
            addr,
            state: GrantState::Wanted,
        };
        self.state()
            .holdings
            .held(network)
            .grants
            .insert(addr.addr(), wanted);
        let host = self.settings.host;
        let asked = RequestRecord {
            host,
            holder,
            refused: None,
        };
        let conditions = vec![
            unchanged(network, version),
            Condition::Absent(request.clone()),
            Condition::Absent(grant),
        ];
        let result = match self.commit(
            conditions,
            vec![Write::Put(request, record::encode(&asked))],
        ) {
            Ok(Done::Applied | Done::Uncertain) => {
                self.await_grant(network, addr, holder, standing)
            }
            Ok(Done::Refused) => Err(being_asked_for(addr.addr())),
            Err(error) => Err(error),
        };
        let kept = result.and_then(|()| self.copy.add_grant(network, addr, holder));
        let mut state = self.state();
        let held = state.holdings.held(network);
        if kept.is_ok() {
            let grant = Grant {
                holder,
                addr,
                state: GrantState::Held,
            };
            held.grants.insert(addr.addr(), grant);
        } else {
            // The worker clears away what may be left in the store.
            held.grants.remove(&addr.addr());
        }
        drop(state);
        self.wake();
        kept.map(|()| addr)
    }

    /// Waits until a request was answered; one that is not in time is taken back.
    fn await_grant(
        &self,
        network: NetworkId,
        addr: IpNet,
        holder: EndpointId,
        standing: Standing,
    ) -> Result<()> {
        let until = self.time.now() + self.settings.patience;
        let key = Shared::Grant(network, addr.addr()).key();
        let mut ignored = Vec::new();
        while let Some((version, refused)) =
            self.await_answer((network, addr.addr()), holder, until, &ignored)
        {
            if let Some(why) = refused {
                let message = format!("Address already in use: {} {why}", addr.addr());
                return Err(Error::new(Kind::Forbidden, "address-in-use", message));
            }
            // The mirror may lag behind, and show a grant that was given back long ago.
            if self
                .get(&key)?
                .is_some_and(|found| found.version == version)
            {
                return Ok(());
            }
            ignored.push(version);
        }
        self.take_back(network, addr, holder)?;
        let name = self.host_name(standing.host);
        let message = format!(
            "the address {} lies in a block of host {name}, which did not answer in time: try \
             again, or choose another address",
            addr.addr()
        );
        Err(Error::new(
            Kind::Unavailable,
            "cluster-block-host-silent",
            message,
        ))
    }

    /// Waits for an answer that the mirror shows: the version of its record, and why it is a
    /// refusal.
    fn await_answer(
        &self,
        at: (NetworkId, IpAddr),
        holder: EndpointId,
        until: Duration,
        ignored: &[Version],
    ) -> Option<(Version, Option<String>)> {
        let me = self.settings.host;
        let mine = |host: HostId, of: EndpointId| host == me && of == holder;
        self.wait_for(until, |state| {
            let granted = state.mirror.grants.get(&at);
            let granted = granted.filter(|known| {
                mine(known.record.host, known.record.holder) && !ignored.contains(&known.version)
            });
            if let Some(known) = granted {
                return Some((known.version, None));
            }
            let asked = state.mirror.requests.get(&at);
            let asked = asked.filter(|known| mine(known.record.host, known.record.holder));
            asked.and_then(|known| Some((known.version, Some(known.record.refused.clone()?))))
        })
    }

    /// Takes a request back, unless it was granted at the last moment, which is an error of kind
    /// [`Kind::Unavailable`] all the same: whoever asked has waited long enough. The worker
    /// clears the grant away.
    fn take_back(&self, network: NetworkId, addr: IpNet, holder: EndpointId) -> Result<()> {
        let key = Shared::Request(network, addr.addr()).key();
        let Some(found) = self.get(&key)? else {
            return Ok(());
        };
        let asked: Option<RequestRecord> = record::decode(&found.value).ok();
        if asked.is_some_and(|asked| asked.host == self.settings.host && asked.holder == holder) {
            let condition = Condition::Unchanged(key.clone(), found.version);
            if self.commit(vec![condition], vec![Write::Delete(key)])? == Done::Uncertain {
                return Err(self.claim_uncertain());
            }
        }
        Ok(())
    }

    /// Answers the requests of others for addresses of this host's blocks, and clears away what
    /// is left of this host's own.
    pub(crate) fn answer_requests(&self) -> Result<()> {
        let requests: Vec<_> = {
            let state = self.state();
            let requests = state.mirror.requests.iter();
            requests.map(|(at, known)| (*at, known.clone())).collect()
        };
        for ((network, addr), known) in requests {
            if known.record.host == self.settings.host {
                self.clear_request(network, addr, &known)?;
            } else if addr.is_unspecified() {
                self.give_back_empty(network, Family::of(addr), known.record.host);
            } else if known.record.refused.is_none() {
                self.answer(network, addr, &known)?;
            }
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
        let block = keys::block(network, range);
        let Some(standing) = self.get(&block)? else {
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
            Condition::Unchanged(block, standing.version),
            Condition::Absent(grant.clone()),
            unchanged(network, version),
        ];
        let Given { host, holder } = given;
        let record = record::encode(&GrantRecord { host, holder });
        let writes = vec![Write::Put(grant, record), Write::Delete(request)];
        self.commit(conditions, writes)?;
        Ok(())
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
            if !state.is_asserted() {
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
        for (network, addr, given) in given {
            let Some(turn) = self.try_turn() else {
                return Ok(());
            };
            if !self.cannot_be_granted(given.holder)? {
                continue;
            }
            let asked = self.get(&Shared::Request(network, addr).key())?;
            let asked = asked.and_then(|found| record::decode::<RequestRecord>(&found.value).ok());
            let still = asked.is_some_and(|asked| {
                (asked.host, asked.holder) == (given.host, given.holder) && asked.refused.is_none()
            });
            if still || self.get(&Shared::Grant(network, addr).key())?.is_some() {
                continue;
            }
            self.copy.drop_given(network, addr)?;
            let now = self.time.now();
            let mut state = self.state();
            let held = state.holdings.held(network);
            held.given.remove(&addr);
            held.free(addr, given.holder, now);
            drop(state);
            drop(turn);
        }
        Ok(())
    }
}

/// Refuses in the words of local networks what can be refused by the network alone.
fn check_request(spec: &NetworkSpec, family: Family, addr: IpAddr) -> Result<IpNet> {
    let mut pools = spec.pools(family).peekable();
    if pools.peek().is_none() {
        let network = spec.id;
        return Err(vw_ipam::Error::NoPool { network, family }.into());
    }
    let mut given = pools.filter(|pool| pool.given).peekable();
    if given.peek().is_none() {
        return Err(vw_ipam::Error::NotUserConfigured { addr }.into());
    }
    let pool = given.find(|pool| pool.subnet.contains(&addr));
    let pool = pool.ok_or(vw_ipam::Error::OutOfSubnet { addr })?;
    // A block says what the network itself holds in it.
    let division = Division::of(pool.subnet);
    let range = division
        .block(addr)
        .ok_or(vw_ipam::Error::OutOfSubnet { addr })?;
    let nobody = EndpointId::from_bytes([0; 32]);
    let mut block = vw_ipam::Block::new(pool, range)?;
    Ok(block.take(addr, vw_ipam::Holder::Endpoint(nobody))?)
}

fn being_returned(addr: IpAddr) -> Error {
    let message = format!("the address {addr} is just being given back: try again");
    Error::new(Kind::Unavailable, "cluster-address-returning", message)
}

fn being_asked_for(addr: IpAddr) -> Error {
    let message =
        format!("another host asks for the address {addr} too: choose another, or try again");
    Error::new(Kind::Unavailable, "cluster-contended", message)
}

fn unreadable_block(addr: IpAddr) -> Error {
    let message = format!(
        "the address {addr} lies in a block whose record this version cannot read: choose another, \
         or update this host's vethwork"
    );
    Error::new(Kind::Unsupported, "cluster-record-unreadable", message)
}

fn granted_already(addr: IpAddr, value: &[u8]) -> Error {
    match record::decode::<GrantRecord>(value) {
        Ok(grant) => {
            let message = format!(
                "Address already in use: {addr} is held by endpoint {} on host {}",
                grant.holder.short(),
                grant.host.short()
            );
            Error::new(Kind::Forbidden, "address-in-use", message)
        }
        Err(_) => uncertain("gave the address away"),
    }
}

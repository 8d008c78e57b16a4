//! What a store lost that was brought back from an older backup, while this host still holds it.
//!
//! Whenever everything was read anew, what this host holds is held against the store: what is
//! missing there is put back, if nobody else has it by now. Where somebody has, the store is
//! right: this host takes its endpoints down and joins again with nothing, as one that was
//! forgotten. Until that is known it leases nothing. What stands there of which this host knows no
//! more, such as a service that was removed since, holds its addresses again.
//!
//! An answer may be under way while the store is brought back: what it says was done is not there
//! then, nor does the note of that transaction tell, once a later one stands in its place. No address
//! is given twice by that. Who takes blocks has the turn from before it asks until it holds them, and
//! what is held is compared by the turn too: a comparison is over before, or knows of them. A grant
//! is waited for without the turn, and compared once more where everything was read anew meanwhile
//! ([`crate::asking`]). Who gives an address away takes it off its own free ones before it writes
//! the grant, and makes the grant again where it is missing. Whatever is written later is written
//! under conditions that the store as it is by then must fulfil.

use crate::{
    StoreState,
    core::{Core, Done, Phase, contended},
    doubts::Doubt,
    following::WIDEST,
    holdings::{Given, Grant, GrantState},
    keys::{self, Shared},
    lease::{Blocks, Standing},
    mirror::Host,
    outbox::unchanged,
    record::{self, BlockRecord, GrantRecord},
};
use std::net::IpAddr;
use vw_ipam::Division;
use vw_model::{Error, HostId, IpNet, Kind, NetworkId, Result, ServiceId};
use vw_store::cluster::{Condition, Record, Version, Write};

/// The most records of one transaction, each with a condition and a write.
const BATCH: usize = 25;

impl Core {
    /// Puts back what the store lost, once each time after everything was read.
    pub(crate) fn assert_holdings(&self) -> Result<()> {
        let (read, networks): (u64, Vec<NetworkId>) = {
            let state = self.state();
            if state.is_asserted() || !state.settled {
                return Ok(());
            }
            let held = state.holdings.0.iter();
            let known = held.filter(|(id, held)| {
                held.compared != state.reads && state.mirror.networks.contains_key(id)
            });
            (state.reads, known.map(|(id, _)| *id).collect())
        };
        let Some(_turn) = self.try_turn() else {
            return Ok(());
        };
        let (mut result, mut further) = (Ok(()), false);
        for network in networks {
            // What stands in the way on one is none of the others' business.
            let compared = self.assert_on(network);
            if compared.is_ok()
                && let Some(held) = self.state().holdings.0.get_mut(&network)
            {
                held.disputed.clear();
                further |= std::mem::replace(&mut held.compared, read) != read;
            }
            result = result.and(compared);
        }
        if result.is_ok() {
            result = self.give_back_unheld();
        }
        if result.is_ok() {
            self.state().asserted = read;
        }
        if further || result.is_ok() {
            self.wake();
        }
        result
    }

    /// Waits until what this host holds on a network was held against the store since that was
    /// read anew: what another host has by now must be given to nobody here. While the store is
    /// away a host goes on with what it has, but not in one that lacks what it wrote there.
    pub(crate) fn await_comparison(&self, network: NetworkId) -> Result<()> {
        let until = self.time.now() + self.settings.patience;
        let compared = self.wait_for(until, |state| {
            let joined = matches!(state.phase, Phase::Joined(_));
            let reached = joined && state.store == StoreState::Reachable;
            let is = state.is_compared(network) && !state.lacks;
            (is || !reached || !state.settled).then_some(())
        });
        compared.ok_or_else(|| {
            let message = "what this host holds is not known to be its own by the cluster's store, \
                           which was read anew: try again";
            Error::new(Kind::Unavailable, "cluster-not-compared", message)
        })
    }

    /// The state of a network's record, which may be one that this version cannot read.
    pub(crate) fn version_of(&self, network: NetworkId) -> Result<Option<Version>> {
        let found = self.get(&Shared::Network(network).key())?;
        Ok(found.map(|found| found.version))
    }

    fn assert_on(&self, network: NetworkId) -> Result<()> {
        let (ranges, given) = self.held_on(network);
        let granted = self.granted_on(network);
        if ranges.is_empty() && granted.is_empty() {
            return Ok(());
        }
        let blocks = self.read_blocks(network)?;
        let Some(version) = self.version_of(network)? else {
            return Ok(());
        };
        let missing = self.missing_of(network, &ranges, &blocks)?;
        let host = self.settings.host;
        for batch in missing.chunks(BATCH) {
            let block = record::encode(&BlockRecord { host });
            let keyed = batch
                .iter()
                .map(|range| (keys::block(network, *range), block.clone()));
            self.put_back(network, version, keyed.collect())?;
        }
        for (addr, given) in given {
            self.put_given_back((network, version), &ranges, addr, given)?;
        }
        self.put_grants_back(&granted, (network, version), &blocks)?;
        self.take_up_given(network, &ranges)?;
        self.give_back_unknown(network, &blocks)
    }

    /// Grants an address again that this host gave away out of one of these blocks.
    fn put_given_back(
        &self,
        network: (NetworkId, Version),
        ranges: &[IpNet],
        addr: IpAddr,
        given: Given,
    ) -> Result<()> {
        let Some(range) = ranges.iter().find(|range| range.contains(&addr)) else {
            return Ok(());
        };
        match self.grant_again(network, *range, addr, given)? {
            Some(done) => told_back(done, &[Shared::Grant(network.0, addr).key()]),
            None => Ok(()),
        }
    }

    /// Makes a grant again of an address that this host gave away out of a block, unless it stands.
    /// One to somebody else is of before: nobody but this host grants addresses of its blocks, and it
    /// gives none to another before the former holder has given it back.
    pub(crate) fn grant_again(
        &self,
        network: (NetworkId, Version),
        range: IpNet,
        addr: IpAddr,
        given: Given,
    ) -> Result<Option<Done>> {
        let (network, version) = network;
        let own = self.own_block(network, range)?;
        let (stands, again) = own.ok_or_else(contended)?;
        let Given { host, holder } = given;
        // One that was forgotten would never delete it.
        let Some(known) = self.get(&Shared::Host(host).key())? else {
            return Ok(Some(Done::Refused));
        };
        let key = Shared::Grant(network, addr).key();
        let former = match self.get(&key)? {
            None => Condition::Absent(key.clone()),
            Some(found) => match record::decode(&found.value) {
                Ok(other) if Given::by(&other) != given => {
                    Condition::Unchanged(key.clone(), found.version)
                }
                _ => return Ok(None),
            },
        };
        let conditions = vec![
            stands.clone(),
            former,
            Condition::Unchanged(known.key, known.version),
            unchanged(network, version),
        ];
        let grant = record::encode(&GrantRecord { host, holder });
        self.state().expect_grant(network, addr, given);
        let done = self.commit(conditions, vec![Write::Put(key, grant)])?;
        if done == Done::Uncertain {
            // It may arrive when who has the address has given it back, and it is used here.
            self.state().doubts.push(Doubt {
                holder,
                condition: stands,
                write: again,
            });
        }
        Ok(Some(done))
    }

    /// The addresses that this host holds out of the blocks of others.
    fn granted_on(&self, network: NetworkId) -> Vec<Grant> {
        let mut state = self.state();
        let Some(held) = state.holdings.0.get_mut(&network) else {
            return Vec::new();
        };
        for grant in held.grants.values_mut() {
            if grant.state == GrantState::Returning {
                // What is not compared is not taken up again.
                grant.state = GrantState::Ending;
            }
        }
        let grants = held.grants.values();
        let held = grants.filter(|grant| grant.state == GrantState::Held);
        held.copied().collect()
    }

    /// Puts back this host's grants that the store lost, where nobody has the block either, or who
    /// granted them has it still, and may not live. Where another host has it by now, or the
    /// address, the store is right.
    fn put_grants_back(
        &self,
        granted: &[Grant],
        network: (NetworkId, Version),
        blocks: &Blocks,
    ) -> Result<()> {
        let (network, version) = network;
        let host = self.settings.host;
        for grant in granted {
            let (addr, holder) = (grant.addr.addr(), grant.grantee);
            let Some(range) = Division::of(grant.addr.trunc()).block(addr) else {
                continue;
            };
            let standing = blocks.get(&range).copied();
            let key = Shared::Grant(network, addr).key();
            if let Some(found) = self.get(&key)? {
                self.check_grant(network, *grant, &found, standing.flatten())?;
                continue;
            }
            let block = keys::block(network, range);
            let block = match standing {
                None => Condition::Absent(block),
                Some(Some(standing)) if grant.granter == Some(standing.host) => {
                    Condition::Unchanged(block, standing.version)
                }
                Some(Some(standing)) if grant.granter.is_some() || standing.host == host => {
                    return Err(self.give_way(network, addr.into(), standing.host));
                }
                // Who gave it away is not known: an older version noted it.
                Some(_) => continue,
            };
            let conditions = vec![
                block,
                Condition::Absent(key.clone()),
                unchanged(network, version),
            ];
            let record = record::encode(&GrantRecord { host, holder });
            let names = [key.clone()];
            let done = self.commit(conditions, vec![Write::Put(key, record)])?;
            told_back(done, &names)?;
        }
        Ok(())
    }

    /// Holds a grant against the one that stands; notes whose block it lies in by now, as one that
    /// was forgotten may have left it to another.
    fn check_grant(
        &self,
        network: NetworkId,
        grant: Grant,
        found: &Record,
        standing: Option<Standing>,
    ) -> Result<()> {
        let theirs = record::decode::<GrantRecord>(&found.value).ok();
        let me = (self.settings.host, grant.grantee);
        let addr = grant.addr.addr();
        match theirs {
            Some(theirs) if (theirs.host, theirs.holder) == me => {}
            // Who granted it may have granted it to another before, of which the backup is.
            Some(theirs) => {
                let granter = standing.filter(|it| Some(it.host) == grant.granter);
                return self.dispute(
                    (network, addr.into(), theirs.host),
                    granter.map(|it| it.host),
                );
            }
            None => return Ok(()),
        }
        let granter = standing.map(|standing| standing.host);
        if granter.is_none() || granter == grant.granter {
            return Ok(());
        }
        let grant = Grant { granter, ..grant };
        self.copy.add_grant(network, grant)?;
        let mut state = self.state();
        let grants = &mut state.holdings.held(network).grants;
        if let Some(held) = grants.get_mut(&addr)
            && held.holder == grant.holder
        {
            held.granter = granter;
        }
        Ok(())
    }

    /// Takes up what the store says was given out of this host's blocks and this host has freed
    /// since: the backup is older. A service whose address an endpoint has by now goes.
    fn take_up_given(&self, network: NetworkId, ranges: &[IpNet]) -> Result<()> {
        for (addr, given) in self.read_given(network, ranges)? {
            let taken = {
                let mut state = self.state();
                let held = state.holdings.held(network);
                if held.given.get(&addr) == Some(&given) {
                    continue;
                }
                let taken = held.give(addr, given);
                state.due.insert((network, addr));
                if let Some(Ok(_)) = taken {
                    state.expect_grant(network, addr, given);
                }
                taken
            };
            match taken {
                Some(Ok(_)) => self.copy.add_given(network, addr, given)?,
                Some(Err(holder)) => self.remove_restored(network, addr, given, &holder)?,
                None => {}
            }
        }
        Ok(())
    }

    /// Removes a service that came back after its address was leased again. What came back of
    /// another host's endpoint that host takes away itself.
    fn remove_restored(
        &self,
        network: NetworkId,
        addr: IpAddr,
        given: Given,
        holder: &str,
    ) -> Result<()> {
        let service = ServiceId(given.holder.0);
        if given.host.0 != given.holder.0 {
            return self.dispute((network, addr.into(), given.host), Some(given.host));
        }
        if self.get(&Shared::Service(service).key())?.is_none() {
            return Ok(());
        }
        tracing::error!(
            "service {} came back with the cluster's store, and {holder} has its address {addr} by \
             now: the service is removed, make it again if it is wanted",
            service.short()
        );
        self.remove_service(service)
    }

    /// Another host has by the store what this one holds. Where it is for a host that lives to mend
    /// that, it is waited for; who does not mend it, knows that it is right.
    ///
    /// # Errors
    /// While it is waited for, and where this host gives way.
    fn dispute(
        &self,
        (network, range, host): (NetworkId, IpNet, HostId),
        mends: Option<HostId>,
    ) -> Result<()> {
        let now = self.time.now();
        let mut state = self.state();
        let known = mends.and_then(|mends| state.mirror.hosts.get(&mends));
        let dead = known.is_some_and(Host::is_lost);
        let lives = known.is_some_and(|mends| mends.record.is_some() && !dead);
        let held = state.holdings.held(network);
        let since = *held.disputed.entry(range).or_insert(now);
        if dead && mends == Some(host) {
            // It takes it away when it is back, and is looked after then.
            held.absent.insert(host);
        }
        drop(state);
        if lives && now < since + WIDEST + self.settings.patience {
            return Err(contended());
        }
        if !lives && mends == Some(host) {
            return Ok(());
        }
        Err(self.give_way(network, range, host))
    }

    /// The blocks of a network that this host may use, and the addresses that it gave away to
    /// hosts to which the store does not have them granted.
    fn held_on(&self, network: NetworkId) -> (Vec<IpNet>, Vec<(IpAddr, Given)>) {
        let state = self.state();
        let Some(held) = state.holdings.get(network) else {
            return Default::default();
        };
        let returning = held.returning();
        let ranges = held.ranges().filter(|range| !returning.contains(range));
        let lost = |(addr, given): &(&IpAddr, &Given)| {
            let at = (network, **addr);
            let host = state.mirror.hosts.get(&given.host);
            let granted = state.mirror.grants.get(&at);
            // Of one that is asked for still the answer decides.
            granted.is_none_or(|known| Given::by(&known.record) != **given)
                && !state.mirror.requests.contains_key(&at)
                && host.is_some_and(|host| host.record.is_some())
        };
        let given = held.given.iter().filter(lost);
        (
            ranges.collect(),
            given.map(|(addr, given)| (*addr, *given)).collect(),
        )
    }

    /// Those of this host's blocks that the store does not have.
    ///
    /// # Errors
    /// When another host has one.
    fn missing_of(
        &self,
        network: NetworkId,
        ranges: &[IpNet],
        blocks: &Blocks,
    ) -> Result<Vec<IpNet>> {
        let mut missing = Vec::new();
        for range in ranges {
            match blocks.get(range) {
                None => missing.push(*range),
                Some(Some(standing)) if standing.host != self.settings.host => {
                    return Err(self.give_way(network, *range, standing.host));
                }
                Some(_) => {}
            }
        }
        Ok(missing)
    }

    /// Takes this host's endpoints down and joins again with nothing: somebody else has what it
    /// used.
    fn give_way(&self, network: NetworkId, range: IpNet, host: HostId) -> Error {
        tracing::error!(
            "addresses {range} of network {} are those of host {} by the cluster's store, and this \
             host used them: its endpoints on global networks are made anew",
            network.short(),
            self.host_name(host)
        );
        self.state().phase = Phase::Forgotten;
        self.wake();
        self.outside(&Phase::Forgotten)
    }

    fn put_back(
        &self,
        network: NetworkId,
        version: Version,
        records: Vec<(String, Vec<u8>)>,
    ) -> Result<()> {
        let absent = records
            .iter()
            .map(|(key, _)| Condition::Absent(key.clone()));
        let conditions = absent.chain([unchanged(network, version)]).collect();
        let keys: Vec<String> = records.iter().map(|(key, _)| key.clone()).collect();
        let writes = records
            .into_iter()
            .map(|(key, value)| Write::Put(key, value));
        told_back(self.commit(conditions, writes.collect())?, &keys)
    }
}

/// Tells of records that were to be put back.
fn told_back(done: Done, keys: &[String]) -> Result<()> {
    match done {
        Done::Applied => {
            tracing::warn!(
                "the cluster's store had lost what this host holds, and has it again: {}",
                keys.join(", ")
            );
            Ok(())
        }
        // The next round sees what stands there.
        Done::Refused | Done::Uncertain => Err(contended()),
    }
}

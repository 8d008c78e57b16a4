//! Asking for an address by name: out of an own block, or of another host, in whose block it lies.
//!
//! Owns the asker's side; how the other host answers is [`crate::consent`]'s. An address is noted
//! as wanted before anybody is asked for it, and used only once its grant was seen in the store.

use crate::{
    StoreState,
    core::{Core, Done, State, contended, uncertain},
    holdings::{Grant, GrantState},
    keys::{self, Shared},
    lease::{Standing, pool_of},
    record::{self, GrantRecord, RequestRecord},
};
use std::{collections::btree_map::Entry, net::IpAddr, time::Duration};
use vw_ipam::Division;
use vw_model::{EndpointId, Error, Family, HostId, IpNet, Kind, NetworkId, NetworkSpec, Result};
use vw_store::cluster::{Condition, Version, Write};

const ATTEMPTS: usize = 8;

/// How often who waits for an answer looks whether the block is still there to answer for: its host
/// may be giving it back.
const LOOK: Duration = Duration::from_millis(250);

/// A block of another host's out of which an address is asked for, and its network, as both were read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ForeignBlock {
    pub(crate) network: (NetworkId, Version),
    pub(crate) range: IpNet,
    pub(crate) standing: Standing,
}

impl ForeignBlock {
    /// The records that are to stay as they were read.
    fn records(&self) -> [(String, Version); 2] {
        let (network, version) = self.network;
        let block = keys::block(network, self.range);
        let network = Shared::Network(network).key();
        [(network, version), (block, self.standing.version)]
    }
}

impl State {
    /// Whether this host has still noted that this endpoint has the address, or wants it.
    fn has_noted(&self, network: NetworkId, noted: Grant) -> bool {
        let held = self.holdings.get(network);
        let grant = held.and_then(|held| held.grants.get(&noted.addr.addr()));
        grant.is_some_and(|grant| grant.holder == noted.holder)
    }
}

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
        self.await_end(network, addr);
        if let Some(taken) = self.take_here(network, addr, holder)? {
            return Ok(taken);
        }
        for _ in 0..ATTEMPTS {
            let turn = self.turn()?;
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
                    self.take_free(&record.spec, version, &[range])?;
                }
                Some(Some(standing)) if standing.host == self.settings.host => {
                    return Err(being_returned(addr));
                }
                Some(Some(standing)) => {
                    if self.take_over(&record.spec, version, range, *standing)? {
                        continue;
                    }
                    self.check_alive(*standing, addr)?;
                    let wanted = self.want(network, net, holder, standing.host)?;
                    drop(turn);
                    let block = ForeignBlock {
                        network: (network, version),
                        range,
                        standing: *standing,
                    };
                    let until = self.time.now() + self.settings.patience;
                    let asked = self.ask_for(&block, wanted, until);
                    if !self.is_outdated(&block, &asked)? {
                        return asked;
                    }
                }
                Some(None) => return Err(unreadable_block(addr)),
            }
        }
        Err(contended())
    }

    /// Waits until an address that was given back here is no more in the way of who asks for it anew,
    /// such as a container that is restarted; not while the store is away.
    fn await_end(&self, network: NetworkId, addr: IpAddr) {
        // Whether it is, is looked at again.
        let _ = self.wait_unless_silent(|state, silent| {
            let held = state.holdings.get(network);
            let grant = held.and_then(|held| held.grants.get(&addr));
            let ends = grant.is_some_and(|grant| grant.state == GrantState::Ending);
            let away = silent || state.store != StoreState::Reachable;
            (!ends || state.is_expelled() || away).then_some(())
        });
    }

    /// Takes up an address that another endpoint of this host gave back, where the store was not asked
    /// yet to forget it: the grant stands, and says whose it was first.
    pub(crate) fn take_up(
        &self,
        network: NetworkId,
        holder: EndpointId,
        fits: impl Fn(IpAddr) -> bool,
    ) -> Result<Option<IpNet>> {
        let taken = {
            let mut state = self.state();
            let held = state.holdings.0.get_mut(&network);
            held.and_then(|held| held.take_up(holder, fits))
        };
        let Some(grant) = taken else {
            return Ok(None);
        };
        let addr = grant.addr.addr();
        self.copy
            .add_grant(network, grant)
            .inspect_err(|_| self.release(network, addr, holder))?;
        if !self.state().has_noted(network, grant) {
            // This host started over meanwhile, or the network is gone.
            self.copy.drop_grant(network, addr)?;
            return Err(contended());
        }
        Ok(Some(grant.addr))
    }

    /// Takes the address out of an own block, if it lies in one; finds it among the grants.
    fn take_here(
        &self,
        network: NetworkId,
        addr: IpAddr,
        holder: EndpointId,
    ) -> Result<Option<IpNet>> {
        self.may_lease()?;
        if let Some(taken) = self.take_up(network, holder, |given_back| given_back == addr)? {
            return Ok(Some(taken));
        }
        let mut state = self.state();
        let Some(held) = state.holdings.0.get_mut(&network) else {
            return Ok(None);
        };
        if let Some(grant) = held.grants.get(&addr) {
            return Err(in_use(addr, *grant));
        }
        Ok(held.take(addr, holder).transpose()?)
    }

    /// Notes that an address is asked for: of two that ask for one address on this host, one alone may
    /// have what is answered.
    pub(crate) fn want(
        &self,
        network: NetworkId,
        addr: IpNet,
        holder: EndpointId,
        granter: HostId,
    ) -> Result<Grant> {
        let wanted = Grant {
            granter: Some(granter),
            holder,
            grantee: holder,
            addr,
            state: GrantState::Wanted,
        };
        let mut state = self.state();
        match state.holdings.held(network).grants.entry(addr.addr()) {
            Entry::Occupied(other) => Err(in_use(addr.addr(), *other.get())),
            Entry::Vacant(vacant) => Ok(*vacant.insert(wanted)),
        }
    }

    pub(crate) fn check_alive(&self, standing: Standing, addr: IpAddr) -> Result<()> {
        if self.death(standing.host)?.is_none() {
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

    /// Asks the host of a block for one address of it that is noted as wanted, and waits for the
    /// answer.
    pub(crate) fn ask_for(
        &self,
        block: &ForeignBlock,
        wanted: Grant,
        until: Duration,
    ) -> Result<IpNet> {
        let (network, addr) = (block.network.0, wanted.addr);
        let reads = self.state().reads;
        let result = self
            .request(block, wanted)
            .and_then(|()| self.await_grant(block, wanted, until))
            .and_then(|()| self.keep_grant(network, wanted, reads));
        if result.is_err() {
            let mut state = self.state();
            let grants = &mut state.holdings.held(network).grants;
            // The worker clears away what may be left in the store.
            if grants.get(&addr.addr()) == Some(&wanted) {
                grants.remove(&addr.addr());
                state.due.insert((network, addr.addr()));
            }
        }
        self.wake();
        result.map(|()| addr)
    }

    /// Whether an address was asked for in vain as its network or block is another by now: all is to be
    /// read anew.
    pub(crate) fn is_outdated(&self, block: &ForeignBlock, asked: &Result<IpNet>) -> Result<bool> {
        if asked.as_ref().err().map(|error| error.reason) != Some("cluster-contended") {
            return Ok(false);
        }
        Ok(!self.stands(block)?)
    }

    /// Whether a block of another's and its network are still as they were read.
    fn stands(&self, block: &ForeignBlock) -> Result<bool> {
        for (key, version) in block.records() {
            let found = self.get(&key)?;
            if found.is_none_or(|found| found.version != version) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Leaves a request for an address, where nobody asks for it and nobody was given it.
    fn request(&self, block: &ForeignBlock, wanted: Grant) -> Result<()> {
        let (network, addr, holder) = (block.network.0, wanted.addr, wanted.holder);
        let (request, grant) = (
            Shared::Request(network, addr.addr()).key(),
            Shared::Grant(network, addr.addr()).key(),
        );
        if let Some(found) = self.get(&grant)? {
            match record::decode::<GrantRecord>(&found.value) {
                // Nobody of this host had it when it was wanted. Whoever gave it away did not know yet
                // that it came back, and granted it again.
                Ok(given) if given.host == self.settings.host => {
                    let stands = Condition::Unchanged(grant.clone(), found.version);
                    self.commit(vec![stands], vec![Write::Delete(grant.clone())])?;
                }
                _ => return Err(granted_already(addr.addr(), &found.value)),
            }
        }
        let asked = RequestRecord {
            host: self.settings.host,
            holder,
            refused: None,
            of: wanted.granter,
        };
        let mut conditions = self.nobody_asks(&request)?;
        let records = block.records().into_iter();
        conditions.extend(records.map(|(key, version)| Condition::Unchanged(key, version)));
        conditions.push(Condition::Absent(grant));
        let writes = vec![Write::Put(request, record::encode(&asked))];
        match self.commit(conditions, writes)? {
            Done::Applied | Done::Uncertain => Ok(()),
            Done::Refused => Err(being_asked_for(addr.addr())),
        }
    }

    /// What has to hold for a request to be left at a key: that none lies there but of a host that is
    /// not there, or one that this host left behind. Who asks notes it here before.
    pub(crate) fn nobody_asks(&self, key: &str) -> Result<Vec<Condition>> {
        let absent = || vec![Condition::Absent(key.to_owned())];
        let Some(found) = self.get(key)? else {
            return Ok(absent());
        };
        let stands = Condition::Unchanged(found.key, found.version);
        let Ok(RequestRecord { host, .. }) = record::decode(&found.value) else {
            return Ok(absent());
        };
        if host == self.settings.host {
            return Ok(vec![stands]);
        }
        Ok(match self.death(host)? {
            Some(dead) => vec![stands, dead],
            None => absent(),
        })
    }

    /// Takes an address into use that was granted, unless this host started over meanwhile, with
    /// which all that it had asked for went. Where everything was read anew since, that was compared
    /// without this one, which a backup may lack: all is compared once more.
    fn keep_grant(&self, network: NetworkId, wanted: Grant, reads: u64) -> Result<()> {
        let turn = self.turn()?;
        let addr = wanted.addr.addr();
        if !self.state().has_noted(network, wanted) {
            return Err(contended());
        }
        let grant = Grant {
            state: GrantState::Held,
            ..wanted
        };
        self.copy.add_grant(network, grant)?;
        let mut state = self.state();
        let read = state.reads != reads;
        let held = state.holdings.held(network);
        held.grants.insert(addr, grant);
        if read {
            (held.compared, state.asserted) = (0, 0);
        }
        drop(state);
        drop(turn);
        Ok(())
    }

    /// Waits until a request was answered; one that is not in time is taken back, as is one for which
    /// nobody can answer any more.
    fn await_grant(&self, block: &ForeignBlock, wanted: Grant, until: Duration) -> Result<()> {
        let (network, _) = block.network;
        let Grant { addr, holder, .. } = wanted;
        let key = Shared::Grant(network, addr.addr()).key();
        let mut ignored = Vec::new();
        let mut given_back = false;
        loop {
            let look = until.min(self.time.now() + LOOK);
            let Some((version, refused)) = self.await_answer((network, wanted), look, &ignored)
            else {
                let asks = {
                    let state = self.state();
                    !state.is_expelled() && state.has_noted(network, wanted)
                };
                if !asks || self.time.now() >= until {
                    break;
                }
                given_back = !self.stands(block)?;
                if given_back {
                    break;
                }
                continue;
            };
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
        self.joined()?;
        self.take_back(network, addr, holder)?;
        // It may have been granted at the last moment.
        let granted = self.get(&key)?;
        let granted = granted.and_then(|found| record::decode::<GrantRecord>(&found.value).ok());
        if granted.is_some_and(|grant| (grant.host, grant.holder) == (self.settings.host, holder)) {
            return Ok(());
        }
        if given_back {
            return Err(contended());
        }
        let name = wanted.granter.map(|host| self.host_name(host));
        let name = name.unwrap_or_default();
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
    /// refusal. There is none any more for a host that was forgotten, which takes its endpoints down
    /// first, nor where it has started over since.
    fn await_answer(
        &self,
        (network, wanted): (NetworkId, Grant),
        until: Duration,
        ignored: &[Version],
    ) -> Option<(Version, Option<String>)> {
        let at = (network, wanted.addr.addr());
        let me = self.settings.host;
        let mine = |host: HostId, of: EndpointId| host == me && of == wanted.holder;
        let answer = self.wait_for(until, |state| {
            if state.is_expelled() || !state.has_noted(network, wanted) {
                return Some(None);
            }
            let granted = state.mirror.grants.get(&at);
            let granted = granted.filter(|known| {
                mine(known.record.host, known.record.holder) && !ignored.contains(&known.version)
            });
            if let Some(known) = granted {
                return Some(Some((known.version, None)));
            }
            let asked = state.mirror.requests.get(&at);
            let asked = asked.filter(|known| mine(known.record.host, known.record.holder));
            asked.and_then(|known| Some(Some((known.version, Some(known.record.refused.clone()?)))))
        });
        answer.flatten()
    }

    /// Takes a request back, unless it was answered at the last moment.
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

fn in_use(addr: IpAddr, grant: Grant) -> Error {
    if grant.state.is_over() {
        return being_returned(addr);
    }
    let holder = vw_ipam::Holder::Endpoint(grant.holder);
    vw_ipam::Error::AddressInUse { addr, holder }.into()
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

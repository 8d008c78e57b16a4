//! What a host does that is out of addresses where no block is free: it asks the others for room.
//!
//! Owns whom it asks for what. First it asks all for blocks of which they use nothing, where there may
//! be some; then one host for one address of a block of which that uses a part: one that nobody is
//! known to have, asked for by name as a user would. Whether somebody has it the block's host knows,
//! and nobody else says: see [`crate::consent`].

use crate::{
    asking::ForeignBlock,
    core::Core,
    keys::{self, Shared},
    lease::{Blocks, Source, Standing, place, pool_of, useful},
    record::{self, RequestRecord},
};
use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::Duration,
};
use vw_ipam::Holder;
use vw_model::{EndpointId, Error, Family, HostId, IpNet, NetworkId, NetworkSpec, Result};
use vw_store::cluster::{Change, Version, Write};

/// For how long a host in need waits for others to give up what they do not use.
const NEED: Duration = Duration::from_secs(2);

/// A network of which no block is free, as it was seen.
pub(crate) struct Full {
    pub(crate) spec: NetworkSpec,
    pub(crate) version: Version,
    pub(crate) family: Family,
    pub(crate) blocks: Blocks,
}

/// What a call has asked for so far, and in vain.
#[derive(Default)]
pub(crate) struct Asked {
    /// Whether it was for whole blocks.
    room: bool,
    refused: BTreeSet<IpAddr>,
    /// Who does not live, or did not answer, and what is said of the latter.
    silent: BTreeSet<HostId>,
    silence: Option<Error>,
}

impl Full {
    /// The blocks out of which others give addresses, from a place of this host's own onwards.
    fn of_others(&self, me: HostId) -> impl Iterator<Item = (IpNet, Standing)> {
        let others = self.blocks.iter().filter_map(move |(range, standing)| {
            let standing = (*standing)?;
            let fits = Family::of(range.addr()) == self.family && useful(&self.spec, *range);
            (fits && standing.host != me).then_some((*range, standing))
        });
        let others: Vec<(IpNet, Standing)> = others.collect();
        let (count, first) = (others.len(), place(me, self.spec.id) as usize);
        let of_all = others.into_iter().cycle();
        of_all.skip(first % count.max(1)).take(count)
    }
}

impl Core {
    /// Asks other hosts for room; gives an address that one of them granted, and nothing where a block
    /// may be free by now.
    ///
    /// # Errors
    /// Where there is none, or nobody who could give one answers.
    pub(crate) fn ask_others(
        &self,
        full: &Full,
        asked: &mut Asked,
        holder: EndpointId,
        source: Source,
    ) -> Result<Option<IpNet>> {
        let network = full.spec.id;
        if !std::mem::replace(&mut asked.room, true)
            && self.may_be_spare(full)
            && self.ask_for_any(network, full.family)?
        {
            return Ok(None);
        }
        if source == Source::OwnBlocks {
            return Err(self.exhausted(full, source));
        }
        let until = self.time.now() + 2 * self.settings.patience;
        let mut used = self.known_used(network);
        used.extend(&asked.refused);
        while let Some((addr, block)) = self.candidate(full, &used, asked) {
            let one = self.ask_for_one(&block, addr, holder, until);
            if self.is_outdated(&block, &one)? {
                return Ok(None);
            }
            let error = match one {
                Ok(addr) => return Ok(Some(addr)),
                Err(error) => error,
            };
            match error.reason {
                "address-in-use" | "cluster-contended" | "cluster-address-returning" => {
                    asked.refused.insert(addr.addr());
                    used.insert(addr.addr());
                }
                "cluster-block-host-away" => drop(asked.silent.insert(block.standing.host)),
                "cluster-block-host-silent" => {
                    asked.silent.insert(block.standing.host);
                    asked.silence = Some(error);
                }
                _ => return Err(error),
            }
            if self.time.now() >= until {
                break;
            }
            // Who was forgotten meanwhile is not kept waiting.
            self.joined()?;
        }
        let silence = asked.silence.take();
        Err(silence.unwrap_or_else(|| self.exhausted(full, source)))
    }

    fn ask_for_one(
        &self,
        block: &ForeignBlock,
        addr: IpNet,
        holder: EndpointId,
        until: Duration,
    ) -> Result<IpNet> {
        self.check_alive(block.standing, addr.addr())?;
        let wanted = self.want(block.network.0, addr, holder, block.standing.host)?;
        let until = until.min(self.time.now() + self.settings.patience);
        self.ask_for(block, wanted, until)
    }

    /// The addresses of a network that somebody has or asks for, as far as is known here.
    fn known_used(&self, network: NetworkId) -> BTreeSet<IpAddr> {
        let state = self.state();
        let mut used = state.mirror.addresses_on(network);
        let held = state.holdings.get(network);
        used.extend(held.into_iter().flat_map(|held| held.grants.keys()));
        used
    }

    fn lives(&self, host: HostId) -> bool {
        self.state().mirror.lives(host)
    }

    /// Whether a host that lives may have a block of which it uses nothing; also one that this host is
    /// just giving back.
    fn may_be_spare(&self, full: &Full) -> bool {
        let (me, used) = (self.settings.host, self.known_used(full.spec.id));
        let spare = |range: IpNet| {
            used.range(range.network()..=range.broadcast())
                .next()
                .is_none()
        };
        let mut others = full.of_others(me);
        let own = || {
            self.state()
                .holdings
                .get(full.spec.id)
                .map(|held| held.returning())
        };
        others.any(|(range, standing)| spare(range) && self.lives(standing.host))
            || own().is_some_and(|own| !own.is_empty())
    }

    /// An address that nobody is known to have, out of the block of a host that lives by what is known
    /// here, else of one that may.
    fn candidate(
        &self,
        full: &Full,
        used: &BTreeSet<IpAddr>,
        asked: &Asked,
    ) -> Option<(IpNet, ForeignBlock)> {
        let nobody = Holder::Endpoint(EndpointId::from_bytes([0; 32]));
        let others = full.of_others(self.settings.host);
        let others = others.filter(|(_, standing)| !asked.silent.contains(&standing.host));
        let (alive, dead): (Vec<_>, Vec<_>) =
            others.partition(|(_, standing)| self.lives(standing.host));
        alive.into_iter().chain(dead).find_map(|(range, standing)| {
            let pool = pool_of(&full.spec, range.addr())?;
            let mut block = vw_ipam::Block::new(pool, range).ok()?;
            for addr in used.range(range.network()..=range.broadcast()) {
                // What the network keeps for itself is not free either way.
                let _ = block.take(*addr, nobody.clone());
            }
            let addr = block.take_first(nobody.clone())?;
            let foreign = ForeignBlock {
                network: (full.spec.id, full.version),
                range,
                standing,
            };
            Some((addr, foreign))
        })
    }

    /// That no address can be had, who has them, and what helps.
    fn exhausted(&self, full: &Full, source: Source) -> Error {
        let others: Vec<(IpNet, Standing)> = full.of_others(self.settings.host).collect();
        let own = full.blocks.len() - others.len();
        let hosts: BTreeSet<HostId> = others.iter().map(|(_, standing)| standing.host).collect();
        let (alive, dead): (Vec<HostId>, Vec<HostId>) =
            hosts.into_iter().partition(|host| self.lives(*host));
        let names = |hosts: &[HostId]| -> Vec<String> {
            hosts.iter().map(|host| self.host_name(*host)).collect()
        };
        let (alive, dead) = (names(&alive), names(&dead));
        let remedy = if let Some(name) = dead.first() {
            format!(
                "{} not alive: give up what does not come back: vethwork cluster forget {name}",
                dead.join(", ")
            )
        } else if source == Source::OwnBlocks && !alive.is_empty() {
            format!("make the service on one of them: {}", alive.join(", "))
        } else {
            "remove endpoints, or make the network anew with a larger --subnet or --ip-range"
                .to_owned()
        };
        let (network, family) = (full.spec.id, full.family);
        let error = vw_ipam::Error::PoolFull { family, network };
        let error = error.for_network(full.spec.name.as_str());
        let message = format!(
            "{}: this host has {own} blocks of them, and {} other hosts {}; {remedy}",
            error.message,
            alive.len() + dead.len(),
            others.len()
        );
        Error { message, ..error }
    }

    /// Asks all hosts for blocks that they do not use, and waits until one is free; says whether
    /// there may be one.
    fn ask_for_any(&self, network: NetworkId, family: Family) -> Result<bool> {
        let any = match family {
            Family::V4 => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            Family::V6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        let key = Shared::Request(network, any).key();
        let prefix = format!("{}/{network}", keys::BLOCKS);
        let (_, mut watch) = self
            .store
            .follow(&prefix)
            .map_err(crate::core::unavailable)?;
        let wait = |more: bool| {
            let mut state = self.state();
            let waiting = state
                .holdings
                .held(network)
                .wants
                .entry(family)
                .or_default();
            *waiting = if more {
                *waiting + 1
            } else {
                waiting.saturating_sub(1)
            };
        };
        wait(true);
        let asked = RequestRecord {
            host: self.settings.host,
            holder: EndpointId::from_bytes([0; 32]),
            refused: None,
            of: None,
        };
        // Where another host that lives asks already, what it gets room for serves this one as well.
        let result = self.nobody_asks(&key).and_then(|conditions| {
            self.commit(conditions, vec![Write::Put(key, record::encode(&asked))])
        });
        let until = self.time.now() + NEED.min(self.settings.patience);
        let mut free = false;
        let waits = || {
            let state = self.state();
            !state.closing && !state.is_expelled()
        };
        while result.is_ok() && !free && self.time.now() < until && waits() {
            match watch.next(until.saturating_sub(self.time.now()).min(NEED / 10)) {
                Ok(changes) => {
                    let deleted = |change: &_| matches!(change, Change::Deleted(_));
                    free = changes.iter().any(deleted);
                }
                Err(_) => break,
            }
        }
        // The worker takes the request away.
        wait(false);
        self.wake();
        result.map(|_| free)
    }
}

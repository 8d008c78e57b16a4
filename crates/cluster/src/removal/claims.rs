//! Who may still have something on a network that this host removes.
//!
//! Owns what is known of that without asking: blocks by a watch of their own, the rest by the mirror.
//! It only says when it is worth reading: what is read then decides.

use crate::{
    core::{Core, unavailable},
    keys,
    record::{self, BlockRecord},
};
use std::{collections::BTreeMap, time::Duration};
use vw_model::{HostId, NetworkId, Result};
use vw_store::cluster::{Change, Record, Watch};

/// How long a watch is waited for at once, and the shortest time between two readings.
const LOOK: Duration = Duration::from_millis(100);

/// The longest time between two of them.
const LONGEST: Duration = Duration::from_secs(1);

/// See the module.
pub(super) struct Claims {
    network: NetworkId,
    /// Whose each block is.
    blocks: BTreeMap<String, HostId>,
    watch: Box<dyn Watch>,
    /// When all was read last.
    read: Option<Duration>,
    /// The time until it is read next, where nobody is known to have anything.
    wait: Duration,
}

impl Claims {
    pub(super) fn follow(core: &Core, network: NetworkId, now: Duration) -> Result<Self> {
        let (blocks, watch) = follow_blocks(core, network)?;
        let none = Self {
            network,
            blocks,
            watch,
            read: None,
            wait: LOOK,
        };
        // Also where the mirror says nothing for long.
        let read = (!none.is_free(core)).then_some(now);
        Ok(Self { read, ..none })
    }

    /// Whether nobody who lives is known to have anything.
    fn is_free(&self, core: &Core) -> bool {
        let me = core.settings.host;
        let state = core.state();
        let lives = |host: HostId| host == me || state.mirror.lives(host);
        let blocks = self.blocks.values().copied();
        !blocks.chain(state.mirror.users_of(self.network)).any(lives)
    }

    /// Whether it is time to read who has something.
    pub(super) fn is_due(&self, core: &Core, now: Duration) -> bool {
        let Some(read) = self.read else {
            return true;
        };
        now >= read + LONGEST || (now >= read + self.wait && self.is_free(core))
    }

    /// Notes that it was read.
    pub(super) fn were_read(&mut self, now: Duration) {
        self.read = Some(now);
        self.wait = (self.wait * 2).min(LONGEST);
    }

    /// Waits until something changed, not for long.
    pub(super) fn wait(&mut self, core: &Core) -> Result<()> {
        match self.watch.next(LOOK) {
            Ok(changes) => {
                for change in changes {
                    match change {
                        Change::Put(record) => self.blocks.extend(owner(record)),
                        Change::Deleted(key) => drop(self.blocks.remove(&key)),
                    }
                }
            }
            Err(_) => (self.blocks, self.watch) = follow_blocks(core, self.network)?,
        }
        Ok(())
    }
}

/// Whose the blocks of a network are, and what tells how that changes.
fn follow_blocks(
    core: &Core,
    network: NetworkId,
) -> Result<(BTreeMap<String, HostId>, Box<dyn Watch>)> {
    let prefix = format!("{}/{network}", keys::BLOCKS);
    let (records, watch) = core.store.follow(&prefix).map_err(unavailable)?;
    Ok((records.into_iter().filter_map(owner).collect(), watch))
}

fn owner(record: Record) -> Option<(String, HostId)> {
    let block = record::decode::<BlockRecord>(&record.value).ok()?;
    Some((record.key, block.host))
}

//! What a host holds, written down line by line before anybody else can know, so that a process
//! that is killed leaves it whole.

use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::Write,
    net::IpAddr,
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use vw_model::{EndpointId, HostId, NetworkId};

/// Something that happened, and when; all processes are on one machine and have one clock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    pub(super) at: Duration,
    pub(super) event: Event,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Event {
    /// A daemon runs, as this host.
    Started(HostId),
    /// It belongs to the cluster.
    Joined,
    /// It learned that it was forgotten, and has dropped everything.
    Forgotten,
    /// An address is in use from here on.
    Leased(Lease),
    /// It was in use up to here.
    Dropped(Lease, Why),
    /// A network was made.
    Made(NetworkId),
    /// A network was removed; the request was made then.
    Removed(NetworkId, Duration),
    /// Another host is about to be forgotten.
    Forgetting(HostId),
    /// That was refused.
    NotForgotten(HostId),
}

/// An address in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Lease {
    pub(super) network: NetworkId,
    pub(super) addr: IpAddr,
    pub(super) id: EndpointId,
}

/// Why an address is not used any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Why {
    Asked,
    NetworkGone,
    Forgotten,
    /// The local copy knew nothing of it at a start.
    Lost,
    /// The machine was emptied.
    Emptied,
}

pub(super) fn now() -> Duration {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.expect("the clock is right")
}

/// A host's log, written to.
pub(super) struct Log(File);

impl Log {
    pub(super) fn open(path: &Path) -> Self {
        let file = File::options().create(true).append(true).open(path);
        Self(file.expect("the folder is there"))
    }

    pub(super) fn note(&self, event: Event) {
        let at = now();
        let entry = Entry { at, event };
        let line = serde_json::to_string(&entry).expect("plain data") + "\n";
        // One write, so that a line is there whole or not at all.
        (&self.0).write_all(line.as_bytes()).expect("it is written");
    }
}

/// A host's log, read.
pub(super) fn read(path: &Path) -> Vec<Entry> {
    let text = fs::read_to_string(path).unwrap_or_default();
    let parse = |line| serde_json::from_str(line).expect("whole lines");
    text.lines().map(parse).collect()
}

/// What a host holds by its log.
pub(super) fn held(entries: &[Entry]) -> Vec<Lease> {
    let mut held = BTreeMap::new();
    for entry in entries {
        match entry.event {
            Event::Leased(lease) => drop(held.insert(lease.id, lease)),
            Event::Dropped(lease, _) => drop(held.remove(&lease.id)),
            _ => {}
        }
    }
    held.into_values().collect()
}

//! What a device has done, in numbers.

use serde::{Deserialize, Serialize};
use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};
use vw_model::PublicKey;

/// One peer's numbers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerStats {
    /// The peer's current key.
    pub public: PublicKey,
    /// Since the session in use was agreed; `None` without one.
    pub handshake_age: Option<Duration>,
    /// Bytes of packets sent to it, without the tunnel's own.
    pub sent: u64,
    /// Bytes of packets that came from it.
    pub received: u64,
}

/// A device's numbers since its start.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stats {
    /// Each peer's.
    pub peers: Vec<PeerStats>,
    /// Packets that no peer's addresses cover.
    pub no_peer: u64,
    /// Packets whose source is not the peer's that sent them.
    pub wrong_source: u64,
    /// Datagrams that no key of ours or of a peer's opens: noise, replays, strangers.
    pub refused: u64,
    /// Datagrams and packets that the system would not take.
    pub unsent: u64,
    /// Descriptors that cannot be read any more, as their link or their namespace was deleted:
    /// above zero another device is needed.
    pub lost: u64,
}

/// The device's own counters.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) no_peer: Counter,
    pub(crate) wrong_source: Counter,
    pub(crate) refused: Counter,
    pub(crate) unsent: Counter,
    pub(crate) lost: Counter,
}

impl Counters {
    pub(crate) fn read(&self, peers: Vec<PeerStats>) -> Stats {
        Stats {
            peers,
            no_peer: self.no_peer.get(),
            wrong_source: self.wrong_source.get(),
            refused: self.refused.get(),
            unsent: self.unsent.get(),
            lost: self.lost.get(),
        }
    }
}

/// A number that only grows.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

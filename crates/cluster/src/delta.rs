//! What a follower is told.

use std::{sync::Arc, time::Duration};
use vw_model::{
    EndpointId, HostId, NetworkId, NetworkSpec, RemoteEndpoint, RemoteHost, Result, ServiceId,
    ServiceSpec,
};

/// One change of what this host knows of its cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delta {
    /// A global network is there, or was changed.
    Network(Box<NetworkSpec>),
    /// A global network was removed; its endpoints were told gone before.
    NetworkGone(NetworkId),
    /// A service of a global network is there, or was changed. Its network was told before.
    Service(Box<ServiceSpec>),
    /// A service was removed.
    ServiceGone(ServiceId),
    /// An endpoint on another host that lives or is away is there, or was changed. Its network was
    /// told before.
    Endpoint(Arc<RemoteEndpoint>),
    /// An endpoint was withdrawn, or its host is dead.
    EndpointGone(NetworkId, EndpointId, Parting),
    /// Another host lives or is away, or was changed.
    Host(RemoteHost),
    /// Another host is dead or was forgotten; its endpoints were told gone before.
    HostGone(HostId),
    /// The store can be reached again, or no longer.
    Store(StoreState),
    /// Somebody forgot this host: its addresses may be given to others from now on. When the
    /// call that tells this returns, every endpoint on a global network must be out of service;
    /// the host then joins again, with nothing.
    Forgotten,
    /// This host belongs to the cluster from now on: after its start, or after it was forgotten.
    Joined,
}

/// How an endpoint on another host went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parting {
    /// Its host, which lives, took it out of the store: nobody has its addresses any more.
    Withdrawn,
    /// Its host is dead, or a reading lacked it, as after a backup was brought back: it may be there
    /// and come back.
    Lost,
}

/// Whether the store answers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum StoreState {
    /// It was not reached yet.
    #[default]
    Unknown,
    /// It answers.
    Reachable,
    /// It does not, or does not let this host in.
    Away {
        /// When it last did, by the time since this daemon's start; `None` when it never did.
        since: Option<Duration>,
        /// Why, in a sentence.
        reason: String,
    },
}

/// Who is told.
pub trait Follower: Send + Sync {
    /// Takes changes, in the order in which they happened. One thread calls it, and no lock of
    /// the cluster is held: it may call the cluster.
    fn follow(&self, deltas: Vec<Delta>);

    /// Whether it is on record that what [`Delta::Forgotten`] took down is gone. Until it is, this host does
    /// not join again: its next start must be told once more, as it may find as standing what is gone.
    ///
    /// # Errors
    /// When it cannot be recorded; it is asked again.
    fn has_left(&self) -> Result<()> {
        Ok(())
    }

    /// Whether anything of this host is to be on a network of the cluster, whether it has an endpoint there
    /// at the moment or not: a store that was emptied, or has the records of another cluster, takes no
    /// network from it. Asked by whoever finds the records gone, whatever it holds: it waits for nobody who
    /// may wait for the cluster.
    fn has_members(&self) -> bool {
        false
    }

    /// All that the store has was read and told, and what reading it took is free again.
    fn caught_up(&self) {}
}

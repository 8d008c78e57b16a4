//! What the hosts of a cluster agree on, and each host's mirror of it.
//!
//! Owns the records in the cluster's store, the rules by which they may be changed, this host's
//! local copy of them, and the threads that keep both. It must not touch the kernel, know a
//! driver's rules, or know which store it is.
//!
//! # What is safe, and by what
//!
//! Nothing rests on a lock, a clock or a presence; all of it rests on compare-and-swap.
//!
//! - **A host's fence.** Each transaction of a host depends on the host's own record. To forget
//!   the host is to delete that record, which refuses everything that it sends from then on, or
//!   has sent and that arrives late.
//! - **An address is held once.** It is given only by the host whose block it lies in. A block's
//!   record is made where there is none, and deleted only by its host, after that has stopped
//!   using it for good and on disk, or once its host was forgotten. A host that is cut off, paused
//!   or slow keeps its blocks; it goes on to give addresses out of them. One that was given to another
//!   host is that host's, whichever of its endpoints has it, until it sets out to give it back: see
//!   `ending`. A host that finds no free block asks for such addresses one by one: see `need`.
//! - **What remains**: a host that was *forgotten* while it runs goes on with its addresses until
//!   it learns that. Whoever forgets a host says that it is down, or cut off from the others. A
//!   host that learns it takes its endpoints down before it joins again.
//! - **A network has its name, subnets and VNI alone**: making one replaces a record that orders
//!   all makings.
//! - **A service has its name and ports alone**, likewise; its addresses are granted to itself, so
//!   that they stay its own whichever host made it, dies or is forgotten.
//! - **A removal loses no endpoint** of a living host: see `removal`.
//! - **Counts are derived**, never stored; a record that somebody left behind blocks nothing.
//!
//! # When the store is away
//!
//! What is, stays: the mirror, the local copy, leases, and new leases out of this host's blocks.
//! What is to be published waits. When the store is back everything is read once, compared, and
//! told as differences, and what it lost, brought back from an older backup, is put back: see
//! `restored`. Hosts whose presence ended meanwhile get twice their time to live to
//! renew it before they count as dead.
//!
//! A host whose presence is over and whose kernel answers is away: what leads to its endpoints
//! stays, and nothing new is led there. In all that hosts agree on it is dead: see `mirror::life`.

mod ahead;
mod asking;
mod beside;
mod catalogue;
mod cluster;
mod consent;
mod copy;
mod core;
mod delta;
mod doubts;
mod ending;
mod following;
mod forget;
mod format;
mod giveback;
mod holdings;
mod join;
mod keys;
mod lease;
mod marks;
mod mirror;
mod need;
mod opening;
mod outbox;
mod pulse;
mod record;
mod removal;
mod restored;
mod roster;
mod service;
mod settings;
mod status;
mod time;
mod turn;

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod trial;

pub use cluster::Cluster;
pub use copy::{Local, kept_networks, understood_networks};
pub use delta::{Delta, Follower, Parting, StoreState};
pub use pulse::{Answers, Pulse};
pub use settings::{Settings, default_pools};
pub use status::{HostStatus, Status};

//! Real servers that a cluster's state can lie in: etcd, Consul, ZooKeeper.
//!
//! Owns their processes, folders and ports. They lie in a laboratory's folder, which their
//! command lines name, so that an interrupted run's are swept with it.

mod certificates;
mod consul;
mod etcd;
mod place;
mod server;
mod servers;
mod zookeeper;

pub use certificates::Certificates;
pub use consul::{Consul, ConsulSettings};
pub use etcd::{Etcd, EtcdSettings};
pub use place::Place;
pub use servers::{Kind, Servers};
pub use zookeeper::{ZooKeeper, ZooKeeperSettings};

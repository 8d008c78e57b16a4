//! Every store of a cluster against one suite, over real servers, and what befalls those.

mod conformance;
#[cfg(feature = "consul")]
mod consul;
#[cfg(feature = "etcd")]
mod etcd;
mod faults;
mod partition;
mod proxy;
mod replay;
#[cfg(feature = "zookeeper")]
mod zookeeper;

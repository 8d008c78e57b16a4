//! Every store of a cluster against one suite, over real servers, and what befalls those.

#![cfg(any(feature = "etcd", feature = "consul", feature = "zookeeper"))]

mod conformance;
#[cfg(feature = "consul")]
mod consul;
#[cfg(feature = "etcd")]
mod etcd;
mod faults;
mod memory;
#[cfg(feature = "etcd")]
mod pages;
mod partition;
mod proxy;
mod replay;
mod stopped;
#[cfg(feature = "zookeeper")]
mod zookeeper;

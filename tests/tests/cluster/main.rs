//! One network over several hosts: namespaces joined by a switch, each with its own daemon, and
//! real servers of every store that a cluster's state can lie in.

mod addresses;
mod away;
mod balancers;
mod beside;
mod blocks;
mod credentials;
mod datagrams;
mod empty;
mod encryption;
mod endpoints;
mod engines;
mod failure;
mod forgotten;
mod led;
mod members;
mod membership;
mod multicast;
mod newer;
mod overlay;
mod ports;
mod prefer;
mod restored;
mod route;
mod sctp;
mod services;
mod shortcuts;
mod spread;
mod stage;
mod state;
mod status;
mod store;
mod subnets;
mod translation;
mod unpublished;
mod wireguard;

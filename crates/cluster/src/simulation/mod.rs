//! A cluster played by one thread, from a seed: hosts, their controllers, the store and the
//! network between them.
//!
//! Each host's threads are steps that the world calls in an order of its own; at every call to
//! the store, steps of other hosts and threads may come in between, time passes, and the call may
//! be lost, answered to nobody, or arrive much later. Hosts are cut off, paused, killed, emptied
//! and forgotten, and their clocks run at different speeds. [`history`] says what must never be.

pub(crate) mod chance;
pub(crate) mod history;
mod host;
mod networks;
mod tests;
mod world;

pub(crate) use networks::{family, network, some_address};

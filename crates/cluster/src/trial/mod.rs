//! The history test over real servers: hosts as processes in namespaces of their own, a store of
//! three members in others, and a wire between them that is cut.
//!
//! Each process runs a [`crate::Cluster`] as a daemon does, by a clock that runs at a speed of its
//! own, and writes down what it holds and when. Hosts and members are cut off, killed, stopped,
//! emptied and forgotten, by a schedule made of a seed; what they wrote down, and the store as it
//! was seen meanwhile, are then held against the rules ([`verdict`]). The schedule is the same
//! for the same seed; what happens between its events is up to the machine.

mod evidence;
mod host;
mod log;
mod sample;
mod schedule;
mod stage;
mod tests;
mod verdict;

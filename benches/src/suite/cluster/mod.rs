//! What a cluster costs: the time until all hosts reach what is new, the store's load, and many
//! endpoints elsewhere.

pub(super) mod load;
pub(super) mod reach;
pub(super) mod remote;

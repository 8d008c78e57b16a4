//! What a cluster costs: the time until all hosts reach what is new, the store's load, many endpoints
//! elsewhere, and many hosts where networks are encrypted.

pub(super) mod load;
pub(super) mod reach;
pub(super) mod remote;
pub(super) mod sealed;

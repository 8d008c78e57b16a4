//! Why a cluster's store did not do what it was asked.

/// What went wrong between this host and the store.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClusterError {
    /// An address of a store that cannot be.
    #[error("bad cluster store {address}: {reason}")]
    Address {
        /// As it was given.
        address: String,
        /// What is wrong with it.
        reason: String,
    },
    /// An option of a store that cannot be.
    #[error("bad cluster store option {option}: {reason}")]
    Setting {
        /// Its key.
        option: String,
        /// What is wrong with it.
        reason: String,
    },
    /// No server answered in time; nothing was changed.
    #[error("the {store} store is away: {reason}")]
    Unavailable {
        /// Its kind.
        store: &'static str,
        /// What each server said.
        reason: String,
    },
    /// A change was sent and no answer came: it may have been made.
    #[error("the {store} store did not say whether it made a change: {reason}")]
    Uncertain {
        /// Its kind.
        store: &'static str,
        /// What happened.
        reason: String,
    },
    /// The store does not let us in.
    #[error("the {store} store refuses us: {reason}: check user, password, token and certificates")]
    Forbidden {
        /// Its kind.
        store: &'static str,
        /// Its own words.
        reason: String,
    },
    /// The store answered what we do not understand.
    #[error("the {store} store gave an answer that cannot be understood: {reason}")]
    Protocol {
        /// Its kind.
        store: &'static str,
        /// What was wrong with it.
        reason: String,
    },
    /// A key, value or transaction that no store takes.
    #[error("cannot be kept in a cluster's store: {reason}")]
    Unfit {
        /// What is wrong with it.
        reason: String,
    },
    /// Changes may have been missed: all must be read again.
    #[error("changes of the {store} store may have been missed: {reason}")]
    Lost {
        /// Its kind.
        store: &'static str,
        /// Why.
        reason: String,
    },
    /// A presence is over.
    #[error("this host's presence in the {store} store has expired")]
    Expired {
        /// Its kind.
        store: &'static str,
    },
}

//! What the server has done so far, for metrics.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Totals since the server started; read one by one, so not of one instant.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        pub struct Counters {
            $($(#[$doc])* pub $name: u64,)*
        }

        /// The totals as the threads count them.
        #[derive(Debug, Default)]
        pub(crate) struct Tally {
            $(pub(crate) $name: Counter,)*
        }

        impl Tally {
            pub(crate) fn read(&self) -> Counters {
                Counters { $($name: self.$name.0.load(Relaxed),)* }
            }
        }
    };
}

counters! {
    /// Messages that came in.
    queries,
    /// Answered here, refusals of malformed ones included.
    local,
    /// Passed on to upstreams, answered from the cache or joined to one under way.
    forwarded,
    /// Of the forwarded: answered from the cache.
    cache_hits,
    /// Of the forwarded: joined to the same question under way.
    joined,
    /// Refused because too many were waiting.
    refused,
    /// Of the forwarded: nobody answered in time, or all failed.
    failed,
    /// Not answered at all: no query, or the reply could not be sent.
    dropped,
    /// Messages from upstreams that did not fit what was asked: forged, late or broken.
    unfit,
}

/// One total.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn count(&self) {
        self.0.fetch_add(1, Relaxed);
    }
}

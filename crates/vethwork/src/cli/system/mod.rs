//! Commands about the daemon and about this program.

mod completion;
mod events;
mod info;
mod version;

pub(crate) use completion::{Completion, Man};
pub(crate) use events::Events;
pub(crate) use info::Info;
pub(crate) use version::Version;

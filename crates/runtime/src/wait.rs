//! Waiting for descriptors, never by sleeping.
//!
//! Owns poll(2) with interruption handled, and how long we are patient with processes
//! that were killed.

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fd::{AsFd, BorrowedFd},
    io::Errno,
};
use std::time::{Duration, Instant};

/// How long a killed process may take to go before we say that it did not.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// How long somebody waits for what may never come.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Until<'a> {
    /// For ever when absent.
    pub(crate) deadline: Option<Instant>,
    /// Readable once nobody waits any more.
    pub(crate) left: Option<BorrowedFd<'a>>,
}

impl Until<'_> {
    /// So long from now.
    pub(crate) fn within(time: Duration) -> Self {
        Self {
            deadline: Some(Instant::now() + time),
            left: None,
        }
    }

    /// Waits until one of the descriptors is readable, and says which; `None` when it was waited
    /// long enough.
    pub(crate) fn any_readable(&self, fds: &[BorrowedFd<'_>]) -> Option<usize> {
        let now = Instant::now();
        let left = self.deadline.map(|d| d.saturating_duration_since(now));
        let all: Vec<BorrowedFd<'_>> = self.left.iter().chain(fds).copied().collect();
        let which = any_readable(&all, left)?;
        which.checked_sub(all.len() - fds.len())
    }
}

/// Waits until a descriptor is readable (a pidfd: until the process ended); false when
/// the time ran out first.
pub(crate) fn readable(fd: &impl AsFd, patience: Duration) -> bool {
    any_readable(&[fd.as_fd()], Some(patience)).is_some()
}

/// Waits until one of the descriptors is readable, and says which; the first, when several
/// are. `None` when the time ran out.
pub(crate) fn any_readable(fds: &[BorrowedFd<'_>], patience: Option<Duration>) -> Option<usize> {
    let deadline = patience.map(|patience| Instant::now() + patience);
    let mut polled: Vec<_> = fds
        .iter()
        .map(|fd| PollFd::new(fd, PollFlags::IN))
        .collect();
    loop {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let timeout = left.and_then(|left| Timespec::try_from(left).ok());
        match poll(&mut polled, timeout.as_ref()) {
            Ok(0) => return None,
            Ok(_) => return polled.iter().position(|fd| !fd.revents().is_empty()),
            Err(Errno::INTR) => {}
            // Only a bad pointer or no memory: nothing that waiting again would mend.
            Err(_) => return None,
        }
    }
}

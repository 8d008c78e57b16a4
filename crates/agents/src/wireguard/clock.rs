//! Whether the wall clock was set back since the present key came in use.
//!
//! Owns the note of the last time seen, in a file beside the keys, which says it after a restart. A
//! handshake carries the wall clock's time, and peers take none from before the last one of the same
//! key (WireGuard's TAI64N): a host whose clock was set back needs another key.

use std::{
    fs, io,
    path::PathBuf,
    time::{Duration, SystemTime},
};

/// By how much the clock may be set back with nothing done: it has caught up before a change of keys
/// would be through.
const TOLERANCE: Duration = Duration::from_secs(5);
/// How long it is until the time is noted again.
const NOTED: Duration = Duration::from_secs(10 * 60);

/// What the clocks say at one moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reading {
    pub(super) wall: SystemTime,
    /// Since the kernel started, also while it slept: nobody sets it, and what slows or hastens the
    /// wall clock does the same to it.
    pub(super) boot: Duration,
}

/// See the module.
#[derive(Debug)]
pub(super) struct WallClock {
    file: PathBuf,
    /// The time that the file says.
    noted: Option<SystemTime>,
    /// The last one by which the clock was not behind.
    ahead: Option<Reading>,
    is_back: bool,
}

impl Reading {
    pub(super) fn now() -> Self {
        let mut boot = libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        // SAFETY: the kernel writes one `timespec` at the address of one.
        let read = unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &raw mut boot) };
        assert_eq!(read, 0, "a clock that every kernel has is read");
        let seconds = u64::try_from(boot.tv_sec).unwrap_or_default();
        let rest = u32::try_from(boot.tv_nsec).unwrap_or_default();
        Self {
            wall: SystemTime::now(),
            boot: Duration::new(seconds, rest),
        }
    }
}

impl WallClock {
    /// By the note in a file; a file that says no time says nothing.
    pub(super) fn open(file: PathBuf) -> Self {
        let text = fs::read_to_string(&file).ok();
        let seconds = text.and_then(|text| text.trim().parse().ok());
        let noted = seconds
            .and_then(|seconds| SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds)));
        Self {
            file,
            noted,
            ahead: None,
            is_back: false,
        }
    }

    /// Whether the clock was set back since [`Self::begin_anew`], as far as this was told.
    pub(super) fn is_set_back(&mut self, now: Reading) -> bool {
        let expected = match self.ahead {
            Some(ahead) => Some(ahead.wall + now.boot.saturating_sub(ahead.boot)),
            None => self.noted,
        };
        if expected.is_some_and(|expected| now.wall + TOLERANCE < expected) {
            self.is_back = true;
        } else if self.ahead.is_none() || expected.is_some_and(|expected| now.wall > expected) {
            self.ahead = Some(now);
        }
        // The file says until when the present key was used until that is another one.
        if !self.is_back && self.noted.is_none_or(|noted| now.wall >= noted + NOTED) {
            self.note(now.wall);
        }
        self.is_back
    }

    /// Another key is in use, under which no time was told.
    pub(super) fn begin_anew(&mut self, now: Reading) {
        (self.ahead, self.is_back) = (Some(now), false);
        self.note(now.wall);
    }

    fn note(&mut self, wall: SystemTime) {
        self.noted = Some(wall);
        let since = wall.duration_since(SystemTime::UNIX_EPOCH);
        let seconds = since.unwrap_or_default().as_secs();
        if let Err(error) = self.write(seconds) {
            // The next one is tried when that is due; what is lost is to be told after a restart.
            tracing::debug!("cannot write {}: {error}", self.file.display());
        }
    }

    fn write(&self, seconds: u64) -> io::Result<()> {
        let new = self.file.with_extension("seen.new");
        fs::write(&new, format!("{seconds}\n"))?;
        fs::rename(&new, &self.file)
    }
}

#[cfg(test)]
mod tests;

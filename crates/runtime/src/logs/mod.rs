//! `logs`: what a container wrote, from the file that conmon keeps.
//!
//! Owns reading and following it. conmon alone writes it, in the format of Kubernetes
//! (CRI): time, stream, `F` for a whole line or `P` for a part, text. The file is not
//! rotated: it goes with the container.

mod record;
mod tail;

pub use record::LogEntry;

use crate::{
    conmon::{self, Stream},
    container::Runtime,
    error::{Context, Error, Result},
    layout::RunDir,
    wait,
};
use rustix::{
    event::{EventfdFlags, eventfd},
    fd::{AsFd, OwnedFd},
    fs::inotify,
};
use std::{
    fs::File,
    io::{BufRead, BufReader, Seek, SeekFrom},
    mem::MaybeUninit,
    sync::Arc,
    time::{Duration, SystemTime},
};
use vw_model::{
    SandboxId,
    rfc3339::{self, Nanos},
};

/// Which part of a log, and whether to wait for more.
#[derive(Debug, Clone, Copy)]
pub struct LogOptions {
    /// Go on until the container ends.
    pub follow: bool,
    /// Nothing before this.
    pub since: Option<SystemTime>,
    /// Nothing after this.
    pub until: Option<SystemTime>,
    /// The last lines only, of both streams together.
    pub tail: Option<u64>,
    /// Standard output.
    pub stdout: bool,
    /// Standard error.
    pub stderr: bool,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self {
            follow: false,
            since: None,
            until: None,
            tail: None,
            stdout: true,
            stderr: true,
        }
    }
}

/// Entries of a log, oldest first; waits for more when it follows.
#[derive(Debug)]
pub struct LogReader {
    file: BufReader<File>,
    /// A line that conmon has not finished.
    pending: Vec<u8>,
    since: Option<Nanos>,
    until: Option<Nanos>,
    stdout: bool,
    stderr: bool,
    follow: Option<Follow>,
}

#[derive(Debug)]
struct Follow {
    changes: OwnedFd,
    /// conmon, until it has ended.
    monitor: Option<OwnedFd>,
    cancel: LogCancel,
}

/// Ends a [`LogReader`] that waits, from another thread.
#[derive(Debug, Clone)]
pub struct LogCancel(Arc<OwnedFd>);

impl LogCancel {
    /// Makes the reader end as if the container had.
    pub fn cancel(&self) {
        // The counter of an eventfd takes any number of writes of 1.
        let _ = rustix::io::write(&*self.0, &1_u64.to_ne_bytes());
    }
}

impl Runtime {
    /// Opens a container's log. A container that never wrote has an empty one.
    ///
    /// # Errors
    /// [`Error::NoSuchContainer`] when it was never created, [`Error::Io`].
    pub fn logs(&self, id: SandboxId, options: &LogOptions) -> Result<LogReader> {
        let path = self.layout.log(id);
        let what = || format!("read {}", path.display());
        let file = match File::open(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                if !self.layout.container_data(id).exists() {
                    return Err(Error::NoSuchContainer(id.to_string()));
                }
                // Not yet started: conmon makes it. An empty one of ours is appended to.
                File::options()
                    .read(true)
                    .append(true)
                    .create(true)
                    .open(&path)
            }
            other => other,
        };
        let mut file = file.context(what)?;
        // Watched before it is read, so that nothing falls between.
        let follow = options
            .follow
            .then(|| Follow::start(&path, &self.layout.run(id)))
            .transpose()?;
        if let Some(lines) = options.tail {
            let from = tail::offset(&file, lines).context(what)?;
            file.seek(SeekFrom::Start(from)).context(what)?;
        }
        Ok(LogReader {
            file: BufReader::with_capacity(64 << 10, file),
            pending: Vec::new(),
            since: options.since.map(rfc3339::nanos),
            until: options.until.map(rfc3339::nanos),
            stdout: options.stdout,
            stderr: options.stderr,
            follow,
        })
    }
}

impl Follow {
    fn start(path: &std::path::Path, run: &RunDir) -> Result<Self> {
        let watch = || {
            let flags = inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK;
            let changes = inotify::init(flags)?;
            inotify::add_watch(&changes, path, inotify::WatchFlags::MODIFY)?;
            let cancel = eventfd(0, EventfdFlags::CLOEXEC)?;
            Ok::<_, rustix::io::Errno>((changes, LogCancel(Arc::new(cancel))))
        };
        let (changes, cancel) = watch().context(|| format!("watch {}", path.display()))?;
        Ok(Self {
            changes,
            monitor: conmon::find(run),
            cancel,
        })
    }

    /// Waits for more, until a moment; false when none will come.
    fn wait(&mut self, until: Option<Nanos>) -> bool {
        let Some(monitor) = &self.monitor else {
            return false;
        };
        let cancel = self.cancel.0.as_fd();
        let left = until.map(|until| until - rfc3339::nanos(SystemTime::now()));
        let left = left.map(|nanos| Duration::from_nanos(u64::try_from(nanos).unwrap_or(0)));
        let which = wait::any_readable(&[cancel, self.changes.as_fd(), monitor.as_fd()], left);
        match which {
            Some(1) => {
                let mut buffer = [MaybeUninit::uninit(); 1024];
                let mut reader = inotify::Reader::new(&self.changes, &mut buffer);
                while reader.next().is_ok() {}
                true
            }
            // It ended: what it wrote last is read once more.
            Some(2) => {
                self.monitor = None;
                true
            }
            _ => false,
        }
    }
}

impl LogReader {
    /// A handle to end a reader that follows; `None` for one that does not.
    #[must_use]
    pub fn canceller(&self) -> Option<LogCancel> {
        self.follow.as_ref().map(|follow| follow.cancel.clone())
    }

    /// The next line of the file, without its line feed.
    fn line(&mut self) -> Result<Option<Vec<u8>>> {
        let until = self.until;
        loop {
            let read = self.file.read_until(b'\n', &mut self.pending);
            read.context(|| "read a container's log".to_owned())?;
            if self.pending.ends_with(b"\n") {
                self.pending.pop();
                return Ok(Some(std::mem::take(&mut self.pending)));
            }
            if !self
                .follow
                .as_mut()
                .is_some_and(|follow| follow.wait(until))
            {
                return Ok(None);
            }
        }
    }

    fn wanted(&self, entry: &LogEntry) -> bool {
        let stream = match entry.stream {
            Stream::Stdout => self.stdout,
            Stream::Stderr => self.stderr,
        };
        stream && self.since.is_none_or(|since| entry.nanos >= since)
    }
}

impl Iterator for LogReader {
    type Item = Result<LogEntry>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let line = match self.line() {
                Ok(Some(line)) => line,
                Ok(None) => return None,
                Err(error) => return Some(Err(error)),
            };
            // A line that conmon could not finish, on a full disk, is not the others' end.
            let Some(entry) = record::parse(&line) else {
                continue;
            };
            if self.until.is_some_and(|until| entry.nanos > until) {
                return None;
            }
            if self.wanted(&entry) {
                return Some(Ok(entry));
            }
        }
    }
}

#[cfg(test)]
mod tests;

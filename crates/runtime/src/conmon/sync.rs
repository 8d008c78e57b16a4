//! What conmon tells its parent: one JSON object a line, in a regular file.
//!
//! Owns reading it as it grows. The first answer is the process id, or -1 with the OCI
//! runtime's words; for an `exec`, the second is the exit status.

use crate::{
    error::{Context, Error, Result},
    wait::Until,
};
use rustix::{
    fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd},
    fs::inotify,
};
use std::{
    fs::{File, OpenOptions},
    mem::MaybeUninit,
    os::unix::fs::FileExt,
    path::Path,
};

/// One answer.
#[derive(Debug, PartialEq, Eq, serde::Deserialize)]
pub(crate) struct Answer {
    pub(crate) data: i32,
    #[serde(default)]
    pub(crate) message: String,
}

/// The file, and how far it was read.
pub(crate) struct SyncFile {
    file: File,
    watch: OwnedFd,
    read: u64,
}

impl SyncFile {
    /// Makes it anew and begins to watch it.
    pub(crate) fn create(path: &Path) -> Result<Self> {
        // A new file each time: an earlier conmon may still hold the old one.
        crate::files::remove_file(path)?;
        let file = OpenOptions::new()
            .read(true)
            .append(true)
            .create_new(true)
            .open(path)
            .context(|| format!("make {}", path.display()))?;
        let watch = || {
            let watch =
                inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?;
            inotify::add_watch(&watch, path, inotify::WatchFlags::MODIFY)?;
            Ok::<_, rustix::io::Errno>(watch)
        };
        Ok(Self {
            file,
            watch: watch().context(|| format!("watch {}", path.display()))?,
            read: 0,
        })
    }

    /// Waits for the next answer; `None` when conmon (`monitor`, or absent because it has
    /// ended) will give no more.
    ///
    /// # Errors
    /// [`Error::Late`] when it was waited long enough.
    pub(crate) fn next(
        &mut self,
        monitor: Option<BorrowedFd<'_>>,
        until: &Until<'_>,
    ) -> Result<Option<Answer>> {
        loop {
            // Asked before reading: what an ended conmon wrote is all there.
            let ended = monitor.is_none_or(|monitor| ended(monitor));
            if let Some(answer) = self.take()? {
                return Ok(Some(answer));
            }
            let Some(monitor) = monitor.filter(|_| !ended) else {
                return Ok(None);
            };
            let told = until.any_readable(&[self.watch.as_fd(), monitor]);
            told.ok_or_else(|| Error::Late("conmon's answer".to_owned()))?;
            self.forget_events();
        }
    }

    fn take(&mut self) -> Result<Option<Answer>> {
        let mut text = Vec::new();
        let mut block = [0; 4096];
        loop {
            let at = self.read + text.len() as u64;
            let count = self
                .file
                .read_at(&mut block, at)
                .context(|| "read conmon's answer".to_owned())?;
            text.extend_from_slice(&block[..count]);
            if let Some(end) = text.iter().position(|byte| *byte == b'\n') {
                self.read += end as u64 + 1;
                return Ok(Some(parse(&String::from_utf8_lossy(&text[..end]))));
            }
            if count == 0 {
                return Ok(None);
            }
        }
    }

    fn forget_events(&self) {
        let mut buffer = [MaybeUninit::uninit(); 1024];
        let mut reader = inotify::Reader::new(&self.watch, &mut buffer);
        while reader.next().is_ok() {}
    }
}

impl AsRawFd for SyncFile {
    fn as_raw_fd(&self) -> RawFd {
        self.file.as_raw_fd()
    }
}

impl AsFd for SyncFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

fn ended(monitor: BorrowedFd<'_>) -> bool {
    crate::wait::readable(&monitor, std::time::Duration::ZERO)
}

/// conmon escapes not every control character, so that its JSON may not be any: the line
/// itself is the message then.
fn parse(line: &str) -> Answer {
    serde_json::from_str(line).unwrap_or_else(|_| Answer {
        data: -1,
        message: line.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::{Answer, parse};

    #[test]
    fn answers() {
        let answer = |data, message: &str| Answer {
            data,
            message: message.to_owned(),
        };
        assert_eq!(parse(r#"{"data": 42}"#), answer(42, ""));
        assert_eq!(
            parse(r#"{"data": -1, "message": "no \"x\""}"#),
            answer(-1, "no \"x\"")
        );
        assert_eq!(parse("{\"data\": -1, \"message\": \"\u{1f}\"}").data, -1);
        assert_eq!(parse("gibberish"), answer(-1, "gibberish"));
    }
}

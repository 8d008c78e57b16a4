//! Containers by a real OCI runtime under conmon, and the root file systems they run on.
//!
//! Owns processes, mounts, control groups, images and logs of containers, below the data
//! directory and the run directory that it is given. Everything is found again from these
//! after a kill -9: conmon keeps each container's output, terminal and exit status.
//!
//! It must not know networks (it gets the path of a namespace), restart policies, or who
//! asked; and it is synchronous: what waits, waits on a thread of the caller's.

mod cgroup;
mod check;
mod command;
mod conmon;
mod container;
mod error;
mod exec;
mod files;
mod images;
mod inroot;
mod layout;
mod lifecycle;
mod logs;
mod programs;
mod rootfs;
mod spec;
mod state;
mod wait;
mod watch;

pub use check::Checked;
pub use conmon::{ATTACH_MESSAGE, AttachStream, Stream};
pub use container::{Runtime, Settings};
pub use error::{Error, Result};
pub use exec::{ExecSession, ExecSpec};
pub use images::{HOST, Image, ImageConfig, ImageId, Images, Reference, Removed, StringSet};
pub use lifecycle::CreateRequest;
pub use logs::{LogCancel, LogEntry, LogOptions, LogReader};
pub use programs::Programs;
pub use rustix::process::Signal;
pub use spec::WindowSize;
pub use state::State;
pub use watch::{ExitEvent, ExitWatcher, WatchEnd};

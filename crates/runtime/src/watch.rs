//! Ends of containers, reported as they come.
//!
//! Owns the waiting: inotify on the directory where conmon leaves exit files, and a pidfd
//! of each conmon, all in one epoll set on one thread, so that a thousand containers cost
//! a thousand descriptors and no wake-ups. Works the same for containers of an earlier
//! life of the daemon, once they are registered.
//!
//! A container whose conmon died has no one to learn its exit status from, and its output
//! leads nowhere: it is killed, and reported with status 137 and `monitor_lost`.

use crate::{
    cgroup::Cgroups,
    conmon,
    error::{Context, Result},
    files,
    layout::{Layout, RunDir},
};
use rustix::{
    event::{EventfdFlags, epoll, eventfd},
    fd::{AsFd, OwnedFd},
    fs::inotify,
    io::Errno,
    process::Signal,
};
use std::{
    collections::HashMap,
    ffi::CStr,
    fs,
    mem::MaybeUninit,
    str::FromStr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        mpsc::{Receiver, Sender, channel},
    },
    time::SystemTime,
};
use vw_model::SandboxId;

/// The status of a process that was killed by SIGKILL.
pub(crate) const KILLED: i32 = 137;

const INOTIFY: u64 = 0;
const STOP: u64 = 1;
const FIRST_TOKEN: u64 = 2;

/// The end of one container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExitEvent {
    /// Which.
    pub id: SandboxId,
    /// Its exit status; 128 and the signal when it was killed by one.
    pub code: i32,
    /// When.
    pub at: SystemTime,
    /// The kernel killed in it for want of memory.
    pub oom: bool,
    /// Its conmon had died: the status is not its own, its last output is lost.
    pub monitor_lost: bool,
}

/// Receives the end of every container; ends its thread when dropped.
#[derive(Debug)]
pub struct ExitWatcher {
    events: Receiver<ExitEvent>,
    stop: Arc<OwnedFd>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl ExitWatcher {
    /// The channel on which ends are reported, each once.
    #[must_use]
    pub fn events(&self) -> &Receiver<ExitEvent> {
        &self.events
    }

    /// Ends the reports when dropped, for an owner that is not the one who receives them.
    #[must_use]
    pub fn end(&self) -> WatchEnd {
        WatchEnd(Arc::clone(&self.stop))
    }
}

/// Closes the channel of an [`ExitWatcher`] when dropped.
#[derive(Debug)]
pub struct WatchEnd(Arc<OwnedFd>);

impl Drop for WatchEnd {
    fn drop(&mut self) {
        // The counter of an eventfd takes any number of writes of 1.
        let _ = rustix::io::write(&*self.0, &1_u64.to_ne_bytes());
    }
}

impl Drop for ExitWatcher {
    fn drop(&mut self) {
        drop(self.end());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Where containers are registered to be watched.
#[derive(Debug, Clone)]
pub(crate) struct Registry(Weak<Shared>);

#[derive(Debug)]
struct Shared {
    layout: Layout,
    cgroups: Arc<Cgroups>,
    epoll: OwnedFd,
    watched: Mutex<Watched>,
    sender: Sender<ExitEvent>,
}

#[derive(Debug, Default)]
struct Watched {
    next: u64,
    by_id: HashMap<SandboxId, u64>,
    by_token: HashMap<u64, (SandboxId, OwnedFd)>,
}

/// Starts the thread.
pub(crate) fn start(layout: &Layout, cgroups: Arc<Cgroups>) -> Result<(ExitWatcher, Registry)> {
    let what = || "watch for the end of containers".to_owned();
    let exits = layout.exits();
    let notify = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK);
    let notify = notify.context(what)?;
    // conmon writes beside and renames.
    inotify::add_watch(&notify, &exits, inotify::WatchFlags::MOVED_TO).context(what)?;
    let stop = Arc::new(eventfd(0, EventfdFlags::CLOEXEC).context(what)?);
    let set = epoll::create(epoll::CreateFlags::CLOEXEC).context(what)?;
    for (fd, token) in [(notify.as_fd(), INOTIFY), (stop.as_fd(), STOP)] {
        let data = epoll::EventData::new_u64(token);
        epoll::add(&set, fd, data, epoll::EventFlags::IN).context(what)?;
    }
    let (sender, events) = channel();
    let shared = Arc::new(Shared {
        layout: layout.clone(),
        cgroups,
        epoll: set,
        watched: Mutex::new(Watched {
            next: FIRST_TOKEN,
            ..Watched::default()
        }),
        sender,
    });
    let registry = Registry(Arc::downgrade(&shared));
    let thread = std::thread::Builder::new()
        .name("exit-watcher".to_owned())
        .spawn(move || shared.run(&notify))
        .context(what)?;
    let watcher = ExitWatcher {
        events,
        stop,
        thread: Some(thread),
    };
    Ok((watcher, registry))
}

impl Registry {
    /// Watches a container from now on; what happened before is reported at once.
    pub(crate) fn register(&self, id: SandboxId) -> Result<()> {
        match self.0.upgrade() {
            Some(shared) => shared.register(id),
            None => Ok(()),
        }
    }

    /// Watches a container unless it is watched.
    pub(crate) fn register_unknown(&self, id: SandboxId) -> Result<()> {
        match self.0.upgrade() {
            Some(shared) if !shared.lock().by_id.contains_key(&id) => shared.register(id),
            _ => Ok(()),
        }
    }

    /// Forgets a container: it is being removed, and its end is nobody's business.
    pub(crate) fn forget(&self, id: SandboxId) {
        if let Some(shared) = self.0.upgrade() {
            shared.lock().take(id);
        }
    }
}

impl Watched {
    fn take(&mut self, id: SandboxId) -> Option<OwnedFd> {
        let token = self.by_id.remove(&id)?;
        // Closing the pidfd takes it out of the epoll set.
        self.by_token.remove(&token).map(|(_, pidfd)| pidfd)
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Watched> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn register(&self, id: SandboxId) -> Result<()> {
        let run = self.layout.run(id);
        let Some(pidfd) = conmon::find(&run) else {
            // It has ended already, or was never there.
            self.report(id);
            return Ok(());
        };
        let mut watched = self.lock();
        let token = watched.next;
        watched.next += 1;
        let data = epoll::EventData::new_u64(token);
        epoll::add(&self.epoll, &pidfd, data, epoll::EventFlags::IN)
            .context(|| format!("watch container {id}"))?;
        watched.take(id);
        watched.by_id.insert(id, token);
        watched.by_token.insert(token, (id, pidfd));
        drop(watched);
        // The exit file may have come between the start and now; if conmon's end wakes the
        // thread besides, it finds nothing left to report.
        if self.layout.exit_file(id).exists() {
            self.ended(id);
        }
        Ok(())
    }

    fn run(&self, notify: &OwnedFd) {
        let mut events = [MaybeUninit::<epoll::Event>::uninit(); 64];
        loop {
            let (ready, _) = match epoll::wait(&self.epoll, &mut events[..], None) {
                Ok(ready) => ready,
                Err(Errno::INTR) => continue,
                Err(error) => {
                    tracing::error!(%error, "ends of containers are no longer seen");
                    return;
                }
            };
            for event in ready.iter() {
                match event.data.u64() {
                    INOTIFY => self.exit_files(notify),
                    STOP => return,
                    token => {
                        let id = self.lock().by_token.get(&token).map(|(id, _)| *id);
                        id.into_iter().for_each(|id| self.ended(id));
                    }
                }
            }
        }
    }

    fn exit_files(&self, notify: &OwnedFd) {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut reader = inotify::Reader::new(notify, &mut buffer);
        while let Ok(event) = reader.next() {
            if event.events().contains(inotify::ReadFlags::QUEUE_OVERFLOW) {
                self.every_exit_file();
            }
            let name = event.file_name().map(CStr::to_string_lossy);
            if let Some(id) = name.and_then(|name| SandboxId::from_str(&name).ok()) {
                self.ended(id);
            }
        }
    }

    /// When the kernel dropped events, the directory tells.
    fn every_exit_file(&self) {
        let entries = fs::read_dir(self.layout.exits())
            .into_iter()
            .flatten()
            .flatten();
        for entry in entries {
            if let Ok(id) = entry.file_name().to_string_lossy().parse() {
                self.ended(id);
            }
        }
    }

    /// Reports a registered container once.
    fn ended(&self, id: SandboxId) {
        if self.lock().take(id).is_some() {
            self.report(id);
        }
    }

    fn report(&self, id: SandboxId) {
        match exit_of(&self.layout, &self.cgroups, id) {
            Ok(event) => {
                // The receiver has gone only when the daemon ends.
                let _ = self.sender.send(event);
            }
            Err(error) => tracing::error!(%id, %error, "the end of a container is not known"),
        }
    }
}

/// The end of a container whose conmon has gone, from its exit file; without one the
/// container is killed first and the file made.
pub(crate) fn exit_of(layout: &Layout, cgroups: &Cgroups, id: SandboxId) -> Result<ExitEvent> {
    let run = layout.run(id);
    let file = layout.exit_file(id);
    let marker = run.path().join("monitor-lost");
    if files::read(&file)?.is_none() {
        files::replace(&marker, b"")?;
        kill_orphan(&run, cgroups, id);
        files::replace(&file, KILLED.to_string().as_bytes())?;
    }
    let text = files::read(&file)?.unwrap_or_default();
    let modified = fs::metadata(&file).and_then(|meta| meta.modified());
    Ok(ExitEvent {
        id,
        code: text.trim().parse().unwrap_or(KILLED),
        at: modified.context(|| format!("look at {}", file.display()))?,
        oom: run.oom().exists(),
        monitor_lost: marker.exists(),
    })
}

fn kill_orphan(run: &RunDir, cgroups: &Cgroups, id: SandboxId) {
    if let Some((_, pidfd)) = cgroups.first_process(run, id)
        && rustix::process::pidfd_send_signal(&pidfd, Signal::KILL).is_ok()
    {
        crate::wait::readable(&pidfd, crate::wait::PATIENCE);
    }
}

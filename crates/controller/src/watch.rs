//! The end of processes that are not our children, told once.

use crate::registry::lock;
use rustix::{
    event::{
        EventfdFlags,
        epoll::{CreateFlags, Event, EventData, EventFlags, add, create, delete, wait},
        eventfd,
    },
    process::{Pid, PidfdFlags, pidfd_open},
};
use std::{
    collections::HashMap,
    io,
    os::fd::OwnedFd,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

type Then = Box<dyn FnOnce() + Send>;

/// The key of the descriptor that ends the thread; those of processes count up from 0.
const STOP: u64 = u64::MAX;

/// Waits for any number of processes on one thread, which ends with it.
pub(crate) struct Watcher {
    shared: Arc<Shared>,
    stop: OwnedFd,
}

struct Shared {
    epoll: OwnedFd,
    waiting: Mutex<HashMap<u64, (OwnedFd, Then)>>,
    next: AtomicU64,
}

/// Which wait to call off.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wait(u64);

impl Drop for Watcher {
    fn drop(&mut self) {
        // The counter of an eventfd takes any number of writes of 1.
        let _ = rustix::io::write(&self.stop, &1_u64.to_ne_bytes());
    }
}

impl Watcher {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system is out of descriptors or threads.
    pub(crate) fn start() -> io::Result<Self> {
        let epoll = create(CreateFlags::CLOEXEC)?;
        let stop = eventfd(0, EventfdFlags::CLOEXEC)?;
        add(&epoll, &stop, EventData::new_u64(STOP), EventFlags::IN)?;
        let shared = Arc::new(Shared {
            epoll,
            waiting: Mutex::new(HashMap::new()),
            next: AtomicU64::new(0),
        });
        let thread = shared.clone();
        thread::Builder::new()
            .name("watch".to_owned())
            .spawn(move || thread.run())?;
        Ok(Self { shared, stop })
    }

    /// Calls `then`, on a thread of its own, once the process has ended; at once when the id is
    /// free or belongs to a process that started at another time. `None` when nothing is waited for.
    pub(crate) fn on_end(
        &self,
        pid: u32,
        start_time: u64,
        then: impl FnOnce() + Send + 'static,
    ) -> Option<Wait> {
        let Some(fd) = open(pid, start_time) else {
            call(Box::new(then));
            return None;
        };
        let key = self.shared.next.fetch_add(1, Ordering::Relaxed);
        let mut waiting = lock(&self.shared.waiting);
        match add(
            &self.shared.epoll,
            &fd,
            EventData::new_u64(key),
            EventFlags::IN,
        ) {
            Ok(()) => {
                waiting.insert(key, (fd, Box::new(then)));
                Some(Wait(key))
            }
            Err(error) => {
                tracing::error!("cannot watch process {pid}: {error}");
                None
            }
        }
    }

    /// Calls a wait off, with what it holds; one that is over is off already.
    pub(crate) fn forget(&self, wait: Wait) {
        // Closing the descriptor takes it out of the set.
        lock(&self.shared.waiting).remove(&wait.0);
    }
}

impl Shared {
    fn run(&self) {
        let mut events = [Event {
            flags: EventFlags::empty(),
            data: EventData::new_u64(0),
        }; 16];
        loop {
            let ready = match wait(&self.epoll, &mut events[..], None) {
                Ok(ready) => ready,
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => {
                    return tracing::error!("no longer watching adopted processes: {error}");
                }
            };
            for event in &events[..ready] {
                if event.data.u64() == STOP {
                    return;
                }
                let ended = lock(&self.waiting).remove(&event.data.u64());
                if let Some((fd, then)) = ended {
                    if let Err(error) = delete(&self.epoll, &fd) {
                        tracing::debug!("epoll: {error}");
                    }
                    call(then);
                }
            }
        }
    }
}

fn call(then: Then) {
    if let Err(error) = thread::Builder::new().name("ended".to_owned()).spawn(then) {
        tracing::error!("cannot handle the end of a process: {error}");
    }
}

fn open(pid: u32, start_time: u64) -> Option<OwnedFd> {
    let fd = pidfd_open(
        Pid::from_raw(i32::try_from(pid).ok()?)?,
        PidfdFlags::empty(),
    )
    .ok()?;
    // Read after the descriptor is held: a reused id has another start time.
    (crate::sandboxes::start_time(pid).ok()? == start_time).then_some(fd)
}

#[cfg(test)]
mod tests;

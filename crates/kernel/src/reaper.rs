//! Deletes, in the background and many at once, links that were taken out of service.
//!
//! Unregistering a device waits for RCU grace periods (16 to 20 ms), about as long for a hundred
//! as for one; so nobody waits for it, and what comes within a moment goes together.

use crate::{
    alarm::Alarm,
    netlink::{Batch, Socket, link},
    netns::lock,
};
use std::{
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

/// How long the first link waits for company. Deleting holds the RTNL, so it also keeps away from
/// an attachment that follows a detachment at once.
const GATHER: Duration = Duration::from_millis(100);

/// The thread that deletes; it ends with this.
#[derive(Debug)]
pub(crate) struct Reaper(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    socket: Mutex<Socket>,
    alarm: Alarm,
    /// Whether the alarm is set.
    due: AtomicBool,
    ended: AtomicBool,
}

impl Reaper {
    /// Starts it on the links of the socket's namespace, also those that a former process left.
    pub(crate) fn start(socket: Socket) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            socket: Mutex::new(socket),
            alarm: Alarm::new()?,
            due: AtomicBool::new(false),
            ended: AtomicBool::new(false),
        });
        let reaper = Self(Arc::clone(&shared));
        let builder = thread::Builder::new().name("link-reaper".into());
        builder.spawn(move || work(&shared))?;
        reaper.doomed();
        Ok(reaper)
    }

    /// Tells that a link is out of service.
    pub(crate) fn doomed(&self) {
        if !self.0.due.swap(true, Ordering::AcqRel) {
            self.0.alarm.set(GATHER);
        }
    }

    /// Deletes what is out of service now, and waits for it.
    pub(crate) fn flush(&self) -> io::Result<()> {
        // Links are marked before the alarm is set for them, so what follows finds those whose
        // alarm this stops.
        self.0.due.store(false, Ordering::Release);
        self.0.alarm.stop();
        reap(&mut lock(&self.0.socket))
    }
}

impl Drop for Reaper {
    fn drop(&mut self) {
        self.0.ended.store(true, Ordering::Release);
        self.0.alarm.set(Duration::ZERO);
    }
}

fn work(shared: &Shared) {
    loop {
        let waited = shared.alarm.wait();
        // Before the links are looked for: one that is marked from now on sets it again.
        shared.due.store(false, Ordering::Release);
        let result = waited.and_then(|()| reap(&mut lock(&shared.socket)));
        if let Err(error) = result {
            tracing::warn!(%error, "cannot delete links that are out of service");
        }
        if shared.ended.load(Ordering::Acquire) {
            return;
        }
    }
}

fn reap(socket: &mut Socket) -> io::Result<()> {
    let mut batch = Batch::default();
    link::delete_doomed(&mut batch);
    loop {
        match socket.transact(&mut batch)?.pop() {
            Some(refusal) if refusal.errno == libc::ENODEV => return Ok(()),
            Some(refusal) => return Err(refusal.into_error()),
            // Others may have been marked while these went.
            None => {}
        }
    }
}

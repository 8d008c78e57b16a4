//! Deletes, in the background and many at once, links that were taken out of service.
//!
//! Unregistering a device waits for RCU grace periods (16 to 20 ms), about as long for a hundred
//! as for one; so nobody waits for it, and what comes within a moment goes together.

use crate::{
    alarm::Alarm,
    netlink::{Batch, Socket, link},
    netns::{Namespaces, lock},
};
use std::{
    collections::BTreeSet,
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};
use vw_hoststate::Netns;

/// How long the first link waits for company. Deleting holds the RTNL, so it also keeps away from
/// an attachment that follows a detachment at once.
const GATHER: Duration = Duration::from_millis(100);

/// The thread that deletes; it ends with this.
#[derive(Debug)]
pub(crate) struct Reaper(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    namespaces: Arc<Namespaces>,
    /// Where links are out of service.
    places: Mutex<BTreeSet<Netns>>,
    /// Held while links are deleted: the socket of the host.
    socket: Mutex<Socket>,
    alarm: Alarm,
    /// Whether the alarm is set.
    due: AtomicBool,
    ended: AtomicBool,
}

impl Reaper {
    /// Starts it on the links of the host and of networks, also those that a former process left.
    pub(crate) fn start(namespaces: Arc<Namespaces>) -> io::Result<Self> {
        let pinned = namespaces.pinned()?.into_iter();
        let networks = pinned.filter(|netns| !matches!(netns, Netns::Sandbox(_)));
        let everywhere: BTreeSet<Netns> = networks.chain([Netns::Host]).collect();
        let socket = namespaces.run(namespaces.host(), Socket::open)??;
        let shared = Arc::new(Shared {
            namespaces,
            places: Mutex::default(),
            socket: Mutex::new(socket),
            alarm: Alarm::new()?,
            due: AtomicBool::new(false),
            ended: AtomicBool::new(false),
        });
        let reaper = Self(Arc::clone(&shared));
        let builder = thread::Builder::new().name("link-reaper".into());
        builder.spawn(move || work(&shared))?;
        reaper.doomed(&everywhere);
        Ok(reaper)
    }

    /// Tells that links are out of service, and where.
    pub(crate) fn doomed(&self, places: &BTreeSet<Netns>) {
        lock(&self.0.places).extend(places);
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
        self.0.reap()
    }
}

impl Drop for Reaper {
    fn drop(&mut self) {
        self.0.ended.store(true, Ordering::Release);
        self.0.alarm.set(Duration::ZERO);
    }
}

impl Shared {
    /// Deletes what is out of service, place by place; the first error is told when all is done.
    fn reap(&self) -> io::Result<()> {
        let mut host = lock(&self.socket);
        let places = std::mem::take(&mut *lock(&self.places));
        let reap_in = |netns| {
            if netns == Netns::Host {
                return reap(&mut host);
            }
            // Links of a namespace that is gone went with it.
            let Ok(place) = self.namespaces.open(netns) else {
                return Ok(());
            };
            // A socket of its own: that of the place is for those who wait.
            reap(&mut self.namespaces.run(&place, Socket::open)??)
        };
        let results: Vec<_> = places.into_iter().map(reap_in).collect();
        results.into_iter().collect()
    }
}

fn work(shared: &Shared) {
    loop {
        let waited = shared.alarm.wait();
        // Before the links are looked for: one that is marked from now on sets it again.
        shared.due.store(false, Ordering::Release);
        let result = waited.and_then(|()| shared.reap());
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

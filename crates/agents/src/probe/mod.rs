//! The way to the other hosts: how long a packet takes, and the largest that gets through.
//!
//! Owns how hosts are asked over each way there is, and that this one answers. It makes no tunnel
//! and enters no namespace: it is given the sockets, and asks whom it is told.

pub mod echo;
mod line;
mod packet;
mod width;
mod wire;

use line::Line;
use std::{
    collections::BTreeMap,
    io,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use vw_model::HostId;
pub use wire::{FRAMES, Wire};

/// A way by which hosts are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    /// By UDP between the hosts' addresses, beside the tunnels.
    Beside,
    /// In VXLAN, as packets of networks in clear text.
    Clear,
    /// In VXLAN inside the encrypted tunnel, as packets of encrypted networks.
    Encrypted,
}

/// What a host tells of itself with each answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Told {
    /// The UDP port at which it can be asked in VXLAN; `None` where it cannot, as of an older
    /// version.
    pub clear: Option<u16>,
    /// Whether it can be asked through the encrypted tunnel.
    pub encrypted: bool,
}

/// The way to a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Path {
    /// There and back.
    pub latency: Duration,
    /// The largest packet in bytes, inside a tunnel, that got there and back whole; `None` where that
    /// was not found in time.
    pub mtu: Option<u32>,
    /// What the host told of itself.
    pub told: Told,
}

/// Asks other hosts, and answers them. Nobody is answered who is not known ([`Self::know`]).
#[derive(Debug, Default)]
pub struct Prober {
    lines: Mutex<BTreeMap<Way, Arc<Line>>>,
    /// Whom answers are given: nobody else may use this host to send packets elsewhere.
    known: Mutex<BTreeMap<HostId, IpAddr>>,
    told: Arc<Mutex<Told>>,
}

impl Prober {
    /// Asks and answers over a way from now on, by this socket; by none that was there before.
    ///
    /// # Errors
    /// When there is no thread.
    pub fn open(&self, way: Way, wire: Wire) -> io::Result<()> {
        self.close(way);
        let line = Arc::new(Line::start(way, wire, Arc::clone(&self.told))?);
        // Whoever comes to be known meanwhile is told to those that are listed.
        let known = lock(&self.known);
        known.iter().for_each(|(id, at)| line.know(*id, Some(*at)));
        lock(&self.lines).insert(way, line);
        Ok(())
    }

    /// Whether it asks and answers over a way; no longer when what its socket lies on is gone.
    #[must_use]
    pub fn is_open(&self, way: Way) -> bool {
        self.line(way).is_some()
    }

    /// Ends that: the socket is closed when it returns, unless somebody is just asking.
    pub fn close(&self, way: Way) {
        let line = lock(&self.lines).remove(&way);
        if let Some(line) = line {
            line.end();
        }
    }

    /// Tells the others this with answers from now on, as long as the ways are open.
    pub fn tell(&self, told: Told) {
        *lock(&self.told) = told;
    }

    /// Answers a host at this address from now on, or no more.
    pub fn know(&self, id: HostId, addr: Option<IpAddr>) {
        let mut known = lock(&self.known);
        match addr {
            Some(addr) => known.insert(id, addr),
            None => known.remove(&id),
        };
        lock(&self.lines)
            .values()
            .for_each(|line| line.know(id, addr));
    }

    /// Asks all these hosts at once over a way; those that do not answer are left out, as are those
    /// that this one does not answer. `None` where it is not open.
    ///
    /// `mtu` in bytes is what a tunnel should let by. Takes the time of a packet and its answer
    /// where all is well, 1.6 s where a host does not answer, and for each host whose path is narrower
    /// up to twelve times 200 ms, or twice what the way there takes; all at once, and never longer than
    /// `longest`, but for questions of others that were begun before.
    #[must_use]
    pub fn ask(
        &self,
        way: Way,
        hosts: &[HostId],
        mtu: u32,
        longest: Duration,
    ) -> Option<BTreeMap<HostId, Path>> {
        let line = self.line(way)?;
        let mut round = line.asking();
        // Who waited for another's questions has as much time as that one.
        let until = Instant::now() + longest;
        let mut paths = round.find(hosts, until);
        round.measure(&mut paths, mtu, until);
        Some(paths)
    }

    fn line(&self, way: Way) -> Option<Arc<Line>> {
        let lines = lock(&self.lines);
        lines.get(&way).filter(|line| !line.is_over()).cloned()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;

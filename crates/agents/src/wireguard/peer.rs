//! One other host: what its record says, and the sessions with it.
//!
//! Owns the choice of the session that packets go out by. There is one link for each pair of a key
//! of ours and a key of its own, so that either side may change keys while the other's packets
//! under the former keys still come in.

use super::{PeerStats, identity::Identity, outbox::Outbox};
use boringtun::{
    noise::{Tunn, TunnResult},
    x25519::PublicKey as Point,
};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use vw_model::PublicKey;

/// The longest message of a handshake.
const HANDSHAKE: usize = 148;
/// What a data message adds to its packet.
const DATA: usize = 32;
/// The type of a handshake's first message, in its first byte.
const INITIATION: u8 = 1;
/// The longest packet.
const PACKET: usize = u16::MAX as usize + 40;

/// Another host, as its record tells.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    /// The key that it uses.
    pub public: PublicKey,
    /// The key that it will use next, where it has told it: accepted already.
    pub next: Option<PublicKey>,
    /// Where its datagrams go.
    pub endpoint: SocketAddr,
    /// The addresses that lie at it: no packet from others is taken from it.
    pub allowed: Vec<IpNet>,
}

impl Peer {
    pub(crate) fn keys(&self) -> impl Iterator<Item = PublicKey> {
        std::iter::once(self.public).chain(self.next)
    }
}

/// A peer of the device.
pub(crate) struct Known(Mutex<State>);

/// What stands between the threads.
pub(crate) struct State {
    pub(crate) peer: Peer,
    links: Vec<Link>,
    /// The index of the link under the keys in use, which asks for sessions.
    preferred: u32,
    /// The index of the link that packets go out by.
    active: u32,
    sent: u64,
    received: u64,
    /// It was taken away: it gets no index any more, which nobody would free.
    gone: bool,
}

/// The sessions of one key of ours with one of the peer's.
struct Link {
    index: u32,
    ours: Arc<Identity>,
    theirs: PublicKey,
    tunn: Tunn,
}

/// What came of a datagram.
pub(crate) enum Opened<'a> {
    /// A packet from inside the tunnel.
    Packet(&'a [u8]),
    /// The protocol's own business.
    Nothing,
    /// Not from the peer.
    Refused,
}

impl Known {
    /// A peer with one link, under this index.
    pub(crate) fn new(peer: Peer, ours: &Arc<Identity>, index: u32) -> Arc<Self> {
        let link = Link::new(ours, peer.public, index);
        Arc::new(Self(Mutex::new(State {
            peer,
            links: vec![link],
            preferred: index,
            active: index,
            sent: 0,
            received: 0,
            gone: false,
        })))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The link for a pair of keys; made under `index()` when there is none.
    ///
    /// Answers its index, and whether it is new.
    pub(crate) fn link_for(
        &mut self,
        ours: &Arc<Identity>,
        theirs: PublicKey,
        index: impl FnOnce() -> u32,
    ) -> (u32, bool) {
        let same = |link: &&Link| Arc::ptr_eq(&link.ours, ours) && link.theirs == theirs;
        if let Some(link) = self.links.iter().find(same) {
            return (link.index, false);
        }
        let link = Link::new(ours, theirs, index());
        let made = link.index;
        self.links.push(link);
        (made, true)
    }

    /// Puts a packet into the outbox, or keeps it until a session is agreed.
    pub(crate) fn seal(&mut self, packet: &[u8], out: &mut Outbox) -> bool {
        let to = self.peer.endpoint;
        let Some(link) = find(&mut self.links, self.active) else {
            return false;
        };
        let room = out.room(HANDSHAKE.max(packet.len() + DATA));
        match link.tunn.encapsulate(packet, room) {
            TunnResult::WriteToNetwork(datagram) => {
                let size = datagram.len();
                out.commit(to, size);
            }
            TunnResult::Err(_) => return false,
            _ => {}
        }
        self.sent += packet.len() as u64;
        true
    }

    /// Opens a datagram that names a link; answers of the protocol go into the outbox.
    ///
    /// `room` has at least the datagram's size, and that of a handshake's message.
    pub(crate) fn open<'a>(
        &mut self,
        index: u32,
        datagram: &[u8],
        room: &'a mut [u8],
        out: &mut Outbox,
    ) -> Opened<'a> {
        let to = self.peer.endpoint;
        let Some(link) = find(&mut self.links, index) else {
            return Opened::Refused;
        };
        let opened = match link.tunn.decapsulate(None, datagram, room) {
            TunnResult::WriteToNetwork(answer) => {
                out.push(to, answer);
                Opened::Nothing
            }
            TunnResult::Done => Opened::Nothing,
            TunnResult::Err(_) => return Opened::Refused,
            TunnResult::WriteToTunnelV4(packet, _) | TunnResult::WriteToTunnelV6(packet, _) => {
                self.received += packet.len() as u64;
                Opened::Packet(packet)
            }
        };
        if index != self.active || matches!(opened, Opened::Nothing) {
            // A session may have begun: what waited for one can go.
            link.flush(to, out);
            self.choose();
        }
        opened
    }

    /// Does what the protocol's clocks ask for; forgets links that have served.
    ///
    /// Answers the indices that are free again.
    pub(crate) fn tick(&mut self, out: &mut Outbox) -> Vec<u32> {
        let to = self.peer.endpoint;
        for link in &mut self.links {
            // An error says that the sessions have ended: the next packet asks for one.
            if let TunnResult::WriteToNetwork(datagram) =
                link.tunn.update_timers(out.room(HANDSHAKE))
            {
                // Sessions under former keys end, and are not renewed.
                if link.index == self.preferred || datagram[0] != INITIATION {
                    let size = datagram.len();
                    out.commit(to, size);
                }
            }
        }
        self.choose();
        let (preferred, active) = (self.preferred, self.active);
        let keys: Vec<_> = self.peer.keys().collect();
        self.forget(|link| {
            let is_used = [preferred, active].contains(&link.index);
            let is_named = keys.contains(&link.theirs) && !link.tunn.is_expired();
            is_used || is_named || link.tunn.time_since_last_handshake().is_some()
        })
    }

    /// Takes over what the record says now.
    ///
    /// `preferred` is the link under the key that it says is in use. Sessions under keys that it no
    /// longer names carry on to their end: the peer may not have found the way to new ones yet.
    pub(crate) fn update(&mut self, peer: Peer, preferred: u32) {
        self.peer = peer;
        self.preferred = preferred;
        self.choose();
    }

    /// Uses another key of ours, by its link; links under keys that are no longer ours end,
    /// but for the one that carries packets.
    ///
    /// With a session there is asked for one under the new key at once. Answers the indices that
    /// are free again.
    pub(crate) fn rotate(
        &mut self,
        preferred: u32,
        ours: &[Arc<Identity>],
        out: &mut Outbox,
    ) -> Vec<u32> {
        self.preferred = preferred;
        if self.handshake_age().is_some() {
            self.greet(out);
        }
        let active = self.active;
        let is_ours = |link: &Link| ours.iter().any(|known| Arc::ptr_eq(known, &link.ours));
        self.forget(|link| link.index == active || is_ours(link))
    }

    /// Takes it away for good. Answers every index that it has.
    pub(crate) fn end(&mut self) -> Vec<u32> {
        self.gone = true;
        self.links.iter().map(|link| link.index).collect()
    }

    /// Whether it was taken away, and may still be in the hands of who found it before.
    pub(crate) const fn is_gone(&self) -> bool {
        self.gone
    }

    pub(crate) fn stats(&self) -> PeerStats {
        PeerStats {
            public: self.peer.public,
            handshake_age: self.handshake_age(),
            sent: self.sent,
            received: self.received,
        }
    }

    fn handshake_age(&self) -> Option<std::time::Duration> {
        let active = self.links.iter().find(|link| link.index == self.active)?;
        active.tunn.time_since_last_handshake()
    }

    /// Asks for a session under the keys in use.
    fn greet(&mut self, out: &mut Outbox) {
        let to = self.peer.endpoint;
        let Some(link) = find(&mut self.links, self.preferred) else {
            return;
        };
        let room = out.room(HANDSHAKE);
        if let TunnResult::WriteToNetwork(datagram) =
            link.tunn.format_handshake_initiation(room, false)
        {
            let size = datagram.len();
            out.commit(to, size);
        }
    }

    /// Sends by the youngest session; without any by the keys in use, which asks for one.
    fn choose(&mut self) {
        let session = |link: &Link| Some((link.tunn.time_since_last_handshake()?, link.index));
        let youngest = self.links.iter().filter_map(session).min();
        self.active = youngest.map_or(self.preferred, |(_, index)| index);
    }

    fn forget(&mut self, keep: impl Fn(&Link) -> bool) -> Vec<u32> {
        let (kept, gone) = std::mem::take(&mut self.links).into_iter().partition(keep);
        self.links = kept;
        self.choose();
        let gone: Vec<Link> = gone;
        gone.iter().map(|link| link.index).collect()
    }
}

impl Link {
    fn new(ours: &Arc<Identity>, theirs: PublicKey, index: u32) -> Self {
        Self {
            index,
            tunn: Tunn::new(
                ours.private.secret().clone(),
                Point::from(*theirs.as_bytes()),
                None,
                None,
                index,
                Some(Arc::clone(&ours.open)),
            ),
            ours: Arc::clone(ours),
            theirs,
        }
    }

    /// Sends what waited for a session, once there is one.
    fn flush(&mut self, to: SocketAddr, out: &mut Outbox) {
        while self.tunn.time_since_last_handshake().is_some() {
            // An empty datagram stands for the packets that wait.
            match self.tunn.decapsulate(None, &[], out.room(PACKET + DATA)) {
                TunnResult::WriteToNetwork(queued) => {
                    let size = queued.len();
                    out.commit(to, size);
                }
                _ => return,
            }
        }
    }
}

fn find(links: &mut [Link], index: u32) -> Option<&mut Link> {
    links.iter_mut().find(|link| link.index == index)
}

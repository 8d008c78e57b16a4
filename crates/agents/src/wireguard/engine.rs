//! The device without its sockets: packets and datagrams in, datagrams and packets out.
//!
//! Owns who the peers are and whose a datagram is. It does no I/O and starts nothing; any number
//! of threads may call it, and two packets wait for one another only at one peer.

use super::{
    Peer, PrivateKey, Stats,
    counters::Counters,
    identity::{Identity, Verdict},
    outbox::Outbox,
    peer::{Known, Opened},
    routes::Routes,
};
use arc_swap::ArcSwap;
use boringtun::noise::{Packet, Tunn, handshake::parse_handshake_anon};
use imbl::HashMap;
use std::{
    net::{IpAddr, SocketAddr},
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicU32, Ordering},
    },
};
use vw_model::PublicKey;

/// An index has 24 bits; the rest of a message's is the session's number.
const INDICES: u32 = 1 << 24;
/// What a datagram's opening may need beyond the datagram.
pub(crate) const HEADROOM: usize = 256;

/// The device's state.
pub(crate) struct Engine {
    /// Ours: the one in use, then the former one.
    identities: ArcSwap<Vec<Arc<Identity>>>,
    peers: ArcSwap<Peers>,
    /// Which peer a message's index belongs to.
    indices: RwLock<std::collections::HashMap<u32, Arc<Known>>>,
    next_index: AtomicU32,
    /// Held while peers or identities change.
    change: Mutex<()>,
    pub(crate) counters: Counters,
}

/// The peers by what a packet tells of them. A copy that differs in one costs no more than that.
#[derive(Default, Clone)]
struct Peers {
    /// By the key in use.
    all: HashMap<PublicKey, Arc<Known>>,
    by_key: HashMap<PublicKey, Arc<Known>>,
    routes: Routes<Arc<Known>>,
}

impl Peers {
    /// Adds a peer as it is now.
    fn attach(&mut self, known: &Arc<Known>, peer: &Peer) {
        self.all.insert(peer.public, Arc::clone(known));
        for key in peer.keys() {
            self.by_key.insert(key, Arc::clone(known));
        }
        for prefix in &peer.allowed {
            self.routes.insert(*prefix, Arc::clone(known));
        }
    }

    /// Takes a peer away as it was added.
    fn detach(&mut self, known: &Arc<Known>, peer: &Peer) {
        self.all.remove(&peer.public);
        for key in peer.keys() {
            self.by_key.remove(&key);
        }
        for prefix in &peer.allowed {
            let is_it = |other: &Arc<Known>| Arc::ptr_eq(other, known);
            self.routes.remove(*prefix, is_it);
        }
    }
}

/// Peers that were taken away and may come back.
#[derive(Default)]
struct Left {
    all: HashMap<*const Known, Arc<Known>>,
    by_key: HashMap<PublicKey, Arc<Known>>,
}

impl Left {
    fn take(&mut self, known: Arc<Known>, from: &mut Peers) {
        let peer = known.lock().peer.clone();
        from.detach(&known, &peer);
        for key in peer.keys() {
            self.by_key.insert(key, Arc::clone(&known));
        }
        self.all.insert(Arc::as_ptr(&known), known);
    }

    /// One that shares a key with a wanted peer.
    fn give(&mut self, wanted: &Peer) -> Option<Arc<Known>> {
        let mut shared = wanted.keys().filter_map(|key| self.by_key.get(&key));
        let at = shared.find_map(|known| {
            let at = Arc::as_ptr(known);
            self.all.contains_key(&at).then_some(at)
        });
        self.all.remove(&at?)
    }
}

impl Engine {
    /// A device without peers. `seed` is where its indices begin.
    pub(crate) fn new(private: PrivateKey, seed: u32) -> Self {
        Self {
            identities: ArcSwap::from_pointee(vec![Identity::new(private)]),
            peers: ArcSwap::default(),
            indices: RwLock::default(),
            next_index: AtomicU32::new(seed),
            change: Mutex::new(()),
            counters: Counters::default(),
        }
    }

    /// Replaces the peers. One that shares a key with a former one keeps its sessions.
    pub(crate) fn set_peers(&self, wanted: Vec<Peer>) {
        let _changing = self.change.lock().unwrap_or_else(PoisonError::into_inner);
        let former = self.peers.load().all.keys().copied().collect();
        self.replace(former, wanted);
    }

    /// Replaces those peers alone that use one of these keys, or share one with a wanted one.
    pub(crate) fn change_peers(&self, former: Vec<PublicKey>, wanted: Vec<Peer>) {
        let _changing = self.change.lock().unwrap_or_else(PoisonError::into_inner);
        self.replace(former, wanted);
    }

    /// Puts peers in the place of others; of two with one key the later has it. The caller holds
    /// `change`.
    fn replace(&self, former: Vec<PublicKey>, wanted: Vec<Peer>) {
        let mut peers = Peers::clone(&self.peers.load());
        let touched = wanted.iter().flat_map(Peer::keys);
        let touched = touched.filter_map(|key| peers.by_key.get(&key));
        let former = former.iter().filter_map(|key| peers.all.get(key));
        let former: Vec<_> = former.chain(touched).map(Arc::clone).collect();
        let mut left = Left::default();
        for known in former {
            left.take(known, &mut peers);
        }
        let ours = self.current();
        for peer in wanted {
            for key in peer.keys() {
                if let Some(other) = peers.by_key.get(&key).cloned() {
                    left.take(other, &mut peers);
                }
            }
            let known = match left.give(&peer) {
                Some(known) => self.update(&known, peer.clone(), &ours),
                None => self.with_index(|index| Known::new(peer.clone(), &ours, index)),
            };
            peers.attach(&known, &peer);
        }
        self.peers.store(Arc::new(peers));
        for known in left.all.values() {
            // Under its lock, so that whoever found it before gives it none after that.
            let mut state = known.lock();
            self.free(&state.end());
        }
    }

    fn update(&self, known: &Arc<Known>, peer: Peer, ours: &Arc<Identity>) -> Arc<Known> {
        let mut state = known.lock();
        let preferred = self.ensure_link(&mut state, known, ours, peer.public);
        state.update(peer, preferred);
        drop(state);
        Arc::clone(known)
    }

    /// Uses another key from now on; the former is accepted until the next change.
    ///
    /// Peers with whom packets pass get a session under the new key at once, and those of the old
    /// key carry packets until it stands.
    pub(crate) fn rotate(&self, private: PrivateKey, out: &mut Outbox) {
        let _changing = self.change.lock().unwrap_or_else(PoisonError::into_inner);
        let ours = Identity::new(private);
        let accepted = vec![Arc::clone(&ours), self.current()];
        self.identities.store(Arc::new(accepted.clone()));
        for known in self.peers.load().all.values() {
            let mut state = known.lock();
            let theirs = state.peer.public;
            let preferred = self.ensure_link(&mut state, known, &ours, theirs);
            let gone = state.rotate(preferred, &accepted, out);
            drop(state);
            self.free(&gone);
        }
    }

    /// Takes a packet from inside; its datagrams go into the outbox.
    pub(crate) fn send(&self, packet: &[u8], out: &mut Outbox) {
        let peers = self.peers.load();
        let known = Tunn::dst_address(packet).and_then(|to| peers.routes.find(to));
        match known {
            Some(known) if known.lock().seal(packet, out) => {}
            Some(_) => self.counters.unsent.add(1),
            None => self.counters.no_peer.add(1),
        }
    }

    /// Takes a datagram; what it carries is handed to `deliver`, answers go into the outbox.
    ///
    /// `room` has [`HEADROOM`] more bytes than the datagram.
    pub(crate) fn receive<'a>(
        &self,
        datagram: &[u8],
        from: SocketAddr,
        room: &'a mut [u8],
        out: &mut Outbox,
    ) -> Option<&'a [u8]> {
        let Some((known, index)) = self.whose(datagram, from, out) else {
            self.counters.refused.add(1);
            return None;
        };
        let opened = known.lock().open(index, datagram, room, out);
        match opened {
            Opened::Packet(packet) if self.is_from(packet, &known) => return Some(packet),
            Opened::Packet(_) => self.counters.wrong_source.add(1),
            Opened::Nothing => {}
            Opened::Refused => self.counters.refused.add(1),
        }
        None
    }

    /// Does what the clocks ask for; call it some times a second.
    pub(crate) fn tick(&self, out: &mut Outbox) {
        let identities = self.identities.load();
        identities.iter().for_each(|identity| identity.tick());
        for known in self.peers.load().all.values() {
            let gone = known.lock().tick(out);
            self.free(&gone);
        }
    }

    pub(crate) fn stats(&self) -> Stats {
        let peers = self.peers.load();
        let peers = peers.all.values().map(|known| known.lock().stats());
        self.counters.read(peers.collect())
    }

    /// The peer and the link that a datagram is for.
    fn whose(
        &self,
        datagram: &[u8],
        from: SocketAddr,
        out: &mut Outbox,
    ) -> Option<(Arc<Known>, u32)> {
        match Tunn::parse_incoming_packet(datagram).ok()? {
            Packet::PacketData(data) => self.at(data.receiver_idx),
            Packet::PacketCookieReply(reply) => self.at(reply.receiver_idx),
            Packet::HandshakeResponse(response) => {
                self.admit(datagram, from, out)?;
                self.at(response.receiver_idx)
            }
            Packet::HandshakeInit(initiation) => {
                let ours = self.admit(datagram, from, out)?;
                let half = parse_handshake_anon(ours.private.secret(), &ours.public, &initiation);
                let theirs = PublicKey::from_bytes(half.ok()?.peer_static_public);
                let known = Arc::clone(self.peers.load().by_key.get(&theirs)?);
                let index = self.greeted(&known, &ours, theirs)?;
                Some((known, index))
            }
        }
    }

    /// The link for who greets us; none where it was taken away since it was found.
    fn greeted(&self, known: &Arc<Known>, ours: &Arc<Identity>, theirs: PublicKey) -> Option<u32> {
        let mut state = known.lock();
        (!state.is_gone()).then(|| self.ensure_link(&mut state, known, ours, theirs))
    }

    /// Which identity of ours a handshake's message is for, when it may be worked on.
    fn admit(&self, datagram: &[u8], from: SocketAddr, out: &mut Outbox) -> Option<Arc<Identity>> {
        for identity in self.identities.load().iter() {
            match identity.examine(datagram, from.ip()) {
                Verdict::Pass => return Some(Arc::clone(identity)),
                Verdict::Cookie(reply) => {
                    out.push(from, &reply);
                    return None;
                }
                Verdict::Other => {}
            }
        }
        None
    }

    fn at(&self, receiver: u32) -> Option<(Arc<Known>, u32)> {
        let index = receiver >> 8;
        let indices = self.indices.read().unwrap_or_else(PoisonError::into_inner);
        Some((Arc::clone(indices.get(&index)?), index))
    }

    /// Whether a packet's source lies at the peer that sent it.
    fn is_from(&self, packet: &[u8], known: &Arc<Known>) -> bool {
        let peers = self.peers.load();
        let owner = source(packet).and_then(|source| peers.routes.find(source));
        owner.is_some_and(|owner| Arc::ptr_eq(owner, known))
    }

    fn current(&self) -> Arc<Identity> {
        // The list is made with one, and is only ever replaced by one of two.
        Arc::clone(&self.identities.load()[0])
    }

    fn ensure_link(
        &self,
        state: &mut super::peer::State,
        known: &Arc<Known>,
        ours: &Arc<Identity>,
        theirs: PublicKey,
    ) -> u32 {
        let (index, made) = state.link_for(ours, theirs, || self.free_index());
        if made {
            let mut indices = self.indices.write().unwrap_or_else(PoisonError::into_inner);
            indices.insert(index, Arc::clone(known));
        }
        index
    }

    fn with_index(&self, make: impl FnOnce(u32) -> Arc<Known>) -> Arc<Known> {
        let index = self.free_index();
        let known = make(index);
        let mut indices = self.indices.write().unwrap_or_else(PoisonError::into_inner);
        indices.insert(index, Arc::clone(&known));
        known
    }

    fn free_index(&self) -> u32 {
        let indices = self.indices.read().unwrap_or_else(PoisonError::into_inner);
        loop {
            let index = self.next_index.fetch_add(1, Ordering::Relaxed) % INDICES;
            if !indices.contains_key(&index) {
                return index;
            }
        }
    }

    fn free(&self, gone: &[u32]) {
        if gone.is_empty() {
            return;
        }
        let mut indices = self.indices.write().unwrap_or_else(PoisonError::into_inner);
        for index in gone {
            indices.remove(index);
        }
    }
}

/// The source of an IP packet, whose length has been checked.
fn source(packet: &[u8]) -> Option<IpAddr> {
    match packet.first()? >> 4 {
        4 => <[u8; 4]>::try_from(packet.get(12..16)?)
            .ok()
            .map(IpAddr::from),
        6 => <[u8; 16]>::try_from(packet.get(8..24)?)
            .ok()
            .map(IpAddr::from),
        _ => None,
    }
}

#[cfg(test)]
mod tests;

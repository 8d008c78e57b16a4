//! Who this host is to its peers: its key pair, and how many handshakes it will answer.

use super::PrivateKey;
use boringtun::{
    noise::{Packet, TunnResult, rate_limiter::RateLimiter},
    x25519::PublicKey as Point,
};
use std::{net::IpAddr, sync::Arc};

/// Handshakes that are answered in a second before a cookie is asked for: what a cluster of a
/// thousand hosts needs when one comes back, and a small part of a core.
const HANDSHAKES_A_SECOND: u64 = 1000;
/// The length of a cookie reply.
const COOKIE_REPLY: usize = 64;

/// A key pair with its gate.
pub(crate) struct Identity {
    pub(crate) private: PrivateKey,
    pub(crate) public: Point,
    /// Counts handshakes, and asks for cookies under load.
    gate: RateLimiter,
    /// For the sessions, whose packets have passed the gate: it would count them twice.
    pub(crate) open: Arc<RateLimiter>,
}

/// What the gate says of a handshake's message.
pub(crate) enum Verdict {
    /// It is for this identity, and may be worked on.
    Pass,
    /// It is for this identity, but must first prove its address: the answer.
    Cookie([u8; COOKIE_REPLY]),
    /// It is not for this identity.
    Other,
}

impl Identity {
    pub(crate) fn new(private: PrivateKey) -> Arc<Self> {
        let public = Point::from(private.secret());
        Arc::new(Self {
            gate: RateLimiter::new(&public, HANDSHAKES_A_SECOND),
            open: Arc::new(RateLimiter::new(&public, u64::MAX)),
            private,
            public,
        })
    }

    /// Whether a handshake's message is for this identity: before any costly arithmetic.
    pub(crate) fn examine(&self, datagram: &[u8], from: IpAddr) -> Verdict {
        let mut reply = [0; COOKIE_REPLY];
        match self.gate.verify_packet(Some(from), datagram, &mut reply) {
            Ok(
                Packet::HandshakeInit(_)
                | Packet::HandshakeResponse(_)
                | Packet::PacketCookieReply(_)
                | Packet::PacketData(_),
            ) => Verdict::Pass,
            Err(TunnResult::WriteToNetwork(_)) => Verdict::Cookie(reply),
            Err(_) => Verdict::Other,
        }
    }

    /// Begins the next second's count, once a second has passed.
    pub(crate) fn tick(&self) {
        self.gate.reset_count();
    }
}

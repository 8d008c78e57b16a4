//! Two devices back to back, in memory.

use super::*;
use proptest::prelude::*;

/// One host: its engine, where it lies, and what came out of its tunnel.
struct Side {
    engine: Engine,
    key: PublicKey,
    at: SocketAddr,
    inner: IpAddr,
    out: Outbox,
    came: Vec<Vec<u8>>,
}

impl Side {
    fn new(number: u8) -> Self {
        let private = PrivateKey::generate().unwrap();
        Self {
            key: private.public(),
            engine: Engine::new(private, 0x00ff_fffe),
            at: SocketAddr::from(([192, 0, 2, number], 51820)),
            inner: inner(number),
            out: Outbox::default(),
            came: Vec::new(),
        }
    }

    fn as_peer(&self) -> Peer {
        Peer {
            public: self.key,
            next: None,
            endpoint: self.at,
            allowed: vec![self.inner.into()],
        }
    }

    fn knows(&self, others: &[&Self]) {
        self.engine
            .set_peers(others.iter().map(|other| other.as_peer()).collect());
    }

    fn send(&mut self, to: IpAddr, text: &str) {
        self.engine
            .send(&packet(self.inner, to, text), &mut self.out);
    }

    fn take(&mut self, datagram: &[u8], from: SocketAddr) {
        let mut room = vec![0; datagram.len() + HEADROOM];
        let packet = self
            .engine
            .receive(datagram, from, &mut room, &mut self.out);
        self.came.extend(packet.map(<[u8]>::to_vec));
    }

    /// The datagrams that wait to be sent.
    fn datagrams(&mut self) -> Vec<(SocketAddr, Vec<u8>)> {
        let mut datagrams = Vec::new();
        self.out.drain(|run, bytes| {
            datagrams.extend(bytes.chunks(run.size).map(|each| (run.to, each.to_vec())));
        });
        datagrams
    }

    /// The texts that came since the last time.
    fn texts(&mut self) -> Vec<String> {
        let text = |packet: Vec<u8>| String::from_utf8(packet[40..].to_vec()).unwrap();
        self.came.drain(..).map(text).collect()
    }
}

fn inner(number: u8) -> IpAddr {
    vw_model::inner_address(vw_model::HostId::from_bytes([number; 32])).into()
}

fn packet(from: IpAddr, to: IpAddr, text: &str) -> Vec<u8> {
    let (IpAddr::V6(from), IpAddr::V6(to)) = (from, to) else {
        panic!("inner addresses are IPv6");
    };
    let length = (text.len() as u16).to_be_bytes();
    let mut packet = vec![0x60, 0, 0, 0, length[0], length[1], 59, 64];
    packet.extend(from.octets());
    packet.extend(to.octets());
    packet.extend(text.as_bytes());
    packet
}

/// Carries datagrams between two sides until none is left; answers all that passed.
fn settle(a: &mut Side, b: &mut Side) -> Vec<Vec<u8>> {
    let mut passed = Vec::new();
    loop {
        let (from_a, from_b) = (a.datagrams(), b.datagrams());
        if from_a.is_empty() && from_b.is_empty() {
            return passed;
        }
        for (to, datagram) in from_a {
            if to == b.at {
                b.take(&datagram, a.at);
            }
            passed.push(datagram);
        }
        for (to, datagram) in from_b {
            if to == a.at {
                a.take(&datagram, b.at);
            }
            passed.push(datagram);
        }
    }
}

fn pair() -> (Side, Side) {
    let (a, b) = (Side::new(1), Side::new(2));
    a.knows(&[&b]);
    b.knows(&[&a]);
    (a, b)
}

#[test]
fn packets_pass_both_ways_and_what_waited_for_the_session_too() {
    let (mut a, mut b) = pair();
    for text in ["one", "two", "three"] {
        a.send(b.inner, text);
    }
    settle(&mut a, &mut b);
    assert_eq!(b.texts(), ["one", "two", "three"]);
    b.send(a.inner, "answer");
    settle(&mut a, &mut b);
    assert_eq!(a.texts(), ["answer"]);
    let stats = a.engine.stats();
    assert_eq!((stats.refused, stats.unsent, stats.no_peer), (0, 0, 0));
    assert_eq!((stats.peers[0].sent, stats.peers[0].received), (131, 46));
    assert!(stats.peers[0].handshake_age.is_some());
}

#[test]
fn no_datagram_shows_what_it_carries() {
    let (mut a, mut b) = pair();
    a.send(b.inner, "a secret of some length");
    let passed = settle(&mut a, &mut b);
    assert_eq!(b.texts(), ["a secret of some length"]);
    let secret = b"a secret of some length";
    assert!(
        !passed
            .iter()
            .any(|datagram| datagram.windows(8).any(|part| part == &secret[..8]))
    );
}

#[test]
fn both_may_begin_at_once() {
    let (mut a, mut b) = pair();
    a.send(b.inner, "from a");
    b.send(a.inner, "from b");
    settle(&mut a, &mut b);
    a.send(b.inner, "more");
    settle(&mut a, &mut b);
    assert_eq!(a.texts(), ["from b"]);
    assert_eq!(b.texts(), ["from a", "more"]);
}

#[test]
fn a_stranger_with_a_key_of_its_own_gets_nothing() {
    let (mut a, mut b) = pair();
    let mut stranger = Side::new(3);
    stranger.knows(&[&b]);
    stranger.at = a.at;
    stranger.inner = a.inner;
    stranger.send(b.inner, "let me in");
    let greeting = stranger.datagrams();
    assert_eq!(greeting.len(), 1);
    b.take(&greeting[0].1, stranger.at);
    assert!(b.datagrams().is_empty());
    assert_eq!(b.engine.stats().refused, 1);
    // With the wrong key for b as well.
    let mut wrong = b.as_peer();
    wrong.public = stranger.key;
    a.engine.set_peers(vec![wrong]);
    a.send(b.inner, "hidden");
    settle(&mut a, &mut b);
    assert!(b.came.is_empty());
}

#[test]
fn a_datagram_is_taken_once() {
    let (mut a, mut b) = pair();
    a.send(b.inner, "first");
    settle(&mut a, &mut b);
    a.send(b.inner, "again");
    let datagrams = a.datagrams();
    for _ in 0..3 {
        b.take(&datagrams[0].1, a.at);
    }
    assert_eq!(b.texts(), ["first", "again"]);
    assert_eq!(b.engine.stats().refused, 2);
    // A changed bit, or half of it, is not taken at all.
    a.send(b.inner, "changed");
    let mut datagram = a.datagrams().remove(0).1;
    b.take(&datagram[..40], a.at);
    *datagram.last_mut().unwrap() ^= 1;
    b.take(&datagram, a.at);
    assert!(b.came.is_empty());
}

#[test]
fn a_peer_speaks_only_for_its_own_addresses() {
    let (mut a, mut b) = pair();
    let c = Side::new(3);
    b.knows(&[&a, &c]);
    let from_c = packet(c.inner, b.inner, "as if from c");
    a.engine.send(&from_c, &mut a.out);
    settle(&mut a, &mut b);
    assert!(b.came.is_empty());
    assert_eq!(b.engine.stats().wrong_source, 1);
    a.send(inner(9), "to nobody");
    assert!(a.datagrams().is_empty());
    assert_eq!(a.engine.stats().no_peer, 1);
}

#[test]
fn answers_go_where_the_record_says_wherever_datagrams_come_from() {
    let (mut a, mut b) = pair();
    a.send(b.inner, "hello");
    let elsewhere = SocketAddr::from(([198, 51, 100, 1], 9));
    for (_, datagram) in a.datagrams() {
        b.take(&datagram, elsewhere);
    }
    let answers = b.datagrams();
    assert_eq!(answers.len(), 1);
    assert_eq!(answers[0].0, a.at);
    a.take(&answers[0].1, b.at);
    for (_, datagram) in a.datagrams() {
        b.take(&datagram, elsewhere);
    }
    assert_eq!(b.texts(), ["hello"]);
    b.send(a.inner, "still there");
    assert!(b.datagrams().iter().all(|(to, _)| *to == a.at));
}

#[test]
fn a_flood_of_greetings_is_asked_for_a_cookie_at_its_own_address() {
    let (a, mut b) = pair();
    let greeting = || {
        let fresh = Engine::new(PrivateKey::generate().unwrap(), 0);
        fresh.set_peers(vec![b.as_peer()]);
        let mut out = Outbox::default();
        fresh.send(&packet(a.inner, b.inner, "x"), &mut out);
        let mut datagram = Vec::new();
        out.drain(|_, bytes| datagram = bytes.to_vec());
        datagram
    };
    let greeting = greeting();
    let flood = SocketAddr::from(([198, 51, 100, 1], 9));
    for _ in 0..1500 {
        b.take(&greeting, flood);
    }
    let answers = b.datagrams();
    assert!((1..=500).contains(&answers.len()), "{}", answers.len());
    assert!(
        answers
            .iter()
            .all(|(to, datagram)| *to == flood && datagram[0] == 3)
    );
}

#[test]
fn one_side_may_begin_anew() {
    let (mut a, mut b) = pair();
    a.send(b.inner, "before");
    settle(&mut a, &mut b);
    let key = b.key;
    let mut anew = Side::new(2);
    std::mem::swap(&mut anew, &mut b);
    // The same key in a new process: `anew` is the former one.
    b.key = key;
    b.engine = Engine::new(private_of(&anew), 7);
    b.knows(&[&a]);
    b.send(a.inner, "after");
    settle(&mut a, &mut b);
    assert_eq!(a.texts(), ["after"]);
    a.send(b.inner, "welcome");
    settle(&mut a, &mut b);
    assert_eq!(b.texts(), ["welcome"]);
}

fn private_of(side: &Side) -> PrivateKey {
    side.engine.current().private.clone()
}

/// Changes a's key as the cluster does: told as `next`, used, then told as the one in use.
#[test]
fn a_change_of_keys_loses_no_packet() {
    let (mut a, mut b) = pair();
    for round in 0..4 {
        a.send(b.inner, "a0");
        b.send(a.inner, "b0");
        settle(&mut a, &mut b);
        let private = PrivateKey::generate().unwrap();
        let mut record = a.as_peer();
        record.next = Some(private.public());
        b.engine.set_peers(vec![record]);
        // The key is in use; the greeting under it is lost, or late, or not.
        let mut out = Outbox::default();
        a.key = private.public();
        a.engine.rotate(private, &mut out);
        a.send(b.inner, "a1");
        b.send(a.inner, "b1");
        settle(&mut a, &mut b);
        if round % 2 == 0 {
            out.drain(|_, bytes| a.out.push(b.at, bytes));
            settle(&mut a, &mut b);
        }
        a.send(b.inner, "a2");
        b.send(a.inner, "b2");
        settle(&mut a, &mut b);
        b.engine.set_peers(vec![a.as_peer()]);
        a.send(b.inner, "a3");
        b.send(a.inner, "b3");
        settle(&mut a, &mut b);
        assert_eq!(b.texts(), ["a0", "a1", "a2", "a3"], "{round}");
        assert_eq!(a.texts(), ["b0", "b1", "b2", "b3"], "{round}");
    }
    assert_eq!(
        a.engine.indices.read().unwrap().len(),
        2,
        "former links are forgotten"
    );
}

#[test]
fn a_peer_that_is_gone_is_gone() {
    let (mut a, mut b) = pair();
    a.send(b.inner, "hello");
    settle(&mut a, &mut b);
    b.engine.set_peers(Vec::new());
    assert!(b.engine.indices.read().unwrap().is_empty());
    b.texts();
    a.send(b.inner, "hello?");
    settle(&mut a, &mut b);
    assert!(b.came.is_empty());
    b.send(a.inner, "out");
    assert!(b.datagrams().is_empty());
}

/// A peer that is not there.
/// Who greets under a next key, or ours under another one, gets an index of its own.
#[test]
fn a_peer_that_goes_while_its_greeting_is_read_leaves_no_index() {
    let (a, b) = (Side::new(1), Side::new(2));
    b.knows(&[&a]);
    let found = Arc::clone(&b.engine.peers.load().by_key[&a.key]);
    b.knows(&[]);
    let other = PrivateKey::generate().unwrap().public();
    assert_eq!(b.engine.greeted(&found, &b.engine.current(), other), None);
    assert!(b.engine.indices.read().unwrap().is_empty());
}

fn stranger(number: u16) -> Peer {
    let bytes: [u8; 2] = number.to_be_bytes();
    let key = (number + 1).to_be_bytes();
    Peer {
        public: PublicKey::from_bytes(std::array::from_fn(|at| key[at % 2])),
        next: None,
        endpoint: SocketAddr::from(([192, 0, bytes[0], bytes[1]], 51820)),
        allowed: vec![format!("fd00::{number:x}/128").parse().unwrap()],
    }
}

#[test]
fn a_thousand_peers_have_each_their_own() {
    let hub = Side::new(1);
    let peers: Vec<_> = (0..1000).map(stranger).collect();
    hub.engine.set_peers(peers.clone());
    hub.engine.set_peers(peers);
    assert_eq!(hub.engine.indices.read().unwrap().len(), 1000);
    let mut out = Outbox::default();
    let to = "fd00::3e7".parse().unwrap();
    hub.engine.send(&packet(hub.inner, to, "x"), &mut out);
    out.drain(|run, _| assert_eq!(run.to.ip(), IpAddr::from([192, 0, 3, 231])));
}

#[test]
fn one_that_changes_among_a_thousand_touches_no_other() {
    let (mut a, mut b) = pair();
    let others = (0..1000_u16).map(stranger);
    let all: Vec<_> = others.chain([a.as_peer()]).collect();
    b.engine.set_peers(all);
    a.send(b.inner, "before");
    settle(&mut a, &mut b);
    let peers = b.engine.peers.load_full();
    let held = peers.all.iter().filter(|(key, _)| **key != a.key);
    // Whoever looked at one of them would wait for it.
    let held: Vec<_> = held.map(|(_, known)| known.lock()).collect();
    assert_eq!(held.len(), 1000);
    let next = PrivateKey::generate().unwrap().public();
    let mut record = a.as_peer();
    record.next = Some(next);
    let (sent, done) = std::sync::mpsc::channel();
    let new = stranger(1000);
    let gone = new.public;
    std::thread::scope(|scope| {
        let engine = &b.engine;
        scope.spawn(move || {
            engine.change_peers(Vec::new(), vec![record, new]);
            engine.change_peers(vec![gone], Vec::new());
            sent.send(()).unwrap();
        });
        let took = done.recv_timeout(std::time::Duration::from_secs(20));
        drop(held);
        took.expect("it looks at others");
    });
    assert_eq!(b.engine.peers.load().all.len(), 1001);
    a.send(b.inner, "after");
    b.send(a.inner, "answer");
    settle(&mut a, &mut b);
    assert_eq!(
        (b.texts(), a.texts()),
        (
            vec!["before".to_owned(), "after".to_owned()],
            vec!["answer".to_owned()]
        )
    );
}

/// What is told bit by bit, and what is told whole, in whatever order, give the same device.
#[test]
fn changes_lead_where_the_whole_does() {
    let engine = || Engine::new(PrivateKey::generate().unwrap(), 0);
    let named = |number, public, next: Option<u16>| Peer {
        public: stranger(public).public,
        next: next.map(|next| stranger(next).public),
        ..stranger(number)
    };
    let steps = [
        vec![named(1, 1, None), named(2, 2, Some(12)), named(3, 3, None)],
        // Another key as it was told, another one as it was not, and another place.
        vec![named(1, 11, None), named(2, 12, None), named(4, 3, None)],
        // One has another's key, which has another.
        vec![named(1, 12, None), named(2, 22, None), named(4, 3, None)],
        // One has what another accepted as its next.
        vec![
            named(1, 12, Some(13)),
            named(2, 22, None),
            named(4, 3, None),
        ],
        vec![named(1, 12, None), named(2, 13, None)],
        Vec::new(),
    ];
    let bit_by_bit = engine();
    let mut former: Vec<Peer> = Vec::new();
    for wanted in steps {
        let keys: Vec<_> = wanted.iter().flat_map(Peer::keys).collect();
        let gone = former.iter().filter(|peer| !keys.contains(&peer.public));
        let gone = gone.map(|peer| peer.public).collect();
        let came = wanted.iter().filter(|peer| !former.contains(peer));
        bit_by_bit.change_peers(gone, came.cloned().collect());
        let whole = engine();
        whole.set_peers(wanted.clone());
        for engine in [&bit_by_bit, &whole] {
            let peers = engine.peers.load();
            assert_eq!(peers.all.len(), wanted.len());
            assert!(engine.indices.read().unwrap().len() >= wanted.len());
            let named: usize = wanted.iter().map(|peer| peer.keys().count()).sum();
            assert_eq!(peers.by_key.len(), named);
            for peer in &wanted {
                let known = &peers.by_key[&peer.public];
                assert_eq!(known.lock().peer, *peer);
                let found = peers.routes.find(peer.allowed[0].addr());
                assert!(Arc::ptr_eq(found.unwrap(), known));
            }
        }
        former = wanted;
    }
    assert!(bit_by_bit.indices.read().unwrap().is_empty());
    assert!(bit_by_bit.peers.load().routes.find(inner(1)).is_none());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn no_datagram_is_too_strange(
        kind in 0..6_u8,
        size in prop_oneof![0..200_usize, Just(148), Just(92), Just(64), Just(32)],
        fill in any::<u64>(),
        real in any::<bool>(),
        index in any::<prop::sample::Index>(),
    ) {
        let (mut a, mut b) = pair();
        a.send(b.inner, "hello");
        let sample = if real { settle(&mut a, &mut b) } else { vec![vec![0; size]] };
        let mut datagram = sample[index.index(sample.len())].clone();
        let mut bits = fill;
        if real {
            let at = fill as usize % datagram.len();
            datagram[at] ^= kind + 1;
            datagram.truncate(datagram.len() - size % 3);
        } else {
            for byte in &mut datagram {
                bits = bits.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                *byte = (bits >> 56) as u8;
            }
            if let Some(first) = datagram.first_chunk_mut() {
                *first = [kind, 0, 0, 0];
            }
            // The index that the first link has.
            if let Some(index) = datagram.get_mut(4..8) {
                index.copy_from_slice(&((0x00ff_fffe_u32 << 8) | 1).to_le_bytes());
            }
        }
        b.texts();
        b.take(&datagram, a.at);
        a.take(&datagram, b.at);
        prop_assert!(b.came.is_empty() && a.came.is_empty());
        // And it harmed nothing.
        a.send(b.inner, "after");
        settle(&mut a, &mut b);
        prop_assert_eq!(b.texts().pop(), Some("after".to_owned()));
    }

    #[test]
    fn no_packet_is_too_strange(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
        let (mut a, mut b) = pair();
        a.engine.send(&bytes, &mut a.out);
        settle(&mut a, &mut b);
        prop_assert!(b.came.is_empty());
    }
}

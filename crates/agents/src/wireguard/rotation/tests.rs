//! Many hosts on a virtual clock, with a store that delivers late and processes that crash.

use super::*;
use proptest::prelude::*;
use vw_model::PublicKey;

const HOUR: Duration = Duration::from_secs(3600);

fn at(hours: u32) -> SystemTime {
    SystemTime::UNIX_EPOCH + 100 * HOUR + HOUR * hours
}

fn key() -> PrivateKey {
    PrivateKey::generate().unwrap()
}

fn seen(revisions: &[u64]) -> BTreeMap<HostId, u64> {
    let host = |at: usize| HostId::from_bytes([at as u8; 32]);
    revisions
        .iter()
        .enumerate()
        .map(|(number, revision)| (host(number), *revision))
        .collect()
}

#[test]
fn a_key_is_changed_once_a_period_when_all_have_the_next() {
    let mut ring = KeyRing::new(key(), at(0));
    let first = ring.current.public();
    let mut rotation = Rotation::new(24 * HOUR);
    assert_eq!(
        rotation.step(&ring, at(1), &seen(&[9])),
        Step::Wait(time(&ring) - HOUR)
    );
    assert_eq!(rotation.step(&ring, at(24), &seen(&[9])), Step::Begin);
    ring.begin(key());
    assert_eq!(rotation.step(&ring, at(24), &seen(&[9])), Step::Tell);
    rotation.told(10);
    let behind = Step::Await([HostId::from_bytes([1; 32])].into());
    assert_eq!(rotation.step(&ring, at(24), &seen(&[10, 9, 12])), behind);
    // However long it takes.
    assert_eq!(rotation.step(&ring, at(900), &seen(&[10, 9, 12])), behind);
    assert_eq!(
        rotation.step(&ring, at(25), &seen(&[10, 10, 12])),
        Step::Use
    );
    let next = ring.next.as_ref().unwrap().public();
    ring.advance(at(25));
    rotation.used();
    assert_eq!(ring.current.public(), next);
    assert_eq!(ring.former.as_ref().unwrap().public(), first);
    assert_eq!(
        rotation.step(&ring, at(26), &seen(&[10])),
        Step::Wait(time(&ring) - HOUR)
    );
}

fn time(ring: &KeyRing) -> Duration {
    time_of(&ring.current.public(), 24 * HOUR)
}

#[test]
fn hosts_that_began_at_once_change_keys_at_different_times() {
    let keys = (0..=255_u8).map(|number| PublicKey::from_bytes([number; 32]));
    let times: BTreeSet<Duration> = keys.map(|key| time_of(&key, 24 * HOUR)).collect();
    assert_eq!(times.len(), 256);
    let (first, last) = (times.first().unwrap(), times.last().unwrap());
    assert_eq!(*last, 24 * HOUR);
    assert!(
        (22 * HOUR - HOUR / 2..23 * HOUR - HOUR).contains(first),
        "{first:?}"
    );
}

#[test]
fn one_that_wakes_in_the_middle_of_a_change_loses_nothing() {
    let mut cluster = Cluster::new(2);
    cluster.sleep(1, 1);
    cluster.now += 2 * HOUR;
    cluster.read(0);
    let first = cluster.members[0].used;
    // Whether the other one is idle is known of a time after the next key was told.
    (0..3).for_each(|_| cluster.step(0, 2));
    cluster.wake(1, 1);
    cluster.step(0, 2);
    assert_eq!(cluster.members[0].used, first);
    cluster.read(0);
    cluster.step(0, 2);
    assert_eq!(
        cluster.members[0].used, first,
        "it waits for one that is not idle"
    );
    cluster.read(1);
    cluster.step(0, 2);
    assert_ne!(cluster.members[0].used, first);
    assert!(cluster.all_reach_all());
    // One that stays idle is not waited for, and changes nothing.
    cluster.sleep(1, 1);
    cluster.now += 2 * HOUR;
    let (second, idle) = (cluster.members[0].used, cluster.members[1].used);
    for _ in 0..3 {
        cluster.read(0);
        cluster.step(0, 2);
        cluster.step(1, 2);
    }
    assert_ne!(cluster.members[0].used, second);
    assert_eq!(cluster.members[1].used, idle);
    cluster.wake(1, 1);
    cluster.read(1);
    assert!(cluster.all_reach_all());
}

#[test]
fn a_host_alone_waits_for_nobody() {
    let mut ring = KeyRing::new(key(), at(0));
    let mut rotation = Rotation::new(HOUR);
    ring.begin(key());
    rotation.told(1);
    assert_eq!(rotation.step(&ring, at(0), &seen(&[])), Step::Use);
}

#[test]
fn a_clock_that_was_wrong_delays_nothing() {
    let ring = KeyRing::new(key(), at(50));
    assert_eq!(
        Rotation::new(HOUR).step(&ring, at(0), &seen(&[])),
        Step::Begin
    );
}

#[test]
fn nothing_is_used_that_was_never_begun() {
    let mut ring = KeyRing::new(key(), at(0));
    let before = ring.current.public();
    ring.advance(at(1));
    assert_eq!((ring.current.public(), ring.since), (before, at(0)));
}

/// A host's record in the store.
#[derive(Debug, Clone)]
struct Record {
    public: PublicKey,
    next: Option<PublicKey>,
    idle: bool,
    revision: u64,
}

/// Whether something encrypted stands on a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Life {
    Idle,
    /// It told that something will, and sends nothing yet.
    Waking,
    Active,
}

/// A host: what is on its disk, what its process knows, and what it has read of the others.
struct Member {
    ring: KeyRing,
    rotation: Rotation,
    /// The key that its device sends under.
    used: PublicKey,
    known: Vec<Record>,
    life: Life,
    /// The store's revision that `known` is of, and what others have read of that.
    read: u64,
}

/// A cluster, whose every host may lag and crash.
struct Cluster {
    members: Vec<Member>,
    records: Vec<Record>,
    revision: u64,
    now: SystemTime,
}

impl Cluster {
    fn new(count: usize) -> Self {
        let rings: Vec<_> = (0..count).map(|_| KeyRing::new(key(), at(0))).collect();
        let record = |ring: &KeyRing| Record {
            public: ring.current.public(),
            next: None,
            idle: false,
            revision: 1,
        };
        let records: Vec<_> = rings.iter().map(record).collect();
        let member = |ring: KeyRing| Member {
            used: ring.current.public(),
            rotation: Rotation::new(HOUR),
            known: records.clone(),
            life: Life::Active,
            read: 1,
            ring,
        };
        Self {
            members: rings.into_iter().map(member).collect(),
            records,
            revision: 1,
            now: at(0),
        }
    }

    /// The host reads what the store has, and sends from then on if it waited for that.
    fn read(&mut self, who: usize) {
        let member = &mut self.members[who];
        member.known = self.records.clone();
        member.read = self.revision;
        if member.life == Life::Waking {
            member.life = Life::Active;
        }
    }

    /// Nothing encrypted stands on the host any more, which then tells so.
    fn sleep(&mut self, who: usize, effects: usize) {
        self.members[who].life = Life::Idle;
        match effects {
            0 => self.restart(who),
            _ => drop(self.write(who)),
        }
    }

    /// Something will stand on the host, which tells so before it does.
    fn wake(&mut self, who: usize, effects: usize) {
        if self.members[who].life == Life::Idle {
            self.members[who].life = Life::Waking;
            self.write(who);
        }
        if effects == 0 {
            self.restart(who);
        }
    }

    /// Up to where the others accept what a host told, as that one knows.
    fn seen_by(&self, who: usize) -> BTreeMap<HostId, u64> {
        let me = &self.members[who];
        let next = me.ring.next.as_ref().map(PrivateKey::public);
        let is_told = me.known[who].next == next;
        let others = (0..self.members.len()).filter(|at| *at != who);
        let seen = others.map(|at| match me.known[at].idle {
            true if is_told => (at, u64::MAX),
            true => (at, 0),
            false => (at, self.members[at].read),
        });
        seen.map(|(at, seen)| (HostId::from_bytes([at as u8; 32]), seen))
            .collect()
    }

    fn write(&mut self, who: usize) -> u64 {
        self.revision += 1;
        let ring = &self.members[who].ring;
        self.records[who] = Record {
            public: ring.current.public(),
            next: ring.next.as_ref().map(PrivateKey::public),
            idle: self.members[who].life == Life::Idle,
            revision: self.revision,
        };
        self.revision
    }

    /// The host does its step, and crashes after `effects` of its effects.
    fn step(&mut self, who: usize, effects: usize) {
        if self.members[who].life == Life::Idle {
            return;
        }
        let seen = self.seen_by(who);
        let member = &mut self.members[who];
        let step = member.rotation.step(&member.ring, self.now, &seen);
        match step {
            Step::Wait(_) | Step::Await(_) => {}
            Step::Begin => member.ring.begin(key()),
            Step::Tell => {
                let revision = self.write(who);
                self.members[who].rotation.told(revision);
            }
            Step::Use => {
                member.ring.advance(self.now);
                if effects > 0 {
                    member.used = member.ring.current.public();
                }
                if effects > 1 {
                    self.write(who);
                    self.members[who].rotation.used();
                }
            }
        }
        if effects < 2 {
            self.restart(who);
        }
    }

    /// A new process: the disk's keys, the record written, the store read. What was about to stand
    /// does not.
    fn restart(&mut self, who: usize) {
        let member = &mut self.members[who];
        if member.life == Life::Waking {
            member.life = Life::Idle;
        }
        member.rotation = Rotation::new(HOUR);
        member.used = member.ring.current.public();
        self.write(who);
        self.read(who);
    }

    /// Of those that send, each takes what each other sends under, and each finds the key that it
    /// asks another by.
    fn all_reach_all(&self) -> bool {
        let senders = || {
            let all = self.members.iter().enumerate();
            all.filter(|(_, member)| member.life == Life::Active)
        };
        senders().all(|(at, member)| {
            senders().all(|(other, sender)| {
                let record = &member.known[other];
                let takes = sender.used == record.public || Some(sender.used) == record.next;
                let answers = [Some(&sender.ring.current), sender.ring.former.as_ref()];
                let is_known = answers
                    .into_iter()
                    .flatten()
                    .any(|key| key.public() == record.public);
                at == other || takes && is_known
            })
        })
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn no_pair_of_hosts_is_ever_without_keys(
        moves in proptest::collection::vec((0..4_usize, 0..8_usize, 0..40_u64), 1..200)
    ) {
        let mut cluster = Cluster::new(4);
        for (who, what, minutes) in moves {
            cluster.now += Duration::from_secs(60 * minutes);
            match what {
                0 => cluster.read(who),
                1 => cluster.step(who, 0),
                2 => cluster.step(who, 1),
                3 => cluster.sleep(who, minutes as usize % 2),
                4 => cluster.wake(who, minutes as usize % 2),
                _ => cluster.step(who, 2),
            }
            prop_assert!(cluster.all_reach_all());
        }
        // And all of them come to an end.
        (0..4).for_each(|who| cluster.wake(who, 1));
        let before: Vec<_> = cluster.members.iter().map(|member| member.used).collect();
        for _ in 0..12 {
            cluster.now += HOUR;
            for who in 0..4 {
                cluster.read(who);
                cluster.step(who, 2);
                prop_assert!(cluster.all_reach_all());
            }
        }
        for (member, before) in cluster.members.iter().zip(before) {
            prop_assert_ne!(member.used, before);
        }
        prop_assert!(cluster.records.iter().all(|record| record.revision <= cluster.revision));
    }
}

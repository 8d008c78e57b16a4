//! What goes wrong when, made of a seed.

use crate::simulation::chance;
use std::{fmt, time::Duration};

/// What is done to a host or a member, and undone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trouble {
    /// The host's wire is pulled.
    CutHost,
    /// The host and this member do not hear each other.
    HideMember(usize),
    /// The host's daemon is killed, and started again.
    KillHost,
    /// The host's daemon is stopped, and goes on.
    StopHost,
    /// The host dies, and comes back with nothing, as another one.
    EmptyHost,
    /// The member's wire is pulled.
    CutMember,
    /// The member does not hear its peers; the hosts hear it.
    IsolateMember,
    /// The member is killed, and started again.
    KillMember,
    /// The member is stopped, and goes on.
    StopMember,
}

/// One trouble, from its beginning to its end.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fault {
    pub(super) from: Duration,
    pub(super) to: Duration,
    pub(super) target: usize,
    pub(super) trouble: Trouble,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (from, to) = (self.from.as_secs_f32(), self.to.as_secs_f32());
        write!(
            f,
            "{from:5.2} s to {to:5.2} s: {:?} {}",
            self.trouble, self.target
        )
    }
}

fn between(least: u64, most: u64) -> Duration {
    Duration::from_millis(least + chance::below((most - least) as usize) as u64)
}

/// Faults within a time, one after the other of each host and member; some outlast a presence.
pub(super) fn schedule(
    seed: u64,
    (hosts, members): (usize, usize),
    length: Duration,
    presence: Duration,
) -> Vec<Fault> {
    chance::seed(seed);
    let mut faults = Vec::new();
    for target in 0..hosts {
        let mut at = between(500, 4000);
        while at < length {
            let long = chance::per_mille(250);
            let lasts = between(300, 2500) + if long { presence } else { Duration::ZERO };
            let trouble = match chance::below(100) {
                0..20 => Trouble::CutHost,
                20..35 => Trouble::HideMember(chance::below(members)),
                35..65 => Trouble::KillHost,
                65..85 => Trouble::StopHost,
                _ => Trouble::EmptyHost,
            };
            faults.push(Fault {
                from: at,
                to: at + lasts,
                target,
                trouble,
            });
            at += lasts + between(2000, 6000);
        }
    }
    for target in 0..members {
        let mut at = between(2000, 12_000);
        while at < length {
            let lasts = between(300, 4000);
            let troubles = [
                Trouble::CutMember,
                Trouble::IsolateMember,
                Trouble::KillMember,
                Trouble::StopMember,
            ];
            faults.push(Fault {
                from: at,
                to: at + lasts,
                target,
                trouble: *chance::pick(&troubles).expect("there are four"),
            });
            at += lasts + between(6000, 14_000);
        }
    }
    faults.sort_by_key(|fault| fault.from);
    faults
}

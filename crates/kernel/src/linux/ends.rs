//! The far ends of pairs, in the namespaces where they lie.
//!
//! What is to be done to them waits for the first requests that go to their namespace.

use super::{
    apply::{Run, Stop},
    names,
    queue::{Forgive, Queue},
};
use crate::netlink::{
    Batch,
    link::{self, Settings, Which},
};
use std::io;
use vw_model::{IfName, MacAddr};

/// What is left to do to an end of a pair.
#[derive(Debug)]
pub(super) enum End {
    /// It was made: bring it up.
    Up {
        /// The step.
        step: usize,
        /// Its name.
        name: IfName,
        /// Its MTU.
        mtu: u32,
    },
    /// The pair changed: follow.
    Change {
        /// The step.
        step: usize,
        /// The name it has.
        name: IfName,
        /// The name it must have.
        new: IfName,
        /// Its new address, if that changes: setting it, even to what it is, makes the kernel
        /// forget the link's neighbours (`neigh_changeaddr`).
        mac: Option<MacAddr>,
        /// Its MTU.
        mtu: u32,
    },
    /// The pair is out of service: free its name.
    Out {
        /// The step.
        step: usize,
        /// The name it had.
        name: IfName,
        /// Its index.
        index: u32,
    },
}

impl End {
    /// The step that it belongs to.
    pub(super) const fn step(&self) -> usize {
        match self {
            Self::Up { step, .. } | Self::Change { step, .. } | Self::Out { step, .. } => *step,
        }
    }

    /// Whether it only is to be freed of its name.
    pub(super) const fn is_out(&self) -> bool {
        matches!(self, Self::Out { .. })
    }

    const fn name(&self) -> &IfName {
        match self {
            Self::Up { name, .. } | Self::Change { name, .. } | Self::Out { name, .. } => name,
        }
    }
}

impl Run<'_> {
    /// Does what is left to do to the ends that lie in the namespace of the queue just opened.
    pub(super) fn do_ends(&mut self, queue: &mut Queue) -> Result<(), Stop> {
        for end in self.ends.remove(&queue.netns).unwrap_or_default() {
            let at = end.step();
            let done = queue
                .index(&self.kernel.namespaces, end.name())
                .and_then(|found| end.requests(found, queue, self.kernel.ipv6));
            done.map_err(|error| (at, names::failed(&self.plan.steps[at], error)))?;
        }
        Ok(())
    }
}

impl End {
    /// Puts what it takes into the queue; `found` is the index of what has its name.
    fn requests(self, found: Option<u32>, queue: &mut Queue, ipv6: bool) -> io::Result<()> {
        match (self, found) {
            (Self::Up { step, mtu, .. }, Some(index)) => {
                if ipv6 && link::has_ipv6(mtu) {
                    let quiet = Settings {
                        no_autoconf: true,
                        ..Settings::default()
                    };
                    queue.push(step, Forgive::Nothing, |batch| {
                        link::change(batch, Which::Index(index), &quiet);
                    });
                }
                queue.push(step, Forgive::Nothing, |batch| up(batch, index));
            }
            (
                Self::Change {
                    step,
                    name,
                    new,
                    mac,
                    mtu,
                },
                Some(index),
            ) => {
                let settings = Settings {
                    name: (name != new).then_some(new.as_str()),
                    mac,
                    mtu: Some(mtu),
                    no_autoconf: ipv6 && link::has_ipv6(mtu),
                    ..Settings::default()
                };
                queue.push(step, Forgive::Nothing, |batch| {
                    link::change(batch, Which::Index(index), &settings);
                });
                queue.push(step, Forgive::Nothing, |batch| up(batch, index));
                queue.touch(&name);
                queue.touch(&new);
            }
            (Self::Out { step, name, index }, Some(found)) if found == index => {
                let down = Settings {
                    up: Some(false),
                    ..Settings::default()
                };
                queue.push(step, Forgive::Gone, |batch| {
                    link::change(batch, Which::Index(index), &down);
                });
                queue.push(step, Forgive::Gone, |batch| rename_away(batch, index));
                queue.touch(&name);
            }
            // Under its name lies nothing, or something else: what was meant was moved or renamed
            // by somebody, so the name is not ours to free.
            (Self::Out { .. }, _) => {}
            (Self::Up { name, .. } | Self::Change { name, .. }, None) => {
                let text = format!("its other end {name} is gone");
                return Err(io::Error::new(io::ErrorKind::NotFound, text));
            }
        }
        Ok(())
    }
}

/// Brings a link up.
pub(super) fn up(batch: &mut Batch, index: u32) {
    let settings = Settings {
        up: Some(true),
        ..Settings::default()
    };
    link::change(batch, Which::Index(index), &settings);
}

/// Gives a link's name free: indexes are unique in a namespace and not soon used again, so nothing has this name.
///
/// It goes in a request of its own behind `down`: before Linux 6.2 only a link that is down can be
/// renamed.
pub(super) fn rename_away(batch: &mut Batch, index: u32) {
    let name = format!("vwx{index}");
    let settings = Settings {
        name: Some(&name),
        ..Settings::default()
    };
    link::change(batch, Which::Index(index), &settings);
}

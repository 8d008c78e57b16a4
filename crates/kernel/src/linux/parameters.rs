//! Kernel parameters: each run of one namespace is written at once, by a visit where it takes one.

use super::{
    apply::{Run, Stop},
    names,
};
use crate::{
    netns::{Namespaces, Place},
    sysctl::{self, Ipv6Conf},
};
use std::{io, sync::Arc};
use vw_hoststate::{Netns, Object, Step};

/// A path, its value, and whether a parameter that is not there is well.
type Write = (String, Option<String>, bool);

impl Run<'_> {
    /// Writes parameters of one namespace from `at` on; answers the step behind them.
    pub(super) fn sysctls(&mut self, at: usize, netns: Netns) -> Result<usize, Stop> {
        self.flush()?;
        let of_netns = |step: &&Step| match step.object() {
            Object::Sysctl(sysctl) => sysctl.netns == netns,
            _ => false,
        };
        let steps: Vec<_> = self.plan.steps[at..].iter().take_while(of_netns).collect();
        let end = at + steps.len();
        let is_deletion = |step: &&Step| matches!(step, Step::Delete(_));
        if steps.iter().all(is_deletion) && self.is_gone(netns) {
            self.done[at..end].fill(true);
            return Ok(end);
        }
        let writes: Vec<_> = steps.into_iter().map(write_of).collect();
        let place = self.place(netns).map_err(|error| (at, error))?;
        self.take_turn();
        let results = write_all(&self.kernel.namespaces, &place, writes);
        let failed = |step: usize, error| (step, names::failed(&self.plan.steps[step], error));
        let results = results.map_err(|error| failed(at, error))?;
        let mut stop = None;
        for (step, result) in (at..).zip(results) {
            self.done[step] = result.is_ok();
            if let (Err(error), None) = (result, &stop) {
                stop = Some(failed(step, error));
            }
        }
        stop.map_or(Ok(end), Err)
    }
}

/// Writes, by a thread inside where it must be one.
fn write_all(
    namespaces: &Namespaces,
    place: &Arc<Place>,
    writes: Vec<Write>,
) -> io::Result<Vec<io::Result<()>>> {
    if writes.iter().all(|(path, ..)| Ipv6Conf::holds(path))
        && let Some(conf) = namespaces.ipv6_conf(place)?
    {
        let write = |path: &str, value: &str| conf.write(path, value);
        return Ok(writes.iter().map(|one| write_one(one, write)).collect());
    }
    namespaces.run(place, move || {
        let writes = writes.iter();
        writes.map(|one| write_one(one, sysctl::write)).collect()
    })
}

fn write_one(
    (path, value, forgiving): &Write,
    write: impl Fn(&str, &str) -> io::Result<()>,
) -> io::Result<()> {
    let Some(value) = value else { return Ok(()) };
    match write(path, value) {
        Err(error) if *forgiving && error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

/// What a step writes where.
fn write_of(step: &Step) -> Write {
    match step {
        Step::Create(Object::Sysctl(new))
        | Step::Replace {
            new: Object::Sysctl(new),
            ..
        } => (new.path.clone(), Some(new.value.clone()), false),
        Step::Delete(Object::Sysctl(old)) => (old.path.clone(), old.previous.clone(), true),
        _ => (String::new(), None, true),
    }
}

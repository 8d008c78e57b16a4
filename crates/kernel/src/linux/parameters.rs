//! Kernel parameters: each run of one namespace is written by one visit to it.

use super::{
    apply::{Run, Stop},
    names,
};
use crate::sysctl;
use std::io;
use vw_hoststate::{Netns, Object, Step};

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
        let results = self.kernel.namespaces.run(&place, move || {
            let write = |(path, value, forgiving): &(String, Option<String>, bool)| {
                let Some(value) = value else { return Ok(()) };
                match sysctl::write(path, value) {
                    Err(error) if *forgiving && error.kind() == io::ErrorKind::NotFound => Ok(()),
                    result => result,
                }
            };
            writes.iter().map(write).collect::<Vec<io::Result<()>>>()
        });
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

/// What a step writes where, and whether a parameter that is not there is well.
fn write_of(step: &Step) -> (String, Option<String>, bool) {
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

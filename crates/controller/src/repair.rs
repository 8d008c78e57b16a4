//! The kernel compared with what is wanted, and brought there: at the start, after a failure, after
//! another program's change. The same diff as every other change, over everything.

use crate::{Controller, controller::kernel_error, registry::lock};
use std::{
    net::IpAddr,
    sync::{PoisonError, atomic::Ordering},
};
use vw_hoststate::{Address, Fragment, Key, Netns, Object, Objects, Owner, Plan, Step};
use vw_kernel::{KernelError, Observed};
use vw_model::{Error, IpNet, Result};
use vw_store::Batch;

/// What a comparison did.
#[derive(Debug)]
pub(crate) struct Compared {
    /// How many steps it found to do.
    pub(crate) steps: usize,
    /// How many of them the kernel refused.
    pub(crate) refused: usize,
    /// The first refusal to take away what nobody wants. That something wanted cannot be had is
    /// told as it happens, and is no failure of who removes something else.
    pub(crate) standing: Option<KernelError>,
}

impl Controller {
    /// Compares the kernel with what is wanted and brings it there; what was taken out halfway goes
    /// for good then, and records of what is gone that the store refused to delete.
    ///
    /// # Errors
    /// When the kernel cannot be read; what cannot be repaired is told and the rest goes on.
    pub fn repair(&self) -> Result<usize> {
        if let Err(error) = self.note(Batch::new()) {
            tracing::error!("records of what is gone stay: {}", error.chain());
        }
        let steps = self.compare()?.steps;
        self.open_clear_probe_again();
        if let Err(error) = self.go_on_leaving() {
            tracing::error!("what nobody wants stands still: {}", error.chain());
        }
        Ok(steps)
    }

    /// Compares all, and goes on past what the kernel refuses.
    ///
    /// # Errors
    /// When the kernel cannot be read.
    pub(crate) fn compare(&self) -> Result<Compared> {
        // No change may be halfway: its objects would be taken for strays.
        let _alone = self
            .applying
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let mut desired = lock(&self.host).desired();
        let observed = self.observe(&desired)?;
        if !observed.gone.is_empty() {
            self.leave_probes(&observed.gone);
            self.want_nothing_of(&observed.gone)?;
            desired = lock(&self.host).desired();
        }
        let plan = vw_hoststate::diff(&observed.objects, &desired);
        let is_anew = plan.steps.iter().any(makes_anew);
        let (mut steps, mut refusals) = self.carry_out_all(plan);
        if is_anew {
            // What lay on such a link stood when it was looked at, and went with it.
            let left = self.observe(&desired)?;
            let plan = vw_hoststate::diff(&left.objects, &desired);
            let (more, refused) = self.carry_out_all(plan);
            steps += more;
            refusals.extend(refused);
        }
        let refused = refusals.len();
        self.astray.store(refused > 0, Ordering::SeqCst);
        let host = lock(&self.host);
        let unwanted =
            |(key, _): &(Option<Key>, KernelError)| key.as_ref().is_none_or(|key| !host.wants(key));
        let standing = refusals
            .into_iter()
            .find(unwanted)
            .map(|(_, source)| source);
        drop(host);
        Ok(Compared {
            steps,
            refused,
            standing,
        })
    }

    /// Applies a plan as far as it can be, and tells how many steps it had and which were refused.
    fn carry_out_all(&self, plan: Plan) -> (usize, Vec<(Option<Key>, KernelError)>) {
        for step in &plan.steps {
            tracing::info!(?step, "repairing");
        }
        (plan.steps.len(), self.do_what_can_be_done(plan))
    }

    /// What stands of ours: also, where a kernel does not show whose an address is (before Linux
    /// 5.18), the one that only this host makes on the link to the others.
    fn observe(&self, desired: &Objects) -> Result<Observed> {
        let underlay = self.config.drivers.underlay.as_ref();
        let own = underlay.and_then(|underlay| {
            Some(Object::Address(Address {
                netns: Netns::Host,
                link: underlay.link.clone(),
                addr: IpNet::from(IpAddr::V6(underlay.link_local?)),
            }))
        });
        let Some(own) = own.filter(|own| !desired.contains_key(&own.key())) else {
            return self.kernel.observe(desired).map_err(kernel_error);
        };
        let mut looked_for = desired.clone();
        looked_for.insert(own.key(), own);
        self.kernel.observe(&looked_for).map_err(kernel_error)
    }

    /// Applies a plan without the steps that fail, and tells which those are.
    fn do_what_can_be_done(&self, mut plan: Plan) -> Vec<(Option<Key>, KernelError)> {
        let mut refused = Vec::new();
        while !plan.is_empty() {
            let Err(failure) = self.kernel.apply(&plan) else {
                break;
            };
            let before = plan.steps.len();
            let key = plan.steps.get(failure.step).map(Step::key);
            self.warn_of(key.as_ref(), &failure.source);
            let rest = plan.steps.into_iter().enumerate();
            let undone = rest.filter(|(at, _)| {
                *at != failure.step && !failure.done.get(*at).copied().unwrap_or_default()
            });
            let steps: Vec<Step> = undone.map(|(_, step)| step).collect();
            let advanced = steps.len() < before;
            plan = Plan { steps };
            refused.push((key, failure.source));
            if !advanced {
                break;
            }
        }
        refused
    }

    fn warn_of(&self, key: Option<&Key>, source: &KernelError) {
        self.warn(format!("cannot repair {key:?}: {source}"));
    }

    /// Stops wanting what sandboxes and their attachments, also those that leave, have in sandboxes'
    /// namespaces that are gone, and what services have there; the sandboxes are settled after, and what
    /// leads to services is made again. Any other is made again with all that belongs there.
    fn want_nothing_of(&self, gone: &[Netns]) -> Result<()> {
        let sandbox = |netns: &Netns| matches!(netns, Netns::Sandbox(_));
        let gone: Vec<Netns> = gone.iter().copied().filter(sandbox).collect();
        self.look_at_balancers_in(&gone);
        let mut host = lock(&self.host);
        let left = |owner: Owner| match owner {
            Owner::Sandbox(_) | Owner::Attachment(_) => Some((owner, Fragment::default())),
            Owner::Service(_) => {
                let wanted = Vec::from(host.fragment(owner)).into_iter();
                let left = wanted.filter(|object| !object.lies_in(&gone));
                Some((owner, left.collect()))
            }
            _ => None,
        };
        let owners = host.owners_in(&gone).into_iter();
        let wants: Vec<(Owner, Fragment)> = owners.filter_map(left).collect();
        host.change(wants).map_err(|conflict| {
            Error::internal(
                "object-conflict",
                "two records want different things of one kernel object",
            )
            .because(conflict)
        })?;
        Ok(())
    }
}

/// Whether a step makes a link anew, which cannot be changed where it stands.
fn makes_anew(step: &Step) -> bool {
    match step {
        Step::Replace {
            old: Object::Link(old),
            new: Object::Link(new),
        } => !old.kind.becomes(&new.kind),
        _ => false,
    }
}

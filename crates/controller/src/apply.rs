//! Changes on their way to the kernel: recorded, applied, undone, and mended where that failed.
//!
//! Of what several owners share, changes are applied in the order in which they are recorded: who
//! touches what a plan changes that is under way waits for its end, and others do not.

use crate::{
    Controller,
    controller::{Core, kernel_error},
    detach::Leaving,
    patience::Patience,
    registry::lock,
    step,
};
use std::{
    sync::{PoisonError, atomic::Ordering},
    time::Instant,
};
use vw_hoststate::{Change, Conflict, Fragment, Owner, Plan};
use vw_kernel::Failure;
use vw_model::{Error, Result};
use vw_store::Table;

/// A recorded change while its plan is applied.
struct UnderWay<'a> {
    core: &'a Core,
    change: Change,
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        lock(&self.core.host).land(&self.change.plan);
        self.core.landed.notify_all();
    }
}

impl Controller {
    /// Records a change once nothing is under way that it touches. The caller holds `applying`.
    ///
    /// # Errors
    /// As [`HostState::change`](vw_hoststate::HostState::change).
    fn record(&self, wants: Vec<(Owner, Fragment)>) -> std::result::Result<UnderWay<'_>, Conflict> {
        let mut host = lock(&self.host);
        while host.must_wait(&wants) {
            host = self
                .landed
                .wait(host)
                .unwrap_or_else(PoisonError::into_inner);
        }
        let change = host.change(wants)?;
        host.set_out(&change.plan);
        Ok(UnderWay { core: self, change })
    }

    /// Records what owners want from now on and brings the kernel there, or changes nothing.
    pub(crate) fn bring(&self, wants: Vec<(Owner, Fragment)>) -> Result<()> {
        // What a former failure left may be in the way; whether it is, the change itself tells.
        let _ = self.mend();
        let brought = {
            let _applying = self.applying.read().unwrap_or_else(PoisonError::into_inner);
            let change = self.record(wants).map_err(|e| {
                Error::conflict(
                    "object-conflict",
                    "another network or container holds the same thing",
                )
                .because(e)
            })?;
            self.carry_out(&change.change)
        };
        if brought.is_err()
            && let Err(error) = self.mend_now()
        {
            tracing::error!("undoing a failed change failed too: {}", error.chain());
        }
        brought
    }

    fn carry_out(&self, change: &Change) -> Result<()> {
        if change.plan.is_empty() {
            return Ok(());
        }
        let Err(failure) = self.apply(&change.plan) else {
            return Ok(());
        };
        let undo = change.plan.undo(&failure.done);
        if !undo.is_empty() && self.kernel.apply(&undo).is_err() {
            self.astray.store(true, Ordering::SeqCst);
        }
        match lock(&self.host).revert(change) {
            Ok(rest) if rest.is_empty() => {}
            // Of what it shared with others, who came or left meanwhile.
            Ok(_) => self.astray.store(true, Ordering::SeqCst),
            Err(conflict) => {
                self.astray.store(true, Ordering::SeqCst);
                tracing::error!(
                    "the record of what stands differs from what is wanted: {conflict}"
                );
            }
        }
        Err(kernel_error(failure.source))
    }

    fn apply(&self, plan: &Plan) -> std::result::Result<(), Failure> {
        if let Some(half) = step::first_half(plan) {
            self.kernel.apply(&half)?;
            step::reached(step::HALFWAY);
        }
        self.kernel.apply(plan)
    }

    /// Takes away what owners wanted. Where that fails, all is compared and what is left is taken
    /// away by that, so that one refusal does not keep the rest in place.
    ///
    /// # Errors
    /// When something of it may stand. Nobody wants it any more: the next call, a later comparison
    /// or the next start takes it away.
    pub(crate) fn take_away(&self, wants: Vec<(Owner, Fragment)>) -> Result<()> {
        let taken = {
            let _applying = self.applying.read().unwrap_or_else(PoisonError::into_inner);
            let under_way = self.record(wants).map_err(|e| {
                Error::internal("object-conflict", "another owner holds the same thing").because(e)
            })?;
            let plan = &under_way.change.plan;
            // Where it is empty, somebody asks again for what a former call took away, or not quite.
            (!plan.is_empty()).then(|| self.apply(plan))
        };
        match taken {
            Some(Ok(())) => {
                // Something else may stand, which is not for this caller to hear.
                let _ = self.mend();
                Ok(())
            }
            None => self.mend_now(),
            Some(Err(failure)) => {
                tracing::warn!("comparing all after a failed removal: {}", failure.source);
                self.astray.store(true, Ordering::SeqCst);
                self.mend_now()
            }
        }
    }

    /// As [`Self::mend_now`] where that is due: while the kernel goes on refusing something, changes
    /// that have nothing to do with it compare all ever more rarely.
    ///
    /// # Errors
    /// When something may stand still that nobody wants.
    pub(crate) fn mend(&self) -> Result<()> {
        if !self.is_astray() {
            return Ok(());
        }
        if !lock(&self.patience).is_over(Instant::now()) {
            let message = "something that nobody wants stands still, and is tried again later";
            return Err(Error::internal("kernel-astray", message));
        }
        let mended = self.mend_now();
        if mended.is_err() {
            lock(&self.patience).grow(Instant::now());
        }
        mended
    }

    /// Compares all where a former failure left the kernel different from what is wanted, and
    /// forgets that of which nothing stands then.
    ///
    /// # Errors
    /// When something stands still that nobody wants.
    pub(crate) fn mend_now(&self) -> Result<()> {
        if !self.is_astray() {
            return Ok(());
        }
        // Who comes meanwhile waits, and finds forgotten what is gone.
        let _mending = lock(&self.mending);
        if !self.is_astray() {
            return Ok(());
        }
        // Of what comes meanwhile, a comparison may have seen the former state.
        let gone = lock(&self.leaving).clone();
        self.balancers.owed.begin_comparing();
        let compared = self.compare().and_then(|compared| {
            let standing = compared.standing.map(kernel_error);
            standing.map_or(Ok(compared.refused), Err)
        });
        let refused = compared?;
        *lock(&self.patience) = Patience::default();
        for left in &gone {
            match left {
                Leaving::Endpoint(endpoint) => self.forget_endpoint(endpoint),
                Leaving::Former(endpoint) => self.forget_former(endpoint),
                Leaving::Sandbox(id) => self.unnote(Table::Sandboxes, id.to_string()),
                Leaving::Service(spec) => self.forget_service(spec),
                // Free with the last who holds them.
                Leaving::Ports(_) => {}
            }
        }
        lock(&self.leaving).drain(..gone.len());
        // What led there may be what is refused, as it is to lead elsewhere.
        if refused == 0 {
            self.note_gone();
        }
        Ok(())
    }

    /// Whether something may stand that nobody wants, or something wanted may not.
    pub(crate) fn is_astray(&self) -> bool {
        self.astray.load(Ordering::SeqCst)
            || !lock(&self.leaving).is_empty()
            || self.balancers.owed.some_stands()
    }
}

//! Grants of which nobody knows whether they will be made yet, and how that is ruled out.
//!
//! Owns the rule that an address that was given away is free only once none of these can arrive.

use crate::core::{Core, Done};
use vw_model::{EndpointId, Result};
use vw_store::cluster::{Condition, Write};

/// A transaction of which nobody knows how it ended, that grants somebody an address.
#[derive(Debug, Clone)]
pub(crate) struct Doubt {
    pub(crate) holder: EndpointId,
    /// What it depends on.
    pub(crate) condition: Condition,
    /// Replaces what it depends on, which rules it out.
    pub(crate) write: Write,
}

impl Core {
    /// Whether no transaction that is still under way can grant somebody an address: replaces what
    /// it depends on where there may be one. Only then what was given away can be free.
    pub(crate) fn cannot_be_granted(&self, holder: EndpointId) -> Result<bool> {
        loop {
            let doubt = {
                let state = self.state();
                let mut doubts = state.doubts.iter();
                doubts.find(|doubt| doubt.holder == holder).cloned()
            };
            let Some(Doubt {
                condition, write, ..
            }) = doubt
            else {
                return Ok(true);
            };
            // When refused it was replaced already, by that transaction or by another.
            if self.commit(vec![condition.clone()], vec![write])? == Done::Uncertain {
                return Ok(false);
            }
            let same = |doubt: &Doubt| doubt.holder == holder && doubt.condition == condition;
            self.state().doubts.retain(|doubt| !same(doubt));
        }
    }
}

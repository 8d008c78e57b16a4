//! Ordered steps, and their undoing.

use crate::{Key, Object};
use std::cmp::Reverse;

/// One change to one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// It is not there and must be.
    Create(Object),
    /// It is there and must be different.
    Replace {
        /// As it is.
        old: Object,
        /// As it must be.
        new: Object,
    },
    /// It is there and must not be.
    Delete(Object),
}

impl Step {
    /// The key of the object that it changes.
    #[must_use]
    pub fn key(&self) -> Key {
        self.object().key()
    }

    /// The object as it is meant to be after this step; the one that goes, for a deletion.
    #[must_use]
    pub const fn object(&self) -> &Object {
        match self {
            Self::Create(object) | Self::Delete(object) => object,
            Self::Replace { new, .. } => new,
        }
    }

    /// The step that takes this one back.
    #[must_use]
    pub fn inverse(&self) -> Self {
        match self {
            Self::Create(object) => Self::Delete(object.clone()),
            Self::Delete(object) => Self::Create(object.clone()),
            Self::Replace { old, new } => Self::Replace {
                old: new.clone(),
                new: old.clone(),
            },
        }
    }
}

/// Steps in the order in which they must take effect: removals in the reverse order of making,
/// then changes and creations in that order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// The steps.
    pub steps: Vec<Step>,
}

impl Plan {
    /// Puts steps into order: deletions first, by falling [stage](Object::stage), then the rest by
    /// rising stage; within a stage by key.
    #[must_use]
    pub fn ordered(steps: impl IntoIterator<Item = Step>) -> Self {
        let (mut deletions, mut others): (Vec<_>, Vec<_>) = steps
            .into_iter()
            .partition(|step| matches!(step, Step::Delete(_)));
        let place = |step: &Step| (step.object().stage(), step.key());
        deletions.sort_by_cached_key(|step| Reverse(place(step)));
        others.sort_by_cached_key(place);
        deletions.append(&mut others);
        Self { steps: deletions }
    }

    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// The plan that takes back those steps for which `done` holds, last first.
    #[must_use]
    pub fn undo(&self, done: &[bool]) -> Self {
        let applied = self.steps.iter().zip(done).rev().filter(|(_, done)| **done);
        Self {
            steps: applied.map(|(step, _)| step.inverse()).collect(),
        }
    }
}

#[cfg(test)]
mod tests;

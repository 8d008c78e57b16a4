//! The steps from one keyed state to another.

use crate::{Objects, Plan, Step};

/// The plan after which `observed` is `desired`.
///
/// Objects of `observed` that `desired` does not name are deleted, so only what is ours may
/// stand in it.
#[must_use]
pub fn diff(observed: &Objects, desired: &Objects) -> Plan {
    let stale = observed
        .iter()
        .filter(|(key, _)| !desired.contains_key(key));
    let stale = stale.map(|(_, object)| Step::Delete(object.clone()));
    let wanted = desired
        .iter()
        .filter_map(|(key, new)| match observed.get(key) {
            None => Some(Step::Create(new.clone())),
            Some(old) if new.matches(old) => None,
            Some(old) => Some(Step::Replace {
                old: old.clone(),
                new: new.clone(),
            }),
        });
    Plan::ordered(stale.chain(wanted))
}

#[cfg(test)]
mod tests;

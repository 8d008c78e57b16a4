//! The union of what all owners want, with who wants it.

use crate::{Fragment, Key, Object, Owner, Plan, Step};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Two owners want different things under one key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key:?} is wanted by {holder:?} already, with other attributes")]
pub struct Conflict {
    /// The key.
    pub key: Box<Key>,
    /// Who holds it.
    pub holder: Owner,
}

/// A change that was recorded: the steps it takes, and what stood before.
#[derive(Debug, Clone)]
pub struct Change {
    /// The steps for an executor.
    pub plan: Plan,
    before: Vec<(Owner, Fragment)>,
}

#[derive(Debug, Clone)]
struct Entry {
    object: Object,
    owners: BTreeSet<Owner>,
}

/// What must exist on this host. A change costs as much as the owners that it touches.
#[derive(Debug, Clone, Default)]
pub struct HostState {
    entries: HashMap<Key, Entry>,
    owners: HashMap<Owner, Fragment>,
}

impl HostState {
    /// Records that each given owner now wants the given fragment instead of its former one.
    ///
    /// An object that agrees with what stands under its key is recorded as it stands, so that what
    /// cannot be seen, such as the former value of a kernel parameter, is kept from its first
    /// owner to its last. Of two fragments for one owner the later one counts.
    ///
    /// # Errors
    /// [`Conflict`] when another owner holds a key with other attributes; nothing is recorded.
    pub fn change(&mut self, wants: Vec<(Owner, Fragment)>) -> Result<Change, Conflict> {
        let wants: BTreeMap<Owner, Fragment> = wants.into_iter().collect();
        self.check(&wants)?;
        let mut touched: BTreeMap<Key, Option<Object>> = BTreeMap::new();
        let mut before = Vec::with_capacity(wants.len());
        for owner in wants.keys() {
            let former = self.owners.remove(owner).unwrap_or_default();
            for (key, object) in former.iter() {
                touched
                    .entry(key.clone())
                    .or_insert_with(|| Some(object.clone()));
                self.leave(key, *owner);
            }
            before.push((*owner, former));
        }
        for (owner, fragment) in wants {
            let objects = Vec::from(fragment).into_iter();
            let settled: Fragment = objects
                .map(|object| self.join(object, owner, &mut touched))
                .collect();
            if !settled.is_empty() {
                self.owners.insert(owner, settled);
            }
        }
        Ok(Change {
            plan: self.steps(touched),
            before,
        })
    }

    /// Forgets a change whose plan failed and was undone.
    ///
    /// # Errors
    /// [`Conflict`] when another owner took one of its keys meanwhile.
    pub fn revert(&mut self, change: Change) -> Result<(), Conflict> {
        self.change(change.before).map(|_| ())
    }

    /// What an owner wants.
    #[must_use]
    pub fn fragment(&self, owner: Owner) -> Option<&Fragment> {
        self.owners.get(&owner)
    }

    /// Whether anybody wants the object under a key.
    #[must_use]
    pub fn wants(&self, key: &Key) -> bool {
        self.entries.contains_key(key)
    }

    /// Everything that must exist.
    #[must_use]
    pub fn desired(&self) -> BTreeMap<Key, Object> {
        self.entries
            .iter()
            .map(|(key, entry)| (key.clone(), entry.object.clone()))
            .collect()
    }

    fn check(&self, wants: &BTreeMap<Owner, Fragment>) -> Result<(), Conflict> {
        let mut new: HashMap<&Key, (&Object, Owner)> = HashMap::new();
        for (owner, fragment) in wants {
            for (key, object) in fragment.iter() {
                let other = self.entries.get(key).and_then(|entry| {
                    let mut holders = entry.owners.iter();
                    let holder = holders.find(|holder| !wants.contains_key(holder))?;
                    Some((&entry.object, *holder))
                });
                let earlier = new.insert(key, (object, *owner));
                for (theirs, holder) in other.into_iter().chain(earlier) {
                    if !object.agrees(theirs) {
                        return Err(Conflict {
                            key: Box::new(key.clone()),
                            holder,
                        });
                    }
                }
            }
        }
        Ok(())
    }

    fn leave(&mut self, key: &Key, owner: Owner) {
        if let Some(entry) = self.entries.get_mut(key) {
            entry.owners.remove(&owner);
            if entry.owners.is_empty() {
                self.entries.remove(key);
            }
        }
    }

    /// Adds an owner to an object, and tells as what the object is recorded.
    fn join(
        &mut self,
        object: Object,
        owner: Owner,
        touched: &mut BTreeMap<Key, Option<Object>>,
    ) -> Object {
        let key = object.key();
        let entry = self.entries.get(&key);
        let stood = touched
            .entry(key.clone())
            .or_insert_with(|| entry.map(|entry| entry.object.clone()));
        let entry = self.entries.entry(key).or_insert_with(|| {
            let stands = stood.as_ref().filter(|stood| object.agrees(stood));
            Entry {
                object: stands.cloned().unwrap_or(object),
                owners: BTreeSet::new(),
            }
        });
        entry.owners.insert(owner);
        entry.object.clone()
    }

    fn steps(&self, touched: BTreeMap<Key, Option<Object>>) -> Plan {
        let step = |(key, old): (Key, Option<Object>)| {
            let new = self.entries.get(&key).map(|entry| entry.object.clone());
            match (old, new) {
                (None, Some(new)) => Some(Step::Create(new)),
                (Some(old), None) => Some(Step::Delete(old)),
                (Some(old), Some(new)) if old != new => Some(Step::Replace { old, new }),
                _ => None,
            }
        };
        Plan::ordered(touched.into_iter().filter_map(step))
    }
}

#[cfg(test)]
mod tests;

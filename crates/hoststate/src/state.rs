//! The union of what all owners want, with who wants it.

use crate::{Fragment, Key, Netns, Object, Objects, Owner, Plan, Step};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::Arc,
};

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

/// Who wants the object under a key.
#[derive(Debug, Clone)]
struct Holders {
    key: Arc<Key>,
    owners: Owners,
}

/// Who wants an object: nearly always one, so that one costs no set.
#[derive(Debug, Clone)]
enum Owners {
    One(Owner),
    Many(BTreeSet<Owner>),
}

impl Owners {
    fn add(&mut self, owner: Owner) {
        match self {
            Self::One(first) if *first == owner => {}
            Self::One(first) => *self = Self::Many(BTreeSet::from([*first, owner])),
            Self::Many(all) => drop(all.insert(owner)),
        }
    }

    /// Says whether anybody is left.
    fn remove(&mut self, owner: Owner) -> bool {
        match self {
            Self::One(last) => *last != owner,
            Self::Many(all) => {
                all.remove(&owner);
                !all.is_empty()
            }
        }
    }

    fn iter(&self) -> impl Iterator<Item = &Owner> {
        let (one, many) = match self {
            Self::One(one) => (Some(one), None),
            Self::Many(all) => (None, Some(all)),
        };
        one.into_iter().chain(many.into_iter().flatten())
    }
}

/// What must exist on this host. A change costs as much as the owners that it touches.
#[derive(Debug, Clone, Default)]
pub struct HostState {
    /// Shared with who compares the kernel with it, and copied only where it changes meanwhile.
    objects: Arc<Objects>,
    holders: foldhash::HashMap<Arc<Key>, Holders>,
    /// In the order of the keys, which are all that an owner's objects have here: they stand in
    /// `objects`, as that owner has them.
    owners: HashMap<Owner, Box<[Arc<Key>]>>,
    /// What plans change that are being applied.
    under_way: HashSet<Key>,
}

/// What stood under each key that a change touches.
type Touched = BTreeMap<Arc<Key>, Option<Object>>;

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
        let (touched, before) = self.exchange(wants)?;
        Ok(Change {
            plan: self.steps(touched),
            before,
        })
    }

    /// Records what owners want without saying what that takes, as where the kernel is compared with all
    /// of it next.
    ///
    /// # Errors
    /// As [`Self::change`].
    pub fn take_up(&mut self, mut wants: Vec<(Owner, Fragment)>) -> Result<(), Conflict> {
        let owners: HashSet<Owner> = wants.iter().map(|(owner, _)| *owner).collect();
        let is_anew = owners.iter().all(|owner| !self.owners.contains_key(owner));
        if !is_anew || owners.len() < wants.len() {
            return self.exchange(wants).map(drop);
        }
        // As a change records them: of two that agree, the first owner's is kept.
        wants.sort_by_key(|(owner, _)| *owner);
        let mut taken = Vec::with_capacity(wants.len());
        for (owner, fragment) in wants {
            taken.push(owner);
            if let Err(conflict) = self.take_up_of(owner, fragment) {
                self.let_go(&taken);
                return Err(conflict);
            }
        }
        Ok(())
    }

    /// The same of one owner who wants nothing yet; of a conflict, what comes before it is recorded.
    fn take_up_of(&mut self, owner: Owner, fragment: Fragment) -> Result<(), Conflict> {
        let objects = fragment.into_objects();
        let mut keys = Vec::with_capacity(objects.len());
        let mut conflict = None;
        for (key, object) in objects {
            let disagrees = |stands: &Object| !object.agrees(stands);
            if self.objects.get(&key).is_some_and(disagrees) {
                conflict = Some(Conflict {
                    holder: self.holder_of(&key),
                    key: Box::new(key),
                });
                break;
            }
            keys.push(match self.add_owner(&key, owner) {
                Some(key) => key,
                None => self.enter(Arc::new(key), object, owner),
            });
        }
        if !keys.is_empty() {
            self.owners.insert(owner, keys.into());
        }
        conflict.map_or(Ok(()), Err)
    }

    fn let_go(&mut self, owners: &[Owner]) {
        for owner in owners {
            for key in self.owners.remove(owner).unwrap_or_default() {
                self.leave(&key, *owner);
            }
        }
    }

    /// Has owners want this instead of what they wanted; tells that, and what stood of all that it touches.
    fn exchange(
        &mut self,
        wants: Vec<(Owner, Fragment)>,
    ) -> Result<(Touched, Vec<(Owner, Fragment)>), Conflict> {
        let wants: BTreeMap<Owner, Fragment> = wants.into_iter().collect();
        self.check(&wants)?;
        let mut touched = Touched::new();
        let mut before = Vec::with_capacity(wants.len());
        for (owner, fragment) in &wants {
            let former = self.owners.remove(owner).unwrap_or_default();
            let objects = former.iter().filter_map(|key| {
                let stands = self.objects.get(key)?;
                // What stays as it is, as most of what a service wants when an endpoint joins, costs no more.
                if fragment.get(key).is_some_and(|next| next.agrees(stands)) {
                    return Some(stands.clone());
                }
                let object = self.leave(key, *owner)?;
                let stood = touched.entry(key.clone());
                stood.or_insert_with(|| Some(object.clone()));
                Some(object)
            });
            before.push((*owner, objects.collect()));
        }
        for (owner, fragment) in wants {
            let objects = fragment.into_objects().into_iter();
            let keys: Box<[Arc<Key>]> = objects
                .map(|(key, object)| self.join(key, object, owner, &mut touched))
                .collect();
            if !keys.is_empty() {
                self.owners.insert(owner, keys);
            }
        }
        Ok((touched, before))
    }

    /// Forgets a change whose plan failed and was undone, and tells what else that takes: of what
    /// it shared with others, who may have come or left meanwhile.
    ///
    /// # Errors
    /// [`Conflict`] when another owner took one of its keys meanwhile.
    pub fn revert(&mut self, change: &Change) -> Result<Plan, Conflict> {
        let mut back = self.change(change.before.clone())?.plan;
        let undone: HashSet<Key> = change.plan.steps.iter().map(Step::key).collect();
        back.steps.retain(|step| !undone.contains(&step.key()));
        Ok(back)
    }

    /// Whether a change touches what a plan changes that is under way. Its own plan would rest on
    /// what stands only after that, or not any more: it is recorded once that one has landed.
    #[must_use]
    pub fn must_wait(&self, wants: &[(Owner, Fragment)]) -> bool {
        if self.under_way.is_empty() {
            return false;
        }
        wants.iter().any(|(owner, fragment)| {
            let mut former = self.owners.get(owner).into_iter().flatten();
            former.any(|key| self.under_way.contains(&**key))
                || fragment.iter().any(|(key, _)| self.under_way.contains(key))
        })
    }

    /// Notes that a plan is under way from now on.
    pub fn set_out(&mut self, plan: &Plan) {
        self.under_way.extend(plan.steps.iter().map(Step::key));
    }

    /// Notes that a plan was applied, or undone.
    pub fn land(&mut self, plan: &Plan) {
        for step in &plan.steps {
            self.under_way.remove(&step.key());
        }
    }

    /// What an owner wants; nothing of one that is not known.
    #[must_use]
    pub fn fragment(&self, owner: Owner) -> Fragment {
        let keys = self.owners.get(&owner).into_iter().flatten();
        keys.filter_map(|key| self.objects.get(key))
            .cloned()
            .collect()
    }

    /// Who wants something that lies in one of these namespaces.
    #[must_use]
    pub fn owners_in(&self, namespaces: &[Netns]) -> BTreeSet<Owner> {
        let there = self.objects.iter();
        let there = there.filter(|(_, object)| object.lies_in(namespaces));
        let holders = there.filter_map(|(key, _)| self.holders.get(key));
        holders
            .flat_map(|holders| holders.owners.iter())
            .copied()
            .collect()
    }

    /// Whether anybody wants the object under a key.
    #[must_use]
    pub fn wants(&self, key: &Key) -> bool {
        self.objects.contains_key(key)
    }

    /// Everything that must exist.
    #[must_use]
    pub fn desired(&self) -> Arc<Objects> {
        self.objects.clone()
    }

    fn check(&self, wants: &BTreeMap<Owner, Fragment>) -> Result<(), Conflict> {
        let mut new: foldhash::HashMap<&Key, (&Object, Owner)> = Default::default();
        let is_one = wants.len() == 1;
        for (owner, fragment) in wants {
            for (key, object) in fragment.iter() {
                let other = self.objects.get(key).and_then(|stands| {
                    let mut holders = self.holders.get(key)?.owners.iter();
                    let holder = holders.find(|holder| !wants.contains_key(holder))?;
                    Some((stands, *holder))
                });
                let earlier = match is_one {
                    true => None,
                    false => new.insert(key, (object, *owner)),
                };
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

    /// Takes an owner off an object, and tells the object; it goes with its last owner.
    fn leave(&mut self, key: &Arc<Key>, owner: Owner) -> Option<Object> {
        if self.holders.get_mut(key)?.owners.remove(owner) {
            return self.objects.get(key).cloned();
        }
        self.holders.remove(key);
        Arc::make_mut(&mut self.objects).remove(key)
    }

    /// Adds an owner to an object, and tells under what it is recorded.
    fn join(&mut self, key: Key, object: Object, owner: Owner, touched: &mut Touched) -> Arc<Key> {
        if let Some(key) = self.add_owner(&key, owner) {
            return key;
        }
        let key = match touched.get_key_value(&key) {
            Some((key, _)) => key.clone(),
            None => Arc::new(key),
        };
        let stood = touched.entry(key.clone()).or_insert(None);
        let stands = stood.as_ref().filter(|stood| object.agrees(stood));
        let object = stands.cloned().unwrap_or(object);
        self.enter(key, object, owner)
    }

    /// Adds an owner to what is recorded under a key already.
    fn add_owner(&mut self, key: &Key, owner: Owner) -> Option<Arc<Key>> {
        let holders = self.holders.get_mut(key)?;
        holders.owners.add(owner);
        Some(holders.key.clone())
    }

    /// Who wants what stands under a key.
    fn holder_of(&self, key: &Key) -> Owner {
        let holders = self.holders.get(key);
        let first = holders.and_then(|holders| holders.owners.iter().next());
        *first.expect("an object goes with its last holder")
    }

    fn enter(&mut self, key: Arc<Key>, object: Object, owner: Owner) -> Arc<Key> {
        let holders = Holders {
            key: key.clone(),
            owners: Owners::One(owner),
        };
        self.holders.insert(key.clone(), holders);
        Arc::make_mut(&mut self.objects).insert(Key::clone(&key), object);
        key
    }

    fn steps(&self, touched: Touched) -> Plan {
        let step = |(key, old): (Arc<Key>, Option<Object>)| {
            let new = self.objects.get(&key).cloned();
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

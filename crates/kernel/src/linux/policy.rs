//! Tables and elements: what elements a plan changes in one table is one nftables transaction.

use super::{
    apply::{Run, Stop},
    names,
};
use crate::{
    Kernel, Nft,
    nft::{Change, Refused},
};
use std::io;
use vw_firewall::{Element, is_translated};
use vw_hoststate::{Netns, Object, Step, Table};
use vw_model::SandboxId;

/// An element that is to be there, or not.
struct Wish<'a> {
    element: &'a Element,
    there: bool,
}

impl Run<'_> {
    pub(super) fn table(&mut self, at: usize, table: &Table, wanted: bool) -> Result<(), Stop> {
        self.flush()?;
        self.end_turn();
        let step = &self.plan.steps[at];
        let specs = table.specs();
        let change = move |nft: &mut Nft| match wanted {
            true => nft.ensure_all(&specs),
            false => specs.iter().try_for_each(|spec| nft.remove(spec)),
        };
        let result = match table {
            Table::Host(_) | Table::Services => self.kernel.with_nft(change),
            Table::SandboxDns { sandbox, .. } | Table::Balancer { sandbox } => {
                let place = match self.kernel.namespaces.place(Netns::Sandbox(*sandbox)) {
                    Err(error) if !wanted && error.is_namespace_gone() => {
                        self.done[at] = true;
                        return Ok(());
                    }
                    place => place.map_err(|error| (at, error))?,
                };
                let inside = move || change(&mut Nft::open()?);
                self.kernel.namespaces.run(&place, inside)
            }
        };
        let result = result.and_then(|result| result);
        self.finish(at, result.map_err(|error| names::failed(step, error)))
    }

    /// Changes the elements of one namespace from `at` on as one transaction, though those of others
    /// lie between them: an entry that moves from one class to another is in neither between two.
    pub(super) fn elements(&mut self, at: usize) -> Result<(), Stop> {
        self.flush()?;
        self.end_turn();
        let (place, steps) = together(&self.plan.steps, at);
        let mut wishes = Vec::new();
        let mut places = Vec::new();
        let refused = self.kernel.untranslated().is_some();
        let leads_nowhere = |wish: &Wish<'_>| refused && wish.there && is_translated(wish.element);
        for step in &steps {
            let wished = wishes_of(&self.plan.steps[*step]).into_iter();
            wishes.extend(wished.filter(|wish| !leads_nowhere(wish)));
            places.resize(wishes.len(), *step);
        }
        let failed = |step: usize, error| (step, names::failed(&self.plan.steps[step], error));
        let changed = match place {
            None => self.kernel.with_nft(|nft| change(nft, &wishes)),
            Some(sandbox) => self.change_inside(at, sandbox, &wishes)?,
        };
        changed
            .map_err(|error| failed(at, error))?
            .map_err(|refused| {
                let step = refused.place.and_then(|place| places.get(place));
                failed(step.copied().unwrap_or(at), refused.source)
            })?;
        for step in steps {
            self.done[step] = true;
        }
        Ok(())
    }

    /// The same in a sandbox. Of one whose namespace is gone nothing is left to remove.
    fn change_inside(
        &self,
        at: usize,
        sandbox: SandboxId,
        wishes: &[Wish<'_>],
    ) -> Result<io::Result<Result<(), Refused>>, Stop> {
        let place = match self.kernel.namespaces.place(Netns::Sandbox(sandbox)) {
            Err(error) if error.is_namespace_gone() && wishes.iter().all(|wish| !wish.there) => {
                return Ok(Ok(Ok(())));
            }
            place => place.map_err(|error| (at, error))?,
        };
        let wishes: Vec<(Element, bool)> = wishes
            .iter()
            .map(|wish| (wish.element.clone(), wish.there))
            .collect();
        Ok(self.kernel.namespaces.run(&place, move || {
            let mut nft = Nft::open()?;
            let wishes: Vec<Wish<'_>> = wishes
                .iter()
                .map(|(element, there)| Wish {
                    element,
                    there: *there,
                })
                .collect();
            change(&mut nft, &wishes)
        }))
    }
}

fn change(nft: &mut Nft, wishes: &[Wish<'_>]) -> Result<(), Refused> {
    let changes = wishes.iter().map(|wish| match wish.there {
        true => Change::Add(wish.element),
        false => Change::Remove(wish.element),
    });
    nft.change(&changes.collect::<Vec<_>>())
}

/// The table that the element of a step lies in, and the steps that change it, from that one up to the
/// first that changes no element.
///
/// What lies in other tables comes before or after it all. It may: what leads to an element of another
/// table leads there before it comes and after it goes, in the order of the first step of each.
fn together(steps: &[Step], at: usize) -> (Option<SandboxId>, Vec<usize>) {
    let place = home(steps[at].object());
    let run = steps[at..].iter().zip(at..);
    let run = run.take_while(|(step, _)| is_element(step.object()));
    let here = run.filter(|(step, _)| home(step.object()) == place);
    (place, here.map(|(_, number)| number).collect())
}

/// Whether it is an element, of whatever table.
pub(super) const fn is_element(object: &Object) -> bool {
    matches!(object, Object::Element(_) | Object::Balance(..))
}

/// The sandbox whose table an element lies in; `None` for the host's.
const fn home(object: &Object) -> Option<SandboxId> {
    match object {
        Object::Balance(sandbox, _) => Some(*sandbox),
        _ => None,
    }
}

fn wishes_of(step: &Step) -> Vec<Wish<'_>> {
    fn wish(object: &Object, there: bool) -> Option<Wish<'_>> {
        match object {
            Object::Element(element) | Object::Balance(_, element) => Some(Wish { element, there }),
            _ => None,
        }
    }
    let wishes = match step {
        Step::Create(new) => [wish(new, true), None],
        Step::Delete(old) => [wish(old, false), None],
        Step::Replace { old, new } => [wish(old, false), wish(new, true)],
    };
    wishes.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests;

//! Elements: added and removed in one transaction, and read back.

use super::abi::{INET, LIST_ELEM, Message, elem};
use super::socket::{Refusal, Transaction};
use super::wire::{fields, find, length, parse_data, value, verdict};
use super::{Nft, Refused, abi};
use crate::netlink::{Attrs, Body};
use std::{
    collections::{BTreeSet, HashMap},
    io,
};
use vw_firewall::{Datum, Element, ServiceSet, SetName};

/// An attribute's length is 16 bits; elements of one message lie in one attribute.
const ELEMENTS: usize = 60_000;
/// Attribute headers and verdict that an element has besides its fields.
const OVERHEAD: usize = 64;
/// Changes up to which each goes in a message of its own, so that the kernel names the one that it
/// refuses. The refusals of many would not fit into the receive buffer.
const FEW: usize = 64;
/// How often what turned out to be gone already is taken out and the rest tried again; more than
/// once only when somebody else removes elements at the same time.
const TRIES: usize = 4;

/// A change to one element of the host's table, or of the services'.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change<'a> {
    /// It must be there.
    Add(&'a Element),
    /// It must not be there.
    Remove(&'a Element),
}

impl Change<'_> {
    const fn element(&self) -> &Element {
        match self {
            Self::Add(element) | Self::Remove(element) => element,
        }
    }

    const fn message(&self) -> (Message, i32) {
        match self {
            Self::Add(_) => (Message::NewSetElem, libc::NLM_F_CREATE),
            Self::Remove(_) => (Message::DelSetElem, 0),
        }
    }
}

impl Nft {
    /// Makes changes to the host's table and the services', in their order, all or none.
    ///
    /// Adding what is there and removing what is not succeed, so changes may be made again.
    ///
    /// # Errors
    /// [`Refused`] with the first change that cannot be; `AlreadyExists` when its key has another
    /// value, `NotFound` when the table is not there.
    pub(crate) fn change(&mut self, changes: &[Change<'_>]) -> Result<(), Refused> {
        let few = changes.len() <= FEW;
        let mut gone = BTreeSet::new();
        for _ in 0..TRIES {
            let refusals = self.try_change(changes, &gone, !few)?;
            if refusals.is_empty() {
                return Ok(());
            }
            if few || !self.compare(changes, &mut gone)? {
                absent(changes, refusals, &mut gone)?;
            }
        }
        Err(io::Error::from_raw_os_error(libc::EAGAIN).into())
    }

    /// Finds by what stands which removals have nothing to remove; whether there are any new.
    ///
    /// # Errors
    /// [`Refused`] with the first addition whose key has another value.
    fn compare(
        &mut self,
        changes: &[Change<'_>],
        gone: &mut BTreeSet<usize>,
    ) -> Result<bool, Refused> {
        let standing = self.elements()?;
        let key = |element: &Element| (element.set, element.key.clone());
        let mut standing: HashMap<_, _> = standing
            .into_iter()
            .map(|element| (key(&element), element.value))
            .collect();
        let before = gone.len();
        for (place, change) in changes.iter().enumerate() {
            match change {
                Change::Remove(element) => {
                    if standing.remove(&key(element)).is_none() {
                        gone.insert(place);
                    }
                }
                Change::Add(element) => {
                    let value = standing.entry(key(element));
                    if *value.or_insert_with(|| element.value.clone()) != element.value {
                        let error = io::Error::from_raw_os_error(libc::EEXIST);
                        return Err(Refused {
                            place: Some(place),
                            source: error,
                        });
                    }
                }
            }
        }
        Ok(gone.len() > before)
    }

    /// Tries all changes but `gone`, several a message or one; what was refused, by its place.
    fn try_change(
        &mut self,
        changes: &[Change<'_>],
        gone: &BTreeSet<usize>,
        together: bool,
    ) -> io::Result<Vec<(Option<usize>, Refusal)>> {
        let mut transaction = Transaction::new();
        let mut places = Vec::new();
        let mut rest: Vec<usize> = (0..changes.len()).filter(|at| !gone.contains(at)).collect();
        rest.reverse();
        while let Some(first) = rest.pop() {
            let mut elements = vec![changes[first].element()];
            let (message, flags) = changes[first].message();
            let set = elements[0].set;
            let most = ELEMENTS / (length(set.key()) + length(set.value()) + OVERHEAD);
            while together
                && elements.len() < most
                && let Some(next) = rest.last().map(|at| &changes[*at])
                && next.message().0 == message
                && next.element().set == set
            {
                elements.push(next.element());
                rest.pop();
            }
            places.push(first);
            transaction.push(message, flags, INET, |body| {
                list(body, set, elements.iter().copied());
            });
        }
        let refusals = self.socket.commit(transaction)?;
        let by_change = |refusal: Refusal| {
            let place = refusal.message.and_then(|at| places.get(at).copied());
            (place, refusal)
        };
        Ok(refusals.into_iter().map(by_change).collect())
    }

    /// All elements of the host's table and of the services' that are of the kind that we make.
    ///
    /// # Errors
    /// When the kernel cannot be read; a table that is not there has no elements.
    pub(crate) fn elements(&mut self) -> io::Result<Vec<Element>> {
        let mut found = Vec::new();
        let services = ServiceSet::ALL.into_iter().map(SetName::Service);
        for set in SetName::ALL.into_iter().chain(services) {
            self.elements_of(set, &mut found)?;
        }
        Ok(found)
    }

    pub(super) fn elements_of(&mut self, set: SetName, out: &mut Vec<Element>) -> io::Result<()> {
        let ask = |body: &mut Body<'_>| {
            body.attr_str(elem::TABLE, set.table());
            body.attr_str(elem::SET, set.name());
        };
        let each = |_, attrs: Attrs<'_>| {
            let lists = attrs.filter(|(kind, _)| *kind == elem::ELEMENTS);
            let elements = lists.flat_map(|(_, list)| Attrs::of(list));
            out.extend(elements.filter_map(|(_, element)| parse(set, Attrs::of(element))));
        };
        match self.socket.dump(Message::GetSetElem, INET, ask, each) {
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
            result => result,
        }
    }
}

/// Takes up the removals that had nothing to remove.
///
/// # Errors
/// [`Refused`] with the first other refusal.
fn absent(
    changes: &[Change<'_>],
    refusals: Vec<(Option<usize>, Refusal)>,
    gone: &mut BTreeSet<usize>,
) -> Result<(), Refused> {
    for (place, refusal) in refusals {
        match place.map(|place| (place, &changes[place])) {
            Some((place, Change::Remove(_))) if refusal.errno == libc::ENOENT => {
                gone.insert(place);
            }
            _ => return Err(refused(place, refusal)),
        }
    }
    Ok(())
}

/// A different value under one key is `EBUSY` among the elements that stand, which says less than
/// `EEXIST`.
fn refused(place: Option<usize>, mut refusal: Refusal) -> Refused {
    if refusal.errno == libc::EBUSY {
        refusal.errno = libc::EEXIST;
    }
    Refused {
        place,
        source: refusal.into_error(),
    }
}

/// Appends the body of a message that adds or removes elements of a set.
pub(super) fn list<'a>(
    body: &mut Body<'_>,
    set: SetName,
    elements: impl Iterator<Item = &'a Element>,
) {
    body.attr_str(elem::TABLE, set.table());
    body.attr_str(elem::SET, set.name());
    body.nest(elem::ELEMENTS, |body| {
        for element in elements {
            body.nest(LIST_ELEM, |body| encode(body, element));
        }
    });
}

fn encode(body: &mut Body<'_>, element: &Element) {
    value(body, elem::KEY, &fields(&element.key));
    match element.value.as_slice() {
        [] => {}
        [Datum::Jump(chain)] => {
            verdict(body, elem::DATA, abi::verdict::JUMP, Some(chain.name()));
        }
        data => value(body, elem::DATA, &fields(data)),
    }
}

fn parse(set: SetName, attrs: Attrs<'_>) -> Option<Element> {
    let key = parse_data(set.key(), Attrs::of(find(attrs, elem::KEY)?))?;
    let value = match set.value() {
        // A map of that name, as another version made it.
        [] => find(attrs, elem::DATA).is_none().then(Vec::new)?,
        types => parse_data(types, Attrs::of(find(attrs, elem::DATA)?))?,
    };
    Some(Element { set, key, value })
}

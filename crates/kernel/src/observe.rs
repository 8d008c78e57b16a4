//! Reads back what stands of ours, in the words of plans.
//!
//! Ours is what is marked: the link group or alias, the protocol number of addresses, routes and
//! neighbours, the names of tables, the files of namespaces. Whatever is expected is looked at
//! besides, marked or not. It must not change anything.

mod gather;
mod inside;
pub(crate) mod normal;
mod ways;

use crate::{KernelError, Observed, netns::Namespaces};
use std::{
    collections::{BTreeMap, BTreeSet},
    io,
};
use vw_hoststate::{Key, Namespace, NamespaceSource, Netns, Object, Objects};

/// How many namespaces are open at once: each takes three descriptors meanwhile.
const AT_ONCE: usize = 128;

type Job = crate::netns::Job<io::Result<inside::Inside>>;

/// Reads everything that is ours or expected.
pub(crate) fn observe(
    namespaces: &Namespaces,
    expected: &Objects,
) -> Result<Observed, KernelError> {
    let failed = |operation, source: io::Error| KernelError::Call {
        operation,
        object: "network state".to_owned(),
        source,
    };
    let pinned = namespaces.pinned().map_err(|error| failed("list", error))?;
    let netnses: BTreeSet<Netns> = expected
        .values()
        .flat_map(Object::namespaces)
        .chain(pinned)
        .chain([Netns::Host])
        .collect();
    let mut observed = Observed::default();
    observed.objects.reserve(expected.len());
    let mut questions = inside::Question::all(expected);
    let mut insides = BTreeMap::new();
    let netnses = Vec::from_iter(netnses);
    for some in netnses.chunks(AT_ONCE) {
        let (mut there, mut jobs): (Vec<Netns>, Vec<Job>) = Default::default();
        for netns in some {
            match namespaces.open(*netns) {
                Ok(place) => {
                    let (netns, question) = (*netns, questions.remove(netns));
                    let read = move || inside::read(netns, &question.unwrap_or_default());
                    there.push(netns);
                    jobs.push((place, Box::new(read)));
                }
                Err(error) if error.is_namespace_gone() => observed.gone.push(*netns),
                Err(error) => return Err(error),
            }
        }
        for (netns, answer) in there.into_iter().zip(namespaces.run_all(jobs)) {
            let inside = answer.and_then(|inside| inside);
            insides.insert(netns, inside.map_err(|error| failed("read", error))?);
        }
    }
    for netns in insides.keys().filter(|netns| **netns != Netns::Host) {
        pinned_object(namespaces, *netns, expected, &mut observed);
    }
    gather::gather(&insides, expected, &mut observed.objects);
    ways::pass_over(&insides, expected, &mut observed.objects);
    Ok(observed)
}

fn pinned_object(
    namespaces: &Namespaces,
    netns: Netns,
    expected: &Objects,
    observed: &mut Observed,
) {
    let key = Key::Namespace(netns);
    let object = expected.get(&key).cloned().unwrap_or_else(|| {
        let source = match netns {
            Netns::Network(_) | Netns::Tunnel => NamespaceSource::New,
            // Where it came from cannot be seen; that it may be another's is the safe guess.
            _ => NamespaceSource::File(namespaces.path(netns)),
        };
        Object::Namespace(Namespace { netns, source })
    });
    observed.objects.insert(key, object);
}

//! Ways around networks' bridges, from what namespaces show of them to objects.

use super::inside::Inside;
use crate::shortcuts::{self, Entry, Seen};
use std::collections::{BTreeMap, HashMap};
use vw_hoststate::{Key, Netns, Object, Objects, Shortcut, Shortcuts, Station, Translator};
use vw_model::IfName;

/// Adds those of one namespace. What is expected and is not whole is as if it were not there: making
/// it makes it so.
pub(super) fn gather(
    netns: Netns,
    inside: &Inside,
    names: &HashMap<u32, IfName>,
    expected: &Objects,
    found: &mut Objects,
) {
    let seen = &inside.shortcuts;
    let tunnels = inside.links.iter().filter(|link| link.kind == "vxlan");
    for link in tunnels.filter(|link| link.is_ours()) {
        let Some(name) = names.get(&link.index) else {
            continue;
        };
        let object = Object::Shortcuts(Shortcuts {
            netns,
            link: name.clone(),
        });
        let bound = seen.bound.get(&link.index);
        let there = match expected.contains_key(&object.key()) {
            true => bound.is_some_and(|ours| !ours || seen.entries.is_some()),
            false => bound == Some(&true) || seen.any,
        };
        if there {
            found.insert(object.key(), object);
        }
    }
    for entry in seen.entries.iter().flatten() {
        let Some(object) = object(netns, entry, names) else {
            continue;
        };
        let whole = entry.station == Station::Elsewhere || seen.bound.contains_key(&entry.index);
        if whole || !expected.contains_key(&object.key()) {
            found.insert(object.key(), object);
        }
    }
}

/// Adds the links by which a namespace translates.
pub(super) fn translators(
    netns: Netns,
    inside: &Inside,
    names: &HashMap<u32, IfName>,
    found: &mut Objects,
) {
    for link in inside
        .translators
        .iter()
        .filter_map(|index| names.get(index))
    {
        let object = Object::Translator(Translator {
            netns,
            link: link.clone(),
        });
        found.insert(object.key(), object);
    }
}

/// Adds those expected ones that the executor leaves out on purpose: where somebody else looks at
/// what comes in by the tunnel, where the table has no room for it, and where the entry is another's that is
/// expected too.
pub(super) fn pass_over(
    insides: &BTreeMap<Netns, Inside>,
    expected: &Objects,
    found: &mut Objects,
) {
    for (key, object) in expected {
        let (Object::Shortcut(wanted), false) = (object, found.contains_key(key)) else {
            continue;
        };
        let Some(inside) = insides.get(&wanted.netns) else {
            continue;
        };
        if leaves_out(wanted, inside, expected) {
            found.insert(key.clone(), object.clone());
        }
    }
}

fn leaves_out(wanted: &Shortcut, inside: &Inside, expected: &Objects) -> bool {
    let seen = &inside.shortcuts;
    let Some(entries) = &seen.entries else {
        return has_stranger(seen, inside);
    };
    let leads_to = |entry: &Entry| -> Option<IfName> {
        let mut links = inside.links.iter();
        let holder = links.find(|link| link.index == entry.index)?;
        holder.name.parse().ok()
    };
    let is_expected = |entry: &Entry, link: IfName| {
        expected.contains_key(&Key::Shortcut(wanted.netns, entry.mac, link))
    };
    let same = |entry: &&Entry| (entry.mac, entry.station) == (wanted.mac, wanted.station);
    let is_anothers = |entry: &Entry| {
        let link = leads_to(entry).filter(|link| *link != wanted.link);
        link.is_some_and(|link| is_expected(entry, link))
    };
    if entries.iter().find(same).is_some_and(is_anothers) {
        return true;
    }
    let mut links = inside.links.iter();
    let own = links.find(|link| link.name == wanted.link.as_str());
    // One whose link is about to be made is tried.
    own.is_some_and(|link| {
        let wanted = Entry {
            mac: wanted.mac,
            station: wanted.station,
            index: link.index,
        };
        let stays = |entry: &Entry| leads_to(entry).is_some_and(|link| is_expected(entry, link));
        shortcuts::leaves_out(&wanted, entries, stays)
    })
}

/// Whether somebody else looks at what comes in by the tunnel.
fn has_stranger(seen: &Seen, inside: &Inside) -> bool {
    let mut tunnels = inside.links.iter().filter(|link| link.kind == "vxlan");
    tunnels.any(|link| seen.bound.get(&link.index) == Some(&false))
}

fn object(netns: Netns, entry: &Entry, names: &HashMap<u32, IfName>) -> Option<Object> {
    // As links are called that are on their way out.
    let gone = || format!("vwx{}", entry.index).parse().ok();
    let link = names.get(&entry.index).cloned().or_else(gone);
    Some(Object::Shortcut(Shortcut {
        netns,
        mac: entry.mac,
        link: link?,
        station: entry.station,
    }))
}

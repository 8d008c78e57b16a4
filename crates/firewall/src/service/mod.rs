//! Services: one address or port in front of many endpoints.
//!
//! Owns what a service asks of the table `inet vethwork_services`. An entry (an address of the
//! service, or a port that it publishes) has a table of slots, each of which leads to one endpoint;
//! a new connection draws a slot at random, or by its source address. The number that is drawn is
//! below a power of two, the *class* of the entry, the least that its slots fit into. A draw that
//! finds no slot is repeated, so that the spread is even for every number of slots, and a change of
//! one endpoint is a change of one or two slots, whatever else there is.

mod sets;
mod table;

pub use sets::{Entry, ServiceSet};
pub use table::{SERVICE_TABLE, balancer_table, service_table};

use crate::{Datum, Element, STAND_IN, SetName};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use vw_model::{Family, IfName, Protocol};

/// The most slots that an entry can have: the largest class.
pub const MAX_SLOTS: usize = 1 << (CLASSES - 1);

/// How many classes there are: 1, 2, 4, … slots.
const CLASSES: usize = 11;

/// Where a slot leads.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Slot {
    /// The endpoint's IPv4 address.
    pub v4: Option<Ipv4Addr>,
    /// Its IPv6 address.
    pub v6: Option<Ipv6Addr>,
}

/// A port that a service publishes, for the families that it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServicePort {
    /// The host's port.
    pub published: u16,
    /// The host's address (unspecified: every one of that family); every one where absent.
    pub host: Option<IpAddr>,
    /// The endpoints' port.
    pub target: u16,
    /// The protocol.
    pub protocol: Protocol,
}

/// What a service asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServicePolicy {
    /// Its virtual addresses.
    pub vips: Vec<IpAddr>,
    /// The bridge whose neighbours may ask for them, where they may reach each other.
    pub home: Option<IfName>,
    /// What it publishes.
    pub ports: Vec<ServicePort>,
    /// The families that it publishes over.
    pub families: Vec<Family>,
    /// Whether a client is led to the same slot each time, by its address.
    pub affinity: bool,
    /// Its slots in their order, at most [`MAX_SLOTS`]; an endpoint of weight *n* has *n* of them.
    pub slots: Vec<Slot>,
}

/// The elements of a service.
#[must_use]
pub fn service(policy: &ServicePolicy) -> Vec<Element> {
    let mut elements = Vec::new();
    for vip in &policy.vips {
        elements.extend(known(policy.home.as_ref(), *vip));
        let entry = Entry::vip(Family::of(*vip));
        balance(policy, entry, &[address(*vip)], None, &mut elements);
    }
    for port in &policy.ports {
        let place = [Datum::Protocol(port.protocol), Datum::Port(port.published)];
        let known = |family| Element {
            set: SetName::Service(ServiceSet::Ports(family)),
            key: place.to_vec(),
            value: Vec::new(),
        };
        for family in &policy.families {
            match port.host.filter(|host| Family::of(*host) == *family) {
                None if port.host.is_some() => {}
                Some(host) if !host.is_unspecified() => {
                    publish_at(policy, host, &place, port.target, &mut elements);
                }
                None | Some(_) => {
                    let entry = Entry::port(*family);
                    balance(policy, entry, &place, Some(port.target), &mut elements);
                    elements.push(known(*family));
                }
            }
        }
    }
    elements
}

/// A port on one address; on its way, another one stands for `::1`.
fn publish_at(
    policy: &ServicePolicy,
    host: IpAddr,
    place: &[Datum],
    target: u16,
    elements: &mut Vec<Element>,
) {
    let stand_in = (host == Ipv6Addr::LOCALHOST).then_some(IpAddr::V6(STAND_IN));
    let family = Family::of(host);
    for addr in std::iter::once(host).chain(stand_in) {
        let mut key = vec![address(addr)];
        key.extend_from_slice(place);
        balance(policy, Entry::at(family), &key, Some(target), elements);
        elements.push(Element {
            set: SetName::Service(ServiceSet::At(family)),
            key,
            value: Vec::new(),
        });
    }
}

/// A virtual address, and who may ask for it: neighbours on its bridge and this host itself.
fn known(home: Option<&IfName>, vip: IpAddr) -> impl Iterator<Item = Element> {
    let family = Family::of(vip);
    let from = |name: &IfName| Element {
        set: SetName::Service(ServiceSet::Home(family)),
        key: vec![Datum::Interface(name.clone()), address(vip)],
        value: Vec::new(),
    };
    let all = Element {
        set: SetName::Service(ServiceSet::Vips(family)),
        key: vec![address(vip)],
        value: Vec::new(),
    };
    let neighbours = home.map(from);
    let host = from(&IfName::loopback());
    neighbours.into_iter().chain([host, all])
}

/// The slots of one entry, dense from 0, and its class.
fn balance(
    policy: &ServicePolicy,
    entry: Entry,
    key: &[Datum],
    target: Option<u16>,
    elements: &mut Vec<Element>,
) {
    let leads = policy.slots.iter().filter_map(|slot| match entry.family() {
        Family::V4 => slot.v4.map(Datum::V4),
        Family::V6 => slot.v6.map(Datum::V6),
    });
    let before = elements.len();
    for (number, lead) in (0..).zip(leads.take(MAX_SLOTS)) {
        let mut slot = key.to_vec();
        slot.push(Datum::Slot(number));
        elements.push(Element {
            set: SetName::Service(ServiceSet::Slots(entry)),
            key: slot,
            value: std::iter::once(lead)
                .chain(target.map(Datum::Port))
                .collect(),
        });
    }
    let slots = elements.len() - before;
    if slots == 0 {
        return;
    }
    let marks = [ServiceSet::Class(entry, class(slots))];
    let affine = policy.affinity.then_some(ServiceSet::Affine(entry));
    elements.extend(marks.into_iter().chain(affine).map(|set| Element {
        set: SetName::Service(set),
        key: key.to_vec(),
        value: Vec::new(),
    }));
}

/// The class of so many slots, as the power of two that it is.
const fn class(slots: usize) -> u8 {
    slots.next_power_of_two().trailing_zeros() as u8
}

const fn address(addr: IpAddr) -> Datum {
    match addr {
        IpAddr::V4(addr) => Datum::V4(addr),
        IpAddr::V6(addr) => Datum::V6(addr),
    }
}

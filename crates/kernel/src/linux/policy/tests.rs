//! Which elements change together, on examples.

use super::together;
use vw_firewall::{Element, ServicePolicy, ServicePort, Slot, service};
use vw_hoststate::{Object, Plan, Step};
use vw_model::{Family, Protocol, SandboxId};

const LEADS: SandboxId = SandboxId::from_bytes([7; 32]);
const OTHER: SandboxId = SandboxId::from_bytes([8; 32]);

/// The elements of a service with so many slots.
fn web(slots: u8) -> Vec<Element> {
    let slot = |number: u8| Slot {
        v4: Some([10, 1, 0, number].into()),
        v6: None,
    };
    service(&ServicePolicy {
        vips: vec![[10, 1, 0, 100].into()],
        home: None,
        ports: vec![ServicePort {
            published: 80,
            host: None,
            target: 8080,
            protocol: Protocol::Tcp,
        }],
        families: vec![Family::V4],
        affinity: false,
        slots: (2..2 + slots).map(slot).collect(),
    })
}

/// What makes one of these of the other, wherever each lies.
fn change(from: u8, to: u8) -> Plan {
    let (from, to) = (web(from), web(to));
    let gone = from.iter().filter(|one| !to.contains(one));
    let new = to.iter().filter(|one| !from.contains(one));
    let of = |element: &Element| {
        [
            Object::Element(element.clone()),
            Object::Balance(LEADS, element.clone()),
            Object::Balance(OTHER, element.clone()),
        ]
    };
    let gone = gone.flat_map(of).map(Step::Delete);
    Plan::ordered(gone.chain(new.flat_map(of).map(Step::Create)))
}

/// The transactions in their order: where, and how many elements go and come.
fn transactions(plan: &Plan) -> Vec<(Option<SandboxId>, usize, usize)> {
    let mut done = vec![false; plan.steps.len()];
    let mut all = Vec::new();
    while let Some(at) = done.iter().position(|done| !done) {
        let (place, steps) = together(&plan.steps, at);
        for step in &steps {
            assert!(!std::mem::replace(&mut done[*step], true), "twice");
        }
        let goes = |step: &&usize| matches!(plan.steps[**step], Step::Delete(_));
        let gone = steps.iter().filter(goes).count();
        all.push((place, gone, steps.len() - gone));
    }
    all
}

#[test]
fn a_change_of_class_is_one_transaction_in_each_table() {
    for (from, to) in [(1, 2), (2, 1), (2, 3), (4, 5), (5, 4)] {
        let plan = change(from, to);
        let (less, more) = if from < to { (2, 4) } else { (4, 2) };
        let all = [Some(OTHER), Some(LEADS), None].map(|place| (place, less, more));
        assert_eq!(transactions(&plan), all, "{from} to {to}");
        let back = plan.undo(&vec![true; plan.steps.len()]);
        let all = [Some(OTHER), Some(LEADS), None].map(|place| (place, more, less));
        assert_eq!(transactions(&back), all, "{from} to {to} undone");
    }
}

#[test]
fn what_comes_alone_opens_the_hosts_table_first_and_what_goes_alone_closes_it_last() {
    let places = |plan: &Plan| -> Vec<_> {
        let all = transactions(plan).into_iter();
        all.map(|(place, ..)| place).collect()
    };
    let (host, leads, other) = (None, Some(LEADS), Some(OTHER));
    assert_eq!(places(&change(0, 1)), [host, leads, other]);
    assert_eq!(places(&change(1, 0)), [other, leads, host]);
}

#[test]
fn elements_before_and_behind_something_else_do_not_change_together() {
    let mut plan = change(1, 2);
    let middle = plan.steps.len() / 2;
    let table = Object::Table(vw_hoststate::Table::Balancer { sandbox: LEADS });
    plan.steps.insert(middle, Step::Create(table));
    let (_, steps) = together(&plan.steps, 0);
    assert!(steps.iter().all(|step| *step < middle), "{steps:?}");
    let (_, steps) = together(&plan.steps, middle + 1);
    assert!(steps.iter().all(|step| *step > middle), "{steps:?}");
}

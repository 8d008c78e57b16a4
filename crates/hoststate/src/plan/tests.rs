//! The order of steps, and undoing any part of them.

use super::*;
use crate::{
    NamespaceSource, Station, diff,
    sample::{
        World, address, apply, bridge, carry_out, forward, lines, namespace, neighbor, pair,
        policy, port, route, shortcut, shortcuts, sysctl, table, world,
    },
};
use expect_test::expect;
use proptest::{collection::vec, prelude::*};
use vw_firewall::Chain;

/// One of each kind, with names whose own order is against the order of making.
fn one_of_each() -> Vec<Object> {
    vec![
        port(1, 80),
        shortcut(1, Station::Elsewhere),
        shortcuts(),
        neighbor(1),
        forward(1, 1),
        route("0.0.0.0/0", Some("10.9.0.1")),
        route("10.9.0.1/32", None),
        address("zz", "10.0.0.1/24"),
        sysctl("net/ipv4/conf/zz/route_localnet", "1", None),
        pair("aa", "zz", None),
        bridge("zz", 1500),
        policy("zz", Chain::ToNat),
        table(0),
        namespace(1, NamespaceSource::New),
    ]
}

#[test]
fn things_are_made_before_what_needs_them() {
    let plan = Plan::ordered(one_of_each().into_iter().map(Step::Create));
    expect![[r#"
        create Namespace(Sandbox(010101010101))
        create Table(Host)
        create Policy(ForwardTo, [Interface("zz")])
        create Link(Host, "zz")
        create Link(Host, "aa")
        create Sysctl(Host, "net/ipv4/conf/zz/route_localnet")
        create Address(Host, "zz", 10.0.0.1/24)
        create Route(Sandbox(010101010101), 10.9.0.1/32, 0, Some("eth0"))
        create Route(Sandbox(010101010101), 0.0.0.0/0, 0, Some("eth0"))
        create Forward(Network(010101010101), "vxlan0", 02:00:00:00:00:01, 192.0.2.1)
        create Neighbor(Host, "vw0", 10.0.0.9)
        create Shortcuts(Network(010101010101), "vxlan0")
        create Shortcut(Network(010101010101), 02:00:00:00:00:01, "vxlan0")
        create Port(PortsAny4, [Protocol(Tcp), Port(1)])
    "#]]
    .assert_eq(&lines(&plan));
}

#[test]
fn things_go_after_what_needs_them() {
    let made = Plan::ordered(one_of_each().into_iter().map(Step::Create));
    let gone = Plan::ordered(one_of_each().into_iter().map(Step::Delete));
    assert_eq!(made.undo(&vec![true; made.steps.len()]), gone);
}

#[test]
fn removals_come_first() {
    let plan = Plan::ordered([
        Step::Create(namespace(1, NamespaceSource::New)),
        Step::Replace {
            old: bridge("vw0", 1500),
            new: bridge("vw0", 1400),
        },
        Step::Delete(port(1, 80)),
        Step::Delete(bridge("vw1", 1500)),
    ]);
    expect![[r#"
        delete Port(PortsAny4, [Protocol(Tcp), Port(1)])
        delete Link(Host, "vw1")
        create Namespace(Sandbox(010101010101))
        replace Link(Host, "vw0")
    "#]]
    .assert_eq(&lines(&plan));
}

proptest! {
    #[test]
    fn any_part_of_a_plan_can_be_undone(
        a in world(),
        b in world(),
        done in vec(any::<bool>(), 24),
    ) {
        let plan = diff(&a, &b);
        let mut reached: World = a.clone();
        let applied = plan.steps.iter().zip(&done).filter(|(_, done)| **done);
        applied.for_each(|(step, _)| carry_out(&mut reached, step));
        apply(&mut reached, &plan.undo(&done));
        prop_assert_eq!(reached, a);
    }

    #[test]
    fn stages_fall_and_then_rise(a in world(), b in world()) {
        let plan = diff(&a, &b);
        let deletions = plan.steps.iter().take_while(|step| matches!(step, Step::Delete(_)));
        let deletions = deletions.count();
        let stages: Vec<u8> = plan.steps.iter().map(|step| step.object().stage()).collect();
        prop_assert!(stages[..deletions].is_sorted_by(|a, b| a >= b));
        prop_assert!(stages[deletions..].is_sorted());
        prop_assert!(!plan.steps[deletions..].iter().any(|step| matches!(step, Step::Delete(_))));
    }
}

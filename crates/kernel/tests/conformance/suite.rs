//! What any executor promises.

pub(crate) use crate::overlay::*;
pub(crate) use crate::tunnel::*;
use crate::{
    lab::Lab,
    objects::{
        HOST, address, bridge, dummy, id, ifname, inside, namespace, neighbor, pair, route, sysctl,
        world,
    },
};
use std::io::ErrorKind;
use vw_hoststate::{
    Key, Link, LinkKind, Namespace, NamespaceSource, Netns, Object, Plan, Route, Step,
};
use vw_kernel::{Failure, KernelError, SocketKind};
use vw_model::{MacAddr, Protocol};

pub(crate) fn what_was_applied_is_observed(lab: &Lab) {
    lab.create(&world());
    assert_eq!(lab.missing(&world()), []);
}

pub(crate) fn a_plan_may_be_applied_twice(lab: &Lab) {
    lab.create(&world());
    lab.create(&world());
    assert_eq!(lab.missing(&world()), []);
    lab.delete(&world());
    lab.delete(&world());
    assert_eq!(lab.standing(), []);
}

pub(crate) fn undo_leaves_nothing(lab: &Lab) {
    let plan = Plan::ordered(world().into_iter().map(Step::Create));
    lab.kernel().apply(&plan).expect("the plan can be applied");
    let undo = plan.undo(&vec![true; plan.steps.len()]);
    lab.kernel().apply(&undo).expect("it can be undone");
    assert_eq!(lab.standing(), []);
    lab.settle();
    assert_eq!(lab.standing(), []);
}

pub(crate) fn what_is_ours_is_found_without_being_expected(lab: &Lab) {
    lab.create(&world());
    let found = lab.standing();
    let blind = |object: &&Object| !matches!(object, Object::Sysctl(_));
    let keys = |objects: &[Object]| {
        let mut keys: Vec<_> = objects.iter().filter(blind).map(Object::key).collect();
        // The kernel's own default cannot be told from the same number given.
        keys.retain(|key| !format!("{key:?}").contains("fd07"));
        // No driver gives a sandbox any.
        keys.retain(|key| !matches!(key, Key::Neighbor(Netns::Sandbox(_), ..)));
        keys.sort();
        keys
    };
    assert_eq!(keys(&found), keys(&world()));
    lab.delete(&found);
    assert_eq!(lab.standing(), []);
}

fn attachment(host: &str, name: &str) -> Vec<Object> {
    vec![
        Object::Link(pair(host, "vw0", 7, name)),
        address(inside(7), name, "10.0.0.7/24"),
        address(inside(7), name, "fd00::7/64"),
        Object::Route(route(inside(7), "0.0.0.0/0", Some("10.0.0.1"), Some(name))),
    ]
}

fn network() -> Vec<Object> {
    vec![
        namespace(7),
        Object::Link(bridge("vw0")),
        address(HOST, "vw0", "10.0.0.1/24"),
    ]
}

pub(crate) fn a_retired_name_is_free_at_once(lab: &Lab) {
    lab.create(&network());
    for _ in 0..3 {
        lab.create(&attachment("vw0123456789", "eth0"));
        assert_eq!(
            lab.missing(&[network(), attachment("vw0123456789", "eth0")].concat()),
            []
        );
        lab.delete(&attachment("vw0123456789", "eth0"));
        assert_eq!(lab.missing(&network()), []);
    }
    lab.settle();
    let names = lab.kernel().interfaces(id(7)).expect("it is there");
    assert_eq!(names, [ifname("lo")]);
}

fn kind_of(failure: &Failure) -> Option<ErrorKind> {
    match &failure.source {
        KernelError::Call { source, .. } => Some(source.kind()),
        _ => None,
    }
}

pub(crate) fn a_name_taken_by_another_is_refused(lab: &Lab) {
    let mtu = |link: Link| Link { mtu: 1400, ..link };
    lab.create(&network());
    lab.create(&attachment("vw0123456789", "eth0"));
    lab.create(&[Object::Link(bridge("vwd0"))]);
    let before = [network(), attachment("vw0123456789", "eth0")].concat();
    let before = [before, vec![Object::Link(bridge("vwd0"))]].concat();
    let taken = [
        Object::Link(pair("vwffffffffff", "vw0", 7, "eth0")),
        Object::Link(mtu(pair("vw0123456789", "vw0", 7, "eth0"))),
        Object::Link(Link {
            mac: Some(MacAddr([2, 0, 0, 0, 0, 77])),
            ..bridge("vwd0")
        }),
        Object::Link(pair("vwd0", "vw0", 7, "eth1")),
        Object::Route(route(
            inside(7),
            "0.0.0.0/0",
            Some("10.0.0.2"),
            Some("eth0"),
        )),
    ];
    for object in taken {
        let failure = lab.apply([Step::Create(object.clone())]);
        let failure = failure.expect_err("it is taken");
        assert_eq!(
            kind_of(&failure),
            Some(ErrorKind::AlreadyExists),
            "{object:?}"
        );
        assert_eq!(failure.done, [false], "{object:?}");
        assert_eq!(lab.missing(&before), [], "{object:?}");
    }
}

fn replace(lab: &Lab, old: Object, new: Object) {
    let stands = std::slice::from_ref(&new);
    lab.apply([Step::Replace {
        old,
        new: new.clone(),
    }])
    .expect("it can be replaced");
    assert_eq!(
        lab.missing(stands)
            .iter()
            .filter(|step| step.key() == new.key())
            .count(),
        0,
        "{:?}",
        lab.missing(stands)
    );
}

pub(crate) fn links_change_in_place(lab: &Lab) {
    lab.create(&network());
    lab.create(&[Object::Link(bridge("vw1")), namespace(8)]);
    let first = pair("vw0123456789", "vw0", 7, "eth0");
    lab.create(&[
        Object::Link(first.clone()),
        address(inside(7), "eth0", "10.0.0.7/24"),
    ]);
    let mut marked = Link {
        mtu: 1400,
        mac: Some(MacAddr([2, 0, 0, 0, 0, 5])),
        ..first.clone()
    };
    if let Some(port) = &mut marked.port {
        (port.bridge, port.isolated) = (ifname("vw1"), true);
    }
    let mut renamed = Link {
        alias: "vethwork:x".into(),
        ..marked.clone()
    };
    if let LinkKind::Veth(peer) = &mut renamed.kind {
        (peer.name, peer.mac) = (ifname("eth5"), MacAddr([2, 0, 0, 0, 0, 6]));
    }
    let free = Link {
        port: None,
        ..renamed.clone()
    };
    for pair in [&first, &marked, &renamed, &free, &first].windows(2) {
        replace(
            lab,
            Object::Link(pair[0].clone()),
            Object::Link(pair[1].clone()),
        );
    }
    let old = bridge("vw0");
    let new = Link {
        mtu: 1300,
        alias: "vethwork:y".into(),
        ..bridge("vw0")
    };
    replace(lab, Object::Link(old), Object::Link(new));
}

pub(crate) fn a_pair_moves_to_another_sandbox(lab: &Lab) {
    lab.create(&network());
    lab.create(&[namespace(8)]);
    let first = pair("vw0123456789", "vw0", 7, "eth0");
    lab.create(&[Object::Link(first.clone())]);
    let second = pair("vw0123456789", "vw0", 8, "eth0");
    replace(lab, Object::Link(first), Object::Link(second.clone()));
    replace(
        lab,
        Object::Link(second),
        Object::Link(bridge("vw0123456789")),
    );
}

pub(crate) fn routes_and_parameters_are_replaced(lab: &Lab) {
    lab.create(&world());
    let old = route(inside(7), "0.0.0.0/0", Some("10.0.0.1"), Some("eth0"));
    let new = Route {
        via: Some("10.0.0.254".parse().expect("an address")),
        ..old.clone()
    };
    replace(lab, Object::Route(old), Object::Route(new));
    let old = route(inside(7), "::/0", Some("fd00::1"), Some("eth0"));
    let new = Route {
        via: Some("fd00::ff".parse().expect("an address")),
        ..old.clone()
    };
    replace(lab, Object::Route(old), Object::Route(new));
    let value = |value| sysctl(HOST, "net/ipv4/ip_forward", value, Some("0"));
    replace(lab, value("1"), value("0"));
    for (name, old, new) in [("accept_ra", "0", "2"), ("disable_ipv6", "0", "1")] {
        let path = format!("net/ipv6/conf/eth2/{name}");
        let value = |value| sysctl(inside(7), &path, value, None);
        lab.create(&[value(old)]);
        replace(lab, value(old), value(new));
    }
    let mac = |last| neighbor(HOST, "vw0", "10.0.0.9", last);
    replace(lab, mac(9), mac(10));
}

pub(crate) fn every_failing_step_is_told_and_undone(lab: &Lab) {
    let plan = Plan::ordered(world().into_iter().map(Step::Create));
    for at in 0..=plan.steps.len() {
        let mut broken = plan.clone();
        let bad = address(HOST, "vw-missing", "10.0.0.1/24");
        broken.steps.insert(at, Step::Create(bad));
        let failure = lab.kernel().apply(&broken).expect_err("a step is broken");
        assert_eq!(failure.step, at);
        assert!(!failure.done[at]);
        let undo = broken.undo(&failure.done);
        lab.kernel().apply(&undo).expect("it can be undone");
        assert_eq!(lab.standing(), [], "{at}");
    }
    lab.create(&world());
    assert_eq!(lab.missing(&world()), []);
}

pub(crate) fn a_lost_namespace_is_told_and_removed(lab: &Lab) {
    lab.create(&world());
    lab.lose_namespace(inside(7));
    let expected = crate::lab::keyed(&world());
    let observed = lab.kernel().observe(&expected).expect("it can be read");
    assert_eq!(observed.gone, [inside(7)]);
    let late = lab.apply([Step::Create(address(inside(7), "eth0", "10.0.0.8/24"))]);
    let late = late.expect_err("it is gone");
    assert!(late.source.is_namespace_gone(), "{late:?}");
    lab.delete(&world());
    lab.settle();
    assert_eq!(lab.standing(), []);
}

pub(crate) fn an_attachment_leaves_a_lost_namespace(lab: &Lab) {
    lab.create(&network());
    lab.create(&attachment("vw0123456789", "eth0"));
    lab.lose_namespace(inside(7));
    lab.delete(&attachment("vw0123456789", "eth0"));
    lab.settle();
    assert_eq!(lab.missing(&network()[1..]), []);
}

pub(crate) fn a_dead_source_is_refused(lab: &Lab) {
    let mut child = std::process::Command::new("true")
        .spawn()
        .expect("a program");
    let source = NamespaceSource::Process {
        pid: child.id(),
        start_time: 1,
    };
    child.wait().expect("it ends");
    if let Lab::Fake(fake) = lab {
        fake.lose_source(source.clone());
    }
    let adopted = Object::Namespace(Namespace {
        netns: inside(9),
        source,
    });
    let failure = lab.apply([Step::Create(adopted)]).expect_err("it ended");
    assert!(failure.source.is_namespace_gone(), "{failure:?}");
    assert_eq!(lab.standing(), []);
}

pub(crate) fn what_others_took_away_is_put_back(lab: &Lab) {
    lab.create(&world());
    let lost: Vec<Object> = world()
        .into_iter()
        .filter(|object| !matches!(object, Object::Namespace(_) | Object::Sysctl(_)))
        .collect();
    for object in lost {
        lab.delete(std::slice::from_ref(&object));
        let steps = lab.missing(&world());
        assert!(
            steps.iter().any(|step| step.key() == object.key()),
            "{object:?}"
        );
        lab.apply(steps).expect("it can be put back");
        assert_eq!(lab.missing(&world()), [], "{object:?}");
    }
}

pub(crate) fn a_bridge_takes_many_ports(lab: &Lab) {
    lab.create(&network());
    let ports: Vec<Object> = (0..300)
        .map(|n| Object::Link(pair(&format!("vw{n:010x}"), "vw0", 7, &format!("eth{n}"))))
        .collect();
    lab.create(&ports);
    assert_eq!(lab.missing(&[network(), ports.clone()].concat()), []);
    lab.delete(&ports);
    assert_eq!(lab.missing(&network()), []);
    lab.settle();
    let names = lab.kernel().interfaces(id(7)).expect("it is there");
    assert_eq!(names, [ifname("lo")]);
}

pub(crate) fn held_ports_are_held(lab: &Lab) {
    let kernel = lab.kernel();
    for protocol in [Protocol::Tcp, Protocol::Udp, Protocol::Sctp] {
        let any = |addr: &str| kernel.claim_port(protocol, addr.parse().expect("an address"));
        let v4 = any("0.0.0.0:8080").expect("it is free");
        let v6 = any("[::]:8080").expect("it is IPv6's alone");
        for taken in ["0.0.0.0:8080", "127.0.0.1:8080", "[::]:8080"] {
            let error = any(taken).expect_err("it is held");
            let text = format!("{error:?}");
            assert!(text.contains("AddrInUse"), "{text}");
        }
        drop((v4, v6));
        assert_eq!(any("0.0.0.0:8080").expect("it is free").addr.port(), 8080);
        assert_ne!(any("0.0.0.0:0").expect("one is free").addr.port(), 0);
    }
}

pub(crate) fn interfaces_are_listed(lab: &Lab) {
    lab.create(&network());
    lab.create(&attachment("vw0123456789", "eth3"));
    let names = lab.kernel().interfaces(id(7)).expect("it is there");
    assert_eq!(names, [ifname("lo"), ifname("eth3")]);
    for (name, there) in [("lo", true), ("eth3", true), ("eth0", false)] {
        let found = lab.kernel().has_interface(id(7), &ifname(name));
        assert_eq!(found.expect("it is there"), there, "{name}");
    }
    let error = lab.kernel().interfaces(id(8)).expect_err("it is not");
    assert!(error.is_namespace_gone());
}

pub(crate) fn sockets_of_several_sandboxes_are_made_together(lab: &Lab) {
    lab.create(&[namespace(7), namespace(8)]);
    let any = "127.0.0.11:0".parse().expect("an address");
    let both = vec![SocketKind::Udp(any), SocketKind::TcpListen(any)];
    let one = vec![SocketKind::Udp(any)];
    let wanted = [(id(7), both.clone()), (id(9), both), (id(8), one)];
    let mut made = lab.kernel().sockets(&wanted).into_iter();
    let mut next = || made.next().expect("each is answered");
    assert_eq!(next().expect("it is there").len(), 2);
    assert!(next().is_err_and(|error| error.is_namespace_gone()));
    assert_eq!(next().expect("it is there").len(), 1);
}

pub(crate) fn a_missing_kind_of_link_is_told(lab: &Lab) {
    let dummy = [Object::Link(dummy("vwd0"))];
    match lab.apply(dummy.iter().cloned().map(Step::Create)) {
        Ok(()) => assert_eq!(lab.missing(&dummy), []),
        Err(failure) => {
            let text = failure.source.to_string();
            assert_eq!(text, "this kernel has no dummy: load the module `dummy`");
            assert_eq!(lab.standing(), []);
        }
    }
}

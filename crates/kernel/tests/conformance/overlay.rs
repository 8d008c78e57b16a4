//! What any executor promises about networks with a namespace of their own, and their tunnels.

use crate::{
    lab::{Lab, keyed},
    objects::{
        HOST, NETWORK, address, apart, bridge, forward, ifname, namespace, neighbor,
        network_namespace, overlay, pair, proxy, route, shortcut, tunnel,
    },
};
use std::{
    io::ErrorKind,
    os::fd::AsFd,
    time::{Duration, Instant},
};
use vw_hoststate::{
    Link, LinkKind, Namespace, NamespaceSource, Netns, Object, Plan, PortOptions, Station, Step,
};
use vw_kernel::KernelError;
use vw_model::{MacAddr, NetworkId};
use vw_testkit::gro;

const STATION: MacAddr = MacAddr([2, 0, 0, 0, 0, 9]);

fn scene() -> Vec<Object> {
    let mut scene = overlay();
    scene.push(namespace(7));
    scene
}

fn without(objects: &[Object], gone: &[Object]) -> Vec<Object> {
    let kept = objects.iter().filter(|object| !gone.contains(object));
    kept.cloned().collect()
}

/// How many of these objects do not stand.
fn unmet(lab: &Lab, objects: &[Object]) -> usize {
    let steps = lab.missing(objects).into_iter();
    steps
        .filter(|step| !matches!(step, Step::Delete(_)))
        .count()
}

pub(crate) fn a_station_that_moved_stays_where_it_is(lab: &Lab) {
    lab.create(&scene());
    let (there, elsewhere) = (
        forward(STATION, "192.0.2.9"),
        forward(STATION, "192.0.2.10"),
    );
    // The news of its arrival may come before that of its leaving.
    lab.create(std::slice::from_ref(&elsewhere));
    lab.delete(std::slice::from_ref(&there));
    let mut now = without(&scene(), &[there]);
    now.push(elsewhere);
    assert_eq!(lab.missing(&now), []);
}

pub(crate) fn a_tunnel_without_a_bridge_forgets_a_station(lab: &Lab) {
    let alone = Object::Link(Link {
        port: None,
        ..tunnel(4097, "192.0.2.1")
    });
    let there = forward(STATION, "192.0.2.9");
    let rest = [network_namespace(), alone];
    lab.create(&[&rest[..], std::slice::from_ref(&there)].concat());
    lab.delete(&[there]);
    assert_eq!(lab.missing(&rest), []);
}

pub(crate) fn a_tunnel_changes_its_address_and_keeps_what_it_knows(lab: &Lab) {
    lab.create(&scene());
    let (old, new) = (tunnel(4097, "192.0.2.1"), tunnel(4097, "192.0.2.7"));
    let change = |old: &Link, new: &Link| Step::Replace {
        old: Object::Link(old.clone()),
        new: Object::Link(new.clone()),
    };
    lab.apply([change(&old, &new)]).expect("it can be changed");
    let mut now = without(&scene(), &[Object::Link(old)]);
    now.push(Object::Link(new.clone()));
    assert_eq!(lab.missing(&now), []);
    let other = tunnel(4098, "2001:db8::1");
    lab.apply([change(&new, &other)]).expect("it can be remade");
    assert_eq!(unmet(lab, &[Object::Link(other)]), 0);
}

/// Does something in the namespace of the network, where that is a real one.
fn in_network(lab: &Lab, what: impl FnOnce() + Send) {
    let Lab::Real { root, .. } = lab else {
        return;
    };
    let Netns::Network(id) = NETWORK else {
        unreachable!("it is a network's");
    };
    let file = std::fs::File::open(root.join(format!("netns/net-{id}"))).expect("it is pinned");
    let inside = || {
        let kind = Some(rustix::thread::LinkNameSpaceType::Network);
        rustix::thread::move_into_link_name_space(file.as_fd(), kind).expect("it can be entered");
        what();
    };
    let done = std::thread::scope(|scope| scope.spawn(inside).join());
    done.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
}

pub(crate) fn a_tunnel_joins_segments_as_it_is_told(lab: &Lab) {
    let all = |gro| {
        let mut link = tunnel(4097, "192.0.2.1");
        if let LinkKind::Vxlan(options) = &mut link.kind {
            options.gro = gro;
        }
        [
            network_namespace(),
            Object::Link(apart(bridge("br0"))),
            Object::Link(link),
            // It is lost where the link is made anew.
            forward(STATION, "192.0.2.9"),
        ]
    };
    for (first, then) in [(true, false), (false, true)] {
        lab.create(&all(first));
        in_network(lab, || assert_eq!(gro::joins("vxlan0"), first));
        assert_eq!(lab.missing(&all(first)), []);
        let change = lab.missing(&all(then));
        assert!(matches!(change[..], [Step::Replace { .. }]), "{change:?}");
        lab.apply(change).expect("it can be changed");
        assert_eq!(lab.missing(&all(then)), []);
        in_network(lab, || {
            assert_eq!(gro::joins("vxlan0"), then);
            // As somebody's `ethtool -K vxlan0 gro` does.
            gro::set("vxlan0", first);
        });
        if let Lab::Real { .. } = lab {
            let drift = lab.missing(&all(then));
            assert!(matches!(drift[..], [Step::Replace { .. }]), "{drift:?}");
        }
        // One that is found where it was to be made, as after a crash, is made the same.
        lab.create(&all(then));
        in_network(lab, || assert_eq!(gro::joins("vxlan0"), then));
        assert_eq!(lab.missing(&all(then)), []);
        lab.delete(&all(then));
    }
}

pub(crate) fn a_number_that_is_taken_is_refused(lab: &Lab) {
    lab.create(&scene());
    let netns = Netns::Network(NetworkId::from_bytes([6; 32]));
    let second = |link: Link| {
        Object::Link(Link {
            netns,
            ..apart(link)
        })
    };
    let beside = [
        Object::Namespace(Namespace {
            netns,
            source: NamespaceSource::New,
        }),
        second(bridge("br0")),
    ];
    lab.create(&beside);
    let failure = lab
        .apply([Step::Create(second(tunnel(4097, "192.0.2.1")))])
        .expect_err("the number is taken");
    let KernelError::Call { source, .. } = &failure.source else {
        panic!("{failure:?}");
    };
    assert_eq!(source.kind(), ErrorKind::AlreadyExists);
    assert_eq!(failure.done, [false]);
    let both = [scene(), beside.to_vec()].concat();
    assert_eq!(lab.missing(&both), []);
    lab.create(&[second(tunnel(4098, "192.0.2.1"))]);
    lab.delete(&both);
}

pub(crate) fn a_number_is_free_once_its_network_is_gone(lab: &Lab) {
    for _ in 0..3 {
        lab.create(&scene());
        assert_eq!(lab.missing(&scene()), []);
        lab.delete(&scene());
        assert_eq!(lab.standing(), []);
    }
}

pub(crate) fn a_network_that_goes_leaves_the_sandbox_its_names(lab: &Lab) {
    lab.create(&[Object::Link(bridge("vw0"))]);
    for _ in 0..2 {
        lab.create(&scene());
        lab.delete(&overlay());
        let other = Object::Link(pair("vw0123456789", "vw0", 7, "eth2"));
        lab.create(std::slice::from_ref(&other));
        assert_eq!(unmet(lab, std::slice::from_ref(&other)), 0);
        lab.delete(&[other, namespace(7)]);
    }
}

pub(crate) fn names_of_the_host_are_no_matter(lab: &Lab) {
    let port = PortOptions {
        bridge: ifname("br0"),
        isolated: false,
        hairpin: false,
    };
    let pair = Link {
        port: Some(port),
        ..pair("vwcccccccccc", "br0", 7, "eth9")
    };
    let host = [
        namespace(7),
        Object::Link(bridge("br0")),
        Object::Link(bridge("vxlan0")),
        Object::Link(pair),
        address(HOST, "vxlan0", "10.5.0.1/24"),
        neighbor(HOST, "vxlan0", "10.5.0.9", 9),
    ];
    lab.create(&host);
    lab.create(&scene());
    let both = [host.to_vec(), overlay()].concat();
    assert_eq!(lab.missing(&both), []);
    lab.delete(&overlay());
    assert_eq!(lab.missing(&host), []);
}

pub(crate) fn tunnels_work_over_ipv6_and_without_a_bridge(lab: &Lab) {
    let alone = Link {
        port: None,
        ..tunnel(7, "2001:db8::1")
    };
    let objects = [
        network_namespace(),
        Object::Link(alone),
        forward(STATION, "2001:db8::9"),
        forward(MacAddr([0; 6]), "2001:db8::9"),
        neighbor(NETWORK, "vxlan0", "10.5.0.9", 9),
    ];
    lab.create(&objects);
    lab.create(&objects);
    assert_eq!(lab.missing(&objects), []);
    lab.delete(&objects[1..]);
    assert_eq!(lab.missing(&objects[..1]), []);
}

pub(crate) fn a_lost_network_is_told_and_made_again(lab: &Lab) {
    lab.create(&scene());
    lab.lose_namespace(NETWORK);
    let observed = lab.kernel().observe(&keyed(&scene()));
    assert_eq!(observed.expect("it can be read").gone, [NETWORK]);
    // The kernel gives a lost namespace's tunnels up in its own time.
    let again = || {
        // What is refused for now is asked for again.
        let _ = lab.apply(lab.missing(&scene()));
        lab.missing(&scene()).is_empty()
    };
    vw_testkit::eventually("it is made again", Duration::from_secs(10), again);
}

/// How long this thread has run, whatever others did meanwhile.
fn on_cpu() -> Duration {
    let said = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanoseconds = said.split(' ').next().and_then(|first| first.parse().ok());
    Duration::from_nanos(nanoseconds.unwrap_or_default())
}

pub(crate) fn ten_thousand_stations_are_told(lab: &Lab) {
    lab.create(&scene());
    let many: Vec<Object> = (0..10_000_u32)
        .flat_map(|n| {
            let [_, _, a, b] = n.to_be_bytes();
            let mac = MacAddr([2, 1, 0, 0, a, b]);
            let addr = |text: String| {
                Object::Neighbor(vw_hoststate::Neighbor {
                    netns: NETWORK,
                    link: ifname("vxlan0"),
                    addr: text.parse().expect("an address"),
                    mac,
                })
            };
            [
                forward(mac, &format!("192.0.2.{}", 2 + n % 200)),
                addr(format!("10.6.{a}.{b}")),
                addr(format!("fd06::{n:x}")),
                shortcut(mac, "vxlan0", Station::Elsewhere),
            ]
        })
        .collect();
    let worked = on_cpu();
    let made = Plan::ordered(many.iter().cloned().map(Step::Create));
    let gone = Plan::ordered(many.iter().cloned().map(Step::Delete));
    println!(
        "put into order twice in {:?} on a CPU",
        on_cpu().saturating_sub(worked)
    );
    took(lab, "10,000 stations made", &made);
    assert_eq!(lab.missing(&[scene(), many].concat()), []);
    took(lab, "10,000 stations removed", &gone);
    assert_eq!(lab.missing(&scene()), []);
}

fn took(lab: &Lab, what: &str, plan: &Plan) {
    let (started, worked) = (Instant::now(), on_cpu());
    lab.kernel().apply(plan).expect("it can be applied");
    let (took, worked) = (started.elapsed(), on_cpu().saturating_sub(worked));
    println!("{what} in {took:?}, {worked:?} of them on a CPU");
}

pub(crate) fn ten_thousand_are_routed_to(lab: &Lab) {
    let standing = [
        Object::Link(bridge("vw0")),
        Object::Link(bridge("wire")),
        address(HOST, "wire", "192.0.2.1/24"),
    ];
    lab.create(&standing);
    let many: Vec<Object> = (0..10_000_u32)
        .flat_map(|n| {
            let [_, _, a, b] = n.to_be_bytes();
            let addr = format!("10.6.{a}.{b}");
            let via = format!("192.0.2.{}", 2 + n % 200);
            let way = route(HOST, &format!("{addr}/32"), Some(&via), Some("wire"));
            [Object::Route(way), proxy(&addr)]
        })
        .collect();
    let made = Plan::ordered(many.iter().cloned().map(Step::Create));
    let gone = Plan::ordered(many.iter().cloned().map(Step::Delete));
    took(lab, "10,000 routed to", &made);
    assert_eq!(lab.missing(&[&standing[..], &many].concat()), []);
    took(lab, "10,000 routed to no more", &gone);
    assert_eq!(lab.missing(&standing), []);
}

pub(crate) fn more_stations_than_have_shortcuts_stand(lab: &Lab) {
    lab.create(&scene());
    // The table has 32,768 slots.
    let many: Vec<Object> = (0..33_000_u32)
        .map(|n| {
            let [_, a, b, c] = n.to_be_bytes();
            shortcut(MacAddr([2, 1, 0, a, b, c]), "vxlan0", Station::Elsewhere)
        })
        .collect();
    lab.create(&many);
    assert_eq!(lab.missing(&[scene(), many.clone()].concat()), []);
    lab.delete(&many);
    assert_eq!(lab.missing(&scene()), []);
}

pub(crate) fn stations_of_one_address_stand_and_go(lab: &Lab) {
    lab.create(&scene());
    let mac = MacAddr([2, 1, 0, 0, 0, 1]);
    let twin = |name: &str, number: u8| {
        let inside = format!("eth{number}");
        let pair = Object::Link(apart(pair(name, "br0", 7, &inside)));
        [pair, shortcut(mac, name, Station::Here)]
    };
    let moved = shortcut(mac, "vxlan0", Station::Elsewhere);
    let all = [
        scene(),
        twin("vwdddddddddd", 3).into(),
        twin("vweeeeeeeeee", 4).into(),
        vec![moved.clone()],
    ]
    .concat();
    lab.create(&all);
    assert_eq!(lab.missing(&all), []);
    // Each side goes by itself.
    lab.delete(std::slice::from_ref(&moved));
    assert_eq!(lab.missing(&without(&all, &[moved])), []);
    lab.delete(&all);
    assert_eq!(lab.standing(), []);
}

pub(crate) fn thousands_that_are_gone_are_removed_again(lab: &Lab) {
    lab.create(&scene());
    let gone: Vec<Object> = (0..5_000_u32)
        .map(|n| {
            let [_, _, a, b] = n.to_be_bytes();
            neighbor(NETWORK, "vxlan0", &format!("10.6.{a}.{b}"), 1)
        })
        .collect();
    lab.delete(&gone);
    assert_eq!(lab.missing(&scene()), []);
}

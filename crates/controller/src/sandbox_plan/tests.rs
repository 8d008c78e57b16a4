//! Which network supplies the gateways, and where ports land.

use super::{Inputs, gateway_of, plan};
use crate::{
    registry::{Attachment, Resolver},
    sample::{attachment, guest, network},
};
use expect_test::{Expect, expect};
use vw_hoststate::{Key, Object};
use vw_model::{Family, NetworkSpec, PortMapping};

fn internal(mut spec: NetworkSpec) -> NetworkSpec {
    spec.internal = true;
    spec
}

fn named(name: &str, priority: i64) -> Attachment {
    attachment(
        network(name, &["10.1.0.0/24", "fd00:1::/64"]),
        "eth0",
        priority,
    )
}

fn check_gateway(attachments: &[Attachment], v4: Option<&str>, v6: Option<&str>) {
    let mut backwards = attachments.to_vec();
    backwards.reverse();
    for attachments in [attachments, &backwards] {
        for (family, name) in [(Family::V4, v4), (Family::V6, v6)] {
            let chosen = gateway_of(attachments, family);
            assert_eq!(chosen.map(|a| a.network.spec.name.as_str()), name);
        }
    }
}

#[test]
fn the_first_name_supplies_the_gateway() {
    let both = [named("green", 0), named("blue", 0)];
    check_gateway(&both, Some("blue"), Some("blue"));
}

#[test]
fn the_highest_priority_comes_before_names() {
    let three = [named("green", 1), named("blue", 0), named("amber", -1)];
    check_gateway(&three, Some("green"), Some("green"));
    check_gateway(&three[1..], Some("blue"), Some("blue"));
}

#[test]
fn families_choose_by_themselves() {
    let four = attachment(network("blue", &["10.1.0.0/24"]), "eth0", 0);
    let six = attachment(network("green", &["fd00:2::/64"]), "eth1", 0);
    check_gateway(&[four, six], Some("blue"), Some("green"));
}

#[test]
fn an_internal_network_is_never_chosen() {
    let inside = internal(network("amber", &["10.1.0.0/24"]));
    let inside = attachment(inside, "eth0", 10);
    check_gateway(std::slice::from_ref(&inside), None, None);
    check_gateway(&[inside, named("blue", 0)], Some("blue"), Some("blue"));
    check_gateway(&[], None, None);
}

fn check_plan(attachments: &[Attachment], ports: &[&str], expected: &Expect) {
    let cx = Default::default();
    let mapping = |text: &&str| PortMapping {
        host: text.parse().unwrap(),
        container: "80/tcp".parse().unwrap(),
    };
    let ports: Vec<PortMapping> = ports.iter().map(mapping).collect();
    let inputs = Inputs {
        sandbox: guest(),
        namespace: None,
        resolver: Some(Resolver { udp: 1, tcp: 2 }),
        ports: &ports,
        encrypted: &[],
        balances: false,
        drivers: &cx,
    };
    let mut text = String::new();
    for (key, object) in plan(inputs, attachments).unwrap().iter() {
        text += &match (key, object) {
            (_, Object::Route(route)) => {
                let link = route.link.as_ref().map_or("-", |link| link.as_str());
                format!("route {} via {:?} by {link}\n", route.dst, route.via)
            }
            (Key::Port(..) | Key::Policy(..), object) => format!("{object:?}\n"),
            (Key::Table(netns), _) => format!("table in {netns:?}\n"),
            (key, _) => format!("{key:?}\n"),
        };
    }
    expected.assert_eq(&text);
}

#[test]
fn a_sandbox_without_networks_has_its_resolver_alone() {
    check_plan(
        &[],
        &["0.0.0.0:8080"],
        &expect![[r#"
        table in Sandbox(677565737400)
    "#]],
    );
}

#[test]
fn ports_land_on_the_endpoint_that_supplies_the_gateway() {
    let green = attachment(network("green", &["10.2.0.0/24"]), "eth1", 0);
    let blue = attachment(network("blue", &["10.1.0.0/24"]), "eth0", 0);
    check_plan(
        &[green.clone(), blue],
        &["0.0.0.0:8080"],
        &expect![[r#"
            table in Sandbox(677565737400)
            route 0.0.0.0/0 via Some(10.1.0.1) by eth0
            Element(Element { set: PortsAny4, key: [Protocol(Tcp), Port(8080)], value: [V4(10.1.0.2), Port(80)] })
            Element(Element { set: PublishedAny4, key: [Protocol(Tcp), Port(8080)], value: [] })
        "#]],
    );
    // Blue is left: its ports move.
    check_plan(
        &[green],
        &["0.0.0.0:8080", "[::]:8080"],
        &expect![[r#"
            table in Sandbox(677565737400)
            route 0.0.0.0/0 via Some(10.2.0.1) by eth1
            Element(Element { set: PortsAny4, key: [Protocol(Tcp), Port(8080)], value: [V4(10.2.0.2), Port(80)] })
            Element(Element { set: PublishedAny4, key: [Protocol(Tcp), Port(8080)], value: [] })
        "#]],
    );
}

#[test]
fn neighbours_who_keep_their_address_may_be_led_to_either_network() {
    let mut keeping = network("green", &["10.2.0.0/24"]);
    let option = "com.docker.network.bridge.enable_ip_masquerade";
    keeping.options = [(option.to_owned(), "false".to_owned())].into();
    let green = attachment(keeping, "eth1", 0);
    let blue = attachment(network("blue", &["10.1.0.0/24", "fd00:1::/64"]), "eth0", 0);
    let amber = internal(network("amber", &["10.3.0.0/24"]));
    let amber = attachment(amber, "eth2", 0);
    check_plan(
        &[green, blue, amber],
        &[],
        &expect![[r#"
        table in Sandbox(677565737400)
        Element(Element { set: Beside4, key: [Interface("vw-677265656e00"), V4(10.1.0.2)], value: [] })
        route 0.0.0.0/0 via Some(10.1.0.1) by eth0
        route ::/0 via Some(fd00:1::) by eth0
    "#]],
    );
}

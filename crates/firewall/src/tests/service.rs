//! What services ask for, as golden text.

use super::policy::lines;
use crate::*;
use expect_test::expect;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use vw_model::{Family, Protocol};

fn slots(count: u8) -> Vec<Slot> {
    let slot = |number: u8| Slot {
        v4: Some([10, 0, 0, number].into()),
        v6: Some([0xfd00, 0, 0, 0, 0, 0, 0, u16::from(number)].into()),
    };
    (2..2 + count).map(slot).collect()
}

fn web(count: u8) -> ServicePolicy {
    ServicePolicy {
        vips: vec![[10, 0, 0, 100].into()],
        home: Some("vw0".parse().unwrap()),
        ports: vec![ServicePort {
            published: 80,
            host: None,
            target: 8080,
            protocol: Protocol::Tcp,
        }],
        families: vec![Family::V4],
        affinity: false,
        slots: slots(count),
    }
}

#[test]
fn services() {
    let one = ServicePolicy {
        affinity: true,
        ..web(1)
    };
    expect![[r#"
        home4 { "vw0" . 10.0.0.100 }
        home4 { "lo" . 10.0.0.100 }
        vips4 { 10.0.0.100 }
        vip4_slots { 10.0.0.100 . 0 : 10.0.0.2 }
        vip4_of_1 { 10.0.0.100 }
        vip4_affine { 10.0.0.100 }
        port4_slots { tcp . 80 . 0 : 10.0.0.2 . 8080 }
        port4_of_1 { tcp . 80 }
        port4_affine { tcp . 80 }
        ports4 { tcp . 80 }
    "#]]
    .assert_eq(&lines(&service(&one)));
    let three = ServicePolicy {
        ports: Vec::new(),
        ..web(3)
    };
    expect![[r#"
        home4 { "vw0" . 10.0.0.100 }
        home4 { "lo" . 10.0.0.100 }
        vips4 { 10.0.0.100 }
        vip4_slots { 10.0.0.100 . 0 : 10.0.0.2 }
        vip4_slots { 10.0.0.100 . 1 : 10.0.0.3 }
        vip4_slots { 10.0.0.100 . 2 : 10.0.0.4 }
        vip4_of_4 { 10.0.0.100 }
    "#]]
    .assert_eq(&lines(&service(&three)));
    expect![[r#"
        home4 { "vw0" . 10.0.0.100 }
        home4 { "lo" . 10.0.0.100 }
        vips4 { 10.0.0.100 }
        ports4 { tcp . 80 }
    "#]]
    .assert_eq(&lines(&service(&web(0))));
}

#[test]
fn an_endpoint_of_one_family_has_no_slot_of_the_other() {
    let mut mixed = ServicePolicy {
        vips: vec!["fd00::100".parse().unwrap()],
        families: vec![Family::V4, Family::V6],
        ..web(2)
    };
    mixed.slots[0].v6 = None;
    expect![[r#"
        home6 { "vw0" . fd00::100 }
        home6 { "lo" . fd00::100 }
        vips6 { fd00::100 }
        vip6_slots { fd00::100 . 0 : fd00::3 }
        vip6_of_1 { fd00::100 }
        port4_slots { tcp . 80 . 0 : 10.0.0.2 . 8080 }
        port4_slots { tcp . 80 . 1 : 10.0.0.3 . 8080 }
        port4_of_2 { tcp . 80 }
        ports4 { tcp . 80 }
        port6_slots { tcp . 80 . 0 : fd00::3 . 8080 }
        port6_of_1 { tcp . 80 }
        ports6 { tcp . 80 }
    "#]]
    .assert_eq(&lines(&service(&mixed)));
}

#[test]
fn a_port_on_one_address_is_asked_for_with_it() {
    let on = |host: &str| {
        let mut policy = web(1);
        policy.vips.clear();
        policy.ports[0].host = Some(host.parse().unwrap());
        policy.families = vec![Family::V4, Family::V6];
        lines(&service(&policy))
    };
    expect![[r#"
        at4_slots { 127.0.0.1 . tcp . 80 . 0 : 10.0.0.2 . 8080 }
        at4_of_1 { 127.0.0.1 . tcp . 80 }
        at4 { 127.0.0.1 . tcp . 80 }
    "#]]
    .assert_eq(&on("127.0.0.1"));
    expect![[r#"
        at6_slots { ::1 . tcp . 80 . 0 : fd00::2 . 8080 }
        at6_of_1 { ::1 . tcp . 80 }
        at6 { ::1 . tcp . 80 }
        at6_slots { 100::7677:1 . tcp . 80 . 0 : fd00::2 . 8080 }
        at6_of_1 { 100::7677:1 . tcp . 80 }
        at6 { 100::7677:1 . tcp . 80 }
    "#]]
    .assert_eq(&on("::1"));
    expect![[r#"
        port4_slots { tcp . 80 . 0 : 10.0.0.2 . 8080 }
        port4_of_1 { tcp . 80 }
        ports4 { tcp . 80 }
    "#]]
    .assert_eq(&on("0.0.0.0"));
    let none = ServicePolicy {
        slots: Vec::new(),
        ..web(1)
    };
    assert_eq!(service(&none).len(), 4, "the address and the port alone");
}

#[test]
fn sets_and_chains_of_the_table_have_names_of_their_own() {
    let table = service_table();
    let sets: BTreeSet<&str> = table.sets.iter().map(|set| set.name()).collect();
    assert_eq!(sets.len(), ServiceSet::ALL.len());
    let chains: BTreeSet<&str> = table.chains.iter().map(|chain| chain.name).collect();
    assert_eq!(chains.len(), table.chains.len());
}

proptest! {
    #[test]
    fn slots_are_dense_and_at_least_half_of_their_class(count in 1..200_u8) {
        let elements = service(&web(count));
        let mut of_class = None;
        let mut numbers = BTreeMap::new();
        for element in &elements {
            let types = |data: &[Datum]| data.iter().map(Datum::data_type).collect::<Vec<_>>();
            prop_assert_eq!(types(&element.key), element.set.key());
            prop_assert_eq!(types(&element.value), element.set.value());
            prop_assert!(element.set.is_port());
            match (element.set, element.key.as_slice()) {
                (SetName::Service(ServiceSet::Slots(Entry::Vip4)), [_, Datum::Slot(number)]) => {
                    numbers.insert(*number, element.value.clone());
                }
                (SetName::Service(ServiceSet::Class(Entry::Vip4, class)), _) => {
                    prop_assert!(of_class.replace(1_u32 << class).is_none());
                }
                _ => {}
            }
        }
        let class = of_class.unwrap();
        prop_assert!(numbers.keys().copied().eq(0..u32::from(count)));
        prop_assert!(u32::from(count) <= class && (class == 1 || u32::from(count) > class / 2));
    }
}

#[test]
fn what_goes_on_from_one_port_opens_one_and_is_refused_while_nobody_serves() {
    let port = |host: Option<&str>, protocol| ServicePort {
        published: 80,
        host: host.map(|host| host.parse().unwrap()),
        target: 8080,
        protocol,
    };
    let all = [Protocol::Tcp, Protocol::Udp, Protocol::Sctp];
    let ports = [None, Some("192.0.2.1")];
    let ports = ports
        .into_iter()
        .flat_map(|host| all.map(|of| port(host, of)));
    let nobody = ServicePolicy {
        ports: ports.collect(),
        ..web(0)
    };
    let elements = service(&nobody);
    let opened = elements.iter().filter_map(|element| {
        let (family, at, port) = element.opened()?;
        Some(format!("{element} {family:?} {at:?} {port}\n"))
    });
    expect![[r#"
        ports4 { udp . 80 } V4 None 80/udp
        ports4 { sctp . 80 } V4 None 80/sctp
        at4 { 192.0.2.1 . udp . 80 } V4 Some(192.0.2.1) 80/udp
        at4 { 192.0.2.1 . sctp . 80 } V4 Some(192.0.2.1) 80/sctp
    "#]]
    .assert_eq(&opened.collect::<String>());
}

//! Ports of endpoints without IPv6, which are translated to: whatever fails as they come and go, and where
//! the host forwards nothing or its kernel refuses the program.

use crate::{
    for_every_effect_in,
    inject::Mode,
    is_undone_or_finished, is_whole_after_a_crash,
    scenario::{Step, adopt, create_with, release, remove_network, step},
    world::World,
};
use vw_controller::{Controller, command::Info};
use vw_firewall::SetName;
use vw_hoststate::{Key, Object};
use vw_kernel::{HostFacts, Kernel};

fn world() -> World {
    let mut world = World::new();
    world.translates = true;
    world
}

fn steps() -> Vec<Step> {
    vec![
        step("network create four", |c, _| {
            create_with(c, "four", "10.7.0.0/24", false)
        }),
        step("adopt one, with the first such port", |c, w| {
            adopt(c, w, "one", &["four"], &["8080:80", "[::1]:9000:53/udp"])
        }),
        step("adopt two, with another", |c, w| {
            adopt(c, w, "two", &["four"], &["8081:80"])
        }),
        step("release one", |c, _| release(c, "one")),
        step("release two, with the last", |c, _| release(c, "two")),
        step("network rm four", |c, _| remove_network(c, "four")),
    ]
}

#[test]
fn one_failed_effect_changes_nothing_of_translated_ports_or_is_finished() {
    for_every_effect_in(world, &steps(), Mode::Once, is_undone_or_finished);
}

#[test]
fn a_crash_at_any_effect_leaves_translated_ports_whole_or_not_begun() {
    for_every_effect_in(world, &steps(), Mode::From, is_whole_after_a_crash);
}

/// By which IP versions a port answers.
fn answers(world: &World) -> [bool; 2] {
    let objects = world.kernel.objects();
    let opens = |set: SetName| {
        let of = |object: &Object| matches!(object, Object::Element(one) if one.set == set);
        objects.values().any(of)
    };
    [SetName::PortsAny4, SetName::PortsAny6].map(opens)
}

fn is_told(controller: &Controller, words: &[&str]) -> bool {
    let warnings = controller.submit(Info).unwrap().warnings;
    let told = |text: &String| {
        text.starts_with("ports of containers without IPv6 answer over IPv4 alone")
            && words.iter().all(|word| text.contains(word))
    };
    warnings.iter().any(told)
}

#[test]
fn where_the_host_does_not_forward_ports_answer_over_ipv4_alone() {
    for off in ["net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"] {
        let world = world();
        let mut facts: HostFacts = world.kernel.facts().unwrap();
        facts.sysctls.insert(off.to_owned(), "0".to_owned());
        world.kernel.set_facts(facts);
        let controller = world.open();
        create_with(&controller, "four", "10.7.0.0/24", false).unwrap();
        adopt(&controller, &world, "one", &["four"], &["8080:80"]).unwrap();
        assert_eq!(answers(&world), [true, false]);
        let remedy = format!("set {}=1", off.replace('/', "."));
        assert!(is_told(&controller, &[&remedy, "--ip-forward=false"]));
        let there = |key: &Key| matches!(key, Key::Translator(..));
        assert!(!world.kernel.objects().keys().any(there));
    }
}

#[test]
fn where_the_kernel_refuses_the_program_ports_answer_over_ipv4_alone_until_it_takes_it() {
    let world = world();
    let controller = world.open();
    create_with(&controller, "four", "10.7.0.0/24", false).unwrap();
    world
        .kernel
        .refuse_translation(Some("Operation not permitted"));
    adopt(&controller, &world, "one", &["four"], &["8080:80"]).unwrap();
    assert_eq!(answers(&world), [true, false]);
    assert!(is_told(
        &controller,
        &["Operation not permitted", "CAP_BPF"]
    ));
    world.kernel.refuse_translation(None);
    assert_ne!(controller.repair().unwrap(), 0, "it is tried again");
    assert_eq!(answers(&world), [true, true]);
    assert!(!is_told(&controller, &[]));
    assert_eq!(controller.repair().unwrap(), 0);
}

//! Endpoints on other hosts that the kernel does not let in: they cost a change of others nothing, and
//! are tried again without one.

use crate::{
    scenario::{adopt, create_overlay},
    world::World,
};
use std::{net::IpAddr, time::Duration};
use vw_controller::command::{Info, NetworkInspect};
use vw_hoststate::Key;
use vw_store::cluster::{Transaction, Write, memory::MemoryStore};

const SOON: Duration = Duration::from_secs(60);
const MANY: u8 = 100;

/// An id that is this number alone.
fn id(number: u8) -> String {
    format!("{number:02x}").repeat(32)
}

fn put(key: String, value: &serde_json::Value) -> Write {
    Write::Put(key, format!("1 {value}").into_bytes())
}

/// What another host writes of an endpoint.
fn endpoint(network: &str, number: u8, third: u8) -> Write {
    let record = serde_json::json!({
        "mac": format!("02:42:0a:09:{third:02x}:{number:02x}"),
        "addresses": [format!("10.9.{third}.{number}/16")],
        "names": [format!("far-{third}-{number}")],
        "sandbox": id(number),
    });
    let key = format!("{:02x}{}", third, &id(number)[2..]);
    put(
        format!("v1/shared/endpoints/{network}/{}/{key}", id(0xee)),
        &record,
    )
}

#[test]
fn what_is_refused_costs_no_change_of_others_and_is_tried_again_without_one() {
    let store = MemoryStore::new();
    let world = World::in_cluster(&store, 1);
    let controller = world.open();
    let made = || create_overlay(&controller, "shop", true, &[]);
    vw_testkit::eventually("a network is made", SOON, || made().is_ok());
    adopt(&controller, &world, "one", &["shop"], &[]).unwrap();
    let shop = controller
        .submit(NetworkInspect {
            network: "shop".to_owned(),
        })
        .unwrap();
    let network = shop.spec.id.to_string();
    let write = |writes| {
        let conditions = Vec::new();
        assert!(store.edit(&Transaction { conditions, writes }));
    };
    let host = serde_json::json!({
        "name": "far", "advertise": "192.0.2.99", "version": "0", "instance": "i", "since": 0,
    });
    write(vec![
        put(format!("v1/shared/hosts/{}", id(0xee)), &host),
        put(
            format!("v1/shared/alive/{}", id(0xee)),
            &serde_json::json!({}),
        ),
    ]);
    world.refusing.set_made(Some(
        |key| matches!(key, Key::Neighbor(_, _, IpAddr::V4(addr)) if addr.octets()[2] == 200),
    ));
    write((1..=MANY).map(|n| endpoint(&network, n, 200)).collect());
    let unreached = || {
        let warnings = controller.submit(Info).unwrap().warnings;
        warnings
            .iter()
            .filter(|said| said.contains("cannot be reached"))
            .count()
    };
    vw_testkit::eventually("they are refused", SOON, || {
        unreached() == usize::from(MANY)
    });
    let stands = |third: u8, number: u8| {
        let addr = IpAddr::from([10, 9, third, number]);
        let objects = world.kernel.objects();
        objects
            .keys()
            .any(|key| matches!(key, Key::Neighbor(_, _, at) if *at == addr))
    };
    // They may be tried again meanwhile, but seldom.
    let cost = (1..=5).map(|number| {
        let before = world.refusing.refused();
        write(vec![endpoint(&network, number, 201)]);
        vw_testkit::eventually("it is reached", SOON, || stands(201, number));
        world.refusing.refused() - before
    });
    assert_eq!(cost.min(), Some(0), "others were tried with it");
    world.refusing.set_made(None);
    vw_testkit::eventually("they are tried again", SOON, || unreached() == 0);
    assert!((1..=MANY).all(|number| stands(200, number)));
    assert_eq!(controller.repair().unwrap(), 0);
}

//! Endpoints of a service that cannot be any more when the daemon starts, or not all at once.

use crate::{
    scenario::{adopt, create, create_service, join, remove_service},
    world::World,
};
use serde_json::Value;
use std::{fs, time::Duration};
use vw_controller::{
    Controller,
    command::{Info, ServiceInspect, ServiceUpdate},
    view::ServiceMemberView,
};
use vw_model::{EndpointMode, HealthSpec};
use vw_store::Table;

fn members(controller: &Controller) -> Vec<ServiceMemberView> {
    let service = "web".to_owned();
    controller
        .submit(ServiceInspect { service })
        .unwrap()
        .members
}

#[test]
fn an_endpoint_that_is_taken_down_at_the_start_is_led_to_no_more() {
    let world = World::new();
    let controller = world.open();
    create(&controller, "blue", "10.7.0.0/24").unwrap();
    create_service(&controller, "web", "blue", EndpointMode::Vip, &["80:8080"]).unwrap();
    for name in ["one", "two", "three"] {
        adopt(&controller, &world, name, &[], &[]).unwrap();
        join(&controller, "blue", name, "web", 2).unwrap();
    }
    let before = members(&controller);
    let gone = before.iter().find(|member| member.name == "one").unwrap();
    drop(controller);
    // As an older or newer daemon would leave it, which knew an option that this one does not.
    let key = gone.endpoint.to_string();
    let record = world.record(Table::Attachments, &key).unwrap();
    let mut record: Value = serde_json::from_slice(&record).unwrap();
    record["endpoint"]["settings"]["driver_opts"]["vethwork.unheard"] = "of".into();
    world.forge(
        Table::Attachments,
        &key,
        serde_json::to_vec(&record).unwrap(),
    );
    for start in ["first", "second"] {
        let controller = world.open();
        let left = members(&controller);
        let names: Vec<_> = left.iter().map(|m| (m.name.as_str(), m.serves)).collect();
        assert_eq!(names.len(), 2, "{start} start: {names:?}");
        assert!(
            left.iter().all(|m| m.serves && m.name != "one"),
            "{names:?}"
        );
        let state = format!("{:?}", world.kernel.objects());
        assert!(
            !state.contains(&format!("V4({})", gone.addresses[0])),
            "{state}"
        );
        assert_eq!(controller.repair().unwrap(), 0, "{start} start");
        // Its place is free.
        if start == "first" {
            join(&controller, "blue", "one", "web", 1).unwrap();
            assert_eq!(members(&controller).len(), 3);
            controller
                .submit(vw_controller::command::Disconnect {
                    network: "blue".to_owned(),
                    sandbox: "one".to_owned(),
                    force: false,
                })
                .unwrap();
        }
    }
}

#[test]
fn an_update_for_which_there_is_no_room_costs_a_service_no_port() {
    let world = World::new();
    let controller = world.open();
    create(&controller, "blue", "10.7.0.0/24").unwrap();
    create_service(&controller, "web", "blue", EndpointMode::Vip, &["80:8080"]).unwrap();
    let update = |health: Option<HealthSpec>| {
        controller.submit(ServiceUpdate {
            service: "web".to_owned(),
            health: Some(health),
            ..ServiceUpdate::default()
        })
    };
    let hour = Duration::from_secs(3600);
    update(Some(HealthSpec {
        probe: "http:8080".parse().unwrap(),
        interval: hour,
        timeout: hour,
        retries: 1,
        start_period: hour,
    }))
    .unwrap();
    // None of them answers here, and together they are more than can.
    for number in 0..11 {
        let name = format!("box{number}");
        fs::write(world.folder.join(&name), "").unwrap();
        adopt(&controller, &world, &name, &[], &[]).unwrap();
        join(&controller, "blue", &name, "web", 100).unwrap();
    }
    assert!(members(&controller).iter().all(|member| !member.serves));
    // Whatever comes of it.
    let _ = update(None);
    let taken = create_service(&controller, "api", "blue", EndpointMode::Vip, &["80:80"]);
    let refusal = taken.unwrap_err();
    assert_eq!(refusal.reason, "port-allocated", "{}", refusal.chain());
    assert_eq!(controller.repair().unwrap(), 0);
}

#[test]
fn a_service_whose_network_is_gone_can_be_removed() {
    let world = World::new();
    let controller = world.open();
    create(&controller, "blue", "10.7.0.0/24").unwrap();
    create_service(&controller, "web", "blue", EndpointMode::Vip, &[]).unwrap();
    let service = "web".to_owned();
    let web = controller.submit(ServiceInspect { service }).unwrap();
    let key = web.spec.id.to_string();
    let record = world.record(Table::Services, &key).unwrap();
    remove_service(&controller, "web").unwrap();
    drop(controller);
    let mut record: Value = serde_json::from_slice(&record).unwrap();
    record["network"] = "0".repeat(64).into();
    let record = serde_json::to_vec(&record).unwrap();
    for name in ["web", &key] {
        world.forge(Table::Services, &key, record.clone());
        let controller = world.open();
        let gone = |controller: &Controller| {
            let mut warnings = controller.submit(Info).unwrap().warnings.into_iter();
            warnings.any(|warning| warning.contains("its network is gone"))
        };
        assert!(gone(&controller));
        remove_service(&controller, name).unwrap();
        let again = remove_service(&controller, name).unwrap_err();
        assert_eq!(again.reason, "service-not-found");
        drop(controller);
        assert!(!gone(&world.open()));
    }
}

//! An endpoint of a service that cannot be any more when the daemon starts.

use crate::{
    scenario::{adopt, create, create_service, join},
    world::World,
};
use serde_json::Value;
use vw_controller::{Controller, command::ServiceInspect, view::ServiceMemberView};
use vw_model::EndpointMode;
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

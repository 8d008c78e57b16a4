//! Networks against Docker's JSON and filters.

use super::{filter::NetworkFilter, parse::CreateRequest, render};
use crate::{filters::Filters, json, version::ApiVersion};
use expect_test::{expect, expect_file};
use std::time::{Duration, UNIX_EPOCH};
use vw_controller::view::{MemberView, NetworkView, Pruned};
use vw_model::{
    EndpointId, IpamSpec, MacAddr, NetworkId, NetworkSpec, Options, PoolSpec, SandboxId, Scope,
};

fn network(name: &str, members: usize) -> NetworkView {
    let pool = PoolSpec {
        subnet: "10.1.0.0/16".parse().unwrap(),
        ip_range: "10.1.2.0/24".parse().ok(),
        gateway: "10.1.0.1".parse().ok(),
        aux: [("r".to_owned(), "10.1.0.9".parse().unwrap())].into(),
        given: true,
    };
    let member = MemberView {
        sandbox: SandboxId::from_bytes([3; 32]),
        name: "web".to_owned(),
        endpoint: EndpointId::from_bytes([4; 32]),
        mac: MacAddr([2, 0x42, 10, 1, 0, 2]),
        ipv4: "10.1.0.2/16".parse().ok(),
        ipv6: None,
    };
    NetworkView {
        spec: NetworkSpec {
            id: NetworkId::from_bytes([1; 32]),
            name: name.parse().unwrap(),
            driver: "bridge".to_owned(),
            scope: Scope::Local,
            created: UNIX_EPOCH + Duration::from_millis(1_700_000_000_120),
            enable_ipv4: true,
            enable_ipv6: false,
            internal: false,
            attachable: true,
            predefined: name == "bridge",
            ipam: IpamSpec {
                driver: "default".to_owned(),
                options: Options::new(),
                pools: vec![pool],
            },
            options: Options::new(),
            labels: [("a".to_owned(), "1".to_owned())].into(),
        },
        peers: Vec::new(),
        members: vec![member; members],
        in_use: members > 0,
    }
}

#[test]
fn a_network_is_shown_as_docker_shows_it() {
    let shown = serde_json::to_string_pretty(&render::resource(&network("n", 1))).unwrap();
    expect_file!["resource.json"].assert_eq(&shown);
    let listed = serde_json::to_value(render::summary(&network("n", 1))).unwrap();
    assert_eq!(listed["Containers"], serde_json::json!({}));
}

#[test]
fn what_was_pruned_is_null_when_nothing_was() {
    let shown = |removed| serde_json::to_string(&render::pruned(&Pruned { removed })).unwrap();
    assert_eq!(shown(Vec::new()), r#"{"NetworksDeleted":null}"#);
    assert_eq!(shown(vec!["n".to_owned()]), r#"{"NetworksDeleted":["n"]}"#);
}

#[test]
fn lists_are_filtered() {
    let networks = [
        network("bridge", 0),
        network("used", 1),
        network("unused", 0),
    ];
    for (filters, names) in [
        ("{}", "bridge used unused"),
        (r#"{"name":["used"]}"#, "used unused"),
        (r#"{"name":["^used$"]}"#, "used"),
        (r#"{"id":["0101"]}"#, "bridge used unused"),
        (r#"{"driver":["overlay"]}"#, ""),
        (r#"{"scope":["local"]}"#, "bridge used unused"),
        (r#"{"type":["custom"]}"#, "used unused"),
        (r#"{"type":["builtin"]}"#, "bridge"),
        (r#"{"dangling":["true"]}"#, "unused"),
        (r#"{"dangling":["false"]}"#, "bridge used"),
        (r#"{"label":["a=1"]}"#, "bridge used unused"),
        (r#"{"label":["a=2"]}"#, ""),
    ] {
        let filter = NetworkFilter::parse(Filters::parse(filters).unwrap()).unwrap();
        let kept = networks.iter().filter(|network| filter.keeps(network));
        let kept: Vec<_> = kept.map(|network| network.spec.name.as_str()).collect();
        assert_eq!(kept.join(" "), names, "{filters}");
    }
}

#[test]
fn bad_filters_are_refused() {
    for (filters, expected) in [
        (r#"{"type":["x"]}"#, expect!["invalid filter: 'type'='x'"]),
        (
            r#"{"dangling":["x"]}"#,
            expect![[
                r#"invalid value for filter 'dangling', must be "true" (or "1"), or "false" (or "0")"#
            ]],
        ),
        (
            r#"{"dangling":["0","1"]}"#,
            expect![[r#"got more than one value for filter key "dangling""#]],
        ),
    ] {
        let refused = NetworkFilter::parse(Filters::parse(filters).unwrap());
        expected.assert_eq(&refused.unwrap_err().message);
    }
}

#[test]
fn enable_ipv4_is_read_from_1_48_on() {
    let request: CreateRequest =
        json::parse(br#"{"Name":"n","EnableIPv4":false,"CheckDuplicate":true,"IPAM":null}"#)
            .unwrap();
    let at = |minor| request.clone().into_command(ApiVersion::v1(minor)).unwrap();
    assert_eq!(at(48).ipv4, Some(false));
    assert_eq!(at(47).ipv4, None);
    assert_eq!(
        (at(51).driver, at(51).ipam_driver, at(51).pools.len()),
        (None, None, 0)
    );
}

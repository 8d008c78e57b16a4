//! Endpoint settings, read and shown.

use super::EndpointSettings;
use crate::{json, version::ApiVersion};
use expect_test::expect;
use vw_controller::view::EndpointView;
use vw_model::{EndpointId, MacAddr, NetworkId};

const GIVEN: &str = r#"{"IPAMConfig":{"IPv4Address":"10.1.0.9","LinkLocalIPs":["169.254.1.1"]},
    "Aliases":["a"],"Links":["db:d"],"MacAddress":"02:42:0a:01:00:09","GwPriority":7,
    "DriverOpts":{"k":"v"}}"#;

fn given() -> EndpointSettings {
    json::parse(GIVEN.as_bytes()).unwrap()
}

#[test]
fn fields_are_read_from_the_version_that_has_them() {
    let at = |minor| {
        given()
            .limited_to(ApiVersion::v1(minor))
            .into_model()
            .unwrap()
    };
    let newest = at(51);
    assert_eq!(newest.ipv4.unwrap().to_string(), "10.1.0.9");
    assert_eq!(newest.link_local.len(), 1);
    assert_eq!((newest.gw_priority, newest.mac.is_some()), (7, true));
    assert_eq!((at(47).gw_priority, at(47).mac.is_some()), (0, true));
    assert_eq!((at(43).gw_priority, at(43).mac.is_some()), (0, false));
}

#[test]
fn an_endpoint_is_shown_as_docker_shows_it() {
    let view = EndpointView {
        network: "n".to_owned(),
        network_id: Some(NetworkId::from_bytes([1; 32])),
        endpoint: Some(EndpointId::from_bytes([2; 32])),
        ifname: "eth0".to_owned(),
        gateway4: "10.1.0.1".parse().ok(),
        gateway6: None,
        ipv4: "10.1.0.9/16".parse().ok(),
        ipv6: "fd00::9/64".parse().ok(),
        mac: Some(MacAddr([2, 0x42, 10, 1, 0, 9])),
        settings: given().into_model().unwrap(),
        dns_names: vec!["web".to_owned(), "a".to_owned()],
    };
    let shown = EndpointSettings::of(&view, &["a".to_owned(), "0123456789ab".to_owned()]);
    expect![[r#"{"IPAMConfig":{"IPv4Address":"10.1.0.9","LinkLocalIPs":["169.254.1.1"]},"Links":["db:d"],"Aliases":["a","0123456789ab"],"MacAddress":"02:42:0a:01:00:09","DriverOpts":{"k":"v"},"GwPriority":7,"NetworkID":"0101010101010101010101010101010101010101010101010101010101010101","EndpointID":"0202020202020202020202020202020202020202020202020202020202020202","Gateway":"10.1.0.1","IPAddress":"10.1.0.9","IPPrefixLen":16,"IPv6Gateway":"","GlobalIPv6Address":"fd00::9","GlobalIPv6PrefixLen":64,"DNSNames":["web","a"]}"#]].assert_eq(&serde_json::to_string(&shown).unwrap());
    let stopped = EndpointView {
        network_id: None,
        endpoint: None,
        gateway4: None,
        ipv4: None,
        ipv6: None,
        mac: None,
        settings: Default::default(),
        dns_names: Vec::new(),
        ..view
    };
    expect![[r#"{"IPAMConfig":null,"Links":null,"Aliases":null,"MacAddress":"","DriverOpts":null,"GwPriority":0,"NetworkID":"","EndpointID":"","Gateway":"","IPAddress":"","IPPrefixLen":0,"IPv6Gateway":"","GlobalIPv6Address":"","GlobalIPv6PrefixLen":0,"DNSNames":null}"#]].assert_eq(&serde_json::to_string(&EndpointSettings::of(&stopped, &[])).unwrap());
}

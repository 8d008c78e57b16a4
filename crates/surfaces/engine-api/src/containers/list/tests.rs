//! Lists and inspections against Docker's JSON.

use super::ListRequest;
use crate::{
    containers::{inspect::inspect, summary::summary},
    query::Query,
    version::ApiVersion,
};
use expect_test::{expect, expect_file};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use vw_controller::view::{ContainerView, EndpointView, StateView, Status};
use vw_model::{
    AdoptedFrom, ContainerSpec, EndpointId, MacAddr, NetworkId, PortKey, PortMapping, PortRequest,
    SandboxId, SandboxKind, SandboxSpec,
};

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_700_000_000 + seconds)
}

fn endpoint() -> EndpointView {
    EndpointView {
        network: "bridge".to_owned(),
        network_id: Some(NetworkId::from_bytes([0xaa; 32])),
        endpoint: Some(EndpointId::from_bytes([0xbb; 32])),
        ifname: "eth0".to_owned(),
        gateway4: "172.17.0.1".parse().ok(),
        gateway6: None,
        ipv4: "172.17.0.2/16".parse().ok(),
        ipv6: None,
        mac: Some(MacAddr([2, 0x42, 172, 17, 0, 2])),
        settings: Default::default(),
        dns_names: Vec::new(),
    }
}

fn program() -> ContainerSpec {
    ContainerSpec {
        image: "nginx".to_owned(),
        entrypoint: Some(vec!["/entry".to_owned()]),
        cmd: vec!["-c".to_owned(), "sleep 1".to_owned()],
        env: vec!["A=1".to_owned()],
        mounts: vec![vw_model::Mount {
            kind: vw_model::MountKind::Bind {
                source: "/src".into(),
                propagation: String::new(),
                create_source: true,
            },
            target: "/dst".into(),
            read_only: true,
        }],
        ..ContainerSpec::default()
    }
}

fn view(digit: u8, name: &str, status: Status) -> ContainerView {
    let web: PortKey = "80/tcp".parse().unwrap();
    let published = PortMapping {
        host: "0.0.0.0:8080".parse().unwrap(),
        container: web,
    };
    ContainerView {
        sandbox: SandboxSpec {
            id: SandboxId::from_bytes([digit; 32]),
            name: name.parse().unwrap(),
            created: at(u64::from(digit)),
            kind: SandboxKind::Container,
            hostname: "h".to_owned(),
            domainname: String::new(),
            dns: Default::default(),
            extra_hosts: Vec::new(),
            ports: vec![PortRequest::parse("8080:80").unwrap()[0]],
            exposed: vec![web, "81/udp".parse().unwrap()],
            publish_all: false,
            labels: [("tier".to_owned(), name.to_owned())].into(),
        },
        container: Some(program()),
        state: StateView {
            status,
            pid: 7,
            exit_code: 3,
            started: Some(at(100)),
            finished: Some(at(200)),
            ..StateView::default()
        },
        restart_count: 0,
        image_id: format!("sha256:{}", "cd".repeat(32)),
        mode_text: "bridge".to_owned(),
        endpoints: vec![endpoint()],
        ports: [
            (web, vec![published]),
            ("81/udp".parse().unwrap(), Vec::new()),
        ]
        .into(),
        netns: "/run/vethwork/netns/x".into(),
        hosts_path: "/d/hosts".into(),
        hostname_path: "/d/hostname".into(),
        resolv_conf_path: "/d/resolv.conf".into(),
        log_path: "/d/log".into(),
        host_config: serde_json::json!({"NetworkMode": "bridge", "Memory": 7}),
        config: serde_json::json!({"Image": "nginx", "AttachStdout": true}),
        execs: Vec::new(),
    }
}

#[test]
fn lists_are_filtered() {
    let views = [
        view(1, "old", Status::Exited),
        view(2, "web", Status::Running),
        view(3, "new", Status::Created),
    ];
    for (query, names) in [
        ("", "web"),
        ("all=1", "new web old"),
        ("limit=2", "new web"),
        (r#"filters={"status":["exited","created"]}"#, "new old"),
        (r#"all=1&filters={"name":["^/?web$"]}"#, "web"),
        (r#"all=1&filters={"name":["e"]}"#, "new web"),
        (r#"all=1&filters={"id":["0101"]}"#, "old"),
        (r#"all=1&filters={"label":["tier=new"]}"#, "new"),
        (r#"all=1&filters={"exited":["3"]}"#, "new old"),
        (r#"all=1&filters={"exited":["4"]}"#, ""),
        (r#"filters={"before":["web"]}"#, "old"),
        (r#"filters={"since":["0101"]}"#, "new web"),
        (
            r#"all=1&filters={"ancestor":["nginx:latest"]}"#,
            "new web old",
        ),
        (r#"all=1&filters={"ancestor":["cdcd"]}"#, "new web old"),
        (r#"all=1&filters={"ancestor":["other"]}"#, ""),
        (r#"all=1&filters={"network":["bridge"]}"#, "new web old"),
        (r#"all=1&filters={"network":["aaaa"]}"#, "new web old"),
        (r#"all=1&filters={"network":["n"]}"#, ""),
        (r#"all=1&filters={"volume":["/dst"]}"#, "new web old"),
        (r#"all=1&filters={"publish":["80"]}"#, "new web old"),
        (r#"all=1&filters={"publish":["81/udp"]}"#, ""),
        (r#"all=1&filters={"expose":["81-90/udp"]}"#, "new web old"),
        (r#"all=1&filters={"is-task":["true"]}"#, ""),
        (r#"all=1&filters={"health":["healthy"]}"#, ""),
    ] {
        let request = ListRequest::parse(&Query::parse(query)).unwrap();
        let kept = request.select(&views).unwrap();
        let kept: Vec<_> = kept.iter().map(|view| view.sandbox.name.as_str()).collect();
        assert_eq!(kept.join(" "), names, "{query}");
    }
}

#[test]
fn bad_filters_are_refused() {
    for (filters, expected) in [
        (r#"{"x":["y"]}"#, expect!["invalid filter 'x'"]),
        (
            r#"{"status":["gone"]}"#,
            expect!["invalid filter 'status=gone'"],
        ),
        (
            r#"{"health":["ill"]}"#,
            expect!["invalid filter 'health=ill'"],
        ),
        (r#"{"exited":["x"]}"#, expect!["invalid filter 'exited=x'"]),
        (
            r#"{"publish":["x"]}"#,
            expect!["invalid filter 'publish=x'"],
        ),
    ] {
        let query = Query::parse(&format!("filters={filters}"));
        expected.assert_eq(&ListRequest::parse(&query).unwrap_err().message);
    }
    let query = Query::parse(r#"filters={"before":["gone"]}"#);
    let error = ListRequest::parse(&query).unwrap().select(&[]).unwrap_err();
    assert_eq!(
        (error.status.as_u16(), error.message.as_str()),
        (404, "No such container: gone")
    );
}

#[test]
fn a_container_is_listed_as_docker_lists_it() {
    let line = summary(&view(2, "web", Status::Running), at(280));
    expect_file!["line.json"].assert_eq(&serde_json::to_string_pretty(&line).unwrap());
}

#[test]
fn a_container_is_inspected_as_docker_shows_it() {
    let shown = inspect(&view(2, "web", Status::Running), ApiVersion::MAX);
    let mut shown = serde_json::to_value(shown).unwrap();
    assert_eq!(shown["HostConfig"]["Memory"], 7);
    shown.as_object_mut().unwrap().remove("HostConfig");
    expect_file!["inspect.json"].assert_eq(&serde_json::to_string_pretty(&shown).unwrap());
}

#[test]
fn a_container_that_does_not_run_publishes_nothing() {
    let stopped = view(1, "old", Status::Exited);
    let line = serde_json::to_value(summary(&stopped, at(280))).unwrap();
    assert_eq!(line["Ports"], serde_json::json!([]));
    let shown = serde_json::to_value(inspect(&stopped, ApiVersion::MAX)).unwrap();
    assert_eq!(shown["NetworkSettings"]["Ports"], serde_json::json!({}));
    assert_eq!(shown["NetworkSettings"]["SandboxID"], "");
}

#[test]
fn fields_keep_mobys_order() {
    let shown = inspect(&view(2, "web", Status::Running), ApiVersion::MAX);
    let text = serde_json::to_string(&shown).unwrap();
    let keys = [
        "\"Id\"",
        "\"Created\"",
        "\"Path\"",
        "\"State\"",
        "\"Name\"",
        "\"HostConfig\"",
        "\"Mounts\"",
        "\"Config\":{\"Hostname\"",
        "\"NetworkSettings\"",
        "\"Networks\"",
    ];
    let places: Vec<_> = keys.iter().map(|key| text.find(key)).collect();
    assert!(places.is_sorted(), "{places:?}");
}

#[test]
fn until_1_45_aliases_held_the_short_id_on_networks_of_ones_own() {
    let mut own = view(2, "web", Status::Running);
    own.endpoints[0].network = "n".to_owned();
    let aliases = |view: &ContainerView, minor| {
        let shown = serde_json::to_value(inspect(view, ApiVersion::v1(minor))).unwrap();
        let networks = &shown["NetworkSettings"]["Networks"];
        networks.as_object().unwrap().values().next().unwrap()["Aliases"].clone()
    };
    assert_eq!(aliases(&own, 44), serde_json::json!(["020202020202", "h"]));
    assert_eq!(aliases(&own, 45), serde_json::Value::Null);
    assert_eq!(
        aliases(&view(2, "web", Status::Running), 44),
        serde_json::Value::Null
    );
}

#[test]
fn adopted_sandboxes_are_labelled_and_cannot_be_told_a_command() {
    let mut adopted = view(2, "web", Status::Running);
    adopted.container = None;
    adopted.sandbox.kind = SandboxKind::Adopted {
        from: AdoptedFrom::Pid {
            pid: 12,
            start_time: 1,
        },
        resolv_conf: None,
    };
    let line = serde_json::to_value(summary(&adopted, at(280))).unwrap();
    assert_eq!(line["Labels"]["vethwork.adopted"], "pid:12");
    assert_eq!((&line["Command"], &line["Image"]), (&"".into(), &"".into()));
}

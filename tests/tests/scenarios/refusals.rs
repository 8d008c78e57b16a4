//! Bad input: each is refused with Docker's sentence and status, and changes nothing.

use crate::{require_stage, scene::Scene};
use vw_testkit::Snapshot;

/// Each must be refused with this sentence in the answer, by docker and by us.
#[track_caller]
fn refuse(scene: &Scene, cases: &[(&str, &str)]) {
    let networks = scene.networks();
    let before = Snapshot::take(
        &[&scene.host],
        &[&scene.daemon.data_root(), &scene.daemon.exec_root()],
    );
    let mut wrong = Vec::new();
    for (line, sentence) in cases {
        let words: Vec<&str> = line.split_whitespace().collect();
        for output in [scene.daemon.docker(&words), scene.daemon.cli(&words)] {
            if output.success() || !output.stderr.contains(sentence) {
                wrong.push(format!("{line}: wanted {sentence:?}, got {output:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(scene.networks(), networks, "nothing changed");
    before.assert_restored();
}

/// Networks that cannot be, while there is `blue`.
const NETWORKS: &[(&str, &str)] = &[
    (
        "network create blue",
        "network with name blue already exists",
    ),
    (
        "network create --subnet 10.9.0.128/25 green",
        "Pool overlaps with other one on this address space",
    ),
    ("network create --subnet 10.9.0.0/33 green", "invalid CIDR"),
    ("network create --subnet nonsense green", "nonsense"),
    (
        "network create --subnet 10.8.0.0/24 --gateway 10.7.0.1 green",
        "10.7.0.1",
    ),
    (
        "network create --subnet 10.8.0.0/24 --ip-range 10.7.0.0/25 green",
        "10.7.0.0/25",
    ),
    (
        "network create --subnet 10.7.0.5/24 green",
        "invalid subnet 10.7.0.5/24: it should be 10.7.0.0/24",
    ),
    (
        "network create --subnet 10.7.0.0/24 --subnet 10.7.0.128/25 green",
        "multiple overlapping subnet",
    ),
    (
        "network create --subnet 10.7.0.0/24 --subnet 10.6.0.0/24 green",
        "multiple subnets",
    ),
    (
        "network create --subnet 10.7.0.0/24 --aux-address a=10.6.0.1 green",
        "10.6.0.1",
    ),
    (
        "network create --subnet 10.7.0.0/24 --gateway 10.7.0.300 green",
        "10.7.0.300",
    ),
    (
        "network create --gateway 10.7.0.1 green",
        "must have a corresponding subnet",
    ),
    (
        "network create --ip-range 10.7.0.0/25 green",
        "must have a corresponding subnet",
    ),
    (
        "network create --ipv6 --subnet fd00::/129 green",
        "invalid CIDR",
    ),
    (
        "network create --ipv6 --subnet fe80::/10 green",
        "fe80::/10",
    ),
    (
        "network create --subnet 224.0.0.0/24 green",
        "multicast subnet",
    ),
    ("network create --subnet 0.0.0.0/0 green", "0.0.0.0/0"),
    (
        "network create --ipv4=false green",
        "IPv4 or IPv6 must be enabled",
    ),
    (
        "network create -o com.docker.network.bridge.name=wire green",
        "wire",
    ),
    (
        "network create --driver nonsense green",
        "plugin \"nonsense\" not found",
    ),
    ("network create --ipam-driver nonsense green", "nonsense"),
    (
        "network create -o com.docker.network.bridge.nonsense=1 green",
        "com.docker.network.bridge.nonsense",
    ),
    (
        "network create -o com.docker.network.driver.mtu=-1 green",
        "invalid MTU number: -1",
    ),
    (
        "network create -o vethwork.nonsense=1 green",
        "vethwork.nonsense",
    ),
    (
        "network create host",
        "operation is not permitted on predefined host network",
    ),
    ("network rm nonsense", "network nonsense not found"),
    (
        "network rm bridge",
        "bridge is a pre-defined network and cannot be removed",
    ),
    (
        "network rm host",
        "host is a pre-defined network and cannot be removed",
    ),
    (
        "network rm none",
        "none is a pre-defined network and cannot be removed",
    ),
    ("network inspect nonsense", "network nonsense not found"),
];

#[test]
fn networks_that_cannot_be_are_refused() {
    require_stage!();
    let scene = Scene::new();
    scene.docker("network create --subnet 10.9.0.0/24 blue");
    refuse(&scene, NETWORKS);
    scene.end();
}

/// Endpoints that cannot be, while `web` is on `blue` and `other` on `green`.
const ENDPOINTS: &[(&str, &str)] = &[
    ("network rm blue", "has active endpoints"),
    ("network connect nonsense web", "network nonsense not found"),
    (
        "network connect green nonsense",
        "No such container: nonsense",
    ),
    (
        "network connect blue web",
        "web already exists in network blue",
    ),
    ("network connect --ip 10.7.0.1 green web", "10.7.0.1"),
    (
        "network connect --ip 10.9.0.9 blue other",
        "Address already in use",
    ),
    (
        "network connect --ip 10.9.0.1 blue other",
        "Address already in use",
    ),
    ("network connect --ip fd00::1 blue other", "fd00::1"),
    (
        "network connect --ip6 fd00::1 blue other",
        "user configured subnets",
    ),
    ("network connect --ip 10.9.0.0 blue other", "10.9.0.0"),
    ("network connect --ip 10.9.0.255 blue other", "10.9.0.255"),
    (
        "network connect --ip 10.9.0.5 auto other",
        "user configured subnets",
    ),
    (
        "network connect --driver-opt com.docker.network.endpoint.nonsense=1 blue other",
        "com.docker.network.endpoint.nonsense",
    ),
    (
        "run --rm --network blue -p 7001:80 -p 7001:81 host true",
        "port is already allocated",
    ),
    (
        "run --rm --network blue -p 192.0.2.99:7001:80 host true",
        "192.0.2.99",
    ),
    (
        "run --rm --network blue --mac-address nonsense host true",
        "nonsense",
    ),
    (
        "run --rm --network blue --mac-address 01:00:5e:00:00:01 host true",
        "invalid MAC address",
    ),
    (
        "run --rm --network container:nonsense host true",
        "nonsense",
    ),
    (
        "run --rm --network host --network blue host true",
        "conflicting options",
    ),
    ("run --rm --dns nonsense host true", "nonsense"),
    ("run --rm --network blue -p 80-81:80-82 host true", "80-8"),
    ("network disconnect green web", "is not connected to"),
    (
        "network disconnect nonsense web",
        "network nonsense not found",
    ),
    (
        "network connect host web",
        "cannot connect container to host network",
    ),
    (
        "run --rm --name web host true",
        "is already in use by container",
    ),
    (
        "run --rm --network nonsense host true",
        "network nonsense not found",
    ),
    (
        "run --rm --network blue --ip 10.7.0.1 host true",
        "10.7.0.1",
    ),
    (
        "run --rm --network blue --ip 10.9.0.9 host true",
        "Address already in use",
    ),
    (
        "run --rm --ip 10.9.0.9 host true",
        "user specified IP address is supported on user defined networks only",
    ),
    ("run --rm nonsense true", "nonsense"),
    ("run --rm -p 99999:80 host true", "99999"),
    ("run --rm -p 80:80/nonsense host true", "nonsense"),
    ("start nonsense", "No such container: nonsense"),
    ("exec web2 true", "No such container: web2"),
    ("rm web", "container is running"),
    ("rename web other", "is already in use by container"),
    ("kill -s NONSENSE web", "NONSENSE"),
];

#[test]
fn endpoints_that_cannot_be_are_refused() {
    require_stage!();
    let scene = Scene::new();
    scene.docker("network create --subnet 10.9.0.0/24 blue");
    scene.docker("network create --subnet 10.8.0.0/24 green");
    scene.docker("network create auto");
    scene.start("web", "--network blue --ip 10.9.0.9");
    scene.start("other", "--network green");
    refuse(&scene, ENDPOINTS);
    scene.end();
}

/// Method, path, body and status, while `web` is on `blue`.
const STATUSES: &[(&str, &str, &str, u16)] = &[
    ("GET", "/networks/nonsense", "", 404),
    ("DELETE", "/networks/nonsense", "", 404),
    ("DELETE", "/networks/blue", "", 403),
    ("DELETE", "/networks/host", "", 403),
    ("POST", "/networks/create", r#"{"Name": "blue"}"#, 409),
    (
        "POST",
        "/networks/create",
        r#"{"Name": "x", "Driver": "nonsense"}"#,
        404,
    ),
    ("POST", "/networks/create", r#"{"Name": ""}"#, 400),
    (
        "POST",
        "/networks/create",
        r#"{"Name": "x", "IPAM": {"Config": [{"Subnet": "10.9.0.0/16"}]}}"#,
        403,
    ),
    (
        "POST",
        "/networks/create",
        r#"{"Name": "x", "IPAM": {"Config": [{"Subnet": "10.0.0.0/99"}]}}"#,
        400,
    ),
    ("POST", "/networks/create", r#"["not an object"]"#, 400),
    (
        "POST",
        "/networks/nonsense/connect",
        r#"{"Container": "web"}"#,
        404,
    ),
    (
        "POST",
        "/networks/blue/connect",
        r#"{"Container": "nonsense"}"#,
        404,
    ),
    (
        "POST",
        "/networks/blue/connect",
        r#"{"Container": "web"}"#,
        403,
    ),
    (
        "POST",
        "/networks/host/disconnect",
        r#"{"Container": "web"}"#,
        400,
    ),
    ("GET", "/networks?filters=nonsense", "", 400),
    (
        "GET",
        "/networks?filters=%7B%22nonsense%22:%5B%221%22%5D%7D",
        "",
        400,
    ),
    ("GET", "/containers/nonsense/json", "", 404),
    ("POST", "/containers/nonsense/start", "", 404),
    ("POST", "/containers/web/start", "", 304),
    ("DELETE", "/containers/web", "", 409),
    ("GET", "/volumes", "", 200),
    ("GET", "/services", "", 503),
    ("GET", "/swarm", "", 503),
    ("GET", "/v1.20/networks", "", 400),
    ("GET", "/v9.99/networks", "", 400),
    ("GET", "/nonsense", "", 404),
];

#[test]
fn refusals_carry_dockers_status() {
    require_stage!();
    let scene = Scene::new();
    scene.docker("network create --subnet 10.9.0.0/24 blue");
    scene.start("web", "--network blue");
    let networks = scene.networks();
    for &(method, path, body, status) in STATUSES {
        let body = serde_json::from_str(body).ok();
        let reply = scene.daemon.api(method, path, body.as_ref());
        assert_eq!(
            reply.status,
            status,
            "{method} {path} {body:?}: {}",
            reply.text()
        );
        if status >= 400 {
            assert!(
                reply.json()["message"].is_string(),
                "{method} {path}: {}",
                reply.text()
            );
        }
    }
    assert_eq!(scene.networks(), networks, "nothing changed");
    scene.end();
}

/// What adopting `PATH` cannot be, while `web` at 10.9.0.9 is on `blue` and publishes 8080.
const ADOPTIONS: &[(&str, &str)] = &[
    ("--network nonsense", "network nonsense not found"),
    ("--network blue --name web", "is already in use"),
    ("--network blue,ip=10.9.0.9", "Address already in use"),
    ("--network blue,ip=10.7.0.1", "10.7.0.1"),
    ("--network blue,nonsense=1", "nonsense"),
    ("--network blue -p 8080:80", "port is already allocated"),
    ("--network blue -p 99999:80", "99999"),
    ("--network host", "host"),
    ("--network blue --pid 1", "--pid"),
    ("--network blue,mac-address=nonsense", "nonsense"),
];

#[test]
fn adoptions_that_cannot_be_are_refused() {
    require_stage!();
    let scene = Scene::new();
    scene.docker("network create --subnet 10.9.0.0/24 blue");
    scene.start("web", "--network blue --ip 10.9.0.9 -p 8080:80");
    let guest = scene.lab.host("guest");
    let (data, run) = (scene.daemon.data_root(), scene.daemon.exec_root());
    let before = Snapshot::take(&[&scene.host, &guest], &[&data, &run]);
    for (words, sentence) in ADOPTIONS {
        let refusal = scene.cli_refused(&format!(
            "adopt --netns {} {words}",
            guest.netns().display()
        ));
        assert!(refusal.contains(sentence), "{words}: {refusal}");
        assert_eq!(scene.docker("ps -a --format {{.Names}}"), "web", "{words}");
    }
    before.assert_restored();
    scene.end();
}

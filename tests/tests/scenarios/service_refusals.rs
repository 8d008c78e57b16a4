//! What of services is refused, in which words, and that nothing is half made then.

use crate::{require_stage, scene::Scene};
use vw_testkit::traffic;

/// What is asked for, and what of the refusal says why.
const REFUSALS: &[(&str, &str)] = &[
    (
        "service create --name web --network blue",
        "service web already exists",
    ),
    (
        "service create --name a.b --network blue",
        "invalid service name",
    ),
    (
        "service create --name api --network nowhere",
        "network nowhere not found",
    ),
    ("service create --name api --network bridge", "has no names"),
    (
        "service create --name api --network alone",
        "cannot have a virtual address",
    ),
    (
        "service create --name api --network closed -p 81:80",
        "cannot publish ports",
    ),
    (
        "service create --name api --network blue -p 8080:81",
        "port is already allocated: service web publishes it",
    ),
    (
        "service create --name api --network blue -p 9000:81",
        "port is already allocated",
    ),
    (
        "service create --name api --network blue -p 7000:81",
        "port is already allocated",
    ),
    (
        "service create --name api --network blue -p 127.0.0.1:8080:80",
        "Bind for 127.0.0.1:8080 failed: port is already allocated",
    ),
    (
        "service create --name api --network blue -p 127.0.0.1:9000:80",
        "port is already allocated",
    ),
    (
        "service create --name api --network kept -p 81:80",
        "name one, as in -p 127.0.0.1:81:80",
    ),
    // Over IPv6 its containers publish nothing.
    (
        "service create --name api --network dual -p 81:80",
        "at 0.0.0.0 where no address is named (host_binding_ipv4), and a service is reached at all: name one, as in -p 0.0.0.0:81:80",
    ),
    (
        "service create --name api --network six -p 81:80",
        "name one, as in -p [::1]:81:80",
    ),
    (
        "service create --name api --network blue -p 198.51.100.9:81:80",
        "is not an address of this host",
    ),
    (
        "service create --name api --network sole -p 127.0.0.1:81:80",
        "does not publish ports at 127.0.0.1",
    ),
    (
        "run --rm --network blue -p 127.0.0.1:8080:80 host true",
        "(vethwork service update --publish-rm 80/tcp web)",
    ),
    (
        "service create --name api --network blue -p published=81,target=80,mode=any",
        "\"any\" is no mode",
    ),
    (
        "service create --name api --network blue -p published=81,mode=host",
        "target is missing",
    ),
    (
        "service create --name api --network blue -p published=0,target=80",
        "published is no port",
    ),
    (
        "service create --name api --network blue -p target=80,target=81",
        "target is there twice",
    ),
    (
        "service create --name api --network blue -p target=80,prefers=local",
        "\"prefers\" is unknown",
    ),
    (
        "service create --name api --network blue -p target=80,prefer=near",
        "\"near\" is nobody to prefer",
    ),
    (
        "service create --name api --network blue -p published=81,target=80,mode=host,prefer=local",
        "use one of them",
    ),
    (
        "service create --name api --network blue -p target=80,host",
        "has no value",
    ),
    (
        "service create --name api --network blue -p target=80,protocol=icmp",
        "use tcp, udp or sctp",
    ),
    (
        "service create --name api --network blue -p published=8080,target=80,mode=host",
        "port is already allocated",
    ),
    (
        "service create --name api --network blue --endpoint-mode any",
        "use vip or dnsrr",
    ),
    (
        "service create --name api --network blue --affinity maybe",
        "use none or client",
    ),
    (
        "service create --name api --network blue --health exec:",
        "invalid health check",
    ),
    (
        "service create --name api --network blue --health tcp:0",
        "invalid health check",
    ),
    (
        "run --rm --network blue --service nobody host true",
        "service nobody not found",
    ),
    (
        "run --rm --network closed --service web host true",
        "is on network blue",
    ),
    (
        "run --rm --network blue --service web,weight=0 host true",
        "use a number from 1 to 100",
    ),
    (
        "run --rm --network host --label vethwork.service=web host true",
        "has no endpoint of its own to be in service web",
    ),
    (
        "run --rm --network none --service web host true",
        "a container in none mode has no endpoint",
    ),
    (
        "run --rm --network blue --label vethwork.weight=3 host true",
        "has no service to count in",
    ),
    (
        "service create --name WEB --network blue",
        "service web already exists",
    ),
    (
        "service create --name api --network blue --endpoint-mode dnsrr --affinity client",
        "leads nobody",
    ),
    ("service update --affinity client names", "leads nobody"),
    (
        "service update --health-interval 0s names",
        "Interval of a health check cannot be 0",
    ),
    (
        "service update --health-timeout 0s names",
        "Timeout of a health check cannot be 0",
    ),
    (
        "service update --health-interval 1us names",
        "must be 1ms at least",
    ),
    (
        "service update --health-start-period 0s names",
        "has no health check to change",
    ),
    (
        "network connect --service web closed box",
        "is on network blue",
    ),
    (
        "service update --publish-add 9000:1 web",
        "port is already allocated",
    ),
    ("service update --publish-rm 81 web", "does not publish"),
    ("service rm api", "service api not found"),
    ("service inspect api", "service api not found"),
];

#[test]
fn what_cannot_be_is_refused_and_nothing_is_half_made() {
    require_stage!();
    let scene = Scene::new();
    scene.docker("network create --subnet 10.9.0.0/29 blue");
    scene.docker("network create --internal closed");
    scene.docker("network create --ipv4=false --ipv6 sole");
    let binding = "network create -o com.docker.network.bridge.host_binding_ipv4";
    scene.docker(&format!("{binding}=127.0.0.1 kept"));
    scene.docker(&format!("{binding}=0.0.0.0 --ipv6 dual"));
    scene.docker(&format!("{binding}=::1 --ipv6 six"));
    scene.docker(
        "network create -o com.docker.network.bridge.gateway_mode_ipv4=isolated --internal alone",
    );
    scene.cli("service create --name web --network blue -p 8080:80");
    scene.cli("service create --name names --network closed --endpoint-mode dnsrr");
    scene.start("box", "--network blue -p 9000:90");
    let _taken = traffic::Server::tcp(&scene.host, "host", "0.0.0.0:7000");
    let before = scene.cli("service ls");
    for (line, sentence) in REFUSALS {
        let refusal = scene.cli_refused(line);
        assert!(refusal.contains(sentence), "{line}: {refusal}");
        assert_eq!(scene.cli("service ls"), before, "{line}");
    }
    // Who asks by the docker CLI is told of the service, and pulls nothing.
    let refusal =
        scene.refused("run --rm --network blue --label vethwork.service=nobody host true");
    assert!(refusal.contains("service nobody not found"), "{refusal}");
    let refusal = scene.refused("network rm blue");
    assert!(refusal.contains("has the service web"), "{refusal}");
    // The pool has five addresses for all: a router, a service, a container, and two more.
    scene.start("more", "--network blue");
    scene.start("again", "--network blue");
    scene.cli("service create --name last --network blue");
    let refusal = scene.cli_refused("service create --name none --network blue");
    assert!(refusal.contains("no available"), "{refusal}");
    scene.cli("service rm last");
    scene.cli("service create --name none --network blue");
    scene.cli("service create --name over4 --network dual -p 0.0.0.0:82:80");
    scene.cli("service update --publish-add 81:81 --publish-rm 80 web");
    let ports = scene.cli("service ls --format {{.Ports}}");
    assert!(ports.contains("*:81->81/tcp"), "{ports}");
    assert!(!ports.contains("8080"), "{ports}");
    scene.end();
}

#[test]
fn a_start_without_its_service_is_told() {
    require_stage!();
    let scene = Scene::new();
    scene.cli("network create blue");
    scene.cli("service create --name web --network blue");
    let served = "run -d --name served --network blue --service web host sleep 1000";
    scene.cli(served);
    scene.cli("run -d --name other --network blue host sleep 1000");
    let told = |scene: &Scene| {
        let warnings = scene.daemon.api("GET", "/info", None).json()["Warnings"].to_string();
        assert!(!warnings.contains("other started"), "{warnings}");
        warnings.contains("served started and is not in service web")
    };
    scene.cli("restart -t 0 served");
    assert!(!told(&scene));
    scene.cli("service rm web");
    scene.cli("restart -t 0 served");
    assert!(told(&scene));
    scene.cli("service create --name web --network blue");
    scene.cli("restart -t 0 served");
    assert!(scene.cli("service ls").contains("1/1"));
    scene.end();
}

//! Services that are published on one address of hosts alone, whichever host has it.

use crate::{
    balancers::known,
    over_one_store,
    prefer::seen,
    services::{alike, answer, network},
    stage::{Kind, SOON, Stage},
};
use vw_testkit::{Host, eventually, traffic};

over_one_store! {
    a_port_is_published_by_the_host_that_has_its_address,
    a_port_over_ipv6_is_too,
    endpoints_of_the_host_see_the_client_there_as_well,
}

/// Gives a host an address, or takes it.
fn own(stage: &Stage, host: &str, change: &str, net: &str) {
    stage
        .host(host)
        .ip(&format!("addr {change} {net} dev wire"));
}

/// Waits until every host shows this of services, or does not.
#[track_caller]
fn shows(stage: &Stage, text: &str, does: bool) {
    for host in stage.names() {
        eventually(text, SOON, || {
            stage.cli(&host, "service ls").contains(text) == does
        });
    }
}

/// Waits until nobody answers there.
#[track_caller]
fn silent(from: &Host, to: &str) {
    eventually("nobody answers", SOON, || traffic::tcp(from, to).is_err());
}

/// The services `web` and `api`, with an endpoint each, on two hosts.
#[track_caller]
fn two_services(stage: &Stage, at: [&str; 2]) -> [traffic::Server; 2] {
    let services = [("web", "a", "one"), ("api", "b", "two")];
    let servers = services
        .into_iter()
        .zip(at)
        .map(|((service, host, name), at)| {
            stage.cli(
                "a",
                &format!("service create --name {service} --network shop -p {at}:8080:80"),
            );
            for host in stage.names() {
                eventually("it is known", SOON, || {
                    stage.cli(&host, "service ls").contains(service)
                });
            }
            let arguments = format!("--network shop --label vethwork.service={service}");
            let inside = stage.start(host, name, &arguments);
            traffic::Server::tcp(&inside, name, "[::]:80")
        });
    let servers: Vec<traffic::Server> = servers.collect();
    alike(stage, "web", 1);
    alike(stage, "api", 1);
    servers.try_into().unwrap_or_else(|_| panic!("two of them"))
}

fn a_port_is_published_by_the_host_that_has_its_address(kind: Kind) {
    let mut stage = Stage::new(kind, &["a", "b", "c"]);
    network(&stage, "", "shop");
    // The one is b's, the other nobody's yet.
    let _servers = two_services(&stage, ["192.0.2.2", "192.0.2.51"]);
    let stranger = stage.stranger();
    let (web, api) = ("192.0.2.2:8080", "192.0.2.51:8080");
    answer(&stranger, web, &["one"]);
    answer(stage.host("b"), web, &["one"]);
    answer(stage.host("c"), web, &["one"]);
    for other in ["192.0.2.1:8080", "192.0.2.3:8080", api] {
        assert!(traffic::tcp(&stranger, other).is_err(), "{other}");
    }
    assert!(traffic::tcp(stage.host("b"), "127.0.0.1:8080").is_err());
    for text in ["192.0.2.2:8080->80/tcp", "192.0.2.51:8080->80/tcp"] {
        shows(&stage, text, true);
    }
    shows(&stage, "not on", false);
    // It follows its address, also to the host that has the number for another service.
    for host in ["c", "b"] {
        own(&stage, host, "add", "192.0.2.51/24");
        answer(&stranger, api, &["two"]);
        answer(&stranger, web, &["one"]);
        // A daemon that comes back leads as the one before did.
        stage.forget(host);
        let warnings = stage.api(host, "/info")["Warnings"].to_string();
        assert!(!warnings.contains("has bound"), "{warnings}");
        for (to, name) in [(api, "two"), (web, "one")] {
            answer(&stranger, to, &[name]);
        }
        own(&stage, host, "del", "192.0.2.51/24");
        silent(&stranger, api);
        let inside = stage.host(host);
        eventually("its port is free", SOON, || {
            let bind = || std::net::TcpListener::bind("192.0.2.51:8080");
            inside.ip("addr add 192.0.2.51/32 dev lo");
            let bound = inside.enter(bind).is_ok();
            inside.ip("addr del 192.0.2.51/32 dev lo");
            bound
        });
    }
    // Where something of the host has it, that keeps it.
    let own_server = stage.start("c", "own", "-p 8080:80");
    let _own = traffic::Server::tcp(&own_server, "own", "0.0.0.0:80");
    own(&stage, "c", "add", "192.0.2.51/24");
    shows(&stage, "192.0.2.51:8080->80/tcp (not on c)", true);
    answer(&stranger, api, &["own"]);
    let shown = stage.api("a", "/vethwork/services/api")["Unpublished"].clone();
    assert_eq!(shown[0]["Ports"][0], "192.0.2.51:8080/tcp", "{shown}");
    stage.docker("c", "rm -f own");
    answer(&stranger, api, &["two"]);
    shows(&stage, "not on", false);
    clashes_are_refused(&stage);
    stage.cli("b", "service update --publish-rm 80 api");
    silent(&stranger, api);
    answer(&stranger, web, &["one"]);
    stage.end();
}

/// Beside both services.
#[track_caller]
fn clashes_are_refused(stage: &Stage) {
    for (port, why) in [
        ("8080:80", "already published by service"),
        ("192.0.2.2:8080:81", "already published by service web"),
        ("0.0.0.0:8080:81", "already published by service"),
        ("[fe80::1]:81:80", "is an address of each link"),
        ("host_ip=x,published=81,target=80", "host_ip is no address"),
    ] {
        let line = format!("service create --name more --network shop -p {port}");
        let refused = stage.cli_refused("a", &line);
        assert!(refused.contains(why), "{port}: {refused}");
    }
}

fn a_port_over_ipv6_is_too(kind: Kind) {
    let mut stage = Stage::new(kind, &["a", "b", "c"]);
    network(&stage, "--ipv6", "shop");
    for (host, addr) in [("a", "2001:db8::1"), ("b", "2001:db8::2")] {
        own(&stage, host, "add", &format!("{addr}/64 nodad"));
    }
    let _servers = two_services(&stage, ["[2001:db8::2]", "[2001:db8::51]"]);
    let stranger = stage.stranger();
    stranger.ip("addr add 2001:db8::66/64 dev wire nodad");
    let (web, api) = ("[2001:db8::2]:8080", "[2001:db8::51]:8080");
    answer(&stranger, web, &["one"]);
    for other in ["[2001:db8::1]:8080", "192.0.2.2:8080"] {
        assert!(traffic::tcp(&stranger, other).is_err(), "{other}");
    }
    // One that is looked for a twin first, and cannot be bound meanwhile.
    own(&stage, "b", "add", "2001:db8::51/64");
    answer(&stranger, api, &["two"]);
    answer(&stranger, web, &["one"]);
    own(&stage, "b", "del", "2001:db8::51/64");
    silent(&stranger, api);
    own(&stage, "c", "add", "2001:db8::51/64");
    answer(&stranger, api, &["two"]);
    shows(&stage, "not on", false);
    // On all addresses of one IP version, that is on every host.
    stage.cli("c", "service update --publish-add 0.0.0.0:8081:80 web");
    for host in ["a", "b", "c"] {
        let at = format!("{}:8081", stage.addr(host));
        answer(&stranger, &at, &["one"]);
    }
    // Each host has these for itself.
    stage.cli(
        "c",
        "service update --publish-add 127.0.0.1:8082:80 --publish-add [::1]:8083:80 web",
    );
    for host in ["a", "b", "c"] {
        for at in ["127.0.0.1:8082", "[::1]:8083"] {
            answer(stage.host(host), at, &["one"]);
        }
    }
    for other in [
        "[2001:db8::1]:8081",
        "[2001:db8::2]:8081",
        "192.0.2.1:8082",
        "[2001:db8::2]:8083",
    ] {
        assert!(traffic::tcp(&stranger, other).is_err(), "{other}");
    }
    // The address of containers' own ports is not that of services.
    stage.restart_with("b", &["--ip=127.0.0.1"]);
    stage.cli("c", "service update --publish-add 8084:80 web");
    for at in ["192.0.2.2:8084", "[2001:db8::2]:8084", "192.0.2.3:8084"] {
        answer(&stranger, at, &["one"]);
    }
    stage.end();
}

fn endpoints_of_the_host_see_the_client_there_as_well(kind: Kind) {
    let stage = Stage::new(kind, &["a", "b", "c"]);
    network(&stage, "", "shop");
    own(&stage, "b", "add", "192.0.2.52/24");
    let at = "host_ip=192.0.2.52,published";
    stage.cli(
        "a",
        &format!("service create --name web --network shop -p {at}=8080,target=80,mode=host -p {at}=8081,target=81,prefer=local"),
    );
    known(&stage, "b");
    let member = "--network shop --label vethwork.service=web";
    let one = stage.start("a", "one", member);
    let _one = ["0.0.0.0:80", "0.0.0.0:81"].map(|at| traffic::Server::tcp(&one, "one", at));
    alike(&stage, "web", 1);
    let stranger = stage.stranger();
    let (host, local) = ("192.0.2.52:8080", "192.0.2.52:8081");
    // No endpoint serves on the host that has the address.
    answer(&stranger, local, &["one"]);
    assert!(traffic::tcp(&stranger, host).is_err(), "b has no endpoint");
    assert!(
        traffic::tcp(&stranger, "192.0.2.1:8080").is_err(),
        "another address"
    );
    let two = stage.start("b", "two", member);
    let _two = ["0.0.0.0:80", "0.0.0.0:81"].map(|at| traffic::Server::tcp(&two, "two", at));
    alike(&stage, "web", 2);
    for to in [host, local] {
        answer(&stranger, to, &["two"]);
        assert_eq!(seen(&stranger, to), "192.0.2.66", "{to}");
    }
    let other = traffic::tcp(&stranger, "192.0.2.2:8080");
    assert!(other.is_err(), "another address of the host");
    own(&stage, "b", "del", "192.0.2.52/24");
    own(&stage, "a", "add", "192.0.2.52/24");
    for to in [host, local] {
        answer(&stranger, to, &["one"]);
        assert_eq!(seen(&stranger, to), "192.0.2.66", "{to}");
    }
    stage.end();
}

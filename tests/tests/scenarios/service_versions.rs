//! Who asks for a port at all addresses, and gets it over one IP version alone, is told.

use crate::{
    require_stage,
    scene::{HOST, HOST6, Scene},
};
use serde_json::json;
use vw_testkit::traffic;

/// What is warned of.
#[track_caller]
fn told(scene: &Scene, line: &str) -> String {
    let done = scene.daemon.cli(line.split_whitespace());
    assert!(done.success(), "{line}: {done:?}");
    done.stderr
}

#[track_caller]
fn nothing_is_told(scene: &Scene, lines: &[&str]) {
    for line in lines {
        assert_eq!(told(scene, line), "", "{line}");
    }
}

#[test]
fn a_port_over_one_ip_version_alone_is_told_to_who_asks_for_it() {
    require_stage!();
    let mut scene = Scene::new();
    scene.docker("network create four");
    scene.docker("network create --ipv6 both");
    scene.docker("network create --ipv4=false --ipv6 six");
    let create = "service create --name web --network";
    let why = "network six has no IPv4; use one with both where clients come over IPv4";
    assert_eq!(
        told(&scene, &format!("{create} six -p 8080:80 -p [::1]:8081:80")),
        format!("WARNING: service web: 80/tcp published over IPv6 alone: {why}\n")
    );
    let one = scene.start("one", "--network six --label vethwork.service=web");
    let _one = traffic::Server::tcp(&one, "one", "[::]:80");
    let answers = traffic::tcp(&scene.outside, &format!("[{HOST6}]:8080"));
    assert_eq!(answers.expect("it is published").name, "one");
    traffic::tcp(&scene.outside, &format!("{HOST}:8080")).expect_err("not over IPv4");
    let update = "service update --publish-add 8082:82/udp --publish-add 8083:83 web";
    assert_eq!(
        told(&scene, update),
        format!("WARNING: service web: 82/udp, 83/tcp published over IPv6 alone: {why}\n")
    );
    let update = |ports: serde_json::Value| {
        let body = json!({ "PublishAdd": ports });
        let path = "/vethwork/services/web/update";
        scene.daemon.api("POST", path, Some(&body)).json()
    };
    let warned = update(json!(["8084:84"]))["Warnings"].clone();
    assert_eq!(
        warned[0],
        format!("service web: 84/tcp published over IPv6 alone: {why}")
    );
    assert_eq!(update(json!(["[::1]:8085:85"])), json!({ "Warnings": [] }));
    nothing_is_told(
        &scene,
        &[
            "service update --drain 3s --publish-rm 84 web",
            "service rm web",
            &format!("{create} four -p 8080:80"),
            "service rm web",
            &format!("{create} both -p 8080:80"),
            "service update --publish-add 8081:81 web",
            "service rm web",
        ],
    );
    // Where IPv6 is not translated.
    scene.daemon.restart_with(&["--ip-forward=false"]);
    nothing_is_told(&scene, &[&format!("{create} four -p 0.0.0.0:8080:80")]);
    let warned = told(&scene, "service update --publish-add 8081:81 web");
    let over = "WARNING: service web: 81/tcp published over IPv4 alone: network four has no IPv6, and this host does not forward: ";
    assert!(warned.starts_with(over), "{warned}");
    scene.daemon.restart_with(&["--ip6tables=false"]);
    let warned = told(&scene, "service update --publish-add 8082:82 web");
    let over = "WARNING: service web: 82/tcp published over IPv4 alone: the daemon makes no rules";
    assert!(warned.starts_with(over), "{warned}");
    scene.daemon.restart_with(&[]);
    scene.end();
}

//! Containers of a real Podman: put on our networks by their process id, and left to Podman.

use crate::{
    require_stage,
    scene::{HOST, Scene},
};
use std::time::Duration;
use vw_testkit::{
    Host, Snapshot,
    engines::{Podman, inside},
    eventually, traffic,
};

/// Waits until whoever is asked there tells this name.
#[track_caller]
fn reaches(from: &Host, to: &str, name: &str) {
    let what = format!("{name} at {to} from {}", from.name());
    eventually(&what, Duration::from_secs(5), || {
        traffic::tcp(from, to).is_ok_and(|answer| answer.name == name)
    });
}

#[test]
fn a_container_of_podman_gets_network_name_and_port() {
    require_stage!();
    vw_testkit::require_programs!("podman", "runc");
    let mut scene = Scene::new();
    let podman = Podman::new(&scene.lab, &scene.host);
    let pid = podman.start("theirs");
    let inside = inside(&scene.lab, "theirs", pid);
    let before = Snapshot::take(&[&inside], &[]);
    scene.docker("network create --ipv6 --subnet 10.9.0.0/24 --subnet fd00:9::/64 blue");
    let near = scene.start("near", "--network blue");
    scene.cli(&format!(
        "adopt --pid {pid} --name theirs --network blue -p 8080:80"
    ));
    let server = traffic::Server::tcp(&inside, "theirs", "[::]:80");
    for (from, to) in [
        (&scene.host, "127.0.0.1:8080".to_owned()),
        (&scene.host, "[::1]:8080".to_owned()),
        (&scene.host, format!("{HOST}:8080")),
        (&scene.outside, format!("{HOST}:8080")),
        (&near, format!("{HOST}:8080")),
        (&near, format!("{}:80", scene.address("theirs", "blue"))),
        (&inside, format!("{HOST}:8080")),
    ] {
        reaches(from, &to, "theirs");
    }
    for (from, name) in [(&near, "theirs"), (&inside, "near")] {
        let answer = from.run(["dig", "+short", "@127.0.0.11", name]).ok();
        assert_eq!(answer, scene.address(name, "blue"), "{name}");
    }
    let links = podman.run(&["exec", "theirs", "ip", "link"]);
    assert!(links.contains("eth0"), "Podman's exec sees it: {links}");

    scene.forget();
    reaches(&scene.outside, &format!("{HOST}:8080"), "theirs");
    scene.cli("release theirs");
    before.assert_restored();
    assert!(traffic::tcp(&scene.outside, &format!("{HOST}:8080")).is_err());
    let state = podman.run(&["inspect", "-f", "{{.State.Status}}", "theirs"]);
    assert_eq!(state, "running", "it is Podman's as before");
    drop(server);

    // One that Podman removes without a word to us.
    scene.cli(&format!(
        "adopt --pid {pid} --name theirs --network blue -p 8080:80"
    ));
    podman.run(&["rm", "-f", "-t", "0", "theirs"]);
    scene.cli("release theirs");
    assert_eq!(podman.run(&["ps", "-aq"]), "");
    scene.end();
}

//! SCTP through published ports and services of one host.

use crate::{
    require_stage,
    scene::{HOST, HOST6, Scene},
    services::addresses,
};
use vw_testkit::traffic::sctp::{Server, opens};

#[test]
fn a_published_port_of_sctp_is_reached() {
    require_stage!();
    let scene = Scene::new();
    scene.docker("network create --ipv6 --subnet 10.9.0.0/24 --subnet fd00:9::/64 blue");
    let form = "--network blue -p 7000:80/sctp -p 7000:80 -p 7000:80/udp";
    let web = scene.start("web", form);
    let near = scene.start("near", "--network blue");
    let server = Server::start(&web, 80);
    for (from, to) in [
        (&scene.outside, format!("{HOST}:7000")),
        (&scene.outside, format!("[{HOST6}]:7000")),
        (&scene.host, format!("{HOST}:7000")),
        (&scene.host, "127.0.0.1:7000".to_owned()),
        (&scene.host, "[::1]:7000".to_owned()),
        (&near, format!("{HOST}:7000")),
        (&near, format!("{}:80", scene.address("web", "blue"))),
        (&web, format!("{HOST}:7000")),
    ] {
        let opened = opens(from, &to);
        assert!(
            matches!(opened, Ok(true)),
            "from {} to {to}: {opened:?}",
            from.name()
        );
    }
    let closed = opens(&scene.outside, &format!("{HOST}:80"));
    assert!(!matches!(closed, Ok(true)), "only what is published");
    let shown = scene.docker("port web 80/sctp");
    assert_eq!(shown, "0.0.0.0:7000\n[::]:7000");
    let words = "run --rm --network blue -p 7000:81/sctp host true";
    let output = scene.daemon.docker(words.split(' '));
    assert_eq!(output.code(), Some(125), "{output:?}");
    assert!(
        output.stderr.contains("port is already allocated"),
        "{output:?}"
    );
    scene.start("next", "--network blue -p 7000-7001:81/sctp");
    let shown = scene.docker("port next 81/sctp");
    assert_eq!(shown, "0.0.0.0:7001\n[::]:7001", "the range's next");
    drop(server);
    scene.end();
}

#[test]
fn a_service_leads_sctp_on() {
    require_stage!();
    let scene = Scene::new();
    scene.docker("network create --ipv6 --subnet 10.9.0.0/24 --subnet fd00:9::/64 blue");
    scene.cli("service create --name web --network blue -p 7000:80/sctp");
    let near = scene.start("near", "--network blue");
    let outside = format!("{HOST}:7000");
    let closed = opens(&scene.outside, &outside);
    assert!(!matches!(closed, Ok(true)), "nobody serves");
    let web = scene.start("web-1", "--network blue --label vethwork.service=web");
    let server = Server::start(&web, 80);
    let vips = addresses(&scene, "web");
    for (from, to) in [
        (&scene.outside, outside.clone()),
        (&scene.outside, format!("[{HOST6}]:7000")),
        (&scene.host, format!("{HOST}:7000")),
        (&scene.host, "127.0.0.1:7000".to_owned()),
        (&scene.host, "[::1]:7000".to_owned()),
        (&near, format!("{HOST}:7000")),
        (&near, format!("{}:80", vips[0])),
        (&near, format!("[{}]:80", vips[1])),
        (&web, format!("{}:80", vips[0])),
    ] {
        let opened = opens(from, &to);
        assert!(
            matches!(opened, Ok(true)),
            "from {} to {to}: {opened:?}",
            from.name()
        );
    }
    scene.docker("stop -t 0 web-1");
    let closed = opens(&scene.outside, &outside);
    assert!(!matches!(closed, Ok(true)), "nobody serves any more");
    drop(server);
    scene.end();
}

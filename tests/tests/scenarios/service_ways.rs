//! Ports of endpoints on several networks: by which of them clients are led there, and whom it sees.

use crate::{
    require_stage,
    scene::{HOST, HOST6, Scene},
    services::addresses,
};
use std::net::{IpAddr, SocketAddr};
use vw_testkit::{Host, traffic};

const KEEPS: &str = "-o com.docker.network.bridge.enable_ip_masquerade=false";
const ROUTED: &str = "-o com.docker.network.bridge.gateway_mode_ipv4=routed -o com.docker.network.bridge.gateway_mode_ipv6=routed";

/// Whom the endpoint sees where somebody asks each of the host's ports over both IP versions.
#[track_caller]
fn seen(from: &Host, ports: &[u16]) -> Vec<IpAddr> {
    let hosts = [HOST.to_owned(), format!("[{HOST6}]")];
    let at = |host: &String| {
        let at = ports.iter().map(|port| format!("{host}:{port}"));
        at.collect::<Vec<_>>()
    };
    let ask = |to: String| {
        let answer = traffic::tcp(from, &to);
        let answer = answer.unwrap_or_else(|e| panic!("from {} to {to}: {e}", from.name()));
        assert_eq!(answer.name, "one", "by {to}");
        answer.seen.ip().to_canonical()
    };
    hosts.iter().flat_map(at).map(ask).collect()
}

#[test]
fn neighbours_who_keep_their_address_reach_a_port_that_leads_past_their_network() {
    require_stage!();
    let mut scene = Scene::new();
    for (network, options) in [("blue", KEEPS), ("green", ROUTED), ("far", KEEPS)] {
        scene.docker(&format!("network create --ipv6 {options} {network}"));
    }
    scene.docker("network create --ipv6 aside");
    let far = scene.start("far", "--network far");
    let far_at: [IpAddr; 2] = [scene.address("far", "far"), scene.address6("far", "far")]
        .map(|addr| addr.parse().expect("an address"));
    for network in ["blue", "green"] {
        scene.cli(&format!(
            "service create --name web --network {network} -p 8080:80"
        ));
        let one = format!("--network {network} -p 9090:80 --label vethwork.service=web");
        let one = scene.start("one", &one);
        let _server = traffic::Server::tcp(&one, "one", "[::]:80");
        let near = scene.start("near", &format!("--network {network}"));
        // Its own port is not translated on a routed network alone.
        seen(&near, &[8080]);
        // Its default routes are by the network whose name comes first.
        scene.docker("network connect aside one");
        let beside = scene.start("beside", "--network aside");
        for strict in [0, 1] {
            for end in [&one, &scene.host] {
                let filter = "/proc/sys/net/ipv4/conf/all/rp_filter";
                end.sh(&format!("echo {strict} >{filter}")).must();
            }
            seen(&near, &[8080, 9090]);
            seen(&beside, &[8080, 9090]);
            // Who is on none of its networks is answered by the host, and seen.
            let by = seen(&far, &[8080, 9090]);
            assert_eq!(by, [far_at[0], far_at[0], far_at[1], far_at[1]]);
        }
        scene.forget();
        seen(&near, &[8080, 9090]);
        scene.docker("network disconnect aside one");
        seen(&near, &[8080]);
        for container in ["one", "near", "beside"] {
            scene.docker(&format!("rm -f {container}"));
        }
        scene.cli("service rm web");
    }
    scene.end();
}

#[test]
fn a_segment_that_connection_tracking_does_not_know_ends_no_connection() {
    require_stage!();
    let scene = Scene::new();
    scene.docker("network create --ipv6 blue");
    scene.cli("service create --name web --network blue -p 8080:80");
    let vips = addresses(&scene, "web");
    let near = scene.start("near", "--network blue");
    let label = "--network blue --label vethwork.service=web -p 9000:80";
    let one = scene.start("one", label);
    let _one = traffic::Server::tcp(&one, "one", "[::]:80");
    for (from, to) in [
        (&near, format!("{}:80", vips[0])),
        (&near, format!("[{}]:80", vips[1])),
        (&scene.host, format!("{}:80", vips[0])),
        (&scene.host, format!("[{}]:80", vips[1])),
        (&scene.host, "127.0.0.1:8080".to_owned()),
        (&scene.host, "[::1]:9000".to_owned()),
        (&near, format!("{HOST}:9000")),
    ] {
        let mut talk = traffic::Conversation::open(from, &to).expect("reachable");
        let at = match to.starts_with('[') {
            true => scene.address6("one", "blue"),
            false => scene.address("one", "blue"),
        };
        let at = SocketAddr::new(at.parse().expect("an address"), 80);
        traffic::stray_answer(&one, at, &mut talk).expect("it is sent");
        let goes_on = talk.say("it goes on");
        goes_on.unwrap_or_else(|error| panic!("from {} to {to}: {error}", from.name()));
    }
    for (from, to) in [
        (&near, format!("{}:80", vips[0])),
        (&near, format!("[{}]:80", vips[1])),
        (&scene.outside, format!("{HOST}:8080")),
        (&scene.outside, format!("[{HOST6}]:8080")),
        (&scene.outside, format!("{HOST}:9000")),
        (&scene.outside, format!("[{HOST6}]:9000")),
    ] {
        let mut talk = traffic::Conversation::open(from, &to).expect("reachable");
        traffic::stray_question(from, &mut talk).expect("it is sent");
        let goes_on = talk.say("it goes on");
        goes_on.unwrap_or_else(|error| panic!("from {} to {to}: {error}", from.name()));
    }
    scene.end();
}

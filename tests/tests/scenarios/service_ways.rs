//! Ports of endpoints on several networks: by which of them clients are led there, and whom it sees.

use crate::{
    require_stage,
    scene::{HOST, HOST6, Scene},
};
use std::net::IpAddr;
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

//! What the kernel lacks is told when somebody asks for it, and nothing else suffers.

use crate::{require_stage, scene::Scene};
use serde_json::json;
use vw_testkit::{Snapshot, own_mounts};

/// Where a kernel with IPv6 has its parameters (`ipv6.disable=1` leaves the folder out).
const IPV6: &str = "ipv6";
const SENTENCE: &str =
    "network green cannot have IPv6: this kernel runs without it (ipv6.disable=1)";

/// IPv6 is there as far as the kernel goes; the daemon cannot see it, as where it is not.
#[test]
fn a_network_that_needs_what_the_kernel_lacks_is_refused() {
    require_stage!();
    own_mounts();
    let mut scene = Scene::new();
    scene.host.hide_parameters(IPV6);
    scene.daemon.restart();
    let folders = [scene.daemon.data_root(), scene.daemon.exec_root()];
    let folders = folders.each_ref().map(|folder| folder.as_path());
    let (networks, before) = (scene.networks(), Snapshot::take(&[&scene.host], &folders));
    for line in [
        "network create --ipv6 green",
        "network create --ipv6 --subnet fd00:9::/64 green",
    ] {
        let told = [scene.refused(line), scene.cli_refused(line)];
        assert!(told.iter().all(|told| told.contains(SENTENCE)), "{told:?}");
    }
    let green = json!({ "Name": "green", "EnableIPv6": true });
    let reply = scene
        .daemon
        .api("POST", "/v1.51/networks/create", Some(&green));
    assert_eq!(reply.status, 501);
    assert_eq!(scene.networks(), networks);
    before.assert_restored();
    scene.docker("network create blue");
    scene.docker("network rm blue");

    scene.host.show_parameters(IPV6);
    scene.daemon.restart();
    scene.docker("network create --ipv6 green");
    scene.end();
}

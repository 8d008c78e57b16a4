//! Who is in the cluster, and how it is shown.

use crate::{
    over_every_store,
    stage::{Kind, SOON, Stage},
};
use vw_testkit::eventually;

over_every_store! {
    every_host_shows_the_same_cluster,
    the_way_is_tried_where_hosts_speak_ipv6_alone,
}

fn every_host_shows_the_same_cluster(kind: Kind) {
    let stage = Stage::over_three_servers(kind, &["a", "b"]);
    for host in ["a", "b"] {
        let status = stage.cli(host, "cluster status");
        assert!(status.contains(kind.name()), "{status}");
        for other in ["a", "b"] {
            assert!(status.contains(&stage.addr(other)), "{status}");
        }
    }
    let way = |name: &str| way(&stage, name);
    eventually("a has tried the way to b", SOON, || {
        matches!(way("b"), (Some(1..), Some(1450)))
    });
    assert_eq!(way("a"), (None, None), "there is no way to oneself");
    // A wire that lets less by than its ends believe.
    stage.narrow("b", 1400);
    eventually("what really passes is told", SOON, || {
        way("b").1 == Some(1350)
    });
    stage.docker("a", "network create -d overlay shop");
    drop(stage.start("a", "web", "--network shop"));
    let count = || {
        let status = stage.api("b", "/vethwork/cluster");
        let hosts = status["Hosts"].as_array().cloned().unwrap_or_default();
        let a = hosts.into_iter().find(|host| host["Name"] == "a");
        a.and_then(|host| host["Endpoints"].as_u64())
    };
    eventually("b counts a's endpoint", SOON, || count() == Some(1));
    stage.end();
}

/// What a has found of the way to a host: microseconds there and back, and what a tunnel carries.
fn way(stage: &Stage, name: &str) -> (Option<u64>, Option<u64>) {
    let status = stage.api("a", "/vethwork/cluster");
    let hosts = status["Hosts"].as_array().cloned().unwrap_or_default();
    let other = hosts.into_iter().find(|host| host["Name"] == name);
    let other = other.unwrap_or_default();
    (other["LatencyMicroseconds"].as_u64(), other["MTU"].as_u64())
}

fn the_way_is_tried_where_hosts_speak_ipv6_alone(kind: Kind) {
    let stage = Stage::over_ipv6(kind, &["a", "b"]);
    let status = stage.cli("b", "cluster status");
    for host in ["a", "b"] {
        assert!(status.contains(&stage.addr(host)), "{status}");
    }
    eventually("a has tried the way to b", SOON, || {
        matches!(way(&stage, "b"), (Some(1..), Some(1430)))
    });
    stage.narrow("b", 1400);
    eventually("what really passes is told", SOON, || {
        way(&stage, "b").1 == Some(1330)
    });
    stage.end();
}

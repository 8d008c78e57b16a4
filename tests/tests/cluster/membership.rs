//! Who is in the cluster, and how it is shown.

use crate::{
    over_every_store,
    stage::{Kind, SOON, Stage},
};
use vw_testkit::eventually;

over_every_store! {
    every_host_shows_the_same_cluster,
}

fn every_host_shows_the_same_cluster(kind: Kind) {
    let stage = Stage::new(kind, &["a", "b"]);
    for host in ["a", "b"] {
        let status = stage.cli(host, "cluster status");
        assert!(status.contains(kind.name()), "{status}");
        for other in ["a", "b"] {
            assert!(status.contains(&stage.addr(other)), "{status}");
        }
    }
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

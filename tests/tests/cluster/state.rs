//! A host's own networks beside those of the cluster.

use crate::{
    over_every_store,
    stage::{Kind, SOON, Stage},
};
use vw_testkit::eventually;

over_every_store! {
    a_hosts_own_network_keeps_its_name_and_its_subnet,
    any_subnet_may_be_global_wherever_the_way_out_lies,
    local_networks_wait_for_no_store,
}

fn a_hosts_own_network_keeps_its_name_and_its_subnet(kind: Kind) {
    let stage = Stage::new(kind, &["a", "b"]);
    stage.docker("b", "network create --subnet 10.42.0.0/24 shop");
    stage.docker("a", "network create -d overlay --subnet 10.42.0.0/25 shop");
    let id = stage.docker("a", "network inspect -f {{.Id}} shop");
    eventually("b lists both", SOON, || stage.knows("b", &id));
    assert_eq!(
        stage.docker("b", "network inspect -f {{.Driver}} shop"),
        "bridge",
        "its own goes before"
    );
    assert_eq!(
        stage.docker("b", &format!("network inspect -f {{{{.Driver}}}} {id}")),
        "overlay"
    );
    drop(stage.start("b", "own", "--network shop"));
    let refused = stage.refused("b", &format!("network connect {id} own"));
    assert!(refused.contains("overlaps"), "{refused}");
    drop(stage.start("b", "both", &format!("--network {id}")));
    stage.docker("b", "rm -f own both");
    let refused = stage.refused(
        "b",
        "network create -d overlay --subnet 10.42.0.128/26 more",
    );
    assert!(
        refused.contains("Pool overlaps"),
        "a new one keeps clear of what is here: {refused}"
    );
    stage.docker("b", "network rm shop");
    assert_eq!(
        stage.docker("b", "network inspect -f {{.Driver}} shop"),
        "overlay",
        "the name is free for the other"
    );
    stage.end();
}

#[test]
fn a_host_outside_a_cluster_says_so() {
    crate::require_cluster!(Kind::Etcd);
    let stage = Stage::alone();
    let refused = stage.refused("a", "network create -d overlay shop");
    assert!(refused.contains("--cluster-store"), "{refused}");
    let refused = stage.cli_refused("a", "cluster status");
    assert!(refused.contains("--cluster-store"), "{refused}");
    stage.end();
}

fn any_subnet_may_be_global_wherever_the_way_out_lies(kind: Kind) {
    let stage = Stage::new(kind, &["a", "b"]);
    // The first that the gateway bridge would take by itself, before it is made and after.
    stage.docker(
        "a",
        "network create -d overlay --subnet 172.18.0.0/16 first",
    );
    drop(stage.start("a", "one", "--network first"));
    let own = stage.api("a", "/networks/vw_gwbridge")["IPAM"]["Config"][0]["Subnet"].clone();
    let own = own.as_str().expect("it has a subnet").to_owned();
    assert_ne!(own, "172.18.0.0/16");
    let create = format!("network create -d overlay --subnet {own} second");
    stage.docker("b", &create);
    eventually("a has it", SOON, || stage.knows("a", "second"));
    let refused = stage.refused("a", "run -d --name two --network second host sleep 9");
    assert!(
        refused.contains("network vw_gwbridge must change, but 1 containers are on it: stop them"),
        "{refused}"
    );
    // What has nothing to do with that network goes on.
    drop(stage.start("a", "more", "--network first"));
    stage.docker("a", "rm -f one more two");
    drop(stage.start("a", "two", "--network second"));
    let refused = stage.refused("a", "network disconnect vw_gwbridge two");
    assert!(refused.contains("left by itself"), "{refused}");
    stage.end();
}

fn local_networks_wait_for_no_store(kind: Kind) {
    let stage = Stage::new(kind, &["a"]);
    stage.docker("a", "network create -d overlay shop");
    stage.pause_store();
    let daemon = stage.daemon("a");
    let mut waits = daemon.docker_command(["network", "create", "-d", "overlay", "late"]);
    let mut waits = stage.host("a").spawn_command(&mut waits);
    let began = std::time::Instant::now();
    stage.docker("a", "network create own");
    drop(stage.start("a", "web", "--network own"));
    assert!(
        waits.ended().is_none(),
        "the global one waits still after {:?}",
        began.elapsed()
    );
    let ended = vw_testkit::poll(SOON + SOON, || waits.ended());
    assert!(ended.is_some_and(|status| !status.success()));
    assert!(stage.docker("a", "info").contains("a"));
    stage.resume_store();
    stage.end();
}

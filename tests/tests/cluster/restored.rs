//! Stores that are brought back from a backup, that hide what they have, or that are a container of
//! this host.

use crate::{
    over_every_store,
    stage::{Kind, LEASE, SOON, Stage},
    store::{POLICY, Servers},
};
use std::time::Duration;
use vw_testkit::{eventually, stays, traffic};

over_every_store! {
    a_store_that_is_brought_back_gives_no_address_twice,
    the_store_may_be_a_container_of_this_host,
}

fn a_store_that_is_brought_back_gives_no_address_twice(kind: Kind) {
    let mut stage = Stage::over_three_servers(kind, &["a", "b"]);
    stage.docker("a", "network create -d overlay --subnet 10.43.0.0/24 shop");
    eventually("the network is there", SOON, || stage.knows("b", "shop"));
    let client = stage.start("a", "client", "--network shop");
    let backup = stage.lab().folder().join("backup");
    let servers = "every stage of a kind has some";
    stage.store.as_ref().expect(servers).save(&backup);
    // b's first addresses are in no backup.
    drop(stage.start("b", "web", "--network shop"));
    let web = stage.address("b", "web", "shop");
    eventually("they reach each other", SOON, || {
        stage.resolve(&client, "web", "A") == web && traffic::ping(&client, &web)
    });
    stage.cut("b");
    stage.store.as_mut().expect(servers).bring_back(&backup);
    // What is written meanwhile is more than there was: only that it is something else tells b.
    eventually("the store takes what is new", LEASE, || {
        let made = stage
            .daemon("a")
            .docker(["network", "create", "-d", "overlay", "late"]);
        made.success()
    });
    for round in 0..15 {
        stage.docker(
            "a",
            &format!("run -d --name c{round} --network shop host sleep 1000"),
        );
        stage.docker("a", &format!("rm -f c{round}"));
    }
    stage.mend("b");
    eventually("a knows what b has", LEASE, || {
        stage.resolve(&client, "web", "A") == web && traffic::ping(&client, &web)
    });
    assert_eq!(stage.address("b", "web", "shop"), web, "it was not touched");
    // Whatever is not known yet of b, it is refused.
    eventually("it is said why", LEASE, || {
        let refused = stage.refused(
            "a",
            &format!("run --rm --network shop --ip {web} host true"),
        );
        refused.contains("ddress already in use")
    });
    drop(client);
    stage.end();
}

#[test]
fn a_consul_that_hides_its_records_takes_no_network_down() {
    crate::require_cluster!(Kind::Consul);
    let stage = Stage::guarded(&["a", "b"]);
    stage.docker("a", "network create -d overlay shop");
    eventually("the network is there", SOON, || stage.knows("b", "shop"));
    drop(stage.start("a", "web", "--network shop"));
    let client = stage.start("b", "client", "--network shop");
    let web = stage.address("a", "web", "shop");
    let reached = || traffic::ping(&client, &web) && stage.resolve(&client, "web", "A") == web;
    eventually("they reach each other", SOON, reached);
    let warns = |host: &str| {
        let warnings = stage.api(host, "/info")["Warnings"].to_string();
        warnings.contains("consul store refuses us")
    };
    let (policy, rules) = POLICY;
    let allow = |rules: &str| match &stage.store {
        Some(Servers::Consul(consul)) => consul.allow(policy, rules),
        _ => unreachable!("it is one"),
    };
    allow(r#"session_prefix "" { policy = "write" }"#);
    // A query that is held back for a minute still shows all.
    eventually("both say so", Duration::from_secs(120), || {
        warns("a") && warns("b")
    });
    stays("nothing is taken down", Duration::from_secs(5), || {
        reached() && stage.knows("a", "shop") && stage.knows("b", "shop")
    });
    allow(rules);
    eventually("all goes on", LEASE, || !warns("a") && !warns("b"));
    stage.docker("a", "network create -d overlay more");
    eventually("the network is there", SOON, || stage.knows("b", "more"));
    assert!(reached());
    drop(client);
    stage.end();
}

fn the_store_may_be_a_container_of_this_host(kind: Kind) {
    let mut stage = Stage::alone();
    stage.docker("a", "network create stores");
    let data = stage.lab().folder().join("data");
    std::fs::create_dir(&data).expect("the folder is ours");
    let (command, url) = kind.contained(&data, &stage.addr("a"), 2379);
    let data = data.display();
    stage.docker(
        "a",
        &format!("run -d --name store --restart always --network stores -p 2379:2379 -v {data}:/mnt host {command}"),
    );
    let flags = ["--cluster-store", &url, "--cluster-advertise", "wire"];
    stage.start_outside("a", &flags).unwrap();
    let create = |stage: &Stage, name: &str| {
        let words = ["network", "create", "-d", "overlay", name];
        eventually("it has joined", LEASE, || {
            stage.daemon("a").docker(words).success()
        });
    };
    create(&stage, "shop");
    drop(stage.start("a", "web", "--network shop"));
    let web = stage.address("a", "web", "shop");
    // As after a power cut: neither daemon nor containers run.
    let pids = stage.docker("a", "inspect -f {{.State.Pid}} store web");
    stage.kill("a");
    let pids = pids.replace('\n', " ");
    stage.host("a").sh(&format!("kill -9 {pids}")).must();
    stage.start_outside("a", &flags).unwrap();
    let state =
        |name: &str| stage.docker("a", &format!("inspect -f {{{{.State.Running}}}} {name}"));
    eventually("the store is up by itself", LEASE, || {
        state("store") == "true"
    });
    create(&stage, "late");
    stage.docker("a", "start web");
    assert_eq!(stage.address("a", "web", "shop"), web);
    stage.forget("a");
    stage.docker("a", "rm -f web");
    stage.docker("a", "network rm shop late");
    stage.start_outside("a", &[]).unwrap();
    stage.docker("a", "rm -f store");
    stage.end();
}

//! Stores and hosts that go away, and come back.

use crate::{
    over_every_store, shortcuts,
    stage::{Kind, LEASE, SOON, Stage, lease},
};
use std::time::{Duration, Instant};
use vw_testkit::{Host, eventually, stays, traffic};

over_every_store! {
    while_the_store_is_away_all_goes_on,
    a_store_that_loses_its_leader_is_the_same_to_all,
    a_dead_host_leaves_names_and_may_be_given_up,
    a_daemon_starts_without_the_store_and_repairs_nothing,
    a_host_whose_disk_was_emptied_is_a_new_one,
    a_daemon_without_its_store_shows_itself_and_ends_at_once,
    a_daemon_leaves_its_cluster_only_when_it_is_told_to,
    a_host_with_a_full_disk_follows_its_cluster,
}

fn while_the_store_is_away_all_goes_on(kind: Kind) {
    let stage = Stage::over_three_servers(kind, &["a", "b"]);
    stage.docker("a", "network create -d overlay shop");
    eventually("the network is there", SOON, || stage.knows("b", "shop"));
    let web = stage.start("a", "web", "--network shop");
    let other = stage.start("a", "other", "--network shop");
    let client = stage.start("b", "client", "--network shop");
    let web_at = stage.address("a", "web", "shop");
    let other_at = stage.address("a", "other", "shop");
    eventually("they reach each other", SOON, || {
        traffic::ping(&client, &web_at) && traffic::ping(&client, &other_at)
    });
    let _other = traffic::Server::tcp(&other, "other", "0.0.0.0:80");
    let to = format!("{other_at}:80");
    let mut talk = traffic::Conversation::open(&client, &to).expect("reachable");
    let mut goes_on = || {
        let named = stage.resolve(&client, "other", "A") == other_at;
        let reached = traffic::tcp(&client, &to).is_ok();
        named && reached && talk.say("on").is_ok()
    };
    stage.pause_store();
    assert!(traffic::ping(&client, &web_at), "traffic goes on");
    assert_eq!(stage.resolve(&client, "web", "A"), web_at, "and names");
    stays_away(&stage, kind, &mut goes_on);
    stage.docker("b", "network create local");
    stage.docker("b", "network connect local client");
    let more = stage.start("b", "more", "--network shop");
    let more_at = stage.address("b", "more", "shop");
    assert!(
        traffic::ping(&client, &more_at),
        "new endpoints come, and are neighbours here"
    );
    let refused = stage.refused("b", "network create -d overlay late");
    assert!(refused.contains("store is away"), "{refused}");
    stage.docker("a", "rm -f web");
    stage.resume_store();
    comes_back(&stage, &mut goes_on);
    eventually("what came meanwhile is told", SOON, || {
        !stage.resolve(&more, "more", "A").is_empty()
            && stage.docker("a", "network inspect shop").contains("more")
    });
    eventually("and what went", SOON, || {
        stage.resolve(&client, "web", "A").is_empty()
    });
    let again = stage.start("a", "again", "--network shop");
    eventually("who comes now is reached", SOON, || {
        traffic::ping(&again, &more_at)
    });
    drop(web);
    stage.end();
}

#[test]
fn a_host_whose_blocks_are_full_starts_one_more_while_the_store_is_away() {
    crate::require_cluster!(Kind::Etcd);
    let stage = Stage::new(Kind::Etcd, &["a"]);
    stage.docker("a", "network create -d overlay shop");
    // As many as a host's first blocks have addresses.
    for n in 0..16 {
        stage.start("a", &format!("c{n}"), "--network shop");
    }
    eventually("it has room ahead", SOON, || {
        let told = stage.api("a", "/vethwork/cluster");
        let blocks = told["Hosts"][0]["Blocks"].as_u64();
        blocks.is_some_and(|blocks| blocks > 5)
    });
    stage.pause_store();
    eventually("it has noticed that the store is away", LEASE, || {
        stage.api("a", "/vethwork/cluster")["Error"] != ""
    });
    let one = stage.start("a", "more", "--network shop");
    let at = stage.address("a", "c0", "shop");
    assert!(traffic::ping(&one, &at), "they are neighbours here");
    stage.resume_store();
    stage.end();
}

/// The store is away for so long that a host notices it, and all leases of an etcd would be over.
#[track_caller]
fn stays_away(stage: &Stage, kind: Kind, goes_on: &mut dyn FnMut() -> bool) {
    eventually("b has noticed that the store is away", LEASE * 2, || {
        assert!(goes_on(), "as it notices");
        stage.api("b", "/vethwork/cluster")["Error"] != ""
    });
    let seconds = if kind == Kind::Etcd { 15 } else { 1 };
    stays("all goes on", Duration::from_secs(seconds), goes_on);
}

/// The store is back, and both hosts have their leases again: nothing was missing for a moment.
#[track_caller]
fn comes_back(stage: &Stage, goes_on: &mut dyn FnMut() -> bool) {
    let is_well = |host: &str| {
        let told = stage.api(host, "/vethwork/cluster");
        let hosts = told["Hosts"].as_array().expect("hosts");
        told["Error"] == "" && hosts.iter().all(|host| host["Alive"] == true)
    };
    eventually("both hosts are alive", LEASE, || {
        assert!(goes_on(), "as it comes back");
        is_well("a") && is_well("b")
    });
    stays("and later", Duration::from_secs(2), goes_on);
}

fn a_store_that_loses_its_leader_is_the_same_to_all(kind: Kind) {
    let mut stage = Stage::over_three_servers(kind, &["a", "b"]);
    stage.docker("a", "network create -d overlay shop");
    eventually("the network is there", SOON, || stage.knows("b", "shop"));
    let web = stage.start("a", "web", "--network shop");
    let client = stage.start("b", "client", "--network shop");
    let web_at = stage.address("a", "web", "shop");
    eventually("they reach each other", SOON, || {
        traffic::ping(&client, &web_at) && stage.resolve(&client, "web", "A") == web_at
    });
    let _web = traffic::Server::tcp(&web, "web", "0.0.0.0:80");
    let mut talk =
        traffic::Conversation::open(&client, &format!("{web_at}:80")).expect("reachable");
    // Killed, its connections are closed; stopped where it is, nothing answers there.
    for (network, is_killed) in [("killed", true), ("stopped", false)] {
        let lost = leader(&stage);
        let servers = stage.store.as_mut().expect("there are some");
        match is_killed {
            true => servers.kill(lost),
            false => servers.pause(lost),
        }
        let create = ["network", "create", "-d", "overlay", network];
        let mut goes_on = || {
            assert!(talk.say("on").is_ok(), "{network}: connections stay");
            let named = stage.resolve(&client, "web", "A");
            assert_eq!(named, web_at, "{network}: no host is taken for dead");
        };
        eventually("networks are made", LEASE, || {
            goes_on();
            stage.daemon("a").docker(create).success()
        });
        eventually("and known to who asked the lost one", LEASE, || {
            goes_on();
            stage.knows("b", network)
        });
        // Who renews nothing at the new leader is dead by then.
        let until = Instant::now() + lease(kind) / 2;
        eventually("leases are over", LEASE, || {
            goes_on();
            is_killed || Instant::now() >= until
        });
        let servers = stage.store.as_mut().expect("there are some");
        match is_killed {
            true => servers.restart(lost),
            false => servers.resume(lost),
        }
        servers.wait();
        let late = format!("run --rm --network {network} host true");
        stage.docker("b", &late);
    }
    drop(web);
    stage.end();
}

/// The number of the server that leads, as a host tells.
#[track_caller]
fn leader(stage: &Stage) -> usize {
    let mut leads = None;
    eventually("a server leads", LEASE, || {
        let status = stage.api("a", "/vethwork/cluster");
        let servers = status["Store"]["Servers"].as_array().expect("servers");
        leads = servers.iter().position(|server| server["Leader"] == true);
        leads.is_some()
    });
    leads.expect("it was waited for")
}

fn a_dead_host_leaves_names_and_may_be_given_up(kind: Kind) {
    let mut stage = Stage::over_three_servers(kind, &["a", "b", "c"]);
    stage.docker("a", "network create -d overlay shop");
    for host in ["b", "c"] {
        eventually("the network is there", SOON, || stage.knows(host, "shop"));
    }
    let client = stage.start("a", "client", "--network shop");
    drop(stage.start("c", "lost", "--network shop"));
    eventually("c's container is known", SOON, || {
        !stage.resolve(&client, "lost", "A").is_empty()
    });
    assert_eq!(ways(&stage, "lost"), [true, true]);
    let refused = stage.cli_refused("a", "cluster forget c");
    assert!(refused.contains("alive"), "{refused}");
    stage.cut("c");
    eventually(
        "a dead host's endpoints leave the names",
        lease(kind),
        || stage.resolve(&client, "lost", "A").is_empty(),
    );
    assert!(stage.cli("a", "cluster status").contains("dead"));
    eventually("and the tables", SOON, || {
        ways(&stage, "lost") == [false, false]
    });
    // Nor does anything else lead there, past the bridge: a start would have to take it away.
    stage.forget("a");
    stage.docker("a", "rm -f client");
    stage.docker("b", "network rm shop");
    // It comes back to a network that is gone.
    stage.mend("c");
    eventually("c learns it", LEASE, || !stage.knows("c", "shop"));
    stage.docker("c", "rm -f lost");
    stage.docker("a", "network create -d overlay --subnet 10.99.0.0/24 shop");
    eventually("c is a member as before", LEASE, || {
        stage.knows("c", "shop")
    });
    drop(stage.start("c", "found", "--network shop"));
    let client = stage.start("a", "client", "--network shop");
    eventually("and its endpoints are known", SOON, || {
        !stage.resolve(&client, "found", "A").is_empty()
    });
    assert_eq!(ways(&stage, "found"), [true, true]);
    given_up(&stage, &client, kind);
    stage.end();
}

/// Whether the tables of the network on a know an endpoint of c's by its MAC address and by its
/// IP address.
#[track_caller]
fn ways(stage: &Stage, name: &str) -> [bool; 2] {
    let settings = stage.api("c", &format!("/containers/{name}/json"));
    let settings = &settings["NetworkSettings"]["Networks"]["shop"];
    let tables = shortcuts::inside(stage, "a", "bridge fdb; ip neigh");
    ["MacAddress", "IPAddress"].map(|key| {
        let text = settings[key].as_str().expect("it has one");
        tables.split_whitespace().any(|word| word == text)
    })
}

/// Given up, the addresses of c are free, and not before; back again it takes new ones.
#[track_caller]
fn given_up(stage: &Stage, client: &Host, kind: Kind) {
    stage.cut("c");
    let former = stage.address("c", "found", "shop");
    eventually("it is dead", lease(kind), || {
        stage.cli("b", "cluster status").contains("dead")
    });
    let early = format!("run --rm --network shop --ip {former} host true");
    let refused = stage.refused("b", &early);
    assert!(
        refused.contains("host c, which is not alive"),
        "it is c's still: {refused}"
    );
    eventually("it may be given up", LEASE, || {
        stage.daemon("a").cli(["cluster", "forget", "c"]).success()
    });
    assert!(!stage.cli("b", "cluster status").contains("dead"));
    drop(stage.start("b", "thief", &format!("--network shop --ip {former}")));
    stage.mend("c");
    eventually("c is made consistent", LEASE, || {
        let address = stage.resolve(client, "found", "A");
        !address.is_empty() && traffic::ping(client, &address)
    });
    let address = stage.address("c", "found", "shop");
    assert_ne!(address, former);
    let hosts = stage.docker("c", "exec found cat /etc/hosts");
    let names = |addr: &str| hosts.split_whitespace().any(|word| word == addr);
    assert!(names(&address) && !names(&former), "{hosts}");
}

fn a_daemon_starts_without_the_store_and_repairs_nothing(kind: Kind) {
    let mut stage = Stage::over_three_servers(kind, &["a", "b"]);
    stage.docker("a", "network create -d overlay shop");
    eventually("the network is there", SOON, || stage.knows("b", "shop"));
    let web = stage.start("a", "web", "--network shop");
    let client = stage.start("b", "client", "--network shop");
    let web_at = stage.address("a", "web", "shop");
    eventually("they reach each other", SOON, || {
        traffic::ping(&client, &web_at)
    });
    stage.pause_store();
    stage.forget("b");
    assert!(
        traffic::ping(&client, &web_at),
        "what the local copy knows stays"
    );
    assert_eq!(stage.resolve(&client, "web", "A"), web_at, "names, too");
    drop(stage.start("b", "late", "--network shop"));
    stage.resume_store();
    eventually("the others learn of what came meanwhile", LEASE, || {
        !stage.resolve(&web, "late", "A").is_empty()
    });
    stage.end();
}

fn a_host_whose_disk_was_emptied_is_a_new_one(kind: Kind) {
    let mut stage = Stage::over_three_servers(kind, &["a", "b"]);
    stage.docker("a", "network create -d overlay shop");
    eventually("the network is there", SOON, || stage.knows("b", "shop"));
    let client = stage.start("a", "client", "--network shop");
    drop(stage.start("b", "web", "--network shop"));
    eventually("it is known", SOON, || {
        !stage.resolve(&client, "web", "A").is_empty()
    });
    stage.empty("b");
    eventually("b knows the network again", LEASE, || {
        stage.knows("b", "shop")
    });
    drop(stage.start("b", "web", "--network shop"));
    let at = stage.address("b", "web", "shop");
    eventually("the name is that of the new one alone", LEASE, || {
        stage.resolve(&client, "web", "A") == at
    });
    assert!(traffic::ping(&client, &at));
    stage.end();
}

fn a_daemon_without_its_store_shows_itself_and_ends_at_once(kind: Kind) {
    let mut stage = Stage::over_three_servers(kind, &["a"]);
    stage.docker("a", "network create -d overlay shop");
    drop(stage.start("a", "web", "--network shop"));
    stage.pause_store();
    stage.forget("a");
    let status = stage.cli("a", "cluster status");
    assert!(status.contains("this host"), "{status}");
    eventually("info tells that the store is away", LEASE, || {
        let warnings = stage.api("a", "/info")["Warnings"].to_string();
        warnings.contains(kind.name()) && warnings.contains("192.0.2.99")
    });
    let began = Instant::now();
    stage.stop("a");
    let took = began.elapsed();
    assert!(took < Duration::from_secs(7), "it took {took:?}");
    stage.resume_store();
    stage.start_inside("a");
    eventually("info tells nothing of it any more", LEASE, || {
        !stage.api("a", "/info")["Warnings"]
            .to_string()
            .contains("192.0.2.99")
    });
    stage.end();
}

fn a_daemon_leaves_its_cluster_only_when_it_is_told_to(kind: Kind) {
    let mut stage = Stage::over_three_servers(kind, &["a", "b"]);
    stage.docker("a", "network create -d overlay shop");
    eventually("the network is there", SOON, || stage.knows("b", "shop"));
    drop(stage.start("a", "web", "--network shop"));
    let client = stage.start("b", "client", "--network shop");
    let web = stage.address("a", "web", "shop");
    eventually("they reach each other", SOON, || {
        traffic::ping(&client, &web)
    });
    let refused = stage.start_outside("a", &[]).unwrap_err();
    assert!(
        refused.contains("networks of a cluster (shop)"),
        "{refused}"
    );
    assert!(traffic::ping(&client, &web), "nothing was changed");
    stage
        .start_outside("a", &["--cluster-store", "none"])
        .unwrap();
    assert!(!traffic::ping(&client, &web), "it was taken off");
    stage.start_outside("a", &[]).unwrap();
    stage.docker("a", "rm -f web");
    stage.start_inside("a");
    eventually("it is a member as before", LEASE, || {
        stage.knows("a", "shop")
    });
    drop(stage.start("a", "web", "--network shop"));
    let web = stage.address("a", "web", "shop");
    eventually("they reach each other", SOON, || {
        traffic::ping(&client, &web)
    });
    stage.end();
}

fn a_host_with_a_full_disk_follows_its_cluster(kind: Kind) {
    let mut stage = Stage::over_three_servers(kind, &["a", "b"]);
    let disk = stage.on_a_small_disk("b");
    stage.docker("a", "network create -d overlay shop");
    eventually("the network is there", SOON, || stage.knows("b", "shop"));
    drop(stage.start("a", "web", "--network shop"));
    let client = stage.start("b", "client", "--network shop");
    let reaches = |name: &str| {
        let address = stage.resolve(&client, name, "A");
        !address.is_empty() && traffic::ping(&client, &address)
    };
    eventually("they reach each other", SOON, || reaches("web"));
    disk.fill();
    drop(stage.start("a", "more", "--network shop"));
    eventually("who comes elsewhere is reached", SOON, || reaches("more"));
    assert!(reaches("web"));
    let refused = stage.refused("b", "run -d --name late --network shop host sleep 9");
    assert!(refused.contains("No space left on device"), "{refused}");
    disk.clear();
    drop(stage.start("b", "late", "--network shop"));
    eventually("with room new ones come", SOON, || reaches("late"));
    stage.end();
}

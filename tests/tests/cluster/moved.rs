//! A host whose interface gets another address, as from DHCP: its daemon follows by itself.

use crate::{
    encryption::{create, pair, process},
    over_one_store,
    stage::{Kind, LEASE, SOON, Stage},
};
use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};
use vw_testkit::{eventually, traffic};

over_one_store! {
    a_host_follows_the_address_of_the_interface_that_it_advertises,
}

const OLD: &str = "192.0.2.2";
const NEW: &str = "192.0.2.22";

/// The hosts as one knows them: the id, the name and the address of each.
fn hosts(stage: &Stage, on: &str) -> Vec<[String; 3]> {
    let known = stage.api(on, "/vethwork/cluster");
    let hosts = known["Hosts"].as_array().expect("hosts");
    let field = |host: &serde_json::Value, name: &str| host[name].as_str().unwrap().to_owned();
    let mut hosts: Vec<_> = hosts
        .iter()
        .map(|host| ["ID", "Name", "Address"].map(|name| field(host, name)))
        .collect();
    hosts.sort();
    hosts
}

/// Lines of what the kernel of a host shows of ours that name an address.
fn naming(stage: &Stage, on: &str, address: &str) -> Vec<String> {
    let pins = stage.daemon(on).exec_root().join("netns");
    let shown = stage.host(on).sh(&format!(
        "nft list ruleset; ip route; ip neigh show proxy
        for net in {}/*; do
            nsenter --net=$net ip -d link
            nsenter --net=$net bridge fdb
        done",
        pins.display()
    ));
    let shown = shown.ok();
    let names = |line: &&str| {
        let mut words = line.split(|char: char| !(char.is_ascii_digit() || char == '.'));
        words.any(|word| word == address)
    };
    shown.lines().filter(names).map(str::to_owned).collect()
}

/// The children of a process that ended and that it has not waited for.
fn zombies(pid: u32) -> Vec<String> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
    let children = tasks.flat_map(|task| {
        let listed = fs::read_to_string(task.path().join("children")).unwrap_or_default();
        let words = listed.split_ascii_whitespace().map(str::to_owned);
        words.collect::<Vec<_>>()
    });
    let stat = |pid: String| fs::read_to_string(format!("/proc/{pid}/stat")).ok();
    children
        .filter_map(stat)
        .filter(|stat| stat.contains(") Z "))
        .collect()
}

/// Somebody has put another program in the place of one that runs, which does not start; tells where the
/// former one lies now.
fn replace(program: &Path) -> PathBuf {
    let former = program.with_extension("former");
    fs::hard_link(program, &former).unwrap();
    let other = program.with_extension("other");
    fs::write(&other, "no program").unwrap();
    fs::rename(other, program).unwrap();
    former
}

/// Has the system run a program, or refuse to.
fn may_run(program: &Path, may: bool) {
    let mode = if may { 0o755 } else { 0o644 };
    fs::set_permissions(program, fs::Permissions::from_mode(mode)).unwrap();
}

/// The address is another one, and the daemon stays until its program can be run.
fn moves_once_its_program_runs(stage: &Stage, program: &Path, former: &Path) {
    may_run(former, false);
    let b = stage.host("b");
    b.ip(&format!("addr del {OLD}/24 dev wire"));
    b.ip(&format!("addr add {NEW}/24 dev wire"));
    let stays = format!("its program, that was {}", program.display());
    eventually("it tries that before it ends itself", LEASE, || {
        stage.daemon("b").log().contains(&stays)
    });
    assert!(stage.knows("b", "shop"), "all goes on as it was");
    may_run(former, true);
}

fn a_host_follows_the_address_of_the_interface_that_it_advertises(kind: Kind) {
    let mut stage = Stage::new(kind, &["a", "b"]);
    let program = stage.copy_program("b");
    // A process of the daemon's own carries what is encrypted, and has the address.
    stage.set_env("b", "VETHWORK_TUNNEL_CARRIER", Some("user-space"));
    create(&stage, "-o encrypted");
    stage.docker("a", "network create -d overlay shop");
    eventually("the network is there", SOON, || stage.knows("b", "shop"));
    let (web, client, safe) = pair(&stage);
    stage.docker("a", "network connect shop web");
    stage.docker("b", "network connect shop client");
    let clear = stage.address("a", "web", "shop");
    let back = stage.address("b", "client", "shop");
    let reached = || {
        let there = [&safe, &clear].iter().all(|to| traffic::ping(&client, to));
        there && traffic::ping(&web, &back)
    };
    eventually("it is reached", SOON, reached);
    let _server = traffic::Server::tcp(&web, "web", "0.0.0.0:80");
    let talk = |to: &str| traffic::Conversation::open(&client, &format!("{to}:80")).unwrap();
    let mut talks = [talk(&safe), talk(&clear)];
    let (pid, carrier) = (stage.daemon("b").pid(), process(stage.host("b")).unwrap());
    let before = hosts(&stage, "a");
    let former = replace(&program);
    moves_once_its_program_runs(&stage, &program, &former);
    let moved = || {
        let after = hosts(&stage, "a");
        after.iter().any(|[_, _, address]| address == NEW)
    };
    eventually("the others know it there", LEASE, moved);
    eventually("it is reached at its new address", SOON, reached);
    for talk in &mut talks {
        talk.say("still there").unwrap();
    }
    for (inside, name) in [(&web, "client"), (&client, "web")] {
        eventually("names are answered", SOON, || {
            !stage.resolve(inside, name, "A").is_empty()
        });
    }
    // It is the same host, and the same process.
    let expected = before
        .into_iter()
        .map(|[id, name, address]| [id, name, address.replace(OLD, NEW)]);
    assert_eq!(hosts(&stage, "a"), expected.collect::<Vec<_>>());
    assert!(stage.cli("a", "cluster status").contains(NEW));
    assert!(!stage.cli("b", "cluster status").contains("WARNING: b"));
    let comm = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap();
    assert_eq!(comm, "vethwork\n");
    assert_ne!(process(stage.host("b")).expect("somebody carries"), carrier);
    eventually("who carried is waited for", SOON, || {
        zombies(pid).is_empty()
    });
    for host in ["a", "b"] {
        eventually("nothing of the old address is left", SOON, || {
            naming(&stage, host, OLD).is_empty()
        });
    }
    fs::rename(former, program).unwrap();
    begins_anew_without_an_address(&mut stage);
    stage.end();
}

/// What one begins anew with may be gone again by then, as where whoever gives addresses starts again.
fn begins_anew_without_an_address(stage: &mut Stage) {
    let told = format!("{NEW}/24 dev wire");
    stage.host("b").ip(&format!("addr del {told}"));
    let host = stage.host("b").clone();
    let come = move |log: &dyn Fn() -> String| {
        let waits = format!("{NEW} of wire is gone again: the daemon waits");
        eventually("it waits", SOON, || log().contains(&waits));
        host.ip(&format!("addr add {told}"));
    };
    stage.begin_anew("b", &format!("{NEW} wire"), come);
    eventually("the others know it there", LEASE, || {
        hosts(stage, "a")
            .iter()
            .any(|[_, _, address]| address == NEW)
    });
}

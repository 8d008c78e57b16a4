//! A host that is given up while something on it hangs, and learns of it.

use crate::{
    over_every_store,
    stage::{Kind, LEASE, SOON, Stage, lease},
};
use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf};
use vw_testkit::{Running, eventually, traffic};

over_every_store! {
    an_oci_runtime_that_hangs_keeps_nobody_back,
    who_cannot_be_asked_comes_back_to_its_network,
}

/// An OCI runtime that makes containers once it is let.
struct Hanging {
    gate: PathBuf,
}

impl Hanging {
    /// Has a host's daemon, which starts again and has run nothing, use one that can hang.
    fn on(stage: &mut Stage, host: &str) -> Self {
        let folder = stage.daemon(host).data_root().join("hanging");
        fs::create_dir(&folder).unwrap();
        let gate = folder.join("gate");
        // Who opens a pipe to read waits for one who writes.
        let lines = format!(
            "#!/bin/sh\ncase \" $* \" in *' create '*) [ ! -p {0} ] || read line < {0};; esac\n\
             PATH=${{PATH#*:}} exec ${{0##*/}} \"$@\"\n",
            gate.display()
        );
        for name in ["crun", "runc"] {
            let program = folder.join(name);
            fs::write(&program, &lines).unwrap();
            fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
        }
        let path = std::env::var("PATH").unwrap_or_default();
        let path = format!("{}:{path}", folder.display());
        stage.set_env(host, "PATH", Some(&path));
        Self { gate }
    }

    /// Has it hang from now on.
    fn hang(&self, stage: &Stage, host: &str) {
        let mkfifo = ["mkfifo", &self.gate.display().to_string()];
        stage.host(host).run(mkfifo).must();
    }

    /// Lets the one that hangs go on, and those that come.
    fn let_go(&self) {
        let waiting = fs::OpenOptions::new().write(true).open(&self.gate).unwrap();
        fs::remove_file(&self.gate).unwrap();
        drop(waiting);
    }
}

fn an_oci_runtime_that_hangs_keeps_nobody_back(kind: Kind) {
    let mut stage = Stage::new(kind, &["a", "b"]);
    stage.docker("a", "network create -d overlay --subnet 10.99.0.0/24 shop");
    eventually("the network is there", SOON, || stage.knows("b", "shop"));
    let client = stage.start("a", "client", "--network shop");
    let known = |stage: &Stage, name: &str| stage.resolve(&client, name, "A");
    let hanging = Hanging::on(&mut stage, "b");
    drop(stage.start("b", "web", "--network shop"));
    hanging.hang(&stage, "b");
    let line = "run -d --name held --network shop host sleep 1000";
    let mut command = stage.daemon("b").docker_command(line.split(' '));
    let mut held: Running = stage.host("b").spawn_command(&mut command);
    eventually("both are there, one half made", SOON, || {
        ["web", "held"]
            .iter()
            .all(|name| !known(&stage, name).is_empty())
    });
    let former = ["web", "held"].map(|name| known(&stage, name));
    let held_at = &former[1];
    stage.cut("b");
    eventually("b may be given up", LEASE * 2, || {
        stage.daemon("a").cli(["cluster", "forget", "b"]).success()
    });
    let thief = format!("--network shop --ip {held_at}");
    let _thief = stage.start("a", "thief", &thief);
    stage.mend("b");
    eventually("who is not held up is made anew", lease(kind), || {
        let address = known(&stage, "web");
        !address.is_empty() && address != former[0] && traffic::ping(&client, &address)
    });
    let pins = stage.daemon("b").exec_root().join("netns");
    let look = format!(
        "for net in {}/*; do nsenter --net=$net ip -4 addr || exit; done",
        pins.display()
    );
    let inside = stage.host("b").sh(&look).ok();
    assert!(
        !inside.contains(&format!("inet {held_at}/")),
        "it is another's: {inside}"
    );
    let told = stage.api("b", "/info")["Warnings"].to_string();
    assert!(told.contains("held is off network shop: another"), "{told}");
    assert_eq!(held.ended(), None, "it hangs");
    hanging.let_go();
    eventually("who was held up comes back", SOON, || {
        let address = known(&stage, "held");
        !address.is_empty() && address != *held_at && traffic::ping(&client, &address)
    });
    let hosts = stage.docker("b", "exec held cat /etc/hosts");
    let names = |addr: &str| hosts.split_whitespace().any(|word| word == addr);
    assert!(!names(held_at), "{hosts}");
    assert!(names(&known(&stage, "held")), "{hosts}");
    stage.end();
}

fn who_cannot_be_asked_comes_back_to_its_network(kind: Kind) {
    let stage = Stage::new(kind, &["a", "b"]);
    stage.docker("a", "network create -d overlay --subnet 10.99.0.0/24 shop");
    eventually("the network is there", SOON, || stage.knows("b", "shop"));
    let client = stage.start("a", "client", "--network shop");
    stage.cli("a", "service create --name web --network shop");
    eventually("b knows the service", SOON, || {
        stage.cli("b", "service ls").contains("web")
    });
    let guest = stage.lab().host("guest");
    let adopt = format!("adopt --netns {} --name guest", guest.netns().display());
    stage.cli("b", &format!("{adopt} --network shop --service web"));
    // By a host that cannot know who is in it on another.
    stage.cli("a", "service update --health exec:true web");
    eventually("the guest is none of it", SOON, || {
        let shown = stage.api("b", "/vethwork/services/web");
        shown["Endpoints"].as_array().expect("a list").is_empty()
    });
    let other = stage.lab().host("other");
    let adopt = format!("adopt --netns {} --name other", other.netns().display());
    let refused = stage.cli_refused("b", &format!("{adopt} --network shop --service web"));
    assert!(refused.contains("other cannot be an endpoint"), "{refused}");
    let former = stage.resolve(&client, "guest", "A");
    stage.cut("b");
    eventually("b may be given up", LEASE * 2, || {
        stage.daemon("a").cli(["cluster", "forget", "b"]).success()
    });
    let _thief = stage.start("a", "thief", &format!("--network shop --ip {former}"));
    stage.mend("b");
    eventually("the guest is made anew", lease(kind), || {
        let address = stage.resolve(&client, "guest", "A");
        !address.is_empty() && address != former && traffic::ping(&client, &address)
    });
    let shown = stage.api("b", "/vethwork/services/web");
    assert_eq!(shown["Endpoints"], serde_json::json!([]), "{shown}");
    let told = stage.api("b", "/info")["Warnings"].to_string();
    assert!(told.contains("guest cannot be an endpoint"), "{told}");
    stage.cli("b", "network disconnect shop guest");
    let refused = stage.cli_refused(
        "b",
        "network connect shop guest --driver-opt vethwork.service=web",
    );
    assert!(refused.contains("guest cannot be an endpoint"), "{refused}");
    stage.cli("b", "release guest");
    stage.end();
}

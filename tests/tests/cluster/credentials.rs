//! Stores that let in only who shows what they know: certificates, a user and its password.
//!
//! Consul's token: `restored.rs`.

use crate::{
    stage::{Kind, LEASE, SOON, Stage},
    store::{self, Start},
};
use std::{
    fs,
    path::{Path, PathBuf},
};
use vw_testkit::{eventually, traffic};

#[test]
fn etcd_lets_daemons_in_by_certificate() {
    crate::require_cluster!(Kind::Etcd);
    vw_testkit::require_programs!("openssl");
    let held = Held {
        start: Box::new(store::etcd_by_certificate),
        file: "ca.pem",
        another: |own| own.with_file_name("theirs").join("ca.pem"),
        remedy: "check that option tls.ca names a file with the authority",
    };
    held.decides();
}

#[test]
fn etcd_lets_daemons_in_by_user_and_password() {
    crate::require_cluster!(Kind::Etcd);
    vw_testkit::require_programs!("etcdctl");
    by_user(Box::new(store::etcd_by_user));
}

#[test]
fn zookeeper_lets_daemons_in_by_user_and_password() {
    crate::require_cluster!(Kind::ZooKeeper);
    by_user(Box::new(store::zookeeper_by_user));
}

#[track_caller]
fn by_user(start: Start) {
    let held = Held {
        start,
        file: "password",
        another: |own| {
            let wrong = own.with_file_name("wrong");
            fs::write(&wrong, "wrong\n").expect("the folder is ours");
            wrong
        },
        remedy: "check user, password, token and certificates",
    };
    held.decides();
}

/// A store, and the file by which it lets hosts in.
struct Held {
    start: Start,
    file: &'static str,
    /// A file that would do for another store.
    another: fn(&Path) -> PathBuf,
    /// What a host is told that has that.
    remedy: &'static str,
}

impl Held {
    /// Two hosts are one cluster by the file. One that starts with another one says what to look at, does
    /// what is local, and goes on by itself once the file is right.
    #[track_caller]
    fn decides(self) {
        let remedy = self.remedy;
        let mut stage = Stage::over(self.start, &["a", "b"]);
        stage.docker("a", "network create -d overlay shop");
        eventually("the network is there", SOON, || stage.knows("b", "shop"));
        let web = stage.start("a", "web", "--network shop");
        let client = stage.start("b", "client", "--network shop");
        let to = stage.address("a", "web", "shop");
        let reached = || traffic::ping(&client, &to);
        eventually("they reach each other", SOON, reached);
        let own = stage.lab().folder().join(self.file);
        comes_late(&mut stage, &own, &reached);
        let right = fs::read(&own).expect("it was written");
        fs::copy((self.another)(&own), &own).expect("the folder is ours");
        stage.restart_with("b", &[]);
        eventually("it says why", SOON, || warns(&stage).contains(remedy));
        assert!(stage.daemon("b").log().contains(remedy), "so does the log");
        stage.docker("b", "network create here");
        stage.docker("b", "run --rm --network here host true");
        let refused = stage.refused("b", "network create -d overlay more");
        assert!(refused.contains(remedy), "{refused}");
        assert!(reached(), "what stands goes on");
        fs::write(&own, right).expect("the folder is ours");
        eventually("it is let in", LEASE, || !warns(&stage).contains(remedy));
        stage.docker("b", "network create -d overlay more");
        drop((web, client));
        stage.end();
    }
}

fn warns(stage: &Stage) -> String {
    stage.api("b", "/info")["Warnings"].to_string()
}

/// A host that starts without the file does what is local and what its own copy knows, names the file, and
/// is a member again once that is there.
#[track_caller]
fn comes_late(stage: &mut Stage, own: &Path, reached: &dyn Fn() -> bool) {
    let right = fs::read(own).expect("it was written");
    fs::remove_file(own).expect("it was there");
    stage.restart_with("b", &[]);
    let missing = format!("{}: No such file", own.display());
    let why = |told: &str| told.contains(&missing) && told.contains("put a file there");
    eventually("it says why", SOON, || why(&warns(stage)));
    assert!(why(&stage.daemon("b").log()), "so does the log");
    let status = stage.cli("b", "cluster status");
    assert!(why(&status), "{status}");
    stage.docker("b", "run --rm --network bridge host true");
    stage.docker("b", "run --rm --network shop host true");
    let refused = stage.refused("b", "network create -d overlay late");
    assert!(why(&refused), "{refused}");
    assert!(reached(), "what stands goes on");
    fs::write(own, right).expect("the folder is ours");
    eventually("it is let in", LEASE, || !why(&warns(stage)));
    stage.docker("b", "network create -d overlay late");
}

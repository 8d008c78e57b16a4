//! Encrypted networks whose packets the kernel carries, among themselves and beside hosts where a
//! process does.

use crate::{
    encryption::{MARK, VXLAN, WIREGUARD, create, pair, process, talk_while_keys_change},
    over_one_store,
    stage::{Kind, Stage},
};
use std::time::Duration;
use vw_testkit::{Host, require_programs, traffic};

over_one_store! {
    kernels_carry_what_is_encrypted,
    kernels_carry_over_ipv6_alone,
    a_kernel_and_a_process_understand_each_other,
    kernels_change_keys_and_no_connection_breaks,
    a_kernel_and_a_process_change_keys_and_no_connection_breaks,
}

/// What a packet may wait for while keys change: TCP sends again what was dropped.
const LONGEST: Duration = Duration::from_secs(3);

/// Returns from the test where the kernel has no WireGuard.
macro_rules! require_wireguard {
    ($stage:expr) => {
        if $stage.api("a", "/vethwork/cluster")["Encryption"] != "kernel" {
            vw_testkit::skip!("the kernel has no WireGuard");
        }
    };
}

/// Two hosts: the kernel carries at a, and at b it or a process.
fn hosts(mut stage: Stage, process_at_b: bool) -> Stage {
    if process_at_b {
        stage.set_env("b", "VETHWORK_TUNNEL_CARRIER", Some("user-space"));
    }
    stage
}

/// What stands at a host of the tunnel's link.
fn link(host: &Host, stage: &Stage, name: &str) -> String {
    let netns = stage.daemon(name).exec_root().join("netns/tunnel");
    let shown = format!("nsenter --net={} ip -d link show vw-wg", netns.display());
    host.sh(&shown).stdout
}

fn encrypts(process_at_b: bool, stage: Stage) {
    let mut stage = hosts(stage, process_at_b);
    create(&stage, "-o encrypted");
    let (web, client, to) = pair(&stage);
    let _server = traffic::Server::tcp(&web, "web", "0.0.0.0:80");
    let mut talk = traffic::Conversation::open(&client, &format!("{to}:80")).unwrap();
    let wire = stage.watch();
    talk.say(MARK).unwrap();
    assert_eq!(process(stage.host("a")), None);
    assert_eq!(process(stage.host("b")).is_some(), process_at_b);
    let kinds = ["a", "b"].map(|name| link(stage.host(name), &stage, name));
    assert!(kinds[0].contains("wireguard"), "{}", kinds[0]);
    assert_eq!(
        kinds[1].contains("wireguard"),
        !process_at_b,
        "{}",
        kinds[1]
    );
    let told = stage.cli("a", "cluster status");
    assert!(told.contains("by WireGuard in the kernel"), "{told}");
    // The daemon: packets go on, and there is nothing to repair.
    stage.kill("a");
    talk.say(MARK).unwrap();
    stage.forget("a");
    talk.say(MARK).unwrap();
    let seen = wire.seen(stage.host("a"), &stage.addr("b"));
    assert!(!seen.holds(MARK));
    assert_eq!(seen.packets_to(VXLAN), 0);
    assert!(seen.packets_to(WIREGUARD) > 0);
    stage.end();
}

fn kernels_carry_what_is_encrypted(kind: Kind) {
    require_programs!("tcpdump");
    let stage = Stage::new(kind, &["a", "b"]);
    require_wireguard!(stage);
    encrypts(false, stage);
}

fn kernels_carry_over_ipv6_alone(kind: Kind) {
    require_programs!("tcpdump");
    let stage = Stage::over_ipv6(kind, &["a", "b"]);
    require_wireguard!(stage);
    encrypts(false, stage);
}

fn a_kernel_and_a_process_understand_each_other(kind: Kind) {
    require_programs!("tcpdump");
    let stage = Stage::new(kind, &["a", "b"]);
    require_wireguard!(stage);
    encrypts(true, stage);
}

fn changes_keys(process_at_b: bool, stage: Stage) {
    let mut stage = hosts(stage, process_at_b);
    let longest = talk_while_keys_change(&mut stage);
    assert!(longest < LONGEST, "a packet waited {longest:?}");
    stage.end();
}

fn kernels_change_keys_and_no_connection_breaks(kind: Kind) {
    let stage = Stage::new(kind, &["a", "b"]);
    require_wireguard!(stage);
    changes_keys(false, stage);
}

fn a_kernel_and_a_process_change_keys_and_no_connection_breaks(kind: Kind) {
    let stage = Stage::new(kind, &["a", "b"]);
    require_wireguard!(stage);
    changes_keys(true, stage);
}

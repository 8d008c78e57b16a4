//! Encrypted networks whose packets a process carries: what containers say passes no wire in clear
//! text, whatever dies. Where the kernel has WireGuard, hosts are told to do without.

use crate::{
    over_every_store, over_one_store,
    shortcuts::place,
    stage::{Kind, LEASE, SOON, Stage},
};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    fs, io,
    net::UdpSocket,
    os::unix::fs::MetadataExt,
    time::{Duration, Instant},
};
use vw_testkit::{Host, eventually, gro, require_programs, stays, traffic};

over_every_store! {
    keys_change_and_no_connection_breaks,
    a_key_is_kept_until_every_host_takes_in_the_next,
}

over_one_store! {
    no_wire_shows_what_containers_say,
    whatever_dies_nothing_is_said_in_clear_text,
    a_process_that_hangs_is_replaced_and_holds_nobody_up,
    with_a_full_disk_a_host_keeps_its_key_and_encrypts_on,
    a_host_whose_keys_cannot_be_used_does_without_encrypted_networks,
    a_host_alone_sends_nothing_and_its_containers_speak,
    a_port_that_somebody_has_is_left_to_them,
    hosts_that_speak_ipv6_alone_encrypt_too,
    an_endpoint_whose_packets_nobody_would_carry_is_refused,
    rules_that_others_flush_come_back_and_nothing_is_said_in_clear_text_meanwhile,
}

/// What must not be seen.
pub(crate) const MARK: &str = "clear-text-of-an-encrypted-network";
/// VXLAN's port, and WireGuard's.
pub(crate) const VXLAN: u16 = 4789;
pub(crate) const WIREGUARD: u16 = 51_820;
const WHILE: Duration = Duration::from_millis(700);
/// The variable that says how long a key is used.
pub(crate) const PERIOD: &str = "VETHWORK_TUNNEL_KEY_PERIOD";

/// Hosts that take the kernel for one without WireGuard.
pub(crate) fn in_user_space(mut stage: Stage) -> Stage {
    for host in stage.names() {
        if stage.api(&host, "/vethwork/cluster")["Encryption"] == "kernel" {
            stage.set_env(&host, "VETHWORK_TUNNEL_CARRIER", Some("user-space"));
        }
    }
    stage
}

/// The process that carries a host's encrypted packets.
pub(crate) fn process(host: &Host) -> Option<i32> {
    let namespace = fs::metadata(host.netns()).unwrap().ino();
    let of = |pid: &i32| {
        let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let place = fs::metadata(format!("/proc/{pid}/ns/net"));
        command.ends_with(b"\0wireguard-agent\0")
            && place.is_ok_and(|place| place.ino() == namespace)
    };
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let mut pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.find(of)
}

/// Sends the process that carries a host's packets a signal; tells which it is.
fn signal(host: &Host, signal: Signal) -> i32 {
    let pid = process(host).expect("somebody carries packets");
    kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
    pid
}

fn kill(host: &Host) {
    signal(host, Signal::KILL);
}

/// The key that a host uses.
pub(crate) fn key(stage: &Stage, host: &str) -> Vec<u8> {
    let file = stage.daemon(host).data_root().join("tunnel.key");
    assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o600);
    // It stands behind its kind, its time and which others there are.
    fs::read(file).unwrap()[17..49].to_vec()
}

pub(crate) fn create(stage: &Stage, options: &str) {
    stage.docker("a", &format!("network create -d overlay {options} safe"));
    eventually("the network is there", SOON, || stage.knows("b", "safe"));
}

/// Two containers on the network, and a server's address in one.
pub(crate) fn pair(stage: &Stage) -> (Host, Host, String) {
    let web = stage.start("a", "web", "--network safe");
    let client = stage.start("b", "client", "--network safe");
    let to = stage.address("a", "web", "safe");
    eventually("they reach each other", SOON, || {
        traffic::ping(&client, &to)
    });
    (web, client, to)
}

fn no_wire_shows_what_containers_say(kind: Kind) {
    require_programs!("tcpdump");
    let stage = in_user_space(Stage::new(kind, &["a", "b"]));
    for told in [stage.cli("a", "cluster status"), stage.cli("a", "info")] {
        assert!(told.contains("by WireGuard in user space"), "{told}");
    }
    for (option, mtu) in [("-o encrypted", "1370"), ("", "1450")] {
        let encrypted = mtu == "1370";
        assert_eq!(process(stage.host("a")), None, "nobody needs it");
        create(&stage, &format!("--ipv6 {option}"));
        let web = stage.start("a", "web", "--network safe");
        let client = stage.start("b", "client", "--network safe");
        let _server = traffic::Server::tcp(&web, "web", "[::]:80");
        assert_eq!(process(stage.host("b")).is_some(), encrypted);
        // What a pair hands over joined is cut up inside the encrypted tunnel.
        let tunnel = place(&stage, "b", "safe");
        assert_eq!(tunnel.enter(|| gro::joins("vxlan0")), encrypted);
        let link = client.ip("-o link show eth0");
        assert!(link.contains(&format!("mtu {mtu} ")), "{link}");
        let wire = stage.watch();
        for family in ["A", "AAAA"] {
            let mut address = String::new();
            eventually("the name is known", SOON, || {
                address = stage.resolve(&client, "web", family);
                !address.is_empty()
            });
            let to = match family {
                "A" => format!("{address}:80"),
                _ => format!("[{address}]:80"),
            };
            let mut said = false;
            eventually("it is said", SOON, || {
                let opened = traffic::Conversation::open(&client, &to);
                said = opened.is_ok_and(|mut talk| talk.say(MARK).is_ok());
                said
            });
        }
        let seen = wire.seen(stage.host("a"), &stage.addr("b"));
        assert_eq!(seen.holds(MARK), !encrypted);
        assert_eq!(seen.packets_to(VXLAN) > 0, !encrypted);
        assert_eq!(seen.packets_to(WIREGUARD) > 0, encrypted);
        for (host, name) in [("a", "web"), ("b", "client")] {
            stage.docker(host, &format!("rm -f {name}"));
        }
        eventually("the network goes", SOON, || {
            stage
                .daemon("a")
                .docker(["network", "rm", "safe"])
                .success()
        });
        for host in ["a", "b"] {
            eventually("gone", SOON, || !stage.knows(host, "safe"));
            assert_eq!(process(stage.host(host)), None, "nobody needs it more");
        }
    }
    stage.end();
}

fn whatever_dies_nothing_is_said_in_clear_text(kind: Kind) {
    require_programs!("tcpdump");
    let mut stage = in_user_space(Stage::new(kind, &["a", "b"]));
    create(&stage, "-o encrypted");
    let (web, client, to) = pair(&stage);
    let _server = traffic::Server::tcp(&web, "web", "0.0.0.0:80");
    let mut talk = traffic::Conversation::open(&client, &format!("{to}:80")).unwrap();
    let wire = stage.watch();
    talk.say(MARK).unwrap();
    // The daemon: packets go on.
    let carrier = process(stage.host("b"));
    stage.kill("b");
    talk.say(MARK).unwrap();
    assert!(traffic::ping(&client, &to));
    stage.forget("b");
    talk.say(MARK).unwrap();
    assert_eq!(process(stage.host("b")), carrier, "it was found");
    // The process: they wait for another one.
    kill(stage.host("b"));
    eventually("packets pass again", SOON, || traffic::ping(&client, &to));
    talk.say(MARK).unwrap();
    assert_ne!(process(stage.host("b")), carrier);
    // Both: there is nobody to start one.
    stage.kill("b");
    kill(stage.host("b"));
    stays("nothing passes", WHILE, || !traffic::ping(&client, &to));
    stage.forget("b");
    eventually("packets pass again", SOON, || traffic::ping(&client, &to));
    let mut talk = traffic::Conversation::open(&client, &format!("{to}:80")).unwrap();
    talk.say(MARK).unwrap();
    // The interface: there is another way out, but not for this network.
    let way = format!("route add {to} via {}", stage.addr("a"));
    stage.host("b").ip(&way);
    stage.kill("b");
    client.ip("link del eth0");
    let socket = client.enter(|| UdpSocket::bind("0.0.0.0:0")).unwrap();
    let sent = socket.send_to(MARK.as_bytes(), format!("{to}:80"));
    assert!(sent.is_err(), "it is not sent by another way");
    stage.host("b").ip(&way.replace("add", "del"));
    stage.restart_with("b", &[]);
    eventually("packets pass again", SOON, || traffic::ping(&client, &to));
    let seen = wire.seen(stage.host("a"), &stage.addr("b"));
    assert!(!seen.holds(MARK));
    assert_eq!(seen.packets_to(VXLAN), 0);
    assert!(seen.packets_to(WIREGUARD) > 0);
    stage.end();
}

fn a_process_that_hangs_is_replaced_and_holds_nobody_up(kind: Kind) {
    let mut stage = in_user_space(Stage::new(kind, &["a", "b"]));
    create(&stage, "-o encrypted");
    stage.docker("a", "network create -d overlay open");
    eventually("the network is there", SOON, || stage.knows("b", "open"));
    let (_web, client, to) = pair(&stage);
    let open = stage.start("b", "open", "--network open");
    let stopped = signal(stage.host("b"), Signal::STOP);
    drop(stage.start("a", "near", "--network open"));
    eventually("clear text goes on", SOON, || {
        let near = stage.resolve(&open, "near", "A");
        !near.is_empty() && traffic::ping(&open, &near)
    });
    eventually("packets pass again", SOON, || traffic::ping(&client, &to));
    assert_ne!(process(stage.host("b")), Some(stopped), "it is ended");
    // A daemon that finds one so.
    stage.kill("b");
    let stopped = signal(stage.host("b"), Signal::STOP);
    stage.start_inside("b");
    eventually("packets pass again", SOON, || traffic::ping(&client, &to));
    assert_ne!(process(stage.host("b")), Some(stopped), "it is ended");
    signal(stage.host("b"), Signal::STOP);
    let before = Instant::now();
    stage.docker("b", "rm -f client");
    assert!(before.elapsed() < SOON, "nobody leaves so slowly");
    assert_eq!(process(stage.host("b")), None, "it is ended");
    stage.end();
}

fn with_a_full_disk_a_host_keeps_its_key_and_encrypts_on(kind: Kind) {
    let mut stage = in_user_space(Stage::new(kind, &["a", "b"]));
    let disk = stage.on_a_small_disk("b");
    for host in ["a", "b"] {
        stage.set_env(host, PERIOD, Some("2"));
    }
    create(&stage, "-o encrypted");
    let (_web, client, to) = pair(&stage);
    let client_at = stage.address("b", "client", "safe");
    disk.fill();
    eventually("b can keep no other key", SOON, || {
        stage.daemon("b").log().contains("tunnel.key")
    });
    let kept = key(&stage, "b");
    kill(stage.host("b"));
    eventually("packets pass again", SOON, || traffic::ping(&client, &to));
    stage.join("c");
    eventually("the network is there", SOON, || stage.knows("c", "safe"));
    let late = stage.start("c", "late", "--network safe");
    eventually("who joins is heard", SOON, || {
        traffic::ping(&late, &client_at)
    });
    for _ in 0..2 {
        let former = key(&stage, "a");
        eventually("b takes in others' keys", SOON, || {
            key(&stage, "a") != former
        });
    }
    assert_eq!(key(&stage, "b"), kept);
    assert!(traffic::ping(&client, &to));
    disk.clear();
    eventually("with room it has another", SOON, || {
        key(&stage, "b") != kept
    });
    for host in ["a", "b"] {
        stage.set_env(host, PERIOD, None);
    }
    stage.end();
}

fn a_host_whose_keys_cannot_be_used_does_without_encrypted_networks(kind: Kind) {
    require_programs!("tcpdump");
    let mut stage = in_user_space(Stage::new(kind, &["a", "b"]));
    create(&stage, "-o encrypted");
    let (_web, client, to) = pair(&stage);
    assert!(traffic::ping(&client, &to));
    let file = stage.daemon("b").data_root().join("tunnel.key");
    let kept = fs::read(&file).expect("it has keys");
    stage.kill("b");
    fs::write(&file, "no keys").expect("the folder is ours");
    let wire = stage.watch();
    stage.restart_with("b", &[]);
    let warned = stage.api("b", "/info")["Warnings"].to_string();
    assert!(warned.contains("tunnel.key"), "{warned}");
    // What is of this host alone goes on.
    stage.docker("b", "network create own");
    stage.docker("b", "run -d --name here --network own host sleep 1000");
    let refused = stage.refused("b", "run --rm --network safe host true");
    assert!(refused.contains("no encrypted tunnel"), "{refused}");
    assert!(!traffic::ping(&client, &to));
    let way = format!("route add {to} via {}", stage.addr("a"));
    stage.host("b").ip(&way);
    let socket = client.enter(|| UdpSocket::bind("0.0.0.0:0")).unwrap();
    // Whether it is refused or sent and dropped.
    let _ = socket.send_to(MARK.as_bytes(), format!("{to}:80"));
    stage.host("b").ip(&way.replace("add", "del"));
    let seen = wire.seen(stage.host("b"), &stage.addr("a"));
    assert!(!seen.holds(MARK));
    assert_eq!(seen.packets_to(VXLAN), 0);
    fs::write(&file, kept).expect("the folder is ours");
    stage.restart_with("b", &[]);
    eventually("packets pass again", SOON, || traffic::ping(&client, &to));
    stage.end();
}

/// A conversation goes on while both hosts, whose keys are used for two seconds, change them several
/// times; tells how long a packet waited at most.
pub(crate) fn talk_while_keys_change(stage: &mut Stage) -> Duration {
    for host in ["a", "b"] {
        stage.set_env(host, PERIOD, Some("2"));
    }
    create(stage, "-o encrypted");
    let (web, client, to) = pair(stage);
    let _server = traffic::Server::tcp(&web, "web", "0.0.0.0:80");
    let mut talk = traffic::Conversation::open(&client, &format!("{to}:80")).unwrap();
    let mut known = [Vec::new(), Vec::new()];
    let mut changed = [0, 0];
    let mut longest = Duration::ZERO;
    eventually("keys change", LEASE, || {
        let before = Instant::now();
        talk.say(MARK).unwrap();
        longest = longest.max(before.elapsed());
        for (at, key) in [key(stage, "a"), key(stage, "b")].into_iter().enumerate() {
            if known[at] != key {
                known[at] = key;
                changed[at] += 1;
            }
        }
        changed.iter().all(|count| *count > 4)
    });
    for host in ["a", "b"] {
        stage.set_env(host, PERIOD, None);
    }
    talk.say(MARK).unwrap();
    longest
}

fn keys_change_and_no_connection_breaks(kind: Kind) {
    let mut stage = in_user_space(Stage::new(kind, &["a", "b"]));
    let longest = talk_while_keys_change(&mut stage);
    assert!(
        longest < Duration::from_secs(1),
        "a packet waited {longest:?}"
    );
    stage.end();
}

fn a_key_is_kept_until_every_host_takes_in_the_next(kind: Kind) {
    let mut stage = in_user_space(Stage::new(kind, &["a", "b"]));
    create(&stage, "-o encrypted");
    let idle = key(&stage, "a");
    stage.set_env("a", PERIOD, Some("1"));
    stays("nothing encrypted stands", Duration::from_secs(2), || {
        key(&stage, "a") == idle
    });
    let _one = stage.start("a", "web", "--network safe");
    eventually("b is idle", SOON, || key(&stage, "a") != idle);
    let _other = stage.start("b", "client", "--network safe");
    let first = key(&stage, "a");
    eventually("b takes it in", SOON, || key(&stage, "a") != first);
    // One that was stopped counts as alive for a minute.
    stage.stop("b");
    let (mut kept, mut since) = (key(&stage, "a"), Instant::now());
    eventually("what b took in before is used", SOON, || {
        let now = key(&stage, "a");
        if now != kept {
            (kept, since) = (now, Instant::now());
        }
        since.elapsed() > Duration::from_secs(2)
    });
    stays("it is kept", Duration::from_secs(3), || {
        key(&stage, "a") == kept
    });
    stage.set_env("b", PERIOD, Some("1"));
    eventually("b takes in the next", SOON, || key(&stage, "a") != kept);
    stage.end();
}

fn a_host_alone_sends_nothing_and_its_containers_speak(kind: Kind) {
    require_programs!("tcpdump");
    let stage = in_user_space(Stage::new(kind, &["a"]));
    stage.docker("a", "network create -d overlay -o encrypted safe");
    let web = stage.start("a", "web", "--network safe");
    let client = stage.start("a", "client", "--network safe");
    let _server = traffic::Server::tcp(&web, "web", "0.0.0.0:80");
    let wire = stage.watch();
    let to = stage.resolve(&client, "web", "A");
    let mut talk = traffic::Conversation::open(&client, &format!("{to}:80")).unwrap();
    talk.say(MARK).unwrap();
    let seen = wire.seen(stage.host("a"), "192.0.2.99");
    assert!(!seen.holds(MARK));
    assert_eq!(seen.packets_to(VXLAN) + seen.packets_to(WIREGUARD), 0);
    stage.end();
}

fn a_port_that_somebody_has_is_left_to_them(kind: Kind) {
    let mut stage = in_user_space(Stage::new(kind, &["a", "b"]));
    let taken = (stage.addr("b"), WIREGUARD);
    let taken = stage
        .host("b")
        .enter(|| UdpSocket::bind(taken.clone()))
        .unwrap();
    create(&stage, "-o encrypted");
    let (_web, client, to) = pair(&stage);
    let log = stage.daemon("b").log();
    let why = format!(
        "(process {}) has it: encrypted packets come in at UDP port 51821",
        std::process::id()
    );
    assert!(
        log.contains("UDP port 51820 is not free") && log.contains(&why),
        "{log}"
    );
    let next = (stage.addr("b"), WIREGUARD + 1);
    let bound = stage.host("b").enter(|| UdpSocket::bind(next.clone()));
    assert_eq!(bound.unwrap_err().kind(), io::ErrorKind::AddrInUse);
    // A daemon that starts finds the port, and tells it as before.
    stage.forget("b");
    assert!(traffic::ping(&client, &to));
    // Another process keeps it, whoever is gone by now.
    drop(taken);
    kill(stage.host("b"));
    eventually("packets pass again", SOON, || traffic::ping(&client, &to));
    let bound = stage.host("b").enter(|| UdpSocket::bind(next.clone()));
    assert_eq!(bound.unwrap_err().kind(), io::ErrorKind::AddrInUse);
    stage.end();
}

fn hosts_that_speak_ipv6_alone_encrypt_too(kind: Kind) {
    require_programs!("tcpdump");
    let stage = in_user_space(Stage::over_ipv6(kind, &["a", "b"]));
    create(&stage, "-o encrypted");
    let wire = stage.watch();
    let (_web, client, _) = pair(&stage);
    let link = client.ip("-o link show eth0");
    assert!(link.contains("mtu 1350 "), "{link}");
    let seen = wire.seen(stage.host("a"), &stage.addr("b"));
    assert_eq!(seen.packets_to(VXLAN), 0);
    assert!(seen.packets_to(WIREGUARD) > 0);
    stage.end();
}

fn an_endpoint_whose_packets_nobody_would_carry_is_refused(kind: Kind) {
    let stage = in_user_space(Stage::new(kind, &["a", "b"]));
    create(&stage, "-o encrypted");
    let run = stage.daemon("a").exec_root();
    let socket = run.join("wireguard.sock");
    fs::create_dir(&socket).unwrap();
    let refused = stage.refused("a", "run -d --name web --network safe host sleep 9");
    assert!(
        refused.contains("encrypted packets cannot be carried"),
        "{refused}"
    );
    assert!(!run.join("netns/tunnel").exists(), "nothing is left of it");
    fs::remove_dir(&socket).unwrap();
    stage.docker("a", "rm -f web");
    let (_web, client, to) = pair(&stage);
    assert!(traffic::ping(&client, &to));
    stage.end();
}

fn rules_that_others_flush_come_back_and_nothing_is_said_in_clear_text_meanwhile(kind: Kind) {
    require_programs!("tcpdump", "iptables");
    let stage = in_user_space(Stage::new(kind, &["a", "b"]));
    create(&stage, "-o encrypted");
    let (web, client, to) = pair(&stage);
    let _server = traffic::Server::tcp(&web, "web", "0.0.0.0:80");
    let mut talk = traffic::Conversation::open(&client, &format!("{to}:80")).unwrap();
    let rules = |host: &str| {
        let listed = stage
            .host(host)
            .run(["nft", "-s", "list", "table", "inet", "vethwork"]);
        listed.success().then(|| listed.ok())
    };
    let before = ["a", "b"].map(rules);
    assert!(before.iter().all(Option::is_some));
    let wire = stage.watch();
    for _ in 0..3 {
        for host in ["a", "b"] {
            stage.host(host).run(["nft", "flush", "ruleset"]).must();
            talk.say(MARK).unwrap();
            stage.host(host).run(["iptables", "-F"]).must();
            talk.say(MARK).unwrap();
        }
        eventually("the rules are back", SOON, || {
            ["a", "b"].map(rules) == before
        });
    }
    assert!(traffic::ping(&client, &to));
    talk.say(MARK).unwrap();
    let seen = wire.seen(stage.host("a"), &stage.addr("b"));
    assert!(!seen.holds(MARK));
    assert_eq!(seen.packets_to(VXLAN), 0);
    assert!(seen.packets_to(WIREGUARD) > 0);
    stage.end();
}

//! A host that leaves its cluster, or is given up, while containers there send to an encrypted network.

use crate::{
    encryption::{MARK, VXLAN, WIREGUARD, create, in_user_space, process},
    over_one_store,
    stage::{Kind, LEASE, Stage, lease},
};
use std::{net::UdpSocket, time::Duration};
use vw_testkit::{Host, eventually, require_programs, stays, traffic};

over_one_store! {
    a_host_that_leaves_its_cluster_sends_nothing_in_clear_text,
    a_host_that_joins_another_cluster_sends_nothing_in_clear_text,
    a_host_that_was_given_up_sends_nothing_in_clear_text,
    a_host_whose_network_was_removed_sends_nothing_in_clear_text,
}

/// By which a daemon leaves its cluster.
const NONE: [&str; 2] = ["--cluster-store", "none"];
/// Time enough for many packets.
const WHILE: Duration = Duration::from_millis(700);

/// Who sends from b, each with another way out besides the network, and an address of a's there.
struct Senders {
    all: [Host; 3],
    to: String,
}

impl Senders {
    /// One with the gateway bridge, one with a network of b's own, and an adopted one with that.
    fn new(stage: &Stage) -> Self {
        create(stage, "-o encrypted --subnet 10.99.0.0/24");
        stage.docker("b", "network create own");
        drop(stage.start("a", "web", "--network safe"));
        let to = stage.address("a", "web", "safe");
        let one = stage.start("b", "one", "--network safe");
        let two = stage.start("b", "two", "--network own");
        stage.docker("b", "network connect safe two");
        let guest = stage.lab().host("guest");
        let netns = guest.netns().display().to_string();
        let line = format!("adopt --netns {netns} --name guest --network own");
        stage.cli("b", &line);
        stage.docker("b", "network connect safe guest");
        // By which what is not taken in the containers passes the wire.
        let way = format!("route add 10.99.0.0/24 via {}", stage.addr("a"));
        stage.host("b").ip(&way);
        let all = [one, two, guest];
        let senders = Self { all, to };
        senders.reach();
        senders
    }

    #[track_caller]
    fn reach(&self) {
        eventually("they are reached", LEASE, || {
            self.all.iter().all(|host| traffic::ping(host, &self.to))
        });
    }

    /// Which of them have no other way there.
    fn barred(&self) -> [bool; 3] {
        let bar = "unreachable 10.99.0.0/24";
        let barred = |host: &Host| host.ip("route").contains(bar);
        self.all.each_ref().map(barred)
    }

    /// Whether they have nothing more of the network.
    fn are_off(&self) -> bool {
        let is_off = |host: &Host| !host.ip("-4 addr").contains(" 10.99.0.");
        self.all.iter().all(is_off)
    }
}

/// Two hosts, and who sends from one of them.
#[track_caller]
fn set(kind: Kind) -> (Stage, Senders) {
    let stage = in_user_space(Stage::new(kind, &["a", "b"]));
    let senders = Senders::new(&stage);
    (stage, senders)
}

/// Has a give b up, whose daemon stands still: its wire stays, and what it was not told it does not know.
#[track_caller]
fn give_up(stage: &Stage) {
    stage.stand_still("b");
    eventually("b may be given up", LEASE * 2, || {
        stage.daemon("a").cli(["cluster", "forget", "b"]).success()
    });
}

/// Watches the wire while all send and something is done.
#[track_caller]
fn watched(stage: &mut Stage, senders: &Senders, work: impl FnOnce(&mut Stage)) {
    let wire = stage.watch();
    let to = format!("{}:9", senders.to);
    let send = |to: &String| {
        let socket = UdpSocket::bind("0.0.0.0:0").map_err(|error| error.to_string())?;
        // Whether it is refused, or sent and dropped.
        let _ = socket.send_to(MARK.as_bytes(), to);
        Ok(())
    };
    let ways: Vec<_> = senders.all.iter().map(|host| (host, to.clone())).collect();
    let ((), sent) = traffic::meanwhile(&ways, send, || work(stage));
    assert!(sent.iter().all(|one| one.asked > 100), "{sent:?}");
    let seen = wire.seen(stage.host("b"), &stage.addr("a"));
    assert!(!seen.holds(MARK), "it left in clear text");
    assert_eq!(seen.packets_to(VXLAN), 0);
    assert!(seen.packets_to(WIREGUARD) > 0);
}

fn a_host_that_leaves_its_cluster_sends_nothing_in_clear_text(kind: Kind) {
    require_programs!("tcpdump");
    let (mut stage, senders) = set(kind);
    watched(&mut stage, &senders, |stage| {
        stage.start_outside("b", &NONE).unwrap();
        stays("they are off", WHILE, || senders.are_off());
        assert_eq!(process(stage.host("b")), None, "nobody needs it");
        // It may be left out from then on.
        stage.start_outside("b", &[]).unwrap();
        stays("they are off still", WHILE, || senders.are_off());
        stage.start_inside("b");
        senders.reach();
    });
    stage.cli("b", "release guest");
    stage.end();
}

fn a_host_that_joins_another_cluster_sends_nothing_in_clear_text(kind: Kind) {
    require_programs!("tcpdump");
    let (mut stage, senders) = set(kind);
    watched(&mut stage, &senders, |stage| {
        stage.start_outside("b", &NONE).unwrap();
        // As long as they are to be on its network, it goes on in the former.
        for _ in 0..2 {
            stage.start_in_another("b");
            let held = |stage: &Stage| {
                let status = stage.api("b", "/vethwork/cluster");
                let why = status["Error"].as_str().unwrap_or_default();
                why.contains("another cluster's") && stage.knows("b", "safe")
            };
            eventually("it is told why it does not join", LEASE, || held(stage));
            stays("it does not", lease(kind), || held(stage));
        }
    });
    for name in ["one", "two", "guest"] {
        stage.docker("b", &format!("network disconnect safe {name}"));
    }
    eventually("it joins", LEASE, || !stage.knows("b", "safe"));
    stage.cli("b", "release guest");
    stage.start_inside("b");
    stage.end();
}

fn a_host_whose_network_was_removed_sends_nothing_in_clear_text(kind: Kind) {
    require_programs!("tcpdump");
    let (mut stage, senders) = set(kind);
    watched(&mut stage, &senders, |stage| {
        give_up(stage);
        stage.docker("a", "rm -f web");
        stage.docker("a", "network rm safe");
        stage.go_on("b");
        eventually("b hears of it", lease(kind), || !stage.knows("b", "safe"));
        eventually("they are off", lease(kind), || senders.are_off());
        stays("they stay off", WHILE, || senders.are_off());
        // Another of its name is not what they are members of.
        stage.docker("b", "network create safe");
        stage.start_inside("b");
        stays("they are off still", WHILE, || senders.are_off());
    });
    assert_eq!(senders.barred(), [true; 3]);
    for name in ["one", "two", "guest"] {
        stage.docker("b", &format!("network disconnect safe {name}"));
        let refused = stage.refused("b", &format!("network disconnect safe {name}"));
        assert!(refused.contains("is not connected"), "{refused}");
    }
    assert_eq!(senders.barred(), [false; 3]);
    stage.cli("b", "release guest");
    stage.end();
}

fn a_host_that_was_given_up_sends_nothing_in_clear_text(kind: Kind) {
    require_programs!("tcpdump");
    let (mut stage, senders) = set(kind);
    let former = stage.address("b", "one", "safe");
    watched(&mut stage, &senders, |stage| {
        give_up(stage);
        let thief = format!("--network safe --ip {former}");
        drop(stage.start("a", "thief", &thief));
        stage.go_on("b");
        eventually("b is made consistent", lease(kind), || {
            let now = stage.address("b", "one", "safe");
            !now.is_empty() && now != former
        });
        senders.reach();
    });
    stage.cli("b", "release guest");
    stage.end();
}

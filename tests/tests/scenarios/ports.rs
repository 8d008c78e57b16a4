//! Published ports: every form, and everyone who may and may not reach them.

use crate::{
    require_stage,
    scene::{HOST, HOST6, OUTSIDE, Scene},
};
use std::time::Duration;
use vw_testkit::{Host, Snapshot, traffic};

/// Whether a server of this name answers there.
fn reaches(from: &Host, to: &str, name: &str) -> bool {
    traffic::tcp(from, to).is_ok_and(|answer| answer.name == name)
}

/// Undoes what a test did to send to 127/8 by the wire; the resolver is there.
fn give_localhost_back(inside: &Host) {
    inside.ip("addr add 127.0.0.1/8 dev lo");
}

#[test]
fn a_published_port_is_reached_from_everywhere() {
    require_stage!();
    let scene = Scene::new();
    scene.docker("network create --ipv6 --subnet 10.9.0.0/24 --subnet fd00:9::/64 blue");
    let web = scene.start("web", "--network blue -p 8080:80 -p 5353:53/udp");
    let near = scene.start("near", "--network blue");
    let _tcp = traffic::Server::tcp(&web, "web", "[::]:80");
    let _udp = traffic::Server::udp(&web, "web", "[::]:53");
    let bridge = "10.9.0.1";
    for (from, to) in [
        (&scene.outside, format!("{HOST}:8080")),
        (&scene.outside, format!("[{HOST6}]:8080")),
        (&scene.host, format!("{HOST}:8080")),
        (&scene.host, format!("[{HOST6}]:8080")),
        (&scene.host, format!("{bridge}:8080")),
        (&scene.host, "127.0.0.1:8080".to_owned()),
        (&scene.host, "127.9.9.9:8080".to_owned()),
        (&scene.host, "[::1]:8080".to_owned()),
        (&scene.host, format!("{}:80", scene.address("web", "blue"))),
        (&near, format!("{HOST}:8080")),
        (&near, format!("[{HOST6}]:8080")),
        (&near, format!("{bridge}:8080")),
        (&web, format!("{HOST}:8080")),
        (&web, format!("[{HOST6}]:8080")),
    ] {
        assert!(reaches(from, &to, "web"), "from {} to {to}", from.name());
    }
    for (from, to) in [
        (&scene.outside, format!("{HOST}:5353")),
        (&scene.outside, format!("[{HOST6}]:5353")),
        (&scene.host, "127.0.0.1:5353".to_owned()),
        (&scene.host, format!("{HOST}:5353")),
        (&near, format!("{HOST}:5353")),
        (&web, format!("{HOST}:5353")),
    ] {
        let answer = traffic::udp(from, &to);
        assert!(
            answer.is_ok_and(|answer| answer.name == "web"),
            "udp from {} to {to}",
            from.name()
        );
    }
    let answer = traffic::tcp(&scene.outside, &format!("{HOST}:8080")).expect("reachable");
    let seen = answer.seen.ip().to_string();
    assert_eq!(
        seen,
        format!("::ffff:{OUTSIDE}"),
        "the client's address is kept"
    );
    scene.docker("stop -t 0 web");
    assert!(traffic::tcp(&scene.outside, &format!("{HOST}:8080")).is_err());
    scene.end();
}

#[test]
fn every_form_of_publishing_is_shown_as_docker_does() {
    require_stage!();
    let scene = Scene::new();
    scene.docker("network create --ipv6 blue");
    for (number, (form, expected)) in [
        ("-p 8080:80", "80/tcp -> 0.0.0.0:8080\n80/tcp -> [::]:8080"),
        ("-p 127.0.0.1:8081:80", "80/tcp -> 127.0.0.1:8081"),
        ("-p 8082:80/udp", "80/udp -> 0.0.0.0:8082\n80/udp -> [::]:8082"),
        ("-p [::1]:8083:80", "80/tcp -> [::1]:8083"),
        ("-p 8084-8085:80-81 -p 192.0.2.1:8086:82", "80/tcp -> 0.0.0.0:8084\n80/tcp -> [::]:8084\n81/tcp -> 0.0.0.0:8085\n81/tcp -> [::]:8085\n82/tcp -> 192.0.2.1:8086"),
        ("-p 8080:80/udp", "80/udp -> 0.0.0.0:8080\n80/udp -> [::]:8080"),
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("web{number}");
        scene.start(&name, &format!("--network blue {form}"));
        assert_eq!(scene.docker(&format!("port {name}")), expected, "{form}");
        assert_eq!(scene.cli(&format!("port {name}")), expected, "{form}");
    }
    scene.start("range", "--network blue -p 9000-9001:80");
    assert!(scene.docker("port range 80").starts_with("0.0.0.0:9000"));
    scene.start("next", "--network blue -p 9000-9001:80");
    assert!(scene.docker("port next 80").starts_with("0.0.0.0:9001"));

    let low: u32 = scene
        .host
        .sh("cut -f1 /proc/sys/net/ipv4/ip_local_port_range")
        .ok()
        .parse()
        .expect("a number");
    for (name, form) in [
        ("any", "-p 80"),
        ("bound", "-p 127.0.0.1::80"),
        ("all", "-P --expose 80"),
    ] {
        scene.start(name, &format!("--network blue {form}"));
        let shown = scene.docker(&format!("port {name} 80"));
        let port = shown
            .lines()
            .next()
            .and_then(|line| line.rsplit(':').next());
        let port: u32 = port.and_then(|port| port.parse().ok()).expect("a port");
        assert!(port >= low, "{form}: {shown}");
    }
    let refusal = scene.refused("port web0 99");
    assert!(refusal.contains("No public port '99"), "{refusal}");
    scene.end();
}

#[test]
fn a_port_published_on_localhost_is_for_this_host_alone() {
    require_stage!();
    let scene = Scene::new();
    scene.docker("network create --ipv6 --subnet 10.9.0.0/24 --subnet fd00:9::/64 blue");
    let web = scene.start(
        "web",
        "--network blue -p 127.0.0.1:8080:80 -p [::1]:8080:80",
    );
    let near = scene.start("near", "--network blue");
    let _server = traffic::Server::tcp(&web, "web", "[::]:80");
    for to in ["127.0.0.1:8080", "[::1]:8080"] {
        assert!(reaches(&scene.host, to, "web"), "{to}");
    }
    // Neighbours on the wire and containers send to 127.0.0.1 by us.
    scene
        .outside
        .sh(
            "sysctl -qw net.ipv4.conf.all.route_localnet=1 net.ipv4.conf.wire.route_localnet=1; \
         ip addr del 127.0.0.1/8 dev lo; ip route add 127.0.0.1/32 via 192.0.2.1",
        )
        .must();
    near.sh("ip addr del 127.0.0.1/8 dev lo; ip route add 127.0.0.1/32 via 10.9.0.1")
        .must();
    // And to what stands for ::1 on the way.
    scene
        .outside
        .ip(&format!("route add 100::7677:1/128 via {HOST6}"));
    for (from, to) in [
        (&scene.outside, format!("{HOST}:8080")),
        (&scene.outside, format!("[{HOST6}]:8080")),
        (&scene.outside, "127.0.0.1:8080".to_owned()),
        (&near, format!("{HOST}:8080")),
        (&near, "10.9.0.1:8080".to_owned()),
        (&near, "127.0.0.1:8080".to_owned()),
        (&scene.outside, "[100::7677:1]:8080".to_owned()),
        (&near, "[100::7677:1]:8080".to_owned()),
    ] {
        assert!(!reaches(from, &to, "web"), "from {} to {to}", from.name());
    }
    give_localhost_back(&near);
    scene.end();
}

#[test]
fn localhost_of_the_host_stays_its_own() {
    require_stage!();
    let scene = Scene::new();
    scene.docker("network create --subnet 10.9.0.0/24 blue");
    let web = scene.start("web", "--network blue -p 8080:80");
    let _web = traffic::Server::tcp(&web, "web", "0.0.0.0:80");
    assert!(reaches(&scene.host, "127.0.0.1:8080", "web"));
    // Publishing may have let 127/8 be routed; nobody else may use that.
    let _private = traffic::Server::tcp(&scene.host, "private", "127.0.0.1:7000");
    for (from, gateway) in [(&scene.outside, HOST), (&web, "10.9.0.1")] {
        let device = if gateway == HOST { "wire" } else { "eth0" };
        from.sh(&format!(
            "ip addr del 127.0.0.1/8 dev lo; ip route add 127.0.0.0/8 via {gateway} dev {device}"
        ))
        .must();
        assert!(
            traffic::tcp(from, "127.0.0.1:7000").is_err(),
            "from {}",
            from.name()
        );
    }
    give_localhost_back(&web);
    scene.end();
}

#[test]
fn a_port_in_use_is_refused_and_nothing_is_kept() {
    require_stage!();
    let scene = Scene::new();
    scene.docker("network create blue");
    let stranger = traffic::Server::tcp(&scene.host, "stranger", "0.0.0.0:8080");
    scene.start("web", "--network blue -p 9090:80");
    // The stranger is a thread of this one.
    let me = format!(" (process {}) has it: stop that", std::process::id());
    for (name, port, holder) in [
        ("one", 8080, me.as_str()),
        ("two", 9090, "container web publishes it: stop that"),
    ] {
        let form = format!("{port}:80");
        let words = [
            "run",
            "-d",
            "--name",
            name,
            "--network",
            "blue",
            "-p",
            &form,
            "host",
            "sleep",
            "9",
        ];
        let output = scene.daemon.docker(words);
        assert_eq!(output.code(), Some(125), "{output:?}");
        for said in ["port is already allocated: ", holder] {
            assert!(output.stderr.contains(said), "{said}: {output:?}");
        }
        scene.docker(&format!("rm -f {name}"));
    }
    assert!(reaches(&scene.outside, &format!("{HOST}:8080"), "stranger"));
    let taken =
        std::panic::catch_unwind(|| traffic::Server::tcp(&scene.host, "late", "0.0.0.0:9090"));
    assert!(taken.is_err(), "a published port is reserved on the host");
    drop(stranger);
    let three = scene.start("three", "--network blue -p 8080:80");
    let _server = traffic::Server::tcp(&three, "three", "0.0.0.0:80");
    assert!(reaches(&scene.outside, &format!("{HOST}:8080"), "three"));
    scene.docker("rm -f web");
    let _free = traffic::Server::tcp(&scene.host, "late", "0.0.0.0:9090");
    scene.end();
}

#[test]
fn a_full_ephemeral_range_is_told_and_nothing_is_kept() {
    require_stage!();
    let mut scene = Scene::new();
    let range = "/proc/sys/net/ipv4/ip_local_port_range";
    let former = scene.host.sh(&format!("cat {range}")).ok();
    // The daemon reads it when it starts.
    let set = |scene: &mut Scene, ports: &str| {
        scene.host.sh(&format!("echo {ports} >{range}")).must();
        scene.daemon.restart();
    };
    set(&mut scene, "40000 40001");
    scene.docker("network create blue");
    scene.start("one", "--network blue -p 80");
    let before = Snapshot::take(&[&scene.host], &[&scene.daemon.exec_root()]);
    for form in [
        "-P --expose 80 --expose 81",
        "-p 80/udp -p 80 -p 81",
        "-p 127.0.0.1::80 -p 81",
    ] {
        let line = format!("run --rm --network blue {form} host true");
        let output = scene.daemon.docker(line.split(' '));
        assert_eq!(output.code(), Some(125), "{form}: {output:?}");
        let told = "all ports are allocated: none of 40000-40001/tcp is free";
        assert!(output.stderr.contains(told), "{form}: {output:?}");
        before.assert_restored();
    }
    // What was refused holds no port: of each protocol those are free that were.
    let two = scene.start("two", "--network blue -p 80 -p 80/udp -p 81/udp");
    let _server = traffic::Server::tcp(&two, "two", "0.0.0.0:80");
    assert!(reaches(&scene.outside, &format!("{HOST}:40001"), "two"));
    scene.docker("rm -f one");
    set(&mut scene, "40000 40002");
    let three = scene.start("three", "--network blue -P --expose 80 --expose 81");
    let _server = traffic::Server::tcp(&three, "three", "0.0.0.0:80");
    let shown = scene.docker("port three 80");
    let port = shown
        .lines()
        .next()
        .unwrap_or_default()
        .replace("0.0.0.0", HOST);
    assert!(reaches(&scene.outside, &port, "three"), "{shown}");
    set(&mut scene, &former.replace('\t', " "));
    scene.end();
}

#[test]
fn what_is_published_in_vain_is_told() {
    require_stage!();
    let scene = Scene::new();
    scene.docker("network create --ipv4=false --ipv6 six");
    scene.docker("network create --ipv6 both");
    let told = |line: &str| {
        let words: Vec<&str> = line.split(' ').collect();
        let outputs = [scene.daemon.docker(&words), scene.daemon.cli(&words)];
        outputs.map(|output| {
            output.must();
            output.stderr
        })
    };
    let vain = "80/tcp is not published on 127.0.0.1: none of the container's networks";
    for (form, expected) in [
        ("--network six -p 127.0.0.1:8080:80", true),
        ("-p [::1]:8080:80", false),
        ("--network six -p 8080:80", false),
        ("--network both -p 127.0.0.1:8080:80", false),
    ] {
        for stderr in told(&format!("run --rm {form} host true")) {
            assert_eq!(stderr.contains(vain), expected, "{form}: {stderr}");
        }
    }
    let guest = scene.lab.host("guest");
    let path = guest.netns().display();
    let line = format!("adopt --netns {path} --name guest --network six -p 127.0.0.1:8080:80");
    let output = scene.daemon.cli(line.split(' '));
    output.must();
    assert!(output.stderr.contains(vain), "{output:?}");
    scene.end();
}

/// Ports of a container without IPv6, and whether they answer who asks there.
const TRANSLATED: [(&str, bool); 14] = [
    ("[2001:db8::1]:8080", true),
    ("[::1]:8080", true),
    ("127.0.0.1:8080", true),
    ("192.0.2.1:8080", true),
    ("[::1]:8081", true),
    ("[2001:db8::1]:8081", false),
    ("127.0.0.1:8081", false),
    ("[2001:db8::1]:8082", true),
    ("[::1]:8082", false),
    ("192.0.2.1:8082", false),
    ("127.0.0.1:8083", true),
    ("[::1]:8083", false),
    ("192.0.2.1:8084", true),
    ("[2001:db8::1]:8084", false),
];

fn translates(scene: &Scene) -> bool {
    scene.host.sh("ip link show vw_translator").success()
}

/// What is reached directly alone is not translated to.
#[track_caller]
fn where_routed_it_is_not_translated(scene: &Scene) {
    let routed = "-o com.docker.network.bridge.gateway_mode_ipv4=routed";
    scene.docker(&format!("network create --ipv6 {routed} routed"));
    let off = "--sysctl net.ipv6.conf.all.disable_ipv6=1";
    scene.start("off", &format!("--network routed {off} -p 8090:80"));
    assert!(!scene.docker("port off").contains("[::]"));
    scene.docker("rm -f off");
}

/// Over IPv4 alone where the daemon makes no rules for IPv6, or the host does not forward.
#[track_caller]
fn where_it_cannot_be_translated(scene: &mut Scene) {
    for flag in ["--ip6tables=false", "--ip-forward=false"] {
        scene.daemon.restart_with(&[flag]);
        assert!(!translates(scene), "{flag}");
        for (to, answers) in [("127.0.0.1:8080", true), ("[::1]:8080", false)] {
            assert_eq!(reaches(&scene.host, to, "web"), answers, "{flag}: {to}");
        }
        let info = scene.daemon.cli(["info"]).stderr;
        let told = info.contains("start the daemon without --ip-forward=false");
        assert_eq!(told, flag == "--ip-forward=false", "{info}");
        scene.daemon.restart_with(&[]);
    }
}

#[test]
fn a_container_without_ipv6_answers_over_ipv6() {
    require_stage!();
    let mut scene = Scene::new();
    scene.docker("network create four");
    scene.docker("network create --ipv6 both");
    let ports = "-p 8080:80 -p 5353:53/udp -p [::1]:8081:80 -p [2001:db8::1]:8082:80 \
                 -p 127.0.0.1:8083:80 -p 0.0.0.0:8084:80";
    let web = scene.start("web", &format!("--network four {ports}"));
    let other = scene.start("other", "--network both");
    let _tcp = traffic::Server::tcp(&web, "web", "0.0.0.0:80");
    let _udp = traffic::Server::udp(&web, "web", "0.0.0.0:53");
    let look = |scene: &Scene| {
        for (to, answers) in TRANSLATED {
            assert_eq!(reaches(&scene.host, to, "web"), answers, "{to}");
        }
        for (from, to) in [
            (&scene.outside, format!("[{HOST6}]:8080")),
            (&scene.outside, format!("[{HOST6}]:8082")),
            (&other, format!("[{HOST6}]:8080")),
        ] {
            assert!(reaches(from, &to, "web"), "from {} to {to}", from.name());
        }
        let loopback = traffic::udp(&scene.host, "[::1]:5353");
        assert!(loopback.is_ok_and(|answer| answer.name == "web"));
        let answer = traffic::udp(&scene.outside, &format!("[{HOST6}]:5353"));
        assert!(answer.is_ok_and(|answer| answer.name == "web"));
    };
    look(&scene);
    assert_eq!(
        scene.docker("port web 53/udp"),
        "0.0.0.0:5353\n[::]:5353",
        "as Docker tells it"
    );
    let refusal = scene.refused("run -d --network both -p [::1]:8080:80 host sleep 1000");
    assert!(refusal.contains("port is already allocated"), "{refusal}");
    let answer = traffic::tcp(&scene.outside, &format!("[{HOST6}]:8080")).expect("reachable");
    assert_eq!(answer.seen.ip().to_string(), "192.0.0.6", "the host asks");
    scene.forget();
    look(&scene);
    where_routed_it_is_not_translated(&scene);
    where_it_cannot_be_translated(&mut scene);
    look(&scene);
    // It goes with the last that needs it.
    assert!(translates(&scene));
    scene.docker("stop -t 0 web");
    vw_testkit::eventually("nothing translates", Duration::from_secs(10), || {
        !translates(&scene)
    });
    scene.end();
}

#[test]
fn ipv6_only_and_host_networks() {
    require_stage!();
    let scene = Scene::new();
    scene.docker("network create --ipv4=false --ipv6 --subnet fd00:9::/64 six");
    let web = scene.start("web", "--network six -p 8080:80");
    assert_eq!(scene.address("web", "six"), "");
    let _server = traffic::Server::tcp(&web, "web", "[::]:80");
    for (from, to) in [
        (&scene.outside, format!("[{HOST6}]:8080")),
        (&scene.host, "[::1]:8080".to_owned()),
    ] {
        assert!(reaches(from, &to, "web"), "from {} to {to}", from.name());
    }
    let names = scene.start("names", "--network six");
    let answer = names
        .run(["dig", "+short", "@127.0.0.11", "AAAA", "web"])
        .ok();
    assert_eq!(answer, scene.address6("web", "six"));
    scene.docker("run -d --name same --network host host sleep 1000");
    let links = scene.docker("exec same ip -br link");
    assert!(links.contains("wire"), "{links}");
    scene.docker("run -d --name alone --network none host sleep 1000");
    assert_eq!(scene.docker("exec alone ip -br link").lines().count(), 1);
    scene.end();
}

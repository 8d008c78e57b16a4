//! Names inside of sandboxes, asked by `dig` as any program would ask.

use crate::{
    require_stage,
    scene::{OUTSIDE, Scene},
    upstream::{Asked, STRINGS, Upstream},
};
use vw_testkit::Host;

/// What `dig` prints when asked from inside, by words of its own.
#[track_caller]
fn dig(inside: &Host, words: &str) -> String {
    let all = ["dig", "+tries=1", "+time=3", "@127.0.0.11"]
        .into_iter()
        .chain(words.split_whitespace());
    inside.run(all).ok()
}

#[track_caller]
fn short(inside: &Host, words: &str) -> String {
    dig(inside, &format!("+short {words}"))
}

#[test]
fn every_name_of_a_container_is_answered() {
    require_stage!();
    let scene = Scene::new();
    scene.docker("network create --ipv6 --subnet 10.9.0.0/24 --subnet fd00:9::/64 blue");
    let ask = scene.start("ask", "--network blue");
    scene.start(
        "web",
        "--network blue --network-alias www --ip 10.9.0.80 --ip6 fd00:9::80 -p 80",
    );
    let id = scene.docker("inspect -f {{.Id}} web");
    for name in [
        "web",
        "WeB",
        "web.",
        "www",
        "web.blue",
        "www.blue",
        &id[..12],
    ] {
        assert_eq!(short(&ask, name), "10.9.0.80", "{name}");
        assert_eq!(short(&ask, &format!("AAAA {name}")), "fd00:9::80", "{name}");
        assert_eq!(short(&ask, &format!("+tcp {name}")), "10.9.0.80", "{name}");
    }
    assert!(dig(&ask, "WeB").contains("\nWeB."), "the case is kept");
    let known = dig(&ask, "TXT web");
    assert!(
        known.contains("status: NOERROR") && known.contains("ANSWER: 0"),
        "{known}"
    );
    assert!(short(&ask, "-x 10.9.0.80").starts_with("web.blue."));
    assert!(short(&ask, "-x fd00:9::80").starts_with("web.blue."));
    let conf = scene.docker("exec ask cat /etc/resolv.conf");
    assert!(conf.contains("nameserver 127.0.0.11"), "{conf}");
    let hosts = scene.docker("exec ask cat /etc/hosts");
    assert!(hosts.contains("127.0.0.1\tlocalhost"), "{hosts}");

    scene.docker("rename web store");
    assert_eq!(short(&ask, "store"), "10.9.0.80");
    assert_eq!(short(&ask, "www"), "10.9.0.80");
    scene.docker("stop -t 0 store");
    let gone = dig(&ask, "store");
    assert!(!gone.contains("10.9.0.80"), "{gone}");
    scene.end();
}

#[test]
fn names_stay_inside_their_network() {
    require_stage!();
    let scene = Scene::new();
    scene.docker("network create --subnet 10.9.0.0/24 blue");
    scene.docker("network create --subnet 10.8.0.0/24 green");
    let ask = scene.start("ask", "--network blue");
    scene.start("other", "--network green");
    assert_eq!(short(&ask, "other"), "");
    scene.docker("network connect --alias friend blue other");
    assert_eq!(short(&ask, "other"), scene.address("other", "blue"));
    assert_eq!(short(&ask, "friend"), scene.address("other", "blue"));
    scene.docker("network disconnect blue other");
    assert_eq!(short(&ask, "other"), "");

    for name in ["one", "two"] {
        scene.start(name, "--network blue --network-alias pair");
    }
    let mut expected = [scene.address("one", "blue"), scene.address("two", "blue")];
    expected.sort();
    let both = short(&ask, "pair");
    let mut both: Vec<&str> = both.lines().collect();
    both.sort_unstable();
    assert_eq!(both, expected);
    scene.end();
}

#[test]
fn others_are_forwarded_but_never_out_of_an_internal_network() {
    require_stage!();
    let scene = Scene::new();
    scene.docker("network create blue");
    scene.docker("network create --internal closed");
    let upstream = Upstream::start(&scene.outside, &format!("{OUTSIDE}:53"));
    let ask = scene.start("ask", &format!("--network blue --dns {OUTSIDE}"));
    assert_eq!(short(&ask, "one.example.com"), "203.0.113.7");
    assert_eq!(short(&ask, "one.example.com"), "203.0.113.7");
    assert_eq!(upstream.take().len(), 1, "the second answer is cached");
    assert_eq!(short(&ask, "ask"), scene.address("ask", "blue"));
    assert_eq!(upstream.take(), [], "our own names are not forwarded");

    let inside = scene.start("inside", &format!("--network closed --dns {OUTSIDE}"));
    let refused = dig(&inside, "two.example.com");
    assert!(!refused.contains("203.0.113.7"), "{refused}");
    assert_eq!(upstream.take(), [], "nothing left the internal network");
    assert_eq!(short(&inside, "inside"), scene.address("inside", "closed"));
    drop(upstream);
    scene.end();
}

#[test]
fn long_answers_pass_by_edns_and_by_tcp() {
    require_stage!();
    let scene = Scene::new();
    scene.docker("network create blue");
    let upstream = Upstream::start(&scene.outside, &format!("{OUTSIDE}:53"));
    let ask = scene.start("ask", &format!("--network blue --dns {OUTSIDE}"));
    let asked = |tcp, edns| Asked { tcp, edns };
    let (count, length) = STRINGS;
    let is_whole = |answer: &str| {
        let strings = answer.lines().filter(|line| line.contains("TXT\t\"x"));
        strings.clone().count() == count && strings.clone().all(|line| line.len() > length)
    };
    // Without EDNS nothing long fits into a datagram, neither upstream nor back.
    let cut = dig(&ask, "+noedns +ignore TXT one.example.com");
    assert!(cut.contains("flags: qr tc") && !is_whole(&cut), "{cut}");
    let plain = [asked(false, None), asked(true, None)];
    assert_eq!(upstream.take(), plain, "cut, so asked again by TCP");
    let whole = dig(&ask, "+noedns TXT one.example.com");
    assert!(is_whole(&whole) && whole.contains("(TCP)"), "{whole}");
    // A client that takes long datagrams gets one; upstream, less is said to be taken.
    let long = dig(&ask, "+bufsize=4096 +ignore TXT two.example.com");
    assert!(is_whole(&long) && long.contains("(UDP)"), "{long}");
    assert!(long.contains("EDNS: version: 0"), "{long}");
    let [first, again] = upstream.take()[..] else {
        panic!("it was not asked twice")
    };
    assert_eq!((first.tcp, again.tcp), (false, true));
    assert!(
        first.edns.is_some_and(|(size, _)| size <= 1232),
        "{first:?}"
    );
    // What a client wants of DNSSEC goes along, and its stream is no reason for another one.
    let short = dig(&ask, "+dnssec +tcp three.example.com");
    assert!(short.contains("203.0.113.7"), "{short}");
    let [only] = upstream.take()[..] else {
        panic!("it was not asked once")
    };
    assert!(
        !only.tcp && only.edns.is_some_and(|(_, dnssec)| dnssec),
        "{only:?}"
    );
    drop(upstream);
    scene.end();
}

#[test]
fn a_server_of_the_users_own_on_port_53_works() {
    require_stage!();
    let scene = Scene::new();
    scene.docker("network create blue");
    let own = scene.start("own", "--network blue");
    let ask = scene.start("ask", "--network blue");
    let server = Upstream::start(&own, "0.0.0.0:53");
    let address = scene.address("own", "blue");
    for (from, to, way) in [
        (&ask, address.as_str(), "+notcp"),
        (&ask, &address, "+tcp"),
        (&own, &address, "+notcp"),
        (&own, "127.0.0.1", "+tcp"),
    ] {
        let words = [
            "dig",
            "+short",
            "+tries=1",
            way,
            &format!("@{to}"),
            "own.example.com",
        ];
        assert_eq!(from.run(words).ok(), "203.0.113.7", "{to} {way}");
    }
    assert_eq!(server.take().len(), 4);
    assert_eq!(
        short(&own, "ask"),
        scene.address("ask", "blue"),
        "and ours still does"
    );
    drop(server);
    scene.end();
}

#[test]
fn user_edits_of_etc_files_are_respected() {
    require_stage!();
    let scene = Scene::new();
    scene.docker("network create blue");
    scene.docker("run -d --name web --network blue --hostname shop --add-host extra:192.0.2.99 --dns 192.0.2.53 --dns-search lab.example --dns-option ndots:3 host sleep 1000");
    assert_eq!(scene.docker("exec web cat /etc/hostname"), "shop");
    assert_eq!(scene.docker("exec web hostname"), "shop");
    let hosts = scene.docker("exec web cat /etc/hosts");
    assert!(hosts.contains("192.0.2.99\textra"), "{hosts}");
    assert!(
        hosts.contains(&format!("{}\tshop", scene.address("web", "blue"))),
        "{hosts}"
    );
    let conf = scene.docker("exec web cat /etc/resolv.conf");
    for line in ["nameserver 127.0.0.11", "search lab.example", "ndots:3"] {
        assert!(conf.contains(line), "{line}: {conf}");
    }
    let edit = [
        "exec",
        "web",
        "sh",
        "-c",
        "echo '192.0.2.77 mine' >>/etc/hosts",
    ];
    scene.daemon.docker(edit).must();
    scene.docker("network create green");
    scene.docker("network connect green web");
    let hosts = scene.docker("exec web cat /etc/hosts");
    assert!(hosts.contains("192.0.2.77 mine"), "{hosts}");
    scene.end();
}

#[test]
fn the_names_of_a_service_that_nobody_serves_are_asked_of_nobody_else() {
    require_stage!();
    let scene = Scene::new();
    scene.docker("network create blue");
    scene.cli("service create --name web --network blue -p 8080:80");
    scene.cli("service create --name many --network blue --endpoint-mode dnsrr -p 8081:80");
    let near = scene.start("near", "--network blue");
    for question in [
        "many A",
        "many AAAA",
        "many.blue A",
        "tasks.many A",
        "tasks.web.blue A",
        "_80._tcp.many SRV",
        "_80._tcp.tasks.web SRV",
    ] {
        let words = ["dig", "+tries=1", "+time=2", "@127.0.0.11"];
        let answer = near.run(words.into_iter().chain(question.split(' '))).ok();
        // No endpoint has a port, but there is the name of all.
        let status = match question.ends_with("SRV") {
            true => "status: NXDOMAIN",
            false => "status: NOERROR",
        };
        let empty = answer.contains(status) && answer.contains("ANSWER: 0");
        assert!(empty, "{question}: {answer}");
    }
    scene.end();
}

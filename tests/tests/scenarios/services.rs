//! Services: one name, address and port over many endpoints, for everyone who may ask.

use crate::{
    require_stage,
    scene::{HOST, HOST6, OUTSIDE, Scene},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};
use vw_testkit::{Host, eventually, traffic};

const SOON: Duration = Duration::from_secs(10);

/// Which servers answer, and how often each, of so many connections.
#[track_caller]
pub(crate) fn answers(from: &Host, to: &str, count: usize) -> BTreeMap<String, usize> {
    let mut answers = BTreeMap::new();
    for _ in 0..count {
        let answer = traffic::tcp(from, to);
        let answer = answer.unwrap_or_else(|e| panic!("from {} to {to}: {e}", from.name()));
        *answers.entry(answer.name).or_default() += 1;
    }
    answers
}

/// The names of those who answer.
#[track_caller]
fn who(from: &Host, to: &str) -> Vec<String> {
    answers(from, to, 40).into_keys().collect()
}

fn short(host: &Host, question: &str) -> String {
    let mut words = vec!["dig", "+short", "+tries=1", "+time=2", "@127.0.0.11"];
    words.extend(question.split(' '));
    host.run(words).ok()
}

fn lines(text: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    lines
}

/// The addresses of a service, IPv4 first.
pub(crate) fn addresses(scene: &Scene, name: &str) -> Vec<String> {
    let shown = scene.cli(&format!("service inspect {name}"));
    let shown: serde_json::Value = serde_json::from_str(&shown).expect("JSON");
    let addresses = shown[0]["VirtualIPs"].as_array().expect("a list");
    let addr = |net: &serde_json::Value| net.as_str()?.split('/').next().map(str::to_owned);
    addresses.iter().filter_map(addr).collect()
}

/// How a service sees its endpoints, such as `one healthy true`.
pub(crate) fn endpoints(scene: &Scene, name: &str) -> Vec<String> {
    let shown = scene.cli(&format!("service inspect {name}"));
    let shown: serde_json::Value = serde_json::from_str(&shown).expect("JSON");
    let all = shown[0]["Endpoints"].as_array().expect("a list").iter();
    let line = |one: &serde_json::Value| {
        format!(
            "{} {} {}",
            one["Name"].as_str()?,
            one["State"].as_str()?,
            one["Serves"]
        )
        .into()
    };
    let mut lines: Vec<String> = all.filter_map(line).collect();
    lines.sort();
    lines
}

#[test]
fn a_service_is_reached_by_everyone_who_may() {
    require_stage!();
    let scene = Scene::new();
    scene.docker("network create --ipv6 --subnet 10.9.0.0/24 --subnet fd00:9::/64 blue");
    scene.docker("network create --ipv6 --subnet 10.8.0.0/24 --subnet fd00:8::/64 green");
    scene.cli("service create --name web --network blue -p 8080:80 -p 5353:53/udp");
    let addresses = addresses(&scene, "web");
    let (v4, v6) = (&addresses[0], &addresses[1]);
    let label = "--network blue --label vethwork.service=web";
    let (one, two) = (scene.start("one", label), scene.start("two", label));
    let (near, far) = (
        scene.start("near", "--network blue"),
        scene.start("far", "--network green"),
    );
    let servers: Vec<_> = [("one", &one), ("two", &two)]
        .into_iter()
        .flat_map(|(name, host)| {
            let udp = traffic::Server::udp(host, name, "[::]:53");
            [traffic::Server::tcp(host, name, "[::]:80"), udp]
        })
        .collect();
    for (from, to) in [
        (&near, format!("{v4}:80")),
        (&near, format!("[{v6}]:80")),
        (&one, format!("{v4}:80")),
        (&scene.host, format!("{v4}:80")),
        (&scene.host, format!("[{v6}]:80")),
        (&scene.outside, format!("{HOST}:8080")),
        (&scene.outside, format!("[{HOST6}]:8080")),
        (&scene.host, "127.0.0.1:8080".to_owned()),
        (&scene.host, "[::1]:8080".to_owned()),
        (&scene.host, format!("{HOST}:8080")),
        (&near, format!("{HOST}:8080")),
        (&far, format!("{HOST}:8080")),
        (&far, format!("[{HOST6}]:8080")),
    ] {
        assert_eq!(
            who(from, &to),
            ["one", "two"],
            "from {} to {to}",
            from.name()
        );
    }
    for (from, to) in [
        (&near, format!("{v4}:53")),
        (&scene.outside, format!("{HOST}:5353")),
    ] {
        let answer = traffic::udp(from, &to);
        assert!(answer.is_ok(), "udp from {} to {to}", from.name());
    }
    // The address is for its network and this host alone.
    for to in [format!("{v4}:80"), format!("[{v6}]:80")] {
        assert!(traffic::tcp(&far, &to).is_err(), "{to}");
    }
    assert!(traffic::ping(&near, v4));
    let shown = scene.cli("service ls");
    assert!(
        shown.contains("web") && shown.contains("2/2") && shown.contains("*:8080->80/tcp"),
        "{shown}"
    );
    drop(servers);
    scene.end();
}

/// Who reaches what is published on one address.
#[track_caller]
fn look_at_addresses(scene: &Scene, near: &Host) {
    for (from, to, reached) in [
        (&scene.host, "127.0.0.1:81", true),
        (&scene.host, "[::1]:81", true),
        (&scene.host, "192.0.2.1:81", false),
        (&scene.outside, "192.0.2.1:81", false),
        (&scene.outside, "[2001:db8::1]:81", false),
        (near, "192.0.2.1:81", false),
        (&scene.outside, "192.0.2.1:82", true),
        (&scene.outside, "[2001:db8::1]:82", true),
        (&scene.outside, "192.0.2.7:82", false),
        (&scene.host, "192.0.2.1:82", true),
        (&scene.host, "127.0.0.1:82", false),
        (near, "192.0.2.1:82", true),
        (near, "[2001:db8::1]:82", true),
        (&scene.outside, "192.0.2.7:83", true),
        (&scene.outside, "[2001:db8::1]:83", false),
    ] {
        let found = traffic::tcp(from, to).is_ok();
        assert_eq!(found, reached, "from {} to {to}", from.name());
        if reached {
            assert_eq!(
                who(from, to),
                ["one", "two"],
                "from {} to {to}",
                from.name()
            );
        }
    }
    assert!(traffic::udp(&scene.host, "127.0.0.1:5353").is_ok());
}

#[test]
fn a_port_is_published_on_one_address() {
    require_stage!();
    let mut scene = Scene::new();
    scene.host.ip("addr add 192.0.2.7/24 dev wire");
    scene.docker("network create --ipv6 --subnet 10.9.0.0/24 --subnet fd00:9::/64 blue");
    let ports = [
        "127.0.0.1:81:80",
        "[::1]:81:80",
        "192.0.2.1:82:80",
        "[2001:db8::1]:82:80",
        "0.0.0.0:83:80",
        "127.0.0.1:5353:53/udp",
    ];
    let ports: Vec<String> = ports.iter().map(|port| format!("-p {port}")).collect();
    scene.cli(&format!(
        "service create --name web --network blue {}",
        ports.join(" ")
    ));
    let label = "--network blue --label vethwork.service=web";
    let (one, two) = (scene.start("one", label), scene.start("two", label));
    let near = scene.start("near", "--network blue");
    let servers: Vec<_> = [("one", &one), ("two", &two)]
        .into_iter()
        .flat_map(|(name, host)| {
            let udp = traffic::Server::udp(host, name, "[::]:53");
            [traffic::Server::tcp(host, name, "[::]:80"), udp]
        })
        .collect();
    look_at_addresses(&scene, &near);
    let shown = scene.cli("service ls --format {{.Ports}}");
    assert!(
        shown.contains("127.0.0.1:81->80/tcp") && shown.contains("[2001:db8::1]:82->80/tcp"),
        "{shown}"
    );
    scene.forget();
    look_at_addresses(&scene, &near);
    // The same port of another address is another port.
    let refusal = scene.refused("run -d --network blue -p 81:80 host sleep 1000");
    assert!(refusal.contains("port is already allocated"), "{refusal}");
    scene.cli("service create --name api --network blue -p 192.0.2.1:81:80");
    scene.cli(
        "service update --publish-rm 53/udp --publish-add 192.0.2.7:84:81 --affinity client web",
    );
    assert_eq!(
        who(&scene.outside, "192.0.2.1:82").len(),
        1,
        "one client, one endpoint"
    );
    drop(servers);
    scene.docker("rm -f one two");
    assert!(traffic::tcp(&scene.host, "127.0.0.1:81").is_err());
    scene.host.ip("addr del 192.0.2.7/24 dev wire");
    scene.end();
}

#[test]
fn a_published_port_is_narrowed_and_widened_at_once() {
    require_stage!();
    let scene = Scene::new();
    scene.docker("network create blue");
    scene.cli("service create --name web --network blue -p 8080:80");
    let one = scene.start("one", "--network blue --label vethwork.service=web");
    let server = traffic::Server::tcp(&one, "one", "0.0.0.0:80");
    scene.start("other", "--network blue -p 81:80");
    let check = |far: bool| {
        assert!(traffic::tcp(&scene.host, "127.0.0.1:8080").is_ok());
        let found = traffic::tcp(&scene.outside, &format!("{HOST}:8080"));
        assert_eq!(found.is_ok(), far, "{found:?}");
        let refusal = scene.refused("run -d --network blue -p 8080:80 host sleep 1000");
        assert!(refusal.contains("port is already allocated"), "{refusal}");
    };
    for (port, far) in [
        ("127.0.0.1:8080:80", false),
        ("8080:80", true),
        ("127.0.0.1:8080:80 --publish-add 81:81", true),
    ] {
        let update = format!("service update --publish-rm 80 --publish-add {port} web");
        if port.contains("81:81") {
            let refusal = scene.cli_refused(&update);
            assert!(refusal.contains("0.0.0.0:81 failed"), "{refusal}");
        } else {
            scene.cli(&update);
        }
        check(far);
    }
    drop(server);
    scene.end();
}

#[test]
fn a_client_is_seen_and_nobody_answers_in_an_endpoints_place() {
    require_stage!();
    let scene = Scene::new();
    scene.docker("network create blue");
    scene.cli("service create --name web --network blue -p published=8080,target=80,prefer=local");
    let v4 = &addresses(&scene, "web")[0];
    let near = scene.start("near", "--network blue");
    let one = scene.start("one", "--network blue --label vethwork.service=web");
    let server = traffic::Server::tcp(&one, "one", "[::]:80");
    let seen = traffic::tcp(&scene.outside, &format!("{HOST}:8080"))
        .expect("reachable")
        .seen;
    assert_eq!(
        seen.ip().to_string(),
        format!("::ffff:{OUTSIDE}"),
        "the client's address is kept"
    );
    // Without endpoints nobody else answers in its place.
    let _others = traffic::Server::tcp(&scene.host, "host", "[::]:80");
    scene.docker("rm -f one");
    for from in [&near, &scene.host] {
        assert!(traffic::tcp(from, &format!("{v4}:80")).is_err());
    }
    drop(server);
    scene.end();
}

#[test]
fn a_service_and_its_endpoints_are_found_by_name() {
    require_stage!();
    let scene = Scene::new();
    scene.docker("network create --ipv6 --subnet 10.9.0.0/24 --subnet fd00:9::/64 blue");
    scene.cli("service create --name web --network blue -p 8080:80");
    scene.cli("service create --name db --network blue --endpoint-mode dnsrr");
    let ask = scene.start("ask", "--network blue");
    let vips = addresses(&scene, "web");
    assert_eq!(short(&ask, "web"), vips[0]);
    assert_eq!(short(&ask, "AAAA web.blue"), vips[1]);
    assert_eq!(short(&ask, "tasks.web"), "");
    scene.cli("run -d --name w1 --network blue --service web host sleep 1000");
    scene.cli("run -d --name w2 --network blue --service web host sleep 1000");
    let (w1, w2) = (scene.address("w1", "blue"), scene.address("w2", "blue"));
    assert_eq!(
        lines(&short(&ask, "tasks.web")),
        lines(&format!("{w1}\n{w2}"))
    );
    assert_eq!(short(&ask, "web"), vips[0]);
    assert!(short(&ask, "SRV _80._tcp.web").contains("80 web.blue."));
    let tasks = short(&ask, "SRV _80._tcp.tasks.web");
    assert!(
        tasks.contains("80 w1.blue.") && tasks.contains("80 w2.blue."),
        "{tasks}"
    );

    for name in ["d1", "d2", "d3"] {
        scene.docker(&format!(
            "run -d --name {name} --network blue --label vethwork.service=db host sleep 1000"
        ));
    }
    let all: Vec<String> = ["d1", "d2", "d3"]
        .map(|name| scene.address(name, "blue"))
        .into();
    let mut first = BTreeMap::new();
    for _ in 0..60 {
        let found = short(&ask, "db");
        assert_eq!(lines(&found), lines(&all.join("\n")));
        *first
            .entry(found.lines().next().map(str::to_owned))
            .or_insert(0) += 1;
    }
    assert_eq!(first.len(), 3, "each comes first now and then: {first:?}");
    assert_eq!(lines(&short(&ask, "tasks.db")), lines(&all.join("\n")));
    scene.docker("stop -t 0 d2");
    assert_eq!(short(&ask, "db").lines().count(), 2);
    scene.cli("service rm db");
    assert_eq!(short(&ask, "db"), "");
    assert_eq!(short(&ask, "d1"), scene_address(&scene));
    scene.end();
}

#[test]
fn a_container_and_a_service_of_one_name_both_answer() {
    require_stage!();
    let scene = Scene::new();
    scene.docker("network create blue");
    scene.cli("service create --name web --network blue");
    let ask = scene.start("ask", "--network blue");
    scene.start("web", "--network blue");
    let both = [
        addresses(&scene, "web")[0].clone(),
        scene.address("web", "blue"),
    ];
    assert_eq!(lines(&short(&ask, "web")), lines(&both.join("\n")));
    scene.docker("rm -f web");
    assert_eq!(short(&ask, "web"), both[0]);
    scene.start("web", "--network blue");
    scene.cli("service rm web");
    assert_eq!(short(&ask, "web"), scene.address("web", "blue"));
    scene.end();
}

fn scene_address(scene: &Scene) -> String {
    scene.address("d1", "blue")
}

#[test]
fn endpoints_join_by_every_way_and_weigh_what_they_say() {
    require_stage!();
    let scene = Scene::new();
    scene.docker("network create --ipv6 blue");
    scene.cli("service create --name web --network blue");
    let vips = addresses(&scene, "web");
    let (to, to6) = (format!("{}:80", vips[0]), format!("[{}]:80", vips[1]));
    let near = scene.start("near", "--network blue");
    let heavy = scene.start(
        "heavy",
        "--network name=blue,driver-opt=vethwork.service=web,driver-opt=vethwork.weight=3",
    );
    scene.docker("create --name light --network none host sleep 1000");
    scene.docker("rm light");
    let light = scene.start("light", "");
    scene.cli("network connect --service web blue light");
    let netns = scene.lab.host("netns");
    let path = netns.netns().display().to_string();
    scene.cli(&format!(
        "adopt --netns {path} --name adopted --network blue --service web"
    ));
    let servers: Vec<_> = [("heavy", &heavy), ("light", &light), ("adopted", &netns)]
        .into_iter()
        .map(|(name, host)| traffic::Server::tcp(host, name, "[::]:80"))
        .collect();
    for to in [&to, &to6] {
        let found = answers(&near, to, 1000);
        let share = |name: &str| found.get(name).copied().unwrap_or_default();
        assert!((520..680).contains(&share("heavy")), "{found:?}");
        assert!((130..270).contains(&share("light")), "{found:?}");
        assert!((130..270).contains(&share("adopted")), "{found:?}");
    }
    scene.docker("network disconnect blue light");
    assert_eq!(who(&near, &to), ["adopted", "heavy"]);
    scene.cli("release adopted");
    assert_eq!(who(&near, &to), ["heavy"]);
    scene.cli("service update --affinity client web");
    scene.cli("network connect --service web blue light");
    for to in [&to, &to6] {
        assert_eq!(who(&near, to).len(), 1, "one client is led to one endpoint");
    }
    let mut all = BTreeSet::new();
    let (subnet, _) = vips[1].rsplit_once(':').expect("an address");
    for client in 0xc001..0xc021 {
        let client = format!("{subnet}:{client:x}");
        near.ip(&format!("addr add {client}/128 dev eth0 nodad"));
        near.ip(&format!("route replace {} dev eth0 src {client}", vips[1]));
        let met = who(&near, &to6);
        assert_eq!(met.len(), 1, "{client}: {met:?}");
        all.extend(met);
    }
    assert_eq!(all.len(), 2, "clients over IPv6 are told apart");
    drop(servers);
    scene.end();
}

#[test]
fn who_is_not_well_is_not_led_to() {
    require_stage!();
    let scene = Scene::new();
    scene.docker("network create blue");
    scene.cli("service create --name web --network blue --health tcp:80 --health-interval 100ms --health-retries 2 --health-timeout 1s");
    let to = format!("{}:80", addresses(&scene, "web")[0]);
    let near = scene.start("near", "--network blue");
    let (one, two) = (
        scene.start("one", "--network blue --label vethwork.service=web"),
        scene.start("two", "--network blue --label vethwork.service=web"),
    );
    assert!(
        endpoints(&scene, "web")
            .iter()
            .all(|line| line.ends_with(" false"))
    );
    let _one = traffic::Server::tcp(&one, "one", "0.0.0.0:80");
    eventually("one is well", SOON, || {
        endpoints(&scene, "web")[0] == "one healthy true"
    });
    assert_eq!(who(&near, &to), ["one"]);
    let server = traffic::Server::tcp(&two, "two", "0.0.0.0:80");
    eventually("two is well", SOON, || {
        endpoints(&scene, "web")[1] == "two healthy true"
    });
    assert_eq!(who(&near, &to), ["one", "two"]);
    drop(server);
    eventually("two is not", SOON, || {
        endpoints(&scene, "web")[1] == "two unhealthy false"
    });
    assert_eq!(who(&near, &to), ["one"]);
    // A rule of the administrator's against the host does not matter: it is asked from inside.
    scene.host.sh("nft add table inet mine; nft 'add chain inet mine out { type filter hook output priority 0; policy drop; }'").must();
    let _server = traffic::Server::tcp(&two, "two", "0.0.0.0:80");
    eventually("two is well again", SOON, || {
        endpoints(&scene, "web")[1] == "two healthy true"
    });
    scene.host.sh("nft delete table inet mine").must();
    scene.cli("service update --health http:80/ --health-interval 100ms --health-retries 2 --health-timeout 300ms web");
    eventually("no HTTP is spoken", SOON, || {
        endpoints(&scene, "web")
            .iter()
            .all(|line| line.ends_with("unhealthy false"))
    });
    scene.cli("service update --no-health web");
    assert_eq!(who(&near, &to), ["one", "two"]);
    scene.end();
}

#[test]
fn a_service_leads_no_neighbour_to_whom_it_may_not_talk() {
    require_stage!();
    let scene = Scene::new();
    let silent = "-o com.docker.network.bridge.enable_icc=false";
    for (network, options, talks, leaves) in [
        ("shut", silent, false, true),
        ("inner", "--internal", true, false),
        ("sealed", &format!("--internal {silent}"), false, false),
    ] {
        scene.docker(&format!("network create {options} {network}"));
        let port = if leaves { "-p 8080:80" } else { "" };
        scene.cli(&format!(
            "service create --name web --network {network} {port}"
        ));
        let vip = format!("{}:80", addresses(&scene, "web")[0]);
        let near = scene.start("near", &format!("--network {network}"));
        let member = format!("--network {network} --label vethwork.service=web");
        let one = scene.start("one", &member);
        let server = traffic::Server::tcp(&one, "one", "0.0.0.0:80");
        match talks {
            true => assert_eq!(who(&near, &vip), ["one"], "{network}"),
            false => {
                let refused = traffic::tcp(&near, &vip).expect_err("they may not");
                let kind = refused.kind();
                assert_eq!(kind, std::io::ErrorKind::ConnectionRefused, "{network}");
            }
        }
        assert_eq!(who(&scene.host, &vip), ["one"], "{network}");
        if leaves {
            let at = format!("{HOST}:8080");
            for from in [&near, &scene.outside] {
                assert_eq!(who(from, &at), ["one"], "{network}");
            }
        }
        drop(server);
        scene.docker("rm -f near one");
        scene.cli("service rm web");
    }
    scene.end();
}

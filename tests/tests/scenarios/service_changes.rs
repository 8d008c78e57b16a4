//! Services while endpoints come and go, and while the daemon is gone.

use crate::{
    require_stage,
    scene::{HOST, HOST6, Scene},
    services::{addresses, answers, endpoints},
};
use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};
use vw_testkit::traffic;

#[test]
fn an_endpoint_that_leaves_is_drained() {
    require_stage!();
    let scene = Scene::new();
    scene.docker("network create --ipv6 blue");
    scene.cli("service create --name web --network blue -p 8080:80 --drain 30s");
    let vips = addresses(&scene, "web");
    let to = format!("{}:80", vips[0]);
    let to6 = format!("[{}]:80", vips[1]);
    let near = scene.start("near", "--network blue");
    let one = scene.start("one", "--network blue --label vethwork.service=web");
    let server = traffic::Server::tcp(&one, "one", "[::]:80");
    let mut talks = [
        (&near, to.clone()),
        (&near, to6.clone()),
        (&scene.outside, format!("{HOST}:8080")),
        (&scene.outside, format!("[{HOST6}]:8080")),
    ]
    .map(|(from, to)| traffic::Conversation::open(from, &to).expect("reachable"));
    let two = scene.start("two", "--network blue --label vethwork.service=web");
    let _two = traffic::Server::tcp(&two, "two", "[::]:80");
    thread::scope(|scope| {
        let daemon = &scene.daemon;
        let stopping = scope.spawn(move || daemon.docker(["stop", "-t", "0", "one"]).ok());
        vw_testkit::eventually("only two is led to", Duration::from_secs(10), || {
            let only = |to: &str| answers(&near, to, 20).into_keys().eq(["two".to_owned()]);
            only(&to) && only(&to6)
        });
        for talk in &mut talks {
            talk.say("it goes on").expect("the connection stands");
        }
        assert!(!stopping.is_finished(), "one is waited for");
        drop(talks);
        stopping.join().expect("it stops");
    });
    drop(server);
    // Its own port is not the service's: who comes by it is cut when it goes.
    let own = scene.start(
        "own",
        "--network blue -p 9000:80 --label vethwork.service=web",
    );
    let _own = traffic::Server::tcp(&own, "own", "0.0.0.0:80");
    let by_port = format!("{HOST}:9000");
    let mut talk = traffic::Conversation::open(&scene.outside, &by_port).expect("reachable");
    let began = Instant::now();
    scene.docker("network disconnect blue own");
    assert!(
        began.elapsed() < Duration::from_secs(20),
        "{:?}",
        began.elapsed()
    );
    assert!(talk.say("too late").is_err(), "it is cut");
    // The time is limited.
    scene.cli("service update --drain 500ms web");
    let mut talk = traffic::Conversation::open(&near, &to).expect("reachable");
    let began = Instant::now();
    scene.docker("network disconnect blue two");
    assert!(
        began.elapsed() >= Duration::from_millis(400),
        "{:?}",
        began.elapsed()
    );
    assert!(talk.say("too late").is_err(), "it is cut");
    scene.end();
}

#[test]
fn a_port_of_an_endpoints_own_at_another_address_is_not_the_services() {
    require_stage!();
    let scene = Scene::new();
    let other = "192.0.2.9";
    scene.host.ip(&format!("addr add {other}/24 dev wire"));
    scene.docker("network create blue");
    scene.cli(&format!(
        "service create --name web --network blue -p {HOST}:8080:80 --drain 30s"
    ));
    let arguments = format!("--network blue -p {other}:8080:80 --label vethwork.service=web");
    let one = scene.start("one", &arguments);
    let _server = traffic::Server::tcp(&one, "one", "0.0.0.0:80");
    let open = |at: &str| traffic::Conversation::open(&scene.outside, &format!("{at}:8080"));
    let mut own = open(other).expect("reachable");
    let led = open(HOST).expect("reachable");
    thread::scope(|scope| {
        let daemon = &scene.daemon;
        let leaving =
            scope.spawn(move || daemon.docker(["network", "disconnect", "blue", "one"]).ok());
        vw_testkit::eventually("nobody is led to it", Duration::from_secs(10), || {
            traffic::tcp(&scene.outside, &format!("{HOST}:8080")).is_err()
        });
        assert!(!leaving.is_finished(), "who was led to it is waited for");
        let began = Instant::now();
        drop(led);
        leaving.join().expect("it leaves");
        assert!(
            began.elapsed() < Duration::from_secs(15),
            "who came by its own port is not: {:?}",
            began.elapsed()
        );
    });
    assert!(own.say("too late").is_err(), "it is cut");
    scene.host.ip(&format!("addr del {other}/24 dev wire"));
    scene.end();
}

/// Services as they are shown, but for the answers to checks, which go on.
fn without_log(shown: &str) -> serde_json::Value {
    let mut shown: serde_json::Value = serde_json::from_str(shown).expect("JSON");
    for service in shown.as_array_mut().expect("a list") {
        let endpoints = service["Endpoints"].as_array_mut().expect("a list");
        endpoints
            .iter_mut()
            .for_each(|endpoint| endpoint["Log"] = serde_json::Value::Null);
    }
    shown
}

#[test]
fn a_killed_daemon_leaves_services_as_they_are() {
    require_stage!();
    let mut scene = Scene::new();
    scene.docker("network create --ipv6 blue");
    scene.cli("service create --name web --network blue -p 8080:80 --affinity none");
    scene.cli("service create --name db --network blue --endpoint-mode dnsrr --label a=b");
    scene.cli(
        "service create --name checked --network blue --health tcp:80 --health-interval 100ms",
    );
    let vips = addresses(&scene, "web");
    let to = format!("[{}]:80", vips[1]);
    let near = scene.start("near", "--network blue");
    let ends: Vec<_> = ["one", "two", "three"]
        .map(|name| scene.start(name, "--network blue --label vethwork.service=web"))
        .into();
    let checked = scene.start("checked", "--network blue --label vethwork.service=checked");
    let names = ["one", "two", "three", "checked"];
    let servers: Vec<_> = names
        .iter()
        .zip(ends.iter().chain([&checked]))
        .map(|(name, host)| traffic::Server::tcp(host, name, "[::]:80"))
        .collect();
    vw_testkit::eventually("it is well", Duration::from_secs(10), || {
        scene.cli("service inspect checked").contains("healthy")
    });
    // The order of slots is what leaving and joining made it.
    scene.docker("network disconnect blue one");
    scene.cli("network connect --service web blue one");
    let mut talk = traffic::Conversation::open(&near, &to).expect("reachable");
    let before = without_log(&scene.cli("service inspect web db checked"));
    scene.daemon.kill9();
    talk.say("while it is down").expect("it goes on");
    assert_eq!(
        answers(&near, &to, 60).len(),
        3,
        "new ones are balanced too"
    );
    scene.forget();
    talk.say("when it is back").expect("it went on");
    assert_eq!(
        without_log(&scene.cli("service inspect web db checked")),
        before
    );
    assert_eq!(answers(&near, &to, 60).len(), 3);
    // Whoever ended meanwhile is led to no more.
    let pid = scene.docker("inspect -f {{.State.Pid}} two");
    scene.daemon.kill9();
    scene.host.run(["kill", "-9", &pid]).must();
    scene.daemon.restart();
    vw_testkit::eventually("two is led to no more", Duration::from_secs(10), || {
        let shown = scene.cli("service ls --format {{.Name}}:{{.Endpoints}}");
        shown.lines().any(|line| line == "web:2/2")
    });
    assert_eq!(answers(&near, &to, 60).len(), 2);
    scene.daemon.stop();
    scene.daemon.restart();
    assert_eq!(answers(&near, &to, 60).len(), 2);
    drop((talk, servers));
    scene.end();
}

#[test]
fn an_address_that_a_neighbour_remembers_becomes_a_services() {
    require_stage!();
    let scene = Scene::new();
    scene.docker("network create --subnet 10.9.0.0/24 blue");
    let old = scene.start("old", "--network blue");
    let near = scene.start("near", "--network blue");
    let server = traffic::Server::tcp(&old, "old", "0.0.0.0:80");
    assert_eq!(scene.address("old", "blue"), "10.9.0.2");
    let to = "10.9.0.2:80";
    assert!(answers(&near, to, 1).contains_key("old"));
    drop(server);
    scene.docker("rm -f old");
    scene.cli("service create --name web --network blue");
    assert_eq!(addresses(&scene, "web"), ["10.9.0.2"]);
    let one = scene.start("one", "--network blue --label vethwork.service=web");
    let server = traffic::Server::tcp(&one, "one", "0.0.0.0:80");
    assert!(answers(&near, to, 1).contains_key("one"));
    // What another program removes comes back.
    scene
        .host
        .sh("nft delete table inet vethwork_services")
        .must();
    vw_testkit::eventually("the rules are back", Duration::from_secs(10), || {
        traffic::tcp(&near, to).is_ok_and(|answer| answer.name == "one")
    });
    drop(server);
    scene.end();
}

#[test]
fn endpoints_come_and_go_under_load_without_a_failed_connection_or_a_lost_packet() {
    const CHANGES: usize = 200;
    require_stage!();
    let scene = Scene::new();
    scene.docker("network create --ipv6 blue");
    scene.cli("service create --name web --network blue -p 8080:80");
    let vips = addresses(&scene, "web");
    let near = scene.start("near", "--network blue");
    let stays = scene.start("stays", "--network blue --label vethwork.service=web");
    let names = ["one", "two", "three", "four"];
    let ends = names.map(|name| scene.start(name, ""));
    let servers: Vec<_> = names
        .iter()
        .zip(&ends)
        .chain([(&"stays", &stays)])
        .map(|(name, host)| traffic::Server::tcp(host, name, "[::]:80"))
        .collect();
    let ways = [
        (&near, format!("{}:80", vips[0])),
        (&near, format!("[{}]:80", vips[1])),
        (&scene.outside, format!("{HOST}:8080")),
        (&scene.outside, format!("[{HOST6}]:8080")),
    ];
    let ((), outcomes) = traffic::meanwhile(&ways, traffic::without_loss, || {
        for round in 0..CHANGES / names.len() / 2 {
            for name in names {
                scene.cli(&format!(
                    "network connect --service web,weight={} blue {name}",
                    1 + round % 3
                ));
            }
            for name in names {
                scene.docker(&format!("network disconnect blue {name}"));
            }
        }
    });
    for outcome in outcomes {
        assert!(outcome.bad.is_empty(), "{outcome:?}");
        assert!(outcome.asked > CHANGES, "{outcome:?}");
    }
    drop(servers);
    scene.end();
}

#[test]
fn who_has_ipv6_switched_off_is_led_to_by_ipv4_alone_and_stays_so() {
    require_stage!();
    let mut scene = Scene::new();
    scene.docker("network create --ipv6 blue");
    scene.docker("network create --ipv6 --subnet fd00:9::/64 green");
    scene.cli("service create --name web --network blue");
    let off =
        "--network blue --label vethwork.service=web --sysctl net.ipv6.conf.all.disable_ipv6=1";
    let one = scene.start("one", off);
    let refused = scene.refused("network connect --ip6 fd00:9::5 green one");
    assert!(
        refused.contains("off by --sysctl net.ipv6.conf.all.disable_ipv6=1"),
        "{refused}"
    );
    scene.docker("network connect green one");
    let _server = traffic::Server::tcp(&one, "one", "0.0.0.0:80");
    let near = scene.start("near", "--network blue");
    let to = format!("{}:80", addresses(&scene, "web")[0]);
    assert_eq!(
        answers(&near, &to, 5).into_keys().collect::<Vec<_>>(),
        ["one"]
    );
    let log = scene.daemon.log();
    assert!(!log.contains("serves before frames reach it"), "{log}");
    let is_off = |scene: &Scene| {
        assert_eq!(one.ip("-6 -o addr"), "");
        let off = one.sh("cat /proc/sys/net/ipv6/conf/eth[01]/disable_ipv6");
        assert_eq!(off.ok(), "1\n1");
        for network in ["blue", "green"] {
            assert_eq!(scene.address6("one", network), "");
        }
    };
    is_off(&scene);
    // The daemon that starts has nothing to repair.
    scene.forget();
    is_off(&scene);
    scene.end();
}

#[test]
fn an_endpoint_is_shown_by_the_name_that_it_has_now() {
    require_stage!();
    let scene = Scene::new();
    scene.docker("network create blue");
    scene.cli("service create --name web --network blue");
    scene.start("one", "--network blue --label vethwork.service=web");
    scene.docker("rename one uno");
    assert_eq!(endpoints(&scene, "web"), ["uno running true"]);
    scene.end();
}

#[test]
fn nobody_is_led_to_a_container_before_its_process_runs() {
    require_stage!();
    let scene = Scene::new();
    scene.docker("network create blue");
    scene.cli("service create --name web --network blue -p 8080:80");
    let to = format!("{}:80", addresses(&scene, "web")[0]);
    let near = scene.start("near", "--network blue");
    let stays = scene.start("stays", "--network blue --label vethwork.service=web");
    let server = traffic::Server::tcp(&stays, "stays", "0.0.0.0:80");
    let ways = [(&near, to), (&scene.outside, format!("{HOST}:8080"))];
    let over = AtomicBool::new(false);
    let daemon = &scene.daemon;
    let change = || {
        let update = ["service", "update", "--drain", "1s", "web"];
        while !over.load(Ordering::SeqCst) {
            daemon.cli(update).must();
        }
    };
    let start = || {
        for _ in 0..10 {
            let error = scene.refused(
                "run --rm --network blue --label vethwork.service=web host /no/such/command",
            );
            assert!(error.contains("/no/such/command"), "{error}");
        }
        over.store(true, Ordering::SeqCst);
    };
    let ((), outcomes) = traffic::meanwhile(&ways, traffic::without_loss, || {
        thread::scope(|scope| {
            scope.spawn(change);
            start();
        });
    });
    for outcome in outcomes {
        assert!(outcome.bad.is_empty(), "{outcome:?}");
    }
    drop(server);
    // Who came to a service before its process did serves from then on.
    scene.start("late", "--network blue --label vethwork.service=web");
    let shown = endpoints(&scene, "web");
    assert!(shown.contains(&"late running true".to_owned()), "{shown:?}");
    scene.end();
}

#[test]
fn an_update_changes_how_often_a_service_is_asked_and_not_what() {
    require_stage!();
    let scene = Scene::new();
    scene.docker("network create blue");
    let times = "--health-interval 100ms --health-retries 1 --health-timeout 700ms";
    scene.cli(&format!(
        "service create --name web --network blue --health tcp:80 {times}"
    ));
    let one = scene.start("one", "--network blue --label vethwork.service=web");
    let soon = Duration::from_secs(10);
    vw_testkit::eventually("it is not well", soon, || {
        scene.cli("service inspect web").contains("unhealthy")
    });
    scene.cli("service update --health-interval 1h web");
    // Who is asked otherwise is asked once more at first.
    let (mut shown, mut since) = (String::new(), Instant::now());
    vw_testkit::eventually("it is asked no more", soon, || {
        let now = scene.cli("service inspect web");
        if now != shown {
            (shown, since) = (now, Instant::now());
        }
        since.elapsed() > Duration::from_millis(500)
    });
    let _server = traffic::Server::tcp(&one, "one", "0.0.0.0:80");
    vw_testkit::stays("and does not serve", Duration::from_secs(1), || {
        scene.cli("service inspect web").contains("unhealthy")
    });
    scene.cli("service update --health-interval 100ms web");
    vw_testkit::eventually("it is asked again", soon, || {
        scene
            .cli("service inspect web")
            .contains("\"Serves\": true")
    });
    let shown = scene.cli("service inspect web");
    for stays in ["tcp:80", "\"Timeout\": 700000000", "\"Retries\": 1,"] {
        assert!(shown.contains(stays), "{stays}: {shown}");
    }
    scene.cli("service update --no-health web");
    for (refused, remedy) in [
        ("service update --health-interval 1s web", "give --health"),
        (
            "service update --no-health --health-retries 2 web",
            "not both",
        ),
        (
            "service create --name db --network blue --health-retries 2",
            "(--health)",
        ),
    ] {
        let said = scene.cli_refused(refused);
        assert!(said.contains(remedy), "{refused}: {said}");
    }
    scene.end();
}

#[test]
fn a_published_port_leads_to_where_an_endpoint_answers() {
    require_stage!();
    let mut scene = Scene::new();
    for network in ["aside", "blue"] {
        scene.docker(&format!("network create {network}"));
    }
    scene.cli("service create --name web --network blue -p 8080:80 --drain 3s");
    let strict = "echo 1 >/proc/sys/net/ipv4/conf/all/rp_filter";
    let one = scene.start("one", "--network blue --label vethwork.service=web");
    let _server = traffic::Server::tcp(&one, "one", "0.0.0.0:80");
    one.sh(strict).must();
    let (near, at) = (
        scene.start("near", "--network blue"),
        format!("{HOST}:8080"),
    );
    let vip = format!("{}:80", addresses(&scene, "web")[0]);
    let reached = |scene: &Scene| {
        let localhost = "127.0.0.1:8080".to_owned();
        for (from, to) in [
            (&scene.outside, &at),
            (&near, &vip),
            (&near, &at),
            (&scene.host, &localhost),
        ] {
            assert!(answers(from, to, 3).into_keys().eq(["one".to_owned()]));
        }
    };
    reached(&scene);
    // Its default route is by the network whose name comes first.
    scene.docker("network connect aside one");
    reached(&scene);
    scene.forget();
    reached(&scene);
    scene.docker("network disconnect aside one");
    reached(&scene);
    scene.docker("network connect aside one");
    let mut talk = traffic::Conversation::open(&scene.outside, &at).expect("reachable");
    let began = Instant::now();
    scene.docker("network disconnect blue one");
    assert!(
        began.elapsed() >= Duration::from_secs(2),
        "it is waited for: {:?}",
        began.elapsed()
    );
    talk.say("it is there still").expect("by the other network");
    traffic::tcp(&scene.outside, &at).expect_err("nobody serves");
    scene.end();
}

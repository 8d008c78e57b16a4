//! Endpoints of services over several hosts that restart, crash, are well by turns, are encrypted, or
//! have taken all addresses.

use crate::{
    balancers::known,
    encryption::{MARK, VXLAN, WIREGUARD},
    members::named,
    over_every_store, over_one_store,
    services::{addresses, alike, answer, network},
    stage::{Kind, SOON, Stage},
};
use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};
use vw_testkit::{eventually, traffic};

over_every_store! {
    a_service_on_a_network_without_an_address_left_is_refused,
    endpoints_restart_and_crash_on_every_host_without_a_failed_connection,
    names_follow_the_health_of_endpoints_on_every_host,
}

over_one_store! {
    a_service_of_an_encrypted_network_is_led_to_over_hosts,
}

const MEMBER: &str = "--network shop --label vethwork.service=web";

fn a_service_of_an_encrypted_network_is_led_to_over_hosts(kind: Kind) {
    vw_testkit::require_programs!("tcpdump");
    let mut stage = Stage::new(kind, &["a", "b"]);
    network(&stage, "--ipv6 -o encrypted", "shop");
    stage.cli("a", "service create --name web --network shop -p 8080:80");
    known(&stage, "b");
    let one = stage.start("a", "one", MEMBER);
    let two = stage.start("b", "two", MEMBER);
    let near = stage.start("b", "near", "--network shop");
    let _servers = [("one", &one), ("two", &two)]
        .map(|(name, host)| traffic::Server::tcp(host, name, "[::]:80"));
    alike(&stage, "web", 2);
    let vips = addresses(&stage, "a", "web");
    let ends = [format!("{}:80", vips[0]), format!("[{}]:80", vips[1])];
    let both = ["one", "two"];
    let wire = stage.watch();
    for to in &ends {
        for from in [&near, &one] {
            answer(from, to, &both);
        }
        let mut talk = crate::services::led_to(&near, to, "one");
        talk.say(MARK).expect("it is led to the other host");
    }
    let seen = wire.seen(stage.host("a"), &stage.addr("b"));
    assert!(!seen.holds(MARK), "it is said in clear text");
    assert_eq!(seen.packets_to(VXLAN), 0);
    assert!(seen.packets_to(WIREGUARD) > 0);
    let stranger = stage.stranger();
    for host in ["a", "b"] {
        answer(&stranger, &format!("{}:8080", stage.addr(host)), &both);
        stage.forget(host);
    }
    stage.docker("b", "stop -t 1 two");
    alike(&stage, "web", 1);
    answer(&near, &ends[0], &["one"]);
    stage.end();
}

/// Asks a web server for a page that it does not have, from the namespace of the calling thread.
fn page(to: &String) -> Result<(), String> {
    let ask = || {
        let mut stream = TcpStream::connect(to)?;
        stream.set_read_timeout(Some(SOON))?;
        stream.write_all(b"GET /none HTTP/1.0\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).map(|_| answer)
    };
    match ask() {
        Ok(answer) if answer.starts_with("HTTP/1") => Ok(()),
        Ok(other) => Err(format!("to {to}: {other:?}")),
        Err(error) => Err(format!("to {to}: {error}")),
    }
}

fn endpoints_restart_and_crash_on_every_host_without_a_failed_connection(kind: Kind) {
    let stage = Stage::new(kind, &["a", "b"]);
    network(&stage, "", "shop");
    stage.cli(
        "a",
        "service create --name web --network shop -p 8080:80 --health tcp:80 --health-interval 200ms",
    );
    known(&stage, "b");
    let near = stage.start("b", "near", "--network shop");
    let run = |host: &str, name: &str, line: &str| {
        stage.docker(host, &format!("run -d --name {name} {MEMBER} {line}"));
    };
    let serve = "host busybox httpd -f -p 80 -h /";
    for (host, name) in [("a", "stays"), ("a", "one"), ("b", "two")] {
        run(host, name, serve);
    }
    alike(&stage, "web", 3);
    let stranger = stage.stranger();
    let vip = format!("{}:80", addresses(&stage, "a", "web")[0]);
    let outside = |host| format!("{}:8080", stage.addr(host));
    let ways = [
        (&near, vip),
        (&stranger, outside("a")),
        (&stranger, outside("b")),
    ];
    let restarts = |host: &str, name: &str| -> u64 {
        let count = stage.docker(host, &format!("inspect -f {{{{.RestartCount}}}} {name}"));
        count.trim().parse().expect("a number")
    };
    let ((), outcomes) = traffic::meanwhile(&ways, page, || {
        // One that never serves comes and goes all the time.
        for host in ["a", "b"] {
            run(
                host,
                &format!("fails-{host}"),
                "--restart always host false",
            );
        }
        for (host, name) in [("a", "one"), ("b", "two")] {
            stage.docker(host, &format!("restart -t 1 {name}"));
            alike(&stage, "web", 3);
            stage.docker(host, &format!("stop -t 1 {name}"));
            alike(&stage, "web", 2);
            stage.docker(host, &format!("start {name}"));
            alike(&stage, "web", 3);
            run(host, "late", serve);
            alike(&stage, "web", 4);
            stage.docker(host, "stop -t 1 late");
            stage.docker(host, "rm late");
        }
        for host in ["a", "b"] {
            eventually("it was begun again and again", SOON, || {
                restarts(host, &format!("fails-{host}")) >= 3
            });
        }
    });
    for outcome in outcomes {
        assert!(outcome.bad.is_empty(), "{outcome:?}");
        assert!(outcome.asked > 20, "{outcome:?}");
    }
    stage.end();
}

/// Makes the service `web` with an address and `bare` without one, with an endpoint on each host that
/// is well once it is said to be ready: it weighs what its number is.
#[track_caller]
fn web_and_bare(stage: &Stage) {
    let interval = "--health-interval 200ms --health-retries 1 --health";
    for (name, mode) in [("web", "vip"), ("bare", "dnsrr")] {
        let create = format!(
            "service create --name {name} --network shop --endpoint-mode {mode} {interval}"
        );
        let words = create.split_whitespace().chain(["exec:cat /ready"]);
        stage.daemon("a").cli(words).must();
    }
    eventually("b knows both", SOON, || {
        let listed = stage.cli("b", "service ls");
        listed.contains("web") && listed.contains("bare")
    });
    for service in ["web", "bare"] {
        for (host, number) in [("a", 1), ("b", 2)] {
            let more = format!(
                "--network shop --label vethwork.service={service} --label vethwork.weight={number} --expose 1053/udp"
            );
            drop(stage.start(host, &format!("{service}-{number}"), &more));
        }
    }
}

fn names_follow_the_health_of_endpoints_on_every_host(kind: Kind) {
    let stage = Stage::new(kind, &["a", "b"]);
    network(&stage, "", "shop");
    web_and_bare(&stage);
    let clients =
        ["a", "b"].map(|host| stage.start(host, &format!("near-{host}"), "--network shop"));
    let at = |number: usize, service: &str| {
        let host = ["a", "b"][number - 1];
        stage.address(host, &format!("{service}-{number}"), "shop")
    };
    let are = |numbers: &[usize]| {
        for from in &clients {
            for (name, service) in [
                ("tasks.web", "web"),
                ("tasks.bare", "bare"),
                ("bare", "bare"),
            ] {
                let addresses = numbers.iter().map(|number| at(*number, service)).collect();
                eventually("who is well is named", SOON, || {
                    named(&stage, from, name, "A") == addresses
                });
                let at = |number: &usize| format!("0 {number} 1053 {service}-{number}.shop.");
                let targets = numbers.iter().map(at).collect();
                eventually("and where it listens", SOON, || {
                    named(&stage, from, &format!("_1053._udp.{name}"), "SRV") == targets
                });
            }
        }
    };
    let each = |line: &str, number: usize| {
        let host = ["a", "b"][number - 1];
        for service in ["web", "bare"] {
            stage.docker(host, &format!("exec {service}-{number} {line}"));
        }
    };
    are(&[]);
    each("touch /ready", 1);
    are(&[1]);
    each("touch /ready", 2);
    are(&[1, 2]);
    each("rm /ready", 1);
    are(&[2]);
    for service in ["web", "bare"] {
        stage.docker("b", &format!("stop -t 0 {service}-2"));
    }
    are(&[]);
    stage.end();
}

fn a_service_on_a_network_without_an_address_left_is_refused(kind: Kind) {
    let stage = Stage::new(kind, &["a", "b"]);
    network(&stage, "--subnet 10.44.0.0/28", "shop");
    let mut started = 0;
    let full = vw_testkit::poll(Duration::from_secs(60), || {
        let run = format!("run -d --name c{started} --network shop host sleep 1000");
        let output = stage.daemon("a").docker(run.split_whitespace());
        started += 1;
        (!output.success()).then(|| output.refused())
    });
    let full = full.expect("its addresses come to an end");
    assert!(full.contains("no available"), "{full}");
    for host in ["a", "b"] {
        let create = "service create --name web --network shop";
        let refused = stage.cli_refused(host, create);
        assert!(refused.contains("no available"), "{refused}");
        assert!(!stage.cli(host, "service ls").contains("web"));
    }
    // Without an address of its own there is room, and with one as soon as somebody leaves.
    stage.cli(
        "b",
        "service create --name bare --network shop --endpoint-mode dnsrr",
    );
    stage.docker("a", "rm -f c0");
    eventually("there is room", SOON, || {
        let create = ["service", "create", "--name", "web", "--network", "shop"];
        let made = stage.daemon("a").cli(create);
        let elsewhere = stage.cli_refused("b", "service create --name db --network shop");
        // What is free is the other's.
        assert!(
            elsewhere.contains("make the service on one of them: a"),
            "{elsewhere}"
        );
        made.success()
    });
    stage.end();
}

//! Services whose endpoints are checked by a command in their containers.

use crate::{
    require_stage,
    scene::Scene,
    services::{addresses, answers, endpoints},
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU16, Ordering},
    },
    time::Duration,
};
use vw_testkit::{
    eventually,
    sleeper::{processes, unlike_others},
    traffic,
};

pub(crate) const SOON: Duration = Duration::from_secs(60);

/// A service on the network `blue` that is checked by a command, at once and each second.
#[track_caller]
pub(crate) fn create(scene: &Scene, check: &str) {
    scene.docker("network create blue");
    let fixed = "service create --name web --network blue --drain 0s --health-interval 1s --health-retries 1 --health";
    scene.daemon.cli(fixed.split(' ').chain([check])).must();
}

/// Checks by another command, once.
#[track_caller]
pub(crate) fn update(scene: &Scene, check: &str, timeout: &str) {
    let fixed = format!(
        "service update web --health-interval 1h --health-retries 1 --health-timeout {timeout} --health"
    );
    scene.daemon.cli(fixed.split(' ').chain([check])).must();
}

/// What the last check of the only endpoint said.
#[track_caller]
pub(crate) fn last(scene: &Scene) -> String {
    let shown = scene.cli("service inspect web");
    let shown: serde_json::Value = serde_json::from_str(&shown).expect("JSON");
    let log = shown[0]["Endpoints"][0]["Log"].as_array().expect("a log");
    assert!(log.len() <= 5, "{log:?}");
    log.last().map_or_else(String::new, |last| {
        format!(
            "{} {}",
            last["ExitCode"],
            last["Output"].as_str().unwrap_or_default()
        )
    })
}

#[test]
fn a_command_in_its_container_says_whether_an_endpoint_is_well() {
    require_stage!();
    let mut scene = Scene::new();
    create(&scene, "exec:cat /ready && test -z \"$BROKEN\"");
    let to = format!("{}:80", addresses(&scene, "web")[0]);
    let near = scene.start("near", "--network blue");
    let names = ["one", "two"];
    let ends = names.map(|name| scene.start(name, "--network blue --label vethwork.service=web"));
    let servers: Vec<_> = (names.iter().zip(&ends))
        .map(|(name, host)| traffic::Server::tcp(host, name, "0.0.0.0:80"))
        .collect();
    eventually("both were asked", SOON, || {
        endpoints(&scene, "web")
            .iter()
            .all(|line| line.ends_with("unhealthy false"))
    });
    assert!(traffic::tcp(&near, &to).is_err(), "nobody is led to");
    scene
        .daemon
        .docker(["exec", "one", "sh", "-c", "echo all is well >/ready"])
        .must();
    eventually("one is led to", SOON, || traffic::tcp(&near, &to).is_ok());
    assert!(answers(&near, &to, 20).into_keys().eq(["one".to_owned()]));
    scene.docker("exec two touch /ready");
    eventually("two is led to as well", SOON, || {
        answers(&near, &to, 20).len() == 2
    });
    scene.docker("exec one rm /ready");
    eventually("one is led to no more", SOON, || {
        answers(&near, &to, 20).into_keys().eq(["two".to_owned()])
    });
    // Nor is it after a restart, until it passes a check.
    let known = ["one unhealthy false", "two healthy true"];
    assert_eq!(endpoints(&scene, "web"), known);
    scene.forget();
    assert_eq!(endpoints(&scene, "web"), known);
    assert!(answers(&near, &to, 20).into_keys().eq(["two".to_owned()]));
    scene.docker("exec one touch /ready");
    eventually("one is led to again", SOON, || {
        answers(&near, &to, 20).len() == 2
    });
    // Who comes back is asked once it runs.
    scene.docker("restart -t 0 two");
    eventually("two is asked again", SOON, || {
        endpoints(&scene, "web").contains(&"two healthy true".to_owned())
    });
    drop(servers);
    scene.end();
}

#[test]
fn an_endpoint_serves_once_it_answers_however_long_its_interval_is() {
    require_stage!();
    let scene = Scene::new();
    scene.docker("network create blue");
    scene.cli("service create --name web --network blue --health tcp:80 --health-interval 1h --health-retries 1");
    let one = scene.start("one", "--network blue --label vethwork.service=web");
    eventually("it was asked in vain", SOON, || !last(&scene).is_empty());
    let server = traffic::Server::tcp(&one, "one", "0.0.0.0:80");
    eventually("it is well", SOON, || {
        endpoints(&scene, "web") == ["one healthy true"]
    });
    drop(server);
    scene.end();
}

/// How the checks of the only endpoint ended, the oldest first.
#[track_caller]
fn statuses(scene: &Scene) -> Vec<i64> {
    let log = asked(scene);
    log.iter()
        .filter_map(|one| one["ExitCode"].as_i64())
        .collect()
}

/// The last checks of the only endpoint.
fn asked(scene: &Scene) -> Vec<serde_json::Value> {
    let shown = scene.cli("service inspect web");
    let shown: serde_json::Value = serde_json::from_str(&shown).expect("JSON");
    let log = shown[0]["Endpoints"][0]["Log"].as_array().expect("a log");
    log.clone()
}

#[test]
fn failures_count_after_the_start_and_in_a_row_alone() {
    require_stage!();
    let scene = Scene::new();
    scene.docker("network create blue");
    let fixed = "service create --name web --network blue --label a=b --health-interval 200ms --health-retries 3 --health-start-period 1h --health";
    let check = "exec:test -e /ready";
    scene.daemon.cli(fixed.split(' ').chain([check])).must();
    assert_eq!(scene.cli("service ls --format {{.Labels}}"), "a=b");
    scene.start("one", "--network blue --label vethwork.service=web");
    eventually("it failed often enough", SOON, || {
        statuses(&scene).len() > 3
    });
    assert_eq!(endpoints(&scene, "web"), ["one starting false"]);
    scene.docker("exec one touch /ready");
    eventually("it is well", SOON, || {
        endpoints(&scene, "web") == ["one healthy true"]
    });
    scene.docker("exec one rm /ready");
    eventually("it is not any more", SOON, || {
        endpoints(&scene, "web") == ["one unhealthy false"]
    });
    assert!(statuses(&scene).ends_with(&[1, 1, 1]));
    scene.end();
}

#[test]
fn a_start_period_that_is_taken_away_excuses_nothing_more() {
    require_stage!();
    let scene = Scene::new();
    scene.docker("network create blue");
    scene.cli("service create --name web --network blue --health tcp:80 --health-interval 200ms --health-start-period 1h --health-retries 2");
    scene.start("one", "--network blue --label vethwork.service=web");
    eventually("it failed often enough", SOON, || {
        statuses(&scene).len() == 5
    });
    assert_eq!(endpoints(&scene, "web"), ["one starting false"]);
    scene.cli("service update --health-start-period 0s web");
    let shown = scene.cli("service inspect web");
    let shown: serde_json::Value = serde_json::from_str(&shown).expect("JSON");
    let (health, span) = (&shown[0]["Health"], Duration::from_millis(200));
    assert_eq!(health["StartPeriod"], 0, "{health}");
    assert_eq!(
        health["Interval"].as_u64().map(u128::from),
        Some(span.as_nanos())
    );
    eventually("its failures count", SOON, || {
        endpoints(&scene, "web") == ["one unhealthy false"]
    });
    scene.end();
}

#[test]
fn a_host_that_lacks_descriptors_takes_no_endpoint_for_sick() {
    require_stage!();
    let scene = Scene::new();
    scene.docker("network create blue");
    scene.cli("service create --name web --network blue --health tcp:80 --health-interval 100ms --health-start-period 1h --health-retries 1");
    let one = scene.start("one", "--network blue --label vethwork.service=web");
    let _server = traffic::Server::tcp(&one, "one", "0.0.0.0:80");
    eventually("it is well", SOON, || {
        endpoints(&scene, "web") == ["one healthy true"]
    });
    let pid = rustix::process::Pid::from_raw(scene.daemon.pid().cast_signed());
    let limit = |limit| {
        let former = rustix::process::prlimit(pid, rustix::process::Resource::Nofile, limit);
        former.expect("root may")
    };
    let said = || scene.daemon.log().contains("cannot ask endpoints");
    let former = limit(rustix::process::Rlimit {
        current: Some(3),
        maximum: rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum,
    });
    eventually("the daemon says so", SOON, said);
    limit(former);
    // As it is told, but for the letter of the zone; the fraction of that may be shorter.
    let now = scene.host.sh("date -u +%Y-%m-%dT%H:%M:%S.%N").ok();
    eventually("it is asked again", SOON, || {
        let asked = asked(&scene);
        let last = asked.last().and_then(|last| last["Start"].as_str());
        last.is_some_and(|start| start.trim_end_matches('Z') > now.trim())
    });
    assert_eq!(endpoints(&scene, "web"), ["one healthy true"]);
    // Before its server listened it may have been asked in vain.
    let answers = statuses(&scene);
    let mut since = answers.iter().skip_while(|status| **status != 0);
    assert!(since.all(|status| *status == 0), "{answers:?}");
    scene.end();
}

#[test]
fn a_check_that_cannot_run_or_end_says_why_and_leaves_no_process() {
    require_stage!();
    let mut scene = Scene::new();
    let sleep = unlike_others(0);
    // Each another check.
    let hangs = |said: &str| format!("exec:echo {said}; {sleep}; true");
    let running = || processes(&sleep).len();
    create(&scene, "exec:echo all is well");
    scene.start("one", "--network blue --label vethwork.service=web");
    eventually("its output is shown", SOON, || {
        last(&scene) == "0 all is well\n"
    });
    update(&scene, "exec:echo so not >&2; exit 3", "10s");
    eventually("its status is shown", SOON, || last(&scene) == "3 so not\n");
    assert_eq!(endpoints(&scene, "web"), ["one unhealthy false"]);
    update(&scene, "exec:[\"/no/such/program\",\"-x\"]", "10s");
    eventually("what cannot run says so", SOON, || {
        let last = last(&scene);
        last.starts_with("-1 ") && last.contains("/no/such/program")
    });
    update(&scene, "exec:yes", "1s");
    eventually("what does not end says so", SOON, || {
        let last = last(&scene);
        let said = last.strip_prefix("-1 Health check exceeded timeout (1s): ");
        said.is_some_and(|said| said.len() == 4096 && said.starts_with("y\ny\n"))
    });
    update(&scene, &hangs("waiting"), "2s");
    eventually("it runs", SOON, || running() == 1);
    eventually("it is killed", SOON, || running() == 0);
    eventually("what it said is shown", SOON, || {
        last(&scene) == "-1 Health check exceeded timeout (2s): waiting\n"
    });
    // Nobody waits for its end any more.
    update(&scene, &hangs("again"), "1h");
    eventually("it runs", SOON, || running() == 1);
    scene.cli("service update --no-health web");
    eventually("it is killed", SOON, || running() == 0);
    assert_eq!(endpoints(&scene, "web"), ["one running true"]);
    // We are killed, and come back: one runs, not two.
    update(&scene, &hangs("more"), "1h");
    eventually("it runs", SOON, || running() == 1);
    let first = processes(&sleep);
    scene.daemon.kill9();
    assert_eq!(processes(&sleep), first);
    scene.forget();
    eventually("another runs alone", SOON, || {
        running() == 1 && processes(&sleep) != first
    });
    // We are killed, and do not come back in time.
    let second = processes(&sleep);
    update(&scene, &hangs("last"), "10s");
    eventually("a third runs alone", SOON, || {
        running() == 1 && processes(&sleep) != second
    });
    scene.daemon.kill9();
    eventually("nobody but its monitor kills it", SOON, || running() == 0);
    scene.daemon.restart();
    scene.end();
}

#[test]
fn an_adopted_namespace_is_not_checked_by_a_command() {
    require_stage!();
    let scene = Scene::new();
    create(&scene, "exec:true");
    let netns = scene.lab.host("netns");
    let path = netns.netns().display().to_string();
    let refusal = scene.cli_refused(&format!(
        "adopt --netns {path} --name adopted --network blue --service web"
    ));
    assert!(
        refusal.contains("adopted cannot be an endpoint of service web")
            && refusal.contains("tcp:PORT"),
        "{refusal}"
    );
    assert!(endpoints(&scene, "web").is_empty());
    assert_eq!(scene.docker("ps -aq"), "");
    scene.cli("service update --health tcp:80 web");
    scene.cli(&format!(
        "adopt --netns {path} --name adopted --network blue --service web"
    ));
    let refusal = scene.cli_refused("service update --health exec:true web");
    assert!(refusal.contains("tcp:PORT"), "{refusal}");
    assert!(scene.cli("service inspect web").contains("tcp:80"));
    scene.cli("release adopted");
    scene.end();
}

#[test]
fn a_status_of_http_says_whether_an_endpoint_is_well_over_either_version() {
    require_stage!();
    let scene = Scene::new();
    scene.docker("network create blue");
    scene.docker("network create --ipv6 --ipv4=false six");
    let status = Arc::new(AtomicU16::new(200));
    let mut servers = Vec::new();
    for (service, network, address) in [("v4", "blue", "0.0.0.0:80"), ("v6", "six", "[::]:80")] {
        let fixed = "--drain 0s --health-interval 200ms --health-retries 1 --health http:80/ready";
        scene.cli(&format!(
            "service create --name {service} --network {network} {fixed}"
        ));
        let name = format!("on-{network}");
        let member = format!("--network {network} --label vethwork.service={service}");
        let inside = scene.start(&name, &member);
        servers.push(traffic::Server::http(
            &inside, &name, address, "/ready", &status,
        ));
    }
    let all_are = |state: &str| {
        for (service, name) in [("v4", "on-blue"), ("v6", "on-six")] {
            eventually("it is asked", SOON, || {
                endpoints(&scene, service) == [format!("{name} {state}")]
            });
        }
    };
    for (answered, state) in [
        (200, "healthy true"),
        (503, "unhealthy false"),
        (399, "healthy true"),
        (400, "unhealthy false"),
    ] {
        status.store(answered, Ordering::Relaxed);
        all_are(state);
    }
    drop(servers);
    scene.end();
}

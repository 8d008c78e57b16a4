//! The daemon's ends and starts: containers go on, and are known again.

use crate::{
    require_stage,
    scene::{HOST, Scene},
};
use std::time::Duration;
use vw_testkit::{eventually, traffic};

const SOON: Duration = Duration::from_secs(10);

#[test]
fn a_killed_daemon_drops_no_connection_and_knows_all_again() {
    require_stage!();
    let mut scene = Scene::new();
    scene.docker("network create blue");
    let web = scene.start("web", "--network blue -p 8080:80");
    let ask = scene.start("ask", "--network blue");
    let server = traffic::Server::tcp(&web, "web", "0.0.0.0:80");
    let to = format!("{HOST}:8080");
    let mut talk = traffic::Conversation::open(&scene.outside, &to).expect("published");
    let before = scene.networks();
    let shown = scene.docker("inspect web ask");
    scene.daemon.kill9();
    talk.say("while it is down").expect("it goes on");
    assert!(traffic::tcp(&scene.outside, &to).is_ok(), "new ones too");
    assert!(
        traffic::ping(&ask, "127.0.0.1")
            && traffic::ping(&ask, &{
                let shown: serde_json::Value = serde_json::from_str(&shown).expect("JSON");
                shown[0]["NetworkSettings"]["Networks"]["blue"]["IPAddress"]
                    .as_str()
                    .expect("an address")
                    .to_owned()
            })
    );
    scene.forget();
    talk.say("when it is back").expect("it went on");
    assert_eq!(scene.networks(), before);
    assert_eq!(scene.docker("inspect web ask"), shown);
    let name = ask.run(["dig", "+short", "@127.0.0.11", "web"]).ok();
    assert_eq!(name, scene.address("web", "blue"));
    scene.start("late", "--network blue");
    talk.say("and goes on").expect("it goes on");
    drop((talk, server));
    scene.end();
}

#[test]
fn names_answer_soon_after_a_start() {
    require_stage!();
    let mut scene = Scene::new();
    scene.docker("network create blue");
    let ask = scene.start("ask", "--network blue");
    scene.daemon.kill9();
    // One that asks all the time, while the daemon starts.
    let log = scene.lab.folder().join("asked");
    let line = format!(
        "while :; do dig +short +tries=1 +time=1 @127.0.0.11 ask >{0}.new 2>&1; mv {0}.new {0}; done",
        log.display()
    );
    let asking = ask.spawn(["sh", "-c", &line]);
    scene.daemon.restart();
    let address = scene.address("ask", "blue");
    eventually("names answer", Duration::from_secs(2), || {
        std::fs::read_to_string(&log).is_ok_and(|text| text.trim() == address)
    });
    drop(asking);
    scene.end();
}

#[test]
fn what_ended_meanwhile_is_noticed() {
    require_stage!();
    let mut scene = Scene::new();
    scene.docker("network create blue");
    scene.start("web", "--network blue -p 8080:80");
    scene.docker("run -d --rm --name gone --network blue host sleep 1000");
    scene.docker("run -d --restart always --name again --network blue host sleep 1000");
    let pid = |name: &str| scene.docker(&format!("inspect -f {{{{.State.Pid}}}} {name}"));
    let pids = ["web", "gone", "again"].map(pid);
    scene.daemon.kill9();
    for pid in &pids {
        scene.host.run(["kill", "-9", pid]).must();
    }
    scene.daemon.restart();
    let state = |name: &str| {
        let words = [
            "inspect",
            "-f",
            "{{.State.Status}} {{.State.ExitCode}}",
            name,
        ];
        scene.daemon.docker(words)
    };
    eventually("web's end is known", SOON, || {
        state("web").stdout.trim() == "exited 137"
    });
    eventually("gone is removed", SOON, || !state("gone").success());
    eventually("again runs again", SOON, || {
        state("again").stdout.trim() == "running 0"
    });
    assert_eq!(scene.docker("port web"), "");
    scene.docker("start web");
    assert_eq!(
        scene.docker("port web 80").lines().next(),
        Some("0.0.0.0:8080")
    );
    scene.end();
}

#[test]
fn what_was_configured_outlives_an_orderly_end() {
    require_stage!();
    let mut scene = Scene::new();
    scene.docker("network create --label a=b --subnet 10.9.0.0/24 blue");
    scene.docker("create --name idle --network blue --ip 10.9.0.9 host sleep 1000");
    scene.start("web", "--network blue");
    let before = (scene.networks(), scene.docker("inspect idle web"));
    scene.daemon.stop();
    scene.daemon.restart();
    assert_eq!((scene.networks(), scene.docker("inspect idle web")), before);
    scene.docker("start idle");
    assert_eq!(scene.address("idle", "blue"), "10.9.0.9");
    scene.end();
}

#[test]
fn containers_that_should_run_come_back_after_a_reboot() {
    require_stage!();
    let mut scene = Scene::new();
    scene.docker("network create --subnet 10.9.0.0/24 blue");
    scene.docker("run -d --restart always --name again --network blue --ip 10.9.0.9 -p 8080:80 host sleep 1000");
    scene.docker("run -d --restart unless-stopped --name unless --network blue host sleep 1000");
    scene.docker("run -d --restart unless-stopped --name stopped --network blue host sleep 1000");
    scene.docker("stop -t 0 stopped");
    scene.docker("run -d --name once --network blue host sleep 1000");
    scene.daemon.kill9();
    reboot(&scene);
    scene.daemon.restart();
    let names = || {
        let names = scene.docker("ps --filter status=running --format {{.Names}}");
        let mut names: Vec<String> = names.lines().map(str::to_owned).collect();
        names.sort();
        names
    };
    eventually("they run again", SOON, || names() == ["again", "unless"]);
    let again = scene.inside("again");
    let server = traffic::Server::tcp(&again, "again", "0.0.0.0:80");
    assert!(traffic::tcp(&scene.outside, &format!("{HOST}:8080")).is_ok());
    assert_eq!(scene.address("again", "blue"), "10.9.0.9");
    let status = "inspect -f {{.State.Status}} once";
    assert_eq!(scene.docker(status), "exited");
    drop(server);
    scene.end();
}

/// What a reboot does to a host: its processes, links, rules, mounts and run directory go.
fn reboot(scene: &Scene) {
    let run = scene.daemon.exec_root();
    let shown = run.display().to_string();
    let line = format!(
        "for dir in /proc/[0-9]*; do \
           if tr '\\0' ' ' <$dir/cmdline 2>/dev/null | grep -q '^[^ ]*conmon .*{shown}/'; then \
             pid=${{dir#/proc/}}; for child in $(cat $dir/task/$pid/children); do kill -9 $child; done; kill -9 $pid; \
           fi; \
         done; \
         nft flush ruleset; \
         for link in $(ip -br link | cut -d' ' -f1 | cut -d@ -f1 | grep '^vw'); do ip link del $link 2>/dev/null || true; done; \
         for n in 1 2 3; do cut -d' ' -f5 /proc/self/mountinfo | grep '^{shown}' | sort -r | while read mount; do umount -l $mount 2>/dev/null || true; done; done"
    );
    scene.host.sh(&line).must();
    std::fs::remove_dir_all(&run).expect("nothing is mounted there any more");
}

//! Containers by docker: run, watched, spoken to, ended.

use crate::{require_stage, scene::Scene};
use std::{fs, time::Duration};
use vw_testkit::{eventually, poll};

const SOON: Duration = Duration::from_secs(15);

#[test]
fn run_passes_what_the_program_prints_and_how_it_ends() {
    require_stage!();
    let scene = Scene::new();
    let run = |words: &[&str]| {
        let all = ["run", "--rm"].iter().chain(words);
        scene.daemon.docker(all)
    };
    let said = run(&["host", "sh", "-c", "echo out; echo err >&2; exit 7"]);
    assert_eq!(
        (said.code(), said.stdout.as_str(), said.stderr.as_str()),
        (Some(7), "out\n", "err\n")
    );
    assert_eq!(
        run(&["host", "/etc/passwd"]).code(),
        Some(126),
        "not executable"
    );
    assert_eq!(run(&["host", "/nonsense"]).code(), Some(127), "not found");
    assert_eq!(run(&["nonsense", "true"]).code(), Some(125), "no image");
    let ours = scene
        .daemon
        .cli(["run", "--rm", "host", "sh", "-c", "echo out; exit 7"]);
    assert_eq!((ours.code(), ours.stdout.as_str()), (Some(7), "out\n"));
    for (words, code) in [(["host", "/etc/passwd"], 126), (["host", "/nonsense"], 127)] {
        let ours = scene.daemon.cli(["run", "--rm"].iter().chain(&words));
        assert_eq!(ours.code(), Some(code), "{ours:?}");
    }
    assert_eq!(scene.docker("ps -aq"), "", "--rm removes each");
    scene.end();
}

#[test]
fn what_is_configured_is_seen_inside() {
    require_stage!();
    let scene = Scene::new();
    let shared = scene.lab.folder().join("shared");
    fs::create_dir(&shared).expect("the folder is ours");
    fs::write(shared.join("from-host"), "host\n").expect("written");
    let volume = format!("{}:/mnt", shared.display());
    let read_only = format!("{}:/media:ro", shared.display());
    let script = "echo $COLOUR; hostname; id -u; id -g; pwd; cat /mnt/from-host; echo inside >/mnt/from-inside; touch /media/x 2>/dev/null || echo read-only";
    let said = scene.daemon.docker([
        "run",
        "--rm",
        "-e",
        "COLOUR=blue",
        "--hostname",
        "box",
        "-u",
        "0:65534",
        "-w",
        "/tmp",
        "-v",
        &volume,
        "-v",
        &read_only,
        "host",
        "sh",
        "-c",
        script,
    ]);
    assert_eq!(
        said.clone().ok(),
        "blue\nbox\n0\n65534\n/tmp\nhost\nread-only",
        "{said:?}"
    );
    assert_eq!(
        fs::read_to_string(shared.join("from-inside")).expect("written"),
        "inside\n"
    );
    let missing = format!("{}/nonsense", shared.display());
    let mount = format!("type=bind,source={missing},target=/mnt");
    let refusal = scene
        .daemon
        .docker(["run", "--rm", "--mount", &mount, "host", "true"]);
    assert_eq!(refusal.code(), Some(125));
    assert!(
        refusal.stderr.contains("bind source path does not exist"),
        "{refusal:?}"
    );
    scene.end();
}

#[test]
fn its_life_is_shown_and_ended() {
    require_stage!();
    let scene = Scene::new();
    scene.docker("create --name web host sleep 1000");
    let state = |name: &str| scene.docker(&format!("inspect -f {{{{.State.Status}}}} {name}"));
    assert_eq!(state("web"), "created");
    scene.docker("start web");
    assert_eq!(state("web"), "running");
    assert!(scene.refused("rm web").contains("container is running"));
    scene.docker("rename web shop");
    assert_eq!(scene.docker("ps --format {{.Names}}"), "shop");
    scene.docker("kill shop");
    assert_eq!(scene.docker("wait shop"), "137");
    assert_eq!(state("shop"), "exited");
    scene.docker("restart -t 0 shop");
    assert_eq!(state("shop"), "running");
    scene.docker("stop -t 0 shop");
    assert_eq!(scene.docker("ps -q"), "");
    assert!(
        scene
            .docker("ps -a --format {{.Status}}")
            .starts_with("Exited (137)")
    );
    scene.docker("rm shop");
    assert!(
        scene
            .refused("inspect shop")
            .to_lowercase()
            .contains("no such object: shop")
    );
    scene.end();
}

#[test]
fn exec_and_logs_speak_with_a_running_one() {
    require_stage!();
    let scene = Scene::new();
    let script = "for n in 1 2 3; do echo line $n; done; echo wrong >&2; exec sleep 1000";
    scene
        .daemon
        .docker(["run", "-d", "--name", "web", "host", "sh", "-c", script])
        .must();
    eventually("it has printed", SOON, || {
        scene
            .daemon
            .docker(["logs", "web"])
            .stderr
            .contains("wrong")
    });
    let logs = scene.daemon.docker(["logs", "web"]);
    assert_eq!(
        (logs.stdout.as_str(), logs.stderr.as_str()),
        ("line 1\nline 2\nline 3\n", "wrong\n")
    );
    assert_eq!(
        scene.daemon.docker(["logs", "-n", "1", "web"]).stderr,
        "wrong\n"
    );
    assert_eq!(scene.daemon.cli(["logs", "web"]).stdout, logs.stdout);
    let said = scene.daemon.docker([
        "exec",
        "-e",
        "A=b",
        "-w",
        "/tmp",
        "web",
        "sh",
        "-c",
        "echo $A; pwd; exit 3",
    ]);
    assert_eq!((said.code(), said.stdout.as_str()), (Some(3), "b\n/tmp\n"));
    assert_eq!(
        scene.daemon.docker(["exec", "web", "/nonsense"]).code(),
        Some(127)
    );
    let said = scene
        .daemon
        .cli(["exec", "web", "sh", "-c", "echo ours; exit 4"]);
    assert_eq!((said.code(), said.stdout.as_str()), (Some(4), "ours\n"));

    let mut following = scene
        .host
        .spawn_command(&mut scene.daemon.docker_command(["logs", "-f", "web"]));
    eventually("it follows", SOON, || following.output().contains("line 3"));
    scene.docker("kill web");
    let ended = poll(SOON, || following.ended()).expect("it ends with the container");
    assert!(ended.success());
    assert!(scene.refused("exec web true").contains("is not running"));
    scene.end();
}

#[test]
fn an_execs_status_is_known_once_its_output_ends() {
    require_stage!();
    let scene = Scene::new();
    scene.docker("run -d --name web host sleep 1000");
    let ask = |path: &str, body: serde_json::Value| {
        let reply = scene.daemon.api("POST", path, Some(&body));
        assert!(reply.status < 300, "{path}: {}", reply.text());
        reply
    };
    for number in 0..20 {
        let line = format!("echo said; exit {number}");
        let asked = serde_json::json!({"AttachStdout": true, "Cmd": ["sh", "-c", line]});
        let id = ask("/containers/web/exec", asked).json()["Id"].clone();
        let id = id.as_str().expect("a new exec has an id");
        let start = serde_json::json!({"Detach": false, "Tty": false});
        let said = ask(&format!("/exec/{id}/start"), start).text();
        let known = scene.daemon.api("GET", &format!("/exec/{id}/json"), None);
        let known = known.json();
        assert!(said.contains("said"), "{said}");
        assert_eq!(known["Running"], false, "{known}");
        assert_eq!(known["ExitCode"], number, "{known}");
    }
    scene.end();
}

#[test]
fn input_that_nobody_reads_takes_no_output_along() {
    require_stage!();
    let scene = Scene::new();
    let socket = scene.daemon.url();
    scene.docker("run -d --name web host sleep 1000");
    for words in ["run -i --rm host", "exec -i web"] {
        for _ in 0..5 {
            let said = scene.host.sh(&format!(
                "seq 100000 | docker -H {socket} {words} sh -c 'seq 2000; exit 3' || echo status $?"
            ));
            let said = said.ok();
            let whole = said.lines().count() == 2001 && said.ends_with("2000\nstatus 3");
            assert!(whole, "{words}: {said}");
        }
    }
    scene.end();
}

#[test]
fn terminals_are_terminals() {
    require_stage!();
    vw_testkit::require_programs!("script");
    let scene = Scene::new();
    scene.docker("run -d --name web host sleep 1000");
    let socket = scene.daemon.url();
    for line in [
        "run --rm -it host sh -c 'tty && stty size && exit 5'",
        "exec -it web sh -c 'tty && stty size && exit 5'",
    ] {
        let inner = format!("stty rows 33 cols 99; docker -H {socket} {line}");
        let said = scene.host.run(["script", "-qec", &inner, "/dev/null"]);
        assert_eq!(said.code(), Some(5), "{said:?}");
        assert!(said.stdout.contains("/dev/pts/"), "{said:?}");
    }
    scene.end();
}

#[test]
fn images_are_imported_saved_ones_loaded_and_all_removed() {
    require_stage!();
    let scene = Scene::new();
    let tar = scene.lab.busybox_tar();
    let tar = tar.display().to_string();
    scene
        .daemon
        .docker([
            "import",
            "--change",
            "CMD [\"echo\", \"hello\"]",
            "--change",
            "ENV A=b",
            &tar,
            "box",
        ])
        .must();
    assert_eq!(scene.docker("run --rm box"), "hello");
    assert_eq!(
        scene
            .docker("run --rm box /bin/sh -c env")
            .lines()
            .find(|line| line.starts_with("A=")),
        Some("A=b")
    );
    scene.daemon.cli(["import", &tar, "other"]).must();
    let images = scene.docker("images --format {{.Repository}}");
    for name in ["box", "other", "host"] {
        assert!(images.lines().any(|line| line == name), "{name}: {images}");
    }
    scene.start_from("box", "web");
    let refusal = scene.refused("rmi box");
    assert!(refusal.contains("conflict"), "{refusal}");
    scene.docker("rm -f web");
    scene.docker("rmi box other");
    assert!(scene.refused("rmi box").contains("No such image"), "gone");
    scene.end();
}

#[test]
fn a_restart_policy_starts_it_again() {
    require_stage!();
    let scene = Scene::new();
    scene
        .daemon
        .docker([
            "run",
            "-d",
            "--restart",
            "on-failure:2",
            "--name",
            "web",
            "host",
            "false",
        ])
        .must();
    let show = |format: &str| scene.daemon.docker(["inspect", "-f", format, "web"]).ok();
    eventually("it gave up", SOON, || {
        show("{{.RestartCount}} {{.State.Status}}") == "2 exited"
    });
    scene.docker("run -d --restart always --name other host sleep 1000");
    let pid = |name: &str| scene.docker(&format!("inspect -f {{{{.State.Pid}}}} {name}"));
    let first = pid("other");
    scene.host.run(["kill", "-9", &first]).must();
    eventually("it runs again", SOON, || {
        let now = pid("other");
        now != first && now != "0"
    });
    scene.docker("stop -t 0 other");
    assert_eq!(pid("other"), "0", "stopped by the user, it stays so");
    scene.end();
}

#[test]
fn events_tell_what_happens() {
    require_stage!();
    let scene = Scene::new();
    let mut command = scene.daemon.docker_command([
        "events",
        "--format",
        "{{.Type}} {{.Action}} {{.Actor.Attributes.name}}",
    ]);
    let events = scene.host.spawn_command(&mut command);
    let probed = poll(SOON, || {
        scene.docker("network create probe");
        scene.docker("network rm probe");
        events.output().contains("probe").then_some(())
    });
    assert!(probed.is_some());
    scene.docker("network create blue");
    scene.docker("run --rm --name web --network blue host true");
    scene.docker("network rm blue");
    let expected = [
        "network create blue",
        "container create web",
        "network connect blue",
        "container start web",
        "container die web",
        "network disconnect blue",
        "container destroy web",
        "network destroy blue",
    ];
    eventually("each is told", SOON, || {
        expected.iter().all(|line| events.output().contains(line))
    });
    drop(events);
    scene.end();
}

#[test]
fn input_reaches_the_program() {
    require_stage!();
    let scene = Scene::new();
    let socket = scene.daemon.url();
    let said = scene.host.sh(&format!(
        "echo by docker | docker -H {socket} run -i --rm host cat"
    ));
    assert_eq!(said.ok(), "by docker");
    scene.docker("run -d --name web host sleep 1000");
    let said = scene.host.sh(&format!(
        "seq 20000 | docker -H {socket} exec -i web sh -c 'sort -n | tail -1'"
    ));
    assert_eq!(said.ok(), "20000");

    scene.docker("run -d -i --name cat host cat");
    let mut attached = scene
        .host
        .spawn_command(&mut scene.daemon.docker_command(["attach", "cat"]));
    // The end of one client's input is not the container's.
    scene.docker("exec cat true");
    scene.docker("kill cat");
    let ended = poll(SOON, || attached.ended());
    assert!(ended.is_some(), "{}", attached.output());
    scene.end();
}

#[test]
fn a_saved_image_is_loaded_with_its_configuration() {
    require_stage!();
    let scene = Scene::new();
    let folder = scene.lab.folder().join("saved");
    fs::create_dir(&folder).expect("the folder is ours");
    fs::copy(scene.lab.busybox_tar(), folder.join("layer.tar")).expect("copied");
    let layer = scene
        .host
        .run(["sha256sum", &folder.join("layer.tar").display().to_string()])
        .ok();
    let config = format!(
        r#"{{"architecture":"amd64","os":"linux","config":{{"Entrypoint":["/bin/echo","loaded"],"Cmd":["well"],"Env":["PATH=/bin"],"ExposedPorts":{{"80/tcp":{{}}}}}},"rootfs":{{"type":"layers","diff_ids":["sha256:{}"]}},"history":[]}}"#,
        &layer[..64]
    );
    fs::write(folder.join("config.json"), config).expect("written");
    let manifest = r#"[{"Config":"config.json","RepoTags":["saved:1"],"Layers":["layer.tar"]}]"#;
    fs::write(folder.join("manifest.json"), manifest).expect("written");
    let archive = scene.lab.folder().join("saved.tar").display().to_string();
    scene
        .host
        .run([
            "tar",
            "-C",
            &folder.display().to_string(),
            "-cf",
            &archive,
            ".",
        ])
        .must();
    assert!(
        scene
            .docker(&format!("load -i {archive}"))
            .contains("Loaded image: saved:1")
    );
    assert_eq!(scene.docker("run --rm saved:1"), "loaded well");
    assert_eq!(
        scene.docker("run --rm saved:1 otherwise"),
        "loaded otherwise"
    );
    scene.docker("run -d --name web -P --entrypoint /bin/sleep saved:1 1000");
    assert!(scene.docker("port web").contains("80/tcp -> 0.0.0.0:"));
    scene.docker("rm -f web");
    scene.docker("rmi saved:1");
    scene.end();
}

#[test]
fn control_groups_go_with_the_last_container() {
    require_stage!();
    let scene = Scene::new();
    scene.start("web", "");
    let pid = scene.docker("inspect -f {{.State.Pid}} web");
    let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("it runs");
    // `0::/vethwork-…/<id>`, or below the test's own group.
    let parent = groups.lines().find_map(|line| {
        let path = line.splitn(3, ':').nth(2)?.trim_start_matches('/');
        let (parent, _) = path.rsplit_once('/')?;
        parent.contains("vethwork-").then(|| parent.to_owned())
    });
    let parent = parent.expect("it has a group below ours");
    let line = format!("find /sys/fs/cgroup -path '*/{parent}' -type d");
    let left = |scene: &Scene| scene.host.run(["sh", "-c", &line]).stdout;
    assert!(!left(&scene).is_empty());
    scene.docker("rm -f web");
    scene.end();
    let left = std::process::Command::new("sh")
        .args(["-c", &line])
        .output();
    assert!(left.is_ok_and(|left| left.stdout.is_empty()), "{parent}");
}

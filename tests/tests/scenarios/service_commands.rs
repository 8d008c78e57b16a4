//! Checks by commands that do not end, or that are in each other's way.

use crate::{
    require_stage,
    scene::Scene,
    service_health::{SOON, create, last, update},
    services::{addresses, endpoints},
};
use std::{collections::BTreeSet, fs, os::unix::fs::PermissionsExt, path::PathBuf};
use vw_testkit::{
    eventually,
    sleeper::{processes, unlike_others},
    traffic,
};

/// How many commands run at once.
const AT_ONCE: usize = 8;

/// Processes of a container or its group's neighbour that stand still, until this is dropped.
struct Frozen {
    file: PathBuf,
    thawed: &'static str,
}

impl Frozen {
    /// All of a container's.
    #[track_caller]
    fn container(scene: &Scene, name: &str) -> Self {
        Self::group(scene, name, "")
    }

    /// All who watch over containers.
    #[track_caller]
    fn monitors(scene: &Scene, name: &str) -> Self {
        Self::group(scene, name, "/../monitors")
    }

    #[track_caller]
    fn group(scene: &Scene, name: &str, from_it: &str) -> Self {
        let pid = scene.docker(&format!("inspect -f {{{{.State.Pid}}}} {name}"));
        let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("it runs");
        let find = |kind: &str| {
            let line = groups.lines().find(|line| line.contains(kind));
            let path = line.and_then(|line| line.rsplit(':').next())?;
            Some(format!("{}{from_it}", path.trim_start_matches('/')))
        };
        let (file, frozen, thawed) = match find(":freezer:") {
            Some(path) => {
                let file = format!("/sys/fs/cgroup/freezer/{path}/freezer.state");
                (file, "FROZEN", "THAWED")
            }
            None => {
                let path = find("0::").expect("a group");
                (format!("/sys/fs/cgroup/{path}/cgroup.freeze"), "1", "0")
            }
        };
        fs::write(&file, frozen).expect("freeze");
        let file = PathBuf::from(file);
        Self { file, thawed }
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        fs::write(&self.file, self.thawed).expect("thaw");
    }
}

#[test]
fn a_check_in_a_container_that_stands_still_is_late() {
    require_stage!();
    let scene = Scene::new();
    let sleep = unlike_others(4);
    create(&scene, "exec:true");
    scene.start("one", "--network blue --label vethwork.service=web");
    eventually("it is asked", SOON, || last(&scene) == "0 ");
    update(&scene, &format!("exec:echo waiting; {sleep}; true"), "10s");
    eventually("it runs", SOON, || processes(&sleep).len() == 1);
    let frozen = Frozen::container(&scene, "one");
    eventually("its time is over", SOON, || {
        last(&scene) == "-1 Health check exceeded timeout (10s): waiting\n"
    });
    assert_eq!(endpoints(&scene, "web"), ["one unhealthy false"]);
    drop(frozen);
    eventually("nothing runs any more", SOON, || {
        processes(&sleep).is_empty()
    });
    // Nor is it in the way of the next, which the OCI runtime refuses.
    update(&scene, &format!("exec:{sleep}; true"), "1h");
    eventually("it runs", SOON, || processes(&sleep).len() == 1);
    let frozen = Frozen::container(&scene, "one");
    update(&scene, "exec:echo again", "30s");
    eventually("the next is asked", SOON, || {
        let last = last(&scene);
        last.starts_with("-1 ") && !last.contains("exceeded")
    });
    drop(frozen);
    eventually("nothing runs any more", SOON, || {
        processes(&sleep).is_empty()
    });
    update(&scene, "exec:echo once more", "30s");
    eventually("it is asked again", SOON, || {
        last(&scene) == "0 once more\n"
    });
    scene.end();
}

#[test]
fn a_check_whose_runtime_stands_still_is_late_and_leaves_nothing() {
    require_stage!();
    let mut scene = Scene::new();
    let sleep = unlike_others(5);
    let folder = scene.lab.folder().join("programs");
    let stuck = folder.join("stuck");
    let path = std::env::var("PATH").expect("a PATH");
    let script = format!(
        "#!/bin/sh\nif [ -e {} ]; then for word; do [ \"$word\" = exec ] && exec {sleep}; done; fi\nPATH={path} exec runc \"$@\"\n",
        stuck.display()
    );
    fs::create_dir(&folder).expect("a folder");
    fs::write(folder.join("runc"), script).expect("a program");
    fs::set_permissions(folder.join("runc"), fs::Permissions::from_mode(0o755)).expect("mode");
    let with_ours = format!("{}:{path}", folder.display());
    scene.daemon.set_env("PATH", Some(&with_ours));
    scene.daemon.restart();
    create(&scene, "exec:echo well");
    scene.start("one", "--network blue --label vethwork.service=web");
    eventually("it is asked", SOON, || last(&scene) == "0 well\n");
    fs::write(&stuck, "").expect("a file");
    update(&scene, "exec:echo waiting", "2s");
    eventually("the runtime stands still", SOON, || {
        processes(&sleep).len() == 1
    });
    eventually("its time is over", SOON, || {
        last(&scene) == "-1 Health check exceeded timeout (2s)"
    });
    assert_eq!(endpoints(&scene, "web"), ["one unhealthy false"]);
    eventually("nothing runs any more", SOON, || {
        processes(&sleep).is_empty()
    });
    // Nobody waits for it any more: its time does not matter.
    update(&scene, "exec:echo waiting longer", "1h");
    eventually("the runtime stands still", SOON, || {
        processes(&sleep).len() == 1
    });
    fs::remove_file(&stuck).expect("a file");
    update(&scene, "exec:echo again", "30s");
    eventually("it is asked again", SOON, || last(&scene) == "0 again\n");
    assert!(processes(&sleep).is_empty());
    scene.end();
}

#[test]
fn a_check_that_cannot_even_begin_is_late() {
    require_stage!();
    let scene = Scene::new();
    create(&scene, "exec:true");
    scene.start("one", "--network blue --label vethwork.service=web");
    eventually("it is asked", SOON, || last(&scene) == "0 ");
    let frozen = Frozen::monitors(&scene, "one");
    update(&scene, "exec:echo late", "2s");
    eventually("its time is over", SOON, || {
        last(&scene) == "-1 Health check exceeded timeout (2s)"
    });
    assert_eq!(endpoints(&scene, "web"), ["one unhealthy false"]);
    drop(frozen);
    update(&scene, "exec:echo again", "30s");
    eventually("it is asked again", SOON, || last(&scene) == "0 again\n");
    scene.end();
}

#[test]
fn a_check_that_is_changed_while_it_runs_is_not_in_the_way_of_the_next() {
    require_stage!();
    let scene = Scene::new();
    create(&scene, "exec:echo first");
    scene.start("one", "--network blue --label vethwork.service=web");
    eventually("it is asked", SOON, || last(&scene) == "0 first\n");
    for round in 0..10 {
        let sleep = unlike_others(10 + round);
        update(&scene, &format!("exec:{sleep}; true"), "1h");
        eventually("it runs", SOON, || processes(&sleep).len() == 1);
        update(&scene, &format!("exec:echo {round}"), "30s");
        let expected = format!("0 {round}\n");
        eventually("the next is asked", SOON, || last(&scene) != "0 first\n");
        eventually("the next says so", SOON, || last(&scene) == expected);
        assert!(processes(&sleep).is_empty(), "the next began early");
    }
    scene.end();
}

#[test]
fn so_many_commands_run_at_once_and_no_more() {
    require_stage!();
    let scene = Scene::new();
    let sleep = unlike_others(6);
    create(&scene, "exec:true");
    for number in 0..AT_ONCE + 2 {
        let name = format!("n{number}");
        scene.start(&name, "--network blue --label vethwork.service=web");
    }
    scene.docker("run -d --name other --network none host sleep 1000");
    update(&scene, &format!("exec:{sleep}; true"), "1h");
    let running = || processes(&sleep);
    eventually("as many run", SOON, || running().len() >= AT_ONCE);
    // One more would have begun before this one.
    scene.docker("exec other true");
    let first: BTreeSet<String> = running().into_iter().collect();
    assert_eq!(first.len(), AT_ONCE);
    // Whoever waits is asked when another has answered.
    for pid in first.iter().take(2) {
        scene.host.sh(&format!("kill -9 {pid}")).must();
    }
    eventually("the others are asked", SOON, || {
        let new = running().into_iter().filter(|pid| !first.contains(pid));
        new.count() == 2
    });
    assert_eq!(running().len(), AT_ONCE);
    scene.cli("service update --no-health web");
    eventually("nobody is asked", SOON, || running().is_empty());
    scene.end();
}

#[test]
fn nobody_is_asked_any_more_who_left_or_whose_service_is_gone() {
    require_stage!();
    let scene = Scene::new();
    let sleep = unlike_others(7);
    let hangs = format!("exec:{sleep}; true");
    let running = || processes(&sleep).len();
    create(&scene, "exec:true");
    let member = "--network blue --label vethwork.service=web";
    let one = scene.start("one", member);
    eventually("it is well", SOON, || {
        endpoints(&scene, "web") == ["one healthy true"]
    });
    let _server = traffic::Server::tcp(&one, "one", "0.0.0.0:80");
    let near = scene.start("near", "--network blue");
    let to = format!("{}:80", addresses(&scene, "web")[0]);
    // One that leaves, with somebody who is connected to it still.
    scene.cli("service update --drain 10m web");
    let talk = traffic::Conversation::open(&near, &to).expect("it is led");
    update(&scene, &hangs, "1h");
    eventually("it is asked", SOON, || running() == 1);
    std::thread::scope(|scope| {
        let daemon = &scene.daemon;
        let leave = || {
            daemon
                .docker(["network", "disconnect", "blue", "one"])
                .must()
        };
        let leaves = scope.spawn(leave);
        eventually("nobody asks one that leaves", SOON, || running() == 0);
        assert!(!leaves.is_finished(), "{:?}", endpoints(&scene, "web"));
        drop(talk);
        leaves.join().expect("it left");
    });
    // One that is out at once.
    scene.cli("service update --drain 0s web");
    scene.docker("network connect blue one");
    eventually("it is asked again", SOON, || running() == 1);
    scene.docker("network disconnect -f blue one");
    eventually("nobody asks one that left", SOON, || running() == 0);
    scene.docker("network connect blue one");
    eventually("it is asked again", SOON, || running() == 1);
    scene.cli("service rm web");
    eventually("nobody asks for a service that is gone", SOON, || {
        running() == 0
    });
    scene.end();
}

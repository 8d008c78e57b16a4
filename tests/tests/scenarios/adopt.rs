//! Namespaces of others: put on networks, named, published, and left as they were found.

use crate::{
    require_stage,
    scene::{HOST, Scene},
};
use serde_json::json;
use std::{fs, process::Command};
use vw_testkit::{Host, Running, Snapshot, eventually, traffic};

const SOON: std::time::Duration = std::time::Duration::from_secs(10);

/// A process in a namespace of its own, such as the shell of `unshare -n`.
fn unshared(scene: &Scene) -> (Running, Host) {
    let running = scene.host.spawn(["unshare", "-n", "sleep", "1000"]);
    let path = format!("/proc/{}/ns/net", running.pid());
    let own = fs::read_link(scene.host.netns()).ok();
    eventually("it is in its namespace", SOON, || {
        let line = fs::read(format!("/proc/{}/cmdline", running.pid())).unwrap_or_default();
        line.starts_with(b"sleep") && fs::read_link(&path).ok() != own
    });
    let inside = scene.lab.at("unshared", path.as_ref());
    (running, inside)
}

#[test]
fn a_process_gets_network_names_and_ports_and_is_left_as_it_was() {
    require_stage!();
    let scene = Scene::new();
    scene.docker("network create blue");
    let web = scene.start("web", "--network blue");
    let (process, inside) = unshared(&scene);
    let before = Snapshot::take(&[&inside], &[]);
    scene.cli(&format!(
        "adopt --pid {} --name guest --network blue,alias=visitor -p 8080:80",
        process.pid()
    ));
    let address = scene.address("guest", "blue");
    assert!(traffic::ping(&web, &address) && traffic::ping(&inside, &scene.address("web", "blue")));
    for name in ["guest", "visitor", "guest.blue"] {
        let answer = web.run(["dig", "+short", "@127.0.0.11", name]).ok();
        assert_eq!(answer, address, "{name}");
    }
    let answer = inside.run(["dig", "+short", "@127.0.0.11", "web"]).ok();
    assert_eq!(answer, scene.address("web", "blue"));
    let server = traffic::Server::tcp(&inside, "guest", "0.0.0.0:80");
    let answer = traffic::tcp(&scene.outside, &format!("{HOST}:8080")).expect("published");
    assert_eq!(answer.name, "guest");
    drop(server);

    let listed = scene.docker("ps --filter label=vethwork.adopted --format {{.Names}}");
    assert_eq!(listed, "guest");
    for line in [
        "stop guest",
        "kill guest",
        "restart guest",
        "exec guest true",
    ] {
        let refusal = scene.refused(line);
        assert!(refusal.contains("adopted"), "{line}: {refusal}");
    }
    assert!(scene.cli_refused("release web").contains("web"));

    scene.cli("release guest");
    before.assert_restored();
    assert!(traffic::tcp(&scene.outside, &format!("{HOST}:8080")).is_err());
    drop(process);
    scene.end();
}

#[test]
fn a_namespace_of_ip_netns_joins_several_networks() {
    require_stage!();
    let scene = Scene::new();
    scene.docker("network create blue");
    scene.docker("network create green");
    let inside = scene.lab.host("guest");
    let before = Snapshot::take(&[&inside], &[]);
    let path = inside.netns().display();
    scene.cli(&format!("adopt --netns {path} --name guest --network blue"));
    scene.docker("network connect green guest");
    for link in ["eth0", "eth1"] {
        assert!(inside.ip(&format!("link show {link}")).contains("UP"));
    }
    let again = scene.cli_refused(&format!("adopt --netns {path} --name twin --network blue"));
    assert!(again.contains("guest"), "{again}");
    scene.docker("network disconnect blue guest");
    assert!(!inside.ip("link").contains("eth0"));
    scene.cli("release guest");
    before.assert_restored();
    scene.end();
}

#[test]
fn what_dies_or_vanishes_meanwhile_is_released_all_the_same() {
    require_stage!();
    let scene = Scene::new();
    scene.docker("network create blue");
    let (process, _) = unshared(&scene);
    let pid = process.pid();
    scene.cli(&format!(
        "adopt --pid {pid} --name guest --network blue -p 8080:80"
    ));
    drop(process);
    scene.cli("release guest");
    let refusal = scene.cli_refused(&format!("adopt --pid {pid} --network blue"));
    assert!(refusal.contains(&pid.to_string()), "{refusal}");
    let refusal = scene.cli_refused("adopt --netns /run/netns/vwt-nonsense --network blue");
    assert!(refusal.contains("/run/netns/vwt-nonsense"), "{refusal}");
    let refusal = scene.cli_refused("adopt --netns /etc/passwd --network blue");
    assert!(refusal.contains("/etc/passwd"), "{refusal}");
    assert_eq!(scene.docker("ps -aq"), "", "what was refused is not kept");

    let name = format!("{}-gone", scene.lab.name());
    scene.host.ip(&format!("netns add {name}"));
    scene.cli(&format!("adopt --netns {name} --name guest --network blue"));
    scene.host.ip(&format!("netns del {name}"));
    scene.cli("release guest");
    scene.docker("network rm blue");
    scene.end();
}

#[test]
fn a_process_that_ends_midway_leaves_nothing() {
    require_stage!();
    let scene = Scene::new();
    scene.docker("network create --ipv6 blue");
    let mut adopted = 0;
    for number in 0..24 {
        let (process, _) = unshared(&scene);
        let pid = process.pid();
        let request = json!({
            "Pid": pid,
            "Name": "guest",
            "Networks": [{"Network": "blue"}],
        });
        let reply = std::thread::scope(|scope| {
            let asked = scope.spawn(|| scene.daemon.api("POST", "/vethwork/adopt", Some(&request)));
            // A little later each time.
            for _ in 0..number {
                assert!(scene.daemon.answers());
            }
            drop(process);
            asked.join().expect("it is answered")
        });
        if reply.status == 201 {
            adopted += 1;
            scene.cli("release guest");
        } else {
            let said = reply.text();
            assert!(
                reply.status < 500 && said.contains(&pid.to_string()),
                "{said}"
            );
        }
        assert_eq!(scene.docker("ps -aq"), "");
    }
    assert!(adopted > 0, "the last ones were adopted before they ended");
    scene.end();
}

#[test]
fn a_resolv_conf_is_replaced_only_when_asked_and_put_back() {
    require_stage!();
    let scene = Scene::new();
    scene.docker("network create blue");
    let file = scene.lab.folder().join("resolv.conf");
    fs::write(&file, "nameserver 192.0.2.53\n").expect("the folder is ours");
    // A process with mounts of its own, whose /etc/resolv.conf is a file of its own.
    let line = format!(
        "mount --bind {} /etc/resolv.conf && exec sleep 1000",
        file.display()
    );
    let process = scene.host.spawn(["unshare", "-n", "-m", "sh", "-c", &line]);
    let inside = format!("/proc/{}/root/etc/resolv.conf", process.pid());
    let read = || fs::read_to_string(&inside).unwrap_or_default();
    eventually("its mounts are made", SOON, || {
        read() == "nameserver 192.0.2.53\n"
    });
    let pid = process.pid();
    scene.cli(&format!(
        "adopt --pid {pid} --name guest --network blue --resolv-conf"
    ));
    assert!(read().contains("nameserver 127.0.0.11"), "{}", read());
    scene.cli("release guest");
    assert_eq!(read(), "nameserver 192.0.2.53\n");

    let (shared, _) = unshared(&scene);
    let machine = fs::read("/etc/resolv.conf").unwrap_or_default();
    let refusal = scene.cli_refused(&format!(
        "adopt --pid {} --name other --network blue --resolv-conf",
        shared.pid()
    ));
    assert!(refusal.contains("resolv.conf"), "{refusal}");
    assert_eq!(fs::read("/etc/resolv.conf").unwrap_or_default(), machine);
    assert_eq!(scene.docker("ps -aq"), "", "what was refused is not kept");
    drop((process, shared));
    scene.end();
}

#[test]
fn two_adopt_side_by_side() {
    require_stage!();
    let scene = Scene::new();
    scene.docker("network create blue");
    let guests: Vec<_> = (0..4).map(|_| unshared(&scene)).collect();
    let mut adopting: Vec<_> = guests
        .iter()
        .enumerate()
        .map(|(number, (process, _))| {
            let words = format!(
                "adopt --pid {} --name guest{number} --network blue",
                process.pid()
            );
            let mut command: Command = scene.daemon.cli_command(words.split_whitespace());
            scene.host.spawn_command(&mut command)
        })
        .collect();
    for running in &mut adopting {
        let status = vw_testkit::poll(SOON, || running.ended()).expect("it ends");
        assert!(status.success(), "{}", running.output());
    }
    for (number, (_, inside)) in guests.iter().enumerate() {
        let next = format!("guest{}", (number + 1) % guests.len());
        assert!(traffic::ping(inside, &scene.address(&next, "blue")));
    }
    scene.end();
    drop(guests);
}

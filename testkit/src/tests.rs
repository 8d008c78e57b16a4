//! The fixtures themselves: what they make works, and nothing of it stays.

use crate::{
    Lab, Snapshot, eventually, http, lab::NETNS, poll, reclaim, require_programs, require_root,
    stays, traffic,
};
use std::{fs, path::Path, time::Duration};

#[test]
fn hosts_of_a_lan_reach_one_another_and_are_gone_afterwards() {
    require_root!();
    require_programs!("ip", "busybox");
    let lab = Lab::new();
    let (a, b) = (lab.host("a"), lab.host("b"));
    lab.lan(
        "lan",
        &[
            (&a, "eth0", &["192.0.2.1/24", "2001:db8::1/64"]),
            (&b, "eth0", &["192.0.2.2/24", "2001:db8::2/64"]),
        ],
    );
    let server = traffic::Server::tcp(&b, "web", "[::]:0");
    let to_v4 = format!("192.0.2.2:{}", server.port());
    let to_v6 = format!("[2001:db8::2]:{}", server.port());
    eventually("the switch forwards", Duration::from_secs(5), || {
        traffic::ping(&a, "192.0.2.2")
    });

    let answer = traffic::tcp(&a, &to_v4).expect("reachable");
    assert_eq!(answer.name, "web");
    assert_eq!(answer.seen.ip().to_string(), "::ffff:192.0.2.1");
    let mut talk = traffic::Conversation::open(&a, &to_v6).expect("reachable");
    talk.say("still there").expect("echoed");

    let udp = traffic::Server::udp(&b, "dns", "192.0.2.2:0");
    let answer = traffic::udp(&a, &udp.address().to_string()).expect("reachable");
    assert_eq!(answer.seen.ip().to_string(), "192.0.2.1");
    drop((server, udp));
    assert!(traffic::tcp(&a, &to_v4).is_err());

    let (folder, netns) = (lab.folder().to_path_buf(), a.netns().to_path_buf());
    drop(lab);
    assert!(!folder.exists() && !netns.exists());
}

#[test]
fn a_packet_that_is_lost_is_told_of_whichever_it_was() {
    require_root!();
    require_programs!("ip", "nft");
    let lab = Lab::new();
    let (a, b) = (lab.host("a"), lab.host("b"));
    lab.link(&a, "wire", &b, "wire");
    for (end, addr) in [(&a, "192.0.2.1/24"), (&b, "192.0.2.2/24")] {
        end.ip(&format!("addr add {addr} dev wire"));
    }
    let server = traffic::Server::tcp(&b, "web", "0.0.0.0:0");
    let to = format!("192.0.2.2:{}", server.port());
    let asked = || {
        let ways = [(&a, to.clone())];
        let (met, outcomes) = traffic::meanwhile(&ways, traffic::without_loss, || {
            poll(Duration::from_secs(3), || None::<()>)
        });
        assert_eq!(met, None);
        outcomes.into_iter().next().expect("one way")
    };
    let clean = asked();
    assert!(clean.bad.is_empty() && clean.asked > 100, "{clean:?}");
    for lost in ["== syn", "== syn | ack"] {
        let rule = format!("tcp flags & (syn | ack) {lost} numgen inc mod 2 == 0 drop");
        let lines = [
            "add table inet lossy".to_owned(),
            "add chain inet lossy in { type filter hook input priority 0; }".to_owned(),
            "add chain inet lossy out { type filter hook output priority 0; }".to_owned(),
            format!("add rule inet lossy in {rule}"),
            format!("add rule inet lossy out {rule}"),
        ];
        b.run(["nft", &lines.join(";")]).must();
        let lossy = asked();
        assert!(!lossy.bad.is_empty(), "{lost}: {lossy:?}");
        b.run(["nft", "delete table inet lossy"]).must();
    }
}

#[test]
fn a_snapshot_names_what_was_left_and_what_was_lost() {
    require_root!();
    require_programs!("ip", "nft");
    let lab = Lab::new();
    let host = lab.host("a");
    host.ip("link add kept type bridge");
    let folder = lab.folder().join("state");
    fs::create_dir(&folder).expect("made");
    let before = Snapshot::take(&[&host], &[&folder]);
    assert_eq!(before.difference(), "");

    host.ip("link del kept");
    host.run([
        "nft",
        "add table inet vethwork; add chain inet vethwork user",
    ])
    .must();
    fs::write(folder.join("lease"), "").expect("written");
    let mut running = host.spawn(["sleep", "1000"]);
    let difference = before.difference();
    for expected in [
        "- a: link kept kind bridge",
        "+ a: nft inet vethwork: chain user {",
        "/state/lease",
        "+ a: process sleep 1000",
    ] {
        assert!(difference.contains(expected), "{expected}:\n{difference}");
    }

    running.kill();
    host.run(["nft", "flush", "ruleset"]).must();
    host.ip("link add kept type bridge");
    fs::remove_file(folder.join("lease")).expect("removed");
    before.assert_restored();
}

#[test]
fn what_an_interrupted_run_left_is_swept() {
    require_root!();
    require_programs!("ip", "sleep");
    // A process id above the kernel's limit, which therefore never runs.
    let name = "vwt-4999999-0-a";
    let path = Path::new(NETNS).join(name);
    let folder = std::env::temp_dir().join("vwt-4999999-0");
    let host = Lab::new().at("a", &path);
    let _ = crate::lab::machine(["ip", "netns", "add", name]);
    fs::create_dir_all(folder.join("run")).expect("made");
    let mut left = crate::lab::machine(["ip", "netns", "list"]);
    assert!(left.stdout.contains(name), "{left:?}");
    let lab = Lab::new();
    let log = lab.folder().join("log");
    let mut orphan = host.spawn_logging(
        std::process::Command::new("sleep").arg("1000"),
        std::process::Stdio::null(),
        &log,
    );

    crate::sweep();
    left = crate::lab::machine(["ip", "netns", "list"]);
    assert!(!left.stdout.contains(name), "{left:?}");
    assert!(!folder.exists());
    assert!(orphan.ended().is_some(), "its processes end with it");
    assert!(lab.folder().exists(), "a running test's folder stays");
}

#[test]
fn a_root_file_system_has_a_shell() {
    require_root!();
    require_programs!("tar", "busybox");
    let lab = Lab::new();
    let tar = lab.busybox_tar();
    let host = lab.host("a");
    let listed = host
        .run(["tar".as_ref(), "-tf".as_ref(), tar.as_os_str()])
        .ok();
    for path in ["./bin/sh", "./bin/busybox", "./etc/passwd"] {
        assert!(listed.lines().any(|line| line == path), "{path}");
    }
}

#[test]
fn a_name_tells_the_process_that_made_it() {
    for (name, expected) in [
        ("vwt-17-0-a", Some(17)),
        ("vwt-17-0", Some(17)),
        ("vwt-17", None),
        ("vwt-x-0", None),
        ("vethwork-17-0", None),
        ("vwt--1-0", None),
    ] {
        assert_eq!(reclaim::maker(name), expected, "{name}");
    }
}

#[test]
fn an_answer_in_chunks_is_joined() {
    let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n{\"a\r\n4;x\r\n\":1}\r\n0\r\n\r\n";
    let reply = http::parse(chunked).expect("an answer");
    assert_eq!((reply.status, reply.json()["a"].as_u64()), (200, Some(1)));
    let plain = http::parse(b"HTTP/1.1 404 Not Found\r\nX-A: b\r\n\r\nno").expect("an answer");
    assert_eq!(
        (plain.text().as_str(), plain.header("x-a")),
        ("no", Some("b"))
    );
    for broken in [
        &b"HTTP/1.1"[..],
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\n{}",
    ] {
        assert!(http::parse(broken).is_none());
    }
}

#[test]
fn polling_asks_at_least_once_and_never_beyond_its_time() {
    assert_eq!(poll(Duration::ZERO, || Some(1)), Some(1));
    assert_eq!(poll(Duration::from_millis(1), || None::<()>), None);
    stays("nothing happens", Duration::from_millis(10), || true);
}

#[test]
fn a_control_group_of_ours_is_known_by_its_parent() {
    for (line, expected) in [
        ("4:memory:/vethwork-0a/c1", Some("vethwork-0a")),
        ("0::/outer/vethwork-0a/monitors", Some("outer/vethwork-0a")),
        ("0::/user.slice", None),
        ("0::/", None),
    ] {
        let found = crate::cgroups::parent(line);
        assert_eq!(found.as_deref(), expected.map(Path::new), "{line}");
    }
}

#[test]
fn control_groups_go_with_the_processes_that_name_a_folder() {
    require_root!();
    require_programs!("sh", "sleep");
    let lab = Lab::new();
    let Some(memory) = ["/sys/fs/cgroup/memory", "/sys/fs/cgroup"]
        .map(Path::new)
        .into_iter()
        .find(|path| path.join("cgroup.procs").is_file())
    else {
        crate::skip!("no control groups are mounted");
    };
    let parent = memory.join(format!("vethwork-{}", lab.name()));
    let group = parent.join("c1");
    fs::create_dir_all(&group).expect("made");
    let doors = group.join("cgroup.procs");
    let name = lab.folder().join("monitor");
    // What names the folder in its command line, as a monitor does.
    let line = format!(
        "echo $$ >{}; sleep 1000; : {}",
        doors.display(),
        name.display()
    );
    let running = lab.host("a").spawn(["sh", "-c", &line]);
    eventually("it is in its group", Duration::from_secs(5), || {
        fs::read_to_string(&doors).is_ok_and(|inside| inside.contains(&running.pid().to_string()))
    });
    // Otherwise a child that was not waited for would still count as a member.
    let waiting = std::thread::spawn(move || {
        let mut running = running;
        poll(Duration::from_secs(10), || running.ended()).is_some()
    });
    // Those of a daemon that was killed with all that it ran.
    let data = lab.folder().join("a0/data");
    fs::create_dir_all(&data).expect("made");
    let left = memory.join(crate::cgroups::name_of(&data));
    fs::create_dir_all(left.join("monitors")).expect("made");
    reclaim::folder(lab.folder());
    assert!(!parent.exists() && !left.exists());
    assert!(waiting.join().expect("joined"));
}

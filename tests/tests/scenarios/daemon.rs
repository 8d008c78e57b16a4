//! The daemon itself: beside others, without privilege, over data that it cannot read.

use crate::{require_stage, scene::Scene};
use std::{fs, path::Path};
use vw_testkit::{Daemon, Lab, traffic};

#[test]
fn two_run_side_by_side_and_a_second_in_one_namespace_is_refused() {
    require_stage!();
    let (one, two) = (Scene::new(), Scene::new());
    for scene in [&one, &two] {
        scene.docker("network create --subnet 10.9.0.0/24 blue");
        let web = scene.start("web", "--network blue -p 8080:80");
        let _server = traffic::Server::tcp(&web, "web", "0.0.0.0:80");
        assert!(traffic::tcp(&scene.outside, "192.0.2.1:8080").is_ok());
    }
    let refusal = Daemon::refused(&one.lab, &one.host, &[]);
    assert!(refusal.contains("namespace"), "{refusal}");
    assert!(one.daemon.answers() && two.daemon.answers());
    one.end();
    assert!(two.daemon.answers());
    two.end();
}

#[test]
fn without_privilege_it_says_so() {
    require_stage!();
    let lab = Lab::new();
    let host = lab.host("host");
    let place = lab.folder().join("nobody");
    fs::create_dir(&place).expect("the folder is ours");
    host.run(["chown", "65534", &place.display().to_string()])
        .must();
    let program = std::env::var_os("VETHWORK_BIN").map_or_else(
        || {
            let test = std::env::current_exe().expect("Linux tells");
            test.ancestors()
                .nth(2)
                .expect("target/debug")
                .join("vethwork")
        },
        Into::into,
    );
    // Where nobody may read it.
    let copy = place.join("vethwork");
    fs::copy(program, &copy).expect("copied");
    let words = [
        "setpriv",
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
        "--inh-caps=-all",
    ];
    let flag = |name: &str, value: &str| format!("--{name}={}", place.join(value).display());
    let line = [
        copy.display().to_string(),
        "daemon".into(),
        flag("data-root", "data"),
        flag("exec-root", "run"),
        format!("--host=unix://{}", place.join("sock").display()),
    ];
    let output = host.run(words.into_iter().map(str::to_owned).chain(line));
    assert_eq!(output.code(), Some(1), "{output:?}");
    let said = output.stderr.to_lowercase();
    assert!(said.contains("root") || said.contains("cap_"), "{output:?}");
}

#[test]
fn flags_that_cannot_be_are_refused_by_name() {
    require_stage!();
    let lab = Lab::new();
    let host = lab.host("host");
    for (flags, word) in [
        (&["--nonsense"][..], "--nonsense"),
        (&["--bip", "10.9.0.300/24"], "bip"),
        (&["--mtu", "nonsense"], "mtu"),
        (&["--live-restore=false"], "live-restore"),
        (&["--firewall-backend", "nonsense"], "nonsense"),
        (&["--default-address-pool", "base=10.9.0.0/16"], "size"),
        (&["--default-network-opt", "nonsense"], "nonsense"),
    ] {
        let said = Daemon::refused(&lab, &host, flags);
        assert!(said.contains(word), "{flags:?}: {said}");
    }
    assert!(
        !host
            .run(["nft", "list", "ruleset"])
            .ok()
            .contains("vethwork"),
        "nothing was made"
    );
}

/// The store's file in a data directory: the largest one.
fn store_of(data: &Path) -> std::path::PathBuf {
    let files = fs::read_dir(data).expect("it is there").flatten();
    let files = files.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file()));
    let size = |entry: &fs::DirEntry| entry.metadata().map_or(0, |found| found.len());
    files.max_by_key(size).expect("a daemon has a store").path()
}

#[test]
fn a_corrupt_store_is_refused_and_left_alone() {
    require_stage!();
    let mut scene = Scene::new();
    scene.docker("network create blue");
    scene.daemon.stop();
    let store = store_of(&scene.daemon.data_root());
    let good = fs::read(&store).expect("readable");
    for bad in [&b"this is no store"[..], &good[..good.len() / 2], &[]] {
        fs::write(&store, bad).expect("writable");
        match scene.daemon.try_restart() {
            Ok(()) => assert!(bad.is_empty(), "started over {} bytes", bad.len()),
            Err(said) => {
                assert!(said.contains(&store.display().to_string()), "{said}");
                assert!(!said.contains("panicked"), "{said}");
                assert!(
                    fs::read(&store).expect("readable") == bad,
                    "the file is untouched"
                );
            }
        }
        scene.daemon.kill9();
    }
    fs::write(&store, &good).expect("writable");
    scene.daemon.restart();
    scene.docker("network inspect blue");
    scene.end();
}

#[test]
fn a_newer_store_is_refused_and_left_alone() {
    require_stage!();
    let mut scene = Scene::new();
    scene.docker("network create blue");
    scene.daemon.stop();
    let store = store_of(&scene.daemon.data_root());
    let good = fs::read(&store).expect("readable");
    let schema = redb::TableDefinition::<&str, u32>::new("schema");
    let database = redb::Database::open(&store).expect("it is a database");
    let writing = database.begin_write().expect("nobody else writes");
    let mut table = writing.open_table(schema).expect("it has a version");
    let former = table.insert("version", 999).expect("there is room");
    assert!(former.is_some_and(|version| version.value() > 0), "found");
    drop(table);
    writing.commit().expect("there is room");
    drop(database);
    let newer = fs::read(&store).expect("readable");

    let said = scene.daemon.try_restart().expect_err("it is refused");
    assert!(said.contains("has schema version 999"), "{said}");
    assert!(said.contains("start a newer one"), "{said}");
    assert!(fs::read(&store).expect("readable") == newer, "untouched");
    fs::write(&store, &good).expect("writable");
    scene.daemon.restart();
    scene.docker("network inspect blue");
    scene.end();
}

#[test]
fn who_may_not_use_the_socket_is_told() {
    require_stage!();
    let scene = Scene::new();
    // Where nobody may look for it.
    let place = scene.lab.folder().join("nobody");
    fs::create_dir(&place).expect("the folder is ours");
    let copy = place.join("vethwork");
    let program = scene.daemon.cli_command::<&str>([]);
    fs::copy(program.get_program(), &copy).expect("copied");
    let url = scene.daemon.url();
    let copy = copy.display().to_string();
    for program in ["docker", &copy] {
        let words = [
            "setpriv",
            "--reuid=65534",
            "--regid=65534",
            "--clear-groups",
            program,
            "-H",
            &url,
            "ps",
        ];
        let output = scene.host.run(words);
        assert_eq!(output.code(), Some(1), "{output:?}");
        let said = output.stderr.to_lowercase();
        assert!(said.contains("permission denied"), "{output:?}");
    }
    scene.end();
}

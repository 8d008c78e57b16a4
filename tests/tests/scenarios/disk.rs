//! A full disk under the daemon's folders: what cannot be kept is refused and leaves nothing, what
//! runs goes on, and with room all works again without a restart.

use crate::{
    require_stage,
    scene::{HOST, Scene},
};
use std::{
    fs::File,
    io::{ErrorKind, Write},
    path::PathBuf,
    time::Duration,
};
use vw_testkit::{Host, Output, Snapshot, traffic};

/// Room for a store, and for the files of a few containers.
const SIZE: &str = "size=12m";

/// Slow deletion of links follows within this.
const SOON: Duration = Duration::from_secs(10);

/// A folder of the daemon's that lies on a small disk of its own.
struct Disk {
    host: Host,
    folder: PathBuf,
}

impl Disk {
    /// Puts a daemon's folder, which is not in use yet, on a disk.
    #[track_caller]
    fn mount(scene: &mut Scene, folder: PathBuf) -> Self {
        scene.daemon.stop();
        let disk = Self {
            host: scene.host.clone(),
            folder,
        };
        let at = disk.folder.display();
        let line = format!("mount -t tmpfs -o {SIZE} tmpfs {at}");
        disk.host.sh(&line).must();
        scene.daemon.restart();
        disk
    }

    fn filler(&self) -> PathBuf {
        self.folder.join("filler")
    }

    /// Leaves not a byte.
    #[track_caller]
    fn fill(&self) {
        let mut file = File::create(self.filler()).expect("there is room for a name");
        let full = (0..).find_map(|_| file.write_all(&[1; 4096]).err());
        assert_eq!(full.map(|error| error.kind()), Some(ErrorKind::StorageFull));
    }

    #[track_caller]
    fn free(&self) {
        std::fs::remove_file(self.filler()).expect("it was made");
    }

    /// Back to what was there before; the daemon starts with that again.
    #[track_caller]
    fn unmount(self, scene: &mut Scene) {
        scene.daemon.stop();
        let at = self.folder.display();
        self.host.sh(&format!("umount {at}")).must();
        scene.daemon.restart();
    }
}

/// A refusal that tells why.
#[track_caller]
fn tells(line: &str, output: &Output) {
    assert!(!output.success(), "{line}: {output:?}");
    let told = output.stderr.contains("No space left on device");
    assert!(told, "{line}: {output:?}");
}

/// Waits until all is as before, but for what a container has once it was tried to start.
#[track_caller]
fn settles(before: &Snapshot) {
    let is_own = |line: &str| {
        let ends = ["/hosts", "/hostname", "/resolv.conf", "/work/work", "/exec"];
        line.contains("/containers/") && ends.iter().any(|end| line.ends_with(end))
    };
    let left = || before.difference().lines().all(is_own).then_some(());
    assert!(
        vw_testkit::poll(SOON, left).is_some(),
        "{}",
        before.difference()
    );
}

#[test]
fn a_full_data_directory_refuses_and_goes_on() {
    require_stage!();
    let mut scene = Scene::new();
    let folder = scene.daemon.data_root();
    let disk = Disk::mount(&mut scene, folder);
    scene.docker("network create --subnet 10.9.0.0/24 blue");
    scene.docker("network create --subnet 10.8.0.0/24 green");
    let web = scene.start("web", "--network blue -p 8080:80");
    scene.docker("create --name idle --network blue host sleep 1000");
    let server = traffic::Server::tcp(&web, "web", "0.0.0.0:80");
    let networks = scene.networks();
    let listed = scene.docker("ps -a --no-trunc --format {{.ID}}");

    disk.fill();
    let run = scene.daemon.exec_root();
    let before = Snapshot::take(&[&scene.host], &[&run, &disk.folder]);
    for line in [
        "network create red",
        "create --name new --network blue host true",
        "run --rm --network blue host true",
        "run -d -p 8081:80 host sleep 1000",
        "start idle",
        "network connect green web",
    ] {
        let output = scene.daemon.cli(line.split(' '));
        tells(line, &output);
    }
    settles(&before);
    assert_eq!(scene.networks(), networks);
    assert_eq!(scene.docker("ps -a --no-trunc --format {{.ID}}"), listed);

    // What runs goes on, also over a restart, and can be looked into.
    scene.docker("exec web true");
    scene.daemon.restart();
    let near = format!("{HOST}:8080");
    assert!(traffic::tcp(&scene.outside, &near).is_ok_and(|answer| answer.name == "web"));
    let name = web.run(["dig", "+short", "@127.0.0.11", "web"]).ok();
    assert_eq!(name, scene.address("web", "blue"));
    for line in [
        "stop -t 0 web",
        "network disconnect blue web",
        "network rm green",
    ] {
        tells(line, &scene.daemon.cli(line.split(' ')));
    }
    assert!(traffic::tcp(&scene.outside, &near).is_ok_and(|answer| answer.name == "web"));

    // With room all of it works, without a restart.
    disk.free();
    scene.docker("network create red");
    scene.docker("run --rm --network blue host true");
    scene.docker("start idle");
    let hosts = scene.docker("exec idle cat /etc/hosts");
    assert!(
        hosts.contains("localhost") && hosts.contains("10.9.0."),
        "{hosts}"
    );
    scene.docker("network connect green web");
    scene.docker("network disconnect blue web");
    scene.start("more", "--network blue -p 8081:80");
    drop(server);
    scene.forget();
    scene.remove_all();
    disk.unmount(&mut scene);
    scene.end();
}

#[test]
fn a_full_run_directory_refuses_and_goes_on() {
    require_stage!();
    let mut scene = Scene::new();
    let folder = scene.daemon.exec_root();
    let disk = Disk::mount(&mut scene, folder);
    scene.docker("network create --subnet 10.9.0.0/24 blue");
    scene.docker("network create --subnet 10.8.0.0/24 green");
    let web = scene.start("web", "--network blue -p 8080:80");
    scene.docker("create --name idle --network blue host sleep 1000");
    let guest = scene.lab.host("guest");
    let server = traffic::Server::tcp(&web, "web", "0.0.0.0:80");
    let listed = scene.docker("ps -a --no-trunc --format {{.ID}}");

    disk.fill();
    let before = Snapshot::take(
        &[&scene.host, &guest],
        &[&scene.daemon.data_root(), &disk.folder],
    );
    let adopt = format!("adopt --netns {} --network blue", guest.netns().display());
    for line in [
        "start idle",
        "run --rm host true",
        "exec web true",
        "network connect green web",
        "network disconnect blue web",
        &adopt,
    ] {
        tells(line, &scene.daemon.cli(line.split(' ')));
    }
    settles(&before);
    assert_eq!(scene.docker("ps -a --no-trunc --format {{.ID}}"), listed);
    scene.daemon.restart();
    let near = format!("{HOST}:8080");
    assert!(traffic::tcp(&scene.outside, &near).is_ok_and(|answer| answer.name == "web"));

    disk.free();
    scene.docker("exec web true");
    scene.docker("start idle");
    scene.docker("network connect green web");
    scene.cli(&adopt);
    scene.docker("stop -t 0 web");
    drop(server);
    scene.forget();
    scene.remove_all();
    disk.unmount(&mut scene);
    scene.end();
}

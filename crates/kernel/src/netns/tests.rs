//! What pinning promises, on real namespaces.

use super::{source, worker::Workers, *};
use std::{
    os::unix::fs::MetadataExt,
    process::{Child, Command, Stdio},
    time::Duration,
};

/// Namespaces in a place of the test's own; the calling thread leaves the machine's.
fn namespaces(name: &str) -> Namespaces {
    let flags = UnshareFlags::NEWNET | UnshareFlags::NEWNS;
    // SAFETY: this thread alone leaves its namespaces, and nothing else runs on it.
    unsafe { rustix::thread::unshare_unsafe(flags) }.expect("namespaces of our own");
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    rustix::mount::mount_change("/", private).expect("mounts of our own");
    let dir = std::env::temp_dir().join(format!("vwt-netns-{}-{name}", std::process::id()));
    Namespaces::prepare(dir).expect("a folder of our own")
}

fn remove(namespaces: &Namespaces) {
    rustix::mount::unmount(&namespaces.dir, UnmountFlags::DETACH).expect("it is mounted");
    fs::remove_dir_all(&namespaces.dir).expect("it is ours");
}

fn adopted(source: NamespaceSource) -> Namespace {
    let netns = Netns::Sandbox(vw_model::SandboxId::from_bytes([1; 32]));
    Namespace { netns, source }
}

/// A process in a namespace of its own that waits for the end of its input.
fn stranger() -> Child {
    let mut command = Command::new("unshare");
    command.args(["-n", "sh", "-c", "echo; read x"]);
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().expect("unshare runs");
    let out = child.stdout.as_mut().expect("it is piped");
    io::Read::read_exact(out, &mut [0]).expect("it is in its namespace");
    child
}

fn start_time(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
    source::start_of(&stat).expect("it has a start time")
}

#[test]
fn a_process_is_adopted_and_told_from_its_successor() {
    vw_testkit::require_root!();
    vw_testkit::require_programs!("unshare");
    let namespaces = namespaces("process");
    let mut child = stranger();
    let pid = child.id();
    let right = start_time(pid);
    let of = |start_time| adopted(NamespaceSource::Process { pid, start_time });
    let wrong = namespaces.pin(&of(right + 1));
    assert!(wrong.is_err_and(|error| error.is_namespace_gone()));
    namespaces.pin(&of(right)).expect("it runs");
    drop(child.stdin.take());
    child.wait().expect("it ends");
    let pinned = of(right).netns;
    // Pinned, it outlives the process; and pinning it again is no error.
    namespaces.pin(&of(right)).expect("it is pinned");
    assert_eq!(namespaces.pinned().expect("a folder"), [pinned]);
    namespaces.unpin(pinned).expect("it is pinned");
    namespaces.unpin(pinned).expect("it may be gone");
    let dead = namespaces.pin(&of(right));
    assert!(dead.is_err_and(|error| error.is_namespace_gone()));
    assert_eq!(namespaces.pinned().expect("a folder"), []);
    remove(&namespaces);
}

#[test]
fn what_is_no_namespace_or_the_daemons_own_is_refused() {
    vw_testkit::require_root!();
    let namespaces = namespaces("refused");
    let file = |path: &str| adopted(NamespaceSource::File(path.into()));
    let refusals = [
        ("/etc/passwd", "not a network namespace"),
        ("/proc/self/ns/mnt", "not a network namespace"),
        ("/proc/thread-self/ns/net", "it is the daemon's own"),
        ("/nonexistent", "is gone"),
    ];
    for (path, sentence) in refusals {
        let error = namespaces.pin(&file(path)).expect_err("it is refused");
        let cause = std::error::Error::source(&error).map(ToString::to_string);
        let told = format!("{error}: {}", cause.unwrap_or_default());
        assert!(told.contains(sentence), "{path}: {told}");
        assert_eq!(namespaces.pinned().expect("a folder"), []);
    }
    remove(&namespaces);
}

#[test]
fn parameters_are_those_of_the_namespace_that_is_entered() {
    vw_testkit::require_root!();
    let namespaces = namespaces("sysctl");
    let new = adopted(NamespaceSource::New);
    namespaces.pin(&new).expect("it can be made");
    let path = "net/ipv4/ip_unprivileged_port_start";
    let place = namespaces.place(new.netns).expect("it is pinned");
    let inside = namespaces.run(&place, move || crate::sysctl::write(path, "77"));
    inside.expect("a thread").expect("it can be written");
    let read = |place| namespaces.run(place, move || crate::sysctl::read(path));
    let value = |place| read(place).expect("a thread").expect("it can be read");
    assert_eq!(value(&place).as_deref(), Some("77"));
    assert_eq!(value(namespaces.host()).as_deref(), Some("1024"));
    namespaces.unpin(new.netns).expect("it is pinned");
    remove(&namespaces);
}

#[test]
fn a_job_that_panics_takes_no_other_along() {
    let fd = source::open(Path::new("/proc/thread-self/ns/net")).expect("a namespace");
    let host = Arc::new(Place::new(fd, None).expect("a namespace"));
    let workers = Workers::new(Arc::clone(&host));
    if rustix::process::geteuid().is_root() {
        for _ in 0..10 {
            let lost = workers.run(Arc::clone(&host), || -> u8 { panic!("as the test wants") });
            assert!(lost.is_err());
        }
        assert_eq!(workers.run(host, || 7).expect("a thread"), 7);
    }
}

#[test]
fn the_start_time_is_found_behind_any_name() {
    let tail = "S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20";
    for name in ["sh", "a b", "evil) R 1 (x"] {
        assert_eq!(source::start_of(&format!("12 ({name}) {tail}")), Some(4711));
    }
    assert_eq!(source::start_of("12 (sh"), None);
}

#[test]
fn an_adopted_namespace_gets_its_loopback_back_as_it_was() {
    vw_testkit::require_root!();
    let namespaces = namespaces("loopback");
    let up = |path: &Path| {
        let enter = format!("--net={}", path.display());
        let output = Command::new("nsenter")
            .args([&enter, "ip", "addr", "show", "lo"])
            .output();
        let shown = String::from_utf8(output.expect("nsenter runs").stdout).expect("text");
        let up = shown.contains(",UP");
        assert_eq!(shown.contains("127.0.0.1"), up, "{shown}");
        up
    };
    let mut owner = Command::new("unshare")
        .args(["-n", "sleep", "60"])
        .spawn()
        .expect("unshare runs");
    let file = PathBuf::from(format!("/proc/{}/ns/net", owner.id()));
    let own = fs::metadata("/proc/self/ns/net")
        .expect("it is there")
        .ino();
    vw_testkit::eventually("a namespace of its own", Duration::from_secs(5), || {
        fs::metadata(&file).is_ok_and(|theirs| theirs.ino() != own)
    });
    let namespace = adopted(NamespaceSource::File(file.clone()));
    assert!(!up(&file), "unshare leaves it down");
    namespaces.pin(&namespace).expect("it is adopted");
    assert!(up(&file), "the resolver needs it");
    namespaces.unpin(namespace.netns).expect("it is let go");
    assert!(!up(&file), "as it was");
    owner.kill().expect("it runs");
    owner.wait().expect("it ran");
    remove(&namespaces);
}

fn sandbox(number: u8) -> Netns {
    Netns::Sandbox(vw_model::SandboxId::from_bytes([number; 32]))
}

fn made(namespaces: &Namespaces, number: u8) -> Netns {
    let netns = sandbox(number);
    let source = NamespaceSource::New;
    let namespace = Namespace { netns, source };
    namespaces.pin(&namespace).expect("it is made");
    netns
}

fn here() -> (u64, u64) {
    let found = fs::metadata("/proc/thread-self/ns/net").expect("a thread has one");
    (found.dev(), found.ino())
}

#[test]
fn each_of_many_is_visited_once_and_no_thread_stays_there() {
    vw_testkit::require_root!();
    let namespaces = namespaces("visits");
    let mut sandboxes: Vec<Netns> = (1..=9).map(|n| made(&namespaces, n)).collect();
    sandboxes.insert(4, sandbox(99));
    let visits = sandboxes.iter().copied().zip(0..).collect();
    let answers = namespaces.visit_all(visits, |given: usize| Ok((given, here())));
    assert_eq!(answers.len(), sandboxes.len());
    for (at, (answer, sandbox)) in answers.into_iter().zip(&sandboxes).enumerate() {
        if at == 4 {
            assert!(answer.is_err_and(|error| error.is_namespace_gone()));
            continue;
        }
        let place = namespaces.place(*sandbox).expect("it is pinned");
        assert_eq!(answer.expect("it is there"), (at, place.identity()));
    }
    let host = Arc::clone(namespaces.host());
    let jobs = (0..worker::THREADS * 4).map(|_| {
        let job: Job<(u64, u64)> = (Arc::clone(&host), Box::new(here));
        job
    });
    for found in namespaces.run_all(jobs.collect()) {
        assert_eq!(found.expect("a thread runs it"), host.identity());
    }
    for sandbox in sandboxes {
        namespaces.unpin(sandbox).expect("it may be gone");
    }
    remove(&namespaces);
}

#[test]
fn a_parameter_of_ipv6_is_written_in_its_namespace_from_any_other() {
    const PATH: &str = "net/ipv6/conf/lo/disable_ipv6";
    vw_testkit::require_root!();
    let namespaces = namespaces("parameters");
    let sandboxes = [1, 2, 3].map(|number| made(&namespaces, number));
    let places = sandboxes.map(|netns| namespaces.open(netns).unwrap());
    // The folder of each is opened before any is written, and the same names are looked up.
    for (place, value) in places.iter().zip(["1", "0", "1"]) {
        let conf = namespaces.ipv6_conf(place).expect("it is there");
        conf.expect("with IPv6")
            .write(PATH, value)
            .expect("root may");
    }
    for (place, value) in places.iter().zip(["1", "0", "1"]) {
        let found = namespaces.run(place, || crate::sysctl::read(PATH));
        assert_eq!(found.unwrap().unwrap().as_deref(), Some(value));
    }
    let host = namespaces.run(namespaces.host(), || crate::sysctl::read(PATH));
    assert_eq!(host.unwrap().unwrap().as_deref(), Some("0"));
    let missing = namespaces.ipv6_conf(&places[0]).unwrap().unwrap();
    let missing = missing.write("net/ipv6/conf/eth9/disable_ipv6", "1");
    assert_eq!(missing.unwrap_err().kind(), io::ErrorKind::NotFound);
    for outside in ["net/ipv6/conf/../../ipv4/ip_forward", "net/ipv4/ip_forward"] {
        let conf = namespaces.ipv6_conf(&places[0]).unwrap().unwrap();
        let refused = conf.write(outside, "1").unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::InvalidInput, "{outside}");
    }
    for sandbox in sandboxes {
        namespaces.unpin(sandbox).expect("it is pinned");
    }
    remove(&namespaces);
}

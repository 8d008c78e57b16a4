//! What the tests with real containers share: a runtime in a directory of its own, and an
//! image of the machine's static busybox.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};
use vw_model::{ContainerSpec, SandboxId};
use vw_runtime::{CreateRequest, ExitEvent, ExitWatcher, LogOptions, Runtime, Settings, Stream};

const BUSYBOX: &str = "/bin/busybox";
const APPLETS: [&str; 16] = [
    "sh", "echo", "cat", "sleep", "true", "false", "id", "ls", "pwd", "hostname", "stty", "env",
    "kill", "head", "mount", "grep",
];
/// Longer than anything here takes on a loaded machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A runtime in a directory of its own; removes it all when dropped.
pub(crate) struct Fixture {
    pub(crate) dir: PathBuf,
    pub(crate) runtime: Runtime,
    /// Leave everything as it is, for a next life.
    pub(crate) keep: bool,
}

/// Why containers cannot run here, if they cannot.
pub(crate) fn missing() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("not root".to_owned());
    }
    let on_path = |name: &str| {
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path).any(|dir| dir.join(name).exists())
    };
    if !on_path("conmon") || !(on_path("runc") || on_path("crun")) {
        return Some("no conmon, or neither runc nor crun".to_owned());
    }
    (!Path::new(BUSYBOX).exists()).then(|| "no static busybox in /bin".to_owned())
}

pub(crate) fn settings(dir: &Path) -> Settings {
    Settings {
        data_root: dir.join("data"),
        exec_root: dir.join("run"),
        runtimes: vec!["crun".to_owned(), "runc".to_owned()],
        patience: Duration::from_secs(60),
        conmon: "conmon".to_owned(),
    }
}

pub(crate) fn random_id() -> SandboxId {
    let mut bytes = [0; 32];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty()).unwrap();
    SandboxId::from_bytes(bytes)
}

impl Fixture {
    /// `None`, with the reason printed, where containers cannot run.
    pub(crate) fn new(name: &str) -> Option<Self> {
        if let Some(reason) = missing() {
            println!("SKIP: {reason}");
            return None;
        }
        let dir = PathBuf::from(format!("/var/tmp/vw-runtime-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let fixture = Self::at(&dir);
        let tar = busybox_tar();
        let image = fixture
            .runtime
            .images()
            .import(tar.as_slice(), Some("busybox"), &[])
            .unwrap();
        assert_eq!(image.tags.len(), 1);
        Some(fixture)
    }

    /// A second life of the runtime in the same directory.
    pub(crate) fn at(dir: &Path) -> Self {
        Self {
            dir: dir.to_owned(),
            runtime: Runtime::open(settings(dir)).unwrap(),
            keep: false,
        }
    }

    pub(crate) fn prepare(&self) -> SandboxId {
        let id = random_id();
        let image = self.runtime.images().get("busybox").unwrap();
        self.runtime.create_rootfs(id, &image.id).unwrap();
        id
    }

    pub(crate) fn create(&self, spec: &ContainerSpec) -> vw_runtime::Result<SandboxId> {
        let id = self.prepare();
        self.runtime.create(id, &request(spec)).map(|_| id)
    }

    /// Runs a container to its end.
    pub(crate) fn run(
        &self,
        watcher: &ExitWatcher,
        spec: &ContainerSpec,
    ) -> (ExitEvent, String, String) {
        let id = self.create(spec).unwrap();
        self.runtime.start(id).unwrap();
        let event = watcher.events().recv_timeout(PATIENCE).unwrap();
        assert_eq!(event.id, id);
        let (out, err) = self.output(id);
        self.runtime.delete(id).unwrap();
        (event, out, err)
    }

    pub(crate) fn output(&self, id: SandboxId) -> (String, String) {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        for entry in self.runtime.logs(id, &LogOptions::default()).unwrap() {
            let entry = entry.unwrap();
            match entry.stream {
                Stream::Stdout => out.extend(entry.data),
                Stream::Stderr => err.extend(entry.data),
            }
        }
        (
            String::from_utf8(out).unwrap(),
            String::from_utf8(err).unwrap(),
        )
    }

    /// Nothing of ours is mounted, running or in a control group any more.
    pub(crate) fn assert_nothing_left(&self) {
        // A killed runtime's child takes a moment to see that its parent has gone.
        eventually("the control groups go", || {
            self.runtime.remove_empty_cgroups();
            cgroups(&self.dir).is_empty()
        });
        let dir = self.dir.to_str().unwrap();
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        let left: Vec<_> = mounts.lines().filter(|line| line.contains(dir)).collect();
        assert_eq!(left, Vec::<&str>::new());
        assert_eq!(processes(dir), Vec::<String>::new());
        for part in ["run/containers", "run/exits", "run/oci", "data/containers"] {
            let entries = std::fs::read_dir(self.dir.join(part)).into_iter().flatten();
            let names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
            assert_eq!(names, Vec::<std::ffi::OsString>::new(), "{part}");
        }
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        if self.keep {
            return;
        }
        let mut ids = self.runtime.stored().unwrap_or_default();
        ids.extend(
            self.runtime
                .list()
                .unwrap_or_default()
                .into_iter()
                .map(|(id, _)| id),
        );
        for id in ids {
            if let Err(error) = self.runtime.delete(id) {
                eprintln!("left behind: {error}");
            }
        }
        self.runtime.remove_empty_cgroups();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// A request with nothing but a specification, in the host's network.
pub(crate) fn request(spec: &ContainerSpec) -> CreateRequest<'_> {
    CreateRequest {
        spec,
        hostname: "box",
        domainname: "",
        netns: None,
        files: &[],
        console: None,
    }
}

pub(crate) fn shell(script: &str) -> ContainerSpec {
    ContainerSpec {
        cmd: ["sh", "-c", script].map(str::to_owned).into(),
        ..ContainerSpec::default()
    }
}

/// Waits until a condition of the outside world holds; there is nothing to be notified by.
pub(crate) fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "{what}");
        // check-allow(no-sleep-in-tests): a poll between looks at a condition.
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Command lines of processes that name the directory.
pub(crate) fn processes(dir: &str) -> Vec<String> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let lines = entries.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
    let lines = lines.map(|line| String::from_utf8_lossy(&line).replace('\0', " "));
    // The other life in a crash test names it too.
    lines
        .filter(|line| line.contains(dir) && !line.contains("containers-"))
        .collect()
}

/// Our control groups in every hierarchy.
fn cgroups(dir: &Path) -> Vec<PathBuf> {
    use sha2::Digest;
    let digest = sha2::Sha256::digest(dir.join("data").as_os_str().as_encoded_bytes());
    let name: String = digest
        .iter()
        .take(4)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let name = format!("vethwork-{name}");
    let hierarchies = std::fs::read_dir("/sys/fs/cgroup").unwrap().flatten();
    let groups = hierarchies.map(|entry| entry.path().join(&name));
    groups.filter(|group| group.exists()).collect()
}

pub(crate) fn busybox_tar() -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    let mut add = |path: &str, kind: tar::EntryType, mode: u32, data: &[u8], link: &str| {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(data.len() as u64);
        if link.is_empty() {
            tar.append_data(&mut header, path, data).unwrap();
        } else {
            tar.append_link(&mut header, path, link).unwrap();
        }
    };
    let busybox = std::fs::read(BUSYBOX).unwrap();
    for dir in ["bin", "etc", "home", "home/web"] {
        add(dir, tar::EntryType::Directory, 0o755, b"", "");
    }
    add("tmp", tar::EntryType::Directory, 0o1777, b"", "");
    add("bin/busybox", tar::EntryType::Regular, 0o755, &busybox, "");
    for applet in APPLETS {
        add(
            &format!("bin/{applet}"),
            tar::EntryType::Symlink,
            0o777,
            b"",
            "busybox",
        );
    }
    let passwd = b"root:x:0:0:root:/root:/bin/sh\nweb:x:33:34::/home/web:/bin/sh\n";
    add("etc/passwd", tar::EntryType::Regular, 0o644, passwd, "");
    let group = b"root:x:0:\nweb:x:34:\nextra:x:77:web\n";
    add("etc/group", tar::EntryType::Regular, 0o644, group, "");
    add(
        "etc/notes",
        tar::EntryType::Regular,
        0o644,
        b"not a program\n",
        "",
    );
    tar.into_inner().unwrap()
}

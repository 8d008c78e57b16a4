//! A `vethwork daemon` in a host of its own, from its start to its end.
//!
//! Owns its folders and its process. It reads the daemon's state only through its
//! API and its command line.

use crate::{Host, Lab, Output, Running, http, poll};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs,
    os::{fd::OwnedFd, unix::net::UnixListener},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

/// A start takes milliseconds; this is for a machine that does much else.
const START: Duration = Duration::from_secs(30);

/// An orderly end flushes and closes; it waits for no container.
const STOP: Duration = Duration::from_secs(20);

/// How much of its log a failed test shows.
const SHOWN: usize = 200;

/// A running daemon with a data root, an exec root and a socket of its own.
///
/// Dropping it kills it; its containers end with the laboratory. When the test
/// failed, the end of its log is printed.
#[derive(Debug)]
pub struct Daemon {
    host: Host,
    folder: PathBuf,
    flags: Vec<String>,
    environment: BTreeMap<String, String>,
    program: PathBuf,
    /// What a service manager listens on and hands over at each start.
    activation: Option<UnixListener>,
    running: Option<Running>,
}

/// Has a program find its standard input as the one descriptor of socket activation (`sd_listen_fds(3)`).
const HAND_OVER: &str = r#"exec 3<&0 </dev/null; LISTEN_FDS=1 LISTEN_PID=$$ exec "$@""#;

impl Daemon {
    /// Starts one in a host, and waits until it answers.
    #[track_caller]
    #[must_use]
    pub fn start(lab: &Lab, host: &Host) -> Self {
        Self::start_with(lab, host, &[])
    }

    /// As [`Daemon::start`], with more flags.
    #[track_caller]
    #[must_use]
    pub fn start_with(lab: &Lab, host: &Host, flags: &[&str]) -> Self {
        let mut daemon = Self::prepare(lab, host, flags);
        daemon.launch();
        daemon
    }

    /// As [`Daemon::start_with`], as a service manager does that listens on its socket itself.
    #[track_caller]
    #[must_use]
    pub fn start_activated(lab: &Lab, host: &Host, flags: &[&str]) -> Self {
        let mut daemon = Self::prepare(lab, host, flags);
        let socket = daemon.socket();
        let listener = UnixListener::bind(&socket);
        let listener = listener.unwrap_or_else(|error| panic!("{}: {error}", socket.display()));
        daemon.activation = Some(listener);
        daemon.launch();
        daemon
    }

    /// Starts one that must refuse to run, and returns what it says.
    #[track_caller]
    #[must_use]
    pub fn refused(lab: &Lab, host: &Host, flags: &[&str]) -> String {
        let daemon = Self::prepare(lab, host, flags);
        host.run_command(&mut daemon.command()).refused()
    }

    fn prepare(lab: &Lab, host: &Host, flags: &[&str]) -> Self {
        let folder = (0..)
            .map(|number| lab.folder().join(format!("{}{number}", host.name())))
            .find(|folder| fs::create_dir(folder).is_ok())
            .expect("an endless search finds one");
        // The machine's own /etc/vethwork/daemon.json must not speak here.
        let daemon = Self {
            host: host.clone(),
            folder,
            flags: flags.iter().map(|&flag| flag.to_owned()).collect(),
            environment: BTreeMap::new(),
            program: binary(),
            activation: None,
            running: None,
        };
        daemon.configure("{}");
        daemon
    }

    fn command(&self) -> Command {
        let mut command = match self.activation {
            None => Command::new(&self.program),
            Some(_) => {
                let mut command = Command::new("sh");
                command.args(["-ec", HAND_OVER, "sh"]).arg(&self.program);
                command
            }
        };
        command
            .arg("daemon")
            .arg("--config-file")
            .arg(self.config_file())
            .arg("--data-root")
            .arg(self.data_root())
            .arg("--exec-root")
            .arg(self.exec_root())
            .arg("--host")
            .arg(self.url())
            .args(&self.flags)
            .env("RUST_BACKTRACE", "1")
            .env_remove("VETHWORK_HOST")
            .envs(&self.environment);
        command
    }

    #[track_caller]
    fn launch(&mut self) {
        self.try_launch().unwrap_or_else(|error| panic!("{error}"));
    }

    /// Starts it and waits until it answers; tells how it ended, and its log, when it did instead.
    fn try_launch(&mut self) -> Result<(), String> {
        let input = self.activation.as_ref().map_or_else(Stdio::null, |held| {
            let held = held.try_clone().expect("the test may open as many");
            OwnedFd::from(held).into()
        });
        let mut running = self
            .host
            .spawn_logging(&mut self.command(), input, &self.log_file());
        let answered = poll(START, || match running.ended() {
            Some(status) => Some(Err(format!("the daemon ended with {status}"))),
            None => self.answers().then_some(Ok(())),
        });
        match answered.unwrap_or_else(|| Err(format!("no answer within {START:?}"))) {
            Ok(()) => {
                self.running = Some(running);
                Ok(())
            }
            Err(error) => Err(format!("{error}:\n{}", running.output())),
        }
    }

    /// Whether its socket answers `/_ping`.
    #[must_use]
    pub fn answers(&self) -> bool {
        self.try_api("GET", "/_ping", None)
            .is_ok_and(|reply| reply.status == 200)
    }

    /// Kills it at once (SIGKILL), as a crash would; its containers go on.
    pub fn kill9(&mut self) {
        self.running = None;
    }

    /// Ends it in order (SIGTERM); fails the test when it does not end well.
    #[track_caller]
    pub fn stop(&mut self) {
        if let Some(mut running) = self.running.take() {
            let status = running.terminate(STOP);
            assert!(
                status.is_some_and(|status| status.success()),
                "the daemon did not stop well ({status:?}):\n{}",
                running.output()
            );
        }
    }

    /// Starts it again over the same folders; killed first when it still runs.
    #[track_caller]
    pub fn restart(&mut self) {
        self.kill9();
        self.launch();
    }

    /// As [`Daemon::restart`], for a start that may fail; tells how it did.
    pub fn try_restart(&mut self) -> Result<(), String> {
        self.kill9();
        self.try_launch()
    }

    /// Writes its file of settings, which it reads when it starts.
    #[track_caller]
    pub fn configure(&self, text: &str) {
        let file = self.config_file();
        fs::write(&file, text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    }

    fn config_file(&self) -> PathBuf {
        self.folder.join("daemon.json")
    }

    /// Has it be this program from the next start on.
    pub fn set_program(&mut self, program: &Path) {
        program.clone_into(&mut self.program);
    }

    /// The program that it is.
    #[must_use]
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// Asks it to end (SIGTERM), and waits until it has; how does not matter.
    #[track_caller]
    pub fn terminate(&mut self) {
        let mut running = self.running.take().expect("the daemon was started");
        let status = running.terminate(STOP);
        assert!(status.is_some(), "it still runs:\n{}", running.output());
    }

    /// Sets a variable of its environment from the next start on; `None` unsets it.
    pub fn set_env(&mut self, name: &str, value: Option<&str>) {
        match value {
            Some(value) => self.environment.insert(name.to_owned(), value.to_owned()),
            None => self.environment.remove(name),
        };
    }

    /// As [`Daemon::restart`], with other flags.
    #[track_caller]
    pub fn restart_with(&mut self, flags: &[&str]) {
        self.flags = flags.iter().map(|&flag| flag.to_owned()).collect();
        self.restart();
    }

    /// As [`Daemon::try_restart`], with other flags.
    pub fn try_restart_with(&mut self, flags: &[&str]) -> Result<(), String> {
        self.flags = flags.iter().map(|&flag| flag.to_owned()).collect();
        self.try_restart()
    }

    /// Waits until it has ended by itself, as at a named crash step; fails the test when it has not.
    #[track_caller]
    pub fn wait_for_end(&mut self, time: Duration) {
        let running = self.running.as_mut().expect("the daemon was started");
        let ended = poll(time, || running.ended());
        assert!(ended.is_some(), "the daemon still runs after {time:?}");
        self.running = None;
    }

    /// Its process id; fails the test when it was ended.
    #[track_caller]
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.running.as_ref().expect("the daemon was started").pid()
    }

    /// The host that it runs in.
    #[must_use]
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// Its data directory, which outlives a reboot.
    #[must_use]
    pub fn data_root(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// Its run directory, which a reboot empties.
    #[must_use]
    pub fn exec_root(&self) -> PathBuf {
        self.folder.join("run")
    }

    /// Its socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.folder.join("vethwork.sock")
    }

    /// Its socket as `-H` takes it.
    #[must_use]
    pub fn url(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    /// All that it has logged, over every start.
    #[must_use]
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.log_file()).unwrap_or_default()).into_owned()
    }

    /// Where that lies.
    #[must_use]
    pub fn log_file(&self) -> PathBuf {
        self.folder.join("daemon.log")
    }

    /// Runs our own command line against it: `daemon.cli(["network", "ls"])`.
    #[track_caller]
    pub fn cli<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Output {
        self.host.run_command(&mut self.cli_command(arguments))
    }

    /// Runs the stock docker command line against it; see
    /// [`require_programs!`](crate::require_programs).
    #[track_caller]
    pub fn docker<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Output {
        self.host.run_command(&mut self.docker_command(arguments))
    }

    /// Our own command line against it, for [`Host::spawn_command`] (`logs -f`, `events`).
    #[must_use]
    pub fn cli_command<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Command {
        let mut command = Command::new(binary());
        command.env("VETHWORK_HOST", self.url()).args(arguments);
        command
    }

    /// The stock docker command line against it, for [`Host::spawn_command`].
    #[must_use]
    pub fn docker_command<A: AsRef<OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = A>,
    ) -> Command {
        let mut command = Command::new("docker");
        command
            .env_remove("DOCKER_HOST")
            .env_remove("DOCKER_CONTEXT")
            .env("DOCKER_CONFIG", self.folder.join("docker"))
            .args(["-H", &self.url()])
            .args(arguments);
        command
    }

    /// Sends one request to its API: `daemon.api("GET", "/v1.51/networks", None)`.
    ///
    /// Fails the test when it does not answer; any status is an answer.
    #[track_caller]
    pub fn api(&self, method: &str, path: &str, body: Option<&Value>) -> http::Reply {
        self.try_api(method, path, body)
            .unwrap_or_else(|error| panic!("{method} {path}: {error}"))
    }

    /// As [`Daemon::api`], for a daemon that may be down.
    pub fn try_api(
        &self,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> std::io::Result<http::Reply> {
        http::request(&self.socket(), method, path, body)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.kill9();
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            let start = lines.len().saturating_sub(SHOWN);
            eprintln!(
                "--- log of the daemon in {}:\n{}\n---",
                self.host.name(),
                lines[start..].join("\n")
            );
        }
    }
}

/// The binary under test: `VETHWORK_BIN`, else the one that cargo built beside this test.
fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("VETHWORK_BIN") {
        return path.into();
    }
    let test = std::env::current_exe().expect("Linux tells a process its program");
    // target/<profile>/deps/<test> lies beside target/<profile>/vethwork.
    test.ancestors()
        .skip(1)
        .take(2)
        .map(|folder: &Path| folder.join("vethwork"))
        .find(|path| path.is_file())
        .expect("the daemon's binary is built first: `make build`, or set VETHWORK_BIN")
}

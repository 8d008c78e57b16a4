//! The daemon's side: it finds the process or starts one, and tells it.

use super::{
    super::{KeyHolder, Peer, PrivateKey, Stats, Tun},
    Ask, COMMAND, DONE, Greeting, PeerChanges, VERSION, hear, say,
};
use rustix::{
    net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, socket_with, sockopt},
    process::{Pid, PidfdFlags, pidfd_open},
};
use serde::de::DeserializeOwned;
use std::{
    env, fs, io,
    net::UdpSocket,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::{
            fs::PermissionsExt,
            net::{UnixListener, UnixStream},
            process::CommandExt,
        },
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::Duration,
};
use zeroize::Zeroizing;

/// How long the process may take over one request: the peers of a thousand hosts are many keys.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// How long it may take to say who it is, or to end: it has nothing else to do, and others wait.
const SHORT: Duration = Duration::from_secs(2);

/// Why the process did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// It is there, and hangs or was stopped.
    #[error("the encrypted tunnel's process does not answer in time at {}", path.display())]
    Silent {
        /// Its socket.
        path: PathBuf,
    },
    /// It is not there.
    #[error("the encrypted tunnel's process does not answer at {}", path.display())]
    Away {
        /// Its socket.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It could not be started.
    #[error("cannot start the encrypted tunnel's process {}", program.display())]
    Start {
        /// The program.
        program: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It refused.
    #[error("the encrypted tunnel's process refused: {0}")]
    Refused(String),
    /// It speaks in another form: of an older or a newer version.
    #[error("the encrypted tunnel's process is of another version")]
    Version,
}

/// The process, by its socket. It lives on when this is dropped.
#[derive(Debug, Clone)]
pub struct Agent {
    socket: PathBuf,
}

impl Agent {
    /// The process at a socket, if it is there and speaks as we do.
    ///
    /// # Errors
    /// [`AgentError::Away`] when there is none; [`AgentError::Version`] when it must be ended
    /// ([`Self::stop`]) and started anew; [`AgentError::Silent`], within two seconds, when it must be
    /// killed ([`Self::process`]).
    pub fn find(socket: &Path) -> Result<(Self, Greeting), AgentError> {
        let agent = Self {
            socket: socket.to_owned(),
        };
        let greeting: Greeting = agent.ask(Ask::Greet, &[], &[])?;
        if greeting.version == VERSION {
            Ok((agent, greeting))
        } else {
            Err(AgentError::Version)
        }
    }

    /// The process at a socket, whether it answers or not; `None` where there is none, or it cannot
    /// be told which it is.
    #[must_use]
    pub fn process(socket: &Path) -> Option<OwnedFd> {
        let serving = connect(socket).and_then(|stream| Ok(sockopt::socket_peercred(&stream)?));
        // Before it serves, and of an older version, it is the daemon that started it; where too
        // many wait, it is nobody.
        let serving = serving.ok().and_then(|by| carrier(by.pid));
        serving.or_else(|| holder(socket))
    }

    /// Starts a process, which serves a socket that only its owner may use.
    ///
    /// `program` is this binary, and is called as it was. The process is in a group of its own, writes to our standard
    /// error, and is waited for by a thread of ours as long as we live.
    ///
    /// # Errors
    /// When the socket cannot be made or the program cannot be started.
    pub fn spawn(program: &Path, socket: &Path) -> Result<Self, AgentError> {
        let failed = |source| AgentError::Start {
            program: program.to_owned(),
            source,
        };
        match fs::remove_file(socket) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        let listener = UnixListener::bind(socket).map_err(failed)?;
        fs::set_permissions(socket, PermissionsExt::from_mode(0o600)).map_err(failed)?;
        let mut command = Command::new(program);
        if let Some(name) = env::args_os().next() {
            command.arg0(name);
        }
        command
            .arg(COMMAND)
            .stdin(Stdio::from(OwnedFd::from(listener)))
            .stdout(Stdio::null())
            .current_dir("/")
            .env_clear()
            .process_group(0);
        let mut child = command.spawn().map_err(failed)?;
        let reaper = thread::Builder::new().name("wg-reaper".to_owned());
        // Its end is seen by the next request; here it only must not stay a zombie.
        let reaper = reaper.spawn(move || drop(child.wait()));
        reaper.map_err(failed)?;
        Ok(Self {
            socket: socket.to_owned(),
        })
    }

    /// Hands it the link, the sockets and the key: it carries packets from now on.
    ///
    /// # Errors
    /// When it does so already, or does not answer.
    pub fn start(
        &self,
        tun: &Tun,
        sockets: &[UdpSocket],
        private: &PrivateKey,
    ) -> Result<(), AgentError> {
        let mut body = Zeroizing::new(vec![u8::from(tun.headers)]);
        body.reserve_exact(32);
        body.extend_from_slice(&*private.to_bytes());
        let mut descriptors = vec![tun.fd.as_fd()];
        descriptors.extend(sockets.iter().map(AsFd::as_fd));
        self.tell(Ask::Start, &body, &descriptors)
    }

    /// As [`Device::set_peers`](super::super::Device::set_peers).
    ///
    /// # Errors
    /// When it does not answer.
    pub fn set_peers(&self, peers: &[Peer]) -> Result<(), AgentError> {
        let body = serde_json::to_vec(peers).map_err(|error| self.away(error.into()))?;
        self.tell(Ask::Peers, &body, &[])
    }

    /// As [`Device::change_peers`](super::super::Device::change_peers), of what it was told last.
    ///
    /// # Errors
    /// When it does not answer: it may have taken them then, or may yet.
    pub fn change_peers(&self, changes: &PeerChanges) -> Result<(), AgentError> {
        let body = serde_json::to_vec(changes).map_err(|error| self.away(error.into()))?;
        self.tell(Ask::Change, &body, &[])
    }

    /// As [`Self::start`], after a process that is gone: it accepts what that one did. A host that
    /// has not read yet which key is used asks for sessions under the former one.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn succeed(
        &self,
        tun: &Tun,
        sockets: &[UdpSocket],
        keys: &KeyHolder,
    ) -> Result<(), AgentError> {
        let Some(former) = keys.former() else {
            return self.start(tun, sockets, keys.current());
        };
        self.start(tun, sockets, former)?;
        self.rotate(keys.current())
    }

    /// As [`Device::rotate`](super::super::Device::rotate).
    ///
    /// # Errors
    /// When it does not answer.
    pub fn rotate(&self, private: &PrivateKey) -> Result<(), AgentError> {
        self.tell(Ask::Rotate, &*private.to_bytes(), &[])
    }

    /// What it has done.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn stats(&self) -> Result<Stats, AgentError> {
        self.ask(Ask::Stats, &[], &[])
    }

    /// Ends the process at a socket, of whatever version; one that is not there has ended.
    ///
    /// # Errors
    /// When it is there and does not answer.
    pub fn stop(socket: &Path) -> Result<(), AgentError> {
        let agent = Self {
            socket: socket.to_owned(),
        };
        match agent.tell(Ask::Stop, &[], &[]) {
            Err(AgentError::Away { source, .. })
                if [io::ErrorKind::NotFound, io::ErrorKind::ConnectionRefused]
                    .contains(&source.kind()) =>
            {
                Ok(())
            }
            other => other,
        }
    }

    fn tell(&self, ask: Ask, body: &[u8], with: &[BorrowedFd<'_>]) -> Result<(), AgentError> {
        self.exchange(ask, body, with).map(drop)
    }

    fn ask<T: DeserializeOwned>(
        &self,
        ask: Ask,
        body: &[u8],
        with: &[BorrowedFd<'_>],
    ) -> Result<T, AgentError> {
        let answer = self.exchange(ask, body, with)?;
        // Only another version's answer cannot be read.
        serde_json::from_slice(&answer).map_err(|_| AgentError::Version)
    }

    fn exchange(
        &self,
        ask: Ask,
        body: &[u8],
        with: &[BorrowedFd<'_>],
    ) -> Result<Zeroizing<Vec<u8>>, AgentError> {
        let patience = match ask {
            Ask::Greet | Ask::Stop => SHORT,
            Ask::Start | Ask::Peers | Ask::Change | Ask::Rotate | Ask::Stats => PATIENCE,
        };
        let converse = || {
            let mut stream = connect(&self.socket)?;
            stream.set_read_timeout(Some(patience))?;
            stream.set_write_timeout(Some(patience))?;
            say(&mut stream, ask as u8, body, with)?;
            hear(&mut stream)
        };
        let answer = converse().map_err(|error| self.away(error))?;
        if answer.kind == DONE {
            Ok(answer.body)
        } else {
            let sentence = String::from_utf8_lossy(&answer.body).into_owned();
            Err(AgentError::Refused(sentence))
        }
    }

    fn away(&self, source: io::Error) -> AgentError {
        let path = self.socket.clone();
        match source.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => AgentError::Silent { path },
            _ => AgentError::Away { path, source },
        }
    }
}

/// A process, if it was started to carry packets.
fn carrier(pid: Pid) -> Option<OwnedFd> {
    let process = pidfd_open(pid, PidfdFlags::empty()).ok()?;
    let command = fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero())).ok()?;
    let mut words = command.split(|byte| *byte == 0);
    words
        .any(|word| word == COMMAND.as_bytes())
        .then_some(process)
}

/// Who carries packets and has the socket at a path for its standard input.
fn holder(socket: &Path) -> Option<OwnedFd> {
    let end = format!(" {}", socket.to_str()?);
    let sockets = fs::read_to_string("/proc/net/unix").ok()?;
    let at_path = sockets.lines().filter(|line| line.ends_with(&end));
    // The seventh word is the inode (`proc_net(5)`).
    let inodes = at_path.filter_map(|line| line.split_ascii_whitespace().nth(6));
    let inputs: Vec<PathBuf> = inodes
        .map(|inode| format!("socket:[{inode}]").into())
        .collect();
    fs::read_dir("/proc").ok()?.flatten().find_map(|entry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        let input = fs::read_link(entry.path().join("fd/0")).ok()?;
        let pid = Pid::from_raw(pid).filter(|_| inputs.contains(&input))?;
        carrier(pid)
    })
}

/// Never waits: where as many are waiting as may, nobody is heard (`unix(7)`, `EAGAIN`).
fn connect(socket: &Path) -> io::Result<UnixStream> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let made = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    rustix::net::connect(&made, &SocketAddrUnix::new(socket)?)?;
    let stream = UnixStream::from(made);
    stream.set_nonblocking(false)?;
    Ok(stream)
}

#[cfg(test)]
mod tests;

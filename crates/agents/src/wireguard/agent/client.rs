//! The daemon's side: it finds the process or starts one, and tells it.

use super::{
    super::{KeyHolder, Peer, PrivateKey, Stats, Tun},
    Ask, COMMAND, DONE, Greeting, VERSION, hear, say,
};
use serde::de::DeserializeOwned;
use std::{
    fs, io,
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

/// How long the process may take over one request.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why the process did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// It is not there, or does not answer.
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
    /// ([`Self::stop`]) and started anew.
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

    /// Starts a process, which serves a socket that only its owner may use.
    ///
    /// `program` is this binary. The process is in a group of its own, writes to our standard
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
        let converse = || {
            let mut stream = UnixStream::connect(&self.socket)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.set_write_timeout(Some(PATIENCE))?;
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
        AgentError::Away {
            path: self.socket.clone(),
            source,
        }
    }
}

//! Connections to a store's servers, plain or encrypted, with a deadline on every wait.
//!
//! Owns sockets and TLS. It must not know what is said over them, nor which server to prefer.

mod names;
mod tls;

use self::names::Names;
use super::{
    ClusterError, Options, Server,
    options::{Fresh, Tls},
};
use rustix::net::sockopt;
use rustls::{ClientConnection, StreamOwned};
use std::{
    io::{self, Read, Write},
    net::TcpStream,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

/// How long a connection may take; a server that is cut off does not even refuse one.
const CONNECT: Duration = Duration::from_secs(3);

/// After how much silence the kernel asks whether the other end still knows a connection.
const IDLE: Duration = Duration::from_secs(5);

/// How long it waits for an answer to that, and how often it asks.
const ASKED: (Duration, u32) = (Duration::from_secs(1), 3);

/// Whether connections can be encrypted by what these files say.
///
/// # Errors
/// [`ClusterError::Setting`] that names the option whose file cannot be used.
pub(crate) fn check(tls: &Tls) -> Result<(), ClusterError> {
    tls::configure(tls).map(drop)
}

/// How connections are made: encrypted or not.
pub(crate) struct Dialer {
    names: Names,
    /// The files, and what was made of them.
    tls: Fresh<Option<Tls>>,
    made: Mutex<Option<(Tls, Arc<rustls::ClientConfig>)>>,
}

impl Dialer {
    pub(crate) fn new(options: &Options) -> Result<Self, ClusterError> {
        let tls = Fresh::new(options, Options::tls)?;
        let made = tls.get().map(|tls| {
            let config = tls::configure(&tls)?;
            Ok::<_, ClusterError>((tls, config))
        });
        Ok(Self {
            names: Names::of_system(),
            tls,
            made: Mutex::new(made.transpose()?),
        })
    }

    /// The configuration by the files as they are now: certificates may last for hours only. What
    /// cannot be used, such as a certificate without its new key yet, changes nothing.
    fn config(&self) -> Option<Arc<rustls::ClientConfig>> {
        let now = self.tls.get();
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        let old = made.as_ref().map(|(tls, _)| tls);
        if now.as_ref() != old
            && let Some(tls) = now
            && let Ok(config) = tls::configure(&tls)
        {
            *made = Some((tls, config));
        }
        made.as_ref().map(|(_, config)| Arc::clone(config))
    }

    /// Connects, and agrees on keys where that is wanted, before `deadline`.
    pub(crate) fn dial(&self, server: &Server, deadline: Instant) -> io::Result<Stream> {
        let deadline = deadline.min(Instant::now() + CONNECT);
        let socket = self.connect(server, deadline)?;
        // Requests are small, and each waits for its answer.
        socket.set_nodelay(true)?;
        keep_alive(&socket)?;
        let Some(config) = self.config() else {
            return Ok(Stream(Kind::Plain(socket)));
        };
        let name = server
            .host
            .clone()
            .try_into()
            .map_err(|_| io::Error::other(format!("{:?} is no name for TLS", server.host)))?;
        let session = ClientConnection::new(config, name).map_err(io::Error::other)?;
        let mut stream = Stream(Kind::Tls(Box::new(StreamOwned::new(session, socket))));
        stream.agree(deadline)?;
        Ok(stream)
    }

    /// The first of a server's addresses that takes a connection.
    fn connect(&self, server: &Server, deadline: Instant) -> io::Result<TcpStream> {
        let addresses = self.names.addresses(&server.host, server.port, deadline)?;
        let mut failed = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for (number, address) in addresses.iter().enumerate() {
            // Each of the rest gets an equal part of what is left.
            let parts = u32::try_from(addresses.len() - number).unwrap_or(u32::MAX);
            match TcpStream::connect_timeout(address, left(deadline)? / parts) {
                Ok(socket) => return Ok(socket),
                Err(error) => failed = error,
            }
        }
        Err(failed)
    }
}

/// Has the kernel end a connection whose other end is gone: over one that only waits for what is told
/// nothing is ever sent, so that a server that was switched off, or started anew behind a network
/// that was away, is otherwise waited for in vain.
fn keep_alive(socket: &TcpStream) -> io::Result<()> {
    let (interval, count) = ASKED;
    sockopt::set_socket_keepalive(socket, true)?;
    sockopt::set_tcp_keepidle(socket, IDLE)?;
    sockopt::set_tcp_keepintvl(socket, interval)?;
    sockopt::set_tcp_keepcnt(socket, count)?;
    Ok(())
}

/// What is left of the time; an error when it is over.
fn left(deadline: Instant) -> io::Result<Duration> {
    match deadline.checked_duration_since(Instant::now()) {
        // A socket takes no limit of 0, and rounds down to the kernel's tick.
        Some(left) if left > Duration::ZERO => Ok(left.max(Duration::from_millis(1))),
        _ => Err(late("no answer in time")),
    }
}

fn late(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, why)
}

/// Whether an error says only that time is over.
pub(crate) fn is_late(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock
    )
}

/// One connection. A read whose time is over loses nothing: the next goes on.
pub(crate) struct Stream(Kind);

enum Kind {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Stream {
    fn socket(&self) -> &TcpStream {
        match &self.0 {
            Kind::Plain(socket) => socket,
            Kind::Tls(stream) => &stream.sock,
        }
    }

    fn agree(&mut self, deadline: Instant) -> io::Result<()> {
        if let Kind::Tls(stream) = &mut self.0 {
            while stream.conn.is_handshaking() {
                stream.sock.set_read_timeout(Some(left(deadline)?))?;
                stream.sock.set_write_timeout(Some(left(deadline)?))?;
                let agreed = stream.conn.complete_io(&mut stream.sock);
                agreed.map_err(tls::explained)?;
            }
        }
        Ok(())
    }

    /// What has come, at most a buffer's length; 0 at the end.
    pub(crate) fn read(&mut self, buffer: &mut [u8], deadline: Instant) -> io::Result<usize> {
        loop {
            self.socket().set_read_timeout(Some(left(deadline)?))?;
            let read = match &mut self.0 {
                Kind::Plain(socket) => socket.read(buffer),
                Kind::Tls(stream) => stream.read(buffer),
            };
            match read {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if is_late(&error) => return Err(late("no answer in time")),
                read => return read.map_err(tls::explained),
            }
        }
    }

    /// Sends all, or fails with an unknown part of it sent.
    pub(crate) fn write_all(&mut self, bytes: &[u8], deadline: Instant) -> io::Result<()> {
        let mut rest = bytes;
        while !rest.is_empty() {
            self.socket().set_write_timeout(Some(left(deadline)?))?;
            let written = match &mut self.0 {
                Kind::Plain(socket) => socket.write(rest),
                Kind::Tls(stream) => stream.write(rest),
            };
            match written {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => rest = &rest[written..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if is_late(&error) => return Err(late("no answer in time")),
                Err(error) => return Err(error),
            }
        }
        if let Kind::Tls(stream) = &mut self.0 {
            stream.flush()?;
        }
        Ok(())
    }

    /// Whether a connection that nothing is expected from is still open and silent.
    pub(crate) fn is_idle(&self) -> bool {
        let socket = self.socket();
        if socket.set_nonblocking(true).is_err() {
            return false;
        }
        let silent = matches!(
            socket.peek(&mut [0]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock
        );
        socket.set_nonblocking(false).is_ok() && silent
    }
}

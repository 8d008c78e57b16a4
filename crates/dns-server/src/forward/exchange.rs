//! Asking upstreams.
//!
//! Owns the race: the first is asked at once, each next one when those before have failed
//! or have kept silent for a while; the first good answer wins. Every question goes from a
//! socket of its own (a random port) under a random id, and what comes back must be from
//! whom was asked, under that id and with that question (RFC 5452).

use crate::{Place, SocketFactory, config::Config, counters::Tally};
use rustix::{
    net::{self, RecvFlags, netdevice},
    rand,
};
use std::{
    cell::RefCell,
    fmt, io,
    net::{IpAddr, SocketAddr, SocketAddrV6},
    os::fd::AsFd,
    rc::Rc,
    sync::Arc,
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, Interest},
    net::{TcpSocket, UdpSocket},
    task::JoinSet,
    time::{Instant, sleep_until, timeout, timeout_at},
};
use vw_model::{Family, SandboxId};
use vw_names::{Query, Response, Upstream, Vantage};

/// Asks upstreams; clones share all.
#[derive(Clone)]
pub(crate) struct Exchange {
    sockets: Arc<dyn SocketFactory>,
    tally: Arc<Tally>,
    stagger: Duration,
    retransmit: Duration,
    deadline: Duration,
    /// Where datagrams are received: some servers send more than they were allowed.
    scratch: Rc<RefCell<Box<[u8]>>>,
}

impl fmt::Debug for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exchange").finish_non_exhaustive()
    }
}

impl Exchange {
    pub(crate) fn new(config: &Config, sockets: Arc<dyn SocketFactory>, tally: Arc<Tally>) -> Self {
        Self {
            sockets,
            tally,
            stagger: config.stagger,
            retransmit: config.retransmit,
            deadline: config.deadline,
            scratch: Rc::new(RefCell::new(vec![0; usize::from(u16::MAX)].into())),
        }
    }

    /// Asks the query `message` of `upstreams`, for `sandbox`.
    ///
    /// Returns the first good answer; if all fail, the last failure that one of them gave,
    /// or `None` when none said anything in time.
    pub(crate) async fn ask(
        &self,
        message: &[u8],
        upstreams: &[Upstream],
        sandbox: SandboxId,
    ) -> Option<Response> {
        let message: Rc<[u8]> = message.into();
        let deadline = Instant::now() + self.deadline;
        let mut waiting = upstreams.iter();
        let mut asked = JoinSet::new();
        let mut failure = None;
        let mut next = Instant::now();
        loop {
            if next <= Instant::now() || asked.is_empty() {
                match waiting.next() {
                    Some(upstream) => {
                        let one = self
                            .clone()
                            .one(Rc::clone(&message), upstream.clone(), sandbox);
                        asked.spawn_local(timeout_at(deadline, one));
                        next = Instant::now() + self.stagger;
                    }
                    None if asked.is_empty() => return failure,
                    None => {}
                }
            }
            tokio::select! {
                done = asked.join_next() => match done {
                    Some(Ok(Ok(Ok(response)))) if response.is_failure() => {
                        failure = Some(response);
                        next = Instant::now();
                    }
                    Some(Ok(Ok(Ok(response)))) => return Some(response),
                    // It could not be asked; the next one is due.
                    Some(Ok(Ok(Err(_)))) => next = Instant::now(),
                    // Out of time, or ended with the runtime.
                    Some(Ok(Err(_)) | Err(_)) | None => {}
                },
                () = sleep_until(next), if waiting.len() > 0 => {}
            }
        }
    }

    async fn one(
        self,
        message: Rc<[u8]>,
        upstream: Upstream,
        sandbox: SandboxId,
    ) -> io::Result<Response> {
        let place = match upstream.from {
            Vantage::Host => Place::Host,
            Vantage::Sandbox => Place::Sandbox(sandbox),
        };
        let answer = self.exchange(&message, &upstream, place).await;
        if let Err(error) = &answer {
            tracing::debug!(server = %upstream.server, from = ?upstream.from, %error, "an upstream could not be asked");
        }
        answer
    }

    async fn exchange(
        &self,
        message: &[u8],
        upstream: &Upstream,
        place: Place,
    ) -> io::Result<Response> {
        let response = self.by_udp(message, upstream, place).await?;
        if !response.is_truncated() {
            return Ok(response);
        }
        // A server without TCP leaves the client what there is, marked as cut.
        Ok(self
            .by_tcp(message, upstream, place)
            .await
            .unwrap_or(response))
    }

    async fn by_udp(
        &self,
        message: &[u8],
        upstream: &Upstream,
        place: Place,
    ) -> io::Result<Response> {
        let socket = self.sockets.udp(place, Family::of(upstream.server.addr))?;
        let addr = address(upstream, &socket)?;
        socket.set_nonblocking(true)?;
        let socket = UdpSocket::from_std(socket)?;
        // Connected, so that the kernel drops what comes from elsewhere, and tells when
        // nobody listens there.
        socket.connect(addr).await?;
        let query = readable(message)?;
        let id = random_id()?;
        let mut sent = Vec::new();
        query.forward(id, &mut sent);
        loop {
            socket.send(&sent).await?;
            if let Ok(response) = timeout(self.retransmit, self.receive(&socket, id, &query)).await
            {
                return response;
            }
        }
    }

    /// Waits for the reply to `query` under `id`; anything else is passed over.
    async fn receive(
        &self,
        socket: &UdpSocket,
        id: u16,
        query: &Query<'_>,
    ) -> io::Result<Response> {
        loop {
            // That nobody listens there shows as an error alone, which is not "readable".
            let wanted = Interest::READABLE | Interest::ERROR;
            let received = socket.async_io(wanted, || {
                let mut scratch = self.scratch.borrow_mut();
                let (length, _) = net::recv(socket, &mut scratch[..], RecvFlags::empty())?;
                Ok(scratch[..length].to_vec())
            });
            match Response::parse(received.await?, id, query) {
                Ok(response) => return Ok(response),
                Err(_) => self.tally.unfit.count(),
            }
        }
    }

    async fn by_tcp(
        &self,
        message: &[u8],
        upstream: &Upstream,
        place: Place,
    ) -> io::Result<Response> {
        let socket = self.sockets.tcp(place, Family::of(upstream.server.addr))?;
        let addr = address(upstream, &socket)?;
        let socket = std::net::TcpStream::from(socket);
        socket.set_nonblocking(true)?;
        let mut stream = TcpSocket::from_std_stream(socket).connect(addr).await?;
        let query = readable(message)?;
        let id = random_id()?;
        let mut sent = Vec::new();
        query.forward(id, &mut sent);
        let length = u16::try_from(sent.len()).map_err(io::Error::other)?;
        // In one piece, as some servers read no other way (RFC 7766, section 8).
        sent.splice(..0, length.to_be_bytes());
        stream.write_all(&sent).await?;
        let length = stream.read_u16().await?;
        let mut received = vec![0; usize::from(length)];
        stream.read_exact(&mut received).await?;
        Response::parse(received, id, &query).map_err(|unfit| {
            self.tally.unfit.count();
            io::Error::new(io::ErrorKind::InvalidData, unfit)
        })
    }
}

/// Where an upstream is. The name of an interface is looked up in the namespace in which
/// `socket` was made.
fn address(upstream: &Upstream, socket: impl AsFd) -> io::Result<SocketAddr> {
    let scope = match &upstream.server.scope {
        None => 0,
        Some(scope) => match scope.parse() {
            Ok(index) => index,
            Err(_) => netdevice::name_to_index(socket, scope)?,
        },
    };
    Ok(match upstream.server.addr {
        IpAddr::V4(addr) => (addr, upstream.port).into(),
        IpAddr::V6(addr) => SocketAddrV6::new(addr, upstream.port, 0, scope).into(),
    })
}

/// The query again; it was read without fault when it came.
fn readable(message: &[u8]) -> io::Result<Query<'_>> {
    Query::parse(message).map_err(|_| io::ErrorKind::InvalidInput.into())
}

/// An id that nobody can guess.
fn random_id() -> io::Result<u16> {
    let mut id = [0; 2];
    rand::getrandom(&mut id, rand::GetRandomFlags::empty())?;
    Ok(u16::from_ne_bytes(id))
}

#[cfg(test)]
mod tests;

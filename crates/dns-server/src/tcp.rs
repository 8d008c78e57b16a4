//! Names over streams (RFC 7766).
//!
//! Owns the connections of sandboxes: many queries on one, answered as answers come, a
//! bound on what one connection may have outstanding, and an end to those that idle.

use crate::{
    client::{Client, Gate, Permit},
    config::Config,
    counters::Tally,
    forward::{Forwarder, Job, ReplyTo},
};
use std::{
    cell::RefCell,
    io,
    net::TcpListener,
    rc::Rc,
    sync::{Arc, Weak},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    task::JoinSet,
    time::{sleep, timeout},
};
use vw_names::{Query, Rcode, Rng, Transport, Verdict, answer, refuse};

/// A reply for a stream, and its slot, which is free again when it has been written.
pub(crate) type Framed = (Vec<u8>, OwnedSemaphorePermit);

/// Replies that one connection may have outstanding; it is not read from beyond.
const SLOTS: usize = 64;
/// How long accepting rests when the process is out of descriptors.
const REST: Duration = Duration::from_millis(100);

/// What all connections share.
#[derive(Debug, Clone)]
pub(crate) struct Service {
    pub(crate) forwarder: Rc<Forwarder>,
    pub(crate) tally: Arc<Tally>,
    pub(crate) gate: Gate,
    pub(crate) rng: Rc<RefCell<Rng>>,
    pub(crate) idle: Duration,
    pub(crate) connections: usize,
}

impl Service {
    pub(crate) fn new(
        config: &Config,
        forwarder: Rc<Forwarder>,
        tally: Arc<Tally>,
        gate: Gate,
        rng: Rng,
    ) -> Self {
        Self {
            forwarder,
            tally,
            gate,
            rng: Rc::new(RefCell::new(rng)),
            idle: config.tcp_idle,
            connections: config.tcp_per_sandbox,
        }
    }

    /// Serves a sandbox's streams until it is dropped, and all its connections with it.
    pub(crate) async fn listen(
        self,
        client: Weak<Client>,
        listener: TcpListener,
    ) -> io::Result<()> {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) if connections.len() < self.connections => {
                        connections.spawn_local(self.clone().connection(Weak::clone(&client), stream));
                    }
                    Ok(_) => {}
                    Err(error) => {
                        tracing::debug!(%error, "a connection to the DNS server could not be accepted");
                        sleep(REST).await;
                    }
                },
                Some(_) = connections.join_next() => {}
            }
        }
    }

    async fn connection(self, client: Weak<Client>, stream: TcpStream) {
        let (reader, writer) = stream.into_split();
        let (replies, outgoing) = mpsc::unbounded_channel();
        let idle = self.idle;
        // The reader may end first, and the writer goes on with what is outstanding. When
        // the writer ends first, nobody listens any more.
        let mut writing = std::pin::pin!(write(writer, outgoing, idle));
        tokio::select! {
            // A connection ends in any way its client likes.
            _ = self.read(client, reader, replies) => { let _ = writing.await; }
            _ = &mut writing => {}
        }
    }

    async fn read(
        self,
        client: Weak<Client>,
        mut stream: OwnedReadHalf,
        replies: mpsc::UnboundedSender<Framed>,
    ) -> io::Result<()> {
        let slots = Arc::new(Semaphore::new(SLOTS));
        loop {
            // Never closed, so it always comes.
            let slot = Arc::clone(&slots)
                .acquire_owned()
                .await
                .map_err(io::Error::other)?;
            let length = timeout(self.idle, stream.read_u16()).await??;
            let mut message = vec![0; usize::from(length)];
            timeout(self.idle, stream.read_exact(&mut message)).await??;
            let Some(client) = client.upgrade() else {
                return Ok(());
            };
            if !self.query(&client, message, slot, &replies) {
                return Ok(());
            }
        }
    }

    /// Answers one query or hands it on; false when the stream makes no sense.
    fn query(
        &self,
        client: &Client,
        message: Vec<u8>,
        slot: OwnedSemaphorePermit,
        replies: &mpsc::UnboundedSender<Framed>,
    ) -> bool {
        self.tally.queries.count();
        let mut out = Vec::with_capacity(512);
        let query = match Query::parse(&message) {
            Ok(query) => query,
            Err(malformed) if malformed.reply(&mut out) => {
                self.tally.local.count();
                return replies.send((out, slot)).is_ok();
            }
            Err(_) => {
                self.tally.dropped.count();
                return false;
            }
        };
        let view = client.view.load();
        let verdict = answer(
            &view,
            &query,
            Transport::Tcp,
            &mut self.rng.borrow_mut(),
            &mut out,
        );
        if verdict == Verdict::Reply {
            self.tally.local.count();
            return replies.send((out, slot)).is_ok();
        }
        let Some(permit) = Permit::new(&client.gate, &self.gate) else {
            self.tally.refused.count();
            refuse(&query, Transport::Tcp, Rcode::Refused, &mut out);
            return replies.send((out, slot)).is_ok();
        };
        self.tally.forwarded.count();
        self.forwarder.forward(Job {
            upstreams: Arc::clone(view.upstreams()),
            sandbox: client.id,
            reply_to: ReplyTo::Tcp(replies.clone(), slot),
            permit,
            message: message.into(),
        });
        true
    }
}

async fn write(
    mut stream: OwnedWriteHalf,
    mut outgoing: mpsc::UnboundedReceiver<Framed>,
    patience: Duration,
) -> io::Result<()> {
    while let Some((mut reply, slot)) = outgoing.recv().await {
        // Replies are made to fit.
        let length = u16::try_from(reply.len()).map_err(io::Error::other)?;
        reply.splice(..0, length.to_be_bytes());
        timeout(patience, stream.write_all(&reply)).await??;
        drop(slot);
    }
    Ok(())
}

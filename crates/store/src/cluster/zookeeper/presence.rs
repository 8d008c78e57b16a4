//! A presence in ZooKeeper: an ephemeral node, and the session of its own that it goes with.
//!
//! Owns the session from its beginning to its end, over whichever server answers. It renews
//! nothing by itself.

use super::{
    super::{
        ClusterError, Presence,
        turns::{PATIENCE, Refusal},
    },
    STORE,
    commit::{first_failure, make, stat},
    failed,
    layout::Layout,
    pool::{Pool, unsent},
    session::{Broken, Session, Ticket},
    wire::{ANY, BAD_VERSION, Life, MULTI, NO_NODE, NODE_EXISTS, Op},
};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// How often the making is tried: each failure is another's success.
const ATTEMPTS: usize = 20;

pub(super) struct Ephemeral {
    pool: Arc<Pool>,
    node: String,
    ttl: Duration,
    ticket: Ticket,
    /// None while there is no connection.
    session: Option<(usize, Session)>,
    closed: bool,
}

impl Ephemeral {
    /// Begins a session and makes the node.
    pub(super) fn make(
        pool: Arc<Pool>,
        layout: &Layout,
        key: &str,
        value: &[u8],
        ttl: Duration,
    ) -> Result<Self, ClusterError> {
        // Asked twice, the session that nobody knows of ends by itself, and its node with it.
        let (server, session) = pool.turns().ask(true, |server, deadline| {
            let mut session = pool
                .open(server, &Ticket::default(), ttl, deadline)
                .map_err(unsent)?;
            place(&pool, layout, &mut session, key, value, deadline)?;
            Ok((server, session))
        })?;
        Ok(Self {
            node: layout.node(key),
            ttl,
            ticket: session.ticket().clone(),
            session: Some((server, session)),
            pool,
            closed: false,
        })
    }

    fn expired() -> ClusterError {
        ClusterError::Expired { store: STORE }
    }

    /// Asks over this presence's session, which is taken up again where its connection broke.
    fn ask<T>(
        &mut self,
        mut ask: impl FnMut(&mut Session, Instant) -> Result<T, Broken>,
    ) -> Result<T, ClusterError> {
        let (kept, turns) = (self.session.take(), self.pool.turns());
        if let Some((server, mut session)) = kept.filter(|(_, session)| session.is_idle()) {
            match ask(&mut session, Instant::now() + PATIENCE) {
                Ok(answer) => {
                    self.session = Some((server, session));
                    return Ok(answer);
                }
                Err(Broken::Final(error)) => return Err(error),
                Err(Broken::Expired) => return Err(Self::expired()),
                // Which may not be the one that others are asked of.
                Err(Broken::Connection(_)) => turns.avoid(server),
            }
        }
        let (answer, kept) = turns.ask(true, |server, deadline| {
            let opened = self.pool.open(server, &self.ticket, self.ttl, deadline);
            let mut session = opened.map_err(over)?;
            let answer = ask(&mut session, deadline).map_err(over)?;
            Ok((answer, (server, session)))
        })?;
        self.session = Some(kept);
        Ok(answer)
    }
}

/// As [`unsent`], but the session is all there is.
fn over(broken: Broken) -> Refusal {
    match broken {
        Broken::Expired => Refusal::Final(Ephemeral::expired()),
        broken => unsent(broken),
    }
}

/// Puts the node in the place of whatever stands there.
fn place(
    pool: &Pool,
    layout: &Layout,
    session: &mut Session,
    key: &str,
    value: &[u8],
    deadline: Instant,
) -> Result<(), Refusal> {
    let (node, fence) = (layout.node(key), layout.fence(key));
    for _ in 0..ATTEMPTS {
        let found = session
            .ask(&[Op::Exists(node.clone())], deadline)
            .and_then(|replies| stat(&replies[0]))
            .map_err(unsent)?;
        let mut operations = Vec::new();
        if found.is_some() {
            operations.push(Op::Delete(node.clone(), ANY));
        }
        let access = pool.access();
        operations.push(Op::Create(node.clone(), value, Life::Ephemeral, access));
        operations.push(Op::SetData(fence.clone(), b"", ANY));
        let replies = session
            .multi(MULTI, &operations, deadline)
            .map_err(unsent)?;
        match first_failure(&replies) {
            None => return Ok(()),
            Some(NO_NODE) => {
                // It is gone meanwhile, or what it lies in is not there yet.
                let folder = layout.folder_of(key);
                make(pool, session, &folder, deadline).map_err(unsent)?;
                make(pool, session, &fence, deadline).map_err(unsent)?;
            }
            Some(NODE_EXISTS | BAD_VERSION) => {
                // This server may be behind.
                let sync = [Op::Sync(node.clone())];
                session.ask(&sync, deadline).map_err(unsent)?;
            }
            Some(code) => return Err(Refusal::Final(failed(code))),
        }
    }
    Err(Refusal::Elsewhere(format!(
        "others take {key} all the time"
    )))
}

impl Presence for Ephemeral {
    fn renew(&mut self) -> Result<(), ClusterError> {
        if self.closed {
            return Err(Self::expired());
        }
        let node = self.node.clone();
        let found = self.ask(|session, deadline| {
            // Whatever is asked renews the session.
            let asked = [Op::Sync(node.clone()), Op::Exists(node.clone())];
            let replies = session.ask(&asked, deadline)?;
            stat(&replies[1])
        })?;
        // Another may have taken its place, which leaves the session as it was.
        match found {
            Some(stat) if stat.owner == self.ticket.id => Ok(()),
            _ => Err(Self::expired()),
        }
    }

    fn close(&mut self) -> Result<(), ClusterError> {
        if self.closed {
            return Ok(());
        }
        let closed = self.ask(|session, deadline| session.close(deadline));
        match closed {
            Ok(()) | Err(ClusterError::Expired { .. }) => {
                self.session = None;
                self.closed = true;
                Ok(())
            }
            Err(error) => Err(error),
        }
    }
}

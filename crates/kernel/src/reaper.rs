//! Deletes, in the background and many at once, links that were taken out of service.
//!
//! Unregistering a device waits for RCU grace periods (16 to 20 ms), about as long for a hundred
//! as for one; so nobody waits for it, and what comes within a moment goes together.

use crate::netlink::{Batch, Socket, link};
use std::{
    io,
    sync::mpsc::{self, Receiver, RecvTimeoutError, Sender},
    thread,
    time::{Duration, Instant},
};

/// How long the first link waits for company. Deleting holds the RTNL, so it also keeps away from
/// an attachment that follows a detachment at once.
const GATHER: Duration = Duration::from_millis(100);

enum Command {
    Doomed,
    Flush(Sender<io::Result<()>>),
}

/// The thread that deletes.
#[derive(Debug)]
pub(crate) struct Reaper {
    commands: Sender<Command>,
}

impl Reaper {
    /// Starts it on the links of the socket's namespace, also those that a former process left.
    pub(crate) fn start(mut socket: Socket) -> io::Result<Self> {
        let (commands, received) = mpsc::channel();
        let builder = thread::Builder::new().name("link-reaper".into());
        builder.spawn(move || work(&mut socket, &received))?;
        let reaper = Self { commands };
        reaper.doomed();
        Ok(reaper)
    }

    /// Tells that a link is out of service.
    pub(crate) fn doomed(&self) {
        // A thread that ended leaves its links to the next start.
        let _ = self.commands.send(Command::Doomed);
    }

    /// Deletes what is out of service now, and waits for it.
    pub(crate) fn flush(&self) -> io::Result<()> {
        let ended = || io::Error::other("the thread that deletes links ended");
        let (done, waits) = mpsc::channel();
        let sent = self.commands.send(Command::Flush(done));
        sent.map_err(|_| ended())?;
        waits.recv().unwrap_or_else(|_| Err(ended()))
    }
}

fn work(socket: &mut Socket, commands: &Receiver<Command>) {
    while let Ok(first) = commands.recv() {
        let waiting = gather(first, commands);
        let result = reap(socket);
        if let Err(error) = &result {
            tracing::warn!(%error, "cannot delete links that are out of service");
        }
        for done in waiting {
            let answer = match &result {
                Ok(()) => Ok(()),
                Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
            };
            // Who asked may have ended meanwhile.
            let _ = done.send(answer);
        }
    }
}

/// Takes commands until the time is up or somebody waits.
fn gather(first: Command, commands: &Receiver<Command>) -> Vec<Sender<io::Result<()>>> {
    let until = Instant::now() + GATHER;
    let mut next = Ok(first);
    loop {
        match next {
            Ok(Command::Flush(done)) => return vec![done],
            Ok(Command::Doomed) => {}
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return Vec::new(),
        }
        next = commands.recv_timeout(until.saturating_duration_since(Instant::now()));
    }
}

fn reap(socket: &mut Socket) -> io::Result<()> {
    let mut batch = Batch::default();
    link::delete_doomed(&mut batch);
    loop {
        match socket.transact(&mut batch)?.pop() {
            Some(refusal) if refusal.errno == libc::ENODEV => return Ok(()),
            Some(refusal) => return Err(refusal.into_error()),
            // Others may have been marked while these went.
            None => {}
        }
    }
}

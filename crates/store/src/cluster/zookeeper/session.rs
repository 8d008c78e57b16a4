//! One connection to a ZooKeeper server, and the session that it carries.
//!
//! Owns packets and their order. It sends nothing by itself: a session of which nobody asks
//! anything ends when its time is over, and so does what depends on it.

use super::{
    super::{
        ClusterError, Server,
        net::{Dialer, Stream, is_late},
    },
    jute::{Reader, Writer},
    protocol,
    wire::{self, Op, Reply},
};
use std::{
    collections::VecDeque,
    io,
    time::{Duration, Instant},
};

/// More than any list has; a limit against a broken server.
const MAX_PACKET: usize = 512 * 1024 * 1024;

/// How much is read at once.
const PIECE: usize = 16 * 1024;

/// The transaction numbers of packets that answer nothing.
const EVENT: i32 = -1;
const PING: i32 = -2;
const AUTH: i32 = -4;

/// What went wrong with one server.
#[derive(Debug)]
pub(super) enum Broken {
    /// The connection; a request may have been carried out.
    Connection(io::Error),
    /// The session is over.
    Expired,
    /// Another connection would not mend it.
    Final(ClusterError),
}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Self {
        Self::Connection(error)
    }
}

impl From<ClusterError> for Broken {
    fn from(error: ClusterError) -> Self {
        Self::Final(error)
    }
}

impl Broken {
    pub(super) fn said(&self) -> String {
        match self {
            Self::Connection(error) => error.to_string(),
            Self::Expired => "the session expired".to_owned(),
            Self::Final(error) => error.to_string(),
        }
    }
}

/// What names a session, also over another connection.
#[derive(Debug, Clone, Default)]
pub(super) struct Ticket {
    pub(super) id: i64,
    password: Vec<u8>,
}

pub(super) struct Session {
    stream: Stream,
    ticket: Ticket,
    come: Vec<u8>,
    /// The number of the next request.
    next: i32,
    /// The last transaction that the server knew.
    pub(super) seen: i64,
    /// Paths of nodes that changed.
    events: VecDeque<String>,
}

impl Session {
    /// Connects, and begins a session or takes one up again.
    pub(super) fn open(
        dialer: &Dialer,
        server: &Server,
        user: Option<&(String, String)>,
        ticket: &Ticket,
        time: Duration,
        deadline: Instant,
    ) -> Result<Self, Broken> {
        let mut session = Self {
            stream: dialer.dial(server, deadline)?,
            ticket: ticket.clone(),
            come: Vec::new(),
            next: 1,
            seen: 0,
            events: VecDeque::new(),
        };
        let password = match ticket.password.is_empty() {
            true => vec![0; 16],
            false => ticket.password.clone(),
        };
        let mut out = Writer::default();
        let time = i32::try_from(time.as_millis()).unwrap_or(i32::MAX);
        // Protocol 0, nothing seen yet, and a server that only reads will not do.
        out.int(0).long(0).int(time).long(ticket.id);
        out.bytes(password).bool(false);
        session.send(&out.0, deadline)?;
        let packet = session.packet(deadline)?;
        let mut input = Reader(&packet);
        input.int()?;
        let granted = input.int()?;
        if granted <= 0 {
            return Err(Broken::Expired);
        }
        session.ticket = Ticket {
            id: input.long()?,
            password: input.bytes()?.to_vec(),
        };
        if let Some((name, password)) = user {
            session.authenticate(name, password, deadline)?;
        }
        Ok(session)
    }

    fn authenticate(
        &mut self,
        name: &str,
        password: &str,
        deadline: Instant,
    ) -> Result<(), Broken> {
        let mut out = Writer::default();
        out.int(AUTH).int(wire::AUTH).int(0);
        out.bytes("digest").bytes(format!("{name}:{password}"));
        self.send(&out.0, deadline)?;
        self.reply(AUTH, deadline).map(|_| ())
    }

    pub(super) fn ticket(&self) -> &Ticket {
        &self.ticket
    }

    /// Whether the server still holds the connection and has said nothing.
    pub(super) fn is_idle(&self) -> bool {
        self.come.is_empty() && self.events.is_empty() && self.stream.is_idle()
    }

    /// Asks for several things, sent at once and done in their order.
    pub(super) fn ask(
        &mut self,
        operations: &[Op<'_>],
        deadline: Instant,
    ) -> Result<Vec<Reply>, Broken> {
        let first = self.next;
        let mut packets = Vec::new();
        for operation in operations {
            let mut out = Writer::default();
            out.int(self.next).int(operation.code());
            operation.write(&mut out);
            self.next = self.next.checked_add(1).unwrap_or(1);
            frame(&out.0, &mut packets);
        }
        self.stream.write_all(&packets, deadline)?;
        let mut number = first;
        let mut replies = Vec::with_capacity(operations.len());
        for operation in operations {
            let reply = match self.reply(number, deadline)? {
                Ok(body) => operation.read(&mut Reader(&body))?,
                Err(code) => Reply::Failed(code),
            };
            number = number.checked_add(1).unwrap_or(1);
            replies.push(reply);
        }
        Ok(replies)
    }

    /// Does several things together or not at all, or reads them at one moment.
    pub(super) fn multi(
        &mut self,
        code: i32,
        operations: &[Op<'_>],
        deadline: Instant,
    ) -> Result<Vec<Reply>, Broken> {
        let number = self.next;
        self.next = self.next.checked_add(1).unwrap_or(1);
        let mut out = Writer::default();
        out.int(number).int(code);
        wire::write_multi(operations, &mut out);
        self.send(&out.0, deadline)?;
        match self.reply(number, deadline)? {
            Ok(body) => Ok(wire::read_multi(&mut Reader(&body))?),
            Err(code) => Ok(vec![Reply::Failed(code)]),
        }
    }

    /// Says that this session lives, and waits until the server does.
    pub(super) fn ping(&mut self, deadline: Instant) -> Result<(), Broken> {
        let mut out = Writer::default();
        out.int(PING).int(wire::PING);
        self.send(&out.0, deadline)?;
        self.reply(PING, deadline).map(|_| ())
    }

    /// Ends the session, and what goes with it.
    pub(super) fn close(&mut self, deadline: Instant) -> Result<(), Broken> {
        let number = self.next;
        let mut out = Writer::default();
        out.int(number).int(wire::CLOSE);
        self.send(&out.0, deadline)?;
        self.reply(number, deadline).map(|_| ())
    }

    /// The paths of the nodes that changed, as soon as there are any; none when time is over.
    pub(super) fn events(&mut self, deadline: Instant) -> Result<Vec<String>, Broken> {
        while self.events.is_empty() {
            match self.packet(deadline) {
                Ok(packet) => {
                    self.take(&packet)?;
                }
                Err(error) if is_late(&error) => break,
                Err(error) => return Err(error.into()),
            }
        }
        // Those that came with the first.
        while let Some(packet) = self.whole_packet()? {
            self.take(&packet)?;
        }
        Ok(self.events.drain(..).collect())
    }

    /// The answer to a request, or the code of an error; events before it are kept.
    fn reply(&mut self, number: i32, deadline: Instant) -> Result<Result<Vec<u8>, i32>, Broken> {
        loop {
            let packet = self.packet(deadline)?;
            let Some((came, code, body)) = self.take(&packet)? else {
                continue;
            };
            if came != number {
                return Err(protocol(format!("an answer to {came}, not {number}")).into());
            }
            return match code {
                0 => Ok(Ok(body.to_vec())),
                wire::SESSION_EXPIRED => Err(Broken::Expired),
                wire::AUTH_FAILED => Err(super::forbidden("authentication failed").into()),
                code => Ok(Err(code)),
            };
        }
    }

    /// A packet's number, its error and the rest; none when it told of an event.
    #[expect(
        clippy::type_complexity,
        reason = "its three parts have no name together"
    )]
    fn take<'a>(&mut self, packet: &'a [u8]) -> Result<Option<(i32, i32, &'a [u8])>, ClusterError> {
        let mut input = Reader(packet);
        let number = input.int()?;
        let seen = input.long()?;
        let code = input.int()?;
        if number == EVENT {
            // What happened, and the state of the connection: the node itself is read.
            input.int()?;
            input.int()?;
            self.events.push_back(input.text()?);
            return Ok(None);
        }
        self.seen = self.seen.max(seen);
        Ok(Some((number, code, input.0)))
    }

    fn send(&mut self, packet: &[u8], deadline: Instant) -> io::Result<()> {
        let mut framed = Vec::with_capacity(packet.len() + 4);
        frame(packet, &mut framed);
        self.stream.write_all(&framed, deadline)
    }

    /// The next packet. What came of it is kept when time is over.
    fn packet(&mut self, deadline: Instant) -> io::Result<Vec<u8>> {
        loop {
            if let Some(packet) = self.whole_packet()? {
                return Ok(packet);
            }
            let mut piece = [0; PIECE];
            let read = self.stream.read(&mut piece, deadline)?;
            if read == 0 {
                return Err(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    "the connection was closed",
                ));
            }
            self.come.extend_from_slice(&piece[..read]);
        }
    }

    /// The next packet, if all of it has come.
    fn whole_packet(&mut self) -> io::Result<Option<Vec<u8>>> {
        let Some((length, rest)) = self.come.split_first_chunk() else {
            return Ok(None);
        };
        let length = usize::try_from(i32::from_be_bytes(*length)).unwrap_or(usize::MAX);
        if length > MAX_PACKET {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "it does not speak ZooKeeper's protocol",
            ));
        }
        if rest.len() < length {
            return Ok(None);
        }
        let packet = rest[..length].to_vec();
        self.come.drain(..4 + length);
        Ok(Some(packet))
    }
}

fn frame(packet: &[u8], out: &mut Vec<u8>) {
    let length = u32::try_from(packet.len()).expect("what is sent was found fit");
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(packet);
}

//! The tunnel as a process of its own, which lives on when the daemon ends.
//!
//! Owns how the two speak. A daemon that is killed breaks no connection: the process keeps the
//! link, the sockets, the keys and the sessions, and the daemon that starts next finds it by its
//! socket and tells it the peers anew. It does nothing by itself: no peers, no packets. Who has told it
//! the peers tells it what changes of them, and all of them where a request was not answered.
//!
//! Each request is a connection: one byte of what is asked, the length of the body (32 bits, big
//! endian), the body; descriptors come along with the first byte. The answer has the same form.

mod client;
mod serve;

pub use client::{Agent, AgentError, PATIENCE};
pub use serve::run;

use super::Peer;
use rustix::{
    io::Errno,
    net::{
        RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
        SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
    },
};
use serde::{Deserialize, Serialize};
use std::{
    io::{self, IoSlice, IoSliceMut, Read, Write},
    mem::MaybeUninit,
    net::SocketAddr,
    os::{
        fd::{BorrowedFd, OwnedFd},
        unix::net::UnixStream,
    },
};
use vw_model::PublicKey;
use zeroize::Zeroizing;

/// The form of what is said; another one's process is ended and replaced.
const VERSION: u32 = 2;
/// The most descriptors that come at once: the link and a socket a family.
const DESCRIPTORS: usize = 3;
/// The longest body: the records of many thousand hosts.
const LONGEST: usize = 16 << 20;
/// The name that the process is started by.
pub const COMMAND: &str = "wireguard-agent";

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Ask {
    /// Who are you? Answered by a [`Greeting`].
    Greet = 1,
    /// Carry packets: a [`Start`]'s bytes, with the link and the sockets.
    Start = 2,
    /// These are the peers.
    Peers = 3,
    /// Use this key.
    Rotate = 4,
    /// What have you done?
    Stats = 5,
    /// End.
    Stop = 6,
    /// These peers changed: a [`PeerChanges`].
    Change = 7,
}

/// The first byte of an answer.
const DONE: u8 = 0;
const REFUSED: u8 = 1;

impl Ask {
    fn from_byte(byte: u8) -> Option<Self> {
        let all = [
            Self::Greet,
            Self::Start,
            Self::Peers,
            Self::Rotate,
            Self::Stats,
            Self::Stop,
            Self::Change,
        ];
        all.into_iter().find(|ask| *ask as u8 == byte)
    }
}

/// Who the process is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Greeting {
    /// The form of what it says.
    version: u32,
    /// Its process id.
    pub pid: u32,
    /// The key that it uses; none before it was started.
    pub public: Option<PublicKey>,
    /// Where its datagrams come from and go to; none before it was started.
    pub endpoints: Vec<SocketAddr>,
    /// Its link or a socket was deleted under it: another process is needed.
    pub lost: bool,
    /// How often it was told of peers: who told it last knows what it knows, and else nobody does.
    pub told: u64,
}

/// What changed of the peers since the process was told of them last.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerChanges {
    /// The keys that those used which are gone or are not as they were.
    pub former: Vec<PublicKey>,
    /// Those that came or are not as they were.
    pub peers: Vec<Peer>,
}

impl PeerChanges {
    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.former.is_empty() && self.peers.is_empty()
    }
}

/// One message as it came.
struct Message {
    kind: u8,
    body: Zeroizing<Vec<u8>>,
    descriptors: Vec<OwnedFd>,
}

/// Sends a message; the descriptors stay ours as well.
fn say(
    stream: &mut UnixStream,
    kind: u8,
    body: &[u8],
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let length = u32::try_from(body.len())
        .ok()
        .filter(|_| body.len() <= LONGEST);
    let length = length.ok_or(io::ErrorKind::InvalidInput)?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let kind = [kind];
    let first = [IoSlice::new(&kind)];
    while let Err(error) = sendmsg(&*stream, &first, &mut control, SendFlags::NOSIGNAL) {
        if error != Errno::INTR {
            return Err(error.into());
        }
    }
    stream.write_all(&length.to_be_bytes())?;
    stream.write_all(body)
}

/// Waits for a message.
fn hear(stream: &mut UnixStream) -> io::Result<Message> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut kind = [0];
    let received = loop {
        let mut first = [IoSliceMut::new(&mut kind)];
        match recvmsg(&*stream, &mut first, &mut control, RecvFlags::CMSG_CLOEXEC) {
            Err(Errno::INTR) => {}
            other => break other?,
        }
    };
    if received.bytes == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let descriptors = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(rights) => Some(rights),
        _ => None,
    });
    let descriptors = descriptors.flatten().collect();
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let length = u32::from_be_bytes(length) as usize;
    if length > LONGEST {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut body = Zeroizing::new(vec![0; length]);
    stream.read_exact(&mut body)?;
    Ok(Message {
        kind: kind[0],
        body,
        descriptors,
    })
}

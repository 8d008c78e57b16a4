//! A name server of somebody else's, as the rest of the world is to the daemon.
//!
//! Owns what it answers over UDP and TCP, and what it was asked; it knows nothing of the daemon.

use rustix::net::sockopt::{Timeout, set_socket_timeout};
use std::{
    io::{self, Read, Write},
    net::{TcpListener, TcpStream, UdpSocket},
    os::fd::AsFd,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};
use vw_testkit::Host;

/// How often its threads look whether they should end.
const TICK: Duration = Duration::from_millis(50);

/// The type TXT (RFC 1035, section 3.2.2), and OPT (RFC 6891, section 6.1).
const TXT: u16 = 16;
const OPT: u16 = 41;

/// How many strings, of how many bytes each, an answer to TXT has.
pub(crate) const STRINGS: (usize, usize) = (10, 200);

/// A question that came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Asked {
    /// Whether it came over TCP.
    pub(crate) tcp: bool,
    /// By EDNS: the largest datagram that is taken, and whether DNSSEC is wanted.
    pub(crate) edns: Option<(u16, bool)>,
}

/// Answers 203.0.113.7 to every name, and [`STRINGS`] to every TXT, which is cut over UDP where
/// the asking side takes no such datagram.
pub(crate) struct Upstream {
    asked: Arc<Mutex<Vec<Asked>>>,
    stop: Arc<AtomicBool>,
    threads: Vec<thread::JoinHandle<()>>,
}

impl Upstream {
    /// Starts one in a host.
    #[track_caller]
    pub(crate) fn start(host: &Host, address: &str) -> Self {
        let bound = host.enter(|| Ok((UdpSocket::bind(address)?, TcpListener::bind(address)?)));
        let (udp, tcp) = bound.unwrap_or_else(|error: io::Error| panic!("{address}: {error}"));
        for socket in [udp.as_fd(), tcp.as_fd()] {
            set_socket_timeout(socket, Timeout::Recv, Some(TICK)).expect("a socket takes it");
        }
        let asked = Arc::<Mutex<Vec<Asked>>>::default();
        let stop = Arc::<AtomicBool>::default();
        let threads = vec![
            spawn(&stop, &asked, move |asked| serve_udp(&udp, asked)),
            spawn(&stop, &asked, move |asked| serve_tcp(&tcp, asked)),
        ];
        Self {
            asked,
            stop,
            threads,
        }
    }

    /// What it was asked since it was last asked for that.
    pub(crate) fn take(&self) -> Vec<Asked> {
        std::mem::take(&mut *self.asked.lock().expect("no thread of it panics"))
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // A panic of it has failed the test by a missing answer.
            let _ = thread.join();
        }
    }
}

/// Runs `serve`, which waits a tick at most, again and again on a thread.
fn spawn(
    stop: &Arc<AtomicBool>,
    asked: &Arc<Mutex<Vec<Asked>>>,
    serve: impl Fn(&Mutex<Vec<Asked>>) -> io::Result<()> + Send + 'static,
) -> thread::JoinHandle<()> {
    let (stop, asked) = (Arc::clone(stop), Arc::clone(asked));
    thread::spawn(move || {
        while !stop.load(Ordering::Relaxed) {
            // Who does not wait for the answer has left.
            let _ = serve(&asked);
        }
    })
}

fn serve_udp(socket: &UdpSocket, asked: &Mutex<Vec<Asked>>) -> io::Result<()> {
    let mut message = [0; 1500];
    let (length, peer) = socket.recv_from(&mut message)?;
    let reply = answer(&message[..length], false, asked);
    socket.send_to(&reply, peer).map(|_| ())
}

fn serve_tcp(listener: &TcpListener, asked: &Mutex<Vec<Asked>>) -> io::Result<()> {
    let (mut stream, _) = listener.accept()?;
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    let message = framed(&mut stream)?;
    let reply = answer(&message, true, asked);
    let length = u16::try_from(reply.len()).map_err(io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes(), &reply[..]].concat())
}

/// A message behind its length (RFC 1035, section 4.2.2).
fn framed(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut message)?;
    Ok(message)
}

/// The reply to a question (RFC 1035, section 4), which is written down.
fn answer(question: &[u8], tcp: bool, asked: &Mutex<Vec<Asked>>) -> Vec<u8> {
    let word = |at: usize| {
        let bytes = question.get(at..at + 2).unwrap_or_default();
        bytes
            .iter()
            .fold(0, |sum, &byte| sum << 8 | u16::from(byte))
    };
    // The question ends with the name's empty label, its type and its class.
    let labels = question.iter().skip(12).position(|&byte| byte == 0);
    let end = 12 + labels.unwrap_or(0) + 5;
    // An empty name, the type, the size; then two bytes of extended code and version, and flags.
    let edns = (word(10) > 0 && word(end + 1) == OPT)
        .then(|| (word(end + 3), word(end + 7) & 0x8000 != 0));
    let mut said = asked.lock().expect("no thread of it panics");
    said.push(Asked { tcp, edns });

    let (count, data) = match word(end - 4) {
        TXT => (
            STRINGS.0,
            [&[STRINGS.1 as u8], &[b'x'; STRINGS.1][..]].concat(),
        ),
        _ => (1, vec![203, 0, 113, 7]),
    };
    let mut records = Vec::new();
    for number in 0..count {
        records.extend([0xc0, 12]);
        records.extend(word(end - 4).to_be_bytes());
        records.extend([0, 1, 0, 0, 0, 60]);
        records.extend((data.len() as u16).to_be_bytes());
        records.extend(&data);
        // Strings that are equal would be one record.
        let last = records.len() - 1;
        records[last] += number as u8;
    }
    let room = edns.map_or(512, |(size, _)| usize::from(size).max(512));
    let opt = [0, 0, OPT as u8, 0x10, 0, 0, 0, 0, 0, 0, 0];
    let opt = edns.map_or(&[][..], |_| &opt[..]);
    let cut = !tcp && end + records.len() + opt.len() > room;
    let mut reply = question[..end].to_vec();
    reply[2..4].copy_from_slice(&[if cut { 0x83 } else { 0x81 }, 0x80]);
    reply[4..12].fill(0);
    reply[5] = 1;
    reply[7] = if cut { 0 } else { count as u8 };
    reply[11] = edns.is_some().into();
    if !cut {
        reply.extend(records);
    }
    reply.extend(opt);
    reply
}

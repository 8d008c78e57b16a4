//! Traffic between namespaces: who answers, whom it sees, and whether it goes on.
//!
//! Owns small servers that greet with their name and with the address that they see,
//! so that a test can tell which container a published port reached and whether the
//! packets were masqueraded.

mod meanwhile;
mod raw;
pub mod sctp;
mod stray;

pub use meanwhile::{Outcome, meanwhile, sent_again, without_loss};
pub use stray::{stray_answer, stray_question};

use crate::{Host, poll};
use std::{
    io::{self, BufRead, BufReader, Write},
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU16, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

/// What does not answer within this is taken for unreachable: more than the second after which TCP
/// asks again (RFC 6298), because on a machine that does much else one packet may come late.
const PATIENCE: Duration = Duration::from_millis(2500);

/// How often a server looks whether it should end.
const TICK: Duration = Duration::from_millis(50);

/// Which server answered, and from which address it saw the question come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The server's name.
    pub name: String,
    /// The source address that the server saw.
    pub seen: SocketAddr,
    /// How many packets of a TCP connection the server had sent again by then.
    pub sent_again: u32,
}

impl Answer {
    fn parse(line: &str) -> io::Result<Self> {
        let mut words = line.split_whitespace();
        let mut parsed = || {
            Some(Self {
                name: words.next()?.to_owned(),
                seen: words.next()?.parse().ok()?,
                sent_again: words.next()?.parse().ok()?,
            })
        };
        parsed().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, line.to_owned()))
    }

    fn line(name: &str, seen: SocketAddr, sent_again: u32) -> String {
        format!("{name} {seen} {sent_again}\n")
    }
}

/// A server in a namespace; its socket is closed when it is dropped.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// A TCP server that greets each connection and then echoes its lines.
    ///
    /// `address` may leave the port to the kernel (`0.0.0.0:0`).
    #[track_caller]
    #[must_use]
    pub fn tcp(host: &Host, name: &str, address: &str) -> Self {
        let listener = listening(host, name, address);
        let address = listener.local_addr().expect("a bound socket has one");
        let name = name.to_owned();
        Self::spawn(address, move |stop| {
            serve_connections(&listener, stop, |stream, peer| {
                converse(stream, &name, peer, stop)
            });
        })
    }

    /// A UDP server that answers each datagram with its greeting.
    #[track_caller]
    #[must_use]
    pub fn udp(host: &Host, name: &str, address: &str) -> Self {
        let socket = host
            .enter(|| bound(|| UdpSocket::bind(address)))
            .unwrap_or_else(|error| panic!("{name}: cannot bind {address}: {error}"));
        socket
            .set_read_timeout(Some(TICK))
            .expect("the time is not zero");
        let address = socket.local_addr().expect("a bound socket has one");
        let name = name.to_owned();
        Self::spawn(address, move |stop| serve_udp(&socket, &name, stop))
    }

    /// An HTTP server that answers questions for one path with that status, for others with 404.
    #[track_caller]
    #[must_use]
    pub fn http(
        host: &Host,
        name: &str,
        address: &str,
        path: &'static str,
        status: &Arc<AtomicU16>,
    ) -> Self {
        let listener = listening(host, name, address);
        let address = listener.local_addr().expect("a bound socket has one");
        let status = Arc::clone(status);
        Self::spawn(address, move |stop| {
            serve_connections(&listener, stop, |stream, _| {
                answer_http(stream, path, status.load(Ordering::Relaxed))
            });
        })
    }

    fn spawn(address: SocketAddr, serve: impl FnOnce(&AtomicBool) + Send + 'static) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&stop);
        Self {
            address,
            stop,
            thread: Some(thread::spawn(move || serve(&flag))),
        }
    }

    /// The address that it is bound to.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The port that it is bound to.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.address.port()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic in there was printed already; the test's own assertions judge.
            let _ = thread.join();
        }
    }
}

/// Binds, also where a former server's address is free only in a moment: a program that another
/// thread is just starting holds a copy of its socket until it is executed.
fn bound<T>(bind: impl Fn() -> io::Result<T>) -> io::Result<T> {
    let free = || match bind() {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => None,
        other => Some(other),
    };
    poll(PATIENCE, free).unwrap_or_else(&bind)
}

#[track_caller]
fn listening(host: &Host, name: &str, address: &str) -> TcpListener {
    let listener = host
        .enter(|| bound(|| TcpListener::bind(address)))
        .unwrap_or_else(|error| panic!("{name}: cannot listen on {address}: {error}"));
    listener
        .set_nonblocking(true)
        .expect("a fresh socket takes the flag");
    listener
}

fn serve_connections(
    listener: &TcpListener,
    stop: &AtomicBool,
    serve: impl Fn(TcpStream, SocketAddr) -> io::Result<()> + Sync,
) {
    let serve = &serve;
    thread::scope(|scope| {
        while !stop.load(Ordering::Relaxed) {
            wait_readable(listener);
            if let Ok((stream, peer)) = listener.accept() {
                // A client that leaves ends its own conversation, and nothing else.
                scope.spawn(move || drop(serve(stream, peer)));
            }
        }
    });
}

/// Answers one question of HTTP (RFC 9112).
fn answer_http(mut stream: TcpStream, path: &str, status: u16) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let asked = lines.next().unwrap_or_else(|| Ok(String::new()))?;
    for line in lines {
        if line?.is_empty() {
            break;
        }
    }
    let is_there = asked.split(' ').nth(1) == Some(path);
    let status = if is_there { status } else { 404 };
    write!(stream, "HTTP/1.0 {status} said\r\n\r\n")
}

/// Waits a tick for something to accept.
fn wait_readable(listener: &TcpListener) {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let tick = Timespec {
        tv_sec: 0,
        tv_nsec: TICK.subsec_nanos().into(),
    };
    // Interrupted or over: the caller asks again either way.
    let _ = poll(&mut [PollFd::new(listener, PollFlags::IN)], Some(&tick));
}

fn converse(
    mut stream: TcpStream,
    name: &str,
    peer: SocketAddr,
    stop: &AtomicBool,
) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(TICK))?;
    let line = Answer::line(name, peer, sent_again(&stream)?);
    stream.write_all(line.as_bytes())?;
    let mut lines = BufReader::new(stream.try_clone()?);
    let mut line = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        match lines.read_until(b'\n', &mut line) {
            Ok(0) => return Ok(()),
            Ok(_) => {
                stream.write_all(&line)?;
                line.clear();
            }
            Err(error) if is_timeout(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn serve_udp(socket: &UdpSocket, name: &str, stop: &AtomicBool) {
    let mut datagram = [0; 2048];
    while !stop.load(Ordering::Relaxed) {
        if let Ok((_, peer)) = socket.recv_from(&mut datagram) {
            // An answer that cannot be sent is for the asking side to miss.
            let _ = socket.send_to(Answer::line(name, peer, 0).as_bytes(), peer);
        }
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
    )
}

/// A TCP connection that a test keeps, to see that nothing interrupts it.
#[derive(Debug)]
pub struct Conversation {
    stream: BufReader<TcpStream>,
    /// Who answered.
    pub answer: Answer,
}

impl Conversation {
    /// Connects from a host and reads the greeting.
    pub fn open(host: &Host, to: &str) -> io::Result<Self> {
        host.enter(|| Self::to(to))
    }

    /// The same from the namespace of the calling thread.
    fn to(to: &str) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&parse_address(to)?, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut stream = BufReader::new(stream);
        let mut greeting = String::new();
        stream.read_line(&mut greeting)?;
        let answer = Answer::parse(&greeting)?;
        Ok(Self { stream, answer })
    }

    /// How many packets were sent again so far, by either end as far as it told.
    fn sent_again(&self) -> io::Result<u32> {
        Ok(sent_again(self.stream.get_ref())? + self.answer.sent_again)
    }

    /// Says a line and waits for its echo.
    pub fn say(&mut self, line: &str) -> io::Result<()> {
        let mut echo = String::new();
        writeln!(self.stream.get_mut(), "{line}")?;
        self.stream.read_line(&mut echo)?;
        if echo.trim_end() == line {
            Ok(())
        } else {
            Err(io::Error::new(io::ErrorKind::InvalidData, echo))
        }
    }
}

/// Asks a TCP server who it is: connects, reads the greeting, leaves.
pub fn tcp(host: &Host, to: &str) -> io::Result<Answer> {
    Conversation::open(host, to).map(|conversation| conversation.answer)
}

/// Asks a UDP server who it is.
pub fn udp(host: &Host, to: &str) -> io::Result<Answer> {
    Sender::open(host, to, PATIENCE)?.ask()
}

/// One who sends over UDP from one port, as often as a test likes.
#[derive(Debug)]
pub struct Sender(UdpSocket);

impl Sender {
    /// Sends nothing yet; waits so long for each answer.
    pub fn open(host: &Host, to: &str, patience: Duration) -> io::Result<Self> {
        let to = parse_address(to)?;
        let any = if to.is_ipv6() { "[::]:0" } else { "0.0.0.0:0" };
        let socket = host.enter(|| UdpSocket::bind(any))?;
        socket.set_read_timeout(Some(patience))?;
        // Connected, so that a refusal by ICMP is seen as one.
        socket.connect(to)?;
        Ok(Self(socket))
    }

    /// Asks a server who it is.
    pub fn ask(&self) -> io::Result<Answer> {
        self.0.send(b"who")?;
        let mut datagram = [0; 2048];
        let length = self.0.recv(&mut datagram)?;
        Answer::parse(&String::from_utf8_lossy(&datagram[..length]))
    }
}

/// Whether one of two echo requests is answered within a second, IPv4 or IPv6: on a machine that
/// does much else one answer may come late.
#[must_use]
#[track_caller]
pub fn ping(host: &Host, to: &str) -> bool {
    let ask = || host.run(["busybox", "ping", "-c", "1", "-W", "1", to]);
    ask().success() || ask().success()
}

fn parse_address(text: &str) -> io::Result<SocketAddr> {
    text.parse()
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, format!("{text}: {error}")))
}

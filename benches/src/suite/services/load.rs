//! One connection after the other, and who answers it; requests on one connection; and what of both
//! fails while something else goes on.

use crate::{Result, samples::Samples};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    net::sockopt,
};
use std::{
    fmt,
    io::{self, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};
use vw_testkit::{Host, traffic};

/// Who takes longer than this has failed.
const PATIENCE: Duration = Duration::from_secs(2);
/// A connection whose first answer was lost takes a second, in which the server sends it again.
const LOST: Duration = Duration::from_millis(900);
/// How often a server looks whether it should end.
const TICK: Duration = Duration::from_millis(100);

/// A server that answers every connection with its number, and then with what it is sent.
pub(crate) struct Answering {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Answering {
    pub(crate) fn start(host: &Host, number: u8) -> io::Result<Self> {
        let listener = host.enter(|| TcpListener::bind("0.0.0.0:80"))?;
        let stop = Arc::new(AtomicBool::new(false));
        let ends = stop.clone();
        let serve = move || {
            let mut open = Vec::new();
            while !ends.load(Ordering::Relaxed) {
                serve(&listener, &mut open, number);
            }
        };
        let thread = thread::Builder::new().name("answers".into()).spawn(serve)?;
        Ok(Self {
            stop,
            thread: Some(thread),
        })
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A server that panicked has been seen by those who asked.
            let _ = thread.join();
        }
    }
}

/// Waits for whoever says something, and answers; nobody is waited for who says nothing.
fn serve(listener: &TcpListener, open: &mut Vec<TcpStream>, number: u8) {
    let says = |fd: &PollFd<'_>| !fd.revents().is_empty();
    let mut fds = vec![PollFd::new(listener, PollFlags::IN)];
    fds.extend(open.iter().map(|one| PollFd::new(one, PollFlags::IN)));
    let tick = Timespec::try_from(TICK).ok();
    if !poll(&mut fds, tick.as_ref()).is_ok_and(|ready| ready > 0) {
        return;
    }
    let comes = says(&fds[0]);
    let mut said = fds[1..].iter().map(says).collect::<Vec<_>>().into_iter();
    // One that does not want the answer has left.
    open.retain_mut(|one| !said.next().unwrap_or_default() || echo(one));
    if comes
        && let Ok((mut stream, _)) = listener.accept()
        && stream.set_nodelay(true).is_ok()
        && stream.write_all(&[number]).is_ok()
    {
        open.push(stream);
    }
}

/// Says whether the connection goes on.
fn echo(stream: &mut TcpStream) -> bool {
    let mut byte = [0];
    matches!(stream.read(&mut byte), Ok(1)) && stream.write_all(&byte).is_ok()
}

/// Connects, and reads the server's number. A close is a reset: a port of the client's must be free
/// again at once for a hundred thousand of these.
pub(crate) fn open(to: SocketAddr) -> io::Result<(TcpStream, u8)> {
    let mut stream = TcpStream::connect_timeout(&to, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut number = [0];
    stream.read_exact(&mut number)?;
    sockopt::set_socket_linger(&stream, Some(Duration::ZERO))?;
    Ok((stream, number[0]))
}

/// Connects, reads the server's number and closes; how long it took until it was read.
pub(crate) fn ask_one(to: SocketAddr) -> io::Result<(Duration, u8)> {
    let began = Instant::now();
    let (stream, number) = open(to)?;
    let elapsed = began.elapsed();
    drop(stream);
    Ok((elapsed, number))
}

/// The same, with what is wrong with it: that it failed, or lost a packet.
fn ask_well(to: &SocketAddr) -> std::result::Result<(), String> {
    let began = Instant::now();
    let asked = open(*to).and_then(|(stream, _)| traffic::sent_again(&stream));
    let elapsed = began.elapsed();
    match asked {
        Ok(0) if elapsed < LOST => Ok(()),
        Ok(again) => Err(format!(
            "{to} after {elapsed:?}, {again} packets sent again"
        )),
        Err(error) => Err(format!("{to}: {error}")),
    }
}

/// How many microseconds each of so many connections took.
pub(crate) fn ask_many(from: &Host, to: SocketAddr, count: usize) -> io::Result<Samples> {
    from.enter(|| {
        let mut taken = Samples::default();
        for _ in 0..count {
            taken.push(ask_one(to)?.0.as_secs_f64() * 1e6);
        }
        Ok(taken)
    })
}

/// How many microseconds each of so many requests on one connection took.
pub(crate) fn trips(from: &Host, to: SocketAddr, count: usize) -> io::Result<Samples> {
    from.enter(|| {
        let (mut stream, _) = open(to)?;
        stream.set_nodelay(true)?;
        let mut taken = Samples::default();
        for _ in 0..count {
            let sent = Instant::now();
            stream.write_all(&[1])?;
            stream.read_exact(&mut [0])?;
            taken.push(sent.elapsed().as_secs_f64() * 1e6);
        }
        Ok(taken)
    })
}

/// What became of connections that went on while something else was done.
#[derive(Debug)]
pub(crate) struct Meanwhile {
    asked: usize,
    bad: Vec<String>,
}

impl Meanwhile {
    /// How many failed or lost a packet.
    pub(crate) fn bad(&self) -> Samples {
        Samples::from_iter([self.bad.len() as f64])
    }
}

impl fmt::Display for Meanwhile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (bad, asked) = (self.bad.len(), self.asked);
        write!(f, "{bad} of {asked} connections failed or lost a packet")?;
        // A few tell what kind it is.
        let shown = self.bad.iter().take(5);
        shown
            .zip([": ", ", ", ", ", ", ", ", "])
            .try_for_each(|(what, before)| write!(f, "{before}{what}"))
    }
}

/// Does something while each of these asks one connection after the other.
pub(crate) fn meanwhile<T>(
    ways: &[(&Host, SocketAddr)],
    work: impl FnOnce() -> Result<T>,
) -> Result<(T, Meanwhile)> {
    let (result, outcomes) = traffic::meanwhile(ways, ask_well, work);
    let asked = outcomes.iter().map(|outcome| outcome.asked).sum();
    let bad = outcomes.into_iter().flat_map(|outcome| outcome.bad);
    let bad = bad.collect();
    result.map(|result| (result, Meanwhile { asked, bad }))
}

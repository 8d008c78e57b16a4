//! One connection after the other, and who answers it.

use crate::samples::Samples;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    net::sockopt,
};
use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};
use vw_testkit::Host;

/// Who takes longer than this has failed.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often a server looks whether it should end.
const TICK: Duration = Duration::from_millis(100);

/// A server that answers every connection with its number.
pub(super) struct Answering {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Answering {
    pub(super) fn start(host: &Host, number: u8) -> io::Result<Self> {
        let listener = host.enter(|| TcpListener::bind("0.0.0.0:80"))?;
        let stop = Arc::new(AtomicBool::new(false));
        let ends = stop.clone();
        let serve = move || {
            while !ends.load(Ordering::Relaxed) {
                if comes(&listener)
                    && let Ok((mut stream, _)) = listener.accept()
                {
                    // One that does not want the answer has left.
                    let _ = stream.write_all(&[number]);
                }
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

fn comes(listener: &TcpListener) -> bool {
    let mut fds = [PollFd::new(listener, PollFlags::IN)];
    let tick = Timespec::try_from(TICK).ok();
    poll(&mut fds, tick.as_ref()).is_ok_and(|ready| ready > 0)
}

/// Connects, reads the server's number and closes, by a reset: a port of the client's must be free
/// again at once for a hundred thousand of these.
pub(super) fn ask_one(to: SocketAddr) -> io::Result<(Duration, u8)> {
    let began = Instant::now();
    let mut stream = TcpStream::connect_timeout(&to, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut number = [0];
    stream.read_exact(&mut number)?;
    let elapsed = began.elapsed();
    sockopt::set_socket_linger(&stream, Some(Duration::ZERO))?;
    Ok((elapsed, number[0]))
}

/// How many microseconds each of so many connections took.
pub(super) fn ask_many(from: &Host, to: SocketAddr, count: usize) -> io::Result<Samples> {
    from.enter(|| {
        let mut taken = Samples::default();
        for _ in 0..count {
            taken.push(ask_one(to)?.0.as_secs_f64() * 1e6);
        }
        Ok(taken)
    })
}

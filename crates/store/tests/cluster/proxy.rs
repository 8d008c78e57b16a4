//! A TCP proxy between a store and its server, which a test can make fail.

use super::replay::LONG;
use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

/// What becomes of what comes through.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Mode {
    /// It goes on.
    Pass,
    /// Connections are closed before anything goes on.
    Refuse,
    /// So many requests and their answers go on; the next request does, but not its answer.
    CutAnswerOf(u32),
    /// Whatever a server says closes its connection.
    CutAnswers,
    /// So many requests go on; then the next waits for another mode.
    HoldRequests(u32),
    /// A request waits.
    Held,
}

/// The proxy; it ends with the process of the tests.
pub(crate) struct Proxy {
    address: SocketAddr,
    state: Arc<State>,
}

struct State {
    mode: Mutex<Mode>,
    changed: Condvar,
    taken: AtomicUsize,
    told: AtomicUsize,
    /// How many of the first connections have lost their server.
    severed: AtomicUsize,
}

impl Proxy {
    pub(crate) fn to(server: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
        let address = listener.local_addr().expect("it is bound");
        let state = Arc::new(State {
            mode: Mutex::new(Mode::Pass),
            changed: Condvar::new(),
            taken: AtomicUsize::new(0),
            told: AtomicUsize::new(0),
            severed: AtomicUsize::new(0),
        });
        let (seen, server) = (Arc::clone(&state), server.to_owned());
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let number = seen.taken.fetch_add(1, Ordering::SeqCst);
                if *seen.mode.lock().expect("no thread fails") == Mode::Refuse {
                    continue;
                }
                let Ok(server) = TcpStream::connect(&server) else {
                    continue;
                };
                forward(&client, &server, &seen, None);
                forward(&server, &client, &seen, Some(number));
            }
        });
        Self { address, state }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many connections it has taken.
    pub(crate) fn taken(&self) -> usize {
        self.state.taken.load(Ordering::SeqCst)
    }

    /// Nothing is answered any more over the connections that there are, nor are they closed: as if
    /// their server had been switched off, and on again.
    pub(crate) fn sever(&self) {
        self.state.severed.store(self.taken(), Ordering::SeqCst);
    }

    /// How many bytes its server has said.
    pub(crate) fn told(&self) -> usize {
        self.state.told.load(Ordering::SeqCst)
    }

    pub(crate) fn set(&self, mode: Mode) {
        *self.state.mode.lock().expect("no thread fails") = mode;
        self.state.changed.notify_all();
    }

    /// Waits until a request is held.
    #[track_caller]
    pub(crate) fn wait_until_held(&self) {
        let mode = self.state.mode.lock().expect("no thread fails");
        let held = self
            .state
            .changed
            .wait_timeout_while(mode, LONG, |mode| *mode != Mode::Held);
        let (mode, waited) = held.expect("no thread fails");
        drop(mode);
        assert!(!waited.timed_out(), "nothing more was asked");
    }
}

impl State {
    /// Whether what came may go on, which may take a while.
    fn passes(&self, is_answer: bool) -> bool {
        let mut mode = self.mode.lock().expect("no thread fails");
        match &mut *mode {
            Mode::Refuse => return false,
            Mode::CutAnswers if is_answer => return false,
            Mode::CutAnswerOf(0) if !is_answer => *mode = Mode::CutAnswers,
            Mode::CutAnswerOf(left) if !is_answer => *left -= 1,
            Mode::HoldRequests(0) if !is_answer => {
                *mode = Mode::Held;
                self.changed.notify_all();
                let released = self.changed.wait_while(mode, |mode| *mode == Mode::Held);
                drop(released.expect("no thread fails"));
            }
            Mode::HoldRequests(left) if !is_answer => *left -= 1,
            _ => {}
        }
        true
    }
}

/// Copies from one to the other on a thread of its own, until either ends; answers of a
/// connection of this number.
fn forward(from: &TcpStream, to: &TcpStream, state: &Arc<State>, answers: Option<usize>) {
    let (mut from, mut to) = (
        from.try_clone().expect("descriptors are left"),
        to.try_clone().expect("descriptors are left"),
    );
    let state = Arc::clone(state);
    thread::spawn(move || {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let read = from.read(&mut buffer).unwrap_or(0);
            if let Some(number) = answers {
                state.told.fetch_add(read, Ordering::SeqCst);
                if read > 0 && number < state.severed.load(Ordering::SeqCst) {
                    continue;
                }
            }
            if read == 0
                || !state.passes(answers.is_some())
                || to.write_all(&buffer[..read]).is_err()
            {
                break;
            }
        }
        // Either may have been closed by the other thread.
        let _ = from.shutdown(Shutdown::Both);
        let _ = to.shutdown(Shutdown::Both);
    });
}

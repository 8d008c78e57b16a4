//! A TCP proxy between a store and its server, which a test can make fail.

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Condvar, Mutex},
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
}

impl Proxy {
    pub(crate) fn to(server: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
        let address = listener.local_addr().expect("it is bound");
        let state = Arc::new(State {
            mode: Mutex::new(Mode::Pass),
            changed: Condvar::new(),
        });
        let (seen, server) = (Arc::clone(&state), server.to_owned());
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if *seen.mode.lock().expect("no thread fails") == Mode::Refuse {
                    continue;
                }
                let Ok(server) = TcpStream::connect(&server) else {
                    continue;
                };
                forward(&client, &server, &seen, false);
                forward(&server, &client, &seen, true);
            }
        });
        Self { address, state }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn set(&self, mode: Mode) {
        *self.state.mode.lock().expect("no thread fails") = mode;
        self.state.changed.notify_all();
    }

    /// Waits until a request is held.
    pub(crate) fn wait_until_held(&self) {
        let mode = self.state.mode.lock().expect("no thread fails");
        let held = self
            .state
            .changed
            .wait_while(mode, |mode| *mode != Mode::Held);
        drop(held.expect("no thread fails"));
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

/// Copies from one to the other on a thread of its own, until either ends.
fn forward(from: &TcpStream, to: &TcpStream, state: &Arc<State>, answers: bool) {
    let (mut from, mut to) = (
        from.try_clone().expect("descriptors are left"),
        to.try_clone().expect("descriptors are left"),
    );
    let state = Arc::clone(state);
    thread::spawn(move || {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let read = from.read(&mut buffer).unwrap_or(0);
            if read == 0 || !state.passes(answers) || to.write_all(&buffer[..read]).is_err() {
                break;
            }
        }
        // Either may have been closed by the other thread.
        let _ = from.shutdown(Shutdown::Both);
        let _ = to.shutdown(Shutdown::Both);
    });
}

//! A TCP proxy between a store and its server, which a test can make fail.

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    thread,
};

/// What becomes of what comes through.
#[derive(Debug, Clone, Copy, PartialEq)]
#[repr(u8)]
pub(crate) enum Mode {
    /// It goes on.
    Pass,
    /// What is asked goes on; its answer is thrown away and the connection closed.
    CutAnswers,
    /// Connections are closed before anything goes on.
    Refuse,
}

/// The proxy; it ends with the process of the tests.
pub(crate) struct Proxy {
    address: SocketAddr,
    mode: Arc<AtomicU8>,
}

impl Proxy {
    pub(crate) fn to(server: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
        let address = listener.local_addr().expect("it is bound");
        let mode = Arc::new(AtomicU8::new(Mode::Pass as u8));
        let (seen, server) = (Arc::clone(&mode), server.to_owned());
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if seen.load(Ordering::SeqCst) == Mode::Refuse as u8 {
                    continue;
                }
                let Ok(server) = TcpStream::connect(&server) else {
                    continue;
                };
                forward(&client, &server, &seen, false);
                forward(&server, &client, &seen, true);
            }
        });
        Self { address, mode }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn set(&self, mode: Mode) {
        self.mode.store(mode as u8, Ordering::SeqCst);
    }
}

/// Copies from one to the other on a thread of its own, until either ends.
fn forward(from: &TcpStream, to: &TcpStream, mode: &Arc<AtomicU8>, answers: bool) {
    let (mut from, mut to) = (
        from.try_clone().expect("descriptors are left"),
        to.try_clone().expect("descriptors are left"),
    );
    let mode = Arc::clone(mode);
    thread::spawn(move || {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let read = from.read(&mut buffer).unwrap_or(0);
            let now = mode.load(Ordering::SeqCst);
            let cut = now == Mode::Refuse as u8 || (answers && now == Mode::CutAnswers as u8);
            if read == 0 || cut || to.write_all(&buffer[..read]).is_err() {
                break;
            }
        }
        // Either may have been closed by the other thread.
        let _ = from.shutdown(Shutdown::Both);
        let _ = to.shutdown(Shutdown::Both);
    });
}

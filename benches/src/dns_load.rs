//! Queries to a resolver from one socket: as many as go with a window of them under way, or an
//! even pace, where one is lost that is not answered within a second.

use crate::{Result, samples::Samples};
use rustix::net::sockopt::set_socket_recv_buffer_size;
use std::{
    io,
    net::{SocketAddr, UdpSocket},
    time::{Duration, Instant},
};

const WINDOW: usize = 64;
const PATIENCE: Duration = Duration::from_secs(1);

/// What came of a load.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) answered: usize,
    pub(crate) lost: usize,
    pub(crate) elapsed: Duration,
    /// In microseconds.
    pub(crate) latencies: Samples,
}

impl Outcome {
    /// Answers a second.
    pub(crate) fn rate(&self) -> f64 {
        self.answered as f64 / self.elapsed.as_secs_f64()
    }
}

/// Queries under way.
struct Load {
    socket: UdpSocket,
    queries: Vec<Vec<u8>>,
    /// When the query of each id went out, while it is not answered.
    sent: Vec<Option<Instant>>,
    under_way: usize,
    heard: Instant,
    outcome: Outcome,
}

/// Asks for the addresses of `names` in turn, in the namespace of the calling thread.
///
/// `pace` is in queries a second; without, as many as go.
pub(crate) fn run(
    resolver: SocketAddr,
    names: &[String],
    pace: Option<u64>,
    length: Duration,
) -> Result<Outcome> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.connect(resolver)?;
    socket.set_nonblocking(true)?;
    // What is to be measured is what the server loses.
    set_socket_recv_buffer_size(&socket, 8 << 20)?;
    let mut load = Load {
        socket,
        queries: names.iter().map(|name| query(name)).collect(),
        sent: vec![None; 1 << 16],
        under_way: 0,
        heard: Instant::now(),
        outcome: Outcome::default(),
    };
    let start = Instant::now();
    let mut count = 0_u64;
    while start.elapsed() < length {
        let due = match pace {
            Some(pace) => start.elapsed().as_micros() as u64 * pace / 1_000_000,
            None => count + WINDOW.saturating_sub(load.under_way) as u64,
        };
        while count < due {
            load.send(count)?;
            count += 1;
        }
        load.receive()?;
        load.give_up();
    }
    load.outcome.elapsed = start.elapsed();
    let last = Instant::now();
    while load.under_way > 0 && last.elapsed() < PATIENCE {
        load.receive()?;
    }
    load.outcome.answered = load.outcome.latencies.len();
    load.outcome.lost = count as usize - load.outcome.answered;
    Ok(load.outcome)
}

impl Load {
    fn send(&mut self, count: u64) -> io::Result<()> {
        let at = (count % self.queries.len() as u64) as usize;
        let id = count as u16;
        let message = &mut self.queries[at];
        message[..2].copy_from_slice(&id.to_be_bytes());
        match self.socket.send(message) {
            Ok(_) => {}
            // Refused (an ICMP answer to one before), or no room: it counts as lost.
            Err(_) => return Ok(()),
        }
        if self.sent[usize::from(id)].replace(Instant::now()).is_none() {
            self.under_way += 1;
        }
        Ok(())
    }

    fn receive(&mut self) -> io::Result<()> {
        let mut buffer = [0; 512];
        loop {
            match self.socket.recv(&mut buffer) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => return Ok(()),
                Err(error) => return Err(error),
            }
            self.heard = Instant::now();
            // Code 0 and an answer: the name was found whatever changed meanwhile.
            let good = buffer[3] & 15 == 0 && buffer[7] >= 1;
            let id = u16::from_be_bytes([buffer[0], buffer[1]]);
            if let Some(sent) = self.sent[usize::from(id)].take() {
                self.under_way -= 1;
                if good {
                    let latencies = &mut self.outcome.latencies;
                    latencies.push(sent.elapsed().as_secs_f64() * 1e6);
                }
            }
        }
    }

    /// Takes all that is under way for lost once nothing was heard for long.
    fn give_up(&mut self) {
        if self.under_way > 0 && self.heard.elapsed() > PATIENCE {
            self.sent.fill(None);
            self.under_way = 0;
            self.heard = Instant::now();
        }
    }
}

/// A query for the IPv4 addresses of a name of one label.
pub(crate) fn query(name: &str) -> Vec<u8> {
    let mut message = vec![0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, name.len() as u8];
    message.extend_from_slice(name.as_bytes());
    message.extend_from_slice(&[0, 0, 1, 0, 1]);
    message
}

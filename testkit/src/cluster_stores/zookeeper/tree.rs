//! The nodes of a ZooKeeper, asked for by its own protocol: its command line starts a Java machine
//! for each question.
//!
//! Owns the few requests that it takes (`zookeeper.jute`). It changes nothing.

use super::PATIENCE;
use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
};

const GET_CHILDREN: i32 = 8;

/// The paths of all nodes below one, without it, of the server at this address.
pub(super) fn below(address: SocketAddr, path: &str) -> io::Result<Vec<String>> {
    let mut session = Session::open(address)?;
    let mut found = Vec::new();
    let mut open = vec![path.to_owned()];
    while let Some(path) = open.pop() {
        let names = session.children(&path)?;
        let paths = names.into_iter().map(|name| format!("{path}/{name}"));
        open.extend(paths.inspect(|path| found.push(path.clone())));
    }
    Ok(found)
}

struct Session(TcpStream);

impl Session {
    fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut session = Self(stream);
        // A new session of 10 s, by who has seen nothing yet: version, last change, time, session,
        // and a password of 16 bytes.
        let mut request = [&[0; 12][..], &10_000_i32.to_be_bytes(), &[0; 8]].concat();
        request.extend(16_i32.to_be_bytes());
        request.extend([0; 16]);
        session.ask(&request)?;
        Ok(session)
    }

    /// The names of a node's children; none where it has gone.
    fn children(&mut self, path: &str) -> io::Result<Vec<String>> {
        let length = i32::try_from(path.len()).expect("a path is short");
        let words = [1, GET_CHILDREN, length].map(i32::to_be_bytes).concat();
        // Nobody is told when they change.
        let answer = self.ask(&[&words, path.as_bytes(), &[0]].concat())?;
        // Its number, the last change and the code of an error come first, and with an error alone.
        let mut list = answer.get(16..).unwrap_or_default();
        if list.is_empty() {
            return Ok(Vec::new());
        }
        let mut names = Vec::new();
        for _ in 0..number(&mut list)? {
            let length = usize::try_from(number(&mut list)?).map_err(io::Error::other)?;
            let mut name = vec![0; length];
            list.read_exact(&mut name)?;
            names.push(String::from_utf8(name).map_err(io::Error::other)?);
        }
        Ok(names)
    }

    /// Sends one request and takes what is answered.
    fn ask(&mut self, request: &[u8]) -> io::Result<Vec<u8>> {
        let length = u32::try_from(request.len()).expect("a request is short");
        self.0
            .write_all(&[&length.to_be_bytes(), request].concat())?;
        let length = number(&mut self.0)?;
        let mut answer = vec![0; usize::try_from(length).map_err(io::Error::other)?];
        self.0.read_exact(&mut answer)?;
        Ok(answer)
    }
}

fn number(from: &mut impl Read) -> io::Result<i32> {
    let mut bytes = [0; 4];
    from.read_exact(&mut bytes)?;
    Ok(i32::from_be_bytes(bytes))
}

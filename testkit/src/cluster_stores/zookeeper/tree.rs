//! The nodes of a ZooKeeper, asked for by its own protocol: its command line starts a Java machine
//! for each question.
//!
//! Owns the few requests that it takes (`zookeeper.jute`).

use super::PATIENCE;
use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
};

const CREATE: i32 = 1;
const DELETE: i32 = 2;
const GET_DATA: i32 = 4;
const SET_DATA: i32 = 5;
const GET_CHILDREN: i32 = 8;

/// Whichever version a node has.
const ANY: i32 = -1;

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

/// What a node of the server at this address holds.
pub(super) fn value(address: SocketAddr, path: &str) -> io::Result<Vec<u8>> {
    let answer = Session::open(address)?.request(GET_DATA, &[&text(path), &[0]])?;
    let mut rest = answer.as_slice();
    read(&mut rest)
}

/// Has a node hold this, which is made with all above it where there is none; anybody may change it.
pub(super) fn put(address: SocketAddr, path: &str, value: &[u8]) -> io::Result<()> {
    let mut session = Session::open(address)?;
    let set = [&text(path)[..], &bytes(value), &ANY.to_be_bytes()];
    if session.request(SET_DATA, &set).is_ok() {
        return Ok(());
    }
    let above = path.match_indices('/').skip(1).map(|(end, _)| &path[..end]);
    let (all, world) = (
        31_i32.to_be_bytes(),
        [text("world"), text("anyone")].concat(),
    );
    let mut create = |path: &str, value: &[u8]| {
        let one = 1_i32.to_be_bytes();
        let plain = [0; 4];
        let rest = [&text(path)[..], &bytes(value), &one, &all, &world, &plain];
        session.request(CREATE, &rest)
    };
    for folder in above {
        // It may be there; where it cannot be, neither can what is below.
        let _ = create(folder, &[]);
    }
    create(path, value).map(drop)
}

/// Removes a node.
pub(super) fn delete(address: SocketAddr, path: &str) -> io::Result<()> {
    let rest = [&text(path)[..], &ANY.to_be_bytes()];
    Session::open(address)?.request(DELETE, &rest).map(drop)
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
        // Nobody is told when they change.
        let Ok(list) = self.request(GET_CHILDREN, &[&text(path), &[0]]) else {
            return Ok(Vec::new());
        };
        let mut list = list.as_slice();
        let mut names = Vec::new();
        for _ in 0..number(&mut list)? {
            names.push(String::from_utf8(read(&mut list)?).map_err(io::Error::other)?);
        }
        Ok(names)
    }

    /// What is answered to a request of this kind; an error where it is refused.
    fn request(&mut self, kind: i32, rest: &[&[u8]]) -> io::Result<Vec<u8>> {
        let words = [1, kind].map(i32::to_be_bytes).concat();
        let answer = self.ask(&[&words, &rest.concat()[..]].concat())?;
        // Its number and the last change come first, then the code of an error.
        let mut code = answer.get(12..).unwrap_or_default();
        match number(&mut code)? {
            0 => Ok(code.to_vec()),
            code => Err(io::Error::other(format!("refused: {code}"))),
        }
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

fn text(text: &str) -> Vec<u8> {
    bytes(text.as_bytes())
}

fn bytes(bytes: &[u8]) -> Vec<u8> {
    let length = i32::try_from(bytes.len()).expect("it is short");
    [&length.to_be_bytes(), bytes].concat()
}

/// What [`bytes`] made.
fn read(from: &mut impl Read) -> io::Result<Vec<u8>> {
    let length = usize::try_from(number(from)?).map_err(io::Error::other)?;
    let mut bytes = vec![0; length];
    from.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn number(from: &mut impl Read) -> io::Result<i32> {
    let mut bytes = [0; 4];
    from.read_exact(&mut bytes)?;
    Ok(i32::from_be_bytes(bytes))
}

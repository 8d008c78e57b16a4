//! Framing, over real connections to servers that say what a case wants.

use super::{Client, Request};
use crate::cluster::{
    Options, Server,
    net::Dialer,
    turns::{Refusal, Turns},
};
use std::{
    io::{Read, Write},
    net::TcpListener,
    thread,
    time::{Duration, Instant},
};

/// A server that answers each connection's request by the next of `answers`, letter by letter,
/// and then closes it.
fn server(answers: Vec<&'static str>) -> Client {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    let address = listener.local_addr().expect("it is bound");
    thread::spawn(move || {
        for answer in answers {
            let (mut client, _) = listener.accept().expect("someone asks");
            let mut asked = Vec::new();
            let mut piece = [0; 512];
            while !asked.ends_with(b"body") {
                let read = client.read(&mut piece).expect("it is asked");
                asked.extend_from_slice(&piece[..read]);
            }
            for letter in answer.as_bytes() {
                client.write_all(&[*letter]).expect("it is read");
            }
        }
    });
    let servers = [Server {
        host: address.ip().to_string(),
        port: address.port(),
    }];
    let dialer = Dialer::new(&Options::default()).expect("nothing can be wrong");
    Client::new(dialer, Turns::new("test", &servers))
}

fn ask(client: &Client, patience: Duration) -> Result<(u16, String), Refusal> {
    let request = Request {
        method: "POST",
        target: "/x",
        headers: &[],
        body: b"body",
    };
    let response = client.call(0, &request, Instant::now() + patience)?;
    let body = String::from_utf8(response.body).expect("text");
    Ok((response.status, body))
}

const LONG: Duration = Duration::from_secs(10);

#[test]
fn an_answer_is_taken_however_its_end_is_known() {
    for (answer, status, body) in [
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc",
            200,
            "abc",
        ),
        (
            "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n",
            404,
            "",
        ),
        ("HTTP/1.1 204 No Content\r\n\r\n", 204, ""),
        ("HTTP/1.1 200 OK\r\n\r\nuntil closed", 200, "until closed"),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
             3\r\nabc\r\nA;x=y\r\n0123456789\r\n0\r\n\r\n",
            200,
            "abc0123456789",
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
             1\r\na\r\n0\r\nTrailer: x\r\nMore: y\r\n\r\n",
            200,
            "a",
        ),
    ] {
        let client = server(vec![answer]);
        let taken = ask(&client, LONG).unwrap_or_else(|refusal| panic!("{answer}: {refusal:?}"));
        assert_eq!(taken, (status, body.to_owned()), "{answer}");
    }
}

#[test]
fn a_broken_answer_leaves_a_request_uncertain() {
    for answer in [
        "",
        "HTTP/1.1 200 OK\r\nContent-Le",
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab",
        "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nab",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFF\r\n",
        "SSH-2.0-OpenSSH\r\n\r\n",
    ] {
        let refusal = ask(&server(vec![answer]), LONG).expect_err("it is broken");
        assert!(
            matches!(refusal, Refusal::Uncertain(_)),
            "{answer}: {refusal:?}"
        );
    }
}

#[test]
fn a_server_that_is_not_there_was_asked_nothing() {
    let client = server(Vec::new());
    // The thread ends at once, and its listener with it.
    let refused = std::iter::repeat_with(|| ask(&client, Duration::from_millis(300)))
        .find(|asked| matches!(asked, Err(Refusal::Elsewhere(_))));
    assert!(refused.is_some());
}

#[test]
fn a_connection_that_its_server_closed_is_not_used_again() {
    let kept = "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1";
    let client = server(vec![kept, kept, kept]);
    for _ in 0..3 {
        assert_eq!(ask(&client, LONG).expect("it answers").0, 200);
        vw_testkit::eventually("the end is noticed", LONG, || client.kept(0).is_none());
    }
}

//! Checks against servers on this machine's loopback.

use super::{Running, judge};
use rustix::event::{Timespec, poll};
use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener},
    os::fd::OwnedFd,
    thread,
    time::{Duration, Instant},
};
use vw_model::{HealthSpec, Probe};

fn check(probe: Probe, to: SocketAddr, timeout: Duration) -> bool {
    let socket = rustix::net::socket_with(
        rustix::net::AddressFamily::INET,
        rustix::net::SocketType::STREAM,
        rustix::net::SocketFlags::NONBLOCK | rustix::net::SocketFlags::CLOEXEC,
        None,
    );
    let socket: OwnedFd = socket.unwrap();
    let spec = HealthSpec {
        probe,
        interval: Duration::from_secs(1),
        timeout,
        retries: 1,
        start_period: Duration::ZERO,
    };
    let mut running = Running::begin(socket, to, &spec, Instant::now());
    loop {
        if let Some(answer) = running.go_on(&spec.probe, Instant::now()) {
            return answer.is_well();
        }
        let left = running.deadline().saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).unwrap();
        poll(&mut [running.poll()], Some(&left)).unwrap();
    }
}

fn server(answer: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            let mut question = [0; 1024];
            let len = stream.read(&mut question).unwrap();
            let text = String::from_utf8_lossy(&question[..len]).into_owned();
            if text.starts_with("GET /well HTTP/1.1\r\nHost: 127.0.0.1") {
                for part in answer.as_bytes().chunks(5) {
                    stream.write_all(part).unwrap();
                }
            }
            if answer.is_empty() {
                // Held open and silent until the other side gives up.
                let _ = stream.read(&mut question);
            }
        }
    });
    addr
}

const LONG: Duration = Duration::from_secs(10);
const SHORT: Duration = Duration::from_millis(200);

#[test]
fn a_port_is_asked_whether_it_accepts() {
    let open = server("");
    let tcp = Probe::Tcp { port: open.port() };
    assert!(check(tcp.clone(), open, LONG));
    let closed = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    assert!(!check(tcp, closed, LONG));
}

#[test]
fn a_page_is_asked_for_and_its_status_counts() {
    for (answer, expected) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", true),
        ("HTTP/1.0 302 Found\r\n\r\n", true),
        ("HTTP/1.1 503 Service Unavailable\r\n\r\n", false),
        ("SSH-2.0-other\r\n", false),
    ] {
        let addr = server(answer);
        let http = Probe::Http {
            port: addr.port(),
            path: "/well".to_owned(),
        };
        assert_eq!(check(http, addr, LONG), expected, "{answer}");
    }
    let silent = server("");
    let http = Probe::Http {
        port: silent.port(),
        path: "/well".to_owned(),
    };
    assert!(!check(http, silent, SHORT));
}

#[test]
fn an_answer_without_an_end_of_line_is_judged_at_its_end() {
    let well = |answer: &[u8], ended| judge(answer, ended).map(|answer| answer.is_well());
    assert_eq!(well(b"HTTP/1.1 2", false), None);
    assert_eq!(well(b"HTTP/1.1 200", true), Some(true));
    assert_eq!(well(b"", true), Some(false));
}

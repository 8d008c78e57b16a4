//! The server by real sockets on loopback: what clients see, whatever upstreams do.

mod support;

use std::{
    collections::HashSet,
    io,
    net::{TcpListener, UdpSocket},
    os::fd::OwnedFd,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};
use support::*;
use vw_dns_server::{Config, HostSockets, Place, SocketFactory};
use vw_model::Family;
use vw_names::{Policy, Transport, Vantage, View};

#[test]
fn what_is_known_here_is_answered_by_udp_and_tcp() {
    let bench = Bench::new(config(), &[]);
    assert_eq!(
        addresses(&bench.ask(&query(7, "WEB.mynet"))),
        [[172, 18, 0, 2]]
    );
    assert_eq!(
        addresses(&bench.ask_tcp(&query(8, "web"))),
        [[172, 18, 0, 2]]
    );
    assert_eq!(rcode(&bench.ask(&query(9, "elsewhere.example"))), 2);
    let counters = bench.server.counters();
    assert_eq!(
        (counters.queries, counters.local, counters.forwarded),
        (3, 3, 0)
    );
}

#[test]
fn changes_show_at_once_while_others_ask() {
    let bench = Bench::new(config(), &[]);
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let asking = scope.spawn(|| {
            let client = Client::new(bench.addr);
            let mut count = 0;
            while !done.load(Ordering::Relaxed) {
                client.send(&query(count, "web"));
                assert_eq!(addresses(&client.receive()), [[172, 18, 0, 2]]);
                count = count.wrapping_add(1);
            }
        });
        for number in 2..=200 {
            bench
                .zone
                .update(|zone| zone.with(&names(number, "other", [10, 0, 0, number])));
            assert!(addresses(&bench.ask(&query(1, "other"))).contains(&[10, 0, 0, number]));
            bench
                .zone
                .update(|zone| zone.without(names(number, "", [0; 4]).endpoint));
        }
        done.store(true, Ordering::Relaxed);
        asking.join().unwrap();
    });
    // Nobody has it any more, and there is no upstream.
    assert_eq!(rcode(&bench.ask(&query(1, "other"))), 2);
    let view = View::new(vec![], &[], &Policy::default());
    assert!(bench.server.update(sandbox(1), Arc::new(view)));
    assert_eq!(rcode(&bench.ask(&query(1, "web"))), 2);
}

#[test]
fn the_rest_is_asked_once_and_kept() {
    let fake = Fake::honest([192, 0, 2, 1]);
    let bench = Bench::new(config(), &[&fake]);
    let first = bench.ask(&query(0x1111, "Example.com"));
    assert_eq!(addresses(&first), [[192, 0, 2, 1]]);
    assert_eq!(first[..2], [0x11, 0x11]);
    let second = bench.ask(&query(0x2222, "eXAMPLE.COM"));
    assert_eq!(
        (second[..2].to_vec(), &second[13..20]),
        (vec![0x22, 0x22], &b"eXAMPLE"[..])
    );
    assert_eq!(addresses(&second), addresses(&first));
    assert_eq!(
        addresses(&bench.ask_tcp(&query(3, "example.com"))),
        addresses(&first)
    );
    let asked = fake.asked(1);
    assert_eq!(asked.len(), 1);
    assert_eq!(&asked[0].message[13..20], b"Example");
    let counters = bench.server.counters();
    assert_eq!((counters.forwarded, counters.cache_hits), (3, 2));
}

#[test]
fn ids_and_ports_cannot_be_foreseen() {
    let fake = Fake::honest([192, 0, 2, 1]);
    let bench = Bench::new(config(), &[&fake]);
    for number in 0..50 {
        bench.ask(&query(7, &format!("n{number}.example")));
    }
    let asked = fake.asked(50);
    let ids: HashSet<_> = asked
        .iter()
        .map(|asked| asked.message[..2].to_vec())
        .collect();
    let ports: HashSet<_> = asked.iter().map(|asked| asked.from.port()).collect();
    assert!(
        ids.len() > 40 && ports.len() > 40,
        "{} ids, {} ports",
        ids.len(),
        ports.len()
    );
}

#[test]
fn lies_are_passed_over() {
    let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
    let fake = Fake::new(move |asked| {
        let lie = reply(&asked.message, &[[6, 6, 6, 6]]);
        // From another address: the kernel drops it.
        stranger.send_to(&lie, asked.from).unwrap();
        let mut wrong_id = lie.clone();
        wrong_id[0] ^= 1;
        let wrong_name = reply(
            &query(u16::from_be_bytes([lie[0], lie[1]]), "examplf.com"),
            &[[6; 4]],
        );
        let mut cut = lie.clone();
        cut.truncate(lie.len() - 1);
        let truth = reply(&asked.message, &[[192, 0, 2, 1]]);
        vec![
            wrong_id,
            wrong_name,
            cut,
            asked.message.clone(),
            vec![1],
            truth,
        ]
    });
    let bench = Bench::new(config(), &[&fake]);
    assert_eq!(
        addresses(&bench.ask(&query(7, "example.com"))),
        [[192, 0, 2, 1]]
    );
    assert_eq!(bench.server.counters().unfit, 5);
}

#[test]
fn a_failure_sends_to_the_next() {
    for code in [1, 2, 4, 5] {
        let failing = Fake::new(move |asked| vec![failure(&asked.message, code)]);
        let honest = Fake::honest([192, 0, 2, 1]);
        let bench = Bench::new(config(), &[&failing, &Fake::absent(), &honest]);
        assert_eq!(
            addresses(&bench.ask(&query(7, "example.com"))),
            [[192, 0, 2, 1]]
        );
        let alone = Bench::new(config(), &[&failing]);
        assert_eq!(rcode(&alone.ask(&query(7, "example.com"))), code);
        assert_eq!(alone.server.counters().failed, 1);
    }
    let gone = Bench::new(config(), &[&Fake::absent()]);
    assert_eq!(rcode(&gone.ask(&query(7, "example.com"))), 2);
}

#[test]
fn that_there_is_none_is_an_answer() {
    let denying = Fake::new(|asked| vec![failure(&asked.message, 3)]);
    let honest = Fake::honest([192, 0, 2, 1]);
    let bench = Bench::new(config(), &[&denying, &honest]);
    assert_eq!(rcode(&bench.ask(&query(7, "example.com"))), 3);
    assert!(honest.asked(0).is_empty());
}

#[test]
fn a_silent_one_is_not_waited_for() {
    let (silent, honest) = (Fake::silent(), Fake::honest([192, 0, 2, 1]));
    let config = Config {
        stagger: Duration::from_millis(10),
        ..config()
    };
    let bench = Bench::new(config, &[&silent, &honest]);
    assert_eq!(
        addresses(&bench.ask(&query(7, "example.com"))),
        [[192, 0, 2, 1]]
    );
    assert_eq!(silent.asked(1).len(), 1);
}

#[test]
fn a_lost_datagram_is_sent_again() {
    let seen = Mutex::new(0);
    let forgetful = Fake::new(move |asked| {
        let mut seen = seen.lock().unwrap();
        *seen += 1;
        if *seen < 3 {
            vec![]
        } else {
            vec![reply(&asked.message, &[[192, 0, 2, 1]])]
        }
    });
    let config = Config {
        retransmit: Duration::from_millis(10),
        ..config()
    };
    let bench = Bench::new(config, &[&forgetful]);
    assert_eq!(
        addresses(&bench.ask(&query(7, "example.com"))),
        [[192, 0, 2, 1]]
    );
}

#[test]
fn nobody_in_time_is_a_failure() {
    let silent = Fake::silent();
    let config = Config {
        deadline: Duration::from_millis(50),
        ..config()
    };
    let bench = Bench::new(config, &[&silent]);
    assert_eq!(rcode(&bench.ask(&query(7, "example.com"))), 2);
    assert_eq!(rcode(&bench.ask_tcp(&query(7, "example.com"))), 2);
    assert_eq!(bench.server.counters().failed, 2);
}

#[test]
fn a_cut_reply_is_fetched_by_tcp() {
    let many: Vec<_> = (0..100).map(|i| [192, 0, 2, i]).collect();
    let want = many.clone();
    let fake = Fake::new(move |asked| {
        let mut message = match asked.transport {
            Transport::Udp => reply(&asked.message, &many[..1]),
            Transport::Tcp => reply(&asked.message, &many),
        };
        if asked.transport == Transport::Udp {
            message[2] |= 2;
        }
        vec![message]
    });
    let bench = Bench::new(config(), &[&fake]);
    assert_eq!(addresses(&bench.ask_tcp(&query(7, "example.com"))), want);
    let by_udp = bench.ask(&query(7, "example.com"));
    assert!(is_truncated(&by_udp) && addresses(&by_udp).is_empty());
    let transports: Vec<_> = fake.asked(2).iter().map(|asked| asked.transport).collect();
    assert_eq!(transports, [Transport::Udp, Transport::Tcp]);
}

#[test]
fn the_same_question_is_asked_once_at_a_time() {
    let silent = Fake::silent();
    let bench = Bench::new(config(), &[&silent]);
    let clients: Vec<_> = (0..20).map(|_| Client::new(bench.addr)).collect();
    for (id, client) in (0..).zip(&clients) {
        client.send(&query(id, "example.com"));
    }
    eventually("all wait for one", || bench.server.counters().joined == 19);
    let asked = silent.asked(1);
    assert_eq!(asked.len(), 1);
    asked[0].answer(&reply(&asked[0].message, &[[192, 0, 2, 1]]));
    for (id, client) in (0_u16..).zip(&clients) {
        let reply = client.receive();
        assert_eq!(
            (reply[..2].to_vec(), addresses(&reply)),
            (id.to_be_bytes().to_vec(), vec![[192, 0, 2, 1]])
        );
    }
}

#[test]
fn a_flood_is_refused_at_once_and_harms_nobody_else() {
    let silent = Fake::silent();
    let limits = Config {
        pending_per_sandbox: 8,
        pending: 16,
        ..config()
    };
    let bench = Bench::new(limits, &[&silent]);
    let client = Client::new(bench.addr);
    for number in 0..200 {
        client.send(&query(number, &format!("n{number}.example")));
    }
    // None of the eight is answered yet, so these are the refusals.
    for _ in 0..192 {
        assert_eq!(rcode(&client.receive()), 5);
    }
    assert_eq!(silent.asked(8).len(), 8);
    assert_eq!(bench.server.counters().refused, 192);
    assert_eq!(rcode(&bench.ask_tcp(&query(1, "one.example"))), 5);
    assert_eq!(addresses(&bench.ask(&query(1, "web"))), [[172, 18, 0, 2]]);
    // Another sandbox has its share of what is left of the whole.
    let policy = Policy {
        upstreams: vec![silent.upstream(Vantage::Host)],
        external: true,
        ..Policy::default()
    };
    let more = |number| {
        let (pair, addr) = sockets();
        let view = Arc::new(View::new(vec![], &[], &policy));
        bench.server.add(sandbox(number), pair, view).unwrap();
        Client::new(addr)
    };
    let other = more(2);
    for number in 0..6 {
        other.send(&query(number, &format!("m{number}.example")));
    }
    assert_eq!((rcode(&other.receive()), rcode(&other.receive())), (5, 5));
    // And so has every further one, whatever the others took.
    for number in 3..12 {
        more(number).send(&query(1, &format!("k{number}.example")));
    }
    // Room is given back.
    for asked in silent.asked(21) {
        asked.answer(&reply(&asked.message, &[[192, 0, 2, 1]]));
    }
    for _ in 0..8 {
        assert_eq!(rcode(&client.receive()), 0);
    }
    client.send(&query(1, "late.example"));
    assert_eq!(silent.asked(22).len(), 22);
}

#[test]
fn an_internal_network_tells_nobody() {
    let fake = Fake::honest([192, 0, 2, 1]);
    let bench = Bench::with(
        config(),
        Arc::new(HostSockets),
        &[&fake],
        Vantage::Host,
        false,
    );
    assert_eq!(rcode(&bench.ask(&query(7, "example.com"))), 2);
    assert_eq!(rcode(&bench.ask_tcp(&query(7, "example.com"))), 2);
    assert_eq!(addresses(&bench.ask(&query(7, "web"))), [[172, 18, 0, 2]]);
    assert!(fake.asked(0).is_empty());
}

/// Makes the sockets of one sandbox on the host, and remembers for whom.
#[derive(Default)]
struct Recording(Mutex<Vec<Place>>);

impl SocketFactory for Recording {
    fn udp(&self, place: Place, family: Family) -> io::Result<UdpSocket> {
        self.0.lock().unwrap().push(place);
        HostSockets.udp(Place::Host, family)
    }

    fn tcp(&self, place: Place, family: Family) -> io::Result<OwnedFd> {
        self.0.lock().unwrap().push(place);
        HostSockets.tcp(Place::Host, family)
    }
}

#[test]
fn a_named_server_is_asked_from_inside() {
    let fake = Fake::new(|asked| {
        let mut message = reply(&asked.message, &[[10, 9, 8, 7]]);
        if asked.transport == Transport::Udp {
            message[2] |= 2;
        }
        vec![message]
    });
    let factory = Arc::new(Recording::default());
    // Also on an internal network, where the server may be.
    let bench = Bench::with(config(), factory.clone(), &[&fake], Vantage::Sandbox, false);
    assert_eq!(
        addresses(&bench.ask(&query(7, "example.com"))),
        [[10, 9, 8, 7]]
    );
    assert_eq!(*factory.0.lock().unwrap(), [Place::Sandbox(sandbox(1)); 2]);
    // What one sandbox was told from inside is not told to another.
    let policy = Policy {
        upstreams: vec![fake.upstream(Vantage::Sandbox)],
        ..Policy::default()
    };
    let (pair, addr) = sockets();
    bench
        .server
        .add(sandbox(2), pair, Arc::new(View::new(vec![], &[], &policy)))
        .unwrap();
    let client = Client::new(addr);
    client.send(&query(1, "example.com"));
    client.receive();
    assert_eq!(bench.server.counters().cache_hits, 0);
    assert_eq!(
        factory.0.lock().unwrap()[2..],
        [Place::Sandbox(sandbox(2)); 2]
    );
}

#[test]
fn a_namespace_that_is_gone_is_a_failure() {
    // The host's factory knows no sandboxes.
    let (fake, factory) = (Fake::honest([192, 0, 2, 1]), Arc::new(HostSockets));
    let bench = Bench::with(config(), factory, &[&fake], Vantage::Sandbox, true);
    assert_eq!(rcode(&bench.ask(&query(7, "example.com"))), 2);
    assert!(fake.asked(0).is_empty());
}

#[test]
fn a_stream_carries_many_questions() {
    use std::io::Write;
    let silent = Fake::silent();
    let bench = Bench::new(config(), &[&silent]);
    let mut stream = bench.stream();
    let mut frames = framed(&query(1, "slow.example"));
    frames.extend(framed(&query(2, "web")));
    frames.extend(framed(&query(3, "nobody")[..14]));
    // Also in pieces.
    let (head, tail) = frames.split_at(20);
    stream.write_all(head).unwrap();
    stream.write_all(tail).unwrap();
    let ids: Vec<_> = (0..2)
        .map(|_| read_frame(&mut stream).unwrap()[1])
        .collect();
    assert_eq!(ids, [2, 3]);
    // Done asking; what is outstanding still comes, and then the end.
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let asked = silent.asked(1);
    asked[0].answer(&reply(&asked[0].message, &[[192, 0, 2, 1]]));
    assert_eq!(read_frame(&mut stream).unwrap()[1], 1);
    assert!(read_frame(&mut stream).is_none());
}

#[test]
fn streams_that_idle_or_are_too_many_end() {
    let limits = Config {
        tcp_per_sandbox: 2,
        ..config()
    };
    let bench = Bench::new(limits, &[]);
    let mut held: Vec<_> = (0..2).map(|_| bench.stream()).collect();
    for stream in &mut held {
        std::io::Write::write_all(stream, &framed(&query(1, "web"))).unwrap();
        assert!(read_frame(stream).is_some());
    }
    assert!(
        read_frame(&mut bench.stream()).is_none(),
        "a third one is closed"
    );
    drop(held);
    eventually("there is room again", || {
        let mut stream = bench.stream();
        std::io::Write::write_all(&mut stream, &framed(&query(1, "web"))).is_ok()
            && read_frame(&mut stream).is_some()
    });
    let idle = Config {
        tcp_idle: Duration::from_millis(20),
        ..config()
    };
    let bench = Bench::new(idle, &[]);
    assert!(read_frame(&mut bench.stream()).is_none());
}

#[test]
fn removing_lets_go_of_every_socket() {
    let silent = Fake::silent();
    let factory = Arc::new(Recording::default());
    let bench = Bench::with(config(), factory, &[&silent], Vantage::Sandbox, true);
    let mut stream = bench.stream();
    std::io::Write::write_all(&mut stream, &framed(&query(1, "slow.example"))).unwrap();
    let upstream_port = silent.asked(1)[0].from;
    assert!(bench.server.remove(sandbox(1)));
    assert!(!bench.server.remove(sandbox(1)));
    assert!(!bench.server.update(
        sandbox(1),
        Arc::new(View::new(vec![], &[], &Policy::default()))
    ));
    assert!(read_frame(&mut stream).is_none());
    drop(stream);
    eventually("the datagram socket is closed", || {
        UdpSocket::bind(bench.addr).is_ok()
    });
    eventually("the listener is closed", || {
        TcpListener::bind(bench.addr).is_ok()
    });
    eventually("the question from inside is given up", || {
        UdpSocket::bind(upstream_port).is_ok()
    });
    assert_eq!(bench.server.sandbox_count(), 0);
}

#[test]
fn a_sandbox_can_be_served_anew() {
    let bench = Bench::new(config(), &[]);
    let (pair, addr) = sockets();
    bench
        .server
        .add(
            sandbox(1),
            pair,
            Arc::new(View::new(vec![bench.zone.clone()], &[], &Policy::default())),
        )
        .unwrap();
    assert_eq!(bench.server.sandbox_count(), 1);
    let client = Client::new(addr);
    client.send(&query(1, "web"));
    assert_eq!(addresses(&client.receive()), [[172, 18, 0, 2]]);
    eventually("the former socket is closed", || {
        UdpSocket::bind(bench.addr).is_ok()
    });
}

#[test]
fn dropping_the_server_ends_it() {
    let silent = Fake::silent();
    let bench = Bench::new(config(), &[&silent]);
    let client = Client::new(bench.addr);
    client.send(&query(1, "slow.example"));
    silent.asked(1);
    drop(bench.server);
    UdpSocket::bind(bench.addr).unwrap();
}

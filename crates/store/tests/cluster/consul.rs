//! A real Consul: the suite, and what is Consul's own.

use super::{
    conformance::{self, Subject, commit, get, put, value},
    faults::{self, making, open},
    replay::{LONG, Replay},
    stopped,
};
use std::{
    cell::RefCell,
    io::{Read, Write},
    net::TcpListener,
    time::Duration,
};
use vw_store::cluster::{Change, ClusterError};
use vw_testkit::{
    Lab,
    cluster_stores::{Certificates, Consul, ConsulSettings, Place},
    require_programs,
};

/// What a session has at least; it lasts twice as long.
const LEAST_TTL: Duration = Duration::from_secs(10);

fn places(number: usize) -> Vec<Place> {
    vec![Place::machine(); number]
}

#[test]
fn consul_is_a_store() {
    require_programs!("consul");
    let lab = Lab::new();
    let consul = Consul::start(&lab, &places(1));
    let url = consul.url() + "/some/where";
    conformance::run(&Subject {
        store: &*open(&url, &[]),
        other: &*open(&url, &[]),
        least_ttl: LEAST_TTL,
    });
    stopped::run(&*open(&url, &[]), &url, LEAST_TTL);
    // What lies below another prefix is another store.
    assert_eq!(get(&*open(&consul.url(), &[]), "once/a"), None);
    assert_eq!(consul.ctl(&["kv", "get", "some/where/once/a"]).ok(), "1");
}

#[test]
fn consul_of_three_servers_goes_on_without_one() {
    require_programs!("consul");
    let lab = Lab::new();
    let mut consul = Consul::start(&lab, &places(3));
    let store = open(&consul.url(), &[]);
    faults::member_lost(&*store, || consul.kill(0));
    consul.restart(0);
    consul.wait();
    // A store that begins with the server that hangs.
    let store = open(&format!("{}/hung", consul.url()), &[]);
    faults::member_lost(&*store, || consul.pause(0));
    consul.resume(0);
}

#[test]
fn consul_may_come_later_and_go_meanwhile() {
    require_programs!("consul");
    let lab = Lab::new();
    let consul = RefCell::new(Consul::start(&lab, &places(1)));
    let restart = || {
        consul.borrow_mut().restart(0);
        consul.borrow_mut().wait();
    };
    consul.borrow_mut().kill(0);
    let store = open(&consul.borrow().url(), &[]);
    faults::away(&*store, restart);
    faults::restarted(&*store, || consul.borrow_mut().kill(0), restart);
    let address = consul.borrow().addresses().remove(0);
    let open = |address: &str| open(&format!("consul://{address}"), &[]);
    faults::cut(&address, 0, open);
    faults::overtaken(&address, 0, open);
    faults::switched_off(&address, open);
}

#[test]
fn a_watch_of_a_consul_that_was_brought_back_says_so() {
    require_programs!("consul");
    let lab = Lab::new();
    let consul = RefCell::new(Consul::start(&lab, &places(1)));
    let store = open(&consul.borrow().url(), &[]);
    let file = |name: &str| lab.folder().join(name.replace('/', "-"));
    faults::brought_back(
        &*store,
        |name| consul.borrow().save(&file(name)),
        |name| consul.borrow_mut().bring_back(&file(name)),
    );
}

#[test]
fn a_404_that_is_not_consuls_is_no_empty_answer() {
    let server = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    let address = server.local_addr().expect("it is bound");
    std::thread::spawn(move || {
        for mut client in server.incoming().flatten() {
            let mut come = [0; 4096];
            // A request is one piece here.
            while client.read(&mut come).is_ok_and(|read| read > 0) {
                let answer = b"HTTP/1.1 404 Not Found\r\nContent-Length: 3\r\n\r\nno\n";
                if client.write_all(answer).is_err() {
                    break;
                }
            }
        }
    });
    let store = open(&format!("consul://{address}"), &[]);
    for answer in [
        store.get("a").map(drop),
        store.list("a").map(drop),
        store.follow("a").map(drop),
    ] {
        let Err(ClusterError::Unavailable { reason, .. }) = &answer else {
            panic!("{answer:?}");
        };
        assert!(reason.contains("404"), "{reason}");
    }
}

#[test]
fn what_a_token_may_not_see_any_more_is_not_told_as_gone() {
    require_programs!("consul");
    let lab = Lab::new();
    let token = "2f9c2c7e-63d5-4a3b-9d35-b3b7a5c0f001";
    let settings = ConsulSettings {
        token: Some(token.to_owned()),
        ..ConsulSettings::default()
    };
    let consul = Consul::start_with(&lab, &places(1), settings);
    let all = r#"key_prefix "vethwork/" { policy = "write" }"#;
    let secret = consul.token("net", all);
    let narrowed = open(&consul.url(), &[&format!("token={secret}")]);
    let master = open(&consul.url(), &[&format!("token={token}")]);
    let denied = |hidden: &str| format!(r#"key_prefix "{hidden}" {{ policy = "deny" }}"#);
    for narrow in [
        denied("vethwork/"),
        format!("{all} {}", denied("vethwork/hidden/b")),
    ] {
        consul.allow("net", all);
        commit(&*master, [], [put("hidden/a", "1"), put("hidden/b", "1")]);
        let mut replay = Replay::follow(&*narrowed, "hidden");
        replay.step().expect("nothing was missed");
        consul.allow("net", &narrow);
        let refused = vw_testkit::poll(LONG, || {
            // A query that is held back ends with what its token might do before.
            commit(&*master, [], [put("hidden/a", "2")]);
            replay.step().err()
        });
        let forbidden = matches!(refused, Some(ClusterError::Forbidden { .. }));
        assert!(forbidden, "{narrow}: {refused:?}");
        let told = &replay.told;
        assert!(
            !told
                .iter()
                .any(|change| matches!(change, Change::Deleted(_))),
            "{told:?}"
        );
    }
}

#[test]
fn consul_lets_in_whom_it_knows() {
    require_programs!("consul");
    let lab = Lab::new();
    let token = "2f9c2c7e-63d5-4a3b-9d35-b3b7a5c0f001";
    let settings = ConsulSettings {
        token: Some(token.to_owned()),
        ..ConsulSettings::default()
    };
    let consul = Consul::start_with(&lab, &places(1), settings);
    let file = lab.folder().join("token");
    std::fs::write(&file, format!("{token}\n")).expect("the folder is ours");
    let from_file = format!("token-file={}", file.display());
    for option in [format!("token={token}"), from_file] {
        let store = open(&consul.url(), &[&option]);
        commit(&*store, [], [put("auth/a", "1")]);
        assert_eq!(value(&*store, "auth/a").as_deref(), Some(&b"1"[..]));
    }
    std::fs::write(&file, "2f9c2c7e-63d5-4a3b-9d35-b3b7a5c0f003\n").expect("the folder is ours");
    let from_file = format!("token-file={}", file.display());
    let late = open(&consul.url(), &[&from_file]);
    assert!(late.get("auth/a").is_err());
    std::fs::write(&file, format!("{token}\n")).expect("the folder is ours");
    assert!(get(&*late, "auth/a").is_some(), "the file was read again");
    // No more rights than docs/cluster-store.md wants.
    let rules =
        r#"key_prefix "vethwork/" { policy = "write" } session_prefix "" { policy = "write" }"#;
    let option = format!("token={}", consul.token("net", rules));
    faults::everything(&*open(&consul.url(), &[&option]));
    let wrong = "token=2f9c2c7e-63d5-4a3b-9d35-b3b7a5c0f002";
    for options in [&[][..], &[wrong]] {
        let stranger = open(&consul.url(), options);
        let ttl = Duration::from_secs(10);
        for refused in [
            stranger.commit(&making("auth/b")).map(|_| ()),
            stranger.announce("auth/c", b"", ttl).map(|_| ()),
        ] {
            let forbidden = matches!(refused, Err(ClusterError::Forbidden { .. }));
            assert!(forbidden, "{options:?}: {refused:?}");
        }
        let hidden = stranger.get("auth/a");
        assert!(!matches!(hidden, Ok(Some(_))), "{options:?}: {hidden:?}");
    }
}

#[test]
fn consul_speaks_tls_both_ways() {
    require_programs!("consul", "openssl");
    let lab = Lab::new();
    let ours = Certificates::new(&lab, "ours", &["127.0.0.1"]);
    let theirs = Certificates::new(&lab, "theirs", &["127.0.0.1"]);
    let settings = ConsulSettings {
        tls: Some(ours.clone()),
        ..ConsulSettings::default()
    };
    let consul = Consul::start_with(&lab, &places(1), settings);
    let option = |key: &str, from: &Certificates, file: &str| {
        format!("tls.{key}={}", from.file(file).display())
    };
    let ca = option("ca", &ours, "ca.pem");
    let cert = option("cert", &ours, "client.pem");
    let key = option("key", &ours, "client.key");
    let store = open(&consul.url(), &[&ca, &cert, &key]);
    faults::make(&*store, "tls/a");
    let wrong = option("ca", &theirs, "ca.pem");
    for options in [&[][..], &[&*ca], &[&*wrong, &*cert, &*key]] {
        let refused = open(&consul.url(), options).get("a");
        assert!(refused.is_err(), "{options:?}");
    }
}

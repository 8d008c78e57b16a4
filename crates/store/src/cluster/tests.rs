//! Addresses and options: what is taken, and what is said of what is not.

use super::*;

#[cfg(feature = "etcd")]
fn url(text: &str) -> String {
    match text.parse::<ClusterUrl>() {
        Ok(url) => url.to_string(),
        Err(error) => error.to_string(),
    }
}

#[cfg(feature = "etcd")]
#[test]
fn an_address_is_completed_by_the_stores_port_and_the_prefix() {
    for (given, complete) in [
        ("etcd://a", "etcd://a:2379/vethwork"),
        ("etcd://a/", "etcd://a:2379/vethwork"),
        (
            "etcd://a:1,b:2,[fd00::1]:3/x/y/",
            "etcd://a:1,b:2,[fd00::1]:3/x/y",
        ),
        ("etcd://[::1]", "etcd://[::1]:2379/vethwork"),
    ] {
        assert_eq!(url(given), complete);
    }
}

#[cfg(feature = "etcd")]
#[test]
fn a_bad_address_is_refused_by_what_is_wrong_with_it() {
    for (given, part) in [
        ("a:2379", "begins with the kind of store: etcd://"),
        ("redis://a", "unknown store \"redis\": use etcd://"),
        ("etcd://", "a server's address is empty"),
        ("etcd://a,,b", "a server's address is empty"),
        ("etcd://a,a:2379", "a:2379 stands in it twice"),
        ("etcd://fd00::1", "belongs in brackets"),
        ("etcd://[fd00::1", "lacks the closing bracket"),
        ("etcd://[a]", "no IPv6 address"),
        ("etcd://[::1]x", "is no port"),
        ("etcd://a:0", "bad port"),
        ("etcd://a:65536", "bad port"),
        ("etcd://a b", "no server's name"),
        ("etcd://a/X", "bad prefix"),
        ("etcd://a/../b", "bad prefix"),
        ("etcd://me:secret@a", "--cluster-store-opt"),
    ] {
        let said = url(given);
        assert!(said.contains(part), "{given}: {said}");
        assert!(!said.contains("secret"), "{said}");
    }
}

#[test]
fn a_bad_option_is_refused_by_name() {
    for (given, said) in [
        (
            &["tls.ca"][..],
            "option tls.ca: it lacks a value: KEY=VALUE",
        ),
        (&["colour=red"], "option colour: unknown: use tls.ca, "),
        (&["user="], "option user: its value is empty"),
        (&["user=a", "user=b"], "option user: it is given twice"),
        (
            &["user=a"],
            "option user: it needs password or password-file too",
        ),
        (&["password=a"], "option password: it needs user too"),
        (
            &["user=a", "password=b", "password-file=c"],
            "option password-file: password is given too: use one",
        ),
        (
            &["tls.ca=a", "tls.cert=b"],
            "option tls.cert: it needs tls.key too",
        ),
        (
            &["tls.cert=b", "tls.key=c"],
            "option tls.cert: it needs tls.ca too",
        ),
    ] {
        let error = Options::parse(given).expect_err("it is bad").to_string();
        assert!(error.contains(said), "{given:?}: {error}");
    }
}

#[test]
fn a_secret_is_not_shown() {
    let options = Options::parse(["user=me", "password=hush"]).expect("it is good");
    assert!(!format!("{options:?}").contains("hush"));
}

#[cfg(feature = "etcd")]
#[test]
fn a_store_refuses_what_it_does_not_know() {
    let url: ClusterUrl = "etcd://127.0.0.1".parse().expect("it is good");
    let options = Options::parse(["token=a"]).expect("its form is good");
    let error = connect(&url, &options).expect_err("it is refused");
    let error = error.to_string();
    assert!(
        error.contains("option token: etcd knows only tls.ca"),
        "{error}"
    );
}

/// A file that something of a store needs: the store's scheme and its name, the option, what can be used,
/// what cannot, and what is said of that.
#[cfg(all(feature = "etcd", feature = "consul", feature = "zookeeper"))]
const NEEDED: [[&str; 6]; 4] = [
    [
        "etcd",
        "etcd",
        "tls.ca",
        AUTHORITY,
        "junk",
        "the file has no certificate in PEM",
    ],
    [
        "etcd",
        "etcd",
        "password-file",
        "hush\n",
        "\n",
        "the file's first line is empty",
    ],
    [
        "consul",
        "consul",
        "token-file",
        "hush\n",
        "\n",
        "the file's first line is empty",
    ],
    [
        "zk",
        "zookeeper",
        "password-file",
        "hush\n",
        "\n",
        "the file's first line is empty",
    ],
];

/// What a store says that is away, of itself and of its one server.
#[cfg(feature = "etcd")]
fn why_away(store: &dyn ClusterStore) -> [String; 2] {
    let error = store.get("a").expect_err("nobody answers");
    assert!(
        matches!(error, ClusterError::Unavailable { .. }),
        "{error:?}"
    );
    let member = store.members().remove(0).answer;
    [error.to_string(), member.expect_err("nobody answers")]
}

#[cfg(all(feature = "etcd", feature = "consul", feature = "zookeeper"))]
#[test]
fn a_store_is_away_until_the_files_that_it_needs_are_there() {
    let address = nobody().to_string();
    for [scheme, kind, option, good, bad, wrong] in NEEDED {
        let name = format!("vw-late-{option}-{}", std::process::id());
        let file = std::env::temp_dir().join(name);
        let path = file.display().to_string();
        let write = |text| std::fs::write(&file, text).expect("it is written");
        let user = option.starts_with("password").then(|| "user=me".to_owned());
        let given = user.into_iter().chain([format!("{option}={path}")]);
        let options = Options::parse(given).expect("its form is good");
        let url = format!("{scheme}://{address}").parse().expect("an address");
        let store = connect(&url, &options).expect("no option is wrong");
        assert_eq!(
            (store.kind(), &store.members()[0].address),
            (kind, &address)
        );
        let told = |part: &str, end: &str| {
            let told = why_away(&*store);
            let is_told = |said: &String| said.contains(part) && said.ends_with(end);
            assert!(told.iter().all(is_told), "{part}: {told:?}");
        };
        told(
            &format!("{option}: {path}: No such file"),
            "it is asked soon",
        );
        write(bad);
        told(&format!("{option}: {path}: {wrong}"), "it is asked soon");
        assert!(options.unusable().is_some_and(|why| why.contains(wrong)));
        write(good);
        let asked = why_away(&*store);
        assert!(asked.iter().all(|said| !said.contains(option)), "{asked:?}");
        assert_eq!(options.unusable(), None);
        std::fs::remove_file(&file).expect("it is there");
        told("what was read of it before is used", "it is used at once");
    }
}

/// A server that is none: whoever asks it is hung up on.
#[cfg(feature = "etcd")]
fn nobody() -> std::net::SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    listener.local_addr().expect("it is bound")
}

#[cfg(feature = "etcd")]
#[test]
fn a_file_that_cannot_be_used_any_more_is_named_beside_what_went_wrong() {
    let name = |what| std::env::temp_dir().join(format!("vw-{what}-{}", std::process::id()));
    let url: ClusterUrl = format!("etcd://{}", nobody()).parse().expect("an address");
    let rows = [
        (
            "password-file",
            "hush\n",
            "\n",
            "the file's first line is empty",
        ),
        (
            "tls.ca",
            AUTHORITY,
            "junk",
            "the file has no certificate in PEM",
        ),
    ];
    for (option, good, bad, wrong) in rows {
        let file = name(option);
        let path = file.display().to_string();
        let write = |text| std::fs::write(&file, text).expect("it is written");
        write(good);
        let user = option.starts_with("password").then(|| "user=me".to_owned());
        let given = user.into_iter().chain([format!("{option}={path}")]);
        let options = Options::parse(given).expect("its form is good");
        let store = connect(&url, &options).expect("it can be read");
        let told = || why_away(&*store);
        let named = |wrong: &str| {
            let part = format!("; {option}: {path}: {wrong}");
            told()
                .iter()
                .all(|said| said.contains(&part) && said.ends_with("used at once"))
        };
        assert!(
            told().iter().all(|said| !said.contains(option)),
            "{:?}",
            told()
        );
        write(bad);
        assert!(named(wrong), "{:?}", told());
        std::fs::remove_file(&file).expect("it is there");
        assert!(named("No such file"), "{:?}", told());
        write(good);
        assert!(
            told().iter().all(|said| !said.contains(option)),
            "{:?}",
            told()
        );
        std::fs::remove_file(&file).expect("it is there");
    }
}

/// A certificate as an authority has it.
#[cfg(feature = "etcd")]
const AUTHORITY: &str = "\
-----BEGIN CERTIFICATE-----
MIIBhjCCAS2gAwIBAgIUbcjO20vW8lOc3Onu5b8PI73QeC8wCgYIKoZIzj0EAwIw
GTEXMBUGA1UEAwwOdGVzdC1hdXRob3JpdHkwHhcNMjYxMTI2MjIyMjA1WhcNMzYx
MTIzMjIyMjA1WjAZMRcwFQYDVQQDDA50ZXN0LWF1dGhvcml0eTBZMBMGByqGSM49
AgEGCCqGSM49AwEHA0IABK2/n9wtiPYSi8d5PQRbAsq2F2JtOM1nuuIH6dc62gIt
eSvy3TiCeJGZ2eJE6QmbbdNxwbcGsyYe2h8b4w3Ga4WjUzBRMB0GA1UdDgQWBBSW
8PcxR5g0SN+B6XinOO/uEE7mqDAfBgNVHSMEGDAWgBSW8PcxR5g0SN+B6XinOO/u
EE7mqDAPBgNVHRMBAf8EBTADAQH/MAoGCCqGSM49BAMCA0cAMEQCIB2PvmRAV3NR
3wB0yC9qgHsPl84a+FEgRXy8OYTx6xCMAiAfsarFzVcytLa4hvYxY9mW8dim7sA+
2qCVupAdGdGUHA==
-----END CERTIFICATE-----
";

#[test]
fn what_may_be_a_secret_is_not_repeated() {
    for given in ["hush", "=hush", "password hush"] {
        let said = Options::parse([given]).unwrap_err().to_string();
        assert!(
            said.contains("KEY=VALUE") && !said.contains("hush"),
            "{said}"
        );
    }
}

/// A server that answers every request by what is no answer of any store.
#[cfg(all(feature = "etcd", feature = "consul"))]
fn garbling() -> std::net::SocketAddr {
    use std::io::{Read, Write as _};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    let address = listener.local_addr().expect("it is bound");
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let mut client = client.expect("it is there");
            let (mut asked, mut piece) = (Vec::new(), [0; 512]);
            while !asked.ends_with(b"}") && !asked.ends_with(b"]") {
                let read = client.read(&mut piece).expect("it is asked");
                asked.extend_from_slice(&piece[..read]);
            }
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nso?";
            client.write_all(answer).expect("it is read");
        }
    });
    address
}

#[cfg(all(feature = "etcd", feature = "consul"))]
#[test]
fn an_answer_that_cannot_be_understood_leaves_a_change_uncertain() {
    for kind in ["etcd", "consul"] {
        let url = format!("{kind}://{}", garbling());
        let store = connect(&url.parse().expect("an address"), &Options::default());
        let store = store.expect("no option is wrong");
        let transaction = Transaction {
            conditions: Vec::new(),
            writes: vec![Write::Put("a".to_owned(), b"1".to_vec())],
        };
        let said = store.commit(&transaction);
        assert!(
            matches!(said, Err(ClusterError::Uncertain { .. })),
            "{said:?}"
        );
        // What was read is worth no second question.
        if kind == "etcd" {
            let said = store.get("a");
            assert!(
                matches!(said, Err(ClusterError::Protocol { .. })),
                "{said:?}"
            );
        }
    }
}

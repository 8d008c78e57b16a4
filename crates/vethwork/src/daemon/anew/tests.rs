//! When a daemon begins anew for its address, by a clock that stands still between looks.

use super::{super::cluster::ClusterSettings, super::flags::Directives, *};
use std::net::IpAddr;

const WAS: &str = "192.0.2.1/24";
const NEW: &str = "192.0.2.7/24";

type Addresses<'a> = &'a [(&'a str, &'a str)];

fn reached(advertise: &str, was: &str) -> Reached {
    let directives = Directives {
        cluster_store: Some("etcd://192.0.2.10".to_owned()),
        cluster_advertise: (!advertise.is_empty()).then(|| advertise.to_owned()),
        ..Directives::default()
    };
    let cluster = ClusterSettings::check(&directives).unwrap().unwrap();
    let underlay = cluster.underlay(&facts(&[("eth0", was)])).unwrap();
    Reached::new(cluster, &underlay)
}

fn facts(addresses: Addresses<'_>) -> HostFacts {
    let address = |(link, net): &(&str, &str)| ((*link).to_owned(), net.parse().unwrap());
    let addresses: Vec<(String, vw_model::IpNet)> = addresses.iter().map(address).collect();
    HostFacts {
        default_source: addresses
            .iter()
            .map(|(_, net)| net.addr())
            .take(1)
            .collect(),
        addresses,
        ..HostFacts::default()
    }
}

/// A host that is looked at again and again.
struct Watched {
    reached: Reached,
    now: Instant,
}

impl Watched {
    fn of(advertise: &str, was: &str) -> Self {
        Self {
            reached: reached(advertise, was),
            now: Instant::now(),
        }
    }

    /// Looks after so many milliseconds; tells what follows, an address by its text.
    fn after(&mut self, millis: u64, facts: &HostFacts) -> String {
        self.now += Duration::from_millis(millis);
        match self.reached.look(facts, self.now) {
            Look::Follow(next) => next.addr.to_string(),
            other => format!("{other:?}"),
        }
    }

    /// The last of so many looks, a second apart.
    fn looks(&mut self, count: usize, facts: &HostFacts) -> String {
        (0..count).map(|_| self.after(1000, facts)).last().unwrap()
    }
}

#[test]
fn it_follows_only_where_its_address_is_gone_and_its_flags_name_another() {
    let cases: &[(&str, &str, Addresses<'_>, &str)] = &[
        ("eth0", WAS, &[("eth0", WAS)], "Rest"),
        ("eth0", WAS, &[("eth0", NEW), ("eth0", WAS)], "Rest"),
        // As when the link becomes a port of a bridge, which takes over its address.
        ("eth0", WAS, &[("br0", WAS)], "Rest"),
        ("eth0", WAS, &[("eth0", NEW)], "192.0.2.7"),
        (
            "eth0:7777",
            WAS,
            &[("eth0", "198.51.100.7/24")],
            "198.51.100.7",
        ),
        ("", WAS, &[("eth0", NEW)], "192.0.2.7"),
        // The cable of the one is out, and the default route leads by another meanwhile.
        ("", WAS, &[("eth1", NEW)], "Again"),
        // What comes in its place may come later, and without another address.
        ("eth0", WAS, &[("eth1", NEW)], "Again"),
        ("eth0", WAS, &[("eth0", "169.254.0.7/16")], "Again"),
        ("eth0", WAS, &[], "Again"),
        ("", WAS, &[], "Again"),
        // The others could not reach that.
        ("eth0", WAS, &[("eth0", "2001:db8::7/64")], "Again"),
        ("eth0", "2001:db8::1/64", &[("eth0", NEW)], "Again"),
        (
            "eth0",
            "2001:db8::1/64",
            &[("eth0", "2001:db8::7/64")],
            "2001:db8::7",
        ),
        // A start would take that one, which is no successor.
        (
            "eth0",
            "2001:db8::1/64",
            &[("eth0", "2001:db8::7/64"), ("eth0", NEW)],
            "Again",
        ),
        // Somebody said by which one.
        ("192.0.2.1", WAS, &[("eth0", NEW)], "Rest"),
    ];
    for (advertise, was, addresses, expected) in cases {
        let last = Watched::of(advertise, was).looks(6, &facts(addresses));
        assert_eq!(last, *expected, "{advertise:?} with {addresses:?}");
    }
}

#[test]
fn it_follows_what_five_more_looks_in_a_row_have_found() {
    let (old, new) = (facts(&[("eth0", WAS)]), facts(&[("eth0", NEW)]));
    let (none, other) = (facts(&[]), facts(&[("eth0", "192.0.2.8/24")]));
    let mut host = Watched::of("eth0", WAS);
    assert_eq!(host.looks(5, &new), "Again");
    assert_eq!(host.looks(1, &new), "192.0.2.7");
    // Each of these begins the row again: the old one is back, there is none, there is another.
    for (between, expected) in [(&old, "Rest"), (&none, "Again"), (&other, "Again")] {
        let mut host = Watched::of("eth0", WAS);
        assert_eq!(host.looks(5, &new), "Again");
        assert_eq!(host.looks(1, between), expected);
        assert_eq!(host.looks(5, &new), "Again");
        assert_eq!(host.looks(1, &new), "192.0.2.7");
    }
}

#[test]
fn looks_count_once_a_second_and_one_by_one() {
    let new = facts(&[("eth0", NEW)]);
    let mut host = Watched::of("eth0", WAS);
    // Other addresses of the host come and go.
    for _ in 0..49 {
        assert_eq!(host.after(100, &new), "Again");
    }
    // The machine stood still.
    let mut host = Watched::of("eth0", WAS);
    host.after(0, &new);
    assert_eq!(host.after(60_000, &new), "Again");
    assert_eq!(host.looks(3, &new), "Again");
    assert_eq!(host.looks(1, &new), "192.0.2.7");
}

#[test]
fn an_address_that_passes_is_not_followed_until_it_lasts() {
    let new = "2001:db8::7/64";
    let lasting = facts(&[("eth0", new)]);
    let passing = HostFacts {
        passing: ["2001:db8::7".parse::<IpAddr>().unwrap()].into(),
        ..lasting.clone()
    };
    let mut host = Watched::of("eth0", "2001:db8::1/64");
    assert_eq!(host.looks(10, &passing), "Again");
    assert_eq!(host.looks(5, &lasting), "Again");
    assert_eq!(host.looks(1, &lasting), "2001:db8::7");
}

#[test]
fn one_that_stays_looks_anew_and_tells_once() {
    let new = facts(&[("eth0", NEW)]);
    let mut host = Watched::of("eth0", WAS);
    host.looks(5, &new);
    host.now += LOOK;
    let Look::Follow(next) = host.reached.look(&new, host.now) else {
        panic!("it is time");
    };
    host.reached.stay(&next, "as".to_owned());
    assert_eq!(host.reached.told.as_deref(), Some("as"));
    assert_eq!(host.looks(5, &new), "Again");
    assert_eq!(host.looks(1, &new), "192.0.2.7");
    // What was told is told again where it happens again.
    assert_eq!(host.looks(1, &facts(&[("eth0", WAS)])), "Rest");
    assert_eq!(host.reached.told, None);
}

#[test]
fn a_trial_that_does_not_end_is_ended_and_told_from_one_that_fails() {
    let say = |script: &str, patience| {
        let mut command = Command::new("sh");
        command.args(["-c", script]).stderr(Stdio::piped());
        outcome(&mut command, patience).map_err(|error| error.to_string())
    };
    let long = Duration::from_secs(60);
    assert_eq!(say("exit 0", long), Ok(()));
    let failed = say("echo bad flag >&2; exit 3", long).unwrap_err();
    assert!(
        failed.contains('3') && failed.ends_with("bad flag"),
        "{failed}"
    );
    let start = Instant::now();
    let hung = say("exec sleep 1000", Duration::from_millis(200)).unwrap_err();
    assert!(hung.contains("did not end"), "{hung}");
    assert!(start.elapsed() < long);
    let none = outcome(&mut Command::new("/nowhere"), long).unwrap_err();
    assert!(!is_for_want_of_room(&none));
    for number in [libc::EAGAIN, libc::ENOMEM, libc::EMFILE] {
        assert!(is_for_want_of_room(&io::Error::from_raw_os_error(number)));
    }
}

#[test]
fn who_takes_its_place_is_told_what_to_go_on_with() {
    let reached = reached("eth0", WAS);
    let next = reached.cluster.underlay(&facts(&[("eth0", NEW)])).unwrap();
    let command = this_to_go_on_with(&next);
    let (name, value) = begun::variable(&next);
    let told: Vec<_> = command.get_envs().collect();
    assert_eq!(told, [(name.as_ref(), Some(value.as_ref()))]);
}

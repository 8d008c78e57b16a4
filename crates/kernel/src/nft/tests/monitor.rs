//! What others change is told, and what we change is not.

use super::super::{Change, Changed, Monitor, Nft};
use super::{Ns, published, spec};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::time::{Duration, Instant};
use vw_firewall::port;

const SOON: Option<Duration> = Some(Duration::from_millis(150));

#[test]
fn tells_what_others_change() {
    let Some(ns) = Ns::new() else { return };
    let (mut nft, mut monitor) = ns.run(|| (Nft::open().unwrap(), Monitor::open().unwrap()));
    monitor.ignore(nft.port().unwrap());
    nft.ensure(&spec()).unwrap();
    let elements = port(&published("0.0.0.0:80", "10.1.0.2:80")).unwrap();
    let opened: Vec<Change<'_>> = elements.iter().map(Change::Add).collect();
    nft.change(&opened).unwrap();
    // The kernel tells before it answers, so what it passed on is there.
    let mut told = [PollFd::new(&monitor, PollFlags::IN)];
    let ready = poll(&mut told, Some(&Timespec::default())).unwrap();
    assert_eq!(ready, 0, "our own changes wake the listener");
    let (none, ours) = (
        Changed::default(),
        Changed {
            ours: true,
            foreign: false,
        },
    );
    let foreign = Changed {
        ours: false,
        foreign: true,
    };
    let table = [
        ("true", none),
        ("nft add rule inet vethwork user drop", none),
        ("nft add table inet other", none),
        (
            "nft 'add chain inet other forward { type filter hook forward priority 0; policy drop; }'",
            foreign,
        ),
        ("nft add rule inet other forward counter", none),
        ("nft delete table inet other", foreign),
        ("nft insert rule inet vethwork to_nat accept", ours),
        ("nft flush map inet vethwork ports_any4", ours),
        ("nft add table ip6 vethwork", ours),
        ("nft add table ip vethwork", none),
        ("nft flush chain inet vethwork user", none),
    ];
    for (script, expected) in table {
        ns.sh(script);
        assert_eq!(monitor.next(SOON).unwrap(), expected, "{script}");
    }
    nft.ensure(&spec()).unwrap();
    ns.sh("nft flush ruleset");
    let start = Instant::now();
    assert!(monitor.next(SOON).unwrap().ours);
    nft.ensure(&spec()).unwrap();
    nft.change(&opened).unwrap();
    println!("mended after a flush: {:?}", start.elapsed());
    assert_eq!(nft.elements().unwrap(), elements);
    assert_eq!(monitor.next(SOON).unwrap(), none);
}

//! What tables and elements cost: printed, not judged.

use super::super::{Change, Nft};
use super::{Ns, bridge, published, spec};
use std::time::Instant;
use vw_firewall::{Element, network, port};

const MANY: u16 = 10_000;

/// Prints what things cost; asserts only that ten thousand elements come and go whole.
#[test]
fn ten_thousand_ports() {
    let Some(ns) = Ns::new() else { return };
    let mut nft = ns.run(|| Nft::open().unwrap());
    timed("create table", 1, || nft.ensure(&spec()).unwrap());
    timed("check table", 1, || nft.check(&spec()).unwrap());
    let at = |number: u16| {
        let target = format!("10.1.{}.{}:80", number >> 8, number & 0xff);
        port(&published(&format!("0.0.0.0:{number}"), &target)).unwrap()
    };
    let mut many: Vec<Element> = (1..=MANY).flat_map(at).collect();
    // Set by set, as in a plan.
    many.sort();
    one_by_one(&mut nft, "of none", MANY + 1);
    let add: Vec<Change<'_>> = many.iter().map(Change::Add).collect();
    timed("add 10,000", 1, || nft.change(&add).unwrap());
    one_by_one(&mut nft, "of 10,000", MANY + 1);
    let found = timed("read 10,000", 1, || nft.elements().unwrap());
    assert_eq!(found.len(), many.len());
    let remove: Vec<Change<'_>> = many.iter().map(Change::Remove).collect();
    timed("remove 10,000", 1, || nft.change(&remove).unwrap());
    assert_eq!(nft.elements().unwrap(), []);
    timed("remove 10,000 that are gone", 1, || {
        nft.change(&remove).unwrap();
    });
    let networks: Vec<Vec<Element>> = (0..1000)
        .map(|number| network(&bridge(&format!("vw-{number}"))))
        .collect();
    for number in [0, 999] {
        let changes: Vec<Change<'_>> = networks[number].iter().map(Change::Add).collect();
        timed(&format!("add network {number}"), 1, || {
            nft.change(&changes).unwrap()
        });
        if number == 0 {
            let rest = networks[1..999].iter().flatten();
            nft.change(&rest.map(Change::Add).collect::<Vec<_>>())
                .unwrap();
        }
    }
}

fn one_by_one(nft: &mut Nft, what: &str, first: u16) {
    const COUNT: u16 = 200;
    let fresh: Vec<Vec<Element>> = (first..first + COUNT)
        .map(|number| port(&published(&format!("0.0.0.0:{number}"), "10.9.9.9:1")).unwrap())
        .collect();
    timed(&format!("add one {what}"), COUNT, || {
        for elements in &fresh {
            let changes: Vec<Change<'_>> = elements.iter().map(Change::Add).collect();
            nft.change(&changes).unwrap();
        }
    });
    timed(&format!("remove one {what}"), COUNT, || {
        for elements in &fresh {
            let changes: Vec<Change<'_>> = elements.iter().map(Change::Remove).collect();
            nft.change(&changes).unwrap();
        }
    });
}

fn timed<T>(what: &str, count: u16, f: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let result = f();
    println!("{what}: {:?}", start.elapsed() / u32::from(count));
    result
}

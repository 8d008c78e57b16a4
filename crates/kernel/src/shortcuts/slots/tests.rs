//! Addresses that lie in one bucket, and how many of many find room.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

/// A tunnel's index.
const TUNNEL: u32 = TUNNEL_INDEX | 4_711;

fn table() -> Vec<AtomicU64> {
    (0..SLOTS).map(|_| AtomicU64::new(0)).collect()
}

fn entry(mac: MacAddr, station: Station, index: u32) -> Entry {
    Entry {
        mac,
        station,
        index,
    }
}

/// As vethwork gives addresses out: by the one of IPv4.
fn given(number: u32) -> MacAddr {
    let [a, b, c, d] = (0x0a00_0002 + number).to_be_bytes();
    MacAddr([0x02, 0x42, a, b, c, d])
}

/// By chance, the same ones each time.
fn by_chance(number: u32) -> MacAddr {
    let mut mixed = u64::from(number + 1).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    for factor in [0x94d0_49bb_1331_11eb, 0xd6e8_feb8_6659_fd93] {
        mixed = (mixed ^ mixed >> 29).wrapping_mul(factor);
    }
    let [a, b, c, d, e, f, ..] = mixed.to_be_bytes();
    MacAddr([a & 0xfe | 2, b, c, d, e, f])
}

/// So many that lie in one bucket.
fn in_one_bucket(count: usize) -> Vec<MacAddr> {
    let all = (0..).map(by_chance);
    let same = all.filter(|mac| bucket(*mac) == bucket(given(0)));
    same.take(count).collect()
}

/// What the program finds: the first one in the bucket.
fn led(slots: Slots<'_>, mac: MacAddr) -> Option<(Station, u32)> {
    let words = slots.bucket(mac).iter().map(read);
    let mut words = words.filter(|word| (word ^ rest(mac)) < LINK_END.into());
    words.next().map(link)
}

#[test]
fn few_of_many_stations_find_no_room() {
    let left_out = |count: u32, mac: fn(u32) -> MacAddr| {
        let memory = table();
        let slots = Slots(&memory);
        (0..count).for_each(|number| slots.put(&entry(mac(number), Station::Elsewhere, TUNNEL)));
        count as usize - slots.entries().len()
    };
    for (count, most) in [(1_000, 0), (10_000, 10), (16_384, 164)] {
        assert_eq!(left_out(count, given), 0, "{count} given ones");
        let missing = left_out(count, by_chance);
        assert!(missing <= most, "{missing} of {count} by chance");
    }
}

#[test]
fn a_full_bucket_takes_no_more_until_one_goes() {
    let memory = table();
    let slots = Slots(&memory);
    let macs = in_one_bucket(DEPTH + 1);
    for mac in &macs {
        slots.put(&entry(*mac, Station::Elsewhere, TUNNEL));
    }
    let entries = slots.entries();
    let held: Vec<MacAddr> = entries.iter().map(|entry| entry.mac).collect();
    assert_eq!(held, macs[..DEPTH]);
    let one_more = entry(macs[DEPTH], Station::Elsewhere, TUNNEL);
    let left_out = |stays: fn(&Entry) -> bool| leaves_out(&one_more, &slots.entries(), stays);
    assert!(left_out(|_| true));
    // Also where one is about to go.
    assert!(!left_out(|entry| entry.mac != in_one_bucket(4)[3]));
    slots.remove(macs[3], Station::Elsewhere);
    assert!(!left_out(|_| true));
    assert_eq!(led(slots, macs[3]), None);
    assert_eq!(led(slots, macs[7]), Some((Station::Elsewhere, TUNNEL)));
    slots.put(&entry(macs[DEPTH], Station::Here, 9));
    assert_eq!(led(slots, macs[DEPTH]), Some((Station::Here, 9)));
}

#[test]
fn who_is_here_is_not_led_elsewhere_also_where_there_is_no_room_for_both() {
    let memory = table();
    let slots = Slots(&memory);
    let macs = in_one_bucket(DEPTH);
    for mac in &macs {
        slots.put(&entry(*mac, Station::Elsewhere, TUNNEL));
    }
    let (here, elsewhere) = (
        entry(macs[2], Station::Here, 9),
        entry(macs[2], Station::Elsewhere, TUNNEL),
    );
    let left_out = |one| leaves_out(one, &slots.entries(), |_| true);
    assert!(!left_out(&here));
    slots.put(&here);
    assert_eq!(led(slots, macs[2]), Some((Station::Here, 9)));
    assert!(left_out(&elsewhere));
    slots.put(&elsewhere);
    assert_eq!(led(slots, macs[2]), Some((Station::Here, 9)));
}

#[test]
fn a_link_that_no_slot_can_tell_has_no_entry() {
    let memory = table();
    let slots = Slots(&memory);
    let mac = given(1);
    slots.put(&entry(mac, Station::Here, ELSEWHERE - 1));
    assert_eq!(slots.link_to(mac, Station::Here), Some(ELSEWHERE - 1));
    let beyond = entry(mac, Station::Here, ELSEWHERE);
    assert!(leaves_out(&beyond, &[], |_| true));
    slots.put(&beyond);
    slots.put(&entry(mac, Station::Elsewhere, 7));
    assert_eq!(slots.entries(), []);
}

/// A step: one of a few addresses, its side, and the link that it leads to or none.
fn steps() -> impl Strategy<Value = Vec<(usize, bool, Option<u32>)>> {
    let step = (0..4_usize, any::<bool>(), prop::option::of(1..1_u32 << 24));
    prop::collection::vec(step, 0..40)
}

proptest! {
    #[test]
    fn what_was_put_is_what_is_told_and_who_is_here_comes_first(steps in steps()) {
        let memory = table();
        let slots = Slots(&memory);
        // Four on both sides fill a bucket.
        let macs = in_one_bucket(4);
        let mut wanted = BTreeMap::new();
        for (at, here, index) in steps {
            let station = if here { Station::Here } else { Station::Elsewhere };
            let index = match station {
                Station::Here => index,
                Station::Elsewhere => index.map(|index| TUNNEL_INDEX | index),
            };
            match index {
                Some(index) => {
                    slots.put(&entry(macs[at], station, index));
                    wanted.insert((macs[at], station), index);
                }
                None => {
                    slots.remove(macs[at], station);
                    wanted.remove(&(macs[at], station));
                }
            }
            let told = slots.entries().into_iter();
            let told = told.map(|entry| ((entry.mac, entry.station), entry.index));
            prop_assert_eq!(told.collect::<BTreeMap<_, _>>(), wanted.clone());
            for mac in &macs {
                let sides = [Station::Here, Station::Elsewhere];
                let first = sides.into_iter().find_map(|station| {
                    wanted.get(&(*mac, station)).map(|index| (station, *index))
                });
                prop_assert_eq!(led(slots, *mac), first);
            }
        }
    }
}

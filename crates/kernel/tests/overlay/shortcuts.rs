//! Frames that pass a network's bridge by, and those that must not.
//!
//! A bridge that is down forwards nothing: what is reached then is reached by a shortcut.

use crate::{
    cluster::{Cluster, Station, Underlay, station},
    reaches,
};
use std::time::Duration;
use vw_hoststate::{Key, Step};
use vw_model::MacAddr;
use vw_testkit::{Host, eventually, require_root, traffic};

/// Whether this kernel has them; else says what it lacks.
macro_rules! require_shortcuts {
    () => {
        require_root!();
        let cannot = crate::cluster::no_shortcuts();
        vw_testkit::require!(
            cannot.is_none(),
            "the kernel has no shortcuts: {}",
            cannot.unwrap_or_default()
        );
    };
}

/// Puts down the network's bridge on a host.
fn without_bridge(inside: &Host) {
    inside.ip("link set br0 down");
}

/// Takes away what looks at frames as they come in, from every link.
fn bare(inside: &Host) {
    let links = inside.sh("tc qdisc show | awk '$2 == \"ingress\" { print $5 }'");
    for link in links.ok().split_whitespace() {
        inside
            .sh(&format!("tc qdisc del dev {link} ingress"))
            .must();
    }
}

/// Who asks for an address is answered by the bridge and its ports.
fn acquainted(from: &Host, number: usize) {
    reaches(from, &station(number).v4());
    reaches(from, &station(number).v6());
}

/// How many frames a link has taken in.
fn received_by(host: &Host, link: &str) -> u64 {
    let shown = host.ip(&format!("-s link show {link}"));
    let numbers = shown
        .split("RX:")
        .nth(1)
        .and_then(|text| text.lines().nth(1));
    let packets = numbers.and_then(|line| line.split_whitespace().nth(1));
    packets.and_then(|text| text.parse().ok()).expect("a count")
}

fn talk(from: &Host, to: &Host, number: usize) {
    for addr in [station(number).v4(), format!("[{}]", station(number).v6())] {
        let ping = addr.trim_matches(['[', ']']);
        assert!(traffic::ping(from, ping), "{addr} by ICMP");
        let server = traffic::Server::tcp(to, "far", &format!("{addr}:0"));
        let target = server.address().to_string();
        let mut talk = traffic::Conversation::open(from, &target).expect("it answers by TCP");
        talk.say(&"x".repeat(200_000)).expect("it echoes much");
        let server = traffic::Server::udp(to, "far", &format!("{addr}:0"));
        let target = server.address().to_string();
        traffic::udp(from, &target).expect("it answers by UDP");
    }
}

fn pass_by(underlay: Underlay) {
    let cluster = Cluster::new(2, underlay, &[]);
    let beside = cluster.add(7, 0);
    let (near, far) = (cluster.container(0), cluster.container(1));
    acquainted(near, 1);
    acquainted(near, 7);
    (0..2).for_each(|at| without_bridge(&cluster.inside(at)));
    talk(near, far, 1);
    talk(far, near, 0);
    talk(near, &beside, 7);
    bare(&cluster.inside(0));
    assert!(!traffic::ping(near, &station(1).v4()), "the bridge is down");
    assert!(!traffic::ping(near, &station(7).v4()), "the bridge is down");
}

#[test]
fn frames_pass_the_bridge_by() {
    require_shortcuts!();
    pass_by(Underlay::V4);
}

#[test]
fn frames_pass_the_bridge_by_over_ipv6() {
    require_shortcuts!();
    pass_by(Underlay::V6);
}

#[test]
fn what_comes_by_the_tunnel_never_leaves_by_it() {
    require_shortcuts!();
    let cluster = Cluster::new(3, Underlay::V4, &[]);
    acquainted(cluster.container(0), 2);
    // The first host takes the second one for that of the third's station.
    let (mac, second) = (station(2).mac, cluster.tunnel(1));
    let told = format!("bridge fdb replace {mac} dev vxlan0 dst {second} self");
    cluster.inside(0).sh(&told).must();
    for _ in 0..3 {
        assert!(!traffic::ping(cluster.container(0), &station(2).v4()));
    }
    let arrived = received_by(&cluster.inside(1), "vxlan0");
    assert!(arrived >= 3, "they came to the second host: {arrived}");
}

/// A frame to the sender's own address would come back to it.
#[test]
fn no_frame_comes_back_to_its_sender() {
    require_shortcuts!();
    let cluster = Cluster::new(2, Underlay::V4, &[]);
    let from = cluster.container(0);
    acquainted(from, 1);
    let mac = station(0).mac;
    from.ip(&format!("neigh replace 10.5.0.77 lladdr {mac} dev eth0"));
    let before = received_by(from, "eth0");
    for _ in 0..5 {
        assert!(!traffic::ping(from, "10.5.0.77"), "it is nobody");
    }
    assert_eq!(received_by(from, "eth0"), before);
}

#[test]
fn what_others_take_from_shortcuts_is_put_right() {
    require_shortcuts!();
    let cluster = Cluster::new(2, Underlay::V4, &[]);
    let member = &cluster.members()[0];
    let inside = cluster.inside(0);
    for broken in [
        "tc qdisc del dev vxlan0 ingress",
        "tc filter del block 30327",
        // One of another form in its place, without a table of ours: a former version's.
        "tc filter replace block 30327 protocol all pref 1 handle 1 bpf bytecode '1,6 0 0 4294967295,'",
        "tc qdisc del dev vw0000000000 ingress",
        "for dev in vxlan0 vw0000000000; do tc qdisc del dev $dev ingress; done",
        "ip link del vw0000000000",
    ] {
        acquainted(cluster.container(0), 1);
        inside.sh(broken).must();
        let steps = member.missing();
        let is_shortcut =
            |step: &Step| matches!(step.key(), Key::Shortcuts(..) | Key::Shortcut(..));
        assert!(steps.iter().any(is_shortcut), "{broken}: {steps:?}");
        member.repair(steps);
        assert_eq!(member.missing(), [], "{broken}");
        acquainted(cluster.container(0), 1);
        (0..2).for_each(|at| without_bridge(&cluster.inside(at)));
        let passes = || traffic::ping(cluster.container(0), &station(1).v4());
        assert!(passes(), "{broken}: it is whole again");
        (0..2).for_each(|at| drop(cluster.inside(at).ip("link set br0 up")));
    }
}

#[test]
fn what_others_put_on_a_link_stays() {
    require_shortcuts!();
    for link in ["vw0000000000", "vxlan0"] {
        let cluster = Cluster::new(2, Underlay::V4, &[]);
        let (member, inside) = (&cluster.members()[0], cluster.inside(0));
        inside
            .sh(&format!("tc qdisc del dev {link} ingress"))
            .must();
        inside.sh(&format!("tc qdisc add dev {link} clsact")).must();
        member.repair(member.missing());
        assert_eq!(member.missing(), [], "{link}");
        acquainted(cluster.container(0), 1);
        member.give_up_shortcuts();
        let shown = inside.sh("tc qdisc show").ok();
        assert_eq!(shown.matches("clsact").count(), 1, "{shown}");
        assert_eq!(shown.matches("ingress").count(), 0, "{shown}");
        acquainted(cluster.container(0), 1);
    }
}

/// The bucket of an address, as `src/shortcuts/slots.rs` has it.
fn bucket(mac: MacAddr) -> u64 {
    let [a, b, c, d, e, f] = mac.0;
    let (low, high) = (u32::from_ne_bytes([a, b, c, d]), u16::from_ne_bytes([e, f]));
    let number = u64::from(low) | u64::from(high) << 32;
    number.wrapping_mul(0x9e37_79b9_7f4a_7c15 << 16) >> 52
}

/// Stations elsewhere whose addresses lie in the bucket of another's.
fn beside(mac: MacAddr, count: usize) -> Vec<Station> {
    let all = (0..=u32::MAX).map(|number| {
        let [a, b, c, d] = number.to_be_bytes();
        MacAddr([0x06, 0, a, b, c, d])
    });
    let same = all
        .filter(|other| bucket(*other) == bucket(mac))
        .take(count);
    let numbered = (100..).zip(same);
    let stations = numbered.map(|(number, mac)| station(number).with_mac(mac));
    stations.collect()
}

#[test]
fn who_finds_no_room_goes_by_the_bridge_until_one_goes() {
    require_shortcuts!();
    let cluster = Cluster::new(2, Underlay::V4, &[]);
    let (member, inside) = (&cluster.members()[0], cluster.inside(0));
    let near = cluster.container(0);
    // All that its bucket takes.
    let others = beside(station(7).mac, 8);
    let hear = |others: &[Station], other| {
        others.iter().for_each(|one| cluster.hear(0, one, other));
    };
    hear(&others, Some(1));
    let late = cluster.add(7, 0);
    assert_eq!(member.missing(), [], "it is left out on purpose");
    acquainted(near, 7);
    talk(near, &late, 7);
    without_bridge(&inside);
    assert!(!traffic::ping(near, &station(7).v4()), "by no other way");
    inside.ip("link set br0 up");

    hear(&others[3..4], None);
    let steps = member.missing();
    let is_late =
        |step: &Step| matches!(step.key(), Key::Shortcut(_, mac, _) if mac == station(7).mac);
    assert!(steps.len() == 1 && steps.iter().all(is_late), "{steps:?}");
    member.repair(steps);
    assert_eq!(member.missing(), []);
    without_bridge(&inside);
    talk(near, &late, 7);

    // The others go before it and behind it, and it stays.
    hear(&others[..3], None);
    talk(near, &late, 7);
    hear(&others[4..], None);
    talk(near, &late, 7);
    inside.ip("link set br0 up");
    assert_eq!(member.missing(), []);
}

/// A system call with this number in that place, from 0.
type Call = (libc::c_long, u32, u32);

/// Calls without which there is no table, none to write in, and no program.
const CALLS: [(&str, Call); 3] = [
    ("BPF_MAP_CREATE", (libc::SYS_bpf, 0, 0)),
    ("BPF_PROG_LOAD", (libc::SYS_bpf, 0, 5)),
    ("mmap", (libc::SYS_mmap, 3, libc::MAP_SHARED as u32)),
];

/// Does something by a thread to which the kernel refuses a call, as one does that has no memory for it,
/// or counts it as locked memory of which there is too little.
fn without<T: Send>(call: Call, work: impl FnOnce() -> T + Send) -> T {
    let (number, place, value) = call;
    let then = |code: u32, jt, jf, k| libc::sock_filter {
        code: code as u16,
        jt,
        jf,
        k,
    };
    let load = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
    let equal = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
    let answer = libc::BPF_RET | libc::BPF_K;
    std::thread::scope(|scope| {
        let refused = scope.spawn(|| {
            // The call's number, and the lower half of that argument (`struct seccomp_data`).
            let first = if cfg!(target_endian = "big") { 20 } else { 16 };
            let mut rules = [
                then(load, 0, 0, 0),
                then(equal, 0, 3, number as u32),
                then(load, 0, 0, first + 8 * place),
                then(equal, 0, 1, value),
                then(answer, 0, 0, libc::SECCOMP_RET_ERRNO | libc::EPERM as u32),
                then(answer, 0, 0, libc::SECCOMP_RET_ALLOW),
            ];
            let filter = libc::sock_fprog {
                len: rules.len() as u16,
                filter: rules.as_mut_ptr(),
            };
            // SAFETY: it takes numbers alone.
            let set = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
            assert_eq!(set, 0);
            let at = &raw const filter;
            // SAFETY: the filter and its rules outlive the call, which copies them.
            let set = unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, at) };
            assert_eq!(set, 0);
            work()
        });
        refused.join().expect("nothing fails for it")
    })
}

#[test]
fn what_the_kernel_does_not_take_of_them_goes_by_the_bridge_until_it_does() {
    require_shortcuts!();
    for (name, call) in CALLS {
        let cluster = Cluster::new(2, Underlay::V4, &[]);
        let (member, inside) = (&cluster.members()[0], cluster.inside(0));
        member.give_up_shortcuts();
        without(call, || member.repair(member.missing()));
        let left = member.missing();
        assert!(!left.is_empty(), "{name}: it is tried again");
        let placed = cluster.placed(7, 0);
        without(call, || member.want(placed));
        let beside = cluster.sandbox(0, &station(7));
        let near = cluster.container(0);
        acquainted(near, 7);
        acquainted(near, 1);
        talk(near, &beside, 7);
        without_bridge(&inside);
        assert!(
            !traffic::ping(near, &station(1).v4()),
            "{name}: by no other way"
        );
        member.repair(member.missing());
        assert_eq!(member.missing(), [], "{name}");
        talk(near, &beside, 7);
        talk(near, cluster.container(1), 1);
    }
}

/// One that a container made, such as a macvlan: the bridge alone knows where it is.
#[test]
fn who_is_in_no_entry_is_not_forgotten_by_the_bridge_as_long_as_he_sends() {
    require_shortcuts!();
    let cluster = Cluster::new(1, Underlay::V4, &[]);
    let (beside, third) = (cluster.add(7, 0), cluster.add(8, 0));
    let inside = cluster.inside(0);
    // In hundredths of a second.
    inside.ip("link set br0 type bridge ageing_time 100");
    let made = cluster.container(0);
    let mac = "02:42:0a:05:00:63";
    made.ip(&format!(
        "link add made link eth0 address {mac} type macvlan mode bridge"
    ));
    made.ip("link set made up");
    made.ip("addr add 10.5.0.99/32 dev made");
    let known = |of: &Host, link: &str, addr: &str, mac: &str| {
        of.ip(&format!(
            "neigh replace {addr} lladdr {mac} nud permanent dev {link}"
        ));
    };
    let to = station(7);
    known(made, "made", &to.v4(), &to.mac.to_string());
    known(&beside, "eth0", "10.5.0.99", mac);
    made.ip(&format!("route add {} dev made src 10.5.0.99", to.v4()));
    beside.ip("route replace 10.5.0.99 dev eth0");
    let ping = |count: u32| {
        let line = format!("busybox ping -c {count} -i 0.2 -I 10.5.0.99 {}", to.v4());
        made.sh(&line).must();
    };
    // For longer than the bridge remembers.
    ping(20);
    let before = received_by(&third, "eth0");
    ping(10);
    let flooded = received_by(&third, "eth0") - before;
    assert!(
        flooded < 5,
        "{flooded} frames came to who has no part in it"
    );
}

/// A host whose kernel has them next to one that has not.
#[test]
fn a_host_with_them_and_one_without_talk() {
    require_shortcuts!();
    let cluster = Cluster::new(2, Underlay::V4, &[]);
    cluster.members()[1].give_up_shortcuts();
    let shown = cluster.inside(1).sh("tc qdisc show").ok();
    assert!(!shown.contains("ingress"), "{shown}");
    acquainted(cluster.container(0), 1);
    without_bridge(&cluster.inside(0));
    talk(cluster.container(0), cluster.container(1), 1);
    talk(cluster.container(1), cluster.container(0), 0);
    without_bridge(&cluster.inside(1));
    eventually("nothing passes", Duration::from_secs(10), || {
        !traffic::ping(cluster.container(0), &station(1).v4())
    });
}

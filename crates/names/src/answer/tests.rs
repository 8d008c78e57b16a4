//! What is promised of answers to queries, on examples.

use crate::{
    Link, Policy, Query, Rng, Transport, Upstream, Vantage, Verdict, View, answer,
    testing::{ask, ask_class, ask_edns, endpoint, respond, respond_by, zone},
};
use domain::base::iana::Class;
use expect_test::{Expect, expect};
use proptest::prelude::*;
use std::collections::BTreeSet;

fn policy() -> Policy {
    Policy {
        upstreams: vec![Upstream::new("192.0.2.53".parse().unwrap(), Vantage::Host)],
        external: true,
        hold_single_labels: false,
    }
}

fn view() -> View {
    let zone = zone(&[
        endpoint(1, "web", &["www", "all"], &["172.18.0.2", "fd00:18::2"]),
        endpoint(2, "db_1", &["all"], &["172.18.0.3"]),
    ]);
    View::new(vec![zone], &[], &policy())
}

fn check(name: &str, qtype: &str, want: Expect) {
    want.assert_eq(&respond(&view(), &ask(name, qtype), Transport::Udp));
}

#[test]
fn addresses_by_every_name() {
    check(
        "web.",
        "A",
        expect![[r#"
        NOERROR qr rd ra
        ? web A
        = web 5 A 172.18.0.2
    "#]],
    );
    for name in [
        "web",
        "web.mynet.",
        "www",
        "www.mynet",
        "010101010101",
        "010101010101.mynet",
    ] {
        let reply = respond(&view(), &ask(name, "A"), Transport::Udp);
        assert!(reply.contains("A 172.18.0.2"), "{name}: {reply}");
    }
    check(
        "web",
        "AAAA",
        expect![[r#"
        NOERROR qr rd ra
        ? web AAAA
        = web 5 AAAA fd00:18::2
    "#]],
    );
    check(
        "all",
        "A",
        expect![[r#"
        NOERROR qr rd ra
        ? all A
        = all 5 A 172.18.0.3
        = all 5 A 172.18.0.2
    "#]],
    );
}

#[test]
fn the_case_of_the_question_comes_back() {
    check(
        "WeB.MyNet",
        "A",
        expect![[r#"
        NOERROR qr rd ra
        ? WeB.MyNet A
        = WeB.MyNet 5 A 172.18.0.2
    "#]],
    );
}

#[test]
fn a_known_name_never_leaves() {
    check(
        "db_1",
        "AAAA",
        expect![[r#"
        NOERROR qr rd ra
        ? db_1 AAAA
    "#]],
    );
    for qtype in ["MX", "TXT", "HTTPS", "SRV", "PTR", "CNAME", "NS", "DS"] {
        let reply = respond(&view(), &ask("web", qtype), Transport::Udp);
        assert!(
            reply.starts_with("NOERROR") && !reply.contains('='),
            "{qtype}: {reply}"
        );
    }
}

#[test]
fn others_are_passed_on() {
    for (name, qtype) in [
        ("example.com", "A"),
        ("web.example.com", "A"),
        ("foo.web", "A"),
        ("localhost", "A"),
        (".", "NS"),
        ("5.0.168.192.in-addr.arpa", "PTR"),
        ("_http._tcp.example.com", "SRV"),
    ] {
        let reply = respond(&view(), &ask(name, qtype), Transport::Udp);
        assert_eq!(reply, "forward\n", "{name} {qtype}");
    }
}

#[test]
fn any_gets_what_there_is() {
    check(
        "web",
        "ANY",
        expect![[r#"
        NOERROR qr rd ra
        ? web ANY
        = web 5 A 172.18.0.2
        = web 5 AAAA fd00:18::2
    "#]],
    );
}

#[test]
fn reverse_names() {
    check(
        "2.0.18.172.in-addr.arpa",
        "PTR",
        expect![[r#"
        NOERROR qr rd ra
        ? 2.0.18.172.in-addr.arpa PTR
        = 2.0.18.172.in-addr.arpa 5 PTR web.mynet.
    "#]],
    );
    let v6 = "2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.1.0.0.0.0.d.f.ip6.arpa";
    check(
        v6,
        "PTR",
        expect![[r#"
        NOERROR qr rd ra
        ? 2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.1.0.0.0.0.d.f.ip6.arpa PTR
        = 2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.1.0.0.0.0.d.f.ip6.arpa 5 PTR web.mynet.
    "#]],
    );
    // Ours, and nobody has it.
    check(
        "77.0.18.172.in-addr.arpa",
        "PTR",
        expect![[r#"
        NXDOMAIN qr rd ra
        ? 77.0.18.172.in-addr.arpa PTR
    "#]],
    );
    check(
        "2.0.18.172.in-addr.arpa",
        "A",
        expect![[r#"
        NOERROR qr rd ra
        ? 2.0.18.172.in-addr.arpa A
    "#]],
    );
    // No whole address.
    check("0.18.172.in-addr.arpa", "SOA", expect![["forward\n"]]);
    check("02.0.18.172.in-addr.arpa", "PTR", expect![["forward\n"]]);
}

#[test]
fn services() {
    check(
        "_http._tcp.web",
        "SRV",
        expect![[r#"
        NOERROR qr rd ra
        ? _http._tcp.web SRV
        = _http._tcp.web 5 SRV 0 0 80 web.mynet
        + web.mynet 5 A 172.18.0.2
        + web.mynet 5 AAAA fd00:18::2
    "#]],
    );
    check(
        "_53._udp.all",
        "SRV",
        expect![[r#"
        NOERROR qr rd ra
        ? _53._udp.all SRV
        = _53._udp.all 5 SRV 0 0 53 db_1.mynet
        = _53._udp.all 5 SRV 0 0 53 web.mynet
        + db_1.mynet 5 A 172.18.0.3
        + web.mynet 5 A 172.18.0.2
        + web.mynet 5 AAAA fd00:18::2
    "#]],
    );
    check(
        "_80._tcp.web",
        "A",
        expect![[r#"
        NOERROR qr rd ra
        ? _80._tcp.web A
    "#]],
    );
    check(
        "_81._tcp.web",
        "SRV",
        expect![[r#"
        NXDOMAIN qr rd ra
        ? _81._tcp.web SRV
    "#]],
    );
    check(
        "_http._udp.web.mynet",
        "SRV",
        expect![[r#"
        NXDOMAIN qr rd ra
        ? _http._udp.web.mynet SRV
    "#]],
    );
}

#[test]
fn edns_is_answered_in_kind() {
    let reply = |message: &[u8]| respond(&view(), message, Transport::Udp);
    expect![[r#"
        NOERROR qr rd ra
        ? web A
        = web 5 A 172.18.0.2
        + OPT 1232 do
    "#]]
    .assert_eq(&reply(&ask_edns("web", "A", 4096, true)));
    let mut newer = ask_edns("web", "A", 1232, false);
    let version = newer.len() - 5;
    newer[version] = 1;
    expect![[r#"
        BADVERS qr rd ra
        ? web A
        + OPT 1232
    "#]]
    .assert_eq(&reply(&newer));
    // A second OPT record.
    let mut two = ask_edns("web", "A", 1232, false);
    two.extend_from_within(two.len() - 11..);
    two[11] = 2;
    expect![[r#"
        FORMERR qr rd ra
    "#]]
    .assert_eq(&reply(&two));
}

#[test]
fn what_is_no_question_for_us() {
    let reply = |message: &[u8]| respond(&view(), message, Transport::Udp);
    let change = |at: usize, octet: u8| {
        let mut message = ask("web", "A");
        message[at] = octet;
        reply(&message)
    };
    expect![["REFUSED qr rd ra\n? version.bind TXT\n"]].assert_eq(&reply(&ask_class(
        "version.bind",
        "TXT",
        Class::CH,
    )));
    expect![["REFUSED qr rd ra\n? web AXFR\n"]].assert_eq(&reply(&ask("web", "AXFR")));
    // Opcode UPDATE; a reply; two questions; none; a pointer for a name; a cut message.
    expect![[r#"
        NOTIMP qr ra
    "#]]
    .assert_eq(&change(2, 0x28));
    expect![["drop\n"]].assert_eq(&change(2, 0x81));
    expect![[r#"
        FORMERR qr rd ra
    "#]]
    .assert_eq(&change(5, 2));
    expect![[r#"
        FORMERR qr rd ra
    "#]]
    .assert_eq(&change(5, 0));
    expect![[r#"
        FORMERR qr rd ra
    "#]]
    .assert_eq(&change(12, 0xc0));
    expect![[r#"
        FORMERR qr rd ra
    "#]]
    .assert_eq(&reply(&ask("web", "A")[..17]));
    expect![["drop\n"]].assert_eq(&reply(&ask("web", "A")[..11]));
}

#[test]
fn without_upstreams_the_rest_fails() {
    let zones = || vec![zone(&[endpoint(1, "web", &[], &["172.18.0.2"])])];
    let respond_with = |policy: &Policy| {
        respond(
            &View::new(zones(), &[], policy),
            &ask("example.com", "A"),
            Transport::Udp,
        )
    };
    let internal = Policy {
        external: false,
        ..policy()
    };
    expect![[r#"
        SERVFAIL qr rd ra
        ? example.com A
    "#]]
    .assert_eq(&respond_with(&internal));
    // A server that the user named is asked from inside, where it hears no more than the
    // sandbox could say itself.
    let mut named = internal;
    named.upstreams[0].from = Vantage::Sandbox;
    assert_eq!(respond_with(&named), "forward\n");
    // Ourselves are never asked.
    named.upstreams[0].server = "127.0.0.11".parse().unwrap();
    assert!(respond_with(&named).starts_with("SERVFAIL"));
    named.external = true;
    named.upstreams[0].from = Vantage::Host;
    assert_eq!(respond_with(&named), "forward\n");
}

#[test]
fn single_labels_can_be_held_back() {
    let policy = Policy {
        hold_single_labels: true,
        ..policy()
    };
    let view = View::new(vec![], &[], &policy);
    let reply = |name, qtype| respond(&view, &ask(name, qtype), Transport::Udp);
    expect![["NOERROR qr rd ra\n? elsewhere A\n"]].assert_eq(&reply("elsewhere", "A"));
    assert_eq!(reply("elsewhere", "MX"), "forward\n");
    assert_eq!(reply("elsewhere.example", "A"), "forward\n");
}

#[test]
fn links_and_the_order_of_zones() {
    let first = zone(&[endpoint(1, "web", &[], &["172.18.0.2"])]);
    let second = zone(&[
        endpoint(2, "web", &[], &["10.0.0.2", "fd00:18::9"]),
        endpoint(3, "db", &[], &["10.0.0.3"]),
    ]);
    let links = ["db:store", "nobody:gone", "bad..name:x", "db"].map(|text| Link::parse(text, 1));
    let view = View::new(vec![first.clone(), second], &links, &policy());
    let reply = |name, qtype| respond(&view, &ask(name, qtype), Transport::Udp);
    expect![[r#"
        NOERROR qr rd ra
        ? web A
        = web 5 A 172.18.0.2
    "#]]
    .assert_eq(&reply("web", "A"));
    expect![[r#"
        NOERROR qr rd ra
        ? web AAAA
        = web 5 AAAA fd00:18::9
    "#]]
    .assert_eq(&reply("web", "AAAA"));
    expect![[r#"
        NOERROR qr rd ra
        ? store A
        = store 5 A 10.0.0.3
    "#]]
    .assert_eq(&reply("store", "A"));
    expect![[r#"
        NOERROR qr rd ra
        ? store.mynet A
        = store.mynet 5 A 10.0.0.3
    "#]]
    .assert_eq(&reply("store.mynet", "A"));
    assert_eq!(reply("gone", "A"), "forward\n");
    assert_eq!(reply("x", "A"), "forward\n");
    // A change of a zone shows at once, without the view's doing.
    first.update(|zone| zone.with(&endpoint(4, "gone", &[], &["172.18.0.4"])));
    expect![[r#"
        NOERROR qr rd ra
        ? gone A
        = gone 5 A 172.18.0.4
    "#]]
    .assert_eq(&reply("gone", "A"));
}

#[test]
fn services_come_in_any_order_with_their_weights() {
    let mut light = endpoint(1, "light", &["all"], &[]);
    let mut heavy = endpoint(2, "heavy", &["all"], &[]);
    (light.weight, heavy.weight) = (1, 300);
    let view = View::new(vec![zone(&[light, heavy])], &[], &policy());
    let query = ask("_80._tcp.all", "SRV");
    let mut rng = Rng::new(1);
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..100 {
        seen.insert(respond_by(&view, &query, Transport::Udp, &mut rng));
    }
    let one = "= _80._tcp.all 5 SRV 0 1 80 light.mynet\n";
    let other = "= _80._tcp.all 5 SRV 0 300 80 heavy.mynet\n";
    let replies = [(one, other), (other, one)]
        .map(|(first, last)| format!("NOERROR qr rd ra\n? _80._tcp.all SRV\n{first}{last}"));
    assert_eq!(seen, replies.into());
    let mut member = endpoint(1, "member", &["all"], &[]);
    member.weight = 100;
    let beside = endpoint(2, "beside", &["all"], &[]);
    let view = View::new(vec![zone(&[member, beside])], &[], &policy());
    let reply = respond(&view, &query, Transport::Udp);
    assert_eq!(reply.matches("SRV 0 0 80").count(), 2, "{reply}");
}

/// Everything that answers to `all` on a crowded network.
fn crowd(count: u16) -> View {
    let many = zone(&[]);
    for i in 0..count {
        let mut names = endpoint(0, &format!("c{i}"), &["all"], &[]);
        let [high, low] = i.to_be_bytes();
        let mut id = [0; 32];
        id[..2].copy_from_slice(&[high, low]);
        names.endpoint = vw_model::EndpointId::from_bytes(id);
        names.addresses = vec![[10, 0, high, low].into()];
        many.update(|zone| zone.with(&names));
    }
    View::new(vec![many], &[], &policy())
}

#[test]
fn what_does_not_fit_is_cut_and_said_so() {
    let view = crowd(100);
    let count = |transport, query: &[u8]| {
        let reply = respond(&view, query, transport);
        (reply.matches("\n=").count(), reply.contains(" tc"))
    };
    assert_eq!(count(Transport::Udp, &ask("all", "A")), (30, true));
    assert_eq!(
        count(Transport::Udp, &ask_edns("all", "A", 1232, false)),
        (75, true)
    );
    assert_eq!(
        count(Transport::Udp, &ask_edns("all", "A", 4096, false)),
        (100, false)
    );
    assert_eq!(count(Transport::Tcp, &ask("all", "A")), (100, false));
    assert!(count(Transport::Udp, &ask("_80._tcp.all", "SRV")).1);
    // Another choice each time.
    let mut rng = Rng::new(1);
    let mut seen = BTreeSet::new();
    let message = ask("all", "A");
    let query = Query::parse(&message).unwrap();
    let mut out = Vec::new();
    for _ in 0..50 {
        answer(&view, &query, Transport::Udp, &mut rng, &mut out);
        seen.extend(
            out[21..]
                .chunks_exact(16)
                .map(|record| record[12..].to_vec()),
        );
    }
    assert_eq!(seen.len(), 100);
}

#[test]
fn every_order_is_as_likely() {
    let view = crowd(3);
    let message = ask("all", "A");
    let query = Query::parse(&message).unwrap();
    let (mut rng, mut out) = (Rng::new(3), Vec::new());
    let mut orders = std::collections::BTreeMap::<_, u32>::new();
    for _ in 0..6000 {
        answer(&view, &query, Transport::Udp, &mut rng, &mut out);
        let order: Vec<_> = out[21..]
            .chunks_exact(16)
            .map(|record| record[15])
            .collect();
        *orders.entry(order).or_default() += 1;
    }
    assert_eq!(orders.len(), 6);
    assert!(
        orders.values().all(|times| (850..1150).contains(times)),
        "{orders:?}"
    );
}

/// Checks what holds for every reply; `None` when none was made.
fn reply_holds(view: &View, message: &[u8], transport: Transport) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    match Query::parse(message) {
        Ok(query) => {
            let verdict = answer(view, &query, transport, &mut Rng::new(9), &mut out);
            if verdict == Verdict::Forward {
                return None;
            }
            assert!(out.len() <= query.limit(transport));
        }
        Err(malformed) => {
            if !malformed.reply(&mut out) {
                return None;
            }
            assert!(out.len() <= message.len());
        }
    }
    assert_eq!(out[..2], message[..2]);
    Some(out)
}

proptest! {
    #[test]
    fn any_octets_are_survived(message in proptest::collection::vec(any::<u8>(), 0..600)) {
        let view = view();
        if let Some(reply) = reply_holds(&view, &message, Transport::Udp) {
            crate::testing::dump(&reply);
        }
    }

    #[test]
    fn near_misses_are_survived(
        name in "[a-c_]{1,3}(\\.[a-c]{1,2}){0,3}|web|all|_80\\._tcp\\.all|2\\.0\\.18\\.172\\.in-addr\\.arpa",
        qtype in prop_oneof![Just("A"), Just("AAAA"), Just("PTR"), Just("SRV"), Just("ANY"), Just("MX")],
        size in any::<u16>(),
        edits in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 0..4),
        cut in any::<proptest::sample::Index>(),
        tcp in any::<bool>(),
    ) {
        let mut message = ask_edns(&name, qtype, size, size % 2 == 0);
        for (at, octet) in edits {
            let at = at.index(message.len());
            message[at] = octet;
        }
        if cut.index(4) == 0 {
            message.truncate(cut.index(message.len()));
        }
        let transport = if tcp { Transport::Tcp } else { Transport::Udp };
        if let Some(reply) = reply_holds(&view(), &message, transport) {
            crate::testing::dump(&reply);
        }
    }
}

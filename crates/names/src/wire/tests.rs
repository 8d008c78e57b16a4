//! What is promised of the wire format, on examples.

use super::{OUR_UDP_SIZE, Query, Response, Transport, Unfit};
use crate::testing::{ask, ask_edns, dump};
use domain::{
    base::{Message, MessageBuilder, Name, Ttl, iana::Rcode},
    rdata::{A, Soa},
};
use expect_test::expect;
use proptest::prelude::*;

fn name(text: &str) -> Name<Vec<u8>> {
    text.parse().unwrap()
}

/// An upstream's reply to `query`: addresses with TTLs, a SOA with (TTL, minimum).
fn upstream(query: &[u8], rcode: Rcode, addresses: &[u32], soa: Option<(u32, u32)>) -> Vec<u8> {
    let query = Message::from_octets(query.to_vec()).unwrap();
    let builder = MessageBuilder::from_target(
        domain::base::message_builder::StaticCompressor::new(Vec::new()),
    )
    .unwrap();
    let mut answer = builder.start_answer(&query, rcode).unwrap();
    let owner = query.sole_question().unwrap();
    for (i, ttl) in addresses.iter().enumerate() {
        let addr = A::from_octets(192, 0, 2, i as u8);
        answer
            .push((owner.qname(), Ttl::from_secs(*ttl), addr))
            .unwrap();
    }
    let mut authority = answer.authority();
    if let Some((ttl, minimum)) = soa {
        let times = [1, 2, 3].map(Ttl::from_secs);
        let soa = Soa::new(
            name("ns.example"),
            name("root.example"),
            1.into(),
            times[0],
            times[1],
            times[2],
            Ttl::from_secs(minimum),
        );
        authority
            .push((name("example"), Ttl::from_secs(ttl), soa))
            .unwrap();
    }
    let mut additional = authority.additional();
    if query.opt().is_some() {
        additional
            .opt(|opt| {
                opt.set_udp_payload_size(4096);
                Ok(())
            })
            .unwrap();
    }
    additional.finish().into_target()
}

fn read(sent: &[u8], reply: Vec<u8>) -> Result<Response, Unfit> {
    Response::parse(reply, 0x1234, &Query::parse(sent).unwrap())
}

#[test]
fn what_goes_upstream() {
    let mut asked = ask_edns("Example.COM", "A", 4096, true);
    // A cookie (10) and a client subnet (8).
    let options = [0, 10, 0, 2, 7, 7, 0, 8, 0, 1, 9];
    let length = asked.len() - 1;
    asked[length] = options.len() as u8;
    asked.extend_from_slice(&options);
    let mut out = Vec::new();
    assert!(!Query::parse(&asked).unwrap().forward(0x5678, &mut out));
    expect![[r#"
        NOERROR rd
        ? Example.COM A
        + OPT 1232 do
    "#]]
    .assert_eq(&dump(&out));
    assert_eq!(out[..2], [0x56, 0x78]);
    assert!(out.ends_with(&[0, 5, 0, 8, 0, 1, 9]));
    let sent = Query::parse(&out).unwrap();
    assert_eq!(sent.edns().unwrap().udp_size, OUR_UDP_SIZE);
    assert_eq!(sent.question(), Query::parse(&asked).unwrap().question());
    // Without options it may be kept; without EDNS none is added.
    assert!(
        Query::parse(&ask_edns("a", "A", 512, false))
            .unwrap()
            .forward(1, &mut out)
    );
    assert!(Query::parse(&ask("a", "A")).unwrap().forward(1, &mut out));
    assert!(Query::parse(&out).unwrap().edns().is_none());
}

#[test]
fn a_reply_must_belong_to_its_question() {
    let sent = ask("example.com", "A");
    let good = upstream(&sent, Rcode::NOERROR, &[60], None);
    assert!(read(&sent, good.clone()).is_ok());
    let folded = upstream(&ask("EXAMPLE.com", "A"), Rcode::NOERROR, &[60], None);
    assert!(read(&sent, folded).is_ok());
    let change = |at: usize, octet: u8| {
        let mut reply = good.clone();
        reply[at] = octet;
        read(&sent, reply).unwrap_err()
    };
    assert_eq!(change(1, 0x35), Unfit::WrongId);
    assert_eq!(change(2, 0x01), Unfit::Malformed);
    assert_eq!(change(13, b'f'), Unfit::WrongQuestion);
    assert_eq!(change(26, 28), Unfit::WrongQuestion);
    assert_eq!(change(5, 2), Unfit::WrongQuestion);
    assert_eq!(change(7, 2), Unfit::Malformed);
    assert_eq!(
        read(&sent, good[..20].to_vec()).unwrap_err(),
        Unfit::WrongQuestion
    );
    assert_eq!(
        read(&sent, good[..5].to_vec()).unwrap_err(),
        Unfit::Malformed
    );
    // A server that could not read the question does not repeat it.
    let bare = vec![0x12, 0x34, 0x80, 0x01, 0, 0, 0, 0, 0, 0, 0, 0];
    assert!(read(&sent, bare).unwrap().is_failure());
}

#[test]
fn how_long_it_is_kept() {
    let sent = ask("example.com", "A");
    let lifetime = |rcode, addresses: &[u32], soa| {
        read(&sent, upstream(&sent, rcode, addresses, soa))
            .unwrap()
            .lifetime()
    };
    assert_eq!(lifetime(Rcode::NOERROR, &[300, 60, 90], None), 60);
    assert_eq!(lifetime(Rcode::NOERROR, &[300], Some((20, 5))), 20);
    assert_eq!(lifetime(Rcode::NOERROR, &[], Some((300, 30))), 30);
    assert_eq!(lifetime(Rcode::NXDOMAIN, &[], Some((20, 30))), 20);
    assert_eq!(lifetime(Rcode::NXDOMAIN, &[300], Some((100, 30))), 30);
    assert_eq!(lifetime(Rcode::NXDOMAIN, &[], None), 0);
    assert_eq!(lifetime(Rcode::NOERROR, &[], None), 0);
    assert_eq!(lifetime(Rcode::SERVFAIL, &[60], None), 0);
    assert_eq!(lifetime(Rcode::NOERROR, &[u32::MAX, 60], None), 0);
    let mut cut = upstream(&sent, Rcode::NOERROR, &[60], None);
    cut[2] |= 2;
    assert_eq!(read(&sent, cut).unwrap().lifetime(), 0);
}

#[test]
fn it_is_fitted_to_each_client() {
    let sent = ask("example.com", "A");
    let response = read(&sent, upstream(&sent, Rcode::NOERROR, &[300, 60], None)).unwrap();
    let mut client = ask("eXaMpLe.CoM", "A");
    client[0] = 0x99;
    client[2] = 0;
    let mut out = Vec::new();
    let mut fit = |response: &Response, client: &[u8], transport| {
        response.reply(&Query::parse(client).unwrap(), transport, 50, &mut out);
        assert_eq!(out[..2], client[..2]);
        dump(&out)
    };
    expect![[r#"
        NOERROR qr ra
        ? eXaMpLe.CoM A
        = eXaMpLe.CoM 250 A 192.0.2.0
        = eXaMpLe.CoM 10 A 192.0.2.1
    "#]]
    .assert_eq(&fit(&response, &client, Transport::Udp));
    let large = read(&sent, upstream(&sent, Rcode::NOERROR, &[60; 40], None)).unwrap();
    expect![[r#"
        NOERROR qr tc ra
        ? eXaMpLe.CoM A
    "#]]
    .assert_eq(&fit(&large, &client, Transport::Udp));
    assert_eq!(
        fit(&large, &client, Transport::Tcp).matches("\n=").count(),
        40
    );
    let roomy = ask_edns("example.com", "A", 1232, false);
    assert_eq!(
        fit(&large, &roomy, Transport::Udp).matches("\n=").count(),
        40
    );
    let bare = read(&sent, vec![0x12, 0x34, 0x80, 0x05, 0, 0, 0, 0, 0, 0, 0, 0]).unwrap();
    expect![[r#"
        REFUSED qr rd ra
        ? example.com A
        + OPT 1232
    "#]]
    .assert_eq(&fit(&bare, &roomy, Transport::Udp));
}

proptest! {
    #[test]
    fn any_reply_is_survived(
        mut reply in proptest::collection::vec(any::<u8>(), 0..300),
        edits in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 0..5),
        genuine in any::<bool>(),
    ) {
        let sent = ask_edns("example.com", "A", 1232, false);
        if genuine {
            reply = upstream(&sent, Rcode::NOERROR, &[60, 70], Some((1, 2)));
            for (at, octet) in edits {
                let at = at.index(reply.len());
                reply[at] = octet;
            }
        }
        let mut out = Vec::new();
        if let Ok(response) = read(&sent, reply) {
            for client in [&sent, &ask("EXAMPLE.com", "A")] {
                let query = Query::parse(client).unwrap();
                response.reply(&query, Transport::Udp, 7, &mut out);
                prop_assert!(out.len() <= query.limit(Transport::Udp));
                prop_assert_eq!(&out[..2], &client[..2]);
            }
        }
    }
}

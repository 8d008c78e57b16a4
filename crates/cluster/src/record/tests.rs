//! What a host can read of what others wrote.

use super::{BlockRecord, EndpointRecord, claims, decode, encode};
use vw_model::{HostId, PortKey, Protocol, ServicePart};

#[test]
fn a_record_says_its_format_and_is_read_back() {
    let record = BlockRecord {
        host: HostId::from_bytes([7; 32]),
    };
    let bytes = encode(&record);
    assert!(bytes.starts_with(b"1 {\"host\":\"0707"));
    assert_eq!(decode(&bytes), Ok(record));
}

#[test]
fn what_a_newer_version_or_half_a_write_left_is_refused_in_words() {
    let host = "07".repeat(32);
    let rows = [
        (format!("2 {{\"host\":\"{host}\"}}"), "newer version"),
        (format!("1 {{\"host\":\"{host}\""), "cannot be understood"),
        ("1 {}".to_owned(), "cannot be understood"),
        (format!("{{\"host\":\"{host}\"}}"), "number of its format"),
        (String::new(), "number of its format"),
        ("99999999999999 {}".to_owned(), "number of its format"),
    ];
    for (text, why) in rows {
        let refused = decode::<BlockRecord>(text.as_bytes()).expect_err(&text);
        assert!(refused.contains(why), "{text}: {refused}");
    }
}

#[test]
fn what_a_network_claims_is_read_whatever_its_format() {
    let text =
        br#"7 {"claims":{"name":"blue","subnets":["10.0.0.0/24"],"vnis":[5],"more":1},"x":2}"#;
    let read = claims(text).expect("its claims");
    assert_eq!((read.name.as_str(), read.subnets.len()), ("blue", 1));
    assert_eq!(claims(b"7 {}"), None);
}

#[test]
fn a_part_in_services_that_is_not_known_leaves_the_endpoint() {
    let id = "07".repeat(32);
    let read = |part: &str| {
        let text = format!(
            r#"1 {{"mac":"02:00:00:00:00:01","addresses":[],"names":["one"],"sandbox":"{id}"{part}}}"#
        );
        decode::<EndpointRecord>(text.as_bytes())
            .expect(part)
            .service
    };
    let member = |health: &str| {
        format!(r#","service":{{"member":{{"service":"web","weight":1,"health":"{health}"}}}}"#)
    };
    assert!(matches!(
        read(&member("healthy")),
        Some(ServicePart::Member { .. })
    ));
    let unknown = [member("dozing"), r#","service":{"other":5}"#.to_owned()];
    for part in unknown
        .iter()
        .map(String::as_str)
        .chain([r#","service":null"#, ""])
    {
        assert_eq!(read(part), None, "{part}");
    }
}

#[test]
fn ports_are_kept_as_ranges() {
    let mut record = EndpointRecord {
        mac: "02:00:00:00:00:01".parse().unwrap(),
        addresses: Vec::new(),
        names: vec!["one".to_owned()],
        sandbox: vw_model::SandboxId::from_bytes([7; 32]),
        ports: Vec::new(),
        service: None,
    };
    let key = |port, protocol| PortKey { port, protocol };
    let tcp = |port| key(port, Protocol::Tcp);
    record.ports.extend((1..=65535).map(tcp));
    record
        .ports
        .extend([key(53, Protocol::Udp), key(55, Protocol::Udp)]);
    let bytes = encode(&record);
    let text = String::from_utf8_lossy(&bytes);
    assert!(
        text.contains(r#""ports":["1-65535/tcp","53/udp","55/udp"]"#),
        "{text}"
    );
    assert_eq!(decode(&bytes), Ok(record));
    let one =
        br#"1 {"mac":"02:00:00:00:00:01","addresses":[],"names":[],"ports":["80/tcp"],"sandbox":"#;
    let one = [&one[..], format!("\"{}\"}}", "07".repeat(32)).as_bytes()].concat();
    assert_eq!(decode::<EndpointRecord>(&one).unwrap().ports, [tcp(80)]);
}

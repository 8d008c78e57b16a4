//! What is shown of keys, and what was led by ports.

use super::*;
use vw_hoststate::{Object, WireguardKey};

#[test]
fn a_private_key_is_never_shown() {
    let public = PublicKey::from_bytes([1; 32]);
    let key = TunnelKey::new(public, Zeroizing::new([0xab; 32]));
    assert_eq!(format!("{key:?}"), format!("TunnelKey({public}, ..)"));
    let object = Object::WireguardKey(WireguardKey {
        netns: Netns::Tunnel,
        link: "vw-wg".parse().unwrap(),
        public: key.public,
        port: 51_820,
    });
    let shown = format!("{object:?}");
    assert!(shown.contains(&public.to_string()), "{shown}");
    assert!(!shown.contains("171"), "{shown}");
}

#[test]
fn a_port_leads_at_its_address_but_not_where_another_has_it() {
    let port = PortKey {
        port: 53,
        protocol: vw_model::Protocol::Udp,
    };
    let at = |text: Option<&str>| HostPort {
        host: text.map(|text| text.parse().unwrap()),
        port,
    };
    let [here, own, vip] = ["192.0.2.1", "192.0.2.2", "10.7.0.2"];
    for (ports, but, leads) in [
        (None, None, &[here, own, "2001:db8::1"][..]),
        (Some("0.0.0.0"), None, &[here, own]),
        (Some(here), None, &[here]),
        (None, Some(here), &[own, "2001:db8::1"]),
        (None, Some("0.0.0.0"), &["2001:db8::1"]),
    ] {
        let by = LedBy {
            addrs: ["10.8.0.2".parse().unwrap()].into(),
            ports: [at(ports)].into(),
            but: but.map(|but| at(Some(but))).into_iter().collect(),
            except: [vip.parse().unwrap()].into(),
        };
        let all = [here, own, vip, "2001:db8::1"];
        let led = all
            .into_iter()
            .filter(|a| by.leads(a.parse().unwrap(), port));
        assert_eq!(led.collect::<Vec<_>>(), leads, "{by:?}");
        assert!(by.leads("10.8.0.2".parse().unwrap(), port));
    }
}

/// A daemon that starts keeps connections over IPv6 whose endpoint, without IPv6, still serves.
#[test]
fn who_is_led_translated_is_led_to_the_endpoint() {
    let at = |number: u8| std::net::Ipv4Addr::new(10, 0, 0, number);
    let port = HostPort {
        host: None,
        port: "8080/tcp".parse().unwrap(),
    };
    let leads = Leads {
        ports: [(port, [(at(2), 80).into()].into())].into(),
        beside: Some(Beside {
            within: vec!["10.0.0.0/24".parse().unwrap()],
            ..Beside::default()
        }),
        ..Leads::default()
    };
    let asked = "[2001:db8::1]:8080".parse().unwrap();
    let elsewhere = |number| {
        let by = (vw_firewall::mapped(at(number)), 80).into();
        leads.leads_elsewhere(asked, Protocol::Tcp, by)
    };
    assert!(!elsewhere(2));
    assert!(elsewhere(3), "it serves no more");
}

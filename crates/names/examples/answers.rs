//! How many answers a second one core makes, without sockets: `cargo run --release -p
//! vw-names --example answers`.

use std::{hint::black_box, net::Ipv4Addr, time::Instant};
use vw_model::EndpointId;
use vw_names::{EndpointNames, Policy, Query, Rng, SharedZone, Transport, View, Zone, answer};

const NAMES: u16 = 1000;
const ROUNDS: u32 = 3000;

fn main() {
    let zone = (0..NAMES).fold(Zone::new("mynet", []), |zone, i| zone.with(&endpoint(i)));
    let zone = SharedZone::new(zone);
    let view = View::new(vec![zone.clone()], &[], &Policy::default());
    for qtype in [1, 28, 12, 33] {
        let queries: Vec<_> = (0..NAMES).map(|i| query(i, qtype)).collect();
        let (mut rng, mut out) = (Rng::new(1), Vec::new());
        let start = Instant::now();
        for round in 0..ROUNDS {
            // A name changes every 100,000 answers.
            if round % 100 == 0 {
                zone.update(|zone| zone.with(&endpoint((round / 100) as u16)));
            }
            for message in &queries {
                if let Ok(query) = Query::parse(message) {
                    answer(&view, &query, Transport::Udp, &mut rng, &mut out);
                    black_box(&out);
                }
            }
        }
        let count = f64::from(ROUNDS) * f64::from(NAMES);
        let rate = count / start.elapsed().as_secs_f64();
        println!(
            "type {qtype:>2}: {:.2} M answers/s, {:.0} ns each",
            rate / 1e6,
            1e9 / rate
        );
    }
}

fn endpoint(i: u16) -> EndpointNames {
    let [high, low] = i.to_be_bytes();
    let mut id = [0; 32];
    id[..2].copy_from_slice(&[high, low]);
    EndpointNames {
        endpoint: EndpointId::from_bytes(id),
        name: format!("container-{i}"),
        aliases: vec![format!("c{i}")],
        short_id: EndpointId::from_bytes(id).short(),
        addresses: vec![Ipv4Addr::new(172, 18, high, low).into()],
        ports: vec![],
        weight: 0,
    }
}

fn query(i: u16, qtype: u16) -> Vec<u8> {
    let [high, low] = i.to_be_bytes();
    let text = match qtype {
        12 => format!("{low}.{high}.18.172.in-addr.arpa"),
        33 => format!("_80._tcp.container-{i}"),
        _ => format!("container-{i}"),
    };
    let mut message = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in text.split('.') {
        message.push(label.len() as u8);
        message.extend_from_slice(label.as_bytes());
    }
    message.push(0);
    message.extend_from_slice(&[0, qtype as u8, 0, 1]);
    message
}

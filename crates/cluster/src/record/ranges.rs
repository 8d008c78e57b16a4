//! Ports as ranges, `80/tcp` or `8000-8999/tcp`: an endpoint may expose all there are.

use serde::{Deserialize, Deserializer, Serializer, de::Error};
use vw_model::{PortKey, PortRange, Protocol};

/// Ordered ports, those that follow each other in one text.
pub(super) fn serialize<S: Serializer>(ports: &[PortKey], to: S) -> Result<S::Ok, S::Error> {
    let mut ranges: Vec<(Protocol, PortRange)> = Vec::new();
    for key in ports {
        match ranges.last_mut() {
            Some((protocol, range))
                if *protocol == key.protocol && range.last.checked_add(1) == Some(key.port) =>
            {
                range.last = key.port;
            }
            _ => {
                let (first, last) = (key.port, key.port);
                ranges.push((key.protocol, PortRange { first, last }));
            }
        }
    }
    let texts = ranges.iter();
    to.collect_seq(texts.map(|(protocol, range)| format!("{range}/{protocol}")))
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<PortKey>, D::Error> {
    let mut ports = Vec::new();
    for text in Vec::<String>::deserialize(from)? {
        let (range, protocol) = text.split_once('/').unwrap_or((&text, "tcp"));
        let range: PortRange = range.parse().map_err(Error::custom)?;
        let protocol = protocol.parse().map_err(Error::custom)?;
        ports.extend((range.first..=range.last).map(|port| PortKey { port, protocol }));
    }
    Ok(ports)
}

//! Ports of a list's `PORTS` column (`formatter.DisplayablePorts` of the docker CLI).

use serde::Deserialize;

/// One port of a container as the API lists it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Port {
    /// The host's address; empty when it is not published.
    #[serde(rename = "IP")]
    pub(crate) ip: String,
    /// The container's port.
    pub(crate) private_port: u16,
    /// The host's.
    pub(crate) public_port: u16,
    /// `tcp`, `udp`, `sctp`.
    pub(crate) r#type: String,
}

/// Ports in a row that lead to the same number outside, as one range.
struct Group<'a> {
    ip: &'a str,
    protocol: &'a str,
    first: u16,
    last: u16,
}

/// `80/tcp, 0.0.0.0:8080->80/tcp`: ranges first, then ports that have another number outside.
pub(crate) fn displayable_ports(ports: &[Port]) -> String {
    let mut sorted: Vec<&Port> = ports.iter().collect();
    sorted.sort_by(|a, b| order(a).cmp(&order(b)));
    let mut open: Vec<Group<'_>> = Vec::new();
    let mut shown = Vec::new();
    let mut mapped = Vec::new();
    for port in sorted {
        let (ip, protocol, number) = (port.ip.as_str(), port.r#type.as_str(), port.private_port);
        if !ip.is_empty() && port.public_port != number {
            let outside = host_port(ip, &port.public_port.to_string());
            mapped.push(format!("{outside}->{number}/{protocol}"));
            continue;
        }
        let fresh = Group {
            ip,
            protocol,
            first: number,
            last: number,
        };
        match open
            .iter_mut()
            .find(|group| group.ip == ip && group.protocol == protocol)
        {
            None => open.push(fresh),
            Some(group) if group.last.checked_add(1) == Some(number) => group.last = number,
            Some(group) => shown.push(std::mem::replace(group, fresh).to_string()),
        }
    }
    shown.extend(open.iter().map(ToString::to_string));
    shown.extend(mapped);
    shown.join(", ")
}

fn order(port: &Port) -> (u16, &str, u16, &str) {
    (port.private_port, &port.ip, port.public_port, &port.r#type)
}

fn host_port(ip: &str, port: &str) -> String {
    if ip.contains(':') {
        format!("[{ip}]:{port}")
    } else {
        format!("{ip}:{port}")
    }
}

impl std::fmt::Display for Group<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            ip,
            protocol,
            first,
            last,
        } = self;
        let range = if first == last {
            first.to_string()
        } else {
            format!("{first}-{last}")
        };
        if ip.is_empty() {
            write!(f, "{range}/{protocol}")
        } else {
            write!(f, "{}->{range}/{protocol}", host_port(ip, &range))
        }
    }
}

#[cfg(test)]
mod tests;

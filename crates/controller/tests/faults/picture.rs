//! What there is, as lines in which two runs of the same scenario look the same.

use crate::world::OVERLAY;
use serde_json::Value;
use std::collections::BTreeMap;
use vw_controller::view::{ContainerView, NetworkView, ServiceView};
use vw_hoststate::{Key, Object};
use vw_model::ServiceSpec;
use vw_store::Table;

const OVERLAY_MAC: &str = "02:42:0a:2a:00:";

/// Lines that say what is there, and how many of it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Picture(pub(crate) BTreeMap<String, usize>);

impl Picture {
    /// Without records that the next start deletes.
    pub(crate) fn without_leftovers(mut self) -> Self {
        self.0.retain(|line, _| {
            !line.contains("attachment Removing") && !line.contains("sandbox Removing")
        });
        self
    }

    /// Without what is only known of others and written to disk when there is time.
    pub(crate) fn without_written_behind(mut self) -> Self {
        let behind = ["data: cluster host", "data: cluster endpoint"];
        self.0.retain(|line, _| !behind.contains(&line.as_str()));
        self
    }

    /// Whether a container says that it is being removed: its files may be gone, and the next
    /// call or start goes on.
    pub(crate) fn is_halfway_removed(&self) -> bool {
        self.0.keys().any(|line| line.contains("removing true"))
    }

    /// What is more (`+`) and less (`-`) than in another.
    pub(crate) fn against(&self, name: &str, other: &Self) -> String {
        let mut text = format!("against {name}:\n");
        let differ =
            |(line, count): &(&String, &usize), other: &Self| other.0.get(*line) != Some(*count);
        for (line, count) in self.0.iter().filter(|line| differ(line, other)) {
            text += &format!("  + {count} x {line}\n");
        }
        for (line, count) in other.0.iter().filter(|line| differ(line, self)) {
            text += &format!("  - {count} x {line}\n");
        }
        text
    }
}

/// What a record of a cluster's local copy is of.
pub(crate) fn kind_of(key: &str) -> &str {
    key.split('/').next().unwrap_or(key)
}

/// Names of links and ports of resolvers are made of random bits.
pub(crate) fn object(object: &Object) -> String {
    let text = match object {
        Object::Namespace(_) => "namespace".to_owned(),
        Object::Link(link) => format!("link {}", plain(link.name.as_str())),
        Object::Address(address) => format!("address {}", address.addr),
        // Metrics are made of a network's id.
        Object::Route(route) => format!("route {} via {:?}", route.dst, route.via),
        Object::Proxy(proxy) => format!("proxy {}", proxy.addr),
        Object::Neighbor(neighbor) => format!("neighbour {}", neighbor.addr),
        Object::WireguardKey(key) => format!("tunnel key at port {}", key.port),
        Object::WireguardPeer(peer) => format!("tunnel peer {:?}", peer.allowed),
        Object::Shortcuts(_) => "shortcuts".to_owned(),
        Object::Shortcut(shortcut) => format!("shortcut to {}", shortcut.mac),
        Object::Translator(one) => format!("translation by {}", one.link),
        Object::Forward(forward) => format!("forward {} to {}", forward.mac, forward.dst),
        Object::Sysctl(sysctl) => format!("sysctl {}", without_ids(&sysctl.path)),
        Object::Table(_) => match object.key() {
            Key::Table(vw_hoststate::Netns::Host) => "host table".to_owned(),
            _ => "sandbox table".to_owned(),
        },
        Object::Balance(_, element) => format!("led {:?}", element.key),
        Object::Element(_) => match object.key() {
            Key::Port(..) => format!("port {:?}", without_ids(&format!("{:?}", object.key()))),
            _ => "policy".to_owned(),
        },
    };
    format!("kernel: {text}")
}

fn plain(name: &str) -> String {
    without_ids(name)
}

/// Numbers of endpoints on [`OVERLAY`] are left out: what leads to a cluster's services has any.
pub(crate) fn without_numbers(text: &str) -> String {
    let digits = |text: &str, of: fn(&char) -> bool| text.chars().take_while(of).count();
    let mut rest = text;
    let mut plain = String::new();
    let prefixes = [
        (OVERLAY, char::is_ascii_digit as fn(&char) -> bool),
        (OVERLAY_MAC, char::is_ascii_hexdigit),
    ];
    while let Some((at, prefix, of)) = prefixes
        .iter()
        .filter_map(|(prefix, of)| Some((rest.find(prefix)?, prefix, of)))
        .min_by_key(|(at, ..)| *at)
    {
        let end = at + prefix.len();
        plain += &rest[..end];
        plain += "*";
        rest = &rest[end + digits(&rest[end..], *of)..];
    }
    plain + rest
}

/// An address, and none that begins or ends with it, is shown as `<vip>`.
pub(crate) fn without_addr(text: &str, addr: &str) -> String {
    let mut parts = text.split(addr);
    let mut plain = parts.next().unwrap_or_default().to_owned();
    let digit = |c: char| c.is_ascii_alphanumeric();
    for part in parts {
        let within = plain.ends_with(digit) || part.starts_with(digit);
        plain += if within { addr } else { "<vip>" };
        plain += part;
    }
    plain
}

/// Words of hexadecimal digits that are long enough to be an id's are shown as `<id>`.
fn without_ids(text: &str) -> String {
    let mut plain = String::new();
    let mut word = String::new();
    for c in text.chars().chain(['\0']) {
        if c.is_ascii_alphanumeric() {
            word.push(c);
            continue;
        }
        let digits = word.trim_start_matches("vw");
        let is_id = digits.len() >= 10 && digits.bytes().all(|b| b.is_ascii_hexdigit());
        plain += if is_id { "<id>" } else { &word };
        word.clear();
        if c != '\0' {
            plain.push(c);
        }
    }
    plain
}

/// The networks that a container's or a sandbox's record says that it is a member of.
pub(crate) fn members(bytes: &[u8]) -> Vec<String> {
    let value: Value = serde_json::from_slice(bytes).unwrap_or_default();
    let memberships = value["memberships"].as_array().cloned().unwrap_or_default();
    let names = memberships.iter().map(|m| m["name"].as_str());
    names
        .map(|name| name.unwrap_or_default().to_owned())
        .collect()
}

pub(crate) fn record(table: Table, bytes: &[u8]) -> String {
    let value: Value = serde_json::from_slice(bytes).unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    match table {
        Table::Networks => format!("network {}", text(&value["name"])),
        Table::Containers => {
            let names = members(bytes);
            let name = text(&value["sandbox"]["name"]);
            format!(
                "container {name} on {names:?}, removing {}",
                value["removing"]
            )
        }
        Table::Sandboxes => format!(
            "sandbox {} {}, resolver {}, ports {}",
            text(&value["phase"]),
            text(&value["adopted"]["name"]),
            !value["resolver"].is_null(),
            value["ports"]
        ),
        Table::Attachments => format!(
            "attachment {} {} {}",
            text(&value["phase"]),
            text(&value["endpoint"]["ifname"]),
            value["endpoint"]["addresses"]
        ),
        Table::Services => format!(
            "service {} {}, {}, led {}",
            text(&value["name"]),
            value["vips"],
            value["ports"],
            value["affinity"]
        ),
        _ => table.name().to_owned(),
    }
}

pub(crate) fn service(service: &ServiceView) -> String {
    let members = service.members.iter();
    let mut members: Vec<String> = members
        .map(|m| {
            format!(
                "{} {:?} of {} {} {}",
                m.name, m.addresses, m.weight, m.state, m.serves
            )
        })
        .collect();
    members.sort();
    let ServiceSpec {
        name,
        vips,
        ports,
        affinity,
        drain,
        ..
    } = &service.spec;
    let lacking = &service.unpublished;
    format!(
        "service {name} on {}, at {vips:?}: {members:?}, {ports:?}, not {lacking:?}, {affinity:?}, {drain:?}",
        service.network
    )
}

pub(crate) fn network(network: &NetworkView) -> String {
    let mut members: Vec<String> = network
        .members
        .iter()
        .map(|m| format!("{} {:?} {:?}", m.name, m.ipv4, m.ipv6))
        .collect();
    members.sort();
    let in_use = network.in_use;
    format!(
        "network {}: {members:?}, in use {in_use}",
        network.spec.name
    )
}

pub(crate) fn sandbox(sandbox: &ContainerView) -> String {
    let mut endpoints: Vec<String> = sandbox
        .endpoints
        .iter()
        .map(|e| format!("{} {} {:?} {:?}", e.network, e.ifname, e.ipv4, e.ipv6))
        .collect();
    endpoints.sort();
    let name = &sandbox.sandbox.name;
    let status = &sandbox.state.status;
    format!(
        "sandbox {name} {status:?}: {endpoints:?}, ports {:?}",
        sandbox.ports
    )
}

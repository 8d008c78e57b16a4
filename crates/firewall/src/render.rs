//! Tables as nftables' text, for documentation and tests; never fed to the kernel by us.

use crate::spec::{
    Base, ChainKind, ChainSpec, Contents, Field, Hook, Match, Rule, Statement, TableSpec,
};
use crate::{DataType, ServiceSet, SetName};
use std::fmt::{self, Display};
use vw_model::{Family, IpNet, Protocol};

/// As `nft list table` shows it, with comments where rules have them.
impl Display for TableSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "table {} {} {{", self.family, self.name)?;
        let mut gap = "";
        for set in &self.sets {
            write!(f, "{gap}{}", Definition(*set))?;
            gap = "\n";
        }
        for chain in &self.chains {
            write!(f, "{gap}{chain}")?;
            gap = "\n";
        }
        writeln!(f, "}}")
    }
}

struct Definition(SetName);

impl Display for Definition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let types = |types: &[DataType]| {
            let types: Vec<&str> = types.iter().map(|ty| ty.name()).collect();
            types.join(" . ")
        };
        if let SetName::Service(set @ ServiceSet::Slots(_)) = self.0 {
            return write!(f, "\tmap {} {{\n\t\t{}\n\t}}\n", set.name(), typeof_of(set));
        }
        let (key, value) = (types(self.0.key()), types(self.0.value()));
        let (kind, value) = match value.as_str() {
            "" => ("set", String::new()),
            _ => ("map", format!(" : {value}")),
        };
        let name = self.0.name();
        writeln!(f, "\t{kind} {name} {{\n\t\ttype {key}{value}\n\t}}")
    }
}

/// The types of a map of slots: a number has none by itself, so all are given by example.
fn typeof_of(set: ServiceSet) -> String {
    let example = |ty: &DataType, port| match ty {
        DataType::Ipv4Addr => "ip daddr",
        DataType::Ipv6Addr => "ip6 daddr",
        DataType::InetProto => "meta l4proto",
        DataType::InetService => port,
        _ => "numgen random mod 2",
    };
    let all = |types: &[DataType], port| {
        let all: Vec<&str> = types.iter().map(|ty| example(ty, port)).collect();
        all.join(" . ")
    };
    // `nft` takes `th dport` in both for a contradiction.
    let (key, value) = (all(set.key(), "th dport"), all(set.value(), "tcp dport"));
    format!("typeof {key} : {value}")
}

impl Display for ChainSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\tchain {} {{", self.name)?;
        if let Contents::Ours { base, rules } = &self.contents {
            if let Some(base) = base {
                writeln!(f, "\t\t{base}")?;
            }
            for rule in rules {
                writeln!(f, "\t\t{rule}")?;
            }
        }
        writeln!(f, "\t}}")
    }
}

impl Display for Base {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            ChainKind::Filter => "filter",
            ChainKind::Nat => "nat",
        };
        let hook = match self.hook {
            Hook::Prerouting => "prerouting",
            Hook::Input => "input",
            Hook::Forward => "forward",
            Hook::Output => "output",
            Hook::Postrouting => "postrouting",
        };
        write!(f, "type {kind} hook {hook} priority ")?;
        match self.priority {
            -300 => f.write_str("raw")?,
            -100 if self.hook == Hook::Prerouting => f.write_str("dstnat")?,
            -101 if self.hook == Hook::Prerouting => f.write_str("dstnat - 1")?,
            -1 => f.write_str("filter - 1")?,
            99 => f.write_str("srcnat - 1")?,
            100 => f.write_str("srcnat")?,
            other => other.fmt(f)?,
        }
        f.write_str("; policy accept;")
    }
}

impl Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for matched in &self.when {
            write!(f, "{matched} ")?;
        }
        self.then.fmt(f)?;
        if self.why.is_empty() {
            return Ok(());
        }
        write!(f, " comment \"{}\"", self.why)
    }
}

fn concat(fields: &[Field]) -> String {
    let fields: Vec<String> = fields
        .iter()
        .map(|field| match field {
            Field::IifName => "iifname".to_owned(),
            Field::OifName => "oifname".to_owned(),
            Field::NfProto => "meta nfproto".to_owned(),
            Field::Saddr(family) => format!("{} saddr", ip(*family)),
            Field::Daddr(family) => format!("{} daddr", ip(*family)),
            Field::L4Proto => "meta l4proto".to_owned(),
            Field::Dport => "th dport".to_owned(),
            Field::Random(below) => format!("numgen random mod {below}"),
            Field::SourceHash {
                family,
                modulus,
                seed,
            } => format!("jhash {} saddr mod {modulus} seed {seed:#x}", ip(*family)),
        })
        .collect();
    fields.join(" . ")
}

fn ip(family: Family) -> &'static str {
    match family {
        Family::V4 => "ip",
        Family::V6 => "ip6",
    }
}

/// An address alone when the prefix is whole.
fn prefix(net: &IpNet) -> String {
    if net.prefix_len() == net.max_prefix_len() {
        return net.addr().to_string();
    }
    net.to_string()
}

impl Display for Match {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Loopback => f.write_str("iif \"lo\""),
            Self::Bridged => f.write_str("meta iifkind \"bridge\""),
            Self::Family(Family::V4) => f.write_str("meta nfproto ipv4"),
            Self::Family(Family::V6) => f.write_str("meta nfproto ipv6"),
            Self::Source(net) => {
                write!(f, "{} saddr {}", ip(Family::of(net.addr())), prefix(net))
            }
            Self::Destination(net) => {
                write!(f, "{} daddr {}", ip(Family::of(net.addr())), prefix(net))
            }
            Self::NoIif => f.write_str("iif 0"),
            Self::NotFromLocal => f.write_str("fib saddr type != local"),
            Self::ToLocal => f.write_str("fib daddr type local"),
            Self::ToBroadcast => f.write_str("fib daddr type broadcast"),
            Self::Icmp(Family::V4) => f.write_str("meta l4proto icmp"),
            Self::Icmp(Family::V6) => f.write_str("meta l4proto ipv6-icmp"),
            Self::Transport(protocol) => write!(f, "meta l4proto {protocol}"),
            Self::Midstream => f.write_str("tcp flags ! fin,syn,rst"),
            Self::Begun => f.write_str("tcp flags ! syn"),
            Self::Sport(protocol, port) => write!(f, "{protocol} sport {port}"),
            Self::Dport(protocol, port) => write!(f, "{protocol} dport {port}"),
            Self::Established => f.write_str("ct state established,related"),
            Self::Invalid => f.write_str("ct state invalid"),
            Self::Translated => f.write_str("ct status dnat"),
            Self::OifPrefix(prefix) => write!(f, "oifname \"{prefix}*\""),
            Self::In(fields, set) => write!(f, "{} @{}", concat(fields), set.name()),
        }
    }
}

impl Display for Statement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let set_port = |f: &mut fmt::Formatter<'_>, protocol: &Protocol, side, port| {
            write!(f, "{protocol} {side} set {port}")
        };
        match self {
            Self::Accept => f.write_str("accept"),
            Self::AcceptUntracked => f.write_str("notrack accept"),
            Self::Drop => f.write_str("drop"),
            Self::Reject(_) => f.write_str("reject"),
            Self::Reset => f.write_str("reject with tcp reset"),
            Self::Return => f.write_str("return"),
            Self::Jump(chain) => write!(f, "jump {chain}"),
            Self::Goto(chain) => write!(f, "goto {chain}"),
            Self::Verdict(fields, set) => write!(f, "{} vmap @{}", concat(fields), set.name()),
            Self::Dnat(family, fields, set) => {
                let (ip, fields) = (ip(*family), concat(fields));
                write!(f, "dnat {ip} to {fields} map @{}", set.name())
            }
            Self::Snat(family, fields, set) => {
                let (ip, fields) = (ip(*family), concat(fields));
                write!(f, "snat {ip} to {fields} map @{}", set.name())
            }
            Self::SnatTo6(addr) => write!(f, "snat ip6 to {addr}"),
            Self::Masquerade => f.write_str("masquerade"),
            Self::Mark(bits) => write!(f, "meta mark set meta mark | {bits:#010x}"),
            Self::SetSport(protocol, port) => set_port(f, protocol, "sport", port),
            Self::SetDport(protocol, port) => set_port(f, protocol, "dport", port),
            Self::SetSource6(addr) => write!(f, "ip6 saddr set {addr}"),
            Self::SetDestination6(addr) => write!(f, "ip6 daddr set {addr}"),
        }
    }
}

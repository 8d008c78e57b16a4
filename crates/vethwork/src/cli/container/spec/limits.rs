//! Resources, limits and capabilities.

use crate::{cli::endpoint::put, render::bytes_of};
use clap::Args;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Flags that limit what a container uses.
#[derive(Debug, Default, Args)]
pub(super) struct Limits {
    /// CPU shares (relative weight)
    #[arg(
        short,
        long,
        value_name = "N",
        default_value_t = 0,
        hide_default_value = true
    )]
    cpu_shares: i64,
    /// Number of CPUs
    #[arg(long, value_name = "DECIMAL", value_parser = cpus)]
    cpus: Option<i64>,
    /// Memory limit
    #[arg(short, long, value_name = "BYTES", value_parser = bytes_of)]
    memory: Option<i64>,
    /// Tune container pids limit (set -1 for unlimited)
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pids_limit: Option<i64>,
    /// Size of /dev/shm
    #[arg(long, value_name = "BYTES", value_parser = bytes_of)]
    shm_size: Option<i64>,
    /// Ulimit options
    #[arg(long, value_name = "NAME=SOFT[:HARD]")]
    ulimit: Vec<String>,
}

impl Limits {
    /// Their part of the `HostConfig`.
    ///
    /// # Errors
    /// Docker's sentences for malformed limits.
    pub(super) fn parse(&self) -> Result<Map<String, Value>, String> {
        let mut ulimits = BTreeMap::new();
        for text in &self.ulimit {
            let (name, limit) = ulimit(text)?;
            ulimits.insert(name, limit);
        }
        let mut host = Map::new();
        put(&mut host, "CpuShares", self.cpu_shares);
        put(&mut host, "NanoCpus", self.cpus);
        put(&mut host, "Memory", self.memory);
        put(&mut host, "PidsLimit", self.pids_limit);
        put(&mut host, "ShmSize", self.shm_size);
        put(
            &mut host,
            "Ulimits",
            ulimits.into_values().collect::<Vec<_>>(),
        );
        Ok(host)
    }
}

/// `1.5` as billionths.
fn cpus(text: &str) -> Result<i64, String> {
    let invalid = || format!("failed to parse {text} as a rational number");
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(fraction) || (whole.is_empty() && fraction.is_empty()) {
        return Err(invalid());
    }
    let fraction = fraction.trim_end_matches('0');
    if fraction.len() > 9 {
        return Err("value is too precise".to_owned());
    }
    let nanos: i64 = format!("{fraction:0<9}").parse().map_err(|_| invalid())?;
    let whole: i64 = if whole.is_empty() {
        0
    } else {
        whole.parse().map_err(|_| invalid())?
    };
    whole
        .checked_mul(1_000_000_000)
        .and_then(|whole| whole.checked_add(nanos))
        .ok_or_else(invalid)
}

/// `NAME=SOFT[:HARD]` (`units.ParseUlimit`); -1 is unlimited.
fn ulimit(text: &str) -> Result<(String, Value), String> {
    const NAMES: &[&str] = &[
        "core",
        "cpu",
        "data",
        "fsize",
        "locks",
        "memlock",
        "msgqueue",
        "nice",
        "nofile",
        "nproc",
        "rss",
        "rtprio",
        "rttime",
        "sigpending",
        "stack",
    ];
    let (name, limits) = text
        .split_once('=')
        .ok_or_else(|| format!("invalid ulimit argument: {text}"))?;
    if !NAMES.contains(&name) {
        return Err(format!("invalid ulimit type: {name}"));
    }
    let number = |limit: &str| {
        limit
            .parse::<i64>()
            .map_err(|_| format!("invalid ulimit argument: {text}"))
    };
    let (soft, hard) = match limits.split_once(':') {
        Some((soft, hard)) => (number(soft)?, number(hard)?),
        None => (number(limits)?, number(limits)?),
    };
    if hard != -1 && (soft == -1 || soft > hard) {
        return Err(format!(
            "ulimit soft limit must be less than or equal to hard limit: {soft} > {hard}"
        ));
    }
    Ok((
        name.to_owned(),
        json!({ "Name": name, "Soft": soft, "Hard": hard }),
    ))
}

/// Capabilities by their full names, each once; what is added is not dropped, and `ALL` stands for
/// every other.
pub(super) fn capabilities(add: &[String], drop: &[String]) -> (Vec<String>, Vec<String>) {
    let set = |list: &[String]| {
        let set: BTreeSet<String> = list.iter().map(|name| capability(name)).collect();
        match set.contains("ALL") {
            true => BTreeSet::from(["ALL".to_owned()]),
            false => set,
        }
    };
    let (add, drop) = (set(add), set(drop));
    let drop = drop.difference(&add).cloned().collect();
    (add.into_iter().collect(), drop)
}

fn capability(name: &str) -> String {
    let upper = name.trim().to_uppercase();
    if upper == "ALL" || upper == "RESET" || upper.starts_with("CAP_") {
        return upper;
    }
    format!("CAP_{upper}")
}

#[cfg(test)]
mod tests {
    use super::{capabilities, cpus, ulimit};

    #[test]
    fn processors_are_exact() {
        for (text, nanos) in [
            ("1.5", Some(1_500_000_000)),
            (".25", Some(250_000_000)),
            ("2", Some(2_000_000_000)),
            ("0.0000000010", Some(1)),
            ("0.0000000001", None),
            ("", None),
            (".", None),
            ("-1", None),
            ("99999999999", None),
        ] {
            assert_eq!(cpus(text).ok(), nanos, "{text}");
        }
    }

    #[test]
    fn limits_have_two_sides() {
        let shown = |text| ulimit(text).map(|(_, value)| value.to_string());
        assert_eq!(
            shown("nofile=10:20").unwrap(),
            r#"{"Hard":20,"Name":"nofile","Soft":10}"#
        );
        assert_eq!(
            shown("core=-1").unwrap(),
            r#"{"Hard":-1,"Name":"core","Soft":-1}"#
        );
        for wrong in ["nofile", "nope=1", "nofile=2:1", "nofile=-1:1", "nofile=x"] {
            assert!(ulimit(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn capabilities_get_their_full_names() {
        let list = |names: &[&str]| {
            names
                .iter()
                .map(|name| (*name).to_owned())
                .collect::<Vec<_>>()
        };
        let (add, drop) = capabilities(
            &list(&["net_admin", "CAP_NET_ADMIN", "chown"]),
            &list(&["CHOWN", "kill"]),
        );
        assert_eq!(add, ["CAP_CHOWN", "CAP_NET_ADMIN"]);
        assert_eq!(drop, ["CAP_KILL"]);
        let (_, drop) = capabilities(&[], &list(&["kill", "all"]));
        assert_eq!(drop, ["ALL"]);
    }
}

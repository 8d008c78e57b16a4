//! What is there before a test and must be there, and nothing else, after it.
//!
//! Owns how kernel objects and files are written down as lines that do not change by
//! themselves: no counters, no indexes, no process ids.

use crate::{Host, poll, reclaim};
use serde_json::Value;
use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::Duration,
};

/// Slow deletion of links and namespaces follows within this.
const SETTLE: Duration = Duration::from_secs(10);

/// The sysctls of a namespace that the daemon may set, and must put back.
const SYSCTLS: [&str; 4] = [
    "net.ipv4.ip_forward",
    "net.ipv4.conf.default.route_localnet",
    "net.ipv6.conf.all.forwarding",
    "net.ipv6.conf.default.forwarding",
];

/// Links, addresses, routes, rules, sysctls and processes of hosts, and mounts and files of folders.
#[derive(Debug)]
pub struct Snapshot {
    hosts: Vec<Host>,
    folders: Vec<PathBuf>,
    lines: BTreeSet<String>,
}

impl Snapshot {
    /// Writes down what is there now.
    #[track_caller]
    #[must_use]
    pub fn take(hosts: &[&Host], folders: &[&Path]) -> Self {
        let mut snapshot = Self {
            hosts: hosts.iter().map(|&host| host.clone()).collect(),
            folders: folders.iter().map(|folder| folder.to_path_buf()).collect(),
            lines: BTreeSet::new(),
        };
        snapshot.lines = snapshot.look();
        snapshot
    }

    /// Fails the test, with what is more and what is less, unless all is again as it was.
    ///
    /// Waits for deletions that follow slowly.
    #[track_caller]
    pub fn assert_restored(&self) {
        if poll(SETTLE, || self.difference().is_empty().then_some(())).is_none() {
            panic!("left behind (+) or lost (-):\n{}", self.difference());
        }
    }

    /// What is there now and was not (`+`), and what was and is not now (`-`); empty when nothing is.
    #[track_caller]
    #[must_use]
    pub fn difference(&self) -> String {
        let now = self.look();
        let lost = self
            .lines
            .difference(&now)
            .map(|line| format!("- {line}\n"));
        let left = now
            .difference(&self.lines)
            .map(|line| format!("+ {line}\n"));
        lost.chain(left).collect()
    }

    #[track_caller]
    fn look(&self) -> BTreeSet<String> {
        let mut lines = BTreeSet::new();
        for host in &self.hosts {
            let mut found = links(host);
            found.extend(addresses(host));
            found.extend(routes(host));
            found.extend(rules(host));
            found.extend(sysctls(host));
            found.extend(programs(host));
            lines.extend(found.iter().map(|line| format!("{}: {line}", host.name())));
        }
        for folder in &self.folders {
            let mounts = reclaim::mounts_below(folder);
            lines.extend(
                mounts
                    .iter()
                    .map(|mount| format!("mount {}", mount.point.display())),
            );
            files(folder, &mut lines);
        }
        lines
    }
}

#[track_caller]
fn json_of(host: &Host, arguments: &str) -> Vec<Value> {
    let printed = host.ip(arguments);
    // Old versions of ip print nothing where there is nothing.
    serde_json::from_str(&printed).unwrap_or_default()
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or("-")
}

#[track_caller]
fn links(host: &Host) -> Vec<String> {
    // Whether there is a carrier follows from others, some time later.
    let is_set = |flag: &&str| !["LOWER_UP", "NO-CARRIER"].contains(flag);
    let show = |link: &Value| {
        let flags = link["flags"].as_array().into_iter().flatten();
        let flags: Vec<&str> = flags.filter_map(Value::as_str).filter(is_set).collect();
        format!(
            "link {} kind {} master {} mtu {} flags {}",
            text(link, "ifname"),
            text(&link["linkinfo"], "info_kind"),
            text(link, "master"),
            link["mtu"],
            flags.join(",")
        )
    };
    json_of(host, "-j -d link show").iter().map(show).collect()
}

#[track_caller]
fn addresses(host: &Host) -> Vec<String> {
    json_of(host, "-j addr show")
        .iter()
        .flat_map(|link| {
            let held = link["addr_info"].as_array().cloned().unwrap_or_default();
            held.into_iter().map(|address| {
                format!(
                    "address {}/{} on {}",
                    text(&address, "local"),
                    address["prefixlen"],
                    text(link, "ifname")
                )
            })
        })
        .collect()
}

#[track_caller]
fn routes(host: &Host) -> Vec<String> {
    ["-4", "-6"]
        .iter()
        .flat_map(|family| json_of(host, &format!("-j {family} route show table all")))
        .map(|route| {
            format!(
                "route {} via {} dev {} table {}",
                text(&route, "dst"),
                text(&route, "gateway"),
                text(&route, "dev"),
                text(&route, "table")
            )
        })
        .collect()
}

/// Without the counters and other state of the rules; each line after the table that it is in.
#[track_caller]
fn rules(host: &Host) -> Vec<String> {
    let mut table = String::new();
    let ruleset = host.run(["nft", "-s", "list", "ruleset"]).ok();
    ruleset
        .lines()
        .filter(|line| !line.trim().is_empty())
        .map(|line| {
            if let Some(opened) = line.strip_prefix("table ") {
                table = opened.trim_end_matches([' ', '{']).to_owned();
            }
            format!("nft {table}: {}", line.trim())
        })
        .collect()
}

fn sysctls(host: &Host) -> Vec<String> {
    host.enter(|| {
        SYSCTLS
            .iter()
            .map(|name| {
                let path = format!("/proc/sys/{}", name.replace('.', "/"));
                // A kernel without IPv6 has none, before and after.
                let value = fs::read_to_string(path).unwrap_or_default();
                format!("sysctl {name}={}", value.trim())
            })
            .collect()
    })
}

fn programs(host: &Host) -> Vec<String> {
    let Ok(namespace) = fs::metadata(host.netns()) else {
        return vec!["the namespace is gone".to_owned()];
    };
    reclaim::processes_in(&BTreeSet::from([namespace.ino()]))
        .into_iter()
        .filter_map(|pid| fs::read(format!("/proc/{pid}/cmdline")).ok())
        .map(|line| {
            format!(
                "process {}",
                String::from_utf8_lossy(&line).replace('\0', " ").trim()
            )
        })
        .collect()
}

/// The paths below a folder; what is mounted there is not entered.
fn files(folder: &Path, lines: &mut BTreeSet<String>) {
    let Ok(device) = fs::symlink_metadata(folder).map(|found| found.dev()) else {
        return;
    };
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        lines.insert(format!("file {}", path.display()));
        let is_ours = entry
            .metadata()
            .is_ok_and(|found| found.is_dir() && found.dev() == device);
        if is_ours {
            files(&path, lines);
        }
    }
}

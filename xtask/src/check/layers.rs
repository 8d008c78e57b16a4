//! The order of the crates and what each may depend on, read from the manifests.
//!
//! Owns the rules on dependencies; the order itself stands in the root
//! manifest under `workspace.metadata.layers`. Development dependencies are free.

use super::violation::Violation;
use serde::Deserialize;
use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// The crates that do no I/O and read no clock.
pub(crate) const PURE: [&str; 6] = ["model", "ipam", "firewall", "hoststate", "names", "drivers"];

/// The only crates that may know tokio.
const ASYNC: [&str; 3] = ["dns-server", "engine-api", "vethwork"];

/// The folder whose crates are surfaces.
const SURFACES: &str = "crates/surfaces";

/// What a surface must not import: it submits commands to the controller.
const BELOW_THE_CONTROLLER: [&str; 3] = ["store", "kernel", "drivers"];

/// What a dependency brings in, as far as a rule asks.
#[derive(Clone, Copy, PartialEq)]
enum Brings {
    /// An asynchronous runtime or what needs one.
    Async,
    /// Netlink or nftables.
    Netlink,
    /// The system's own interface.
    System,
}

/// Which outside crates bring what: a name, or a prefix that ends in `*`.
const OUTSIDE: [(&str, Brings); 20] = [
    ("tokio*", Brings::Async),
    ("async-*", Brings::Async),
    ("smol", Brings::Async),
    ("futures*", Brings::Async),
    ("axum*", Brings::Async),
    ("hyper*", Brings::Async),
    ("tower*", Brings::Async),
    ("tonic*", Brings::Async),
    ("reqwest", Brings::Async),
    ("netlink*", Brings::Netlink),
    ("rtnetlink", Brings::Netlink),
    ("neli*", Brings::Netlink),
    ("nftables", Brings::Netlink),
    ("nftnl*", Brings::Netlink),
    ("rustables", Brings::Netlink),
    ("genetlink", Brings::Netlink),
    ("rustix", Brings::System),
    ("libc", Brings::System),
    ("nix", Brings::System),
    ("socket2", Brings::System),
];

/// What `cargo metadata --no-deps` says, as far as the rules ask.
#[derive(Debug, Deserialize)]
pub(crate) struct Workspace {
    packages: Vec<Package>,
    metadata: Metadata,
}

#[derive(Debug, Deserialize)]
struct Metadata {
    layers: Layers,
}

#[derive(Debug, Deserialize)]
struct Layers {
    order: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Package {
    name: String,
    manifest_path: PathBuf,
    dependencies: Vec<Dependency>,
}

#[derive(Debug, Deserialize)]
struct Dependency {
    name: String,
    /// `dev`, `build`, or nothing for an ordinary one.
    kind: Option<String>,
}

impl Workspace {
    /// Parses cargo's answer.
    pub(crate) fn parse(json: &[u8]) -> io::Result<Self> {
        serde_json::from_slice(json).map_err(io::Error::other)
    }

    fn position(&self, layer: &str) -> Option<usize> {
        self.metadata
            .layers
            .order
            .iter()
            .position(|name| name == layer)
    }

    /// The layer that a dependency names, where it is one of ours.
    fn is_member(&self, package: &str) -> bool {
        self.packages.iter().any(|member| member.name == package)
    }
}

/// Holds every crate under `crates/` against the order and the tables above.
pub(crate) fn check(root: &Path, workspace: &Workspace) -> Vec<Violation> {
    let mut found = Vec::new();
    for package in &workspace.packages {
        let shown = package
            .manifest_path
            .strip_prefix(root)
            .unwrap_or(&package.manifest_path);
        if !shown.starts_with("crates") {
            continue;
        }
        // A manifest that cannot be read only costs the line numbers.
        let text = fs::read_to_string(&package.manifest_path).unwrap_or_default();
        found.extend(check_package(workspace, package, shown, &text));
    }
    found
}

fn check_package(
    workspace: &Workspace,
    package: &Package,
    shown: &Path,
    text: &str,
) -> Vec<Violation> {
    let layer = layer_of(&package.name);
    let Some(position) = workspace.position(layer) else {
        let remedy = format!(
            "crate {layer} is not in workspace.metadata.layers: name its place in the order"
        );
        return vec![violation(shown, 1, "layer-order", remedy)];
    };
    let mut found = Vec::new();
    let ordinary = package
        .dependencies
        .iter()
        .filter(|dependency| dependency.kind.as_deref() != Some("dev"));
    for Dependency { name, .. } in ordinary {
        let line = line_naming(text, name);
        if workspace.is_member(name) {
            let below = workspace.position(layer_of(name));
            if below.is_none_or(|below| below >= position) {
                let remedy = format!(
                    "{layer} may use only crates named before it in workspace.metadata.layers, not {name}"
                );
                found.push(violation(shown, line, "layer-order", remedy));
            }
            if shown.starts_with(SURFACES) && BELOW_THE_CONTROLLER.contains(&layer_of(name)) {
                let remedy = format!("a surface submits commands to the controller: drop {name}");
                found.push(violation(shown, line, "thin-surface", remedy));
            }
        } else if let Some((rule, remedy)) = refused_outside(layer, name) {
            found.push(violation(shown, line, rule, remedy));
        }
    }
    found
}

/// Why a layer may not depend on a crate of others, if it may not.
fn refused_outside(layer: &str, name: &str) -> Option<(&'static str, String)> {
    let (_, brings) = OUTSIDE
        .iter()
        .find(|(pattern, _)| match pattern.strip_suffix('*') {
            Some(prefix) => name.starts_with(prefix),
            None => name == *pattern,
        })?;
    let pure = PURE.contains(&layer);
    match brings {
        Brings::Netlink if layer != "kernel" => Some((
            "netlink-only-in-kernel",
            format!("only kernel may use {name}: go through its trait"),
        )),
        Brings::Async if !ASYNC.contains(&layer) => Some((
            "synchronous",
            format!("{layer} is synchronous: drop {name}, or move the work to a crate above it"),
        )),
        Brings::System if pure => Some((
            "pure",
            format!("{layer} is pure: drop {name}, and take what it reads as an argument"),
        )),
        _ => None,
    }
}

/// A package's name in the order: `vw-model` is `model`.
fn layer_of(package: &str) -> &str {
    package.strip_prefix("vw-").unwrap_or(package)
}

/// The line of a manifest that names a dependency; the first where none does.
fn line_naming(text: &str, name: &str) -> usize {
    text.lines()
        .position(|line| {
            line.strip_prefix(name)
                .is_some_and(|rest| rest.starts_with(['.', ' ', '=']))
        })
        .map_or(1, |index| index + 1)
}

fn violation(path: &Path, line: usize, rule: &'static str, remedy: String) -> Violation {
    Violation {
        path: path.to_path_buf(),
        line,
        rule,
        remedy,
    }
}

//! Host ports: which ones a sandbox's requests get, held as long as they are published.

use crate::Controller;
use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::{IpAddr, SocketAddr},
    sync::atomic::{AtomicU16, Ordering},
};
use vw_kernel::{Kernel, KernelError, PortClaim};
use vw_model::{
    Error, Family, Kind, NetworkId, PortKey, PortMapping, PortRange, PortRequest, Protocol, Result,
};

/// The kernel's refusal of a port that something else has.
#[derive(Debug, thiserror::Error)]
#[error("{refusal}")]
pub(crate) struct TakenPort {
    pub(crate) protocol: Protocol,
    pub(crate) addr: SocketAddr,
    refusal: KernelError,
}

/// Ports held for one sandbox, by what they are held for.
#[derive(Debug, Default)]
pub(crate) struct Claims {
    held: BTreeMap<PortMapping, Option<PortClaim>>,
}

impl Claims {
    /// What is published.
    pub(crate) fn mappings(&self) -> Vec<PortMapping> {
        self.held.keys().copied().collect()
    }

    /// Whether nothing is held.
    pub(crate) fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Takes back an attempt: of these and the `rest` that it left over, what was published.
    pub(crate) fn back_to(
        mut self,
        kernel: &dyn Kernel,
        mut rest: Self,
        published: &[PortMapping],
    ) -> Self {
        let published: BTreeSet<&PortMapping> = published.iter().collect();
        rest.held.append(&mut self.held);
        rest.held.retain(|mapping, _| published.contains(mapping));
        rest.claim_again(kernel);
        rest
    }

    /// Claims what has no claim, as what made room for an attempt that came to nothing. What a
    /// stranger bound meanwhile stays published.
    fn claim_again(&mut self, kernel: &dyn Kernel) {
        for (mapping, claim) in &mut self.held {
            if claim.is_none() {
                let again = kernel.claim_port(mapping.container.protocol, mapping.host);
                *claim = again.ok();
            }
        }
    }

    /// Claims a port. Of what is to go, that of the same number makes room for it: one address of
    /// a port that was published on all, or all of one that was published on one.
    fn claim(
        &mut self,
        kernel: &dyn Kernel,
        wanted: PortMapping,
        to_go: &BTreeSet<PortMapping>,
    ) -> Result<PortClaim, KernelError> {
        let protocol = wanted.container.protocol;
        let refusal = match kernel.claim_port(protocol, wanted.host) {
            Err(refusal) if is_in_use(&refusal) => refusal,
            other => return other,
        };
        let in_the_way = to_go.iter().filter(|mapping| {
            mapping.container.protocol == protocol && mapping.host.port() == wanted.host.port()
        });
        let made_room = in_the_way
            .filter_map(|mapping| self.held.get_mut(mapping)?.take())
            .map(drop)
            .count();
        match made_room {
            0 => Err(refusal),
            _ => kernel.claim_port(protocol, wanted.host),
        }
    }

    /// Takes back what was published before a restart. A port that a stranger bound meanwhile
    /// stays published (translation comes before local sockets) and is told in the answer.
    pub(crate) fn restore(
        kernel: &dyn Kernel,
        mappings: &[PortMapping],
    ) -> (Self, Vec<PortMapping>) {
        let mut taken = Vec::new();
        let mut claims = Self::default();
        for mapping in mappings {
            let claim = kernel
                .claim_port(mapping.container.protocol, mapping.host)
                .ok();
            if claim.is_none() {
                taken.push(*mapping);
            }
            claims.held.insert(*mapping, claim);
        }
        (claims, taken)
    }
}

/// What publishing needs to know.
pub(crate) struct Wanted<'a> {
    pub(crate) requests: &'a [PortRequest],
    /// Published on an ephemeral port each (`-P`).
    pub(crate) exposed: &'a [PortKey],
    /// Families that the sandbox has a gateway of.
    pub(crate) families: &'a [Family],
    /// The host addresses for requests that name none (`host_binding_ipv4`, `--ip`, or all).
    pub(crate) default_hosts: &'a [IpAddr],
    /// The kernel's ephemeral range.
    pub(crate) ephemeral: (u16, u16),
    /// Where the search for an ephemeral port goes on, so that it does not pass all those in use.
    pub(crate) cursor: &'a AtomicU16,
}

/// Claims what is wanted, keeping the host ports that `held` has for the same requests.
///
/// `held` is left as it was on failure; on success what is no longer wanted stays claimed until
/// the old value is dropped.
///
/// # Errors
/// `Conflict` with "port is already allocated", `Exhausted` when a whole range is taken.
pub(crate) fn settle(
    kernel: &dyn Kernel,
    wanted: &Wanted<'_>,
    held: &mut Claims,
) -> Result<Claims> {
    let before: BTreeSet<PortMapping> = held.held.keys().copied().collect();
    let (settled, mut refused) = settle_some(kernel, wanted, held, true);
    match refused.pop() {
        None => Ok(settled),
        Some((_, error)) => {
            held.held.extend(settled.held);
            held.held.retain(|mapping, _| before.contains(mapping));
            held.claim_again(kernel);
            Err(error)
        }
    }
}

/// The same of what can be had: what cannot is told, and why.
pub(crate) fn settle_each(
    kernel: &dyn Kernel,
    wanted: &Wanted<'_>,
    held: &mut Claims,
) -> (Claims, Vec<(PortRequest, Error)>) {
    settle_some(kernel, wanted, held, false)
}

/// Settles one after the other, of `all` or none up to the first that is refused.
fn settle_some(
    kernel: &dyn Kernel,
    wanted: &Wanted<'_>,
    held: &mut Claims,
    all: bool,
) -> (Claims, Vec<(PortRequest, Error)>) {
    let asked: BTreeSet<PortKey> = wanted.requests.iter().map(|r| r.container).collect();
    let ephemeral = wanted.exposed.iter().filter(|key| !asked.contains(key));
    let ephemeral = ephemeral.map(|key| PortRequest {
        container: *key,
        host_ip: None,
        host: None,
    });
    let requests = wanted.requests.iter().copied().chain(ephemeral);
    let requests: Vec<_> = requests.map(|r| (r, hosts_of(&r, wanted))).collect();
    let before = Before::new(held, &requests);
    let (mut settled, mut refused) = (Claims::default(), Vec::new());
    for (request, hosts) in requests.iter().filter(|(_, hosts)| !hosts.is_empty()) {
        let from = (&mut *held, &before);
        if let Err(error) = settle_one(kernel, request, hosts, wanted, from, &mut settled) {
            refused.push((*request, error));
            if all {
                break;
            }
        }
    }
    (settled, refused)
}

/// What was held before an attempt.
struct Before {
    by_container: BTreeMap<PortKey, Vec<PortMapping>>,
    /// What no request asks for.
    to_go: BTreeSet<PortMapping>,
}

impl Before {
    fn new(held: &Claims, requests: &[(PortRequest, Vec<IpAddr>)]) -> Self {
        let mut before = Self {
            by_container: BTreeMap::new(),
            to_go: held.held.keys().copied().collect(),
        };
        for mapping in held.held.keys() {
            let same = before.by_container.entry(mapping.container).or_default();
            same.push(*mapping);
        }
        let stay = requests
            .iter()
            .flat_map(|(r, hosts)| before.suiting(r, hosts));
        let stay: Vec<PortMapping> = stay.copied().collect();
        for mapping in stay {
            before.to_go.remove(&mapping);
        }
        before
    }

    /// What was held that is what a request asks for.
    fn suiting<'a>(
        &'a self,
        request: &'a PortRequest,
        hosts: &'a [IpAddr],
    ) -> impl Iterator<Item = &'a PortMapping> {
        let same = self.by_container.get(&request.container);
        let same = same.into_iter().flatten();
        same.filter(move |mapping| suits(request, hosts, mapping))
    }
}

impl Controller {
    /// What is asked for in vain of a sandbox on these networks.
    pub(crate) fn warn_unpublished(
        &self,
        requests: &[PortRequest],
        networks: impl Iterator<Item = NetworkId>,
    ) -> Vec<String> {
        let registry = self.registry();
        let networks: Vec<_> = networks
            .filter_map(|id| registry.network_by_id(id))
            .collect();
        drop(registry);
        let publishes = |family: &Family| {
            let mut networks = networks.iter();
            networks.any(|n| {
                // What the gateway bridge publishes for a network without a way out is up to it.
                n.driver.companion(&n.spec)
                    || n.driver.publishes(&n.spec, *family, &self.config.drivers)
            })
        };
        let mut families = vec![Family::V4, Family::V6];
        families.retain(publishes);
        unpublished(requests, &families)
    }
}

/// Tells what is asked for in vain: at a host address of a family over which none of the sandbox's
/// networks publishes, so that nobody takes silence for success.
fn unpublished(requests: &[PortRequest], families: &[Family]) -> Vec<String> {
    let in_vain = requests.iter().filter_map(|request| {
        let family = Family::of(request.host_ip?);
        (!families.contains(&family)).then_some((request, family))
    });
    let sentence = |(request, family): (&PortRequest, Family)| {
        let (addr, name) = match (request.host_ip, family) {
            (Some(addr), Family::V6) => (format!("[{addr}]"), "IPv6"),
            (addr, _) => (
                addr.map(|addr| addr.to_string()).unwrap_or_default(),
                "IPv4",
            ),
        };
        format!(
            "{} is not published on {addr}: none of the container's networks publishes ports over {name}, and no proxy translates",
            request.container
        )
    };
    in_vain.map(sentence).collect()
}

fn hosts_of(request: &PortRequest, wanted: &Wanted<'_>) -> Vec<IpAddr> {
    match request.host_ip {
        Some(ip) => wanted
            .families
            .iter()
            .filter(|f| **f == Family::of(ip))
            .map(|_| ip)
            .collect(),
        None => wanted.default_hosts.to_vec(),
    }
}

/// Whether what is published is what a request asks for.
fn suits(request: &PortRequest, hosts: &[IpAddr], mapping: &PortMapping) -> bool {
    mapping.container == request.container
        && hosts.contains(&mapping.host.ip())
        && request
            .host
            .is_none_or(|r| (r.first..=r.last).contains(&mapping.host.port()))
}

fn settle_one(
    kernel: &dyn Kernel,
    request: &PortRequest,
    hosts: &[IpAddr],
    wanted: &Wanted<'_>,
    (held, before): (&mut Claims, &Before),
    settled: &mut Claims,
) -> Result<()> {
    let is_left = |mapping: &&PortMapping| held.held.contains_key(*mapping);
    let kept = before.suiting(request, hosts).find(is_left);
    let kept = kept.map(|mapping| mapping.host.port());
    let (range, start) = match (kept, request.host) {
        (Some(port), _) => (
            PortRange {
                first: port,
                last: port,
            },
            port,
        ),
        (None, Some(range)) => (range, range.first),
        (None, None) => ephemeral_range(wanted),
    };
    let mut last = None;
    for port in (start..=range.last).chain(range.first..start) {
        let at = hosts.iter().map(|ip| PortMapping {
            host: SocketAddr::new(*ip, port),
            container: request.container,
        });
        match claim_all(kernel, at, held, &before.to_go, settled) {
            Ok(()) => {
                if request.host.is_none() {
                    wanted.cursor.store(port.wrapping_add(1), Ordering::Relaxed);
                }
                return Ok(());
            }
            Err(refusal) => {
                let next_may_do = is_in_use(&refusal.1);
                last = Some(refusal);
                if !next_may_do {
                    break;
                }
            }
        }
    }
    let (addr, source) = last.unwrap_or_else(|| {
        let addr = SocketAddr::new(hosts[0], range.first);
        (
            addr,
            KernelError::Call {
                operation: "bind",
                object: addr.to_string(),
                source: io::ErrorKind::AddrInUse.into(),
            },
        )
    });
    Err(refuse(range, request, addr, source))
}

/// Claims one port on every host address, or none.
fn claim_all(
    kernel: &dyn Kernel,
    at: impl Iterator<Item = PortMapping>,
    held: &mut Claims,
    to_go: &BTreeSet<PortMapping>,
    settled: &mut Claims,
) -> Result<(), (SocketAddr, KernelError)> {
    let (mut kept, mut new) = (Vec::new(), Vec::new());
    for mapping in at {
        match held.held.remove(&mapping) {
            Some(claim) => kept.push((mapping, claim)),
            None => match held.claim(kernel, mapping, to_go) {
                Ok(claim) => new.push((mapping, Some(claim))),
                Err(source) => {
                    held.held.extend(kept);
                    return Err((mapping.host, source));
                }
            },
        }
    }
    settled.held.extend(kept.into_iter().chain(new));
    Ok(())
}

fn ephemeral_range(wanted: &Wanted<'_>) -> (PortRange, u16) {
    let (first, last) = wanted.ephemeral;
    (
        PortRange { first, last },
        wanted.cursor.load(Ordering::Relaxed).clamp(first, last),
    )
}

fn is_in_use(error: &KernelError) -> bool {
    matches!(error, KernelError::Call { source, .. } if source.kind() == io::ErrorKind::AddrInUse)
}

fn refuse(range: PortRange, request: &PortRequest, addr: SocketAddr, source: KernelError) -> Error {
    let in_use = is_in_use(&source);
    let not_ours = matches!(&source, KernelError::Call { source, .. } if source.kind() == io::ErrorKind::AddrNotAvailable);
    if in_use && range.first == range.last {
        let message = format!("Bind for {addr} failed: port is already allocated");
        let taken = TakenPort {
            protocol: request.container.protocol,
            addr,
            refusal: source,
        };
        return Error::conflict("port-allocated", message).because(taken);
    }
    if in_use {
        let message = format!(
            "all ports are allocated: none of {range}/{} is free on {}",
            request.container.protocol,
            addr.ip()
        );
        return Error::new(Kind::Exhausted, "ports-exhausted", message).because(source);
    }
    if not_ours {
        let message = format!(
            "cannot assign requested address: {} is not an address of this host",
            addr.ip()
        );
        return Error::invalid("port-host-ip-foreign", message).because(source);
    }
    Error::internal(
        "port-claim-failed",
        format!("cannot hold {addr}/{}", request.container.protocol),
    )
    .because(source)
}

#[cfg(test)]
mod tests;

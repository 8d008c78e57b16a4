//! The way to the other hosts, tried over what carries packets of networks.
//!
//! Owns the networks by which hosts ask one another, which stand beside those of people, and what
//! becomes of the answers. It must not know what is asked, nor what a packet looks like.

use super::Member;
use crate::{
    Controller,
    controller::{Core, kernel_error},
    registry::lock,
    view::PathView,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Mutex,
    thread,
    time::Duration,
};
use vw_agents::probe::{FRAMES, Path, Prober, Told, Way, Wire};
use vw_drivers::ProbeNetwork;
use vw_hoststate::{Fragment, Netns, Object, Owner};
use vw_model::{HostId, OtherHosts, PROBE_NETWORKS, PROBE_PORT, RemoteHost, Result, Scope};

/// How long hosts are asked over a way at most: over the tunnels at once, and beside them after that.
const LONGEST: Duration = Duration::from_millis(4500);

/// Who asks, and what stands for that.
#[derive(Default)]
pub(super) struct Probes {
    prober: Prober,
    /// Held while what stands changes.
    standing: Mutex<Standing>,
}

#[derive(Default)]
struct Standing {
    /// Whether the network in clear text does, with the ways to all hosts.
    clear: bool,
    /// Whether that inside the encrypted tunnel does, with those to all hosts but for what changed.
    encrypted: bool,
    /// Those hosts whose ways in there could not be brought to what is known of them.
    behind: BTreeSet<HostId>,
    /// Why one cannot stand, as it was told.
    refused: BTreeMap<Way, String>,
}

/// What was found of the way to a host.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Tried {
    /// Whether it answers over every way that networks of the cluster take to it; `None` where
    /// nothing could be tried.
    pub(super) reachable: Option<bool>,
    /// The way in clear text, or beside the tunnels where there is none.
    pub(super) path: Option<PathView>,
    /// Whether it answers through the encrypted tunnel; `None` where one of the two has none now.
    pub(super) encrypted: Option<bool>,
    /// The way in there.
    pub(super) encrypted_path: Option<PathView>,
    /// What does not pass, in words.
    pub(super) trouble: Option<String>,
}

/// What came back from a host, by way.
struct Answers {
    /// Whether it was asked in clear text.
    asks_clear: bool,
    clear: Option<Path>,
    beside: Option<Path>,
    encrypted: Option<Path>,
}

/// Where a host was asked.
struct Asked {
    /// The port in clear text.
    port: u16,
    /// Whether this host has an encrypted tunnel now.
    encrypted: bool,
    /// The other host's port for encrypted packets.
    encrypted_port: Option<u16>,
}

impl Probes {
    /// Asks and answers beside the tunnels from this address, where the port can be had. Where it
    /// cannot, that is told once, and tried again with the next call.
    fn open_beside(&self, tunnel: IpAddr) {
        let mut standing = lock(&self.standing);
        if self.prober.is_open(Way::Beside) {
            return;
        }
        let wire = Wire::datagrams(tunnel);
        let opened = wire.and_then(|wire| self.prober.open(Way::Beside, wire));
        let Err(error) = opened else {
            standing.refused.remove(&Way::Beside);
            return;
        };
        let why = format!(
            "the way to other hosts cannot be tried beside the tunnels: UDP port {PROBE_PORT} of {tunnel}: {error}"
        );
        if standing.refused.get(&Way::Beside) != Some(&why) {
            tracing::warn!("{why}");
            standing.refused.insert(Way::Beside, why);
        }
    }

    fn refused(&self, standing: &mut Standing, way: Way, error: &vw_model::Error) {
        self.prober.close(way);
        let why = error.chain();
        if standing.refused.get(&way) != Some(&why) {
            tracing::warn!("the way to other hosts cannot be tried by a tunnel: {why}");
            standing.refused.insert(way, why);
        }
    }
}

impl Core {
    fn probes(&self) -> Option<&Probes> {
        self.member.as_ref().map(|member: &Member| &member.probes)
    }

    /// Lets go of networks whose namespaces somebody took away, which would last as long as we look
    /// into them.
    pub(crate) fn leave_probes(&self, gone: &[Netns]) {
        let Some(probes) = self.probes() else { return };
        for (id, way) in PROBE_NETWORKS.into_iter().zip([Way::Clear, Way::Encrypted]) {
            if gone.contains(&Netns::Network(id)) {
                probes.prober.close(way);
            }
        }
    }
}

impl Controller {
    /// Has the hosts that are known get answers to what they ask of the way here, over what stands.
    pub(super) fn answer_known(&self) {
        for host in self.member.iter().flat_map(Member::others) {
            self.answer(host.id, Some(host.tunnel));
        }
    }

    /// Has one that came, or is elsewhere now, get answers, or one that is gone none.
    pub(super) fn answer(&self, id: HostId, tunnel: Option<IpAddr>) {
        if let Some(member) = &self.member {
            member.probes.open_beside(member.tunnel);
            member.probes.prober.know(id, tunnel);
        }
    }

    /// What another host needs here, whichever networks it takes part in.
    pub(super) fn peer_fragment(&self, host: &RemoteHost) -> Result<Fragment> {
        let cx = &self.config.drivers;
        let mut fragment = vw_drivers::plan_host(host, cx);
        let network = ProbeNetwork::clear(cx)?;
        fragment.extend(network.and_then(|network| network.plan_host(host)));
        Ok(fragment)
    }

    /// Brings the kernel to what is known of another host, or to that it is gone.
    pub(super) fn bring_peer(&self, id: HostId, host: Option<&RemoteHost>) -> Result<()> {
        let standing = self.probes().map(|probes| lock(&probes.standing));
        let Some(host) = host else {
            return self.bring(vec![(Owner::Peer(id), Fragment::default())]);
        };
        if standing.as_ref().is_some_and(|standing| standing.clear)
            && self
                .bring(vec![(Owner::Peer(id), self.peer_fragment(host)?)])
                .is_ok()
        {
            return Ok(());
        }
        // Its tunnels are let in whether it can be asked or not.
        let fragment = vw_drivers::plan_host(host, &self.config.drivers);
        self.bring(vec![(Owner::Peer(id), fragment)])
    }

    /// Wants, at the start, what stood before; the comparison that follows brings it.
    ///
    /// # Errors
    /// Never: names of ours are interfaces'.
    pub(super) fn restored_probes(&self) -> Result<Vec<(Owner, Fragment)>> {
        let cx = &self.config.drivers;
        let hosts = self.cluster()?.hosts();
        let mut wants = Vec::with_capacity(hosts.len() + 2);
        for host in &hosts {
            wants.push((Owner::Peer(host.id), self.peer_fragment(host)?));
        }
        if let Some(network) = ProbeNetwork::clear(cx)? {
            let fragment = network.plan(HostId(self.host_id));
            wants.push((Owner::Network(network.id), fragment));
        }
        if self.encryption().is_some_and(|own| own.stands()) {
            let encrypted = ProbeNetwork::encrypted(cx)?;
            let plan = |network: ProbeNetwork| {
                let ways = hosts.iter().map(|host| (host.id, network.plan_host(host)));
                let ways: Vec<_> = ways.collect();
                self.encrypted_probe(&network, ways)
            };
            wants.extend(encrypted.into_iter().flat_map(plan));
        }
        Ok(wants)
    }

    /// Has the network stand by which hosts are asked in clear text, and asks and answers by it.
    /// Where it cannot, that is told once, and tried again with the next call.
    pub(super) fn open_clear_probe(&self) {
        let Some(probes) = self.probes() else { return };
        let mut standing = lock(&probes.standing);
        if standing.clear && probes.prober.is_open(Way::Clear) {
            return;
        }
        match self.raise_clear_probe(probes) {
            Ok(()) => {
                standing.clear = true;
                standing.refused.remove(&Way::Clear);
            }
            Err(error) => {
                standing.clear = false;
                probes.refused(&mut standing, Way::Clear, &error);
                let cx = &self.config.drivers;
                let hosts = self.cluster().map(|cluster| cluster.hosts());
                let hosts = hosts.into_iter().flatten();
                let mut wants: Vec<_> = hosts
                    .map(|host| (Owner::Peer(host.id), vw_drivers::plan_host(&host, cx)))
                    .collect();
                wants.push((Owner::Network(PROBE_NETWORKS[0]), Fragment::default()));
                if let Err(error) = self.take_away(wants) {
                    tracing::debug!("{}", error.chain());
                }
            }
        }
        self.tell_probes(probes);
    }

    /// The same where it stood, and what it was asked by is gone.
    pub(crate) fn open_clear_probe_again(&self) {
        let ended = self.probes().is_some_and(|probes| {
            lock(&probes.standing).clear && !probes.prober.is_open(Way::Clear)
        });
        if ended {
            self.open_clear_probe();
        }
    }

    fn raise_clear_probe(&self, probes: &Probes) -> Result<()> {
        let cx = &self.config.drivers;
        let Some(network) = ProbeNetwork::clear(cx)? else {
            return Ok(());
        };
        let fragment = network.plan(HostId(self.host_id));
        let mut wants = vec![(Owner::Network(network.id), fragment)];
        for host in self.cluster()?.hosts() {
            wants.push((Owner::Peer(host.id), self.peer_fragment(&host)?));
        }
        self.bring(wants)?;
        self.listen(probes, Way::Clear, &network)
    }

    /// Likewise inside the encrypted tunnel, which stands now, with the ways to those that changed.
    pub(super) fn open_encrypted_probe(&self, others: &OtherHosts) {
        let Some(probes) = self.probes() else { return };
        let mut standing = lock(&probes.standing);
        let raised = self.raise_encrypted_probe(probes, &mut standing, others);
        match raised {
            Ok(()) => {
                standing.refused.remove(&Way::Encrypted);
            }
            Err(error) => probes.refused(&mut standing, Way::Encrypted, &error),
        }
        self.tell_probes(probes);
    }

    fn raise_encrypted_probe(
        &self,
        probes: &Probes,
        standing: &mut Standing,
        others: &OtherHosts,
    ) -> Result<()> {
        let Some(network) = ProbeNetwork::encrypted(&self.config.drivers)? else {
            return Ok(());
        };
        let mut ids = match standing.encrypted {
            true => others.changed(),
            false => others.known(),
        };
        ids.append(&mut standing.behind);
        let way = |id: &HostId| {
            (
                *id,
                others.get(*id).and_then(|host| network.plan_host(host)),
            )
        };
        let ways = ids.iter().map(way);
        let wants = match standing.encrypted {
            true => by_host(ways),
            false => self.encrypted_probe(&network, ways),
        };
        if !wants.is_empty() {
            if let Err(error) = self.bring(wants) {
                (standing.encrypted, standing.behind) = (false, ids);
                return Err(error);
            }
            standing.encrypted = true;
        }
        match probes.prober.is_open(Way::Encrypted) {
            true => Ok(()),
            false => self.listen(probes, Way::Encrypted, &network),
        }
    }

    /// The network, with the ways to hosts.
    fn encrypted_probe(
        &self,
        network: &ProbeNetwork,
        hosts: impl IntoIterator<Item = (HostId, Option<Object>)>,
    ) -> Vec<(Owner, Fragment)> {
        let fragment = network.plan(HostId(self.host_id));
        let mut wants = by_host(hosts);
        wants.push((Owner::Network(network.id), fragment));
        wants
    }

    /// Asks and answers no longer inside the encrypted tunnel; what is to be taken away for that.
    pub(super) fn close_encrypted_probe(&self, others: &OtherHosts) -> Vec<(Owner, Fragment)> {
        let mut ids = others.known();
        if let Some(probes) = self.probes() {
            let mut standing = lock(&probes.standing);
            standing.encrypted = false;
            ids.append(&mut standing.behind);
            drop(standing);
            probes.prober.close(Way::Encrypted);
            self.tell_probes(probes);
        }
        let mut wants = by_host(ids.into_iter().map(|id| (id, None)));
        wants.push((Owner::Network(PROBE_NETWORKS[1]), Fragment::default()));
        wants
    }

    /// Likewise in clear text, when the daemon leaves nothing behind.
    pub(crate) fn close_clear_probe(&self) -> (Owner, Fragment) {
        if let Some(probes) = self.probes() {
            lock(&probes.standing).clear = false;
            probes.prober.close(Way::Clear);
        }
        (Owner::Network(PROBE_NETWORKS[0]), Fragment::default())
    }

    fn listen(&self, probes: &Probes, way: Way, network: &ProbeNetwork) -> Result<()> {
        let made = self.kernel.frame_socket(network.id, &network.link, FRAMES);
        let made = made.map_err(kernel_error)?;
        let wire = Wire::Frames {
            socket: made.socket,
            link: made.link,
        };
        probes.prober.open(way, wire).map_err(|error| {
            vw_model::Error::internal("thread-refused", "no thread to try the way to other hosts")
                .because(error)
        })
    }

    /// Has answers tell what stands here.
    fn tell_probes(&self, probes: &Probes) {
        let network = ProbeNetwork::clear(&self.config.drivers).ok().flatten();
        let network = network.filter(|_| probes.prober.is_open(Way::Clear));
        probes.prober.tell(Told {
            clear: network.map(|network| network.port),
            encrypted: probes.prober.is_open(Way::Encrypted),
        });
    }

    /// The way to each of these hosts, tried now.
    pub(super) fn try_ways(&self, hosts: &[HostId]) -> BTreeMap<HostId, Tried> {
        let cx = &self.config.drivers;
        let networks = (ProbeNetwork::clear(cx), ProbeNetwork::encrypted(cx));
        let (Some(probes), (Ok(Some(clear)), Ok(encrypted))) = (self.probes(), networks) else {
            return BTreeMap::new();
        };
        self.open_clear_probe();
        if let Some(member) = &self.member {
            probes.open_beside(member.tunnel);
        }
        let prober = &probes.prober;
        // What WireGuard makes too large for this host's link is cut up there: it passes, but not whole.
        let lacks = self.underlay_lacks();
        let asks_clear = self.is_carried_in_clear() && prober.is_open(Way::Clear);
        let (in_clear, inside) = thread::scope(|scope| {
            let inside = encrypted.and_then(|network| {
                let whole = network.mtu.saturating_sub(lacks);
                let ask = move || prober.ask(Way::Encrypted, hosts, whole, LONGEST);
                let thread = thread::Builder::new().name("probe-inside".to_owned());
                // Without a thread nothing is told of that way.
                thread.spawn_scoped(scope, ask).ok()
            });
            let in_clear = asks_clear.then(|| prober.ask(Way::Clear, hosts, clear.mtu, LONGEST));
            let inside = inside.and_then(|inside| inside.join().ok());
            (in_clear.flatten().unwrap_or_default(), inside.flatten())
        });
        let silent = hosts.iter().filter(|host| !in_clear.contains_key(host));
        let silent: Vec<HostId> = silent.copied().collect();
        let beside = prober.ask(Way::Beside, &silent, clear.mtu, LONGEST);
        if !asks_clear && beside.is_none() {
            return BTreeMap::new();
        }
        let known = self.cluster().map(|cluster| cluster.hosts());
        let known = known.into_iter().flatten();
        let ports: BTreeMap<HostId, u16> = known
            .filter_map(|host| Some((host.id, host.keys?.port)))
            .collect();
        let tried = |host: &HostId| {
            let answers = Answers {
                asks_clear,
                clear: in_clear.get(host).copied(),
                beside: beside.as_ref().and_then(|paths| paths.get(host).copied()),
                encrypted: inside.as_ref().and_then(|paths| paths.get(host).copied()),
            };
            let asked = Asked {
                port: clear.port,
                encrypted: inside.is_some(),
                encrypted_port: ports.get(host).copied(),
            };
            (*host, judged(&answers, &asked))
        };
        hosts.iter().map(tried).collect()
    }

    /// Whether networks of the cluster have packets carried in clear text by tunnels; also where
    /// there is no network yet.
    fn is_carried_in_clear(&self) -> bool {
        let networks = self.registry().networks();
        let global = networks.iter().filter(|n| n.spec.scope == Scope::Global);
        let cx = &self.config.drivers;
        let kinds: BTreeSet<bool> = global
            .map(|network| {
                let (spec, driver) = (&network.spec, network.driver);
                let routed = driver.host_link(spec).is_some();
                // What cannot stand here is encrypted, and this host has no tunnel for it.
                let shared = driver.plan_shared(spec, cx);
                !routed && shared.is_ok_and(|shared| shared.is_empty())
            })
            .collect();
        kinds.is_empty() || kinds.contains(&true)
    }
}

/// The ways to hosts inside the encrypted tunnel, or that there is none.
fn by_host(hosts: impl IntoIterator<Item = (HostId, Option<Object>)>) -> Vec<(Owner, Fragment)> {
    let hosts = hosts.into_iter();
    let way = |(id, way): (_, Option<Object>)| (Owner::Asked(id), way.into_iter().collect());
    hosts.map(way).collect()
}

/// What the answers of a host say together. Where it cannot be asked in clear text, as one of an
/// older version or with another port, it is judged by what passes beside the tunnels.
fn judged(answers: &Answers, asked: &Asked) -> Tried {
    let all = [answers.clear, answers.beside, answers.encrypted];
    let told = all.into_iter().flatten().next().map(|path| path.told);
    let is_barred = answers.asks_clear
        && answers.clear.is_none()
        && answers
            .beside
            .is_some_and(|path| path.told.clear == Some(asked.port));
    let path = answers.clear.or(answers.beside.filter(|_| !is_barred));
    let encrypted = told
        .filter(|told| asked.encrypted && told.encrypted)
        .map(|_| answers.encrypted.is_some());
    let mut dropped = Vec::new();
    if is_barred {
        dropped.push(format!("in VXLAN (UDP {})", asked.port));
    }
    if encrypted == Some(false) {
        dropped.push(match asked.encrypted_port {
            Some(port) => format!("through the encrypted tunnel (UDP {port})"),
            None => "through the encrypted tunnel".to_owned(),
        });
    }
    let answered = match answers.clear.is_some() {
        true => format!("in VXLAN (UDP {})", asked.port),
        false => format!("at UDP {PROBE_PORT}"),
    };
    let mut troubles = Vec::new();
    if !dropped.is_empty() {
        let dropped = dropped.join(", nor ");
        troubles.push(format!("it does not answer {dropped}, though it does {answered}: a firewall, or something else between the two, drops that"));
    }
    let ways = [path, answers.encrypted].into_iter().flatten();
    let unmeasured = ways.filter(|path| path.mtu.is_none());
    if let Some(latency) = unmeasured.map(|path| path.latency).max() {
        let milliseconds = latency.as_millis();
        troubles.push(format!("how large a packet gets there whole was not found in time, as answers take {milliseconds} ms"));
    }
    Tried {
        reachable: Some(path.is_some() && encrypted != Some(false)),
        path: path.map(view),
        encrypted,
        encrypted_path: answers.encrypted.map(view),
        trouble: (!troubles.is_empty()).then(|| troubles.join("; ")),
    }
}

const fn view(path: Path) -> PathView {
    PathView {
        latency: path.latency,
        mtu: path.mtu,
    }
}

#[cfg(test)]
mod tests;

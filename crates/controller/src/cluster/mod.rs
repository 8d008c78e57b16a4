//! This host among the hosts of its cluster: networks that all of them have, and endpoints that
//! they tell each other of.
//!
//! Owns what becomes of the cluster's changes here, and what of this host is told to the others.
//! It must not know which store they share, nor how they agree.

mod doubles;
mod ear;
mod encryption;
mod left;
mod networks;
mod probes;
mod reach;
mod rejoin;
mod sealed;
mod underlay;
mod unreached;

use crate::{
    Controller,
    attach::FAMILIES,
    command::{ClusterForget, ClusterStatus},
    controller::Membership,
    naming::names_of as local_names,
    registry::{Network, Sandbox, lock},
    services::Role,
    view::{ClusterView, HostView, ServerView},
};
use ear::Ear;
use encryption::Encryption;
pub use encryption::{KernelTunnel, Tunnel, carrier, encryption_port};
pub use left::refuse_to_leave_cluster;
use probes::{Probes, Tried};
pub(crate) use rejoin::{Rejoin, missing_of};
pub(crate) use sealed::{seal, sealed_networks};
use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex},
};
pub(crate) use unreached::Unreached;
use vw_cluster::{Cluster, Delta, HostStatus, Parting, StoreState};
use vw_drivers::Carrier;
use vw_model::{
    EndpointId, Error, HostId, Id, Kind, NetworkId, RemoteEndpoint, RemoteHost, Result, Scope,
    inner_address,
};
use vw_store::Store;

/// This host's place among the others.
pub(crate) struct Member {
    cluster: Arc<Cluster>,
    ear: Arc<Ear>,
    /// Its name.
    name: String,
    /// Its end of every tunnel.
    tunnel: IpAddr,
    /// Its end of the encrypted one, where it can have one.
    encryption: Option<Arc<Encryption>>,
    /// What was told of the link to them last.
    underlay_told: Mutex<Option<String>>,
    /// Tries the way to the others.
    probes: Probes,
}

impl Member {
    /// The name of this host.
    pub(crate) fn own_name(&self) -> &str {
        &self.name
    }

    /// The others that live or are away.
    pub(crate) fn others(&self) -> Vec<RemoteHost> {
        self.cluster.hosts()
    }

    /// Its address inside the encrypted tunnel.
    pub(crate) fn inner(&self, host: Id) -> Option<Ipv6Addr> {
        let encryption = self.encryption.as_ref();
        encryption.map(|_| inner_address(HostId(host)))
    }

    /// As people are told: see [`InfoView::encryption`](crate::view::InfoView::encryption).
    pub(crate) fn encryption_word(&self) -> &'static str {
        match self.carrier() {
            Some(Carrier::Kernel) => "kernel",
            Some(Carrier::UserSpace) => "user space",
            None => "none",
        }
    }

    /// Who carries what is encrypted, where that can be.
    pub(crate) fn carrier(&self) -> Option<Carrier> {
        self.encryption
            .as_ref()
            .map(|encryption| encryption.carrier())
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        if let Some(encryption) = &self.encryption {
            encryption.close();
        }
        self.ear.close();
    }
}

impl Membership {
    /// Takes up what this host knew of the cluster, and joins it; the store is not waited for.
    ///
    /// # Errors
    /// When the local copy cannot be read, or there is no thread.
    pub(crate) fn join(
        self,
        host: Id,
        durable: &Arc<dyn Store>,
        fast: &Arc<dyn Store>,
        random: fn() -> [u8; 32],
    ) -> Result<Member> {
        let host = HostId(host);
        let (name, tunnel) = (self.name.clone(), self.advertise);
        let mut settings = vw_cluster::Settings::new(host, self.name, tunnel, self.version, random);
        settings.pulse = self.pulse;
        let ear = Arc::new(Ear::new(self.caught_up));
        let (durable, fast) = (durable.clone(), fast.clone());
        let local = vw_cluster::Local { durable, fast };
        let cluster = Cluster::start(self.store, local, settings, ear.clone())?;
        let encryption = self.tunnel.map(|tunnel| Encryption::new(tunnel, &cluster));
        Ok(Member {
            encryption,
            cluster,
            ear,
            name,
            tunnel,
            underlay_told: Mutex::default(),
            probes: Probes::default(),
        })
    }
}

/// Changes of one network's endpoints that came in a row.
#[derive(Default)]
struct Changes {
    appeared: BTreeMap<EndpointId, Arc<RemoteEndpoint>>,
    gone: BTreeMap<EndpointId, Parting>,
}

impl Controller {
    /// The cluster that this host is in.
    ///
    /// # Errors
    /// `Unsupported` outside one.
    pub(crate) fn cluster(&self) -> Result<&Arc<Cluster>> {
        self.member.as_ref().map(|member| &member.cluster).ok_or_else(|| {
            Error::new(
                Kind::Unavailable,
                "no-cluster",
                "this host is in no cluster: start the daemon with --cluster-store and --cluster-advertise",
            )
        })
    }

    /// Lists what the local copy knows, before the kernel is looked at.
    pub(crate) fn load_cluster(&self) {
        if let Some(member) = &self.member {
            self.cluster_changed(member.ear.early());
        }
    }

    /// Has this host answer the others: all that it has from before was told, and the kernel has no more.
    /// Before containers start, which may ask the others and take long.
    pub(crate) fn answer_cluster(&self) {
        if let Some(member) = &self.member {
            member.cluster.settled();
        }
    }

    /// Has this host be taken off all networks where it was given up, from now on: what stood before has
    /// its ports again. Before containers start, which would join again.
    pub(crate) fn hear_of_removal(&self) {
        if let Some(member) = &self.member {
            member.ear.stand(self.downgrade());
        }
    }

    /// Follows the cluster from now on, which was told all that this host holds.
    pub(crate) fn follow_cluster(&self) {
        if let Some(member) = &self.member {
            self.balancers.open();
            self.answer_known();
            self.open_clear_probe();
            member.ear.open(self.downgrade());
            self.begin_encryption();
            // What could not be taken up comes back, whenever the store was heard.
            self.return_all();
        } else {
            // What led to the services of a cluster that this host has left.
            self.lower_balancers();
        }
        self.balance_soon();
        self.look_at_refused();
    }

    pub(crate) fn cluster_changed(&self, deltas: Vec<Delta>) {
        self.balancers.told_since.note(&deltas);
        let mut endpoints: BTreeMap<NetworkId, Changes> = BTreeMap::new();
        for delta in deltas {
            match delta {
                Delta::Endpoint(remote) => {
                    let changes = endpoints.entry(remote.network).or_default();
                    changes.gone.remove(&remote.id);
                    changes.appeared.insert(remote.id, remote);
                }
                Delta::EndpointGone(network, id, parting) => {
                    let changes = endpoints.entry(network).or_default();
                    changes.appeared.remove(&id);
                    changes.gone.insert(id, parting);
                }
                other => {
                    self.flush_endpoints(&mut endpoints);
                    self.one_change(other);
                }
            }
        }
        self.flush_endpoints(&mut endpoints);
    }

    fn flush_endpoints(&self, endpoints: &mut BTreeMap<NetworkId, Changes>) {
        self.see_off();
        for (id, changes) in std::mem::take(endpoints) {
            let Some(network) = self.registry().network_by_id(id) else {
                continue;
            };
            let appeared = changes.appeared.into_values().collect();
            self.remotes_changed(&network, || appeared, &changes.gone);
        }
    }

    fn one_change(&self, delta: Delta) {
        match delta {
            Delta::Network(spec) => self.list_global(*spec),
            Delta::NetworkGone(id) => self.global_gone(id),
            Delta::Service(spec) => self.take_agreed(spec.id),
            Delta::ServiceGone(id) => self.take_agreed(id),
            Delta::Host(host) => self.peer_changed(host.id, Some(&host)),
            Delta::HostGone(id) => self.peer_changed(id, None),
            Delta::Store(StoreState::Unknown) => {}
            Delta::Store(StoreState::Reachable) => {
                *lock(&self.store_away) = None;
                self.return_all();
            }
            Delta::Store(StoreState::Away { reason, .. }) => {
                *lock(&self.store_away) = Some(reason);
            }
            Delta::Forgotten => self.leave_all(),
            Delta::Joined => self.return_all(),
            Delta::Endpoint(_) | Delta::EndpointGone(..) => {}
        }
    }

    /// Lets the tunnel of a host in, or keeps that of one that is gone out.
    fn peer_changed(&self, id: HostId, host: Option<&RemoteHost>) {
        if let Some(encryption) = self.encryption() {
            encryption.look();
        }
        self.answer(id, host.map(|host| host.tunnel));
        if let Err(error) = self.bring_peer(id, host) {
            self.warn(format!(
                "the tunnels of other hosts cannot be let in: {}",
                error.chain()
            ));
        }
    }

    /// What the other hosts cannot be told of this one, in sentences.
    pub(crate) fn untold(&self) -> Vec<String> {
        self.member
            .iter()
            .flat_map(|member| member.cluster.untold())
            .collect()
    }

    /// Tells the other hosts of an endpoint that stands here, by [`Self::tell_role`]; never waits.
    pub(crate) fn publish(
        &self,
        sandbox: &Sandbox,
        network: &Network,
        id: EndpointId,
        role: &Role,
    ) {
        if network.spec.scope == Scope::Local {
            return;
        }
        let Some(member) = &self.member else {
            return;
        };
        let state = sandbox.state();
        let Some(attachment) = state.attachments.iter().find(|a| a.endpoint.id == id) else {
            return;
        };
        let endpoint = &attachment.endpoint;
        let mut names = local_names(&state, attachment);
        names.extend(role.names.iter().cloned());
        let mut ports = state.spec.exposed.clone();
        ports.extend(&role.ports);
        ports.sort_unstable();
        ports.dedup();
        let remote = RemoteEndpoint {
            id,
            network: network.spec.id,
            // The cluster knows both better.
            host: HostId(self.host_id),
            tunnel: member.tunnel,
            sandbox: sandbox.id,
            mac: endpoint.mac,
            addresses: endpoint.addresses.clone(),
            names,
            ports,
            service: role.part.clone(),
            away: false,
        };
        drop(state);
        member.cluster.publish(remote);
    }

    /// Tells the other hosts that an endpoint is gone.
    pub(crate) fn unpublish(&self, network: &Network, id: EndpointId) {
        if network.spec.scope == Scope::Global
            && let Ok(cluster) = self.cluster()
        {
            cluster.withdraw(network.spec.id, id);
        }
    }

    /// Whether a sandbox's address on a global network would be ambiguous beside what it has.
    ///
    /// # Errors
    /// `Conflict`: a global subnet may overlap a local one of this host, which no other host can
    /// know; a sandbox cannot be on both.
    pub(crate) fn check_overlap(&self, sandbox: &Sandbox, network: &Network) -> Result<()> {
        let state = sandbox.state();
        for other in &state.attachments {
            let theirs = &other.network.spec;
            if theirs.scope == network.spec.scope {
                continue;
            }
            for family in FAMILIES {
                let mut pools = network.spec.pools(family);
                let overlap = pools.find(|pool| {
                    let mut held = theirs.pools(family);
                    held.any(|held| {
                        held.subnet.contains(&pool.subnet.addr())
                            || pool.subnet.contains(&held.subnet.addr())
                    })
                });
                if let Some(pool) = overlap {
                    return Err(Error::conflict(
                        "subnets-overlap",
                        format!(
                            "{} cannot be on network {}: its subnet {} overlaps that of network {}, which it is on",
                            state.spec.name, network.spec.name, pool.subnet, theirs.name
                        ),
                    ));
                }
            }
        }
        Ok(())
    }

    pub(crate) fn cluster_status(&self, _: ClusterStatus) -> Result<ClusterView> {
        let status = self.cluster()?.status();
        let servers = status.members.into_iter().map(|server| ServerView {
            address: server.address,
            answer: server.answer,
            leader: server.leader,
            version: server.version,
        });
        let this = status.host;
        let own = self.member.as_ref().map(|member| member.tunnel);
        // A host that had this one's address, and its disk emptied, is no other.
        let tried =
            |host: &&HostStatus| host.id != this && host.alive && Some(host.advertise) != own;
        let others = status.hosts.iter().filter(tried);
        let mut found = self.try_ways(&others.map(|host| host.id).collect::<Vec<_>>());
        let trouble = match &status.store {
            StoreState::Away { reason, .. } => Some(reason.clone()),
            StoreState::Unknown | StoreState::Reachable => None,
        };
        let living = status.hosts.iter().filter(|host| host.alive);
        let told = living.map(|host| (host.id, host.name.clone(), host.advertise));
        let told: Vec<_> = told.collect();
        let own = self.member.as_ref().map(|member| member.tunnel);
        let mut apart = own.map(|own| doubles::apart(told.clone(), own));
        let mut doubles = doubles::doubles(told);
        let hosts = status.hosts.into_iter().map(|host| {
            let mut tried = found.remove(&host.id).unwrap_or_default();
            if host.id == this {
                tried.trouble = self.underlay_trouble();
            }
            let apart = apart.as_mut().and_then(|apart| apart.remove(&host.id));
            let troubles = [tried.trouble, doubles.remove(&host.id), apart];
            let troubles: Vec<String> = troubles.into_iter().flatten().collect();
            tried.trouble = (!troubles.is_empty()).then(|| troubles.join("; "));
            host_view(host, this, tried)
        });
        let member = self.member.as_ref();
        Ok(ClusterView {
            encryption: member.map_or("", Member::encryption_word),
            store: status.kind.to_owned(),
            trouble,
            servers: servers.collect(),
            hosts: hosts.collect(),
        })
    }

    pub(crate) fn cluster_forget(&self, request: ClusterForget) -> Result<()> {
        self.cluster()?.forget(&request.host)
    }
}

fn host_view(host: HostStatus, this: HostId, tried: Tried) -> HostView {
    let blocks = host.blocks;
    HostView {
        this: host.id == this,
        id: host.id,
        name: host.name,
        addr: host.advertise,
        version: host.version,
        alive: host.alive,
        away: host.away,
        endpoints: host.endpoints,
        blocks: blocks.map(|blocks| blocks.values().map(Vec::len).sum()),
        reachable: tried.reachable,
        path: tried.path,
        encrypted: tried.encrypted,
        encrypted_path: tried.encrypted_path,
        trouble: tried.trouble,
    }
}

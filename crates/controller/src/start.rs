//! From records to a running engine: what was there before is adopted, finished or undone.
//!
//! Names answer first, then the kernel is compared with what is wanted, as one diff.

mod names;
mod ports;

use crate::{
    Config, Controller, Membership, Parts,
    cluster::{seal, sealed_networks},
    controller::{Core, kernel_error},
    detach::Leaving,
    event::EventBus,
    records::{self, AttachmentRecord, ContainerRecord, Owed, SandboxRecord},
    registry::{Network, Registry, Sandbox, SandboxState, lock},
    services::Checker,
    translation::ask_for_forwarding,
    watch::Watcher,
};
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{
        Arc, Condvar, Mutex, RwLock,
        atomic::{AtomicBool, AtomicU16},
    },
    time::{Instant, SystemTime},
};
use vw_hoststate::{Fragment, HostState, Netns, Object, Owner, Sysctl, Table as NftTable};
use vw_ipam::Ipam;
use vw_model::{
    ContainerName, EndpointSpec, Error, Id, IpNet, NetworkId, NetworkSpec, Result, SandboxId,
};
use vw_store::{Batch, Table};

/// Forwarding must be on for networks to reach anything.
pub(crate) const FORWARDING: [(&str, &str); 2] = [
    ("net/ipv4/ip_forward", "1"),
    ("net/ipv6/conf/all/forwarding", "1"),
];
/// Neighbours on a bridge need no pass through the IP hooks, and `::1` cannot be published with it.
const BRIDGE_NETFILTER: [(&str, &str); 2] = [
    ("net/bridge/bridge-nf-call-iptables", "0"),
    ("net/bridge/bridge-nf-call-ip6tables", "0"),
];

/// What of a name leaves room for an id behind it.
const LONGEST_START: usize = 240;

/// What the run store said.
struct Left {
    sandboxes: HashMap<SandboxId, SandboxRecord>,
    /// Attachments, not yet read.
    attachments: Vec<records::Row>,
}

impl Controller {
    /// Takes up what the stores and the kernel hold, repairs what differs, and starts
    /// containers that should run.
    ///
    /// # Errors
    /// When a store or the kernel cannot be read, a record cannot be understood, or the
    /// predefined networks cannot be made.
    pub fn open(mut config: Config, parts: Parts) -> Result<Self> {
        let began = Instant::now();
        let facts = parts.kernel.facts().map_err(kernel_error)?;
        ask_for_forwarding(&mut config, &facts, &*parts.data);
        let ipam = Ipam::new(config.pools.clone());
        let cannot =
            |what: &'static str| move |error| Error::internal("watch-failed", what).because(error);
        let watcher = Watcher::start().map_err(cannot("cannot watch processes"))?;
        let checker = Checker::new().map_err(cannot("cannot check services"))?;
        let host_id = host_id(&*parts.data, parts.random)?;
        let (data, run) = (&parts.data, &parts.run);
        let join = |membership: Membership| membership.join(host_id, data, run, parts.random);
        // A cluster that it joins may tell at once that one of them is gone.
        let sealed = sealed_networks(&**data)?;
        let member = parts.cluster.map(join).transpose()?;
        if let (Some(underlay), Some(member)) = (&mut config.drivers.underlay, &member) {
            underlay.inner = member.inner(host_id);
            underlay.carrier = member.carrier().unwrap_or_default();
            underlay.link_local = Some(vw_model::link_address(vw_model::HostId(host_id)));
        }
        let controller = Self::from_core(Core {
            kernel: parts.kernel,
            data: parts.data,
            run: parts.run,
            runtime: parts.runtime,
            dns: parts.dns,
            random: parts.random,
            facts: RwLock::new(facts),
            registry: RwLock::new(Registry::default()),
            ipam: Mutex::new(ipam),
            host: Mutex::new(HostState::default()),
            landed: Condvar::new(),
            services: Mutex::default(),
            balancers: Default::default(),
            checker,
            applying: RwLock::new(()),
            astray: AtomicBool::new(false),
            mending: Mutex::new(()),
            patience: Default::default(),
            leaving: Mutex::new(Vec::new()),
            departed: Mutex::new(Vec::new()),
            owed_data: Owed::default(),
            owed_run: Owed::default(),
            events: EventBus::default(),
            network_changes: Mutex::new(()),
            agreed_changes: Mutex::new(()),
            room: Mutex::new(()),
            ephemeral_cursor: AtomicU16::new(0),
            warnings: Mutex::new(Vec::new()),
            watcher,
            ends: Mutex::new(None),
            resolver_files: Default::default(),
            execs: Mutex::new(BTreeMap::new()),
            host_id,
            member,
            store_away: Mutex::new(None),
            rejoin: Default::default(),
            config,
        });
        controller.take_up_all(began, &sealed)?;
        Ok(controller)
    }

    /// Takes up what the records tell of, names first, and brings the kernel to it.
    fn take_up_all(&self, began: Instant, sealed: &BTreeMap<NetworkId, Vec<IpNet>>) -> Result<()> {
        if let Some(sentence) = self.translates_nothing() {
            tracing::warn!("{sentence}");
        }
        self.load_networks()?;
        self.load_cluster();
        self.load_services()?;
        let left = self.load_left()?;
        self.load_sandboxes(&left, sealed)?;
        let (taken, sockets) = self.beside_sockets(&left.sandboxes, || {
            let attachments = self.load_attachments(&left)?;
            Ok(self.take_up_attachments(attachments))
        })?;
        self.restore_resolvers(sockets);
        tracing::info!(elapsed = ?began.elapsed(), "names answer");
        let undone = self.plan_attachments(taken);
        self.restore_host(undone, &left.sandboxes)?;
        self.answer_cluster();
        self.ensure_predefined()?;
        self.restore_ports(&left.sandboxes);
        self.restore_service_ports();
        self.forget_led_elsewhere();
        self.hear_of_removal();
        self.settle_sandboxes();
        self.follow_cluster();
        self.follow_containers()?;
        tracing::info!(elapsed = ?began.elapsed(), "ready");
        Ok(())
    }

    fn load_networks(&self) -> Result<()> {
        let specs: Vec<NetworkSpec> = records::scan(&*self.data, Table::Networks)?;
        for spec in specs {
            let driver = vw_drivers::find(&spec.driver)?;
            if let Err(error) = lock(&self.ipam).restore_network(spec.id, &spec.ipam.pools) {
                self.warn(format!("network {}: {error}", spec.name));
            }
            self.list_network(spec, driver);
        }
        Ok(())
    }

    /// Reads the run store; what belongs to another boot is forgotten.
    fn load_left(&self) -> Result<Left> {
        let boot = self.facts().boot_id.clone();
        let sandboxes: Vec<SandboxRecord> = records::scan(&*self.run, Table::Sandboxes)?;
        let mut void = Batch::new();
        for record in sandboxes.iter().filter(|record| record.boot != boot) {
            void = void.delete(Table::Sandboxes, record.id.to_string());
        }
        self.note(void)?;
        let sandboxes = sandboxes.into_iter().filter(|record| record.boot == boot);
        Ok(Left {
            sandboxes: sandboxes.map(|record| (record.id, record)).collect(),
            attachments: records::rows(&*self.run, Table::Attachments)?,
        })
    }

    /// Understands the attachments; what belongs to another boot is forgotten.
    fn load_attachments(&self, left: &Left) -> Result<Vec<AttachmentRecord>> {
        let boot = self.facts().boot_id.clone();
        let read = left.attachments.iter();
        let read = read.map(|row| records::decode(Table::Attachments, row));
        let all = read.collect::<Result<Vec<AttachmentRecord>>>()?;
        let (now, before): (Vec<_>, Vec<_>) =
            all.into_iter().partition(|record| record.boot == boot);
        let mut void = Batch::new();
        for record in before {
            void = void.delete(Table::Attachments, record.endpoint.id.to_string());
        }
        self.note(void)?;
        Ok(now)
    }

    fn load_sandboxes(
        &self,
        left: &Left,
        networks: &BTreeMap<NetworkId, Vec<IpNet>>,
    ) -> Result<()> {
        let containers: Vec<ContainerRecord> = records::scan(&*self.data, Table::Containers)?;
        let mut found: Vec<(SystemTime, Arc<Sandbox>)> = Vec::new();
        let mut sealed = Vec::new();
        for mut record in containers {
            let is_sealed = seal(&mut record.memberships, networks);
            let memberships = record.memberships.clone();
            let spec = record.sandbox.clone();
            let created = spec.created;
            let sandbox = Arc::new(Sandbox::new(spec, Some(record), memberships));
            sandbox.take_up(left.sandboxes.get(&sandbox.id));
            sealed.extend(is_sealed.then(|| sandbox.clone()));
            found.push((created, sandbox));
        }
        let containers: HashSet<SandboxId> = found.iter().map(|(_, s)| s.id).collect();
        let mut orphans = Batch::new();
        for record in left.sandboxes.values() {
            if let Some(spec) = &record.adopted {
                let mut memberships = self.lasting(&record.memberships);
                seal(&mut memberships, networks);
                let sandbox = Sandbox::new(spec.clone(), None, memberships);
                sandbox.take_up(Some(record));
                found.push((spec.created, Arc::new(sandbox)));
            } else if !containers.contains(&record.id) {
                orphans = orphans.delete(Table::Sandboxes, record.id.to_string());
            }
        }
        found.sort_by_key(|(created, sandbox)| (*created, sandbox.id));
        for (_, sandbox) in found {
            self.list_again(&sandbox);
        }
        for sandbox in sealed {
            if let Err(error) = self.keep_container(&sandbox) {
                self.warn(error.chain());
            }
        }
        self.note(orphans)
    }

    /// Lists a sandbox under its name. Where an older one has that, as no daemon of ours leaves it,
    /// under another: neither is lost, and everything of both goes on.
    fn list_again(&self, sandbox: &Arc<Sandbox>) {
        if sandbox.balances {
            return self.list_balancer(sandbox);
        }
        let name = sandbox.state().spec.name.clone();
        let listed = self
            .registry_mut()
            .add_sandbox(name.as_str(), sandbox.clone());
        if listed.is_ok() {
            return;
        }
        // With an id behind it nobody else's, and short enough to be one.
        let start: String = name.as_str().chars().take(LONGEST_START).collect();
        let other = format!("{start}-{}", sandbox.id.short());
        let Ok(other) = other.parse::<ContainerName>() else {
            return;
        };
        sandbox.state().spec.name = other.clone();
        self.warn(format!(
            "two records have the name {name}: the younger one, {}, is {other} from now on",
            sandbox.id.short()
        ));
        let listed = self
            .registry_mut()
            .add_sandbox(other.as_str(), sandbox.clone());
        let is_container = sandbox.state().container.is_some();
        let kept = match is_container {
            true => self.keep_container(sandbox),
            false => self.note_sandbox(sandbox),
        };
        if let Err(error) = listed.and(kept) {
            self.warn(error.chain());
        }
    }

    /// Brings the kernel to what the records say, then forgets what was given back.
    fn restore_host(
        &self,
        undone: Vec<EndpointSpec>,
        left: &HashMap<SandboxId, SandboxRecord>,
    ) -> Result<()> {
        let mut wants = vec![(Owner::Host, self.host_fragment()?)];
        let networks = self.registry().networks();
        for network in &networks {
            if !network.stands() {
                continue;
            }
            let fragment = self.network_fragment(network)?;
            wants.push((Owner::Network(network.spec.id), fragment));
            wants.extend(self.restore_shared(network)?);
        }
        let sandboxes = self.registry().sandboxes();
        for sandbox in sandboxes {
            if sandbox.state().live {
                let (attachments, resolver, ports) = {
                    let state = sandbox.state();
                    (
                        state.attachments.clone(),
                        state.resolver,
                        state.published.clone(),
                    )
                };
                let fragment = self.sandbox_fragment(&sandbox, &attachments, resolver, &ports)?;
                wants.push((Owner::Sandbox(sandbox.id), fragment));
            }
        }
        wants.extend(self.settle_services());
        lock(&self.host).take_up(wants).map_err(conflict)?;
        self.restore_cluster();
        self.repair()?;
        let batch = self.with_members(Batch::new(), left)?;
        self.forget_undone(batch, undone)
    }

    /// Forgets endpoints that were given back, with what else is recorded. Where the kernel refuses
    /// something each of them may stand still: then they keep their records and leases until they are
    /// gone.
    fn forget_undone(&self, mut batch: Batch, undone: Vec<EndpointSpec>) -> Result<()> {
        if self.is_astray() && !undone.is_empty() {
            self.note(batch)?;
            let former = undone.into_iter().map(Box::new).map(Leaving::Former);
            lock(&self.leaving).extend(former);
            if let Err(error) = self.mend_now() {
                self.warn(format!(
                    "what was given back stands still: {}",
                    error.chain()
                ));
            }
            return Ok(());
        }
        for endpoint in &undone {
            batch = batch.delete(Table::Attachments, endpoint.id.to_string());
        }
        match self.note(batch) {
            // Their endpoints' own records tell of members still.
            Err(error) if undone.is_empty() => tracing::error!("{}", error.chain()),
            noted => noted?,
        }
        for endpoint in &undone {
            self.free_leases(endpoint);
        }
        Ok(())
    }

    /// The daemon's own objects: its table and forwarding.
    fn host_fragment(&self) -> Result<Fragment> {
        let mut fragment = Fragment::default();
        if self.config.drivers.iptables || self.config.drivers.ip6tables {
            let table = vw_firewall::HostTable {
                accept_mark: self.config.accept_mark,
                tunnels: self.config.drivers.underlay.as_ref().map(|u| u.addr),
            };
            fragment.insert(Object::Table(NftTable::Host(table)));
        }
        let forwarding = FORWARDING.iter().filter(|_| self.config.ip_forward);
        let bridges = BRIDGE_NETFILTER
            .iter()
            .filter(|_| self.config.owns_bridge_netfilter);
        // Of a bridge of our own it goes with the bridge.
        let foreign = self
            .config
            .bridge
            .as_ref()
            .and_then(|asked| asked.name.as_ref());
        let localhost = foreign
            .filter(|_| self.config.drivers.iptables)
            .map(|name| (format!("net/ipv4/conf/{name}/route_localnet"), "1"));
        let fixed = forwarding.chain(bridges);
        let fixed = fixed.map(|(path, wanted)| ((*path).to_owned(), *wanted));
        for (path, wanted) in fixed.chain(localhost) {
            let Some(value) = self.facts().sysctls.get(&path).cloned() else {
                continue;
            };
            let previous = Some(self.former_value(&path, value)?);
            fragment.insert(Object::Sysctl(Sysctl {
                netns: Netns::Host,
                path,
                value: wanted.to_owned(),
                previous,
            }));
        }
        Ok(fragment)
    }

    /// The value that a parameter had before any daemon of this data directory changed it.
    fn former_value(&self, path: &str, now: String) -> Result<String> {
        let read = self.data.get(Table::Saved, path);
        let saved = read.map_err(|e| {
            Error::internal(
                "store-unreadable",
                format!("cannot read the former value of {path}"),
            )
            .because(e)
        })?;
        if let Some(bytes) = saved {
            return Ok(String::from_utf8_lossy(&bytes).into_owned());
        }
        let batch = Batch::new().put(Table::Saved, path, now.clone().into_bytes());
        self.keep(batch)?;
        Ok(now)
    }

    /// A daemon that died between two attachments left a sandbox without its way out, or with one
    /// that it no longer needs.
    fn settle_way_out(&self, sandbox: &Arc<Sandbox>) {
        let _ops = lock(&sandbox.ops);
        if !sandbox.state().live {
            return;
        }
        let _placing = lock(&sandbox.placing);
        if let Err(error) = self.settle_companion(sandbox) {
            let name = sandbox.state().spec.name.clone();
            self.warn(format!("{name}: {}", error.chain()));
        }
    }

    fn follow_containers(&self) -> Result<()> {
        let watcher = self.runtime.watch().map_err(Error::from)?;
        let refused =
            |e| Error::internal("thread-refused", "no thread to follow containers").because(e);
        self.follow_ends(watcher).map_err(refused)?;
        self.check_members().map_err(refused)
    }

    /// What ended while nobody looked, and what should run and does not.
    fn settle_sandboxes(&self) {
        let sandboxes = self.registry().sandboxes();
        for sandbox in sandboxes {
            let adopted = sandbox.state().container.is_none();
            if adopted {
                self.settle_adopted(&sandbox);
            } else {
                self.settle_container(&sandbox);
            }
            self.settle_way_out(&sandbox);
            self.publish_again(&sandbox);
        }
    }
}

impl SandboxState {
    /// Whether an endpoint of this network may stand: a container's configuration says so, which
    /// is changed before its endpoints are.
    fn is_on(&self, network: &Network) -> bool {
        let id = network.spec.id;
        let configured = || self.memberships.iter().any(|m| m.network == id);
        // Nobody's configuration names the gateway bridge: the others that stand decide.
        self.live && (self.container.is_none() || network.is_gateway_bridge() || configured())
    }
}

impl Sandbox {
    /// Takes up what its record says of a sandbox that stood before the start.
    fn take_up(&self, record: Option<&SandboxRecord>) {
        if let Some(record) = record {
            let mut state = self.state();
            state.live = true;
            state.phase = record.phase;
            state.published.clone_from(&record.ports);
            state
                .former_resolv_conf
                .clone_from(&record.former_resolv_conf);
        }
    }
}

/// The id of this installation, made at its first start.
fn host_id(data: &dyn vw_store::Store, random: fn() -> [u8; 32]) -> Result<Id> {
    let unreadable =
        |e| Error::internal("store-unreadable", "cannot read this installation's id").because(e);
    let saved = data.get(Table::Meta, "host-id").map_err(unreadable)?;
    if let Some(id) = saved.and_then(|bytes| String::from_utf8(bytes).ok()?.parse().ok()) {
        return Ok(id);
    }
    let id = Id::from_bytes(random());
    records::commit(
        data,
        Batch::new().put(Table::Meta, "host-id", id.to_string().into_bytes()),
    )?;
    Ok(id)
}

pub(crate) fn conflict(conflict: vw_hoststate::Conflict) -> Error {
    Error::internal(
        "object-conflict",
        "two records want different things of one kernel object",
    )
    .because(conflict)
}

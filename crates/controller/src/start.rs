//! From records to a running engine: what was there before is adopted, finished or undone.
//!
//! Names answer first, then the kernel is compared with what is wanted, as one diff.

use crate::{
    Config, Controller, Parts,
    controller::{Core, kernel_error},
    event::EventBus,
    ports::Claims,
    records::{self, AttachmentRecord, ContainerRecord, Owed, Phase, SandboxRecord},
    registry::{Attachment, Registry, Resolver, Sandbox, SandboxState, lock},
    services::Checker,
    watch::Watcher,
};
use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex, RwLock,
        atomic::{AtomicBool, AtomicU16},
    },
    time::Instant,
};
use vw_hoststate::{Fragment, HostState, Netns, Object, Owner, Sysctl, Table as NftTable};
use vw_ipam::{Holder, Ipam};
use vw_model::{EndpointSpec, Error, Id, NetworkId, NetworkSpec, Result, SandboxId};
use vw_store::{Batch, Table};

/// As many as the executor has threads for visits to namespaces.
const RESOLVERS_AT_ONCE: usize = 4;

/// Forwarding must be on for networks to reach anything.
const FORWARDING: [(&str, &str); 2] = [
    ("net/ipv4/ip_forward", "1"),
    ("net/ipv6/conf/all/forwarding", "1"),
];
/// Neighbours on a bridge need no pass through the IP hooks, and `::1` cannot be published with it.
const BRIDGE_NETFILTER: [(&str, &str); 2] = [
    ("net/bridge/bridge-nf-call-iptables", "0"),
    ("net/bridge/bridge-nf-call-ip6tables", "0"),
];

/// What the run store said.
struct Left {
    sandboxes: HashMap<SandboxId, SandboxRecord>,
    attachments: Vec<AttachmentRecord>,
}

impl Controller {
    /// Takes up what the stores and the kernel hold, repairs what differs, and starts
    /// containers that should run.
    ///
    /// # Errors
    /// When a store or the kernel cannot be read, a record cannot be understood, or the
    /// predefined networks cannot be made.
    pub fn open(config: Config, parts: Parts) -> Result<Self> {
        let began = Instant::now();
        let facts = parts.kernel.facts().map_err(kernel_error)?;
        let ipam = Ipam::new(config.pools.clone());
        let watcher = Watcher::start()
            .map_err(|e| Error::internal("watch-failed", "cannot watch processes").because(e))?;
        let checker = Checker::new()
            .map_err(|e| Error::internal("watch-failed", "cannot check services").because(e))?;
        let host_id = host_id(&*parts.data, parts.random)?;
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
            services: Mutex::default(),
            checker,
            applying: RwLock::new(()),
            astray: AtomicBool::new(false),
            leaving: Mutex::new(Vec::new()),
            owed_data: Owed::default(),
            owed_run: Owed::default(),
            events: EventBus::default(),
            network_changes: Mutex::new(()),
            ephemeral_cursor: AtomicU16::new(0),
            warnings: Mutex::new(Vec::new()),
            watcher,
            ends: Mutex::new(None),
            execs: Mutex::new(BTreeMap::new()),
            host_id,
            config,
        });
        controller.load_networks()?;
        controller.load_services()?;
        let left = controller.load_left()?;
        controller.load_sandboxes(&left)?;
        let undone = controller.restore_attachments(left.attachments)?;
        controller.restore_resolvers(&left.sandboxes);
        tracing::info!(elapsed = ?began.elapsed(), "names answer");
        controller.restore_host(undone)?;
        controller.ensure_predefined()?;
        controller.restore_ports(&left.sandboxes);
        controller.restore_service_ports();
        controller.settle_sandboxes();
        controller.follow_containers()?;
        tracing::info!(elapsed = ?began.elapsed(), "ready");
        Ok(controller)
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
        let attachments: Vec<AttachmentRecord> = records::scan(&*self.run, Table::Attachments)?;
        let mut void = Batch::new();
        for record in sandboxes.iter().filter(|record| record.boot != boot) {
            void = void.delete(Table::Sandboxes, record.id.to_string());
        }
        for record in attachments.iter().filter(|record| record.boot != boot) {
            void = void.delete(Table::Attachments, record.endpoint.id.to_string());
        }
        self.note(void)?;
        let sandboxes = sandboxes.into_iter().filter(|record| record.boot == boot);
        Ok(Left {
            sandboxes: sandboxes.map(|record| (record.id, record)).collect(),
            attachments: attachments
                .into_iter()
                .filter(|record| record.boot == boot)
                .collect(),
        })
    }

    fn load_sandboxes(&self, left: &Left) -> Result<()> {
        let containers: Vec<ContainerRecord> = records::scan(&*self.data, Table::Containers)?;
        let mut registry = self.registry_mut();
        for record in containers {
            let memberships = record.memberships.clone();
            let name = record.sandbox.name.clone();
            let sandbox = Sandbox::new(record.sandbox.clone(), Some(record), memberships);
            sandbox.take_up(left.sandboxes.get(&sandbox.id));
            registry.add_sandbox(name.as_str(), Arc::new(sandbox))?;
        }
        let mut orphans = Batch::new();
        for record in left.sandboxes.values() {
            if record.adopted.is_none() && registry.sandbox_by_id(record.id).is_none() {
                orphans = orphans.delete(Table::Sandboxes, record.id.to_string());
            }
            if let Some(spec) = &record.adopted {
                let sandbox = Sandbox::new(spec.clone(), None, Vec::new());
                sandbox.take_up(Some(record));
                registry.add_sandbox(spec.name.as_str(), Arc::new(sandbox))?;
            }
        }
        drop(registry);
        self.note(orphans)
    }

    /// Takes up attachments that were complete; gives back those that were not.
    fn restore_attachments(&self, records: Vec<AttachmentRecord>) -> Result<Vec<EndpointSpec>> {
        let mut undone = Vec::new();
        for record in records {
            let endpoint = record.endpoint;
            let ready = record.phase == Phase::Ready;
            let restored = ready.then(|| self.restore_attachment(&endpoint));
            if let Some(Err(error)) = &restored {
                // One endpoint that cannot be does not keep the others from being.
                self.warn(format!(
                    "endpoint {} is taken down: {}",
                    endpoint.id.short(),
                    error.chain()
                ));
            }
            if !matches!(restored, Some(Ok(true))) {
                self.give_leases_back(&endpoint);
                undone.push(endpoint);
            }
        }
        Ok(undone)
    }

    fn give_leases_back(&self, endpoint: &EndpointSpec) {
        let mut ipam = lock(&self.ipam);
        for net in &endpoint.addresses {
            ipam.release(endpoint.network, net.addr(), &Holder::Endpoint(endpoint.id));
        }
    }

    fn restore_attachment(&self, endpoint: &EndpointSpec) -> Result<bool> {
        let registry = self.registry();
        let (Some(network), Some(sandbox)) = (
            registry.network_by_id(endpoint.network),
            registry.sandbox_by_id(endpoint.sandbox),
        ) else {
            return Ok(false);
        };
        drop(registry);
        if !sandbox.state().is_on(network.spec.id) {
            return Ok(false);
        }
        for net in &endpoint.addresses {
            let held = lock(&self.ipam).reserve(
                network.spec.id,
                net.addr(),
                Holder::Endpoint(endpoint.id),
            );
            if let Err(error) = held {
                self.warn(format!(
                    "endpoint {} of network {}: {error}",
                    endpoint.id.short(),
                    network.spec.name
                ));
                return Ok(false);
            }
        }
        let planned =
            network
                .driver
                .plan_attachment(&network.spec, endpoint, &self.config.drivers)?;
        let attachment = Attachment {
            network: network.clone(),
            endpoint: endpoint.clone(),
            gateways: planned.gateways,
        };
        let wants = vec![(Owner::Attachment(endpoint.id), planned.fragment)];
        lock(&self.host).change(wants).map_err(conflict)?;
        self.take_up_member(&sandbox, &attachment);
        let mut state = sandbox.state();
        if state.container.is_none() {
            state.memberships.push(records::Membership {
                network: network.spec.id,
                name: network.spec.name.to_string(),
                settings: endpoint.settings.clone(),
            });
        }
        state.attachments.push(attachment);
        state
            .attachments
            .sort_by(|a, b| a.endpoint.ifname.cmp(&b.endpoint.ifname));
        drop(state);
        lock(&network.members).insert(endpoint.id, sandbox.clone());
        self.publish_names(&sandbox, &network, endpoint.id);
        Ok(true)
    }

    /// Has the resolvers answer again, several at a time: each waits twice for a thread that visits
    /// its namespace, and a host of a thousand sandboxes must not take the sum of that.
    fn restore_resolvers(&self, left: &HashMap<SandboxId, SandboxRecord>) {
        let records: Vec<&SandboxRecord> = left.values().collect();
        let share = records.len().div_ceil(RESOLVERS_AT_ONCE).max(1);
        std::thread::scope(|scope| {
            for some in records.chunks(share) {
                let restore = || some.iter().for_each(|record| self.restore_resolver(record));
                let thread = std::thread::Builder::new().name("resolvers".to_owned());
                if thread.spawn_scoped(scope, restore).is_err() {
                    restore();
                }
            }
        });
    }

    /// Binds a resolver's sockets where they were; the rules that lead to them still stand.
    fn restore_resolver(&self, record: &SandboxRecord) {
        let (Some((udp, tcp)), Some(sandbox)) =
            (record.resolver, self.registry().sandbox_by_id(record.id))
        else {
            return;
        };
        let former = Resolver { udp, tcp };
        let anew = |_| self.resolver_sockets(&sandbox, Resolver { udp: 0, tcp: 0 });
        // A program inside may have bound a port meanwhile: the rules follow to new ones.
        match self.resolver_sockets(&sandbox, former).or_else(anew) {
            Ok(new) => {
                sandbox.state().resolver = Some(new.ports);
                let noted = if new.ports == former {
                    Ok(())
                } else {
                    self.note_sandbox(&sandbox)
                };
                self.serve_names(&sandbox, new.sockets);
                if let Err(error) = noted {
                    tracing::error!("{}", error.chain());
                }
            }
            Err(error) if error.reason == "namespace-gone" => {}
            Err(error) => {
                let name = sandbox.state().spec.name.clone();
                self.warn(format!("names do not answer in {name}: {}", error.chain()));
            }
        }
    }

    /// Brings the kernel to what the records say, then forgets what was given back.
    fn restore_host(&self, undone: Vec<EndpointSpec>) -> Result<()> {
        let mut wants = vec![(Owner::Host, self.host_fragment()?)];
        let networks = self.registry().networks();
        for network in networks {
            let fragment = network
                .driver
                .plan_network(&network.spec, &self.config.drivers)?;
            wants.push((Owner::Network(network.spec.id), fragment));
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
        lock(&self.host).change(wants).map_err(conflict)?;
        self.repair()?;
        let mut batch = Batch::new();
        for endpoint in &undone {
            batch = batch.delete(Table::Attachments, endpoint.id.to_string());
        }
        self.note(batch)
    }

    /// The daemon's own objects: its table and forwarding.
    fn host_fragment(&self) -> Result<Fragment> {
        let mut fragment = Fragment::default();
        if self.config.drivers.iptables || self.config.drivers.ip6tables {
            let table = vw_firewall::HostTable {
                accept_mark: self.config.accept_mark,
            };
            fragment.insert(Object::Table(NftTable::Host(table)));
        }
        let forwarding = FORWARDING.iter().filter(|_| self.config.ip_forward);
        let bridges = BRIDGE_NETFILTER
            .iter()
            .filter(|_| self.config.owns_bridge_netfilter);
        for (path, wanted) in forwarding.chain(bridges) {
            let Some(value) = self.facts().sysctls.get(*path).cloned() else {
                continue;
            };
            fragment.insert(Object::Sysctl(Sysctl {
                netns: Netns::Host,
                path: (*path).to_owned(),
                value: (*wanted).to_owned(),
                previous: Some(self.former_value(path, value)?),
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

    /// Holds the host ports of what is published. One that a stranger bound meanwhile stays
    /// published, because translation comes before local sockets, and is told.
    fn restore_ports(&self, left: &HashMap<SandboxId, SandboxRecord>) {
        for record in left.values().filter(|record| !record.ports.is_empty()) {
            let Some(sandbox) = self.registry().sandbox_by_id(record.id) else {
                continue;
            };
            let (claims, taken) = Claims::restore(&*self.kernel, &record.ports);
            let mut state = sandbox.state();
            state.claims = claims;
            let name = state.spec.name.clone();
            drop(state);
            for mapping in taken {
                self.warn(format!(
                    "another program has bound {}, which is published for {name}: connections go to {name}, not to that program; stop one of them",
                    mapping.host
                ));
            }
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
        }
    }
}

impl SandboxState {
    /// Whether an endpoint of this network may stand: a container's configuration says so, which
    /// is changed before its endpoints are.
    fn is_on(&self, network: NetworkId) -> bool {
        let configured = || self.memberships.iter().any(|m| m.network == network);
        self.live && (self.container.is_none() || configured())
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

fn conflict(conflict: vw_hoststate::Conflict) -> Error {
    Error::internal(
        "object-conflict",
        "two records want different things of one kernel object",
    )
    .because(conflict)
}

//! Sandboxes: namespaces pinned, adopted, given back.

use crate::{
    Controller,
    command::{Adopt, AdoptSource, Release, SandboxRequest},
    detach::Leaving,
    event::EventType,
    ports::Claims,
    records::{self, Membership, Phase, SandboxRecord},
    registry::{Resolver, Sandbox, SandboxState, lock},
    view::Created,
};
use std::{
    fs,
    net::IpAddr,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex},
    time::SystemTime,
};
use vw_hoststate::{Fragment, Owner};
use vw_model::{
    AdoptedFrom, ContainerName, EndpointSettings, Error, HostEntry, Options, PortMapping, Result,
    SandboxId, SandboxKind, SandboxSpec,
};
use vw_store::{Batch, Table};

impl Controller {
    pub(crate) fn adopt(&self, request: Adopt) -> Result<Created> {
        let id = self.new_sandbox_id();
        let from = source_of(&request.source)?;
        let name = request.name.map_or_else(|| adopted_name(&from, id), Ok)?;
        let resolv_conf = if request.resolv_conf {
            Some(self.resolv_conf_of(&from)?)
        } else {
            None
        };
        let (wanted, labels) = (&request.sandbox.networks, &request.sandbox.labels);
        let networks = self.resolve_networks(wanted, labels)?;
        self.check_labels(labels, &networks)?;
        let on = networks.iter().map(|(network, _)| network.spec.id);
        let warnings = self.warn_unpublished(&request.sandbox.ports, on);
        let kind = SandboxKind::Adopted {
            from: from.clone(),
            resolv_conf,
        };
        let spec = self.sandbox_spec(id, name.clone(), kind, request.sandbox);
        let sandbox = Arc::new(Sandbox::new(spec, None, Vec::new()));
        let _ops = lock(&sandbox.ops);
        self.registry_mut()
            .add_sandbox(name.as_str(), sandbox.clone())?;
        let adopted = self.adopt_listed(&sandbox, &from, networks);
        if let Err(error) = adopted {
            if let Err(left) = self.dissolve(&sandbox) {
                lock(&self.leaving).push(Leaving::Sandbox(id));
                self.warn(format!(
                    "{name} could not be adopted, and not all could be undone: {}",
                    left.chain()
                ));
            }
            self.unlist(&sandbox);
            return Err(error);
        }
        self.tell_container("adopt", &sandbox);
        self.watch_adopted(&sandbox);
        Ok(Created {
            id: id.to_string(),
            warnings,
        })
    }

    /// Refuses a namespace that is on our networks already, as an adopted one or a container's:
    /// two sandboxes in one would take each other's links and routes.
    ///
    /// # Errors
    /// `Conflict`.
    fn check_adoptable(&self, from: &AdoptedFrom) -> Result<()> {
        let wanted = identity(&match from {
            AdoptedFrom::Pid { pid, .. } => PathBuf::from(format!("/proc/{pid}/ns/net")),
            AdoptedFrom::Netns(path) => path.clone(),
        });
        let sandboxes = self.registry().sandboxes();
        let holder = sandboxes.iter().find(|sandbox| {
            wanted.is_some() && identity(&self.kernel.netns_path(sandbox.id)) == wanted
        });
        let Some(holder) = holder else {
            return Ok(());
        };
        let name = holder.state().spec.name.clone();
        let message = format!(
            "this network namespace is already on networks as {name}: use network connect for more of them"
        );
        Err(Error::conflict("namespace-adopted", message))
    }

    fn adopt_listed(
        &self,
        sandbox: &Arc<Sandbox>,
        from: &AdoptedFrom,
        networks: Vec<(Arc<crate::registry::Network>, EndpointSettings)>,
    ) -> Result<()> {
        {
            // In one step: of two who adopt the same namespace, one finds the other's pin.
            let _deciding = lock(&self.network_changes);
            self.check_adoptable(from)?;
            self.pin(sandbox)?;
        }
        for (network, settings) in networks {
            self.check_asking(sandbox, &network, &settings)?;
            // Before its endpoint stands, which may be taken off again at once.
            let membership = network.membership(settings.clone());
            sandbox.state().memberships.push(membership);
            self.attach(sandbox, &network, settings)?;
        }
        self.take_over_resolv_conf(sandbox)?;
        crate::step::reached("adopt.built");
        self.enter_phase(sandbox, Phase::Ready)
    }

    /// Records how far an adoption is.
    ///
    /// # Errors
    /// When the store cannot be written; it is as far as before then.
    pub(crate) fn enter_phase(&self, sandbox: &Sandbox, phase: Phase) -> Result<()> {
        let _placing = lock(&sandbox.placing);
        let former = std::mem::replace(&mut sandbox.state().phase, phase);
        self.note_sandbox(sandbox)
            .inspect_err(|_| sandbox.state().phase = former)
    }

    /// Forgets an adopted sandbox of which nothing stands.
    pub(crate) fn unlist(&self, sandbox: &Sandbox) {
        self.forget_balancer(sandbox);
        let name = sandbox.state().spec.name.clone();
        self.registry_mut()
            .remove_sandbox(name.as_str(), sandbox.id);
        let watched = {
            let mut state = sandbox.state();
            state.removed = true;
            state.watched.take()
        };
        if let Some(wait) = watched {
            self.watcher.forget(wait);
        }
        sandbox.changed.notify_all();
    }

    /// Takes up an adopted sandbox at the daemon's start: one that was being adopted or released
    /// when the daemon ended goes, the others are watched again.
    pub(crate) fn settle_adopted(&self, sandbox: &Arc<Sandbox>) {
        if sandbox.state().phase == Phase::Ready {
            return self.watch_adopted(sandbox);
        }
        let _ops = lock(&sandbox.ops);
        match self.dissolve(sandbox) {
            Ok(()) => self.unlist(sandbox),
            Err(error) => self.warn(format!(
                "{} is half released; release it: {}",
                sandbox.state().spec.name,
                error.chain()
            )),
        }
    }

    /// Networks by the names of a request, each once.
    /// The sandbox has these labels.
    ///
    /// # Errors
    /// `NotFound` for an unknown one, `InvalidArgument` for one named twice or that cannot be
    /// joined by a namespace.
    pub(crate) fn resolve_networks(
        &self,
        wanted: &[(String, EndpointSettings)],
        labels: &Options,
    ) -> Result<Vec<(Arc<crate::registry::Network>, EndpointSettings)>> {
        let mut resolved: Vec<(Arc<crate::registry::Network>, EndpointSettings)> = Vec::new();
        for (name, settings) in wanted {
            let network = self.network(name)?;
            if resolved.iter().any(|(n, _)| n.spec.id == network.spec.id) {
                let message = format!("network {} is specified multiple times", network.spec.name);
                return Err(Error::invalid("network-twice", message));
            }
            crate::checks::settings(&network, settings)?;
            self.check_member(&network, settings, labels)?;
            resolved.push((network, settings.clone()));
        }
        Ok(resolved)
    }

    /// Records a sandbox and pins its namespace.
    ///
    /// # Errors
    /// When the process or file is gone, or is not a network namespace; nothing is left then.
    pub(crate) fn pin(&self, sandbox: &Arc<Sandbox>) -> Result<()> {
        self.note_sandbox(sandbox)?;
        crate::step::reached("sandbox.recorded");
        let fragment = self.sandbox_fragment(sandbox, &[], None, &[])?;
        if let Err(error) = self.bring(vec![(Owner::Sandbox(sandbox.id), fragment)]) {
            self.unnote(Table::Sandboxes, sandbox.id.to_string());
            return Err(error);
        }
        sandbox.state().live = true;
        crate::step::reached("sandbox.pinned");
        Ok(())
    }

    /// Takes all endpoints out and unpins the namespace; goes on after errors.
    ///
    /// # Errors
    /// The first of them; the record stays then and the next start goes on.
    pub(crate) fn dissolve(&self, sandbox: &Arc<Sandbox>) -> Result<()> {
        let mut first = self.detach_all(sandbox).err();
        self.give_back_resolv_conf(sandbox);
        self.dns.remove(sandbox.id);
        {
            // Nobody settles it meanwhile.
            let _placing = lock(&sandbox.placing);
            let mut state = sandbox.state();
            state.resolver = None;
            state.claims = Claims::default();
            state.published = Vec::new();
            state.live = false;
            drop(state);
            let gone = vec![(Owner::Sandbox(sandbox.id), Fragment::default())];
            if let Err(error) = self.take_away(gone) {
                first.get_or_insert(error);
            }
        }
        crate::step::reached("sandbox.unpinned");
        if let Some(error) = first {
            return Err(error);
        }
        self.unnote(Table::Sandboxes, sandbox.id.to_string());
        Ok(())
    }

    pub(crate) fn release(&self, request: Release) -> Result<SandboxId> {
        let sandbox = self.sandbox(&request.sandbox)?;
        if sandbox.state().container.is_some() {
            let name = sandbox.state().spec.name.clone();
            let message = format!("{name} is a container, not an adopted sandbox: use rm");
            return Err(Error::invalid("not-adopted", message));
        }
        self.once_drained(&sandbox, None, || self.release_drained(&sandbox))?;
        Ok(sandbox.id)
    }

    fn release_drained(&self, sandbox: &Arc<Sandbox>) -> Result<()> {
        let _ops = lock(&sandbox.ops);
        sandbox.must_stand()?;
        self.enter_phase(sandbox, Phase::Removing)?;
        crate::step::reached("release.recorded");
        self.dissolve(sandbox)?;
        self.unlist(sandbox);
        self.tell_container("release", sandbox);
        Ok(())
    }

    /// What was adopted has ended: its endpoints go, it stays listed until it is released.
    pub(crate) fn adopted_ended(&self, sandbox: &Arc<Sandbox>) {
        let _ops = lock(&sandbox.ops);
        if sandbox.state().removed {
            return;
        }
        if let Err(error) = self.dissolve(sandbox) {
            self.warn(format!(
                "{} ended, and not all of it could be taken down: {}",
                sandbox.state().spec.name,
                error.chain()
            ));
        }
        sandbox.state().memberships.clear();
        self.tell_container("die", sandbox);
        sandbox.changed.notify_all();
    }

    pub(crate) fn sandbox_record(
        &self,
        state: &SandboxState,
        resolver: Option<Resolver>,
        ports: Vec<PortMapping>,
    ) -> SandboxRecord {
        let memberships = match state.spec.kind {
            SandboxKind::Adopted { .. } => state.memberships.clone(),
            _ => Vec::new(),
        };
        SandboxRecord {
            boot: self.facts().boot_id.clone(),
            phase: state.phase,
            memberships,
            adopted: state.container.is_none().then(|| state.spec.clone()),
            id: state.spec.id,
            resolver: resolver.map(|r| (r.udp, r.tcp)),
            ports,
            former_resolv_conf: state.former_resolv_conf.clone(),
        }
    }

    /// Records a sandbox as it stands.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub(crate) fn note_sandbox(&self, sandbox: &Sandbox) -> Result<()> {
        let state = sandbox.state();
        let record = self.sandbox_record(&state, state.resolver, state.published.clone());
        drop(state);
        let batch = records::put(
            Batch::new(),
            Table::Sandboxes,
            &sandbox.id.to_string(),
            &record,
        )?;
        self.note(batch)
    }

    /// Watches for the end of what was adopted by its process.
    pub(crate) fn watch_adopted(&self, sandbox: &Arc<Sandbox>) {
        let SandboxKind::Adopted {
            from: AdoptedFrom::Pid { pid, start_time },
            ..
        } = sandbox.state().spec.kind.clone()
        else {
            return;
        };
        let (controller, sandbox) = (self.downgrade(), sandbox.clone());
        let ended = sandbox.clone();
        let wait = self.watcher.on_end(pid, start_time, move || {
            if let Some(controller) = controller.upgrade() {
                controller.adopted_ended(&ended);
            }
        });
        sandbox.state().watched = wait;
    }

    /// A sandbox's configuration from a request.
    pub(crate) fn sandbox_spec(
        &self,
        id: SandboxId,
        name: ContainerName,
        kind: SandboxKind,
        request: SandboxRequest,
    ) -> SandboxSpec {
        let own_name = matches!(kind, SandboxKind::Container | SandboxKind::Host);
        let default_name = || if own_name { id.short() } else { String::new() };
        let mut extra_hosts = request.extra_hosts;
        for name in &request.host_gateway_names {
            let entry = |addr| HostEntry {
                name: name.clone(),
                addr,
            };
            extra_hosts.extend(self.host_gateways().into_iter().map(entry));
        }
        SandboxSpec {
            id,
            name,
            created: SystemTime::now(),
            hostname: request.hostname.unwrap_or_else(default_name),
            kind,
            domainname: request.domainname,
            dns: request.dns,
            extra_hosts,
            ports: request.ports,
            exposed: request.exposed,
            publish_all: request.publish_all,
            labels: request.labels,
        }
    }

    /// What `host-gateway` means: `--host-gateway-ip`, or the default bridge's own addresses.
    fn host_gateways(&self) -> Vec<IpAddr> {
        if !self.config.host_gateway.is_empty() {
            return self.config.host_gateway.clone();
        }
        let bridge = self.registry().network_by_name("bridge");
        let pools = bridge.iter().flat_map(|network| &network.spec.ipam.pools);
        pools.filter_map(|pool| pool.gateway).collect()
    }

    pub(crate) fn tell_container(&self, action: &str, sandbox: &Sandbox) {
        let state = sandbox.state();
        let image = state
            .container
            .as_ref()
            .map(|c| c.container.image.clone())
            .unwrap_or_default();
        let name = state.spec.name.to_string();
        drop(state);
        self.tell(
            EventType::Container,
            action,
            &sandbox.id.to_string(),
            [("name", name), ("image", image)],
        );
    }
}

impl Sandbox {
    /// One that does not run yet.
    pub(crate) fn new(
        spec: SandboxSpec,
        container: Option<records::ContainerRecord>,
        memberships: Vec<Membership>,
    ) -> Self {
        let id = spec.id;
        let balances = matches!(spec.kind, SandboxKind::Balancer { .. });
        let phase = match container {
            Some(_) => Phase::Ready,
            None => Phase::Pending,
        };
        let state = SandboxState {
            spec,
            container,
            memberships,
            attachments: Vec::new(),
            published: Vec::new(),
            claims: Claims::default(),
            resolver: None,
            running: None,
            pending: Vec::new(),
            console: None,
            live: false,
            watched: None,
            phase,
            former_resolv_conf: None,
            removed: false,
            restarting: false,
            exits: 0,
            stop_requested: false,
            stays: false,
            returning: 0,
        };
        Self {
            id,
            balances,
            ops: Mutex::new(()),
            placing: Mutex::new(()),
            writing: Mutex::new(()),
            state: Mutex::new(state),
            changed: Condvar::new(),
        }
    }
}

/// What tells one namespace from another; `None` where there is none.
fn identity(path: &Path) -> Option<(u64, u64)> {
    fs::metadata(path)
        .map(|found| (found.dev(), found.ino()))
        .ok()
}

fn source_of(source: &AdoptSource) -> Result<AdoptedFrom> {
    match source {
        AdoptSource::Pid(pid) => {
            let start_time = start_time(*pid).map_err(|e| {
                Error::not_found(
                    "process-not-found",
                    format!("no process with the id {pid}: it may have ended"),
                )
                .because(e)
            })?;
            Ok(AdoptedFrom::Pid {
                pid: *pid,
                start_time,
            })
        }
        AdoptSource::Netns(path) => {
            let path = whole(path).map_err(|e| {
                Error::not_found(
                    "netns-not-found",
                    format!("no network namespace at {}", path.display()),
                )
                .because(e)
            })?;
            Ok(AdoptedFrom::Netns(path))
        }
    }
}

/// A path without symlinks but its last part's own: `/proc/PID/ns/net` leads to no path.
fn whole(path: &Path) -> std::io::Result<PathBuf> {
    fs::canonicalize(path).or_else(|error| {
        fs::metadata(path)?;
        match (path.parent(), path.file_name()) {
            (Some(folder), Some(name)) => Ok(fs::canonicalize(folder)?.join(name)),
            _ => Err(error),
        }
    })
}

/// When a process started, in clock ticks since boot (`proc_pid_stat(5)`, field 22).
pub(crate) fn start_time(pid: u32) -> std::io::Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The second field is the program's name in parentheses and may itself hold any character.
    let after_name = text.rsplit_once(')').map_or("", |(_, rest)| rest);
    let field = after_name.split_ascii_whitespace().nth(19);
    field
        .and_then(|field| field.parse().ok())
        .ok_or_else(|| std::io::Error::other("unexpected format of /proc/PID/stat"))
}

fn adopted_name(from: &AdoptedFrom, id: SandboxId) -> Result<ContainerName> {
    let base = match from {
        AdoptedFrom::Pid { pid, .. } => format!("pid-{pid}"),
        AdoptedFrom::Netns(path) => path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned(),
    };
    base.parse()
        .or_else(|_| format!("adopted-{}", id.short()).parse())
}

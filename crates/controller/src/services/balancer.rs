//! What leads to the services of a network that spans hosts, on this host: a sandbox of its own on
//! that network, with the services' addresses and `inet vethwork_services`, and on the gateway
//! bridge where ports are published.
//!
//! Owns when there is one, and what the host publishes by it. What is led there comes back by it,
//! because endpoints see its address as the client's: so a host leads to endpoints wherever they
//! lie, and none of the others has to know of it but where that address is. There is one while a
//! service has an address and something here is on its network, or a service publishes ports.

use super::{
    behind::Owed,
    elsewhere::ToldSince,
    ingress::Addresses,
    inner::Inner,
    looks::{Extent, Looks},
    turns::{Turn, Turns},
    unpublished::{About, HostedLacking, Leading, Said, Told},
};
use crate::{
    Controller,
    command::SandboxRequest,
    detach::Leaving,
    records::Phase,
    registry::{Network, Sandbox, lock},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};
use vw_hoststate::{Netns, Object, Owner, Sysctl, Table};
use vw_model::{
    ContainerName, EndpointSettings, Family, HostPort, IfName, NetworkId, Obstacle, Result,
    SandboxId, SandboxKind, ServiceId,
};

/// For how many seconds a connection that has ended is known, and its port leads no other to the same
/// endpoint, for all come there from one address. For as long an endpoint that ended it first waits itself
/// (`TCP_TIMEWAIT_LEN`, `include/net/tcp.h`): it may answer one from the same port before with what makes
/// its client wait for a second. The kernel's own would be 120 s.
const TIME_WAIT: &str = "60";

/// Those of this host.
#[derive(Default)]
pub(crate) struct Balancers {
    pub(super) turns: Turns,
    standing: Mutex<BTreeMap<NetworkId, Standing>>,
    pub(super) looks: Looks,
    pub(super) told: Mutex<Told>,
    pub(super) hosted_lacking: Mutex<HostedLacking>,
    /// Why something about a network's services could not be done, as it was warned of last.
    pub(super) said: Mutex<Said>,
    pub(super) inner: Mutex<BTreeMap<NetworkId, Inner>>,
    pub(crate) owed: Owed,
    pub(crate) told_since: ToldSince,
    pub(super) addresses: Mutex<Addresses>,
    open: AtomicBool,
    /// How often all of them were taken away.
    given_up: AtomicUsize,
}

pub(super) struct Standing {
    sandbox: Arc<Sandbox>,
    /// It has all that the services want of it.
    led: bool,
    /// It publishes what they ask for, as far as that can be had.
    pub(super) published: bool,
    /// How often what it publishes has changed.
    changes: u64,
    /// Its record may name other ports than it publishes.
    owes_record: bool,
    /// To what it should lead and does not.
    unled: BTreeSet<ServiceId>,
    /// What it cannot publish.
    lacking: BTreeMap<HostPort, Obstacle>,
}

impl Balancers {
    /// Says that the kernel is as the records want it: from now on they may be made.
    pub(crate) fn open(&self) {
        self.open.store(true, Ordering::SeqCst);
    }

    pub(super) fn is_open(&self) -> bool {
        self.open.load(Ordering::SeqCst)
    }

    pub(super) fn on(&self, network: NetworkId) -> Option<Arc<Sandbox>> {
        let standing = lock(&self.standing);
        standing.get(&network).map(|found| found.sandbox.clone())
    }

    /// All of them.
    pub(super) fn all(&self) -> Vec<Arc<Sandbox>> {
        let standing = lock(&self.standing);
        standing
            .values()
            .map(|found| found.sandbox.clone())
            .collect()
    }

    /// The networks that have one.
    pub(super) fn networks(&self) -> Vec<NetworkId> {
        lock(&self.standing).keys().copied().collect()
    }

    /// Takes up that something of the one of a network is done; tells whether it was to be done.
    pub(super) fn take_due(
        &self,
        network: NetworkId,
        of: impl FnOnce(&mut Standing) -> &mut bool,
    ) -> bool {
        let mut standing = lock(&self.standing);
        let found = standing.get_mut(&network);
        found.is_some_and(|found| !std::mem::replace(of(found), true))
    }

    /// Has the one of a network, if it has one, publish once more what its services ask for.
    pub(super) fn publish_anew(&self, network: NetworkId) {
        if let Some(found) = lock(&self.standing).get_mut(&network) {
            found.published = false;
        }
    }

    /// Notes that the one of a network publishes something else now.
    pub(super) fn note_published(&self, network: NetworkId) {
        if let Some(found) = lock(&self.standing).get_mut(&network) {
            found.changes += 1;
        }
    }

    /// Which one there is of a network, and how often what it publishes has changed.
    fn publishing(&self, network: NetworkId) -> Option<(SandboxId, u64)> {
        let standing = lock(&self.standing);
        let found = standing.get(&network)?;
        Some((found.sandbox.id, found.changes))
    }

    /// Whether the record of the one of a network may name other ports than it publishes.
    pub(super) fn owes_record(&self, network: NetworkId) -> bool {
        let standing = lock(&self.standing);
        standing
            .get(&network)
            .is_some_and(|found| found.owes_record)
    }

    pub(super) fn owe_record(&self, network: NetworkId, owed: bool) {
        if let Some(found) = lock(&self.standing).get_mut(&network) {
            found.owes_record = owed;
        }
    }

    /// Has the one of a network, if it has one, brought once more to what its services want of it.
    pub(super) fn lead_anew(&self, network: NetworkId) {
        if let Some(found) = lock(&self.standing).get_mut(&network) {
            found.led = false;
        }
    }

    /// To which services of a network the one that it has does not lead.
    pub(super) fn unled(&self, network: NetworkId) -> BTreeSet<ServiceId> {
        let standing = lock(&self.standing);
        let found = standing.get(&network);
        found.map(|found| found.unled.clone()).unwrap_or_default()
    }

    /// What the one of a network cannot publish.
    pub(super) fn lacking(&self, network: NetworkId) -> BTreeMap<HostPort, Obstacle> {
        let standing = lock(&self.standing);
        let found = standing.get(&network);
        found.map(|found| found.lacking.clone()).unwrap_or_default()
    }

    pub(super) fn note_lacking(&self, network: NetworkId, lacking: BTreeMap<HostPort, Obstacle>) {
        if let Some(found) = lock(&self.standing).get_mut(&network) {
            found.lacking = lacking;
        }
    }
}

impl Controller {
    /// The sandbox that leads to a network's services here, and its interface there.
    pub(super) fn balancer_on(&self, network: NetworkId) -> Option<(SandboxId, IfName)> {
        let sandbox = self.balancers.on(network)?;
        let state = sandbox.state();
        let mut attachments = state.attachments.iter();
        let found = attachments.find(|a| a.network.spec.id == network)?;
        Some((sandbox.id, found.endpoint.ifname.clone()))
    }

    /// What such a sandbox wants besides its attachments.
    pub(crate) fn balancer_objects(&self, sandbox: SandboxId) -> Vec<Object> {
        let set = |path: &str, value: &str| {
            Object::Sysctl(Sysctl {
                netns: Netns::Sandbox(sandbox),
                path: path.to_owned(),
                value: value.to_owned(),
                previous: None,
            })
        };
        let mut objects = vec![
            Object::Table(Table::Balancer { sandbox }),
            set("net/ipv4/ip_forward", "1"),
            // Clients are its neighbours, and so are those whom it leads them to.
            set("net/ipv4/conf/all/send_redirects", "0"),
            set("net/ipv4/conf/default/send_redirects", "0"),
            set(
                "net/netfilter/nf_conntrack_tcp_timeout_time_wait",
                TIME_WAIT,
            ),
        ];
        if self.config.drivers.ipv6 {
            objects.push(set("net/ipv6/conf/all/forwarding", "1"));
        }
        objects
    }

    /// Lists one that stood before the start.
    pub(crate) fn list_balancer(&self, sandbox: &Arc<Sandbox>) {
        let SandboxKind::Balancer { network, inner } = sandbox.state().spec.kind.clone() else {
            return;
        };
        self.registry_mut().add_balancer(sandbox.clone());
        lock(&self.balancers.inner).insert(network, Inner::new(inner));
        let standing = Standing {
            sandbox: sandbox.clone(),
            led: true,
            published: false,
            changes: 0,
            owes_record: false,
            unled: BTreeSet::new(),
            lacking: BTreeMap::new(),
        };
        lock(&self.balancers.standing).insert(network, standing);
    }

    /// Does what a service of a network asks for now; what cannot be done is tried again soon.
    pub(super) fn settle_service_or_soon(&self, network: &Arc<Network>, service: ServiceId) {
        let extent = Extent::Services([service].into());
        if !self.settle_balancer(network, &extent) {
            self.look_soon(network.spec.id, Some(service));
        }
    }

    /// Makes, changes or takes away the one of a network, as its services and what is on it ask, and
    /// does what of the services was changed; tells whether all of it could be. What cannot be is
    /// told.
    pub(super) fn settle_balancer(&self, network: &Arc<Network>, extent: &Extent) -> bool {
        let settled = self.settle_network(network, extent);
        self.tell_lacks(network);
        let id = network.spec.id;
        let left = !settled || self.balancers.may_lack_less_of(id);
        // That some services are well says nothing of the others.
        if left || *extent == Extent::Whole {
            self.balancers.looks.note_settled(id, !left);
        }
        settled
    }

    fn settle_network(&self, network: &Arc<Network>, extent: &Extent) -> bool {
        let id = network.spec.id;
        let turn = self.balancers.turns.of(id);
        let none = lock(&self.services).asks().on(id).services == 0;
        if none && self.balancers.on(id).is_none() {
            // Nobody asks for what could not be done.
            turn.note_leading(Leading::Fine);
            return true;
        }
        let services = match extent {
            Extent::Whole => {
                self.balancers.publish_anew(id);
                lock(&self.services).on(id)
            }
            Extent::Services(changed) => {
                let book = lock(&self.services);
                changed.iter().filter_map(|one| book.get(*one)).collect()
            }
        };
        let hosted = self.settle_hosted(&services);
        let one = lock(&turn.one);
        let before = self.balancers.publishing(id);
        let settled = self.settle_in_turn(network, &turn);
        let published = self.balancers.publishing(id) != before;
        drop(one);
        self.forget_due();
        // What is published now may lead to endpoints here, and what no more is free for them, and
        // for other networks.
        let services = match published {
            true => {
                self.room_made(true);
                lock(&self.services).on(id)
            }
            false => services,
        };
        let hosted_again = self.settle_hosted_again(&services);
        hosted && settled && hosted_again
    }

    /// Does so after whoever is about it now, so that none stands then that nobody asks for.
    pub(super) fn decide_anew(&self, network: &Arc<Network>) {
        let turn = self.balancers.turns.of(network.spec.id);
        let one = lock(&turn.one);
        self.settle_in_turn(network, &turn);
        drop(one);
        self.forget_due();
        // Its ports may be those of services of other networks.
        self.room_made(true);
    }

    /// The same for who has the turn.
    pub(super) fn settle_in_turn(&self, network: &Arc<Network>, turn: &Turn) -> bool {
        let id = network.spec.id;
        let asked = self.asks_for_balancer(network, turn.is_awaited());
        let hindrance = self.hindrance(network);
        let wanted = asked && hindrance.is_none();
        if !wanted || self.is_astray_on(id) {
            self.lower_in_turn(id);
        }
        let settled = match (wanted, self.balancers.on(id)) {
            (true, None) if turn.rests() => {
                turn.note_leading(Leading::Failed);
                return false;
            }
            (true, None) => {
                let roused = turn.roused();
                let raised = self.raise_balancer(network);
                turn.note_made(raised.is_ok(), roused);
                raised
            }
            (true, Some(sandbox)) => {
                let _ops = lock(&sandbox.ops);
                Ok(self.lead_all(network, &sandbox))
            }
            (false, _) => Ok(true),
        };
        turn.note_leading(match &settled {
            Ok(_) if asked && !wanted => Leading::Never,
            Ok(_) => Leading::Fine,
            Err(_) => Leading::Failed,
        });
        let published = settled.as_ref().is_ok_and(|published| *published);
        let why = match settled {
            Ok(_) => hindrance.filter(|_| asked).map(str::to_owned),
            Err(error) => Some(error.chain()),
        };
        let name = &network.spec.name;
        let what = format_args!("this host does not lead to the services of network {name}");
        self.warn_once((id, About::All), what, why);
        published && self.balancers.unled(id).is_empty()
    }

    /// Whether the one of a network leads to nobody: it came back without its place there, or nothing is
    /// wanted of it since its namespace was taken away.
    fn is_astray_on(&self, network: NetworkId) -> bool {
        let Some(sandbox) = self.balancers.on(network) else {
            return false;
        };
        let attachments = sandbox.state().attachments.clone();
        let Some(place) = attachments.iter().find(|a| a.network.spec.id == network) else {
            return true;
        };
        let host = lock(&self.host);
        let owners = [
            Owner::Sandbox(sandbox.id),
            Owner::Attachment(place.endpoint.id),
        ];
        owners
            .into_iter()
            .any(|owner| host.fragment(owner).is_empty())
    }

    /// Has those of which a namespace is gone be made again.
    pub(crate) fn look_at_balancers_in(&self, gone: &[Netns]) {
        let lost: Vec<NetworkId> = {
            let standing = lock(&self.balancers.standing);
            let lies = |found: &Standing| gone.contains(&Netns::Sandbox(found.sandbox.id));
            let lost = standing.iter().filter(|(_, found)| lies(found));
            lost.map(|(network, _)| *network).collect()
        };
        for network in lost {
            self.look_at_whole_soon(network);
        }
    }

    /// Whether services of a network want to be led to here.
    fn asks_for_balancer(&self, network: &Network, joining: bool) -> bool {
        let asked = lock(&self.services).asks().on(network.spec.id);
        let is_there = || {
            let members = lock(&network.members);
            members.values().any(|sandbox| !sandbox.balances)
        };
        asked.everywhere > 0 || (asked.near > 0 && (joining || is_there()))
    }

    /// Why this host can never lead to them.
    fn hindrance(&self, network: &Network) -> Option<&'static str> {
        let cx = &self.config.drivers;
        let lacks = |family| network.spec.pools(family).next().is_some() && !cx.filters(family);
        match (lacks(Family::V4), lacks(Family::V6)) {
            (true, _) => Some("its daemon makes no rules (--iptables=false)"),
            (_, true) => Some("its daemon makes no rules for IPv6 (--ip6tables=false)"),
            _ if !network.driver.balances(&network.spec) => {
                Some("the network's frames for many go to every host")
            }
            _ => None,
        }
    }

    /// Makes the one of a network, and has it lead; tells whether it publishes what it should.
    fn raise_balancer(&self, network: &Arc<Network>) -> Result<bool> {
        let id = self.new_sandbox_id();
        let by_name = format!("lb-{}", network.spec.name).parse::<ContainerName>();
        let name = by_name.or_else(|_| format!("lb-{}", network.spec.id.short()).parse())?;
        let kind = SandboxKind::Balancer {
            network: network.spec.id,
            inner: BTreeMap::new(),
        };
        let spec = self.sandbox_spec(id, name, kind, SandboxRequest::default());
        let sandbox = Arc::new(Sandbox::new(spec, None, Vec::new()));
        let given_up = self.balancers.given_up.load(Ordering::SeqCst);
        let ops = lock(&sandbox.ops);
        self.registry_mut().add_balancer(sandbox.clone());
        let raised = self
            .pin(&sandbox)
            .and_then(|()| {
                let settings = EndpointSettings::default();
                self.attach_one(&sandbox, network, settings)
            })
            .and_then(|endpoint| {
                self.settle_companion(&sandbox)?;
                // What is led by it before frames pass would be sent again after a second alone.
                let attachments = sandbox.state().attachments.clone();
                for attachment in &attachments {
                    self.await_frames(&attachment.network, &attachment.endpoint);
                }
                crate::step::reached("balancer.built");
                self.enter_phase(&sandbox, Phase::Ready)?;
                Ok(endpoint)
            });
        match raised {
            // Not before: of one that cannot be made whole no other host hears.
            Ok(endpoint) => self.publish_names(&sandbox, network, endpoint),
            Err(error) => {
                self.undo_balancer(&sandbox);
                return Err(error);
            }
        }
        let standing = Standing {
            sandbox: sandbox.clone(),
            led: false,
            published: false,
            changes: 0,
            owes_record: false,
            unled: BTreeSet::new(),
            lacking: BTreeMap::new(),
        };
        lock(&self.balancers.standing).insert(network.spec.id, standing);
        if self.balancers.given_up.load(Ordering::SeqCst) != given_up {
            // Whoever took all away may have looked before this one stood.
            drop(ops);
            self.lower_in_turn(network.spec.id);
            return Ok(true);
        }
        Ok(self.lead_all(network, &sandbox))
    }

    /// Has one that stands lead to all services, and publish their ports; the caller holds its
    /// `ops`. Tells whether they are published: that they are not is no reason why nobody is led.
    fn lead_all(&self, network: &Arc<Network>, sandbox: &Arc<Sandbox>) -> bool {
        let id = network.spec.id;
        self.lead_to_services(network);
        if !self.balancers.take_due(id, |found| &mut found.published) {
            return true;
        }
        let failed = self.publish_ingress(network, sandbox).err();
        let published = failed.is_none();
        if !published {
            self.note_unpublished(network, sandbox);
            self.balancers.publish_anew(id);
        }
        let name = &network.spec.name;
        let what =
            format_args!("not all ports of services of network {name} are published by this host");
        self.warn_once((id, About::Ports), what, failed.map(|error| error.chain()));
        published
    }

    /// Brings what all services of a network want of the sandbox that leads to them, if that is
    /// still to be done; those of which the kernel refuses it are noted, and the others led to.
    fn lead_to_services(&self, network: &Network) {
        let id = network.spec.id;
        if !self.balancers.take_due(id, |found| &mut found.led) {
            return;
        }
        let (mut unled, mut all_noted) = (BTreeSet::new(), true);
        let services = lock(&self.services).on(id);
        for service in services {
            let state = lock(&service.state);
            if !state.removed {
                let noted = self
                    .slots_batch(&service, &state, &state.roster, &state.hosted.ports)
                    .and_then(|batch| self.note(batch));
                let fragment = self.fragment_of(&service.network, &state);
                let brought = self.bring(vec![(Owner::Service(service.id), fragment)]);
                let failed = brought.err();
                if failed.is_none() {
                    self.note_led(service.id);
                }
                all_noted &= noted.is_ok();
                unled.extend(failed.as_ref().map(|_| service.id));
                let what = format_args!(
                    "this host does not lead to service {} of network {}",
                    state.spec.name, network.spec.name
                );
                let about = (id, About::Led(service.id));
                self.warn_once(about, what, failed.map(|error| error.chain()));
            }
        }
        if let Some(found) = lock(&self.balancers.standing).get_mut(&id) {
            // Somebody may have asked for one more meanwhile, so that success says nothing.
            found.led &= unled.is_empty() && all_noted;
            found.unled = unled;
        }
    }

    /// Takes away the one of a network, if there is one.
    pub(crate) fn lower_balancer(&self, network: NetworkId) {
        let turn = self.balancers.turns.of(network);
        let one = lock(&turn.one);
        self.lower_in_turn(network);
        drop(one);
        self.forget_due();
        // Its ports may be those of services of other networks.
        self.room_made(true);
    }

    fn lower_in_turn(&self, network: NetworkId) {
        let found = lock(&self.balancers.standing).remove(&network);
        let Some(Standing { sandbox, .. }) = found else {
            return;
        };
        let _ops = lock(&sandbox.ops);
        if let Err(error) = self.enter_phase(&sandbox, Phase::Removing) {
            tracing::error!("{}", error.chain());
        }
        // Nobody wants anything of it any more; what stands goes with it.
        let services = lock(&self.services).on(network);
        for service in services {
            let mut state = lock(&service.state);
            if state.removed {
                continue;
            }
            // Its ports go with it, whomever they lead to.
            let led = state.hosted.claimed();
            let noted = self
                .slots_batch(&service, &state, &state.roster, &led)
                .and_then(|batch| self.note(batch));
            state.hosted.ports = led;
            let fragment = self.fragment_of(&service.network, &state);
            let gone = self.take_away_led(service.id, fragment);
            // By the host's own table it may be led to as before still.
            if state.hosted.ports.is_empty() {
                self.note_led(service.id);
            }
            if let Err(error) = noted.and(gone) {
                tracing::warn!("{}", error.chain());
            }
        }
        self.undo_balancer(&sandbox);
        lock(&self.balancers.inner).remove(&network);
    }

    /// Takes away all of them.
    pub(crate) fn lower_balancers(&self) {
        self.balancers.given_up.fetch_add(1, Ordering::SeqCst);
        for network in self.balancers.networks() {
            self.lower_balancer(network);
        }
    }

    fn undo_balancer(&self, sandbox: &Arc<Sandbox>) {
        if let Err(left) = self.dissolve(sandbox) {
            lock(&self.leaving).push(Leaving::Sandbox(sandbox.id));
            self.warn(format!(
                "{} is gone, and not all of it could be taken down: {}",
                sandbox.state().spec.name,
                left.chain()
            ));
        }
        self.unlist(sandbox);
    }

    /// Forgets one that was found half made at the start.
    pub(crate) fn forget_balancer(&self, sandbox: &Sandbox) {
        lock(&self.balancers.standing).retain(|_, found| found.sandbox.id != sandbox.id);
    }
}

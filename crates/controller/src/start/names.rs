//! Names first: what the embedded resolvers need, taken up from the records before anything else.
//!
//! Owns the way from attachment records to names that answer, and from there to fragments. It must
//! not wait for the kernel's objects: those that stand go on without us, those that do not are
//! brought back after.

use super::conflict;
use crate::{
    Controller,
    controller::kernel_error,
    naming::called,
    records::{AttachmentRecord, Membership, Phase, SandboxRecord},
    registry::{Attachment, Network, Resolver, Sandbox, lock},
};
use std::{collections::HashMap, os::fd::OwnedFd, sync::Arc, thread};
use vw_hoststate::Owner;
use vw_kernel::KernelError;
use vw_model::{EndpointSpec, Error, NetworkId, Result, SandboxId, Scope};
use vw_names::EndpointNames;
use vw_store::Batch;

/// What endpoints are called, by network: each zone is changed once for all of them.
type Names = HashMap<NetworkId, (Arc<Network>, Vec<EndpointNames>)>;

/// A sandbox, the resolver that it had, and the sockets that were made for it.
pub(super) type Made = (
    Arc<Sandbox>,
    Resolver,
    std::result::Result<Vec<OwnedFd>, KernelError>,
);

/// What the attachment records came to.
#[derive(Default)]
pub(super) struct TakenUp {
    /// Endpoints that have their leases, their place in a sandbox, and their names.
    standing: Vec<(Arc<Sandbox>, EndpointSpec)>,
    /// Those that were not complete, or cannot be.
    undone: Vec<EndpointSpec>,
}

impl Controller {
    /// Takes up attachments that were complete; gives back those that were not.
    pub(super) fn take_up_attachments(&self, records: Vec<AttachmentRecord>) -> TakenUp {
        let mut taken = TakenUp::default();
        let mut names = Names::new();
        for record in records {
            let endpoint = record.endpoint;
            let found = (record.phase == Phase::Ready).then(|| self.take_up(&endpoint, &mut names));
            match found.flatten() {
                Some(sandbox) => taken.standing.push((sandbox, endpoint)),
                None => taken.undone.push(endpoint),
            }
        }
        for endpoint in &taken.undone {
            self.hold_until_gone(endpoint);
        }
        for (network, called) in names.values() {
            network.zone.update(|zone| zone.with_all(called));
        }
        taken
    }

    /// Those of an adopted sandbox's memberships that last whether an endpoint of it stands there or not:
    /// on a network of this host alone it is by its endpoint.
    pub(super) fn lasting(&self, memberships: &[Membership]) -> Vec<Membership> {
        let registry = self.registry();
        let lasts = |m: &&Membership| {
            let network = registry.network_by_id(m.network);
            network.is_none_or(|network| network.comes_back())
        };
        memberships.iter().filter(lasts).cloned().collect()
    }

    /// Adds the records of adopted sandboxes that lack what their endpoints alone told that they are
    /// members of, or name what they are no members of any more.
    pub(super) fn with_members(
        &self,
        mut batch: Batch,
        left: &HashMap<SandboxId, SandboxRecord>,
    ) -> Result<Batch> {
        let adopted = left.values().filter(|record| record.adopted.is_some());
        for record in adopted {
            let Some(sandbox) = self.registry().sandbox_by_id(record.id) else {
                continue;
            };
            let memberships = sandbox.state().memberships.clone();
            let within = |some: &[Membership], all: &[Membership]| {
                let mut some = some.iter();
                let of = |m: &Membership| (m.network, m.sealed.clone());
                some.all(|one| all.iter().any(|m| of(m) == of(one)))
            };
            let is_noted = within(&self.lasting(&memberships), &record.memberships)
                && within(&record.memberships, &memberships);
            if !sandbox.balances && !is_noted {
                batch = self.with_sandbox(batch, &sandbox)?;
            }
        }
        Ok(batch)
    }

    /// Leases, lists and names an endpoint; nothing where its network or sandbox is not there.
    fn take_up(&self, endpoint: &EndpointSpec, names: &mut Names) -> Option<Arc<Sandbox>> {
        let registry = self.registry();
        let network = registry.network_by_id(endpoint.network)?;
        let sandbox = registry.sandbox_by_id(endpoint.sandbox)?;
        drop(registry);
        if !sandbox.state().is_on(&network) {
            return None;
        }
        let held = self.hold_all(&network, endpoint);
        if held || network.comes_back() {
            // What is off an encrypted network must not send there another way meanwhile.
            sandbox.be_member(&network, endpoint);
        }
        if !held {
            return None;
        }
        let attachment = Attachment {
            network: network.clone(),
            endpoint: endpoint.clone(),
            gateways: Vec::new(),
        };
        self.take_up_member(&sandbox, &attachment);
        let mut state = sandbox.state();
        state.attachments.push(attachment);
        state
            .attachments
            .sort_by(|a, b| a.endpoint.ifname.cmp(&b.endpoint.ifname));
        drop(state);
        lock(&network.members).insert(endpoint.id, sandbox.clone());
        lock(&network.reach).users += 1;
        let mut named = None;
        self.tell_role(&sandbox, endpoint.id, |role| {
            named = called(&sandbox, endpoint.id, role);
            self.publish(&sandbox, &network, endpoint.id, role);
        });
        if let Some(called) = named {
            let empty = || (network.clone(), Vec::new());
            let of_network = names.entry(network.spec.id).or_insert_with(empty);
            of_network.1.push(called);
        }
        Some(sandbox)
    }

    /// Leases what an endpoint had of which something may stand: it is nobody else's before that is gone.
    /// After those that stand, of which one may have an address since that its record names still.
    fn hold_until_gone(&self, endpoint: &EndpointSpec) {
        let Some(network) = self.registry().network_by_id(endpoint.network) else {
            return;
        };
        for net in &endpoint.addresses {
            // What another has is not given to a third.
            let _ = self.hold(&network, net.addr(), endpoint.id);
        }
    }

    /// Leases what an endpoint had; says whether it has all of it.
    fn hold_all(&self, network: &Network, endpoint: &EndpointSpec) -> bool {
        let mut addresses = endpoint.addresses.iter();
        addresses.all(|net| {
            let held = self.hold(network, net.addr(), endpoint.id);
            held.inspect_err(|error| {
                let (endpoint, name) = (endpoint.id.short(), &network.spec.name);
                let why = error.chain();
                self.warn(format!("endpoint {endpoint} of network {name}: {why}"));
            })
            .is_ok()
        })
    }

    /// Does `work` while others make the sockets of the resolvers that answered before: one visit
    /// a sandbox, which takes about as long as the records of their endpoints.
    ///
    /// # Errors
    /// That of `work`, or when there is no thread.
    pub(super) fn beside_sockets<T>(
        &self,
        left: &HashMap<SandboxId, SandboxRecord>,
        work: impl FnOnce() -> Result<T>,
    ) -> Result<(T, Vec<Made>)> {
        let known = left.values().filter_map(|record| {
            let sandbox = self.registry().sandbox_by_id(record.id)?;
            let (udp, tcp) = record.resolver?;
            Some((sandbox, Resolver { udp, tcp }))
        });
        let known: Vec<_> = known.collect();
        let wanted: Vec<_> = known
            .iter()
            .map(|(sandbox, former)| (sandbox.id, former.sockets()))
            .collect();
        let kernel = &*self.kernel;
        let (worked, made) = thread::scope(|scope| {
            let builder = thread::Builder::new().name("resolvers".into());
            let making = builder.spawn_scoped(scope, || kernel.sockets(&wanted));
            let making = making.map_err(|e| {
                Error::internal("thread-refused", "no thread to make sockets").because(e)
            })?;
            let worked = work();
            let made = making.join().map_err(|_| {
                Error::internal("resolver-socket", "the thread that makes sockets ended")
            })?;
            Ok::<_, Error>((worked, made))
        })?;
        let made = known.into_iter().zip(made);
        let made = made.map(|((sandbox, former), made)| (sandbox, former, made));
        Ok((worked?, made.collect()))
    }

    /// Has the resolvers answer again where they did, all of them handed to the server at once. The
    /// rules that lead to them still stand.
    pub(super) fn restore_resolvers(&self, sockets: Vec<Made>) {
        let mut news = Vec::with_capacity(sockets.len());
        for (sandbox, former, made) in sockets {
            let made = made.map_err(kernel_error);
            let made = made.and_then(crate::naming::resolver_of);
            // A program inside may have bound a port meanwhile: the rules follow to new ones.
            let anew = |_| self.resolver_sockets(&sandbox, Resolver { udp: 0, tcp: 0 });
            match made.or_else(anew) {
                Ok(new) => {
                    sandbox.state().resolver = Some(new.ports);
                    if new.ports != former
                        && let Err(error) = self.note_sandbox(&sandbox)
                    {
                        tracing::error!("{}", error.chain());
                    }
                    news.push((sandbox.id, new.sockets, self.view_of(&sandbox)));
                }
                Err(error) if error.reason == "namespace-gone" => {}
                Err(error) => {
                    let name = sandbox.state().spec.name.clone();
                    self.warn(format!("names do not answer in {name}: {}", error.chain()));
                }
            }
        }
        for error in self.dns.add_all(news) {
            self.warn(error.to_string());
        }
    }

    /// Has the drivers say what the endpoints taken up want; takes those out again that cannot be.
    pub(super) fn plan_attachments(&self, taken: TakenUp) -> Vec<EndpointSpec> {
        let mut undone = taken.undone;
        for (sandbox, endpoint) in taken.standing {
            let Err(error) = self.plan_taken_up(&sandbox, &endpoint) else {
                continue;
            };
            // One endpoint that cannot be does not keep the others from being.
            self.warn(format!(
                "endpoint {} is taken down: {}",
                endpoint.id.short(),
                error.chain()
            ));
            self.take_out_again(&sandbox, &endpoint);
            undone.push(endpoint);
        }
        undone
    }

    fn plan_taken_up(&self, sandbox: &Sandbox, endpoint: &EndpointSpec) -> Result<()> {
        let Some(network) = self.registry().network_by_id(endpoint.network) else {
            return Ok(());
        };
        let cx = &self.config.drivers;
        let planned = network
            .driver
            .plan_attachment(&network.spec, endpoint, cx)?;
        let wants = vec![(Owner::Attachment(endpoint.id), planned.fragment)];
        lock(&self.host).take_up(wants).map_err(conflict)?;
        let mut state = sandbox.state();
        let mut attachments = state.attachments.iter_mut();
        if let Some(attachment) = attachments.find(|a| a.endpoint.id == endpoint.id) {
            attachment.gateways = planned.gateways;
        }
        Ok(())
    }

    fn take_out_again(&self, sandbox: &Sandbox, endpoint: &EndpointSpec) {
        let mut state = sandbox.state();
        let mut attachments = state.attachments.iter();
        let Some(at) = attachments.position(|a| a.endpoint.id == endpoint.id) else {
            return;
        };
        let attachment = state.attachments.remove(at);
        if state.container.is_none() && !attachment.network.comes_back() {
            state.memberships.retain(|m| m.network != endpoint.network);
        }
        drop(state);
        lock(&attachment.network.members).remove(&endpoint.id);
        lock(&attachment.network.reach).users -= 1;
        self.drop_member(endpoint.id);
        self.withdraw_names(&attachment.network, endpoint.id);
        self.dns.update(sandbox.id, self.view_of(sandbox));
    }
}

impl Network {
    /// Whether an endpoint that cannot be at the start is tried again later.
    pub(crate) fn comes_back(&self) -> bool {
        self.spec.scope == Scope::Global
    }
}

impl Sandbox {
    /// Has an adopted sandbox be a member of a network that its endpoint is of: what a container is a
    /// member of its configuration says.
    fn be_member(&self, network: &Network, endpoint: &EndpointSpec) {
        let mut state = self.state();
        let mut known = state.memberships.iter();
        let is_member = known.any(|m| m.network == network.spec.id);
        if state.container.is_none() && !is_member && !network.is_gateway_bridge() {
            let membership = network.membership(endpoint.settings.clone());
            state.memberships.push(membership);
        }
    }
}

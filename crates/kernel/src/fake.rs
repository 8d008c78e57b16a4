//! An executor in memory, with the manners of the real one.
//!
//! Owns a state that tests of other crates read, break and make fail. It must not promise more
//! than the kernel does: what lies on a link goes with it, what lies in a namespace goes with that.

mod state;
#[cfg(test)]
mod tests;

use crate::{
    Failure, FrameSocket, HostFacts, Kernel, KernelError, Leads, Led, Observed, PortClaim,
    PortHolder, SocketKind, SocketPlace, TunnelFacts, TunnelKey, netns::lock,
};
use rustix::event::{EventfdFlags, eventfd};
use state::State;
use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::{IpAddr, SocketAddr},
    os::{fd::OwnedFd, unix::net::UnixDatagram},
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};
use vw_hoststate::{Key, LinkKind, Netns, Object, Objects, Plan};
use vw_model::{EndpointSpec, IfName, NetworkId, PortKey, Protocol, PublicKey, SandboxId};

/// What somebody sent, and where it was led.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flow {
    /// Where that was done.
    pub netns: Netns,
    /// To which address it was sent,
    pub to: IpAddr,
    /// and to which of its ports.
    pub port: PortKey,
    /// Who answers it,
    pub by: IpAddr,
    /// and at which port.
    pub at: u16,
}

impl Flow {
    fn is_led(&self, led: &Led) -> bool {
        let by = led.by.as_ref();
        led.to.contains(&self.by) && by.is_none_or(|by| by.leads(self.to, self.port))
    }
}

/// An executor in memory; clones share one state.
#[derive(Debug, Clone, Default)]
pub struct FakeKernel {
    state: Arc<Mutex<State>>,
}

impl FakeKernel {
    /// An empty host.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes the `n`-th step from now on fail once, counted from 1, across plans.
    pub fn fail_at(&self, n: usize) {
        self.state().fail_in = Some(n);
    }

    /// Makes no step fail any more.
    pub fn fail_never(&self) {
        self.state().fail_in = None;
    }

    /// How many steps were tried so far.
    #[must_use]
    pub fn steps_tried(&self) -> usize {
        self.state().tried
    }

    /// What stands.
    #[must_use]
    pub fn objects(&self) -> BTreeMap<Key, Object> {
        self.state().objects.clone()
    }

    /// Loses what `lost` names, as when somebody else removed it, with all that lay in it.
    pub fn lose(&self, lost: impl Fn(&Key) -> bool) {
        let mut state = self.state();
        let keys: Vec<Key> = state
            .objects
            .keys()
            .filter(|key| lost(key))
            .cloned()
            .collect();
        for key in keys {
            state.remove(&key);
        }
    }

    /// Puts something there that no plan made.
    pub fn intrude(&self, object: Object) {
        self.state().objects.insert(object.key(), object);
    }

    /// Makes the namespace of a sandbox vanish, with all that lies in it.
    pub fn vanish(&self, sandbox: SandboxId) {
        self.state()
            .remove(&Key::Namespace(Netns::Sandbox(sandbox)));
    }

    /// Makes the namespace of a network vanish, with all that lies in it.
    pub fn vanish_network(&self, network: NetworkId) {
        self.state()
            .remove(&Key::Namespace(Netns::Network(network)));
    }

    /// Makes a source of namespaces (a process, a file) one that is gone.
    pub fn lose_source(&self, source: vw_hoststate::NamespaceSource) {
        self.state().dead.push(source);
    }

    /// Has no packets translated from now on, for this reason, or again.
    pub fn refuse_translation(&self, why: Option<&str>) {
        self.state().untranslated = why.map(str::to_owned);
    }

    /// Sets what [`facts`](Kernel::facts) answers.
    pub fn set_facts(&self, facts: HostFacts) {
        self.state().facts = facts;
    }

    /// Makes it a kernel without WireGuard.
    pub fn lack_wireguard(&self) {
        self.state().lacks_wireguard = true;
    }

    /// Makes it one with WireGuard, as it is at first.
    pub fn gain_wireguard(&self) {
        self.state().lacks_wireguard = false;
    }

    /// Has another host agree with the tunnel of the kernel on a session by this key.
    pub fn agree(&self, key: PublicKey) {
        self.state().agreed.insert(key);
    }

    /// The host ports that are held now.
    #[must_use]
    pub fn claimed(&self) -> Vec<(Protocol, SocketAddr)> {
        self.state().claimed()
    }

    /// Makes a host port one that a stranger has.
    pub fn occupy(&self, protocol: Protocol, addr: SocketAddr) {
        self.state().strangers.insert((protocol, addr));
    }

    /// Makes a stranger give a host port back.
    pub fn vacate(&self, protocol: Protocol, addr: SocketAddr) {
        self.state().strangers.remove(&(protocol, addr));
    }

    /// Has it track these alone: as if over UDP to be forgotten, over TCP to be waited for.
    pub fn track(&self, flows: Vec<Flow>) {
        let mut state = self.state();
        (state.flows, state.awaited) = (flows, Vec::new());
    }

    /// Which of them it tracks still.
    #[must_use]
    pub fn tracked(&self) -> Vec<Flow> {
        self.state().flows.clone()
    }

    /// The ends of which of them were waited for, and for how long at most.
    #[must_use]
    pub fn awaited(&self) -> Vec<(Flow, Duration)> {
        self.state().awaited.clone()
    }

    /// All of whose connections were forgotten as nobody has the address any more, and where.
    #[must_use]
    pub fn cut_off(&self) -> Vec<(Netns, IpAddr)> {
        self.state().cut_off.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl Kernel for FakeKernel {
    fn apply(&self, plan: &Plan) -> Result<(), Failure> {
        let mut state = self.state();
        let mut done = vec![false; plan.steps.len()];
        for (at, step) in plan.steps.iter().enumerate() {
            if let Err(source) = state.step(step) {
                return Err(Failure {
                    done,
                    step: at,
                    source,
                });
            }
            done[at] = true;
        }
        Ok(())
    }

    fn observe(&self, expected: &Objects) -> Result<Observed, KernelError> {
        let state = self.state();
        let is_there =
            |netns| netns == Netns::Host || state.objects.contains_key(&Key::Namespace(netns));
        let mut gone: Vec<Netns> = expected
            .values()
            .flat_map(Object::namespaces)
            .filter(|netns| !is_there(*netns))
            .collect();
        gone.sort_unstable();
        gone.dedup();
        let objects = state.observed(expected);
        Ok(Observed { objects, gone })
    }

    fn facts(&self) -> Result<HostFacts, KernelError> {
        Ok(self.state().facts.clone())
    }

    fn socket(&self, place: SocketPlace, kind: SocketKind) -> Result<OwnedFd, KernelError> {
        if let SocketPlace::Sandbox(sandbox) = place {
            self.state().require(Netns::Sandbox(sandbox))?;
        }
        // There is no network: a socket that works, on the machine's loopback.
        let kind = match kind {
            SocketKind::Udp(addr) => SocketKind::Udp(state::loopback(addr)),
            SocketKind::TcpListen(addr) => SocketKind::TcpListen(state::loopback(addr)),
            SocketKind::TcpUnbound(addr) => SocketKind::TcpUnbound(addr),
        };
        crate::sockets::open(kind).map_err(|source| KernelError::Call {
            operation: "open socket",
            object: crate::sockets::describe(kind),
            source,
        })
    }

    fn frame_socket(
        &self,
        network: NetworkId,
        link: &IfName,
        _ethertype: u16,
    ) -> Result<FrameSocket, KernelError> {
        self.state().require_link(Netns::Network(network), link)?;
        // Nothing ever comes in by it.
        let socket = UnixDatagram::unbound();
        let socket =
            socket.map_err(|error| refused("listen on", link.to_string(), error.kind()))?;
        let socket = OwnedFd::from(socket);
        Ok(FrameSocket { socket, link: 1 })
    }

    fn claim_port(&self, protocol: Protocol, addr: SocketAddr) -> Result<PortClaim, KernelError> {
        self.state().claim(protocol, addr)
    }

    fn host_addresses(&self) -> Result<BTreeSet<IpAddr>, KernelError> {
        let facts = self.facts()?;
        Ok(facts.addresses.iter().map(|(_, net)| net.addr()).collect())
    }

    fn port_holder(&self, _protocol: Protocol, _addr: SocketAddr) -> Option<PortHolder> {
        None
    }

    fn open_tun(&self, name: &IfName) -> Result<OwnedFd, KernelError> {
        self.state().require_tunnel(name, &LinkKind::Tun)?;
        // Nothing ever comes in by it.
        let fd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK);
        fd.map_err(|error| refused("open", name.to_string(), error.kind()))
    }

    fn know_tunnel_keys(&self, keys: Vec<TunnelKey>) {
        self.state().keys = keys.iter().map(|key| key.public).collect();
    }

    fn tunnel_facts(&self, name: &IfName) -> Result<TunnelFacts, KernelError> {
        let state = self.state();
        Ok(TunnelFacts {
            wireguard: !state.lacks_wireguard,
            tun: true,
            standing: state.standing_tunnel(name),
        })
    }

    fn tunnel_sessions(&self, name: &IfName) -> Result<BTreeSet<PublicKey>, KernelError> {
        let state = self.state();
        state.require_tunnel(name, &LinkKind::Wireguard)?;
        Ok(state.agreed.clone())
    }

    fn netns_path(&self, sandbox: SandboxId) -> PathBuf {
        PathBuf::from("/run/vethwork/netns").join(sandbox.to_string())
    }

    fn await_forwarding(&self, _outer: Netns, _endpoint: &EndpointSpec) -> Result<(), KernelError> {
        Ok(())
    }

    fn untranslated(&self) -> Option<String> {
        self.state().untranslated.clone()
    }

    fn await_quiet(&self, each: &[(Led, Duration)]) -> Result<(), KernelError> {
        let mut state = self.state();
        let here = state.flows.iter().filter(|flow| flow.netns == Netns::Host);
        let longest = |flow: &Flow| {
            let by = each.iter().filter(|(led, _)| flow.is_led(led));
            by.map(|(_, longest)| *longest).max()
        };
        let awaited = here.filter_map(|flow| Some((*flow, longest(flow)?)));
        state.awaited = awaited.collect();
        Ok(())
    }

    fn await_closed(
        &self,
        _sandbox: SandboxId,
        _peers: &[IpAddr],
        _longest: Duration,
    ) -> Result<(), KernelError> {
        Ok(())
    }

    fn forget_led(&self, netns: Netns, led: &Led) -> Result<(), KernelError> {
        let mut state = self.state();
        let stays = |flow: &Flow| flow.netns != netns || !flow.is_led(led);
        state.flows.retain(stays);
        Ok(())
    }

    fn forget_led_elsewhere(&self, netns: Netns, leads: &Leads) -> Result<(), KernelError> {
        let mut state = self.state();
        state.require(netns)?;
        let elsewhere = |flow: &Flow| {
            let to = SocketAddr::new(flow.to, flow.port.port);
            let by = SocketAddr::new(flow.by, flow.at);
            leads.leads_elsewhere(to, flow.port.protocol, by)
        };
        let stays = |flow: &Flow| flow.netns != netns || !elsewhere(flow);
        state.flows.retain(stays);
        Ok(())
    }

    fn answering(&self, netns: Netns) -> Result<BTreeSet<IpAddr>, KernelError> {
        let state = self.state();
        state.require(netns)?;
        let flows = state.flows.iter().filter(|flow| flow.netns == netns);
        Ok(flows.map(|flow| flow.by).collect())
    }

    fn forget_all(&self, netns: Netns, addrs: &BTreeSet<IpAddr>) -> Result<(), KernelError> {
        let mut state = self.state();
        state.require(netns)?;
        state
            .cut_off
            .extend(addrs.iter().map(|addr| (netns, *addr)));
        let stays = |flow: &Flow| flow.netns != netns || !addrs.contains(&flow.by);
        state.flows.retain(stays);
        Ok(())
    }

    fn interfaces(&self, sandbox: SandboxId) -> Result<Vec<IfName>, KernelError> {
        let state = self.state();
        state.require(Netns::Sandbox(sandbox))?;
        state.interfaces(sandbox)
    }
}

fn refused(operation: &'static str, object: String, kind: io::ErrorKind) -> KernelError {
    KernelError::Call {
        operation,
        object,
        source: kind.into(),
    }
}

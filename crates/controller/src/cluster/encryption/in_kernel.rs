//! The encrypted tunnel where the kernel carries its packets: this host's keys and its port.
//!
//! Owns which port that is, and that the executor knows the private keys which plans name. A device
//! has one private key: when that changes, the kernel sends by new sessions alone and goes on
//! receiving by those that stand (`wg_set_device`, `wg_noise_expire_current_peer_keypairs`).

use super::{Tunnel, port::encryption_port};
use crate::{controller::kernel_error, registry::lock};
use std::{
    collections::BTreeSet,
    io::ErrorKind,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{Arc, Mutex},
    time::Duration,
};
use vw_agents::wireguard::{KeyFileError, KeyHolder, PrivateKey};
use vw_drivers::Carrier;
use vw_hoststate::{Fragment, LinkKind};
use vw_kernel::{Kernel, KernelError, TunnelFacts, TunnelKey};
use vw_model::{
    ENCRYPTION_PORTS, Error, OtherHosts, Protocol, PublicKey, RemoteHost, Result, TunnelKeys,
};

/// `ENODEV`.
const NO_DEVICE: i32 = 19;

/// This host's end of the tunnel in the kernel.
pub struct KernelTunnel {
    kernel: Arc<dyn Kernel>,
    /// Our address for other hosts.
    addr: IpAddr,
    state: Mutex<State>,
}

struct State {
    keys: KeyHolder,
    port: u16,
    /// Whether the port was chosen, for as long as the tunnel is wanted: what is planned once more
    /// must not find it taken by the tunnel itself.
    chosen: bool,
}

/// Who is to carry the packets of encrypted networks: of a tunnel that stands, who does; of a new
/// one the kernel where it has WireGuard, else a process of user space where that can be.
#[must_use]
pub fn carrier(facts: &TunnelFacts) -> Option<Carrier> {
    match &facts.standing {
        Some((LinkKind::Wireguard, _)) => Some(Carrier::Kernel),
        Some(_) => Some(Carrier::UserSpace),
        None if facts.wireguard => Some(Carrier::Kernel),
        None => facts.tun.then_some(Carrier::UserSpace),
    }
}

impl KernelTunnel {
    /// With these keys, and the port of the tunnel that stands.
    #[must_use]
    pub fn new(
        kernel: Arc<dyn Kernel>,
        addr: IpAddr,
        keys: KeyHolder,
        facts: &TunnelFacts,
    ) -> Self {
        let standing = facts.standing.as_ref().and_then(|(_, port)| *port);
        Self {
            kernel,
            addr,
            state: Mutex::new(State {
                keys,
                port: standing.unwrap_or(*ENCRYPTION_PORTS.start()),
                chosen: standing.is_some(),
            }),
        }
    }

    /// Those keys by which sessions stand, where one of them is a host's next: it is used before the
    /// host could tell that, or this one could read it.
    fn agreed(&self, others: &[RemoteHost]) -> Result<BTreeSet<PublicKey>> {
        let told = |host: &RemoteHost| host.keys.as_ref().is_some_and(|keys| keys.next.is_some());
        if !others.iter().any(told) {
            return Ok(BTreeSet::new());
        }
        match self.kernel.tunnel_sessions(&vw_drivers::tunnel_link()?) {
            Ok(agreed) => Ok(agreed),
            // The tunnel does not stand yet.
            Err(error) if error.is_namespace_gone() => Ok(BTreeSet::new()),
            Err(KernelError::Call { source, .. }) if is_no_device(&source) => Ok(BTreeSet::new()),
            Err(error) => Err(kernel_error(error)),
        }
    }

    /// Whether a tunnel that could not be taken away has the port still.
    fn stands_at(&self, port: u16) -> Result<bool> {
        let facts = self.kernel.tunnel_facts(&vw_drivers::tunnel_link()?);
        let standing = facts.map_err(kernel_error)?.standing;
        Ok(standing.is_some_and(|(_, at)| at == Some(port)))
    }

    /// Whether the kernel could bind a port, which it does at every address.
    fn is_free(&self, port: u16) -> Result<bool> {
        let everywhere: [IpAddr; 2] = [Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()];
        for addr in everywhere {
            let addr = SocketAddr::new(addr, port);
            match self.kernel.claim_port(Protocol::Udp, addr) {
                Ok(_) => {}
                Err(KernelError::Call { source, .. }) if source.kind() == ErrorKind::AddrInUse => {
                    return Ok(false);
                }
                Err(error) => return Err(kernel_error(error)),
            }
        }
        Ok(true)
    }
}

impl Tunnel for KernelTunnel {
    fn carrier(&self) -> Carrier {
        Carrier::Kernel
    }

    fn keys(&self) -> TunnelKeys {
        let state = lock(&self.state);
        state.keys.keys(state.port)
    }

    fn change(&self, others: &OtherHosts, told: Option<PublicKey>) -> Result<Duration> {
        let mut state = lock(&self.state);
        state.keys.change(others, told).map_err(keys_failed)
    }

    fn objects(&self) -> Result<Fragment> {
        let mut state = lock(&self.state);
        if !state.chosen && !self.stands_at(state.port)? {
            let take = |port| Ok(self.is_free(port)?.then_some(()));
            (state.port, ()) = encryption_port(&*self.kernel, self.addr, None, take)?;
        }
        state.chosen = true;
        // The former one too: a change that fails is undone.
        let known = [Some(state.keys.current()), state.keys.former()];
        let told = |key: &PrivateKey| TunnelKey::new(key.public(), key.to_bytes());
        let known = known.into_iter().flatten().map(told).collect();
        self.kernel.know_tunnel_keys(known);
        let public = state.keys.current().public();
        let key = vw_drivers::plan_tunnel_key(public, state.port)?;
        Ok(std::iter::once(key).collect())
    }

    fn peers(&self, hosts: &[RemoteHost]) -> Result<Vec<Fragment>> {
        let agreed = self.agreed(hosts)?;
        let plan = |host| vw_drivers::plan_tunnel_peer(host, self.addr, &agreed);
        hosts.iter().map(plan).collect()
    }

    fn carry(&self, _: &OtherHosts) -> Result<()> {
        Ok(())
    }

    fn end(&self) -> Result<()> {
        lock(&self.state).chosen = false;
        Ok(())
    }
}

/// Whether there is no such link.
fn is_no_device(error: &std::io::Error) -> bool {
    error.kind() == ErrorKind::NotFound || error.raw_os_error() == Some(NO_DEVICE)
}

fn keys_failed(error: KeyFileError) -> Error {
    let sentence = "the keys of encrypted networks are not to be had";
    Error::internal("keys-unusable", sentence).because(error)
}

//! This host's end of the encrypted tunnel: it stands while an encrypted network does, and the
//! hosts tell each other their keys.
//!
//! Owns when packets are carried and when not, and what is told in which order. It must not know
//! who carries them, nor how keys are made or when they change.

mod in_kernel;

use crate::{
    Controller,
    controller::{Core, WeakController},
    registry::{Network, lock},
};
pub use in_kernel::{KernelTunnel, carrier};
use std::{
    collections::BTreeSet,
    sync::{Arc, Condvar, Mutex, PoisonError},
    thread,
    time::Duration,
};
use vw_cluster::Cluster;
use vw_drivers::Carrier;
use vw_hoststate::{Fragment, Owner};
use vw_model::{NetworkId, RemoteHost, Result, TunnelKeys};

/// How often whoever carries packets is looked after: a killed one is replaced within this.
const LOOK: Duration = Duration::from_secs(1);

/// Who carries the packets of encrypted networks between hosts, and keeps this host's keys.
pub trait Tunnel: Send + Sync {
    /// Who that is: it decides the kind of the tunnel's link.
    fn carrier(&self) -> Carrier;

    /// What this host tells of its keys, without those that it has taken in.
    fn keys(&self) -> TunnelKeys;

    /// Changes keys when it is time to and the others accept the next one; gives the time after
    /// which it is to be asked again, if nothing happens before. A key that changed is used with the
    /// next [`Self::carry`], and told after that.
    ///
    /// # Errors
    /// When a key cannot be made or kept.
    fn change(&self, others: &[RemoteHost]) -> Result<Duration>;

    /// What must stand in the kernel for that beside the tunnel's link, by the present key and
    /// between this host and these alone; nothing where a process carries packets.
    ///
    /// # Errors
    /// When there is no port to be had.
    fn objects(&self, _others: &[RemoteHost]) -> Result<Fragment> {
        Ok(Fragment::default())
    }

    /// Has packets carried between this host and these alone, by the present key, once
    /// [`Self::objects`] stand: by who does already, else by somebody new. When it returns, the
    /// keys that those told are accepted.
    ///
    /// # Errors
    /// When nobody carries them. Nothing goes in clear text then.
    fn carry(&self, others: &[RemoteHost]) -> Result<()>;

    /// Ends that; nobody has the tunnel's link open when it returns. Idempotent.
    ///
    /// # Errors
    /// When somebody carries packets still.
    fn end(&self) -> Result<()>;
}

/// This host's end.
pub(crate) struct Encryption {
    tunnel: Arc<dyn Tunnel>,
    cluster: Arc<Cluster>,
    /// Held while it changes, and while the tunnel is told what to do; taken after a network's
    /// `reach`.
    standing: Mutex<Standing>,
    signal: Mutex<Signal>,
    signalled: Condvar,
}

/// What stands here.
#[derive(Default)]
struct Standing {
    /// The encrypted networks.
    networks: BTreeSet<NetworkId>,
    /// What they share, whoever the other hosts are.
    ground: Fragment,
}

#[derive(Default)]
struct Signal {
    /// Something may have changed.
    look: bool,
    closing: bool,
}

impl Encryption {
    pub(super) fn new(tunnel: Arc<dyn Tunnel>, cluster: &Arc<Cluster>) -> Arc<Self> {
        Arc::new(Self {
            tunnel,
            cluster: cluster.clone(),
            standing: Mutex::default(),
            signal: Mutex::default(),
            signalled: Condvar::new(),
        })
    }

    /// Who carries packets.
    pub(super) fn carrier(&self) -> Carrier {
        self.tunnel.carrier()
    }

    /// Has the thread see what changed; never waits.
    pub(super) fn look(&self) {
        lock(&self.signal).look = true;
        self.signalled.notify_all();
    }

    /// Ends the thread.
    pub(crate) fn close(&self) {
        lock(&self.signal).closing = true;
        self.signalled.notify_all();
    }

    fn run(&self, controller: &WeakController) {
        if lock(&self.standing).networks.is_empty() {
            // A daemon that died may have left somebody behind.
            self.end();
        }
        let mut refused = None;
        loop {
            let Some(controller) = controller.upgrade() else {
                return;
            };
            let stepped = self.step(&controller);
            drop(controller);
            let next = match stepped {
                Ok(next) => {
                    refused = None;
                    next
                }
                Err(error) => {
                    let why = error.chain();
                    // It may go on for long, and says the same then.
                    if refused.as_ref() != Some(&why) {
                        tracing::error!("encrypted packets are not carried: {why}");
                        refused = Some(why);
                    }
                    LOOK
                }
            };
            let signal = lock(&self.signal);
            let idle = |signal: &mut Signal| !signal.look && !signal.closing;
            let waited = self.signalled.wait_timeout_while(signal, next, idle);
            let (mut signal, _) = waited.unwrap_or_else(PoisonError::into_inner);
            signal.look = false;
            if signal.closing {
                return;
            }
        }
    }

    /// Takes in what others told of their keys, changes ours when it is time, and tells both.
    fn step(&self, controller: &Controller) -> Result<Duration> {
        let standing = lock(&self.standing);
        let others = self.cluster.hosts();
        let mut next = self.tunnel.change(&others)?;
        if !standing.networks.is_empty() {
            let wanted = self.wanted(&standing, &others)?;
            let is_so = lock(&controller.host).fragment(Owner::Cluster) == wanted;
            if !is_so {
                controller.bring(vec![(Owner::Cluster, wanted)])?;
            }
            self.tunnel.carry(&others)?;
            next = next.min(LOOK);
        }
        drop(standing);
        // One that carries nothing now reads all keys before it does.
        let taken = others.iter().filter_map(|host| host.keys.as_ref()?.next);
        let mut keys = self.tunnel.keys();
        keys.taken = taken.collect();
        self.cluster.set_tunnel_keys(keys);
        Ok(next)
    }

    /// What encrypted networks share, and what the tunnel knows of the other hosts.
    fn wanted(&self, standing: &Standing, others: &[RemoteHost]) -> Result<Fragment> {
        let mut wanted = standing.ground.clone();
        let told = self.tunnel.objects(others)?;
        wanted.extend(told.iter().map(|(_, object)| object.clone()));
        Ok(wanted)
    }

    fn end(&self) {
        if let Err(error) = self.tunnel.end() {
            tracing::warn!("{}", error.chain());
        }
    }
}

impl Core {
    pub(crate) fn encryption(&self) -> Option<&Arc<Encryption>> {
        self.member.as_ref()?.encryption.as_ref()
    }
}

impl Controller {
    /// Looks after the tunnel from now on, by a thread of its own.
    pub(super) fn begin_encryption(&self) {
        let Some(encryption) = self.encryption().cloned() else {
            return;
        };
        let thread = thread::Builder::new().name("encryption".to_owned());
        let controller = self.downgrade();
        if let Err(error) = thread.spawn(move || encryption.run(&controller)) {
            self.warn(format!(
                "no thread to look after the encrypted tunnel: {error}"
            ));
        }
    }

    /// Has a network stand, and what it shares with others; one that is encrypted with somebody
    /// who carries its packets.
    ///
    /// # Errors
    /// As the driver, the executor and the tunnel say; something of it may stand then.
    pub(super) fn raise(&self, network: &Network, fragment: Fragment) -> Result<()> {
        let id = network.spec.id;
        let mut wants = vec![(Owner::Network(id), fragment)];
        let shared = self.shared_fragment(network)?;
        let Some(encryption) = self.encryption().filter(|_| !shared.is_empty()) else {
            return self.bring(wants);
        };
        let mut standing = lock(&encryption.standing);
        standing.networks.insert(id);
        standing.ground = shared;
        let others = encryption.cluster.hosts();
        wants.push((Owner::Cluster, encryption.wanted(&standing, &others)?));
        self.bring(wants)?;
        encryption.tunnel.carry(&others)?;
        drop(standing);
        encryption.look();
        Ok(())
    }

    /// Takes away what a network that is gone from the kernel shared with others, if it was the
    /// last.
    ///
    /// # Errors
    /// When something of it may stand.
    pub(super) fn lower_shared(&self, network: &Network) -> Result<()> {
        let Some(encryption) = self.encryption() else {
            return Ok(());
        };
        let mut standing = lock(&encryption.standing);
        if !standing.networks.remove(&network.spec.id) || !standing.networks.is_empty() {
            return Ok(());
        }
        encryption.end();
        self.take_away(vec![(Owner::Cluster, Fragment::default())])
    }

    /// What a network that stood before the start shares with others.
    ///
    /// # Errors
    /// As the driver says.
    pub(crate) fn restore_shared(&self, network: &Network) -> Result<Option<(Owner, Fragment)>> {
        let shared = self.shared_fragment(network)?;
        let Some(encryption) = self.encryption().filter(|_| !shared.is_empty()) else {
            return Ok(None);
        };
        let mut standing = lock(&encryption.standing);
        standing.networks.insert(network.spec.id);
        standing.ground = shared;
        let wanted = encryption.wanted(&standing, &encryption.cluster.hosts())?;
        Ok(Some((Owner::Cluster, wanted)))
    }

    /// Nothing encrypted is carried any more, and nothing of the tunnel is wanted.
    pub(crate) fn end_encryption(&self) -> Option<(Owner, Fragment)> {
        let encryption = self.encryption()?;
        let mut standing = lock(&encryption.standing);
        standing.networks.clear();
        encryption.end();
        Some((Owner::Cluster, Fragment::default()))
    }

    fn shared_fragment(&self, network: &Network) -> Result<Fragment> {
        let cx = &self.config.drivers;
        network.driver.plan_shared(&network.spec, cx)
    }
}

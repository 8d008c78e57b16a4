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
    time::{Duration, SystemTime},
};
use vw_cluster::Cluster;
use vw_drivers::Carrier;
use vw_hoststate::{Fragment, Owner};
use vw_model::{Error, NetworkId, PublicKey, RemoteHost, Result, TunnelKeys};

/// How often whoever carries packets is looked after: a killed one is replaced within this.
const LOOK: Duration = Duration::from_secs(1);
/// How often a host that is idle looks; it is told what changes.
const REST: Duration = Duration::from_secs(60 * 60);

/// Who carries the packets of encrypted networks between hosts, and keeps this host's keys.
pub trait Tunnel: Send + Sync {
    /// Who that is: it decides the kind of the tunnel's link.
    fn carrier(&self) -> Carrier;

    /// What a host on which something encrypted stands tells of its keys, without those that it
    /// has taken in.
    fn keys(&self) -> TunnelKeys;

    /// Changes keys when it is time to and the others accept the next one; gives the time after
    /// which it is to be asked again, if nothing happens before. A key that changed is used with the
    /// next [`Self::carry`], and told after that. `told` is the next key that the store was seen to
    /// have when the others were read, or before.
    ///
    /// # Errors
    /// When a key cannot be made or kept.
    fn change(&self, others: &[RemoteHost], told: Option<PublicKey>) -> Result<Duration>;

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
    /// How many are about to come.
    coming: usize,
    /// Tells this time that something stands or comes from another.
    woke: u64,
}

impl Standing {
    /// Whether nothing is sent, nor soon will be.
    fn is_idle(&self) -> bool {
        self.networks.is_empty() && self.coming == 0
    }
}

/// A network that may be about to stand.
pub(super) struct Coming(Arc<Encryption>);

impl Drop for Coming {
    fn drop(&mut self) {
        lock(&self.0.standing).coming -= 1;
        self.0.look();
    }
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

    /// Whether something encrypted stands here.
    pub(super) fn stands(&self) -> bool {
        !lock(&self.standing).networks.is_empty()
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
                        tracing::error!("the encrypted tunnel: {why}");
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
        // In this order: see `KeyHolder::change`.
        let told = self.cluster.tunnel_keys().and_then(|keys| keys.next);
        let others = self.cluster.hosts();
        if standing.is_idle() {
            self.tell(&standing, &[]);
            return Ok(REST);
        }
        let changed = self.tunnel.change(&others, told).map_err(|error| {
            let sentence = "encrypted networks keep their key for longer than they should";
            Error::internal("key-kept", sentence).because(error)
        });
        // Where another key cannot be had or kept, as on a full disk, all goes on by the present one.
        if !standing.networks.is_empty() {
            let wanted = self.wanted(&standing, &others)?;
            let is_so = lock(&controller.host).fragment(Owner::Cluster) == wanted;
            if !is_so {
                controller.bring(vec![(Owner::Cluster, wanted)])?;
            }
            self.tunnel.carry(&others)?;
            controller.open_encrypted_probe(&others);
        }
        // One that carries nothing yet reads all keys before it does.
        self.tell(&standing, &others);
        let next = changed?;
        Ok(match standing.networks.is_empty() {
            true => next,
            false => next.min(LOOK),
        })
    }

    /// Tells the others our keys, and which of theirs we take.
    fn tell(&self, standing: &Standing, others: &[RemoteHost]) {
        let taken = others.iter().filter_map(|host| host.keys.as_ref()?.next);
        self.cluster.set_tunnel_keys(TunnelKeys {
            taken: taken.collect(),
            idle: standing.is_idle(),
            woke: standing.woke,
            ..self.tunnel.keys()
        });
    }

    /// Has the others know that something is about to stand, before it takes what they told: who
    /// changes a key after that waits for this host, and who did so before has told it.
    fn wake(self: &Arc<Self>) -> Coming {
        let mut standing = lock(&self.standing);
        if standing.is_idle() {
            standing.woke = SystemTime::now()
                .duration_since(SystemTime::UNIX_EPOCH)
                .map_or(0, |since| since.as_nanos() as u64);
        }
        standing.coming += 1;
        let woke = standing.woke;
        self.tell(&standing, &self.cluster.hosts());
        drop(standing);
        let coming = Coming(self.clone());
        let wanted = |keys: &TunnelKeys| !keys.idle && keys.woke == woke;
        self.cluster.await_tunnel_keys(wanted);
        coming
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
    /// Has the others know that a network may be about to stand, if that is encrypted. To be kept
    /// until it stands, or does not.
    ///
    /// It waits for what the follower hears, beneath a network's `gate` and a sandbox's `ops`: the
    /// follower waits for neither, but where this host was given up and nobody here waits.
    ///
    /// # Errors
    /// As the driver says.
    pub(super) fn wake_encryption(&self, network: &Network) -> Result<Option<Coming>> {
        let is_encrypted = !self.shared_fragment(network)?.is_empty();
        let encryption = self.encryption().filter(|_| is_encrypted);
        Ok(encryption.map(Encryption::wake))
    }

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
        let probe = self.close_encrypted_probe();
        encryption.end();
        encryption.look();
        self.take_away(vec![probe, (Owner::Cluster, Fragment::default())])
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
    pub(crate) fn end_encryption(&self) -> Vec<(Owner, Fragment)> {
        let Some(encryption) = self.encryption() else {
            return Vec::new();
        };
        let mut standing = lock(&encryption.standing);
        standing.networks.clear();
        let probe = self.close_encrypted_probe();
        encryption.end();
        vec![probe, (Owner::Cluster, Fragment::default())]
    }

    fn shared_fragment(&self, network: &Network) -> Result<Fragment> {
        let cx = &self.config.drivers;
        network.driver.plan_shared(&network.spec, cx)
    }
}

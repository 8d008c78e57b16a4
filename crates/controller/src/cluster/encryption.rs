//! This host's end of the encrypted tunnel: it stands while an encrypted network does, and the
//! hosts tell each other their keys.
//!
//! Owns when packets are carried and when not, and what is told in which order. It must not know
//! who carries them, nor how keys are made or when they change.

mod in_kernel;
mod port;
mod standing;
mod tunnel;

use crate::{
    Controller,
    controller::{Core, WeakController},
    registry::{Network, lock},
};
pub use in_kernel::{KernelTunnel, carrier};
pub use port::encryption_port;
use standing::{Left, Standing};
use std::{
    sync::{Arc, Condvar, Mutex, PoisonError},
    thread,
    time::{Duration, Instant, SystemTime},
};
pub use tunnel::Tunnel;
use vw_cluster::Cluster;
use vw_drivers::Carrier;
use vw_hoststate::{Fragment, Owner};
use vw_model::{Error, Result, TunnelKeys};

/// How often whoever carries packets is looked after: a killed one is replaced within this.
const LOOK: Duration = Duration::from_secs(1);
/// How often a host that is idle looks; it is told what changes.
const REST: Duration = Duration::from_secs(60 * 60);

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
            lock(&self.standing).left = self.end();
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

    /// Takes in what others told of their keys, changes ours when it is time, and tells both. It
    /// costs what changed, whoever is there.
    fn step(&self, controller: &Controller) -> Result<Duration> {
        let mut standing = lock(&self.standing);
        // In this order: see `KeyHolder::change`.
        let told = self.cluster.tunnel_keys().and_then(|keys| keys.next);
        standing.read(&self.cluster);
        if standing.is_idle() {
            standing.taken.clear();
            standing.others.unsettle();
            self.tell(&mut standing);
            return Ok(self.lower_again(controller, &mut standing));
        }
        let changed = self.tunnel.change(&standing.others, told).map_err(|error| {
            let sentence = "encrypted networks keep their key for longer than they should";
            Error::internal("key-kept", sentence).because(error)
        });
        // Where another key cannot be had or kept, as on a full disk, all goes on by the present one.
        let stands = !standing.networks.is_empty();
        if stands {
            let mut wants = self.wanted(&standing)?;
            let host = lock(&controller.host);
            wants.retain(|(owner, wanted)| host.fragment(*owner) != *wanted);
            drop(host);
            if !wants.is_empty() {
                controller.bring(wants)?;
            }
            self.tunnel.carry(&standing.others)?;
            standing.left = None;
            controller.open_encrypted_probe(&standing.others);
        }
        // One that carries nothing yet reads all keys before it does.
        standing.accept();
        if stands {
            standing.others.settle();
        }
        self.tell(&mut standing);
        let next = changed?;
        Ok(match stands {
            false => next,
            true => next.min(LOOK),
        })
    }

    /// Tells the others our keys, and which of theirs we take.
    fn tell(&self, standing: &mut Standing) {
        let keys = TunnelKeys {
            taken: standing.taken.values().copied().collect(),
            idle: standing.is_idle(),
            woke: standing.woke,
            ..self.tunnel.keys()
        };
        if standing.told.as_ref() != Some(&keys) {
            standing.told = Some(keys.clone());
            self.cluster.set_tunnel_keys(keys);
        }
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
        if standing.networks.is_empty() {
            standing.read(&self.cluster);
            standing.accept();
        }
        self.tell(&mut standing);
        drop(standing);
        let coming = Coming(self.clone());
        let wanted = |keys: &TunnelKeys| !keys.idle && keys.woke == woke;
        self.cluster.await_tunnel_keys(wanted);
        coming
    }

    /// What encrypted networks share, and what the tunnel knows of those hosts that changed, or of
    /// which a next key may be in use by now.
    fn wanted(&self, standing: &Standing) -> Result<Vec<(Owner, Fragment)>> {
        let others = &standing.others;
        let mut shared = standing.ground.clone();
        shared.extend(Vec::from(self.tunnel.objects()?));
        let mut wants = vec![(Owner::Cluster, shared)];
        if self.carrier() != Carrier::Kernel {
            return Ok(wants);
        }
        let mut looked_at = others.changed();
        looked_at.extend(others.rotating());
        let (mut there, mut hosts) = (Vec::new(), Vec::new());
        for id in looked_at {
            match others.with_own_keys(id) {
                Some(host) => {
                    there.push(Owner::Sealed(id));
                    hosts.push(host);
                }
                None => wants.push((Owner::Sealed(id), Fragment::default())),
            }
        }
        wants.extend(there.into_iter().zip(self.tunnel.peers(&hosts)?));
        Ok(wants)
    }

    /// Ends who carries packets; answers what is left, if somebody does all the same.
    fn end(&self) -> Option<Left> {
        let error = self.tunnel.end().err()?;
        tracing::warn!("{}", error.chain());
        Some(Left::default())
    }

    /// Takes away what is left of a tunnel that could not be taken away when the last network went, if it
    /// is time, whatever else has changed; answers when to look again.
    fn lower_again(&self, controller: &Controller, standing: &mut Standing) -> Duration {
        let Some(left) = &mut standing.left else {
            return REST;
        };
        let now = Instant::now();
        if let Some(wait) = left.is_put_off(now) {
            return wait;
        }
        match self.tunnel.end().and_then(|()| controller.mend_now()) {
            Ok(()) => {
                standing.left = None;
                REST
            }
            Err(error) => left.put_off(now, error.chain()),
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
        standing.read(&encryption.cluster);
        wants.extend(encryption.wanted(&standing)?);
        self.bring(wants)?;
        encryption.tunnel.carry(&standing.others)?;
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
        let wants = self.lower_tunnel(encryption, &mut standing);
        let taken = self.take_away(wants);
        if taken.is_err() {
            standing.left.get_or_insert_default();
        }
        encryption.look();
        taken
    }

    /// Nothing encrypted is carried any more; answers what is to be taken away.
    fn lower_tunnel(
        &self,
        encryption: &Encryption,
        standing: &mut Standing,
    ) -> Vec<(Owner, Fragment)> {
        let mut wants = self.close_encrypted_probe(&standing.others);
        wants.extend(standing.without());
        standing.others.unsettle();
        standing.left = encryption.end();
        wants
    }

    /// What a network that stood before the start shares with others.
    ///
    /// # Errors
    /// As the driver says.
    pub(crate) fn restore_shared(&self, network: &Network) -> Result<Vec<(Owner, Fragment)>> {
        let shared = self.shared_fragment(network)?;
        let Some(encryption) = self.encryption().filter(|_| !shared.is_empty()) else {
            return Ok(Vec::new());
        };
        let mut standing = lock(&encryption.standing);
        let is_first = standing.networks.is_empty();
        standing.networks.insert(network.spec.id);
        if !is_first {
            return Ok(Vec::new());
        }
        standing.ground = shared;
        standing.read(&encryption.cluster);
        encryption.wanted(&standing)
    }

    /// Nothing encrypted is carried any more, and nothing of the tunnel is wanted.
    pub(crate) fn end_encryption(&self) -> Vec<(Owner, Fragment)> {
        let Some(encryption) = self.encryption() else {
            return Vec::new();
        };
        let mut standing = lock(&encryption.standing);
        standing.networks.clear();
        self.lower_tunnel(encryption, &mut standing)
    }

    fn shared_fragment(&self, network: &Network) -> Result<Fragment> {
        let cx = &self.config.drivers;
        network.driver.plan_shared(&network.spec, cx)
    }
}

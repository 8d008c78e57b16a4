//! What carries the packets of encrypted networks between hosts.
//!
//! Owns what is asked of it, and in which order. It must not know what carries them.

use std::time::Duration;
use vw_drivers::Carrier;
use vw_hoststate::Fragment;
use vw_model::{OtherHosts, PublicKey, RemoteHost, Result, TunnelKeys};

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
    fn change(&self, others: &OtherHosts, told: Option<PublicKey>) -> Result<Duration>;

    /// What must stand in the kernel for that beside the tunnel's link, by the present key and
    /// whoever the others are; nothing where a process carries packets.
    ///
    /// # Errors
    /// When there is no port to be had.
    fn objects(&self) -> Result<Fragment> {
        Ok(Fragment::default())
    }

    /// What must stand there for each of these hosts, which have their own keys alone.
    ///
    /// # Errors
    /// When the tunnel cannot be read.
    fn peers(&self, hosts: &[RemoteHost]) -> Result<Vec<Fragment>> {
        Ok(vec![Fragment::default(); hosts.len()])
    }

    /// Has packets carried between this host and these alone, by the present key, once
    /// [`Self::objects`] and [`Self::peers`] stand: by who does already, who is told of those that
    /// changed, else by somebody new, who is told of all. When it returns, the keys that those told
    /// are accepted.
    ///
    /// # Errors
    /// When nobody carries them. Nothing goes in clear text then. What changed must count as changed
    /// still with the next call.
    fn carry(&self, others: &OtherHosts) -> Result<()>;

    /// Ends that; nobody has the tunnel's link open when it returns. Idempotent.
    ///
    /// # Errors
    /// When somebody carries packets still.
    fn end(&self) -> Result<()>;
}

//! What carries an encrypted network's packets, where no packet is of interest.

use crate::inject::Refusing;
use std::{sync::Arc, time::Duration};
use vw_agents::wireguard::KeyHolder;
use vw_controller::Tunnel;
use vw_drivers::Carrier;
use vw_model::{Error, Kind, OtherHosts, PublicKey, Result, TunnelKeys};

/// A process that carries nothing, with a host's keys.
pub(crate) struct Process {
    pub(crate) keys: KeyHolder,
    pub(crate) refusing: Arc<Refusing>,
}

impl Tunnel for Process {
    fn carrier(&self) -> Carrier {
        Carrier::UserSpace
    }

    fn keys(&self) -> TunnelKeys {
        self.keys.keys(51_820)
    }

    fn change(&self, _: &OtherHosts, _: Option<PublicKey>) -> Result<Duration> {
        Ok(Duration::from_secs(60))
    }

    fn carry(&self, _: &OtherHosts) -> Result<()> {
        Ok(())
    }

    fn end(&self) -> Result<()> {
        match self.refusing.ends() {
            true => Ok(()),
            false => Err(Error::new(Kind::Unavailable, "test", "it does not end")),
        }
    }
}

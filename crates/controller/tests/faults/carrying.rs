//! What carries an encrypted network's packets, where no packet is of interest.

use std::time::Duration;
use vw_agents::wireguard::KeyHolder;
use vw_controller::Tunnel;
use vw_drivers::Carrier;
use vw_model::{OtherHosts, PublicKey, Result, TunnelKeys};

/// A process that carries nothing, with a host's keys.
pub(crate) struct Process(pub(crate) KeyHolder);

impl Tunnel for Process {
    fn carrier(&self) -> Carrier {
        Carrier::UserSpace
    }

    fn keys(&self) -> TunnelKeys {
        self.0.keys(51_820)
    }

    fn change(&self, _: &OtherHosts, _: Option<PublicKey>) -> Result<Duration> {
        Ok(Duration::from_secs(60))
    }

    fn carry(&self, _: &OtherHosts) -> Result<()> {
        Ok(())
    }

    fn end(&self) -> Result<()> {
        Ok(())
    }
}

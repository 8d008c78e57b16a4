//! The driver `host`: endpoints share this host's own namespace, so there is nothing to make.

use crate::{AttachmentPlan, Capabilities, Driver, DriverContext, Place, option};
use vw_hoststate::Fragment;
use vw_model::{EndpointSettings, EndpointSpec, Error, Kind, NetworkSpec, Result, Scope};

/// The driver.
pub(crate) struct Host;

impl Driver for Host {
    fn name(&self) -> &'static str {
        "host"
    }

    fn scope(&self) -> Scope {
        Scope::Local
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            place: Place::Host,
            instances: false,
            addresses: false,
            names: false,
            ports: false,
            max_endpoints: None,
        }
    }

    fn validate(&self, network: &NetworkSpec, _cx: &DriverContext) -> Result<()> {
        only_predefined(self, network)
    }

    fn validate_endpoint(&self, _network: &NetworkSpec, settings: &EndpointSettings) -> Result<()> {
        option::refuse_unknown(&settings.driver_opts, &[], "an endpoint of the driver host")
    }

    fn plan_network(&self, _network: &NetworkSpec, _cx: &DriverContext) -> Result<Fragment> {
        Ok(Fragment::default())
    }

    fn plan_attachment(
        &self,
        _network: &NetworkSpec,
        _endpoint: &EndpointSpec,
        _cx: &DriverContext,
    ) -> Result<AttachmentPlan> {
        Ok(AttachmentPlan::default())
    }
}

/// Refuses networks of a driver that has a predefined one and no other.
pub(crate) fn only_predefined(driver: &dyn Driver, network: &NetworkSpec) -> Result<()> {
    if !network.predefined {
        let name = driver.name();
        let sentence = format!("only one instance of {name:?} network is allowed");
        return Err(Error::new(Kind::Forbidden, "network-single", sentence));
    }
    let of = format!("the driver {}", driver.name());
    option::refuse_unknown(&network.options, &[], &of)
}

#[cfg(test)]
mod tests;

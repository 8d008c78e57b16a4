//! The drivers `host` and `null`, whose one network is predefined and plans nothing: its endpoints
//! share this host's own namespace, or have one with nothing but its loopback interface.

use crate::{AttachmentPlan, Capabilities, Driver, DriverContext, Place, option};
use vw_hoststate::Fragment;
use vw_model::{EndpointSettings, EndpointSpec, Error, Kind, NetworkSpec, Result, Scope};

/// A driver with one network.
#[derive(Debug)]
pub(crate) struct Single {
    name: &'static str,
    place: Place,
}

/// The network `host`.
pub(crate) const HOST: Single = Single {
    name: "host",
    place: Place::Host,
};
/// The network `none`.
pub(crate) const NULL: Single = Single {
    name: "null",
    place: Place::Alone,
};

impl Driver for Single {
    fn name(&self) -> &'static str {
        self.name
    }

    fn scope(&self) -> Scope {
        Scope::Local
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            place: self.place,
            instances: false,
            addresses: false,
            names: false,
            ports: false,
            max_endpoints: None,
        }
    }

    fn validate(&self, network: &NetworkSpec, _cx: &DriverContext) -> Result<()> {
        if !network.predefined {
            let sentence = format!("only one instance of {:?} network is allowed", self.name);
            return Err(Error::new(Kind::Forbidden, "network-single", sentence));
        }
        let of = format!("the driver {}", self.name);
        option::refuse_unknown(&network.options, &[], &of)
    }

    fn validate_endpoint(&self, _network: &NetworkSpec, settings: &EndpointSettings) -> Result<()> {
        let of = format!("an endpoint of the driver {}", self.name);
        option::refuse_unknown(&settings.driver_opts, &[], &of)
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

#[cfg(test)]
mod tests;

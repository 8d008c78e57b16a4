//! The driver `null` (network `none`): a namespace with nothing but its loopback interface.

use crate::{
    AttachmentPlan, Capabilities, Driver, DriverContext, Place, host::only_predefined, option,
};
use vw_hoststate::Fragment;
use vw_model::{EndpointSettings, EndpointSpec, NetworkSpec, Result, Scope};

/// The driver.
pub(crate) struct Null;

impl Driver for Null {
    fn name(&self) -> &'static str {
        "null"
    }

    fn scope(&self) -> Scope {
        Scope::Local
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            place: Place::Alone,
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
        option::refuse_unknown(&settings.driver_opts, &[], "an endpoint of the driver null")
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

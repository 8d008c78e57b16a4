//! `service ls` and `inspect`.

use super::{Service, roster::Health};
use crate::{
    Controller,
    command::{ServiceInspect, ServiceList},
    registry::lock,
    view::{ServiceMemberView, ServiceView},
};
use vw_model::Result;

impl Controller {
    pub(crate) fn service_list(&self, _: ServiceList) -> Result<Vec<ServiceView>> {
        let services = lock(&self.services).all();
        let mut views: Vec<_> = services.iter().map(|service| self.view(service)).collect();
        views.sort_by(|a, b| a.spec.name.cmp(&b.spec.name));
        Ok(views)
    }

    pub(crate) fn service_inspect(&self, request: ServiceInspect) -> Result<ServiceView> {
        let service = lock(&self.services).find(&request.service)?;
        Ok(self.view(&service))
    }

    fn view(&self, service: &Service) -> ServiceView {
        let state = lock(&service.state);
        let members = state.roster.members.iter();
        ServiceView {
            spec: state.spec.clone(),
            network: service.network.spec.name.to_string(),
            members: members
                .map(|(id, member)| ServiceMemberView {
                    endpoint: *id,
                    sandbox: member.sandbox,
                    name: member.name.clone(),
                    addresses: member.addresses.clone(),
                    weight: member.weight,
                    state: word(member.health),
                    serves: state.roster.serves(*id),
                    checks: self.checker.answers(*id),
                })
                .collect(),
        }
    }
}

const fn word(health: Health) -> &'static str {
    match health {
        Health::Unchecked => "running",
        Health::Starting => "starting",
        Health::Healthy => "healthy",
        Health::Unhealthy => "unhealthy",
        Health::Leaving => "draining",
    }
}

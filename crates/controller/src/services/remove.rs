//! `service rm`.

use super::ServiceState;
use crate::{
    Controller, command::ServiceRemove, detach::Leaving, event::EventType, records, registry::lock,
};
use std::sync::Arc;
use vw_hoststate::Fragment;
use vw_model::{Error, Kind, Result, ServiceId, ServiceSpec};
use vw_store::{Batch, Table};

impl Controller {
    pub(crate) fn service_remove(&self, request: ServiceRemove) -> Result<()> {
        let found = lock(&self.services).find(&request.service);
        let service = match found {
            Err(error) if error.kind == Kind::NotFound => {
                return self.remove_unlisted(&request.service, error);
            }
            found => found?,
        };
        if service.is_global() {
            return self.remove_global_service(&service);
        }
        let _deciding = lock(&self.network_changes);
        let spec = {
            let mut state = lock(&service.state);
            if state.removed {
                return Err(super::no_service(&request.service));
            }
            self.keep(Batch::new().delete(Table::Services, service.id.to_string()))?;
            crate::step::reached("service.removed");
            state.removed = true;
            lock(&self.services).remove(&state.spec, state.roster.members.keys());
            state.spec.clone()
        };
        let (name, published) = (spec.name.to_string(), !spec.ports.is_empty());
        self.checker.look_at_all(service.id);
        self.withdraw_service(&service);
        self.publish_members(&service);
        let gone = {
            let mut state = lock(&service.state);
            self.take_away_published(service.id, &mut state)
        };
        self.forget_all_led(&service);
        match gone {
            Ok(()) => self.forget_service(&spec),
            Err(error) => {
                lock(&self.leaving).push(Leaving::Service(Box::new(spec)));
                self.warn(format!("service {name} is removed, but not all of it could be taken out of the kernel; the next change or start does it: {}", error.chain()));
            }
        }
        self.tell(
            EventType::Service,
            "remove",
            &service.id.to_string(),
            [("name", name)],
        );
        if published {
            self.room_made(true);
        }
        Ok(())
    }

    /// Removes a service that is not listed: one of this host whose network is gone, or one of the
    /// cluster whose record cannot be read here.
    fn remove_unlisted(&self, text: &str, unknown: Error) -> Result<()> {
        {
            // Who makes one lists it before that ends.
            let _deciding = lock(&self.network_changes);
            let specs: Vec<ServiceSpec> = records::scan(&*self.data, Table::Services)?;
            let listed = |id| lock(&self.services).get(id).is_some();
            let called =
                |spec: &ServiceSpec| spec.name.as_str() == text || spec.id.to_string() == text;
            let mut specs = specs.into_iter();
            if let Some(spec) = specs.find(|spec| called(spec) && !listed(spec.id)) {
                return self.keep(Batch::new().delete(Table::Services, spec.id.to_string()));
            }
        }
        match (text.parse::<ServiceId>(), &self.member) {
            (Ok(id), Some(_)) => self.cluster()?.remove_service(id),
            _ => Err(unknown),
        }
    }

    /// Takes away what a service that is removed wanted, and frees its ports: where something of it stands,
    /// once that is gone, as it may lead there still.
    ///
    /// # Errors
    /// As [`Self::take_away`].
    pub(super) fn take_away_published(
        &self,
        service: ServiceId,
        state: &mut ServiceState,
    ) -> Result<()> {
        let gone = self.take_away_led(service, Fragment::default());
        let claims = std::mem::take(&mut state.claims);
        if gone.is_err() && !claims.is_empty() {
            lock(&self.leaving).push(Leaving::Ports(Arc::new(claims)));
        }
        gone
    }

    /// Forgets a service of which nothing stands, and frees its leases.
    pub(crate) fn forget_service(&self, spec: &ServiceSpec) {
        self.unnote(Table::Slots, spec.id.to_string());
        self.release_vips(spec);
    }
}

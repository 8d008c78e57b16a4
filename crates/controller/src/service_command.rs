//! Requests about services, as plain data.

use std::time::Duration;
use vw_model::{
    Affinity, EndpointId, EndpointMode, HealthSpec, Options, PortKey, PortRequest, PublishMode,
    ServiceName,
};

/// `service create`.
#[derive(Debug, Clone)]
pub struct ServiceCreate {
    /// Its name.
    pub name: ServiceName,
    /// `--network`.
    pub network: String,
    /// `--endpoint-mode`.
    pub mode: EndpointMode,
    /// `--publish`.
    pub ports: Vec<PortRequest>,
    /// `--publish mode=host`.
    pub host_ports: Vec<PortRequest>,
    /// `--affinity`.
    pub affinity: Affinity,
    /// `--drain`.
    pub drain: Duration,
    /// `--health` and its kin.
    pub health: Option<HealthSpec>,
    /// `--label`.
    pub labels: Options,
}

impl ServiceCreate {
    /// What is to be published, by where.
    pub(crate) fn asked_by_mode(&self) -> [(&[PortRequest], PublishMode); 2] {
        [
            (&self.ports, PublishMode::Ingress),
            (&self.host_ports, PublishMode::Host),
        ]
    }
}

/// `service ls`.
#[derive(Debug, Clone)]
pub struct ServiceList;

/// `service inspect`.
#[derive(Debug, Clone)]
pub struct ServiceInspect {
    /// The service.
    pub service: String,
}

/// `service update`: what is absent stays.
#[derive(Debug, Clone, Default)]
pub struct ServiceUpdate {
    /// The service.
    pub service: String,
    /// `--publish-add`.
    pub publish: Vec<PortRequest>,
    /// `--publish-add mode=host`.
    pub host_publish: Vec<PortRequest>,
    /// `--publish-rm`: the endpoints' ports.
    pub unpublish: Vec<PortKey>,
    /// `--affinity`.
    pub affinity: Option<Affinity>,
    /// `--drain`.
    pub drain: Option<Duration>,
    /// `--health` and its kin, or none any more.
    pub health: Option<Option<HealthSpec>>,
}

impl ServiceUpdate {
    /// What is to be published besides, by where.
    pub(crate) fn asked_by_mode(&self) -> [(&[PortRequest], PublishMode); 2] {
        [
            (&self.publish, PublishMode::Ingress),
            (&self.host_publish, PublishMode::Host),
        ]
    }

    /// All of that.
    pub(crate) fn asked(&self) -> impl Iterator<Item = PortRequest> {
        self.publish.iter().chain(&self.host_publish).copied()
    }
}

/// `service rm`.
#[derive(Debug, Clone)]
pub struct ServiceRemove {
    /// The service.
    pub service: String,
}

/// Whoever asks an endpoint whether it is well tells of a change.
#[derive(Debug, Clone)]
pub struct ServiceReport {
    /// The endpoint.
    pub endpoint: EndpointId,
    /// Whether it is well.
    pub well: bool,
}

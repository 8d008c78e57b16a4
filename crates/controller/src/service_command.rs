//! Requests about services, as plain data.

use std::time::Duration;
use vw_model::{
    Affinity, EndpointId, EndpointMode, HealthSpec, Options, PortKey, PortRequest, Preference,
    Probe, PublishMode, ServiceName,
};

/// A port that is to be published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Publication {
    /// Which, and on which port of the host.
    pub port: PortRequest,
    /// `mode=`.
    pub mode: PublishMode,
    /// `prefer=`.
    pub prefer: Preference,
}

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
    pub ports: Vec<Publication>,
    /// `--affinity`.
    pub affinity: Affinity,
    /// `--drain`.
    pub drain: Duration,
    /// `--health` and its kin.
    pub health: Option<HealthSpec>,
    /// `--label`.
    pub labels: Options,
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

/// `service update`: what is absent stays. Answers what the user should know.
#[derive(Debug, Clone, Default)]
pub struct ServiceUpdate {
    /// The service.
    pub service: String,
    /// `--publish-add`.
    pub publish: Vec<Publication>,
    /// `--publish-rm`: the endpoints' ports.
    pub unpublish: Vec<PortKey>,
    /// `--affinity`.
    pub affinity: Option<Affinity>,
    /// `--drain`.
    pub drain: Option<Duration>,
    /// `--health` and its kin, or none any more.
    pub health: Option<Option<HealthSpec>>,
    /// The kin of `--health` without it: of the check that the service has.
    pub times: HealthTimes,
}

/// How often a service's check is made, and what it says, where that changes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HealthTimes {
    /// `--health-interval`.
    pub interval: Option<Duration>,
    /// `--health-timeout`.
    pub timeout: Option<Duration>,
    /// `--health-retries`.
    pub retries: Option<u32>,
    /// `--health-start-period`.
    pub start_period: Option<Duration>,
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
    /// How it was asked.
    pub probe: Probe,
    /// Whether it is well.
    pub well: bool,
}

//! `/vethwork/services`.

use crate::{
    body::{empty_response, json_response},
    call::{Answer, Call},
    errors::ApiError,
    json::go_struct,
    time::rfc3339,
};
use hyper::{Method, StatusCode};
use serde::Serialize;
use std::{collections::BTreeMap, net::IpAddr, time::Duration};
use vw_controller::{
    command::{
        HealthTimes, Publication, ServiceCreate, ServiceInspect, ServiceList, ServiceRemove,
        ServiceUpdate,
    },
    view::{CheckView, ServiceView},
};
use vw_model::{
    Affinity, EndpointMode, HealthSpec, HostPort, IpNet, Options, PortKey, PortRequest, Preference,
    PublishMode,
};

/// Docker's defaults of a health check.
const INTERVAL: Duration = Duration::from_secs(30);
const TIMEOUT: Duration = Duration::from_secs(30);
const RETRIES: u32 = 3;
/// The least of an interval or a timeout, as Docker's.
const LEAST: Duration = Duration::from_millis(1);
/// How long connections go on where nobody said: Docker's patience when it stops a container.
const DRAIN: Duration = Duration::from_secs(10);

go_struct! {
    /// `POST /vethwork/services/create`.
    CreateRequest {
        name: String,
        network: String,
        endpoint_mode: String,
        publish: Vec<String>,
        affinity: String,
        drain: Option<i64>,
        health: Option<Health>,
        labels: Options,
    }

    /// `POST /vethwork/services/{name}/update`.
    UpdateRequest {
        publish_add: Vec<String>,
        publish_remove: Vec<String>,
        affinity: String,
        drain: Option<i64>,
        health: Option<Health>,
        no_health: bool,
    }

    /// A health check; durations in nanoseconds. Of a whole one, 0 and what is absent is Docker's
    /// default; in an update of what there is, 0 is a start period alone.
    Health {
        test: String,
        interval: Option<i64>,
        timeout: Option<i64>,
        retries: Option<i64>,
        start_period: Option<i64>,
    }
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Created {
    id: String,
    warnings: Vec<String>,
}

/// As Docker's `ServiceUpdateResponse`.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Updated {
    warnings: Vec<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Service<'a> {
    #[serde(rename = "ID")]
    id: String,
    name: &'a str,
    created_at: String,
    network: &'a str,
    #[serde(rename = "NetworkID")]
    network_id: String,
    endpoint_mode: EndpointMode,
    #[serde(rename = "VirtualIPs")]
    virtual_ips: Vec<String>,
    ports: Vec<Port>,
    affinity: Affinity,
    drain: i64,
    health: Option<Health>,
    labels: &'a Options,
    endpoints: Vec<Endpoint<'a>>,
    unpublished: Vec<Unpublished<'a>>,
}

/// What a host does not publish, for one reason.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Unpublished<'a> {
    host: &'a str,
    #[serde(rename = "VirtualIPs")]
    virtual_ips: Vec<String>,
    ports: &'a [HostPort],
    reason: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Port {
    #[serde(rename = "HostIP")]
    host_ip: String,
    published: u16,
    target: u16,
    protocol: String,
    mode: PublishMode,
    prefer: Preference,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Endpoint<'a> {
    #[serde(rename = "EndpointID")]
    endpoint_id: String,
    #[serde(rename = "ContainerID")]
    container_id: String,
    host: &'a str,
    name: &'a str,
    addresses: Vec<String>,
    weight: u32,
    state: &'a str,
    serves: bool,
    log: Vec<Check<'a>>,
}

/// As Docker's `HealthcheckResult`.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Check<'a> {
    start: String,
    end: String,
    exit_code: i32,
    output: &'a str,
}

/// Answers a path below `/vethwork/services`.
///
/// # Errors
/// The refusal to send.
pub(super) async fn route(call: Call, path: &[&str]) -> Answer {
    match (&call.method, path) {
        (&Method::GET, []) => {
            let views = call.submit(ServiceList).await?;
            let services: Vec<_> = views.iter().map(show).collect();
            Ok(json_response(StatusCode::OK, &services))
        }
        (&Method::POST, ["create"]) => {
            let (call, request) = call.into_json::<CreateRequest>().await?;
            let created = call.app.submit(request.into_command()?).await?;
            let created = Created {
                id: created.id,
                warnings: created.warnings,
            };
            Ok(json_response(StatusCode::CREATED, &created))
        }
        (&Method::GET, [name]) => {
            let service = (*name).to_owned();
            let view = call.submit(ServiceInspect { service }).await?;
            Ok(json_response(StatusCode::OK, &show(&view)))
        }
        (&Method::DELETE, [name]) => {
            let service = (*name).to_owned();
            call.submit(ServiceRemove { service }).await?;
            Ok(empty_response(StatusCode::NO_CONTENT))
        }
        (&Method::POST, [name, "update"]) => {
            let service = (*name).to_owned();
            let (call, request) = call.into_json::<UpdateRequest>().await?;
            let warnings = call.app.submit(request.into_command(service)?).await?;
            Ok(json_response(StatusCode::OK, &Updated { warnings }))
        }
        _ => Err(ApiError::page_not_found()),
    }
}

impl CreateRequest {
    fn into_command(self) -> Result<ServiceCreate, ApiError> {
        let mode = match self.endpoint_mode.as_str() {
            "" | "vip" => EndpointMode::Vip,
            "dnsrr" => EndpointMode::Dnsrr,
            other => {
                let sentence = format!("invalid endpoint mode {other:?}: use vip or dnsrr");
                return Err(ApiError::bad_request(sentence));
            }
        };
        if self.network.is_empty() {
            return Err(ApiError::bad_request(
                "a service needs a network: give Network",
            ));
        }
        Ok(ServiceCreate {
            name: self.name.parse()?,
            network: self.network,
            mode,
            ports: ports(&self.publish)?,
            affinity: affinity(&self.affinity)?.unwrap_or_default(),
            drain: drain(self.drain)?.unwrap_or(DRAIN),
            health: self.health.map(Health::into_model).transpose()?,
            labels: self.labels,
        })
    }
}

impl UpdateRequest {
    fn into_command(self, service: String) -> Result<ServiceUpdate, ApiError> {
        let mut times = HealthTimes::default();
        let health = match (self.health, self.no_health) {
            (Some(_), true) => {
                return Err(ApiError::bad_request(
                    "give either Health or NoHealth, not both",
                ));
            }
            (Some(health), false) if health.test.is_empty() => {
                times = health.times()?;
                Health::check_update(&times)?;
                None
            }
            (Some(health), false) => Some(Some(health.into_model()?)),
            (None, true) => Some(None),
            (None, false) => None,
        };
        let unpublish = self.publish_remove.iter();
        let unpublish = unpublish.map(|text| text.parse::<PortKey>().map_err(ApiError::from));
        Ok(ServiceUpdate {
            service,
            publish: ports(&self.publish_add)?,
            unpublish: unpublish.collect::<Result<_, _>>()?,
            affinity: affinity(&self.affinity)?,
            drain: drain(self.drain)?,
            health,
            times,
        })
    }
}

impl Health {
    fn into_model(self) -> Result<HealthSpec, ApiError> {
        if self.test.is_empty() {
            let sentence = "a health check needs something to ask: give Test (--health)";
            return Err(ApiError::bad_request(sentence));
        }
        let times = self.times()?;
        let given = |span: Option<Duration>| span.filter(|span| !span.is_zero());
        Ok(HealthSpec {
            probe: self.test.parse()?,
            interval: given(times.interval).unwrap_or(INTERVAL),
            timeout: given(times.timeout).unwrap_or(TIMEOUT),
            retries: times
                .retries
                .filter(|retries| *retries > 0)
                .unwrap_or(RETRIES),
            start_period: times.start_period.unwrap_or_default(),
        })
    }

    /// What of it is given.
    fn times(&self) -> Result<HealthTimes, ApiError> {
        let given = |name, value: Option<i64>| value.map(|value| span(name, value)).transpose();
        let times = HealthTimes {
            interval: given("Interval", self.interval)?,
            timeout: given("Timeout", self.timeout)?,
            retries: self.retries.map(u32::try_from).transpose().map_err(|_| {
                ApiError::bad_request("Retries of a health check cannot be negative")
            })?,
            start_period: given("StartPeriod", self.start_period)?,
        };
        for (name, span) in [("Interval", times.interval), ("Timeout", times.timeout)] {
            if span.is_some_and(|span| !span.is_zero() && span < LEAST) {
                let sentence = format!("{name} of a health check must be 1ms at least");
                return Err(ApiError::bad_request(sentence));
            }
        }
        Ok(times)
    }

    /// Whether a check that there is can be changed so: no value of it means Docker's default, which
    /// another may have been chosen over.
    fn check_update(times: &HealthTimes) -> Result<(), ApiError> {
        let zeros = [
            (
                "Interval",
                times.interval.is_some_and(|span| span.is_zero()),
            ),
            ("Timeout", times.timeout.is_some_and(|span| span.is_zero())),
            ("Retries", times.retries == Some(0)),
        ];
        let zero = zeros.iter().find(|(_, zero)| *zero);
        zero.map_or(Ok(()), |(name, _)| {
            let sentence = format!(
                "{name} of a health check cannot be 0: leave it out to keep it, or give the check anew for Docker's default"
            );
            Err(ApiError::bad_request(sentence))
        })
    }
}

fn ports(texts: &[String]) -> Result<Vec<Publication>, ApiError> {
    let mut ports = Vec::new();
    for text in texts {
        match text.contains('=') {
            true => ports.extend(long_form(text)?),
            false => {
                let (mode, prefer) = Default::default();
                let requests = PortRequest::parse(text)?.into_iter();
                ports.extend(requests.map(|port| Publication { port, mode, prefer }));
            }
        }
    }
    Ok(ports)
}

/// Docker's `published=80,target=8080,protocol=udp,mode=host`, Compose's `host_ip=192.0.2.1`, and
/// `prefer=local`.
fn long_form(text: &str) -> Result<Vec<Publication>, ApiError> {
    let refuse = |why: String| {
        let form = "[host_ip=ADDRESS,]published=PORT,target=PORT[,protocol=tcp|udp|sctp][,mode=ingress|host][,prefer=none|local]";
        ApiError::bad_request(format!(
            "invalid published port {text:?}: {why}: use {form}"
        ))
    };
    let fields = fields(text, &refuse)?;
    let mode = match fields.get("mode").copied() {
        None | Some("ingress") => PublishMode::Ingress,
        Some("host") => PublishMode::Host,
        Some(other) => return Err(refuse(format!("{other:?} is no mode"))),
    };
    let prefer = match fields.get("prefer").copied() {
        None | Some("none") => Preference::None,
        Some("local") => Preference::Local,
        Some(other) => return Err(refuse(format!("{other:?} is nobody to prefer"))),
    };
    if (mode, prefer) == (PublishMode::Host, Preference::Local) {
        let sentence = format!(
            "invalid published port {text:?}: mode=host leads to local endpoints alone, prefer=local to those of other hosts where there are none: use one of them"
        );
        return Err(ApiError::bad_request(sentence));
    }
    let number = |key| {
        let value: Option<&&str> = fields.get(key);
        let number = value.map(|value| value.parse::<u16>().ok().filter(|port| *port > 0));
        match number {
            Some(None) => Err(refuse(format!("{key} is no port"))),
            Some(port) => Ok(port),
            None => Ok(None),
        }
    };
    let target = number("target")?.ok_or_else(|| refuse("target is missing".to_owned()))?;
    let host = number("published")?.map_or_else(String::new, |port| format!("{port}:"));
    let host = match fields.get("host_ip").map(|ip| ip.parse::<IpAddr>()) {
        None => host,
        Some(Ok(ip)) if host.is_empty() => format!("[{ip}]::"),
        Some(Ok(ip)) => format!("[{ip}]:{host}"),
        Some(Err(_)) => return Err(refuse("host_ip is no address".to_owned())),
    };
    let protocol = fields.get("protocol").copied().unwrap_or("tcp");
    let requests = PortRequest::parse(&format!("{host}{target}/{protocol}"))?;
    let requests = requests.into_iter();
    Ok(requests
        .map(|port| Publication { port, mode, prefer })
        .collect())
}

/// What is given by which key, each once.
fn fields<'a>(
    text: &'a str,
    refuse: &impl Fn(String) -> ApiError,
) -> Result<BTreeMap<&'a str, &'a str>, ApiError> {
    let mut fields: BTreeMap<&str, &str> = BTreeMap::new();
    for field in text.split(',') {
        let pair = field.split_once('=');
        let (key, value) = pair.ok_or_else(|| refuse(format!("{field:?} has no value")))?;
        if ![
            "host_ip",
            "published",
            "target",
            "protocol",
            "mode",
            "prefer",
        ]
        .contains(&key)
        {
            return Err(refuse(format!("{key:?} is unknown")));
        }
        if fields.insert(key, value).is_some() {
            return Err(refuse(format!("{key} is there twice")));
        }
    }
    Ok(fields)
}

fn affinity(text: &str) -> Result<Option<Affinity>, ApiError> {
    match text {
        "" => Ok(None),
        "none" => Ok(Some(Affinity::None)),
        "client" => Ok(Some(Affinity::Client)),
        other => {
            let sentence = format!("invalid affinity {other:?}: use none or client");
            Err(ApiError::bad_request(sentence))
        }
    }
}

fn drain(nanos: Option<i64>) -> Result<Option<Duration>, ApiError> {
    nanos.map(|nanos| span("Drain", nanos)).transpose()
}

fn span(name: &str, nanos: i64) -> Result<Duration, ApiError> {
    let refuse = |_| ApiError::bad_request(format!("{name} cannot be negative"));
    u64::try_from(nanos)
        .map(Duration::from_nanos)
        .map_err(refuse)
}

fn nanos(span: Duration) -> i64 {
    i64::try_from(span.as_nanos()).unwrap_or(i64::MAX)
}

fn show(view: &ServiceView) -> Service<'_> {
    let spec = &view.spec;
    let port = |port: &vw_model::PublishedPort| Port {
        host_ip: port.host.map_or_else(String::new, |ip| ip.to_string()),
        published: port.published,
        target: port.target.port,
        protocol: port.target.protocol.to_string(),
        mode: port.mode,
        prefer: port.prefer,
    };
    let health = |health: &HealthSpec| Health {
        test: health.probe.to_string(),
        interval: Some(nanos(health.interval)),
        timeout: Some(nanos(health.timeout)),
        retries: Some(i64::from(health.retries)),
        start_period: Some(nanos(health.start_period)),
    };
    let members = view.members.iter().map(|member| Endpoint {
        endpoint_id: member.endpoint.to_string(),
        container_id: member.sandbox.to_string(),
        host: &member.host,
        name: &member.name,
        addresses: member.addresses.iter().map(ToString::to_string).collect(),
        weight: member.weight,
        state: member.state,
        serves: member.serves,
        log: member.checks.iter().map(check).collect(),
    });
    let unpublished = view.unpublished.iter();
    let unpublished = unpublished.map(|lacking| Unpublished {
        host: &lacking.host,
        virtual_ips: lacking.vips.iter().map(IpNet::to_string).collect(),
        ports: &lacking.ports,
        reason: lacking.reason,
    });
    Service {
        id: spec.id.to_string(),
        name: spec.name.as_str(),
        created_at: rfc3339(spec.created),
        network: &view.network,
        network_id: spec.network.to_string(),
        endpoint_mode: spec.mode,
        virtual_ips: spec.vips.iter().map(IpNet::to_string).collect(),
        ports: spec.ports.iter().map(port).collect(),
        affinity: spec.affinity,
        drain: nanos(spec.drain),
        health: spec.health.as_ref().map(health),
        labels: &spec.labels,
        endpoints: members.collect(),
        unpublished: unpublished.collect(),
    }
}

fn check(check: &CheckView) -> Check<'_> {
    Check {
        start: rfc3339(check.start),
        end: rfc3339(check.end),
        exit_code: check.code,
        output: &check.output,
    }
}

//! The operations, in an order in which each finds what it needs.

use crate::world::{OVERLAY, World};
use vw_controller::{
    Controller,
    command::{
        Adopt, AdoptSource, Connect, ContainerCreate, ContainerRemove, Disconnect, NetworkCreate,
        NetworkMode, NetworkRemove, PoolRequest, Publication, Release, SandboxRequest,
        ServiceCreate, ServiceRemove, ServiceUpdate,
    },
};
use vw_model::{
    Affinity, ContainerSpec, EndpointMode, EndpointSettings, PortRequest, Result, SERVICE_KEY,
    WEIGHT_KEY,
};

/// One operation.
pub(crate) struct Step {
    pub(crate) name: &'static str,
    pub(crate) run: fn(&Controller, &World) -> Result<()>,
}

/// All of them: each kind of change at least once, on one network and on several.
pub(crate) fn steps() -> Vec<Step> {
    [
        networks_and_sandboxes(),
        containers_and_members(),
        removals(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

pub(crate) const fn step(name: &'static str, run: fn(&Controller, &World) -> Result<()>) -> Step {
    Step { name, run }
}

/// Networks, services, and sandboxes that are adopted, join and leave.
fn networks_and_sandboxes() -> Vec<Step> {
    vec![
        step("network create blue", |c, _| {
            create(c, "blue", "10.7.0.0/24")
        }),
        step("network create green", |c, _| {
            create(c, "green", "10.8.0.0/24")
        }),
        step("service create web, with an address and a port", |c, _| {
            create_service(c, "web", "blue", EndpointMode::Vip, &["80:8080"])
        }),
        step("service create api, of names alone", |c, _| {
            create_service(c, "api", "green", EndpointMode::Dnsrr, &[])
        }),
        step("adopt one, on blue, with a port", |c, w| {
            adopt(c, w, "one", &["blue"], &["8080:80", "9000-9002:53/udp"])
        }),
        step("connect one to green", |c, _| connect(c, "green", "one")),
        step("adopt two, on nothing", |c, w| adopt(c, w, "two", &[], &[])),
        step("connect two to blue", |c, _| connect(c, "blue", "two")),
        step("disconnect one from blue, its ports move", |c, _| {
            disconnect(c, "blue", "one")
        }),
        step("disconnect two from blue", |c, _| {
            disconnect(c, "blue", "two")
        }),
        step("connect two to blue again", |c, _| {
            connect(c, "blue", "two")
        }),
        step("adopt three, on both", |c, w| {
            adopt(c, w, "three", &["blue", "green"], &["8443:443"])
        }),
    ]
}

/// A container, and endpoints that come into a service and leave it.
fn containers_and_members() -> Vec<Step> {
    vec![
        step("create a container", |c, _| create_container(c, "box")),
        step("connect the container", |c, _| connect(c, "green", "box")),
        step("disconnect the container", |c, _| {
            disconnect(c, "green", "box")
        }),
        step("remove the container", |c, _| remove_container(c, "box")),
        step("disconnect two, which is in no service", |c, _| {
            disconnect(c, "blue", "two")
        }),
        step(
            "connect two to blue, in the service, three times",
            |c, _| join(c, "blue", "two", "web", 3),
        ),
        step("connect one to blue, in the service", |c, _| {
            join(c, "blue", "one", "web", 1)
        }),
        step(
            "service update web, its ports and whom it leads where",
            |c, _| {
                c.submit(ServiceUpdate {
                    service: "web".to_owned(),
                    publish: published("81:8081/udp")?,
                    unpublish: vec!["8080/tcp".to_owned().try_into()?],
                    affinity: Some(Affinity::Client),
                    ..ServiceUpdate::default()
                })?;
                Ok(())
            },
        ),
        step("disconnect two, which serves", |c, _| {
            disconnect(c, "blue", "two")
        }),
        step("connect two to blue, in the service, again", |c, _| {
            join(c, "blue", "two", "web", 2)
        }),
    ]
}

/// All of it goes again.
fn removals() -> Vec<Step> {
    vec![
        step("release one, with its ports", |c, _| release(c, "one")),
        step("release two", |c, _| release(c, "two")),
        step("release three", |c, _| release(c, "three")),
        step("service rm web", |c, _| remove_service(c, "web")),
        step("service rm api", |c, _| remove_service(c, "api")),
        step("network rm green", |c, _| remove_network(c, "green")),
        step("network rm blue", |c, _| remove_network(c, "blue")),
    ]
}

pub(crate) fn remove_network(controller: &Controller, name: &str) -> Result<()> {
    controller.submit(NetworkRemove {
        network: name.to_owned(),
    })
}

pub(crate) fn create(controller: &Controller, name: &str, subnet: &str) -> Result<()> {
    create_with(controller, name, subnet, true)
}

/// A network of this host, of IPv4 or of both.
pub(crate) fn create_with(
    controller: &Controller,
    name: &str,
    subnet: &str,
    ipv6: bool,
) -> Result<()> {
    let request = NetworkCreate {
        name: name.parse()?,
        driver: None,
        scope: None,
        ipv4: None,
        ipv6: Some(ipv6),
        internal: false,
        attachable: false,
        unsupported: Vec::new(),
        ipam_driver: None,
        ipam_options: Default::default(),
        pools: vec![PoolRequest {
            subnet: subnet.to_owned(),
            ..PoolRequest::default()
        }],
        options: Default::default(),
        labels: Default::default(),
    };
    controller.submit(request).map(drop)
}

pub(crate) fn published(port: &str) -> Result<Vec<Publication>> {
    let (mode, prefer) = Default::default();
    let ports = PortRequest::parse(port)?.into_iter();
    let published = ports.map(|port| Publication { port, mode, prefer });
    Ok(published.collect())
}

/// A network that spans hosts.
pub(crate) fn create_overlay(
    controller: &Controller,
    name: &str,
    internal: bool,
    options: &[(&str, &str)],
) -> Result<()> {
    create_overlay_on(
        controller,
        name,
        &format!("{OVERLAY}0/24"),
        internal,
        options,
    )
}

/// The same with a subnet.
pub(crate) fn create_overlay_on(
    controller: &Controller,
    name: &str,
    subnet: &str,
    internal: bool,
    options: &[(&str, &str)],
) -> Result<()> {
    let options = options.iter();
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    let request = NetworkCreate {
        name: name.parse()?,
        driver: Some("overlay".to_owned()),
        scope: None,
        ipv4: None,
        ipv6: None,
        internal,
        attachable: false,
        unsupported: Vec::new(),
        ipam_driver: None,
        ipam_options: Default::default(),
        pools: vec![PoolRequest {
            subnet: subnet.to_owned(),
            ..PoolRequest::default()
        }],
        options: options.map(owned).collect(),
        labels: Default::default(),
    };
    controller.submit(request).map(drop)
}

pub(crate) fn create_service(
    controller: &Controller,
    name: &str,
    network: &str,
    mode: EndpointMode,
    ports: &[&str],
) -> Result<()> {
    let request = asked(name, network, mode, ports)?;
    controller.submit(request).map(drop)
}

/// What asks for a service.
pub(crate) fn asked(
    name: &str,
    network: &str,
    mode: EndpointMode,
    ports: &[&str],
) -> Result<ServiceCreate> {
    let ports = ports.iter().map(|port| published(port));
    Ok(ServiceCreate {
        name: name.parse()?,
        network: network.to_owned(),
        mode,
        ports: ports.collect::<Result<Vec<_>>>()?.concat(),
        affinity: Affinity::None,
        drain: Default::default(),
        health: None,
        labels: Default::default(),
    })
}

pub(crate) fn remove_service(controller: &Controller, service: &str) -> Result<()> {
    let service = service.to_owned();
    controller.submit(ServiceRemove { service })
}

pub(crate) fn join(
    controller: &Controller,
    network: &str,
    sandbox: &str,
    service: &str,
    weight: u32,
) -> Result<()> {
    let options = [
        (SERVICE_KEY, service.to_owned()),
        (WEIGHT_KEY, weight.to_string()),
    ];
    controller.submit(Connect {
        network: network.to_owned(),
        sandbox: sandbox.to_owned(),
        settings: EndpointSettings {
            driver_opts: options.map(|(key, value)| (key.to_owned(), value)).into(),
            ..EndpointSettings::default()
        },
    })
}

pub(crate) fn adopt(
    controller: &Controller,
    world: &World,
    name: &str,
    networks: &[&str],
    ports: &[&str],
) -> Result<()> {
    let wanted = networks.iter();
    let networks = wanted.map(|name| ((*name).to_owned(), EndpointSettings::default()));
    let ports = ports.iter().map(|port| PortRequest::parse(port));
    let request = Adopt {
        source: AdoptSource::Netns(world.folder.join(name)),
        name: Some(name.parse()?),
        sandbox: SandboxRequest {
            networks: networks.collect(),
            ports: ports.collect::<Result<Vec<_>>>()?.concat(),
            ..SandboxRequest::default()
        },
        resolv_conf: false,
    };
    controller.submit(request).map(drop)
}

pub(crate) fn connect(controller: &Controller, network: &str, sandbox: &str) -> Result<()> {
    controller.submit(Connect {
        network: network.to_owned(),
        sandbox: sandbox.to_owned(),
        settings: EndpointSettings::default(),
    })
}

pub(crate) fn disconnect(controller: &Controller, network: &str, sandbox: &str) -> Result<()> {
    controller.submit(Disconnect {
        network: network.to_owned(),
        sandbox: sandbox.to_owned(),
        force: false,
    })
}

pub(crate) fn release(controller: &Controller, sandbox: &str) -> Result<()> {
    let sandbox = sandbox.to_owned();
    controller.submit(Release { sandbox }).map(drop)
}

pub(crate) fn remove_container(controller: &Controller, name: &str) -> Result<()> {
    controller.submit(ContainerRemove {
        container: name.to_owned(),
        force: false,
        link: false,
    })
}

pub(crate) fn create_container(controller: &Controller, name: &str) -> Result<()> {
    let request = ContainerCreate {
        name: Some(name.parse()?),
        container: ContainerSpec {
            image: "host".to_owned(),
            cmd: vec!["true".to_owned()],
            ..ContainerSpec::default()
        },
        sandbox: SandboxRequest {
            networks: vec![("blue".to_owned(), EndpointSettings::default())],
            ..SandboxRequest::default()
        },
        mode: NetworkMode::Networks,
        mode_text: "blue".to_owned(),
        host_config: Default::default(),
        config: Default::default(),
    };
    controller.submit(request).map(drop)
}

//! Networks and endpoints for tests.

use crate::{
    records::Membership,
    registry::{Attachment, Gate, Network, Sandbox},
};
use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{Arc, Mutex, OnceLock, RwLock},
    time::SystemTime,
};
use vw_drivers::Gateway;
use vw_model::{
    EndpointId, EndpointSettings, EndpointSpec, Family, IpNet, IpamSpec, MacAddr, NetworkId,
    NetworkSpec, PoolSpec, SandboxId, SandboxKind, SandboxSpec, Scope,
};
use vw_names::{SharedZone, Zone};

/// A bridge network with these subnets, whose first addresses are its gateways.
pub(crate) fn network(name: &str, subnets: &[&str]) -> NetworkSpec {
    let pool = |text: &&str| {
        let subnet: IpNet = text.parse().unwrap();
        PoolSpec {
            subnet,
            ip_range: None,
            gateway: subnet.hosts().next(),
            aux: BTreeMap::new(),
            given: true,
        }
    };
    let has = |v6| subnets.iter().any(|subnet| subnet.contains(':') == v6);
    NetworkSpec {
        id: NetworkId::from_bytes(bytes(name)),
        name: name.parse().unwrap(),
        driver: "bridge".to_owned(),
        scope: Scope::Local,
        created: SystemTime::UNIX_EPOCH,
        enable_ipv4: has(false),
        enable_ipv6: has(true),
        internal: false,
        attachable: false,
        predefined: false,
        ipam: IpamSpec {
            driver: "default".to_owned(),
            options: BTreeMap::new(),
            pools: subnets.iter().map(pool).collect(),
        },
        options: BTreeMap::new(),
        labels: BTreeMap::new(),
    }
}

/// A network as the registry has it.
pub(crate) fn standing(spec: NetworkSpec) -> Arc<Network> {
    let zone = SharedZone::new(Zone::new(spec.name.as_str(), Vec::new()));
    Arc::new(Network {
        driver: vw_drivers::find(&spec.driver).unwrap(),
        spec,
        gate: RwLock::new(Gate::Open),
        zone,
        members: Mutex::new(BTreeMap::new()),
        reach: Mutex::default(),
        published: OnceLock::new(),
    })
}

/// An endpoint in the sandbox `guest`, with gateways as the driver plans them.
pub(crate) fn attachment(network: NetworkSpec, ifname: &str, priority: i64) -> Attachment {
    let network = standing(network);
    let id = EndpointId::from_bytes(bytes(ifname));
    let pools = network.spec.ipam.pools.iter();
    let addresses = pools.map(|pool| {
        let addr = pool.subnet.hosts().nth(1).unwrap();
        IpNet::new(addr, pool.subnet.prefix_len()).unwrap()
    });
    let families = [Family::V4, Family::V6].into_iter();
    let gateways = families.filter_map(|family| network.driver.gateway(&network.spec, family));
    let endpoint = EndpointSpec {
        id,
        network: network.spec.id,
        sandbox: guest(),
        ifname: ifname.parse().unwrap(),
        host_ifname: format!("vw{ifname}").parse().unwrap(),
        mac: MacAddr::derived_from(IpAddr::from([10, 0, 0, 1])),
        gateways: gateways.collect(),
        addresses: addresses.collect(),
        settings: EndpointSettings {
            gw_priority: priority,
            ..EndpointSettings::default()
        },
    };
    let cx = Default::default();
    let planned = network
        .driver
        .plan_attachment(&network.spec, &endpoint, &cx);
    let gateways: Vec<Gateway> = planned.unwrap().gateways;
    Attachment {
        network,
        endpoint,
        gateways,
    }
}

/// A container's sandbox of this name.
pub(crate) fn sandbox(name: &str) -> Arc<Sandbox> {
    let id = SandboxId::from_bytes(bytes(name));
    let spec = SandboxSpec {
        id,
        name: name.parse().unwrap(),
        kind: SandboxKind::Container,
        created: SystemTime::UNIX_EPOCH,
        hostname: name.to_owned(),
        domainname: String::new(),
        dns: Default::default(),
        extra_hosts: Vec::new(),
        ports: Vec::new(),
        exposed: Vec::new(),
        publish_all: false,
        labels: BTreeMap::new(),
    };
    Arc::new(Sandbox::new(spec, None, Vec::<Membership>::new()))
}

/// The id of the sandbox `guest`.
pub(crate) fn guest() -> SandboxId {
    SandboxId::from_bytes(bytes("guest"))
}

/// An id that begins with the name's bytes.
pub(crate) fn bytes(name: &str) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes[..name.len()].copy_from_slice(name.as_bytes());
    bytes
}

//! What an endpoint claims before anything is made for it: identity, addresses, host ports.

use crate::{
    Controller,
    attach::FAMILIES,
    controller::kernel_error,
    ports::{self, Claims, Wanted},
    registry::{Attachment, Network, Sandbox},
    sandbox_plan,
    services::unspecified,
};
use std::net::IpAddr;
use vw_model::{
    EndpointId, EndpointSettings, EndpointSpec, Error, Family, IfName, MacAddr, PortKey,
    PortRequest, Result,
};

impl Controller {
    /// Chooses the endpoint's identity and leases its addresses.
    pub(crate) fn claim_endpoint(
        &self,
        sandbox: &Sandbox,
        network: &Network,
        settings: EndpointSettings,
    ) -> Result<EndpointSpec> {
        let id = EndpointId::from_bytes((self.random)());
        let ifname = match network.driver.interface_name(&settings)? {
            Some(name) => name,
            None => self.free_ifname(sandbox, network)?,
        };
        let off = ipv6_off(sandbox, &ifname);
        if let Some(off) = &off {
            refuse_ipv6_alone(sandbox, network, &settings, off)?;
        }
        let families = match off {
            Some(_) => &FAMILIES[..1],
            None => &FAMILIES[..],
        };
        let addresses = self.lease(network, id, &settings, families)?;
        let mac = settings.mac.or_else(|| {
            addresses
                .first()
                .map(|net| MacAddr::derived_from(net.addr()))
        });
        let mac = mac.unwrap_or_else(|| MacAddr::derived_from(pseudo_addr(id)));
        Ok(EndpointSpec {
            id,
            network: network.spec.id,
            sandbox: sandbox.id,
            ifname,
            host_ifname: host_ifname(id)?,
            mac,
            gateways: families
                .iter()
                .filter_map(|f| network.driver.gateway(&network.spec, *f))
                .collect(),
            addresses,
            settings,
        })
    }

    /// The lowest `ethN` that nobody uses inside.
    fn free_ifname(&self, sandbox: &Sandbox, network: &Network) -> Result<IfName> {
        let prefix = network.driver.interface_prefix(&network.spec);
        let state = sandbox.state();
        let used: Vec<IfName> = state
            .attachments
            .iter()
            .map(|a| a.endpoint.ifname.clone())
            .collect();
        let adopted = state.container.is_none();
        drop(state);
        let mut number = 0;
        loop {
            let name: IfName = format!("{prefix}{number}").parse()?;
            // What was adopted may have interfaces of its own.
            let taken = used.contains(&name)
                || (adopted
                    && self
                        .kernel
                        .has_interface(sandbox.id, &name)
                        .map_err(kernel_error)?);
            if !taken {
                return Ok(name);
            }
            number += 1;
        }
    }

    /// Host ports for what is to be published once these are all the attachments.
    pub(crate) fn settle_ports(
        &self,
        sandbox: &Sandbox,
        attachments: &[Attachment],
        held: &mut Claims,
    ) -> Result<Claims> {
        let state = sandbox.state();
        let exposed = if state.spec.publish_all {
            state.spec.exposed.clone()
        } else {
            Vec::new()
        };
        let requests = state.spec.ports.clone();
        drop(state);
        self.settle_requests(&requests, &exposed, attachments, held)
    }

    /// Host ports for these requests, and for these exposed ports, of a sandbox with these
    /// attachments.
    pub(crate) fn settle_requests(
        &self,
        requests: &[PortRequest],
        exposed: &[PortKey],
        attachments: &[Attachment],
        held: &mut Claims,
    ) -> Result<Claims> {
        let cx = &self.config.drivers;
        let hosts = |a: &Attachment| a.network.driver.default_hosts(&a.network.spec, cx);
        self.as_wanted(requests, exposed, attachments, hosts, |wanted| {
            ports::settle(&*self.kernel, wanted, held)
        })
    }

    /// The same of what services publish, as far as it can be had, and what cannot: what names no
    /// address is published at all of the host's, wherever a container's own ports would be.
    pub(crate) fn settle_each(
        &self,
        requests: &[PortRequest],
        attachments: &[Attachment],
        held: &mut Claims,
    ) -> (Claims, Vec<(PortRequest, Error)>) {
        let hosts = |_: &Attachment| FAMILIES.map(unspecified).to_vec();
        self.as_wanted(requests, &[], attachments, hosts, |wanted| {
            ports::settle_each(&*self.kernel, wanted, held)
        })
    }

    fn as_wanted<T>(
        &self,
        requests: &[PortRequest],
        exposed: &[PortKey],
        attachments: &[Attachment],
        default_hosts: impl Fn(&Attachment) -> Vec<IpAddr>,
        settle: impl FnOnce(&Wanted<'_>) -> T,
    ) -> T {
        let cx = &self.config.drivers;
        let gateways = FAMILIES.map(|f| (f, sandbox_plan::way_in(attachments, f, cx)));
        let publishes = |f: Family, a: &Attachment| {
            let driver = &a.network.driver;
            driver.publishes_to(&a.network.spec, &a.endpoint, f, cx)
        };
        let usable = gateways
            .iter()
            .filter(|(f, a)| a.is_some_and(|a| publishes(*f, a)));
        let families: Vec<Family> = usable.map(|(f, _)| *f).collect();
        let hosts: Vec<IpAddr> = gateways
            .iter()
            .filter_map(|(family, chosen)| chosen.map(|a| (*family, a)))
            .filter(|(family, a)| publishes(*family, a))
            .flat_map(|(family, a)| {
                let hosts = default_hosts(a).into_iter();
                hosts.filter(move |host| Family::of(*host) == family)
            })
            .collect();
        settle(&Wanted {
            requests,
            exposed,
            families: &families,
            default_hosts: &hosts,
            ephemeral: self.facts().ephemeral_ports,
            cursor: &self.ephemeral_cursor,
        })
    }
}

/// The parameter by which a container has IPv6 switched off where an interface of that name is. The
/// kernel takes all such addresses from it then, when the container starts.
fn ipv6_off(sandbox: &Sandbox, ifname: &IfName) -> Option<String> {
    let state = sandbox.state();
    let sysctls = &state.container.as_ref()?.container.sysctls;
    let mut off = sysctls.iter().filter(|(path, value)| {
        let path = path.replace('/', ".");
        let of = path.strip_prefix("net.ipv6.conf.");
        let of = of.and_then(|of| of.strip_suffix(".disable_ipv6"));
        of.is_some_and(|of| of == "all" || ifname.as_str() == of)
            && value.trim().parse().is_ok_and(|value: i32| value != 0)
    });
    off.next().map(|(path, value)| format!("{path}={value}"))
}

/// Refuses an endpoint that asks for IPv6, or that can have nothing else, where that is off.
fn refuse_ipv6_alone(
    sandbox: &Sandbox,
    network: &Network,
    settings: &EndpointSettings,
    off: &str,
) -> Result<()> {
    let spec = &network.spec;
    let asked = settings.ipv6.map(IpAddr::V6).into_iter();
    let asked = asked.chain(settings.link_local.iter().copied().filter(IpAddr::is_ipv6));
    let what = match asked.into_iter().next() {
        Some(addr) => format!("no address {addr} on network {}", spec.name),
        None if spec.enable_ipv6 && !spec.enable_ipv4 => {
            format!("no part in network {}, which has IPv6 alone", spec.name)
        }
        None => return Ok(()),
    };
    let name = sandbox.state().spec.name.clone();
    Err(Error::invalid(
        "ipv6-switched-off",
        format!("container {name} can have {what}: it has IPv6 switched off by --sysctl {off}"),
    ))
}

/// `vw` and ten digits of the endpoint's id: 12 of the 15 bytes that a name may have.
fn host_ifname(id: EndpointId) -> Result<IfName> {
    format!("vw{}", &id.to_string()[..10]).parse()
}

/// Bits for the link-layer address of an endpoint that has no network-layer one.
fn pseudo_addr(id: EndpointId) -> IpAddr {
    let bytes = id.0.as_bytes();
    IpAddr::from([bytes[0], bytes[1], bytes[2], bytes[3]])
}

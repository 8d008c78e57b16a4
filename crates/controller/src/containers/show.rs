//! `ps` and `inspect`.

use crate::{
    Controller,
    command::{ContainerInspect, ContainerList},
    naming::names_of,
    networks::{v4_of, v6_of},
    records::Membership,
    registry::{Attachment, Sandbox, SandboxState, lock},
    view::{ContainerView, EndpointView, StateView, Status},
};
use std::{collections::BTreeMap, net::IpAddr, path::PathBuf, sync::Arc};
use vw_model::{Family, PortKey, PortMapping, Result, SandboxKind};

impl Controller {
    pub(crate) fn container_inspect(&self, request: ContainerInspect) -> Result<ContainerView> {
        let sandbox = self.sandbox(&request.container)?;
        Ok(self.view_sandbox(&sandbox))
    }

    pub(crate) fn container_list(&self, _: ContainerList) -> Result<Vec<ContainerView>> {
        let sandboxes = self.registry().sandboxes();
        let mut views: Vec<_> = sandboxes
            .iter()
            .filter(|sandbox| !sandbox.balances)
            .map(|sandbox| self.view_sandbox(sandbox))
            .collect();
        views.sort_by_key(|view| std::cmp::Reverse(view.sandbox.created));
        Ok(views)
    }

    fn view_sandbox(&self, sandbox: &Arc<Sandbox>) -> ContainerView {
        let execs = lock(&self.execs)
            .iter()
            .filter(|(_, exec)| exec.runs_in(sandbox.id))
            .map(|(id, _)| id.clone())
            .collect();
        let state = sandbox.state();
        let record = state.container.clone();
        let folder = self.runtime.data_dir(sandbox.id);
        let file = |name: &str| {
            if record.is_some() {
                folder.join(name)
            } else {
                PathBuf::new()
            }
        };
        ContainerView {
            state: state_of(&state),
            endpoints: endpoints_of(&state),
            ports: ports_of(&state),
            netns: if state.live {
                self.kernel.netns_path(sandbox.id)
            } else {
                PathBuf::new()
            },
            hosts_path: file("hosts"),
            hostname_path: file("hostname"),
            resolv_conf_path: file("resolv.conf"),
            log_path: if record.is_some() {
                folder.join("container.log")
            } else {
                PathBuf::new()
            },
            sandbox: state.spec.clone(),
            restart_count: record.as_ref().map_or(0, |r| r.restart_count),
            image_id: record
                .as_ref()
                .map(|r| r.image_id.clone())
                .unwrap_or_default(),
            mode_text: record
                .as_ref()
                .map_or_else(|| "default".to_owned(), |r| r.mode_text.clone()),
            host_config: record
                .as_ref()
                .map(|r| r.host_config.clone())
                .unwrap_or_default(),
            config: record
                .as_ref()
                .map(|r| r.config.clone())
                .unwrap_or_default(),
            container: record.map(|r| r.container),
            execs,
        }
    }
}

fn state_of(state: &SandboxState) -> StateView {
    let Some(record) = &state.container else {
        let pid = match &state.spec.kind {
            SandboxKind::Adopted {
                from: vw_model::AdoptedFrom::Pid { pid, .. },
                ..
            } if state.live => *pid,
            _ => 0,
        };
        return StateView {
            status: if state.live {
                Status::Running
            } else {
                Status::Dead
            },
            pid,
            started: Some(state.spec.created),
            ..StateView::default()
        };
    };
    let status = match () {
        () if record.removing => Status::Removing,
        () if state.running.is_some() => Status::Running,
        () if state.restarting => Status::Restarting,
        () if record.finished.is_some() => Status::Exited,
        () => Status::Created,
    };
    StateView {
        status,
        pid: state.running.map_or(0, |running| running.pid),
        exit_code: record.exit_code,
        error: record.error.clone(),
        oom_killed: record.oom_killed,
        started: record.started,
        finished: record.finished,
    }
}

fn endpoints_of(state: &SandboxState) -> Vec<EndpointView> {
    let view = |membership: &Membership| {
        let attachment = state
            .attachments
            .iter()
            .find(|a| a.network.spec.id == membership.network);
        match attachment {
            Some(attachment) => endpoint_view(state, membership, attachment),
            None => EndpointView {
                network: membership.name.clone(),
                network_id: Some(membership.network),
                endpoint: None,
                ifname: String::new(),
                gateway4: None,
                gateway6: None,
                ipv4: None,
                ipv6: None,
                mac: None,
                settings: membership.settings.clone(),
                dns_names: Vec::new(),
            },
        }
    };
    state.memberships.iter().map(view).collect()
}

fn endpoint_view(
    state: &SandboxState,
    membership: &Membership,
    attachment: &Attachment,
) -> EndpointView {
    let endpoint = &attachment.endpoint;
    let gateways = || endpoint.gateways.iter().copied();
    EndpointView {
        network: attachment.network.spec.name.to_string(),
        network_id: Some(membership.network),
        endpoint: Some(endpoint.id),
        ifname: endpoint.ifname.to_string(),
        gateway4: gateways().find_map(|addr| {
            if let IpAddr::V4(addr) = addr {
                Some(addr)
            } else {
                None
            }
        }),
        gateway6: gateways().find_map(|addr| {
            if let IpAddr::V6(addr) = addr {
                Some(addr)
            } else {
                None
            }
        }),
        ipv4: v4_of(&endpoint.addresses),
        ipv6: v6_of(&endpoint.addresses),
        mac: Some(endpoint.mac),
        settings: membership.settings.clone(),
        dns_names: if attachment.network.has_names() {
            names_of(state, attachment)
        } else {
            Vec::new()
        },
    }
}

/// Every exposed port, with where it is published now.
fn ports_of(state: &SandboxState) -> BTreeMap<PortKey, Vec<PortMapping>> {
    let mut ports: BTreeMap<PortKey, Vec<PortMapping>> = state
        .spec
        .exposed
        .iter()
        .map(|port| (*port, Vec::new()))
        .collect();
    let mut published = state.published.clone();
    published.sort_by_key(|mapping| (Family::of(mapping.host.ip()), mapping.host));
    for mapping in published {
        ports.entry(mapping.container).or_default().push(mapping);
    }
    ports
}

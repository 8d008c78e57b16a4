//! `create`: everything about a container is decided and recorded here; nothing runs yet.

use crate::{
    Controller,
    command::{ContainerCreate, NetworkMode},
    connect::missing_network,
    records::{ContainerRecord, Membership, Mode},
    registry::Sandbox,
    view::Created,
};
use std::sync::Arc;
use vw_model::{
    ContainerName, ContainerSpec, EndpointSettings, Error, PortKey, Result, SandboxId, SandboxKind,
};
use vw_runtime::Image;
use vw_store::Table;

impl Controller {
    pub(crate) fn container_create(&self, mut request: ContainerCreate) -> Result<Created> {
        let image = self.runtime.images().get(&request.container.image)?;
        fill_from(&image, &mut request)?;
        if request
            .container
            .entrypoint
            .as_ref()
            .is_none_or(Vec::is_empty)
            && request.container.cmd.is_empty()
        {
            return Err(Error::invalid("no-command", "no command specified"));
        }
        let mode = self.mode_of(&request.mode)?;
        let memberships = self.memberships_of(&mode, &request)?;
        let warnings = self.warnings_of(&mode, &request, &memberships);
        let id = self.new_sandbox_id();
        let name = match request.name.take() {
            Some(name) => name,
            None => self.free_name(id)?,
        };
        let kind = if mode == Mode::Host {
            SandboxKind::Host
        } else {
            SandboxKind::Container
        };
        let spec = self.sandbox_spec(id, name.clone(), kind, request.sandbox);
        let record = ContainerRecord::new(spec.clone(), request.container, image.id.to_string())
            .on(mode, request.mode_text, memberships.clone())
            .echoing(request.host_config, request.config);
        let sandbox = Arc::new(Sandbox::new(spec, Some(record), memberships));
        self.registry_mut()
            .add_sandbox(name.as_str(), sandbox.clone())?;
        let made = self.keep_container(&sandbox).and_then(|()| {
            crate::step::reached("container.recorded");
            self.runtime
                .create_rootfs(id, &image.id)
                .map_err(Error::from)
        });
        if let Err(error) = made {
            self.registry_mut().remove_sandbox(name.as_str(), id);
            self.unmake(id);
            return Err(error);
        }
        self.tell_container("create", &sandbox);
        Ok(Created {
            id: id.to_string(),
            warnings,
        })
    }

    /// Takes back a container that could not be made.
    fn unmake(&self, id: SandboxId) {
        match self.runtime.delete(id) {
            Ok(()) => self.unkeep(Table::Containers, id.to_string()),
            // Its record has the next start go on.
            Err(error) => self.warn(format!(
                "what is left of container {} goes at the next start: {error}",
                id.short()
            )),
        }
    }

    fn mode_of(&self, mode: &NetworkMode) -> Result<Mode> {
        Ok(match mode {
            NetworkMode::Networks => Mode::Own,
            NetworkMode::Host => Mode::Host,
            NetworkMode::None => Mode::None,
            NetworkMode::Container(other) => {
                let other = self.sandbox(other)?;
                if let Some(record) = &other.state().container
                    && !record.mode.takes_endpoints()
                    && record.mode != Mode::None
                {
                    let message = "cannot join the network of a container that joined another's: name that one";
                    return Err(Error::conflict("namespace-shared", message));
                }
                Mode::Of(other.id)
            }
        })
    }

    fn memberships_of(&self, mode: &Mode, request: &ContainerCreate) -> Result<Vec<Membership>> {
        if !mode.takes_endpoints() {
            if let Some((name, _)) = request.sandbox.networks.first() {
                let message = format!(
                    "conflicting options: a container in {} mode cannot be on network {name}",
                    request.mode_text
                );
                return Err(Error::invalid("namespace-shared", message));
            }
            Self::check_no_labels(&request.sandbox.labels, &request.mode_text)?;
            return Ok(Vec::new());
        }
        let mut wanted = request.sandbox.networks.clone();
        if wanted.is_empty() {
            wanted.push(("bridge".to_owned(), EndpointSettings::default()));
        }
        let labels = &request.sandbox.labels;
        let networks = self.resolve_networks(&wanted, labels);
        let networks = networks.map_err(missing_network)?;
        self.check_labels(labels, &networks)?;
        let memberships = networks
            .into_iter()
            .map(|(network, settings)| network.membership(settings));
        Ok(memberships.collect())
    }

    fn warnings_of(
        &self,
        mode: &Mode,
        request: &ContainerCreate,
        memberships: &[Membership],
    ) -> Vec<String> {
        let publishes = !request.sandbox.ports.is_empty() || request.sandbox.publish_all;
        if *mode == Mode::Host && publishes {
            return vec!["Published ports are discarded when using host network mode".to_owned()];
        }
        if !mode.takes_endpoints() {
            return Vec::new();
        }
        let networks = memberships.iter().map(|membership| membership.network);
        self.warn_unpublished(&request.sandbox.ports, networks)
    }

    fn free_name(&self, id: SandboxId) -> Result<ContainerName> {
        let registry = self.registry();
        let mut names = super::names::candidates(id).chain([format!("container-{}", id.short())]);
        let free = names.find(|name| registry.name_is_free(name));
        free.unwrap_or_else(|| id.to_string()).parse()
    }
}

/// What the request left open and the image says.
fn fill_from(image: &Image, request: &mut ContainerCreate) -> Result<()> {
    let given: Vec<PortKey> = image
        .config
        .exposed_ports
        .keys()
        .map(|port| port.parse())
        .collect::<Result<_>>()?;
    for port in given {
        if !request.sandbox.exposed.contains(&port) {
            request.sandbox.exposed.push(port);
        }
    }
    for published in &request.sandbox.ports {
        if !request.sandbox.exposed.contains(&published.container) {
            request.sandbox.exposed.push(published.container);
        }
    }
    for (key, value) in &image.config.labels {
        request
            .sandbox
            .labels
            .entry(key.clone())
            .or_insert_with(|| value.clone());
    }
    image.config.fill(&mut request.container);
    check_spec(&request.container)
}

fn check_spec(spec: &ContainerSpec) -> Result<()> {
    if !spec.working_dir.is_empty() && !spec.working_dir.starts_with('/') {
        let message = format!(
            "the working directory '{}' is invalid, it needs to be an absolute path",
            spec.working_dir
        );
        return Err(Error::invalid("working-dir-relative", message));
    }
    if spec.auto_remove && spec.restart != vw_model::RestartPolicy::No {
        let message = "can't create 'AutoRemove' container with restart policy";
        return Err(Error::invalid("restart-and-remove", message));
    }
    Ok(())
}

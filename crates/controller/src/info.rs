//! `info`: the daemon about itself.

use crate::{Controller, command::Info, registry::lock, view::InfoView};
use vw_model::{Family, Result};
use vw_store::Table;

impl Controller {
    pub(crate) fn info(&self, _: Info) -> Result<InfoView> {
        let sandboxes = self.registry().sandboxes();
        let mut info = InfoView {
            data_root: self.config.data_root.clone(),
            ..InfoView::default()
        };
        for sandbox in &sandboxes {
            let state = sandbox.state();
            match (&state.container, state.running.is_some()) {
                (None, _) => info.adopted += 1,
                (Some(_), true) => info.running += 1,
                (Some(_), false) => info.stopped += 1,
            }
        }
        info.id = self.host_id.to_string();
        info.images = self
            .runtime
            .images()
            .list()
            .map_or(0, |images| images.len());
        info.networks = self.registry().networks().len();
        match self.runtime.probe() {
            Ok(programs) => info.runtime = programs.runtime.display().to_string(),
            Err(error) => info.warnings.push(error.to_string()),
        }
        info.network_drivers = vw_drivers::names().map(str::to_owned).collect();
        info.warnings.extend(self.troubles());
        for (path, former) in self.data.scan(Table::Saved).unwrap_or_default() {
            let now = self.facts().sysctls.get(&path).cloned().unwrap_or_default();
            info.sysctls
                .push((path, String::from_utf8_lossy(&former).into_owned(), now));
        }
        let upstreams = self.host_resolv_conf().1.nameservers.clone();
        info.upstreams = upstreams.into_iter().map(|server| server.addr).collect();
        info.labels = self.config.labels.clone();
        info.forwarding = self.kernel.facts().is_ok_and(|facts| {
            facts
                .sysctls
                .get("net/ipv4/ip_forward")
                .is_some_and(|value| value == "1")
        });
        info.address_pools = [Family::V4, Family::V6]
            .into_iter()
            .flat_map(|family| self.config.pools.of(family))
            .map(|pool| (pool.base.to_string(), pool.size))
            .collect();
        info.debug = self.config.debug;
        let member = self.member.as_ref();
        info.encryption = member.map_or("", |member| member.encryption_word());
        let drivers = &self.config.drivers;
        info.shortcuts = drivers.underlay.as_ref().map(|_| {
            let why_not = drivers.no_shortcuts.clone();
            why_not.map_or(Ok(()), Err)
        });
        Ok(info)
    }

    /// What is not as it should be, in sentences.
    fn troubles(&self) -> Vec<String> {
        let mut troubles: Vec<String> = lock(&self.warnings).iter().cloned().collect();
        troubles.extend(self.unreached());
        troubles.extend(lock(&self.store_away).clone());
        troubles.extend(self.untold());
        troubles.extend(self.off_networks());
        troubles.extend(self.sealed_off());
        troubles.extend(self.underlay_trouble());
        troubles.extend(self.doubles());
        troubles.extend(self.drawbacks());
        troubles.extend(self.translates_nothing());
        troubles
    }
}

//! The daemon's end: what nobody uses any more goes, what runs stays.

use crate::{Controller, registry::lock};
use vw_hoststate::{Fragment, Object, Owner};
use vw_model::Result;
use vw_store::{Batch, Table};

impl Controller {
    /// Takes bridges, changed sysctls and empty control groups back when no sandbox stands; the
    /// next start makes them again. While anything runs nothing is touched, so that it goes on
    /// without the daemon, and the answer is `false`.
    ///
    /// The firewall table stays, empty and without effect: its chain `user` is not ours. Other
    /// hosts of the cluster are told that the daemon ends, and wait for another one.
    ///
    /// # Errors
    /// What could not be taken back; the next start or end does it.
    pub fn close(&self) -> Result<bool> {
        // First: what it would tell meanwhile would be made again.
        if let Ok(cluster) = self.cluster() {
            cluster.close();
        }
        if let Some(encryption) = self.encryption() {
            encryption.close();
        }
        self.take_back()
    }

    fn take_back(&self) -> Result<bool> {
        let sandboxes = self.registry().sandboxes();
        if sandboxes.iter().any(|sandbox| sandbox.state().live) {
            return Ok(false);
        }
        self.runtime.remove_empty_cgroups();
        let former = lock(&self.host).fragment(Owner::Host);
        let table: Fragment = former
            .iter()
            .map(|(_, object)| object.clone())
            .filter(|object| matches!(object, Object::Table(_)))
            .collect();
        let mut wants = vec![(Owner::Host, table)];
        let networks = self.registry().networks();
        for network in networks {
            wants.push((Owner::Network(network.spec.id), Fragment::default()));
        }
        wants.extend(self.services_out());
        let hosts = self
            .cluster()
            .into_iter()
            .flat_map(|cluster| cluster.hosts());
        wants.extend(hosts.map(|host| (Owner::Peer(host.id), Fragment::default())));
        wants.extend(self.end_encryption());
        wants.push(self.close_clear_probe());
        self.take_away(wants)?;
        let saved = self.data.scan(Table::Saved).unwrap_or_default();
        self.keep(saved.into_iter().fold(Batch::new(), |batch, (path, _)| {
            batch.delete(Table::Saved, path)
        }))?;
        Ok(true)
    }

    /// Whether a link of this name must stand in the daemon's namespace.
    #[must_use]
    pub fn wants_link(&self, name: &str) -> bool {
        let Ok(name) = name.parse() else {
            return false;
        };
        lock(&self.host).wants(&vw_hoststate::Key::Link(vw_hoststate::Netns::Host, name))
    }

    /// Whether an object must stand in the kernel.
    #[must_use]
    pub fn wants(&self, key: &vw_hoststate::Key) -> bool {
        lock(&self.host).wants(key)
    }
}

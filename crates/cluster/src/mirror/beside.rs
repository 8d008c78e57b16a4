//! What hosts tell of themselves beside their records.

use super::{Host, Mirror, Seen};
use crate::{Delta, keys::Shared};
use vw_model::{HostId, RemoteHost, TunnelKeys, Unpublished};

impl Host {
    /// Whether it has told nothing of this sort.
    pub(super) const fn is_bare(&self) -> bool {
        self.keys.is_none() && self.unpublished.is_none()
    }

    /// The records that it has told of.
    pub(super) fn beside(&self, id: HostId) -> impl Iterator<Item = Shared> {
        let keys = self.keys.as_ref().map(|_| Shared::Tunnel(id));
        let lacks = self.unpublished.as_ref().map(|_| Shared::Unpublished(id));
        keys.into_iter().chain(lacks)
    }
}

impl Mirror {
    /// Takes what the local copy has of a host, which is told with the host.
    pub(super) fn restore_beside(&mut self, told: RemoteHost) {
        let host = self.host(told.id);
        host.keys = told.keys;
        let lacks = !told.unpublished.networks.is_empty();
        host.unpublished = lacks.then_some(told.unpublished);
    }

    pub(super) fn change_keys(&mut self, id: HostId, keys: Option<TunnelKeys>, seen: &mut Seen) {
        if id == self.me {
            seen.own_keys = Some(keys);
            return;
        }
        let former = std::mem::replace(&mut self.host(id).keys, keys.clone());
        self.told_beside(id, former != keys, seen);
    }

    pub(super) fn change_unpublished(
        &mut self,
        id: HostId,
        unpublished: Option<Unpublished>,
        seen: &mut Seen,
    ) {
        if id == self.me {
            seen.own_unpublished = Some(unpublished);
            return;
        }
        let former = std::mem::replace(&mut self.host(id).unpublished, unpublished.clone());
        self.told_beside(id, former != unpublished, seen);
    }

    fn told_beside(&mut self, id: HostId, changed: bool, seen: &mut Seen) {
        if changed && self.host(id).shown.is_some() {
            seen.deltas.extend(self.shown_host(id).map(Delta::Host));
        }
        self.drop_if_empty(id);
    }
}

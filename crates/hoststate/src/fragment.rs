//! The objects that one owner wants.

use crate::{Key, Object};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use vw_model::{EndpointId, HostId, NetworkId, SandboxId, ServiceId};

/// Who wants an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Owner {
    /// The daemon as such: its table, forwarding.
    Host,
    /// A network.
    Network(NetworkId),
    /// A sandbox: its namespace, default routes, resolver and ports.
    Sandbox(SandboxId),
    /// An attachment.
    Attachment(EndpointId),
    /// An endpoint on another host.
    Remote(EndpointId),
    /// Another host, as a member of this host's cluster.
    Peer(HostId),
    /// The cluster as such: what tunnels of every network rest on.
    Cluster,
    /// A service: its addresses and ports, and the slots of all its endpoints, which are numbered
    /// together.
    Service(ServiceId),
}

/// A keyed set of objects.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<Object>", into = "Vec<Object>")]
pub struct Fragment {
    objects: BTreeMap<Key, Object>,
}

impl Fragment {
    /// Adds an object; a later one with the same key takes the place of the former.
    pub fn insert(&mut self, object: Object) {
        self.objects.insert(object.key(), object);
    }

    /// The objects in the order of their keys.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&Key, &Object)> {
        self.objects.iter()
    }

    /// The object under a key.
    #[must_use]
    pub fn get(&self, key: &Key) -> Option<&Object> {
        self.objects.get(key)
    }

    /// Whether it wants nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.objects.is_empty()
    }
}

impl Extend<Object> for Fragment {
    fn extend<T: IntoIterator<Item = Object>>(&mut self, objects: T) {
        objects.into_iter().for_each(|object| self.insert(object));
    }
}

impl FromIterator<Object> for Fragment {
    fn from_iter<T: IntoIterator<Item = Object>>(objects: T) -> Self {
        let mut fragment = Self::default();
        fragment.extend(objects);
        fragment
    }
}

impl From<Vec<Object>> for Fragment {
    fn from(objects: Vec<Object>) -> Self {
        objects.into_iter().collect()
    }
}

impl From<Fragment> for Vec<Object> {
    fn from(fragment: Fragment) -> Self {
        fragment.objects.into_values().collect()
    }
}

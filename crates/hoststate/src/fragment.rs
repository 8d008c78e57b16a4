//! The objects that one owner wants.

use crate::{Key, Object};
use serde::{Deserialize, Serialize};
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
    /// Another host, as this host's encrypted tunnel knows it.
    Sealed(HostId),
    /// The way by which another host is asked inside the encrypted tunnel.
    Asked(HostId),
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
    /// By key, each once. Most have two or three: a map's node has room for eleven.
    objects: Vec<(Key, Object)>,
}

impl Fragment {
    /// Adds an object; a later one with the same key takes the place of the former. Many at once
    /// cost less by [`Extend`].
    pub fn insert(&mut self, object: Object) {
        let key = object.key();
        match self.place(&key) {
            Ok(at) => self.objects[at].1 = object,
            Err(at) => self.objects.insert(at, (key, object)),
        }
    }

    fn place(&self, key: &Key) -> Result<usize, usize> {
        self.objects.binary_search_by(|(other, _)| other.cmp(key))
    }

    /// The objects in the order of their keys.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&Key, &Object)> {
        self.objects.iter().map(|(key, object)| (key, object))
    }

    /// The object under a key.
    #[must_use]
    pub fn get(&self, key: &Key) -> Option<&Object> {
        self.place(key).ok().map(|at| &self.objects[at].1)
    }

    /// The objects with their keys, in the order of those.
    pub(crate) fn into_objects(self) -> Vec<(Key, Object)> {
        self.objects
    }

    /// Whether it wants nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.objects.is_empty()
    }
}

impl Extend<Object> for Fragment {
    fn extend<T: IntoIterator<Item = Object>>(&mut self, objects: T) {
        let keyed = objects.into_iter().map(|object| (object.key(), object));
        self.objects.extend(keyed);
        // Stable: of one key, the later stays behind the former, whose place it takes.
        self.objects.sort_by(|(a, _), (b, _)| a.cmp(b));
        self.objects.dedup_by(|later, former| {
            let same = later.0 == former.0;
            if same {
                std::mem::swap(&mut later.1, &mut former.1);
            }
            same
        });
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
        let objects = fragment.objects.into_iter();
        objects.map(|(_, object)| object).collect()
    }
}

#[cfg(test)]
mod tests;

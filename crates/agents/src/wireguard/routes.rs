//! Which peer an address lies at: the longest prefix that covers it.

use imbl::HashMap;
use ipnet::IpNet;
use std::net::IpAddr;

/// A map of prefixes, one table a length: a look-up asks each length that is in use, and between
/// hosts that is one. A copy costs no more than that.
#[derive(Debug, Clone)]
pub(crate) struct Routes<T> {
    /// The longest first.
    lengths: Vec<(u8, HashMap<IpAddr, T>)>,
}

impl<T> Default for Routes<T> {
    fn default() -> Self {
        Self {
            lengths: Vec::new(),
        }
    }
}

impl<T: Clone> Routes<T> {
    /// Adds a prefix; of two equal ones the later holds.
    pub(crate) fn insert(&mut self, prefix: IpNet, value: T) {
        let length = prefix.prefix_len();
        let at = self.lengths.partition_point(|(other, _)| *other > length);
        if self
            .lengths
            .get(at)
            .is_none_or(|(other, _)| *other != length)
        {
            self.lengths.insert(at, (length, HashMap::new()));
        }
        self.lengths[at].1.insert(prefix.network(), value);
    }

    /// Takes a prefix away where it leads to what `is_it` says.
    pub(crate) fn remove(&mut self, prefix: IpNet, is_it: impl FnOnce(&T) -> bool) {
        let length = prefix.prefix_len();
        let Some(at) = self.lengths.iter().position(|(other, _)| *other == length) else {
            return;
        };
        let table = &mut self.lengths[at].1;
        if table.get(&prefix.network()).is_some_and(is_it) {
            table.remove(&prefix.network());
        }
        if table.is_empty() {
            self.lengths.remove(at);
        }
    }

    /// What the longest prefix that covers an address leads to.
    pub(crate) fn find(&self, address: IpAddr) -> Option<&T> {
        self.lengths.iter().find_map(|(length, table)| {
            let prefix = IpNet::new(address, *length).ok()?;
            table.get(&prefix.network())
        })
    }
}

#[cfg(test)]
mod tests;

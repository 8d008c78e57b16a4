//! Which records cannot be read, so that each is told once and not with every change of it.
//!
//! Owns a bounded memory of them: others may write as many as they like.

use std::collections::BTreeMap;

/// Of so many it is known that they were told.
const MOST: usize = 256;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Unread {
    /// Why each cannot be read, by its key.
    told: BTreeMap<String, String>,
    /// Whether it was told that there are more.
    more: bool,
}

impl Unread {
    /// Logs that a record cannot be read, unless that was logged.
    pub(crate) fn tell(&mut self, key: &str, why: String) {
        if self.told.get(key) == Some(&why) {
            return;
        }
        if self.told.len() < MOST || self.told.contains_key(key) {
            tracing::warn!(key, "{why}");
            self.told.insert(key.to_owned(), why);
        } else if !std::mem::replace(&mut self.more, true) {
            tracing::warn!(
                key,
                "{why}; others too, of which nothing is told from now on"
            );
        }
    }

    /// All others are gone.
    pub(crate) fn retain(&mut self, is_there: impl Fn(&str) -> bool) {
        let before = self.told.len();
        self.told.retain(|key, _| is_there(key));
        self.more &= self.told.len() == before;
    }

    /// A record could be read, or is gone: when it cannot be once more, that is news.
    pub(crate) fn forget(&mut self, key: &str) {
        if self.told.remove(key).is_some() {
            self.more = false;
        }
    }
}

#[cfg(test)]
mod tests;

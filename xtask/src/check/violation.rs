//! One broken rule at one place.

use std::{fmt, path::PathBuf};

/// A broken rule, shown as `path:line: rule: remedy`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Violation {
    /// The file, relative to the workspace's root.
    pub(crate) path: PathBuf,
    /// The line, from 1.
    pub(crate) line: usize,
    /// The rule's name, as an exception must give it.
    pub(crate) rule: &'static str,
    /// What is wrong and what to do instead.
    pub(crate) remedy: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        write!(f, "{path}:{}: {}: {}", self.line, self.rule, self.remedy)
    }
}

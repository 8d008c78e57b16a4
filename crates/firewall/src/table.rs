//! The skeleton of `inet vethwork`.

use serde::{Deserialize, Serialize};

/// What the host's table depends on; two daemons with equal settings make equal tables.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct HostTable {
    /// Bits set in the packet mark of what our forward chain lets pass, for other firewalls'
    /// rules to match; 0 sets none.
    pub accept_mark: u32,
}

//! Tables, and changes to them that belong together.

/// A table of records. Both its name and its code are part of the files' format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Table {
    /// Facts about this installation: the host's id, the boot last seen.
    Meta = 1,
    /// Networks with their pools, by id.
    Networks = 2,
    /// Containers: configuration, endpoint settings, wanted state, by id.
    Containers = 3,
    /// Root file systems, by name.
    Images = 4,
    /// Running or adopted sandboxes, by id.
    Sandboxes = 5,
    /// Endpoints placed in sandboxes, by endpoint id.
    Attachments = 6,
    /// Addresses held, by network and address.
    Leases = 7,
    /// What was last applied to the kernel, by owner.
    HostState = 8,
    /// Values of the host that are to be put back, by name.
    Saved = 9,
    /// This host's copy of what its cluster agreed on, and what it holds of it.
    Cluster = 10,
    /// Services, by id.
    Services = 11,
    /// The endpoints of services in the order of their slots, by the service's id.
    Slots = 12,
}

impl Table {
    /// All of them, in the order of their codes.
    pub const ALL: [Self; 12] = [
        Self::Meta,
        Self::Networks,
        Self::Containers,
        Self::Images,
        Self::Sandboxes,
        Self::Attachments,
        Self::Leases,
        Self::HostState,
        Self::Saved,
        Self::Cluster,
        Self::Services,
        Self::Slots,
    ];

    /// The stable name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Meta => "meta",
            Self::Networks => "networks",
            Self::Containers => "containers",
            Self::Images => "images",
            Self::Sandboxes => "sandboxes",
            Self::Attachments => "attachments",
            Self::Leases => "leases",
            Self::HostState => "host-state",
            Self::Saved => "saved",
            Self::Cluster => "cluster",
            Self::Services => "services",
            Self::Slots => "slots",
        }
    }

    /// The stable number.
    #[must_use]
    pub const fn code(self) -> u8 {
        self as u8
    }

    pub(crate) fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|table| table.code() == code)
    }
}

/// One change to one record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// The record has this value from now on.
    Put {
        /// Where.
        table: Table,
        /// Under which key.
        key: String,
        /// What.
        value: Vec<u8>,
    },
    /// There is no such record from now on.
    Delete {
        /// Where.
        table: Table,
        /// Under which key.
        key: String,
    },
}

/// Changes that are applied in their order, all or none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch(Vec<Change>);

impl Batch {
    /// No changes yet.
    #[must_use]
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Adds a record or replaces it.
    #[must_use]
    pub fn put(mut self, table: Table, key: impl Into<String>, value: Vec<u8>) -> Self {
        let key = key.into();
        self.0.push(Change::Put { table, key, value });
        self
    }

    /// Removes a record, if it is there.
    #[must_use]
    pub fn delete(mut self, table: Table, key: impl Into<String>) -> Self {
        let key = key.into();
        self.0.push(Change::Delete { table, key });
        self
    }

    /// Adds another batch's changes after these.
    pub fn append(&mut self, mut other: Self) {
        self.0.append(&mut other.0);
    }

    /// The changes.
    #[must_use]
    pub fn changes(&self) -> &[Change] {
        &self.0
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn into_changes(self) -> Vec<Change> {
        self.0
    }
}

impl FromIterator<Change> for Batch {
    fn from_iter<I: IntoIterator<Item = Change>>(changes: I) -> Self {
        Self(changes.into_iter().collect())
    }
}

//! What the store holds, as JSON: one record an object, each readable by itself.
//!
//! Durable records (networks, containers) lie in the data directory; what a reboot makes void
//! (sandboxes, attachments) in the run directory, with the boot id it belongs to.

use crate::registry::lock;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;
use std::{sync::Mutex, time::SystemTime};
use vw_model::{
    ContainerSpec, EndpointSettings, EndpointSpec, Error, IpNet, NetworkId, PortMapping, Result,
    SandboxId, SandboxSpec,
};
use vw_store::{Batch, Store, Table};

/// One network that a container is configured to be on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Membership {
    /// The network.
    pub(crate) network: NetworkId,
    /// Its name when it was joined, shown when the network is gone.
    pub(crate) name: String,
    /// What was asked.
    pub(crate) settings: EndpointSettings,
    /// Its subnets where it is encrypted: whatever becomes of it, who is a member sends there no other
    /// way.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) sealed: Vec<IpNet>,
}

/// Whose namespace a container runs in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Mode {
    /// Its own.
    Own,
    /// The host's.
    Host,
    /// Its own, with nothing but a loopback interface.
    None,
    /// Another sandbox's.
    Of(SandboxId),
}

/// A container as it was asked for, and whether it should run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct ContainerRecord {
    pub(crate) sandbox: SandboxSpec,
    pub(crate) container: ContainerSpec,
    pub(crate) image_id: String,
    pub(crate) mode: Mode,
    pub(crate) mode_text: String,
    pub(crate) memberships: Vec<Membership>,
    pub(crate) host_config: Value,
    pub(crate) config: Value,
    /// Somebody started it and nobody stopped it.
    pub(crate) wanted: bool,
    /// A person stopped it (`unless-stopped`).
    pub(crate) stopped_by_user: bool,
    pub(crate) restart_count: u32,
    pub(crate) started: Option<SystemTime>,
    pub(crate) finished: Option<SystemTime>,
    pub(crate) exit_code: i32,
    pub(crate) oom_killed: bool,
    pub(crate) error: String,
    /// It is being removed: what is left is taken away at the next start.
    pub(crate) removing: bool,
}

impl ContainerRecord {
    /// A container that never ran.
    pub(crate) fn new(sandbox: SandboxSpec, container: ContainerSpec, image_id: String) -> Self {
        Self {
            sandbox,
            container,
            image_id,
            mode: Mode::Own,
            mode_text: String::new(),
            memberships: Vec::new(),
            host_config: Value::Null,
            config: Value::Null,
            wanted: false,
            stopped_by_user: false,
            restart_count: 0,
            started: None,
            finished: None,
            exit_code: 0,
            oom_killed: false,
            error: String::new(),
            removing: false,
        }
    }

    /// The same on these networks.
    pub(crate) fn on(
        mut self,
        mode: Mode,
        mode_text: String,
        memberships: Vec<Membership>,
    ) -> Self {
        (self.mode, self.mode_text, self.memberships) = (mode, mode_text, memberships);
        self
    }

    /// The same with the request's own words, for `inspect`.
    pub(crate) fn echoing(mut self, host_config: Value, config: Value) -> Self {
        (self.host_config, self.config) = (host_config, config);
        self
    }
}

/// A sandbox that stands now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SandboxRecord {
    /// The boot that it belongs to.
    pub(crate) boot: String,
    /// How far an adoption is; how far a container is its runtime tells.
    pub(crate) phase: Phase,
    /// The sandbox.
    pub(crate) id: SandboxId,
    /// Its configuration; a container's is in its own record.
    pub(crate) adopted: Option<SandboxSpec>,
    /// What an adopted one is a member of; what a container is is in its own record.
    #[serde(default)]
    pub(crate) memberships: Vec<Membership>,
    /// The resolver's ports inside: UDP, TCP.
    pub(crate) resolver: Option<(u16, u16)>,
    /// The ports that are published for it.
    pub(crate) ports: Vec<PortMapping>,
    /// Its resolver file as it was before ours, to be put back.
    pub(crate) former_resolv_conf: Option<FormerFile>,
}

/// A file of somebody else's that was replaced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FormerFile {
    /// What it held; `None` when it was not there.
    pub(crate) text: Option<String>,
    /// What it was replaced by, so that an edit made since is told and kept.
    pub(crate) ours: String,
}

/// How far an attachment or an adoption is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Phase {
    /// Claimed; the kernel may have some of it.
    Pending,
    /// All of it stands.
    Ready,
    /// Being taken down.
    Removing,
}

/// An attachment with what it claims.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AttachmentRecord {
    pub(crate) boot: String,
    pub(crate) phase: Phase,
    pub(crate) endpoint: EndpointSpec,
}

/// Adds a record to a batch.
///
/// # Errors
/// When it cannot be written as JSON, which no record of ours can cause.
pub(crate) fn put<T: Serialize>(
    batch: Batch,
    table: Table,
    key: &str,
    record: &T,
) -> Result<Batch> {
    let bytes = serde_json::to_vec(record).map_err(|e| {
        Error::internal(
            "record-unwritable",
            format!("cannot encode the record of {key}"),
        )
        .because(e)
    })?;
    Ok(batch.put(table, key, bytes))
}

/// Commits a batch.
///
/// # Errors
/// `Unavailable` when the store cannot be written; nothing of the batch is there then.
pub(crate) fn commit(store: &dyn Store, batch: Batch) -> Result<()> {
    store.commit(batch).map_err(|e| {
        Error::new(
            vw_model::Kind::Unavailable,
            "store-unwritable",
            "cannot record the request, so nothing was changed",
        )
        .because(e)
    })
}

/// Deletions that a store refused: they go first in its next commit.
#[derive(Debug, Default)]
pub(crate) struct Owed(Mutex<Batch>);

impl Owed {
    /// Commits a batch after what is owed.
    ///
    /// # Errors
    /// As [`commit`]; what is owed stays owed.
    pub(crate) fn commit(&self, store: &dyn Store, batch: Batch) -> Result<()> {
        let mut owed = lock(&self.0);
        if owed.is_empty() {
            drop(owed);
            return match batch.is_empty() {
                true => Ok(()),
                false => commit(store, batch),
            };
        }
        let mut all = owed.clone();
        all.append(batch);
        commit(store, all)?;
        *owed = Batch::new();
        Ok(())
    }

    /// Deletes the record of something that is gone, now or with the next commit.
    pub(crate) fn delete(&self, store: &dyn Store, table: Table, key: String) {
        self.write(store, Batch::new().delete(table, key));
    }

    /// Commits a batch now or with the next one.
    pub(crate) fn write(&self, store: &dyn Store, batch: Batch) {
        if let Err(error) = self.commit(store, batch.clone()) {
            tracing::error!("a record goes with the next commit: {}", error.chain());
            lock(&self.0).append(batch);
        }
    }
}

/// Reads all records of a table; one that cannot be read is an error that names it.
///
/// # Errors
/// `Internal` with the table and key.
pub(crate) fn scan<T: DeserializeOwned>(store: &dyn Store, table: Table) -> Result<Vec<T>> {
    let rows = rows(store, table)?;
    rows.iter().map(|row| decode(table, row)).collect()
}

/// A record as it is stored, under its key.
pub(crate) type Row = (String, Vec<u8>);

/// Reads all records of a table, without understanding them.
///
/// # Errors
/// `Internal` with the table.
pub(crate) fn rows(store: &dyn Store, table: Table) -> Result<Vec<Row>> {
    store.scan(table).map_err(|e| {
        Error::internal(
            "store-unreadable",
            format!("cannot read the table {table:?}"),
        )
        .because(e)
    })
}

/// Understands a record.
///
/// # Errors
/// `Internal` with the table and key.
pub(crate) fn decode<T: DeserializeOwned>(table: Table, (key, bytes): &Row) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|e| {
        let message = format!("the record {key} of the table {table:?} cannot be understood: move it away or restore the data directory from a backup");
        Error::internal("record-corrupt", message).because(e)
    })
}

//! Containers: made, started, stopped, removed.
//!
//! What waits (for a container's end, for a restart's turn) holds no lock while it does.

mod create;
mod end;
mod launch;
mod names;
mod remove;
mod settle;
mod show;
mod stop;

use crate::registry::Sandbox;
use vw_model::{Error, Result, SandboxId};

pub(crate) use stop::must_run;

/// The container's process in the words of an error.
pub(crate) fn not_running(id: SandboxId) -> Error {
    Error::conflict(
        "container-not-running",
        format!("container {id} is not running"),
    )
}

impl Sandbox {
    /// Refuses what only containers can do.
    ///
    /// # Errors
    /// `Conflict` for adopted sandboxes.
    pub(crate) fn must_be_container(&self, what: &str) -> Result<()> {
        let state = self.state();
        if state.container.is_some() {
            return Ok(());
        }
        let message = format!(
            "cannot {what} {}: it was adopted, and its processes are not vethwork's; use release to let it go",
            state.spec.name
        );
        Err(Error::conflict("sandbox-adopted", message))
    }
}

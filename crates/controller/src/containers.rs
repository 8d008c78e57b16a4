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

/// Docker's refusal of a container that is not there.
pub(crate) fn no_container(named: impl std::fmt::Display) -> Error {
    Error::not_found("container-not-found", format!("No such container: {named}"))
}

impl Sandbox {
    /// Refuses one that was removed, by whom the caller waited for.
    ///
    /// # Errors
    /// `NotFound`.
    pub(crate) fn must_stand(&self) -> Result<()> {
        match self.state().removed {
            true => Err(no_container(self.id)),
            false => Ok(()),
        }
    }

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

//! Which drivers there are: one row each.

use crate::{Driver, bridge, overlay, single};
use vw_model::{Error, Result};

static DRIVERS: &[&dyn Driver] = &[
    &bridge::Bridge,
    &single::HOST,
    &single::NULL,
    &overlay::Overlay,
];

/// The driver of that name.
///
/// # Errors
/// `NotFound` with Docker's sentence.
pub fn find(name: &str) -> Result<&'static dyn Driver> {
    let mut drivers = DRIVERS.iter().copied();
    drivers.find(|driver| driver.name() == name).ok_or_else(|| {
        let known: Vec<_> = names().collect();
        Error::not_found(
            "driver-unknown",
            format!(
                "plugin {name:?} not found: the drivers are {}",
                known.join(", ")
            ),
        )
    })
}

/// The names of all drivers, in alphabetical order.
pub fn names() -> impl Iterator<Item = &'static str> {
    DRIVERS.iter().map(|driver| driver.name())
}

#[cfg(test)]
mod tests;

//! The Docker Engine API over HTTP, versions 1.40 to 1.51, and what of vethwork it has no place
//! for under `/vethwork`.
//!
//! A thin adapter: a request is parsed into one `Command`, its answer rendered, and one table
//! ([`errors`]) turns refusals into Docker's status codes. It must not know a store, a kernel or
//! a driver, nor decide anything that another surface would decide likewise.
//!
//! There is no path router: Docker's image names hold slashes in the middle of a path, which
//! [`router`] matches as slice patterns in one table.

mod absent;
mod body;
mod call;
mod connection;
mod containers;
mod endpoint;
mod errors;
mod events;
mod filters;
mod images;
mod json;
mod networks;
mod query;
mod router;
mod server;
mod socket;
mod streams;
mod system;
mod time;
mod version;
mod vethwork;

pub use connection::Listener;
pub use server::{ApiConfig, serve};

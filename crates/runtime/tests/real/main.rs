//! Tests with the real OCI runtime and conmon of this machine; SKIP where these, or
//! privilege, are missing.

mod containers;
mod crash;
mod streams;
mod support;

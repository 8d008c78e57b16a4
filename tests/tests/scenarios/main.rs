//! Scenarios: what a user does with the real daemon, by the stock docker command line,
//! by ours and by the API, and what packets then do.
//!
//! Owns no knowledge of the daemon's inside: only answers, packets and kernel state are
//! asserted. Each test has hosts of its own, and ends by [`scene::Scene::end`], which
//! checks that a daemon without memory has nothing to repair and that nothing stays.

mod adopt;
mod anew;
mod containers;
mod daemon;
mod disk;
mod firewall;
mod firewalls;
mod flags;
mod missing;
mod names;
mod networks;
mod options;
mod podman;
mod ports;
mod refusals;
mod restart;
mod scene;
mod sctp;
mod service_changes;
mod service_commands;
mod service_health;
mod service_refusals;
mod service_udp;
mod service_versions;
mod service_ways;
mod services;
mod several;
mod upstream;

//! What every other host of the cluster needs here, whichever networks it takes part in.

use crate::DriverContext;
use vw_firewall::peer;
use vw_hoststate::{Fragment, Object};
use vw_model::{Family, RemoteHost};

/// Lets a host's tunnels in. Nothing where we make no rules: then nothing keeps them out.
#[must_use]
pub fn plan_host(host: &RemoteHost, cx: &DriverContext) -> Fragment {
    let mut fragment = Fragment::default();
    if cx.underlay.is_some() && cx.filters(Family::of(host.tunnel)) {
        fragment.insert(Object::Element(peer(host.tunnel)));
    }
    fragment
}

#[cfg(test)]
mod tests;

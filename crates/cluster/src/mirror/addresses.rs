//! Which addresses of a network are known to be taken.

use super::Mirror;
use std::{collections::BTreeSet, net::IpAddr};
use vw_model::{IpNet, NetworkId};

impl Mirror {
    /// The addresses of a network that hosts have or ask for; but those of this host's endpoints.
    pub(crate) fn addresses_on(&self, network: NetworkId) -> BTreeSet<IpAddr> {
        let known = self.endpoints.get(&network).into_iter().flatten();
        let leased = known.flat_map(|(_, endpoint)| &endpoint.told.addresses);
        let asked = self
            .requests
            .keys()
            .chain(self.grants.keys())
            .filter(|(of, _)| *of == network);
        leased
            .map(IpNet::addr)
            .chain(asked.map(|(_, addr)| *addr))
            .collect()
    }
}

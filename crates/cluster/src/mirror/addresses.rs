//! Which addresses of a network are known to be taken, and who lives.

use super::{Known, Mirror};
use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr},
};
use vw_model::{HostId, IpNet, NetworkId};

impl Mirror {
    /// The addresses of a network that hosts have or ask for, but those of this host's endpoints; not
    /// those that were refused, or that somebody asked for who is not there any more.
    pub(crate) fn addresses_on(&self, network: NetworkId) -> BTreeSet<IpAddr> {
        let known = self.endpoints.get(&network).into_iter().flatten();
        let leased = known.flat_map(|(_, endpoint)| &endpoint.told.addresses);
        let asked = self.requests.iter();
        let asked = asked.filter(|(_, Known { record, .. })| {
            record.refused.is_none() && self.lives(record.host)
        });
        let asked = asked.map(|(at, _)| at).chain(self.grants.keys());
        let asked = asked.filter(|(of, _)| *of == network);
        leased
            .map(IpNet::addr)
            .chain(asked.map(|(_, addr)| *addr))
            .collect()
    }

    /// Who has a granted address on a network, or an endpoint, but for this host's.
    pub(crate) fn users_of(&self, network: NetworkId) -> impl Iterator<Item = HostId> {
        let first = (network, IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        let granted = self.grants.range(first..);
        let granted = granted.take_while(move |((of, _), _)| *of == network);
        let known = self.endpoints.get(&network).into_iter().flatten();
        let publish = known.map(|((host, _), _)| *host);
        granted.map(|(_, known)| known.record.host).chain(publish)
    }

    /// Whether a host is a member that is not known to be dead.
    pub(crate) fn lives(&self, host: HostId) -> bool {
        let known = self.hosts.get(&host);
        known.is_some_and(|host| host.record.is_some() && host.lives())
    }
}

//! From a step to the requests that it takes.

use super::{
    apply::{Run, Stop},
    queue::Forgive,
};
use crate::netlink::{Batch, addr, fdb, neigh, route};
use vw_hoststate::{Address, Forward, Neighbor, Netns, Object, Proxy, Route, Step};
use vw_model::IfName;

impl Run<'_> {
    /// Carries out a step, or puts its requests into the queue.
    pub(super) fn single(&mut self, at: usize, step: &Step) -> Result<(), Stop> {
        match step {
            Step::Create(object) => self.make(at, object),
            Step::Delete(object) => self.unmake(at, object),
            Step::Replace {
                old: Object::Link(old),
                new: Object::Link(new),
            } => self.replace_link(at, old, new),
            Step::Replace {
                new: Object::Route(new),
                ..
            } => self.create_route(at, new, true),
            Step::Replace { new, .. } => self.make(at, new),
        }
    }

    fn make(&mut self, at: usize, object: &Object) -> Result<(), Stop> {
        match object {
            Object::Namespace(namespace) => {
                self.flush()?;
                self.end_turn();
                let pinned = self.kernel.namespaces.pin(namespace);
                self.finish(at, pinned)
            }
            Object::Table(table) => self.table(at, table, true),
            Object::Link(link) => self.create_link(at, link),
            Object::Address(address) => self.create_address(at, address),
            Object::Route(route) => self.create_route(at, route, false),
            Object::Neighbor(neighbor) => self.create_neighbor(at, neighbor),
            Object::Proxy(proxy) => self.create_proxy(at, proxy),
            Object::Forward(forward) => self.create_forward(at, forward),
            Object::WireguardKey(key) => self.tunnel_key(at, key, true),
            Object::WireguardPeer(peer) => self.peer(at, peer, true),
            Object::Shortcuts(shortcuts) => self.create_shortcuts(at, shortcuts),
            Object::Shortcut(shortcut) => self.shortcuts(at, shortcut.netns).map(drop),
            Object::Translator(one) => self.create_translator(at, one),
            Object::Element(_) | Object::Balance(..) => self.elements(at).map(drop),
            Object::Sysctl(sysctl) => self.sysctls(at, sysctl.netns).map(drop),
        }
    }

    fn unmake(&mut self, at: usize, object: &Object) -> Result<(), Stop> {
        match object {
            Object::Namespace(namespace) => {
                self.settle()?;
                self.end_turn();
                self.recent = None;
                let unpinned = self.kernel.namespaces.unpin(namespace.netns);
                self.finish(at, unpinned)
            }
            Object::Table(table) => self.table(at, table, false),
            Object::Link(link) => self.delete_link(at, link),
            Object::Address(address) => {
                let Address { netns, link, addr } = address;
                self.remove(at, *netns, Some(link), |batch, index| {
                    addr::delete(batch, index.unwrap_or_default(), *addr);
                })
            }
            Object::Route(route) => {
                self.remove(at, route.netns, route.link.as_ref(), |batch, index| {
                    route::delete(batch, route, index);
                })
            }
            Object::Neighbor(neighbor) => {
                let Neighbor { netns, link, .. } = neighbor;
                self.remove(at, *netns, Some(link), |batch, index| {
                    neigh::delete(batch, neighbor, index.unwrap_or_default());
                })
            }
            Object::Proxy(proxy) => {
                let Proxy { netns, link, .. } = proxy;
                self.remove(at, *netns, Some(link), |batch, index| {
                    neigh::delete_proxy(batch, proxy, index.unwrap_or_default());
                })
            }
            Object::Forward(forward) => self.delete_forward(at, forward),
            Object::WireguardKey(key) => self.tunnel_key(at, key, false),
            Object::WireguardPeer(peer) => self.peer(at, peer, false),
            Object::Shortcuts(shortcuts) => self.delete_shortcuts(at, shortcuts),
            Object::Shortcut(shortcut) => self.shortcuts(at, shortcut.netns).map(drop),
            Object::Translator(one) => self.delete_translator(at, one),
            Object::Element(_) | Object::Balance(..) => self.elements(at).map(drop),
            Object::Sysctl(sysctl) => self.sysctls(at, sysctl.netns).map(drop),
        }
    }

    fn create_address(&mut self, at: usize, address: &Address) -> Result<(), Stop> {
        let index = self.required_index(at, address.netns, &address.link)?;
        let queue = self.queue(at, address.netns)?;
        queue.push(at, Forgive::Exists, |batch| {
            addr::create(batch, index, address.addr);
        });
        // Neighbours may remember the former holder; of this host's own addresses that is so of a
        // service's alone, which stand by themselves.
        let alone = address.addr.prefix_len() == address.addr.max_prefix_len();
        if address.netns != Netns::Host || alone {
            let link = (address.netns, address.link.clone());
            let addrs = self.appeared.entry(link).or_default();
            addrs.push(address.addr.addr());
        }
        Ok(())
    }

    fn create_route(&mut self, at: usize, route: &Route, replace: bool) -> Result<(), Stop> {
        let index = match &route.link {
            Some(link) => Some(self.required_index(at, route.netns, link)?),
            None => None,
        };
        let queue = self.queue(at, route.netns)?;
        queue.push(at, Forgive::Exists, |batch| match replace {
            true => route::replace(batch, route, index),
            false => route::create(batch, route, index),
        });
        Ok(())
    }

    fn create_neighbor(&mut self, at: usize, neighbor: &Neighbor) -> Result<(), Stop> {
        let index = self.required_index(at, neighbor.netns, &neighbor.link)?;
        let queue = self.queue(at, neighbor.netns)?;
        queue.push(at, Forgive::Nothing, |batch| {
            neigh::replace(batch, neighbor, index);
        });
        Ok(())
    }

    fn create_proxy(&mut self, at: usize, proxy: &Proxy) -> Result<(), Stop> {
        let index = self.required_index(at, proxy.netns, &proxy.link)?;
        let queue = self.queue(at, proxy.netns)?;
        queue.push(at, Forgive::Nothing, |batch| {
            neigh::create_proxy(batch, proxy, index);
        });
        // It may have been a neighbour until now.
        let link = (proxy.netns, proxy.link.clone());
        self.appeared.entry(link).or_default().push(proxy.addr);
        Ok(())
    }

    fn create_forward(&mut self, at: usize, forward: &Forward) -> Result<(), Stop> {
        let index = self.required_index(at, forward.netns, &forward.link)?;
        let queue = self.queue(at, forward.netns)?;
        queue.push(at, Forgive::Nothing, |batch| {
            fdb::add(batch, forward, index);
        });
        if fdb::is_station(forward.mac) {
            queue.push(at, Forgive::NoPort, |batch| {
                fdb::add_to_bridge(batch, forward.mac, index);
            });
        }
        Ok(())
    }

    /// The bridge keeps its entry when the tunnel has another host for the station by now.
    fn delete_forward(&mut self, at: usize, forward: &Forward) -> Result<(), Stop> {
        let Forward { netns, link, .. } = forward;
        // What stands in the bridge's table alone is observed as an entry to nowhere.
        if forward.dst.is_unspecified() {
            return self.remove(at, *netns, Some(link), |batch, index| {
                fdb::delete_from_bridge(batch, forward.mac, index.unwrap_or_default());
            });
        }
        let mut found = None;
        self.remove(at, *netns, Some(link), |batch, index| {
            found = index;
            fdb::delete(batch, forward, index.unwrap_or_default());
        })?;
        if let Some(index) = found.filter(|_| fdb::is_station(forward.mac)) {
            self.unbridge.insert(at, (index, forward.mac));
        }
        Ok(())
    }

    /// Removes something that lies on a link; without its namespace or its link it is gone.
    pub(super) fn remove(
        &mut self,
        at: usize,
        netns: Netns,
        link: Option<&IfName>,
        request: impl FnOnce(&mut Batch, Option<u32>),
    ) -> Result<(), Stop> {
        let index = match (self.is_gone(netns), link) {
            (true, _) => None,
            (false, Some(link)) => self.index(at, netns, link)?,
            (false, None) => Some(0),
        };
        let Some(index) = index else {
            self.done[at] = true;
            return Ok(());
        };
        let index = link.is_some().then_some(index);
        let queue = self.queue(at, netns)?;
        queue.push(at, Forgive::Gone, |batch| request(batch, index));
        Ok(())
    }
}

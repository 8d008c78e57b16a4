//! Making, changing and retiring links.
//!
//! A pair is made with both ends where they belong; its far end is brought up by the first
//! requests that go to its namespace. No link is deleted while somebody waits: it is renamed, put
//! down, taken off its bridge and left to the reaper.

use super::{
    apply::{Run, Stop},
    ends::{End, rename_away, up},
    names,
    queue::Forgive,
};
use crate::netlink::{
    GROUP_DOOMED, GROUP_LIVE,
    link::{self, PortSettings, Settings, Which},
};
use crate::netns::Place;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use vw_hoststate::{Link, LinkKind, Netns};

impl Run<'_> {
    /// Creates a link; what the kernel does not take at creation follows.
    pub(super) fn create_link(&mut self, at: usize, link: &Link) -> Result<(), Stop> {
        // A tunnel's socket lies where the request comes from; the tunnel is made where it belongs.
        let (from, across) = match &link.kind {
            LinkKind::Tun => return self.create_tun(at, link),
            LinkKind::Vxlan(_) | LinkKind::Wireguard => {
                let place = self.place(link.netns).map_err(|error| (at, error))?;
                (socket_netns(&link.kind), Some(place))
            }
            _ => (link.netns, self.far(at, link)?),
        };
        let master = self.master(at, link)?;
        let settings = self.settings_of(link);
        let queue = self.queue(at, from)?;
        queue.push(at, Forgive::Exists, |batch| {
            let fd = across.as_ref().map(|place| place.fd().as_raw_fd());
            link::create(batch, link, master, fd);
        });
        queue.touch(&link.name);
        across.into_iter().for_each(|place| queue.hold(place));
        let LinkKind::Veth(peer) = &link.kind else {
            // Without a pair's random name, what has the name may be another's: see first.
            self.flush()?;
            self.set_gro(at, link)?;
            return self.set_up_new(at, link, settings);
        };
        if settings.no_autoconf || settings.alias.is_some() || settings.port.is_some() {
            queue.push(at, Forgive::Nothing, |batch| {
                link::change(batch, Which::Name(link.name.as_str()), &settings);
            });
        }
        queue.touch(&peer.name);
        self.ends.entry(peer.netns).or_default().push(End::Up {
            step: at,
            name: peer.name.clone(),
            mtu: link.mtu,
        });
        Ok(())
    }

    /// What a link still lacks that was made by itself.
    pub(super) fn set_up_new(
        &mut self,
        at: usize,
        link: &Link,
        settings: Settings<'_>,
    ) -> Result<(), Stop> {
        let index = self.required_index(at, link.netns, &link.name)?;
        let settings = Settings {
            mtu: Some(link.mtu),
            group: Some(GROUP_LIVE),
            ..settings
        };
        self.set_up(at, link.netns, index, settings)
    }

    /// What the kernel does not take while it makes a link.
    pub(super) fn settings_of<'a>(&self, link: &'a Link) -> Settings<'a> {
        Settings {
            no_autoconf: self.kernel.ipv6 && link::has_ipv6(link.mtu),
            alias: Some(link.alias.as_str()).filter(|alias| !alias.is_empty()),
            port: port_of(link).filter(|port| *port != PortSettings::default()),
            ..Settings::default()
        }
    }

    /// Where the other end of a pair is made, when that is elsewhere.
    fn far(&mut self, at: usize, link: &Link) -> Result<Option<Arc<Place>>, Stop> {
        let LinkKind::Veth(peer) = &link.kind else {
            return Ok(None);
        };
        if peer.netns == link.netns {
            return Ok(None);
        }
        let place = self.place(peer.netns).map_err(|error| (at, error))?;
        // Its name may be that of an end that is on its way out.
        if self.ends.contains_key(&peer.netns) {
            self.settle()?;
        }
        Ok(Some(place))
    }

    /// Changes a link and brings it up: in two requests, so that it never configures itself.
    fn set_up(
        &mut self,
        at: usize,
        netns: Netns,
        index: u32,
        settings: Settings<'_>,
    ) -> Result<(), Stop> {
        let queue = self.queue(at, netns)?;
        queue.push(at, Forgive::Nothing, |batch| {
            link::change(batch, Which::Index(index), &settings);
        });
        queue.push(at, Forgive::Nothing, |batch| up(batch, index));
        Ok(())
    }

    fn master(&mut self, at: usize, link: &Link) -> Result<Option<u32>, Stop> {
        let Some(port) = &link.port else {
            return Ok(None);
        };
        let bridge = port.bridge.clone();
        self.required_index(at, link.netns, &bridge).map(Some)
    }

    /// Changes a link in place; one of another kind, or with an end elsewhere, is made anew.
    pub(super) fn replace_link(&mut self, at: usize, old: &Link, new: &Link) -> Result<(), Stop> {
        if !old.kind.becomes(&new.kind) {
            self.delete_link(at, old)?;
            self.settle()?;
            return self.create_link(at, new);
        }
        let index = self.required_index(at, new.netns, &new.name)?;
        let master = self.master(at, new)?;
        // Putting a port off its bridge and on again would drop frames.
        let bridge = |link: &Link| link.port.as_ref().map(|port| port.bridge.clone());
        let moved = bridge(old) != bridge(new);
        let port = port_of(new);
        self.change_tunnel(at, index, old, new)?;
        if moved {
            // The marks are those of a port, which it must be before they are set.
            let settings = Settings {
                master: Some(master.unwrap_or_default()),
                ..Settings::default()
            };
            self.queue(at, new.netns)?
                .push(at, Forgive::Nothing, |batch| {
                    link::change(batch, Which::Index(index), &settings);
                });
        }
        self.set_up(
            at,
            new.netns,
            index,
            Settings {
                mac: new.mac.filter(|mac| old.mac != Some(*mac)),
                mtu: Some(new.mtu),
                group: Some(GROUP_LIVE),
                alias: (old.alias != new.alias).then_some(new.alias.as_str()),
                port,
                no_autoconf: self.kernel.ipv6 && link::has_ipv6(new.mtu),
                mcast_snooping: match &new.kind {
                    LinkKind::Bridge(options) => Some(options.mcast_snooping),
                    _ => None,
                },
                ..Settings::default()
            },
        )?;
        if let (LinkKind::Veth(old), LinkKind::Veth(peer)) = (&old.kind, &new.kind) {
            self.ends.entry(peer.netns).or_default().push(End::Change {
                step: at,
                name: old.name.clone(),
                new: peer.name.clone(),
                mac: (old.mac != peer.mac).then_some(peer.mac),
                mtu: new.mtu,
            });
        }
        Ok(())
    }

    /// Changes what of a tunnel is not taken beside the rest.
    fn change_tunnel(&mut self, at: usize, index: u32, old: &Link, new: &Link) -> Result<(), Stop> {
        // An address is not taken beside an MTU (`vxlan_nl2conf`).
        if let (LinkKind::Vxlan(old), LinkKind::Vxlan(tunnel)) = (&old.kind, &new.kind)
            && old.local != tunnel.local
        {
            let settings = Settings {
                tunnel_local: Some(tunnel.local),
                ..Settings::default()
            };
            self.queue(at, new.netns)?
                .push(at, Forgive::Nothing, |batch| {
                    link::change(batch, Which::Index(index), &settings);
                });
        }
        self.set_gro(at, new)
    }

    /// Has a tunnel that stands join segments, or not. No kernel is known that refuses it, as
    /// `register_netdevice` lets every device switch it; one that did would carry the network still.
    fn set_gro(&mut self, at: usize, link: &Link) -> Result<(), Stop> {
        let LinkKind::Vxlan(tunnel) = &link.kind else {
            return Ok(());
        };
        let place = self.place(link.netns).map_err(|error| (at, error))?;
        let set = self.kernel.namespaces.with_socket(&place, |socket| {
            socket.join_segments(link.name.as_str(), tunnel.gro)
        });
        match set {
            Err(error) if error.raw_os_error() != Some(libc::EOPNOTSUPP) => {
                Err((at, names::failed(&self.plan.steps[at], error)))
            }
            _ => Ok(()),
        }
    }

    /// Takes a link out of service at once; its deletion follows.
    pub(super) fn delete_link(&mut self, at: usize, link: &Link) -> Result<(), Stop> {
        if self.is_gone(link.netns) {
            self.done[at] = true;
            return Ok(());
        }
        if self.index(at, link.netns, &link.name)?.is_none() {
            self.done[at] = true;
            return Ok(());
        }
        let place = self.place(link.netns).map_err(|error| (at, error))?;
        let seen = self
            .kernel
            .namespaces
            .with_socket(&place, |socket| link::get(socket, link.name.as_str()))
            .map_err(|error| (at, names::failed(&self.plan.steps[at], error)))?;
        let Some(seen) = seen else {
            self.done[at] = true;
            return Ok(());
        };
        let out = Settings {
            up: Some(false),
            master: seen.master.map(|_| 0),
            group: Some(GROUP_DOOMED),
            ..Settings::default()
        };
        let queue = self.queue(at, link.netns)?;
        queue.push(at, Forgive::Gone, |batch| {
            link::change(batch, Which::Index(seen.index), &out);
        });
        queue.push(at, Forgive::Gone, |batch| rename_away(batch, seen.index));
        queue.touch(&link.name);
        if let (LinkKind::Veth(peer), Some(index)) = (&link.kind, seen.other)
            && !self.vanishes(peer.netns)
        {
            self.ends.entry(peer.netns).or_default().push(End::Out {
                step: at,
                name: peer.name.clone(),
                index,
            });
        }
        // The reaper does not look into sandboxes; and a tunnel's number must be free for the next,
        // and a key forgotten.
        let at_once = matches!(link.kind, LinkKind::Vxlan(_) | LinkKind::Wireguard);
        if at_once || matches!(link.netns, Netns::Sandbox(_)) {
            self.queue(at, link.netns)?
                .push(at, Forgive::Gone, link::delete_doomed);
        } else {
            self.reap.insert(link.netns);
        }
        Ok(())
    }
}

/// Where the socket of a tunnel lies.
fn socket_netns(kind: &LinkKind) -> Netns {
    match kind {
        LinkKind::Vxlan(options) => options.socket_netns(),
        _ => Netns::Host,
    }
}

/// How a link is a port of its bridge.
fn port_of(link: &Link) -> Option<PortSettings> {
    let port = link.port.as_ref()?;
    Some(PortSettings {
        isolated: port.isolated,
        hairpin: port.hairpin,
        tunnel: matches!(link.kind, LinkKind::Vxlan(_)),
    })
}

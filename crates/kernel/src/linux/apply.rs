//! Carries out a plan: requests wait in a [`Queue`] as long as they go to one namespace.
//!
//! The kernel works on every request of a send, also behind one that it refused; so what took
//! effect is told step by step, and the plan stops behind the send.

use super::{
    LinuxKernel, OpenedPort,
    ends::End,
    names,
    policy::is_element,
    queue::{Forgive, Queue},
    verify,
};
use crate::{
    Failure, KernelError,
    announce::Appeared,
    netlink::fdb,
    netns::{Place, lock},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::IpAddr,
    sync::{Arc, MutexGuard},
};
use vw_hoststate::{Link, LinkKind, Namespace, NamespaceSource, Netns, Object, Plan, Step, Table};
use vw_model::{IfName, IpNet, MacAddr};

/// A failed step, by its place in the plan.
pub(super) type Stop = (usize, KernelError);

/// Carries out a plan.
pub(super) fn apply(kernel: &LinuxKernel, plan: &Plan) -> Result<(), Failure> {
    let mut run = Run::new(kernel, plan);
    let result = run.all();
    run.end_turn();
    if !run.reap.is_empty() {
        kernel.reaper.doomed(&run.reap);
    }
    kernel.forget_connections(&given_up(plan));
    for (netns, ports) in opened(plan) {
        kernel.forget_unled(netns, ports);
    }
    match result {
        Ok(()) => {
            run.announce();
            Ok(())
        }
        Err((step, source)) => Err(Failure {
            done: run.done,
            step,
            source,
        }),
    }
}

/// Addresses that sandboxes lose by a plan, and that this host's connections may be to. One whose link
/// leads into another network's namespace may be somebody else's here.
fn given_up(plan: &Plan) -> Vec<IpAddr> {
    let deleted = || {
        plan.steps.iter().filter_map(|step| match step {
            Step::Delete(object) => Some(object),
            _ => None,
        })
    };
    let elsewhere = deleted().filter_map(|object| match object {
        Object::Link(Link {
            netns: outer,
            kind: LinkKind::Veth(inner),
            ..
        }) => (*outer != Netns::Host).then_some((inner.netns, &inner.name)),
        _ => None,
    });
    let elsewhere: BTreeSet<(Netns, &IfName)> = elsewhere.collect();
    let lost = |object: &Object| match object {
        Object::Address(address) => {
            let hidden = elsewhere.contains(&(address.netns, &address.link));
            // One of full length is a service's on a network of its own.
            let full = match address.addr {
                IpNet::V4(net) => net.prefix_len() == 32,
                IpNet::V6(net) => net.prefix_len() == 128,
            };
            let kept = address.netns == Netns::Host || hidden || full;
            (!kept).then_some(address.addr.addr())
        }
        _ => None,
    };
    let link_local = |addr: &IpAddr| matches!(addr, IpAddr::V6(v6) if v6.is_unicast_link_local());
    let lost = deleted().filter_map(lost);
    lost.filter(|addr| !link_local(addr)).collect()
}

/// Ports over UDP and SCTP that a plan opens, by where.
fn opened(plan: &Plan) -> BTreeMap<Netns, Vec<OpenedPort>> {
    let mut opened: BTreeMap<Netns, Vec<OpenedPort>> = BTreeMap::new();
    for step in &plan.steps {
        let (netns, element) = match step {
            Step::Create(Object::Element(element)) => (Netns::Host, element),
            Step::Create(Object::Balance(sandbox, element)) => (Netns::Sandbox(*sandbox), element),
            _ => continue,
        };
        if let Some(port) = element.opened() {
            opened.entry(netns).or_default().push(port);
        }
    }
    opened
}

/// A plan that is being carried out.
pub(super) struct Run<'a> {
    pub(super) kernel: &'a LinuxKernel,
    pub(super) plan: &'a Plan,
    pub(super) done: Vec<bool>,
    pub(super) queue: Option<Queue>,
    /// What is left to do to ends of pairs, in the namespaces where they lie.
    pub(super) ends: BTreeMap<Netns, Vec<End>>,
    /// Where links were taken out of service.
    pub(super) reap: BTreeSet<Netns>,
    /// Namespaces of our making that the plan lets go: what lies in them goes along.
    vanishing: BTreeSet<Netns>,
    /// Links that the plan takes out of service.
    leaving: BTreeSet<(Netns, &'a IfName)>,
    /// While requests go out: see [`Run::take_turn`].
    turn: Option<MutexGuard<'a, ()>>,
    /// The namespace, not the host's, that was last worked in.
    pub(super) recent: Option<(Netns, Arc<Place>)>,
    /// Stations, by the tunnel's index, that bridges forget once the tunnel does not know them any
    /// more; and the steps that removed them there.
    pub(super) unbridge: BTreeMap<usize, (u32, MacAddr)>,
    pub(super) appeared: BTreeMap<(Netns, IfName), Vec<IpAddr>>,
}

impl<'a> Run<'a> {
    fn new(kernel: &'a LinuxKernel, plan: &'a Plan) -> Self {
        let vanishing = plan.steps.iter().filter_map(|step| match step {
            Step::Delete(Object::Namespace(Namespace {
                netns,
                source: NamespaceSource::New,
            })) => Some(*netns),
            _ => None,
        });
        let leaving = plan.steps.iter().filter_map(|step| match step {
            Step::Delete(Object::Link(link)) => Some((link.netns, &link.name)),
            _ => None,
        });
        Self {
            kernel,
            plan,
            done: vec![false; plan.steps.len()],
            queue: None,
            ends: BTreeMap::new(),
            reap: BTreeSet::new(),
            vanishing: vanishing.collect(),
            leaving: leaving.collect(),
            turn: None,
            recent: None,
            unbridge: BTreeMap::new(),
            appeared: BTreeMap::new(),
        }
    }

    fn all(&mut self) -> Result<(), Stop> {
        let mut at = 0;
        while let Some(step) = self.plan.steps.get(at) {
            // An element may be changed already, with others of its table.
            if self.done[at] || self.goes_along(step) {
                self.done[at] = true;
                at += 1;
                continue;
            }
            at = match step.object() {
                object if is_element(object) => {
                    self.elements(at)?;
                    at + 1
                }
                Object::Sysctl(sysctl) => self.sysctls(at, sysctl.netns)?,
                Object::Shortcut(shortcut) => self.shortcuts(at, shortcut.netns)?,
                _ => {
                    self.single(at, step)?;
                    at + 1
                }
            };
        }
        self.settle()
    }

    /// Waits until nobody else of this process changes links, and keeps it so until the turn ends.
    ///
    /// The kernel makes one such change at a time (RTNL) for the whole machine, so this delays
    /// nobody that would not wait there. But there a parameter of a link is not waited for: its
    /// write is begun again and again until the lock happens to be free (`rtnl_trylock` and
    /// `restart_syscall` in `addrconf_disable_ipv6`), on the processor that the lock's holder needs.
    /// Eight clients had 0.7 of one's rate that way.
    pub(super) fn take_turn(&mut self) {
        if self.turn.is_none() {
            self.turn = Some(lock(&self.kernel.turn));
        }
    }

    /// Lets others change links, before what takes long or takes no RTNL.
    pub(super) fn end_turn(&mut self) {
        self.turn = None;
    }

    /// Whether a step removes something from a namespace that goes as a whole.
    fn goes_along(&self, step: &Step) -> bool {
        let Step::Delete(object) = step else {
            return false;
        };
        let netns = match object {
            Object::Link(link) => return self.link_goes_along(link),
            Object::Sysctl(sysctl) => sysctl.netns,
            Object::Address(address) => address.netns,
            Object::Route(route) => route.netns,
            Object::Neighbor(neighbor) => neighbor.netns,
            Object::Proxy(proxy) => proxy.netns,
            Object::Forward(forward) => forward.netns,
            Object::WireguardKey(key) => key.netns,
            Object::WireguardPeer(peer) => peer.netns,
            Object::Shortcuts(shortcuts) => shortcuts.netns,
            Object::Shortcut(shortcut) => shortcut.netns,
            Object::Translator(one) => one.netns,
            Object::Table(Table::SandboxDns { sandbox, .. } | Table::Balancer { sandbox })
            | Object::Balance(sandbox, _) => Netns::Sandbox(*sandbox),
            Object::Table(Table::Host(_) | Table::Services)
            | Object::Namespace(_)
            | Object::Element(_) => {
                return false;
            }
        };
        self.vanishes(netns)
    }

    /// Whether a namespace goes as a whole.
    pub(super) fn vanishes(&self, netns: Netns) -> bool {
        self.vanishing.contains(&netns)
    }

    /// Whether a link is taken out of service.
    pub(super) fn leaves(&self, netns: Netns, link: &IfName) -> bool {
        self.leaving.contains(&(netns, link))
    }

    /// A namespace takes its links along some time after it was let go. What another namespace
    /// sees of them goes at once: a pair's other end, and the number that a tunnel holds in the
    /// host's.
    fn link_goes_along(&self, link: &Link) -> bool {
        self.vanishes(link.netns)
            && match &link.kind {
                LinkKind::Veth(peer) => self.vanishes(peer.netns),
                LinkKind::Bridge(_) | LinkKind::Dummy | LinkKind::Tun => true,
                LinkKind::Vxlan(_) | LinkKind::Wireguard => false,
            }
    }

    /// The namespace, looked for once for as many steps in a row as lie in it.
    pub(super) fn place(&mut self, netns: Netns) -> Result<Arc<Place>, KernelError> {
        if let Some((of, place)) = &self.recent
            && *of == netns
        {
            return Ok(Arc::clone(place));
        }
        let place = self.kernel.namespaces.place(netns)?;
        if netns != Netns::Host {
            self.recent = Some((netns, Arc::clone(&place)));
        }
        Ok(place)
    }

    pub(super) fn is_gone(&mut self, netns: Netns) -> bool {
        let place = self.place(netns);
        place.is_err_and(|error| error.is_namespace_gone())
    }

    pub(super) fn finish(
        &mut self,
        at: usize,
        result: Result<(), KernelError>,
    ) -> Result<(), Stop> {
        self.done[at] = result.is_ok();
        result.map_err(|error| (at, error))
    }

    /// The queue of a namespace; what waits for another one goes out first.
    pub(super) fn queue(&mut self, at: usize, netns: Netns) -> Result<&mut Queue, Stop> {
        let queue = match self.queue.take() {
            Some(queue) if queue.netns == netns => queue,
            other => {
                self.queue = other;
                self.flush()?;
                let place = self.place(netns).map_err(|error| (at, error))?;
                let mut queue = Queue::new(netns, place);
                self.do_ends(&mut queue)?;
                queue
            }
        };
        Ok(self.queue.insert(queue))
    }

    /// The index of a link as it is once everything before `at` is done.
    pub(super) fn index(
        &mut self,
        at: usize,
        netns: Netns,
        name: &IfName,
    ) -> Result<Option<u32>, Stop> {
        if self.queue(at, netns)?.touches(name) {
            self.flush()?;
        }
        let namespaces = &self.kernel.namespaces;
        let found = self.queue(at, netns)?.index(namespaces, name);
        found.map_err(|error| (at, names::failed(&self.plan.steps[at], error)))
    }

    /// The index of a link that must be there.
    pub(super) fn required_index(
        &mut self,
        at: usize,
        netns: Netns,
        name: &IfName,
    ) -> Result<u32, Stop> {
        self.index(at, netns, name)?.ok_or_else(|| {
            let text = format!("there is no link {name}");
            let error = io::Error::new(io::ErrorKind::NotFound, text);
            (at, names::failed(&self.plan.steps[at], error))
        })
    }

    /// Sends what waits.
    pub(super) fn flush(&mut self) -> Result<(), Stop> {
        let Some(queue) = self.queue.take() else {
            return Ok(());
        };
        let (netns, place) = (queue.netns, queue.place());
        let stop = self.send(queue)?;
        let second = self.clean_bridge(netns, place)?;
        stop.or(second).map_or(Ok(()), Err)
    }

    /// Makes a bridge forget those stations that its tunnel does not know any more.
    fn clean_bridge(&mut self, netns: Netns, place: Arc<Place>) -> Result<Option<Stop>, Stop> {
        let left = std::mem::take(&mut self.unbridge);
        let mut question = Queue::new(netns, Arc::clone(&place));
        for (step, (index, mac)) in &left {
            question.push(*step, Forgive::Nothing, |batch| {
                fdb::ask(batch, *mac, *index);
            });
        }
        let plan = self.plan;
        let failed = |step: usize, error| (step, names::failed(&plan.steps[step], error));
        let answers = question.send(&self.kernel.namespaces);
        let answers = answers.map_err(|(note, error)| failed(note.step, error))?;
        let mut behind = Queue::new(netns, place);
        for ((_, refusal), (step, (index, mac))) in answers.into_iter().zip(left) {
            if refusal.is_some() {
                behind.push(step, Forgive::Unbridged, |batch| {
                    fdb::delete_from_bridge(batch, mac, index);
                });
            }
        }
        self.send(behind)
    }

    /// Sends a queue; answers with its first failed step, once all of it was gone through.
    fn send(&mut self, queue: Queue) -> Result<Option<Stop>, Stop> {
        if !queue.is_empty() {
            self.take_turn();
        }
        let plan = self.plan;
        let failed = |step: usize, error| (step, names::failed(&plan.steps[step], error));
        let answers = queue.send(&self.kernel.namespaces);
        let answers = answers.map_err(|(note, error)| failed(note.step, error))?;
        let mut stop: Option<Stop> = None;
        let mut unmade = BTreeSet::new();
        for (note, refusal) in answers {
            let step = note.step;
            let result = match refusal {
                None => Ok(()),
                Some(refusal) if note.forgive.covers(refusal.errno) => Ok(()),
                Some(refusal)
                    if note.forgive == Forgive::Exists && refusal.errno == libc::EEXIST =>
                {
                    verify::stands(self.kernel, &plan.steps[step])
                }
                Some(refusal) => Err(failed(step, refusal.into_error()).1),
            };
            // A later request for the same step may have hit what stood there before.
            if result.is_err() && note.forgive == Forgive::Exists {
                unmade.insert(step);
            }
            self.done[step] = (self.done[step] || result.is_ok()) && !unmade.contains(&step);
            if let (Err(error), None) = (result, &stop) {
                stop = Some((step, error));
            }
        }
        Ok(stop)
    }

    /// Sends what waits, and does what is left to do to ends of pairs.
    pub(super) fn settle(&mut self) -> Result<(), Stop> {
        self.flush()?;
        while let Some((netns, ends)) = self.ends.first_key_value() {
            let (netns, first) = (*netns, ends.first().map(End::step));
            if ends.iter().all(End::is_out) && self.is_gone(netns) {
                self.ends.remove(&netns);
                continue;
            }
            // Opening a queue does what is left to do in its namespace.
            self.queue(first.unwrap_or_default(), netns)?;
            self.flush()?;
        }
        Ok(())
    }

    fn announce(&mut self) {
        for ((netns, link), addrs) in std::mem::take(&mut self.appeared) {
            self.kernel
                .announcer
                .announce(Appeared { netns, link, addrs });
        }
    }
}

#[cfg(test)]
mod tests;

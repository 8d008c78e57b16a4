//! Forgets tracked connections that lead to where nobody is any more, or not to where they should.
//!
//! An entry outlives its endpoint by minutes (UDP) or days (TCP), translated as it was; the next
//! holder of the address would get its packets. And rules that translate are asked about the first
//! packet of a connection alone, which over UDP is one for as long as somebody sends. The kernel
//! walks its whole table to tell of some, so an empty table is left alone.

use crate::{
    Leads, Led, LedBy,
    netlink::{Attrs, Batch, Body, addr, messages},
};
use rustix::{
    net::{
        AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send,
        socket_with,
    },
    thread::{MembarrierCommand, membarrier},
};
use std::{
    collections::BTreeSet,
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    os::fd::OwnedFd,
    time::{Duration, Instant},
};
use vw_firewall::{TRANSLATED, unmapped};
use vw_model::{Family, PortKey, Protocol};

#[cfg(test)]
pub(crate) mod tests;

const SUBSYSTEM: u16 = 1 << 8;
const GET: u16 = SUBSYSTEM | 1;
const DELETE: u16 = SUBSYSTEM | 2;
const GET_STATS: u16 = SUBSYSTEM | 5;
/// The header's family counts from this version on (`ctnetlink_del_conntrack`).
const WITH_FAMILY: u8 = 1;

// `linux/netfilter/nfnetlink_conntrack.h`.
const CTA_TUPLE_ORIG: u16 = 1;
const CTA_TUPLE_REPLY: u16 = 2;
const CTA_STATUS: u16 = 3;
const CTA_PROTOINFO: u16 = 4;
const CTA_PROTOINFO_TCP: u16 = 1;
const CTA_PROTOINFO_SCTP: u16 = 3;
/// `CTA_PROTOINFO_TCP_STATE`, `CTA_PROTOINFO_SCTP_STATE`.
const CTA_PROTOINFO_STATE: u16 = 1;
const CTA_ID: u16 = 12;
const CTA_ZONE: u16 = 18;
const CTA_FILTER: u16 = 25;
const CTA_TUPLE_IP: u16 = 1;
const CTA_TUPLE_PROTO: u16 = 2;
const CTA_PROTO_NUM: u16 = 1;
const CTA_PROTO_SRC_PORT: u16 = 2;
const CTA_PROTO_DST_PORT: u16 = 3;
const CTA_IP_V4_SRC: u16 = 1;
const CTA_IP_V4_DST: u16 = 2;
const CTA_IP_V6_SRC: u16 = 3;
const CTA_IP_V6_DST: u16 = 4;
const CTA_FILTER_ORIG_FLAGS: u16 = 1;
const CTA_FILTER_REPLY_FLAGS: u16 = 2;
/// The directions of a connection: the tuple of each, and how a filter names it.
const ORIGINAL: (u16, u16) = (CTA_TUPLE_ORIG, CTA_FILTER_ORIG_FLAGS);
const REPLY: (u16, u16) = (CTA_TUPLE_REPLY, CTA_FILTER_REPLY_FLAGS);
const CTA_FILTER_F_IP_SRC: u32 = 1;
const CTA_FILTER_F_PROTO_NUM: u32 = 1 << 3;
const CTA_FILTER_F_PROTO_DST_PORT: u32 = 1 << 5;
const CTA_STATS_GLOBAL_ENTRIES: u16 = 1;
/// `IPS_DST_NAT`; `TCP_CONNTRACK_SYN_SENT` to `TCP_CONNTRACK_CLOSE_WAIT`.
const IPS_DST_NAT: u32 = 1 << 5;
const OPEN: std::ops::RangeInclusive<u8> = 1..=5;
/// `TCP_CONNTRACK_SYN_SENT`, and `SCTP_CONNTRACK_CLOSED`, in which an association is until its first
/// answer: that is the INIT ACK that makes it `SCTP_CONNTRACK_COOKIE_WAIT`
/// (`net/netfilter/nf_conntrack_proto_sctp.c`), as a SYN ACK makes the other `TCP_CONNTRACK_SYN_RECV`.
const BEGINNING: u8 = 1;
/// `NLA_F_NESTED`, which the kernel does not give and asks for.
const NESTED: u16 = 1 << 15;

/// For so many ports or addresses the kernel's table is walked once each, and what is sent to others stays there.
const FEW: usize = 4;

/// How soon, and how seldom, one who waits looks again.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(320);

/// A ctnetlink socket of the namespace that the thread was in when it was opened.
#[derive(Debug)]
pub(crate) struct Conntrack {
    fd: OwnedFd,
    seq: u32,
    buf: Vec<u8>,
}

impl Conntrack {
    pub(crate) fn open() -> io::Result<Self> {
        let fd = socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            Some(netlink::NETFILTER),
        )?;
        Ok(Self {
            fd,
            seq: 1,
            buf: vec![0; 8 << 10],
        })
    }

    /// Deletes the connections that these addresses began or answered.
    pub(crate) fn forget(&mut self, addrs: &[IpAddr]) -> io::Result<()> {
        if addrs.is_empty() || self.count()? == 0 {
            return Ok(());
        }
        let addrs: BTreeSet<IpAddr> = addrs.iter().copied().collect();
        let either_way = |payload: &[u8]| {
            let ends = [ORIGINAL, REPLY].map(|(tuple, _)| source_of(payload, tuple));
            let is_one = ends.into_iter().flatten().any(|end| addrs.contains(&end));
            is_one.then(|| Entry::parse(payload))
        };
        // One by one, as the kernel deletes by a filter only since Linux 6.8; it tells by one since 5.8.
        let found = self.of(&addrs, &[ORIGINAL, REPLY], either_way)?;
        self.delete_all(&found)
    }

    /// Deletes the connections that were translated into IPv4, on either side of that.
    pub(crate) fn forget_translated(&mut self) -> io::Result<()> {
        if self.count()? == 0 {
            return Ok(());
        }
        passed();
        let led = |payload: &[u8]| {
            source_of(payload, CTA_TUPLE_REPLY).filter(stands_for_another)?;
            Some(Entry::parse(payload))
        };
        let found = self.list(|body| of_led(body, libc::AF_INET6), led)?;
        self.delete_all(&found)?;
        self.forget(&[TRANSLATED.into()])
    }

    /// Waits until no TCP connection that was led so is open, for each at most so long. Looking walks the
    /// kernel's whole table, so that it is done more and more seldom, and for all at once.
    pub(crate) fn await_quiet(&mut self, each: &[(Led, Duration)]) -> io::Result<()> {
        let begun = Instant::now();
        let mut pause = FIRST_PAUSE;
        passed();
        loop {
            let left = |longest: Duration| longest.saturating_sub(begun.elapsed());
            let waiting = each.iter().filter(|(_, longest)| !left(*longest).is_zero());
            let waiting: Vec<_> = waiting.collect();
            let to = waiting.iter().flat_map(|(led, _)| &led.to).copied();
            let to: BTreeSet<IpAddr> = to.collect();
            if to.is_empty() || self.count()? == 0 {
                return Ok(());
            }
            let is_awaited =
                |entry: &Entry| entry.is_open() && waiting.iter().any(|(led, _)| entry.is_led(led));
            let open = self.led(&to, is_awaited)?;
            let awaited = waiting
                .iter()
                .filter(|(led, _)| open.iter().any(|entry| entry.is_led(led)));
            // Until the first has waited for long enough.
            let Some(left) = awaited.map(|(_, longest)| left(*longest)).min() else {
                return Ok(());
            };
            std::thread::sleep(pause.min(left));
            pause = LONGEST_PAUSE.min(pause * 2);
        }
    }

    /// Forgets what is led so and was not answered yet, or over UDP never ends by itself: who sends
    /// again is led elsewhere.
    pub(crate) fn forget_led(&mut self, led: &Led) -> io::Result<()> {
        if led.to.is_empty() || self.count()? == 0 {
            return Ok(());
        }
        passed();
        let is_forgotten = |entry: &Entry| entry.can_be_led_anew() && entry.is_led(led);
        let found = self.led(&led.to, is_forgotten)?;
        self.delete_all(&found)
    }

    /// The same of what services led, and would lead to others, or nowhere, now. The table is walked once.
    pub(crate) fn forget_led_elsewhere(&mut self, leads: &Leads) -> io::Result<()> {
        if self.count()? == 0 {
            return Ok(());
        }
        passed();
        let all = |body: &mut Body<'_>| body.bytes(&[0; 4]);
        let elsewhere = |payload: &[u8]| {
            let is_forgotten =
                |entry: &Entry| entry.can_be_led_anew() && entry.is_led_elsewhere(leads);
            Some(Entry::parse(payload)).filter(is_forgotten)
        };
        let found = self.list(all, elsewhere)?;
        self.delete_all(&found)
    }

    /// Who answers what was led.
    pub(crate) fn answering(&mut self) -> io::Result<BTreeSet<IpAddr>> {
        if self.count()? == 0 {
            return Ok(BTreeSet::new());
        }
        let led = |payload: &[u8]| Some(Entry::parse(payload)).filter(|entry| entry.translated);
        let led = self.list(|body| of_led(body, libc::AF_UNSPEC), led)?;
        Ok(led.iter().filter_map(|entry| entry.by).collect())
    }

    /// Forgets what was sent to one of these ports of this host, and was led nowhere. The kernel tells
    /// of a few ports over UDP each by itself, and else of all of a protocol at once.
    pub(crate) fn forget_unled(
        &mut self,
        family: Family,
        ports: &BTreeSet<PortKey>,
        is_ours: impl Fn(IpAddr, PortKey) -> bool,
    ) -> io::Result<()> {
        if self.count()? == 0 {
            return Ok(());
        }
        let protocols: BTreeSet<Protocol> = ports.iter().map(|port| port.protocol).collect();
        for protocol in protocols {
            let of: Vec<_> = ports.iter().filter(|p| p.protocol == protocol).collect();
            let ours = |(addr, port)| is_ours(addr, PortKey { port, protocol });
            let unled = |payload: &[u8]| {
                let is_unled = |entry: &Entry| {
                    entry.protocol == protocol.number()
                        && !entry.translated
                        && entry.to.is_some_and(ours)
                };
                Some(Entry::parse(payload)).filter(is_unled)
            };
            let mut all = Vec::new();
            // Of another the kernel does not look at ports (`ctnetlink_filter_match_tuple`).
            if protocol == Protocol::Udp && of.len() <= FEW {
                for port in of {
                    let by_port = |body: &mut Body<'_>| {
                        of_port(body, family, protocol, Some(port.port));
                    };
                    all.extend(self.list(by_port, unled)?);
                }
            } else {
                all = self.list(|body| of_port(body, family, protocol, None), unled)?;
            }
            for entry in &all {
                self.delete(entry)?;
            }
        }
        Ok(())
    }

    /// What of that is wanted which these addresses answer.
    fn led(
        &mut self,
        to: &BTreeSet<IpAddr>,
        is_wanted: impl Fn(&Entry) -> bool,
    ) -> io::Result<Vec<Entry>> {
        self.of(to, &[REPLY], |payload| {
            source_of(payload, CTA_TUPLE_REPLY).filter(|by| to.contains(by))?;
            Some(Entry::parse(payload)).filter(&is_wanted)
        })
    }

    /// What `take` makes of those that come from these addresses in one of these directions, or from
    /// others too: of a few addresses the kernel tells each by itself, and else of all at once.
    fn of(
        &mut self,
        addrs: &BTreeSet<IpAddr>,
        directions: &[(u16, u16)],
        take: impl Fn(&[u8]) -> Option<Entry>,
    ) -> io::Result<Vec<Entry>> {
        let (v4, v6) = by_version(addrs);
        if v4.len() > FEW {
            return self.list(of_all, take);
        }
        let mut found = Vec::new();
        for addr in v4 {
            for direction in directions {
                found.extend(self.list(|body| of_source(body, addr, *direction), &take)?);
            }
        }
        if !v6.is_empty() {
            // Who asks by the answers alone asks for what is led, as does what stands for another.
            let is_led = directions == [REPLY] || v6.iter().all(stands_for_another);
            let of_them = |body: &mut Body<'_>| match is_led {
                true => of_led(body, libc::AF_INET6),
                false => of_ipv6(body),
            };
            found.extend(self.list(of_them, take)?);
        }
        Ok(found)
    }

    /// What `take` makes of those of which the kernel tells by this filter. It tells of all that it
    /// tracks, where there may be little that is taken.
    fn list(
        &mut self,
        filter: impl FnOnce(&mut Body<'_>),
        take: impl Fn(&[u8]) -> Option<Entry>,
    ) -> io::Result<Vec<Entry>> {
        let mut batch = Batch::default();
        batch.push(GET, libc::NLM_F_DUMP, filter);
        self.seq = self.seq.wrapping_add(1);
        send(&self.fd, batch.whole(self.seq, 0), SendFlags::empty())?;
        let mut entries = Vec::new();
        loop {
            let (len, _) = recv(&self.fd, self.buf.as_mut_slice(), RecvFlags::empty())?;
            for message in messages(&self.buf[..len]).filter(|message| message.seq == self.seq) {
                if message.kind == libc::NLMSG_DONE as u16 {
                    return Ok(entries);
                }
                if message.kind == libc::NLMSG_ERROR as u16 {
                    let code = message.payload.first_chunk().copied();
                    let errno = -code.map_or(0, i32::from_ne_bytes);
                    return Err(io::Error::from_raw_os_error(errno));
                }
                entries.extend(take(message.payload));
            }
        }
    }

    /// Deletes one, unless another has its place by now.
    /// Deletes all, and then tells of the first that was refused.
    fn delete_all(&mut self, entries: &[Entry]) -> io::Result<()> {
        let mut outcome = Ok(());
        for entry in entries {
            outcome = outcome.and(self.delete(entry));
        }
        outcome
    }

    fn delete(&mut self, entry: &Entry) -> io::Result<()> {
        self.ask(DELETE, |body| {
            body.bytes(&[entry.family, WITH_FAMILY, 0, 0]);
            for (kind, value) in &entry.named {
                body.attr(*kind, value);
            }
        })?;
        Ok(())
    }

    /// How many connections are tracked in this namespace.
    fn count(&mut self) -> io::Result<u32> {
        let answer = self.ask(GET_STATS, |body| body.bytes(&[0; 4]))?;
        let mut attrs = Attrs::after(&answer, 4);
        let count = attrs.find(|(kind, _)| *kind == CTA_STATS_GLOBAL_ENTRIES);
        let bytes = count.and_then(|(_, value)| value.first_chunk().copied());
        Ok(u32::from_be_bytes(bytes.unwrap_or_default()))
    }

    /// Sends one request and waits for its acknowledgement; answers the payload before that.
    fn ask(&mut self, kind: u16, body: impl FnOnce(&mut Body<'_>)) -> io::Result<Vec<u8>> {
        let mut batch = Batch::default();
        batch.push(kind, 0, body);
        self.seq = self.seq.wrapping_add(1);
        send(&self.fd, batch.whole(self.seq, 0), SendFlags::empty())?;
        let mut answer = Vec::new();
        loop {
            let (len, _) = recv(&self.fd, self.buf.as_mut_slice(), RecvFlags::empty())?;
            for message in messages(&self.buf[..len]).filter(|message| message.seq == self.seq) {
                if message.kind != libc::NLMSG_ERROR as u16 {
                    answer = message.payload.to_vec();
                    continue;
                }
                let code = message
                    .payload
                    .first_chunk()
                    .copied()
                    .map_or(0, i32::from_ne_bytes);
                return match -code {
                    // No such connection: none to forget.
                    0 | libc::ENOENT => Ok(answer),
                    errno => Err(io::Error::from_raw_os_error(errno)),
                };
            }
        }
    }
}

/// Waits until who saw the rules as they were is tracked: packets pass the hooks within one read side
/// of RCU, and this waits for those that have begun (`kernel/sched/membarrier.c`).
fn passed() {
    // A kernel without it leaves a race of microseconds.
    let _ = membarrier(MembarrierCommand::Global);
}

/// A tracked connection.
struct Entry {
    family: u8,
    /// The attributes that name it to the kernel, as it gave them.
    named: Vec<(u16, Vec<u8>)>,
    protocol: u8,
    /// Where its first packet was sent.
    to: Option<(IpAddr, u16)>,
    /// Who answers it,
    by: Option<IpAddr>,
    /// and at which port.
    at: Option<u16>,
    /// Whether its destination was translated.
    translated: bool,
    /// The state of a TCP connection; 0 of any other.
    tcp: u8,
    /// The state of an association of SCTP; 0 of any other.
    sctp: u8,
}

impl Entry {
    /// Whether it was translated so.
    fn is_led(&self, led: &Led) -> bool {
        let by = |by: &LedBy| {
            let to = self.to.zip(self.protocol());
            to.is_some_and(|((addr, port), protocol)| by.leads(addr, PortKey { port, protocol }))
        };
        self.translated
            && self.by.is_some_and(|addr| led.to.contains(&addr))
            && led.by.as_ref().is_none_or(by)
    }

    /// Whether services led it so, and would lead it to another now, or nowhere.
    fn is_led_elsewhere(&self, leads: &Leads) -> bool {
        let ends = self.to.zip(self.by.zip(self.at)).zip(self.protocol());
        self.translated
            && ends.is_some_and(|((to, by), protocol)| {
                leads.leads_elsewhere(SocketAddr::from(to), protocol, SocketAddr::from(by))
            })
    }

    fn protocol(&self) -> Option<Protocol> {
        let mut protocols = [Protocol::Tcp, Protocol::Udp, Protocol::Sctp].into_iter();
        protocols.find(|known| known.number() == self.protocol)
    }

    /// Whether who sends again, once it is forgotten, is led as if anew: over UDP, or as nobody answered.
    fn can_be_led_anew(&self) -> bool {
        self.protocol == Protocol::Udp.number() || self.is_beginning()
    }

    /// Whether a TCP connection is open.
    fn is_open(&self) -> bool {
        OPEN.contains(&self.tcp)
    }

    /// Whether nobody has answered it yet, in protocols in which that is known.
    fn is_beginning(&self) -> bool {
        self.tcp == BEGINNING || self.sctp == BEGINNING
    }

    fn parse(payload: &[u8]) -> Self {
        let entry = || Attrs::after(payload, 4);
        let original = find(entry(), CTA_TUPLE_ORIG).unwrap_or_default();
        let ports = find(Attrs::of(original), CTA_TUPLE_PROTO).unwrap_or_default();
        let number = find(Attrs::of(ports), CTA_PROTO_NUM).and_then(<[u8]>::first);
        let answers = find(entry(), CTA_TUPLE_REPLY).unwrap_or_default();
        let answers = find(Attrs::of(answers), CTA_TUPLE_PROTO).unwrap_or_default();
        let port = |ports, kind| {
            let port = find(Attrs::of(ports), kind)?;
            Some(u16::from_be_bytes(*port.first_chunk()?))
        };
        let status = find(entry(), CTA_STATUS).and_then(|value| value.first_chunk().copied());
        let info = find(entry(), CTA_PROTOINFO).unwrap_or_default();
        let state = |of| {
            let of = find(Attrs::of(info), of)?;
            find(Attrs::of(of), CTA_PROTOINFO_STATE)?.first().copied()
        };
        let named = [
            (CTA_TUPLE_ORIG | NESTED, find(entry(), CTA_TUPLE_ORIG)),
            (CTA_ID, find(entry(), CTA_ID)),
            (CTA_ZONE, find(entry(), CTA_ZONE)),
        ];
        let named = named
            .into_iter()
            .filter_map(|(kind, value)| Some((kind, value?.to_vec())));
        Self {
            family: payload.first().copied().unwrap_or_default(),
            named: named.collect(),
            protocol: number.copied().unwrap_or_default(),
            to: address(original, [CTA_IP_V4_DST, CTA_IP_V6_DST])
                .zip(port(ports, CTA_PROTO_DST_PORT)),
            by: source_of(payload, CTA_TUPLE_REPLY),
            at: port(answers, CTA_PROTO_SRC_PORT),
            translated: u32::from_be_bytes(status.unwrap_or_default()) & IPS_DST_NAT != 0,
            tcp: state(CTA_PROTOINFO_TCP).unwrap_or_default(),
            sctp: state(CTA_PROTOINFO_SCTP).unwrap_or_default(),
        }
    }
}

/// The source address of one direction of an entry.
fn source_of(payload: &[u8], tuple: u16) -> Option<IpAddr> {
    let tuple = find(Attrs::after(payload, 4), tuple)?;
    address(tuple, [CTA_IP_V4_SRC, CTA_IP_V6_SRC])
}

fn address(tuple: &[u8], kinds: [u16; 2]) -> Option<IpAddr> {
    let ip = find(Attrs::of(tuple), CTA_TUPLE_IP)?;
    let found = kinds.into_iter().find_map(|kind| find(Attrs::of(ip), kind));
    addr::ip(found?)
}

fn find(mut attrs: Attrs<'_>, kind: u16) -> Option<&[u8]> {
    attrs
        .find(|(found, _)| *found == kind)
        .map(|(_, value)| value)
}

/// A filter by family, protocol, and the port that was sent to.
fn of_port(body: &mut Body<'_>, family: Family, protocol: Protocol, port: Option<u16>) {
    let family = match family {
        Family::V4 => libc::AF_INET,
        Family::V6 => libc::AF_INET6,
    };
    body.bytes(&[family as u8, WITH_FAMILY, 0, 0]);
    body.nest(CTA_TUPLE_ORIG, |body| {
        body.nest(CTA_TUPLE_PROTO, |body| {
            body.attr(CTA_PROTO_NUM, &[protocol.number()]);
            if let Some(port) = port {
                body.attr(CTA_PROTO_DST_PORT, &port.to_be_bytes());
            }
        });
    });
    let by_port = port.map_or(0, |_| CTA_FILTER_F_PROTO_DST_PORT);
    body.nest(CTA_FILTER, |body| {
        body.attr_u32(CTA_FILTER_ORIG_FLAGS, CTA_FILTER_F_PROTO_NUM | by_port);
    });
}

/// Addresses by IP version. The kernel's filter by an address of IPv6 shows all but
/// those that have it (`ctnetlink_filter_match_tuple`, `net/netfilter/nf_conntrack_netlink.c`: seen with
/// Linux 6.18), so that those are looked for in what it tells of the version.
fn by_version<'a>(
    addrs: impl IntoIterator<Item = &'a IpAddr>,
) -> (Vec<Ipv4Addr>, BTreeSet<IpAddr>) {
    let (mut v4, mut v6) = (Vec::new(), BTreeSet::new());
    for addr in addrs {
        match addr {
            IpAddr::V4(addr) => v4.push(*addr),
            IpAddr::V6(_) => _ = v6.insert(*addr),
        }
    }
    (v4, v6)
}

/// No filter.
fn of_all(body: &mut Body<'_>) {
    body.bytes(&[0; 4]);
}

/// A filter by what is led elsewhere than it was sent, of one IP version or of all. A kernel that does not
/// know it shows all (before 5.14).
fn of_led(body: &mut Body<'_>, family: libc::c_int) {
    body.bytes(&[family as u8, WITH_FAMILY, 0, 0]);
    body.attr(CTA_STATUS, &IPS_DST_NAT.to_be_bytes());
}

/// Whether an address stands for one of IPv4: it is led to, and nobody has it.
fn stands_for_another(addr: &IpAddr) -> bool {
    unmapped(*addr) != *addr
}

/// A filter by IPv6 alone.
fn of_ipv6(body: &mut Body<'_>) {
    body.bytes(&[libc::AF_INET6 as u8, WITH_FAMILY, 0, 0]);
}

/// A filter by the source address of one direction, of IPv4 alone.
fn of_source(body: &mut Body<'_>, addr: Ipv4Addr, (tuple, flags): (u16, u16)) {
    body.bytes(&[libc::AF_INET as u8, WITH_FAMILY, 0, 0]);
    body.nest(tuple, |body| {
        body.nest(CTA_TUPLE_IP, |body| {
            body.attr(CTA_IP_V4_SRC, &addr.octets());
        });
    });
    body.nest(CTA_FILTER, |body| body.attr_u32(flags, CTA_FILTER_F_IP_SRC));
}

//! The floor: what the kernel takes to put a veth pair between a bridge and a namespace.
//!
//! The two sends that no engine can go without, as bytes: the pair made with its name, bridge
//! and far end in place; inside, the link up, its address and the default route. No lease, no
//! record, no name, no rule, no API. Removal is one RTM_DELLINK. Nothing of vethwork is used.

use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netdevice::name_to_index, recv,
    send, socket_with,
};
use std::{
    fs::File,
    io,
    net::Ipv4Addr,
    os::fd::{AsRawFd, OwnedFd},
};
use vw_testkit::Host;

const HEADER: usize = 16;
const NESTED: u16 = 1 << 15;
const VETH_INFO_PEER: u16 = 1;
const IFLA_INET6_ADDR_GEN_MODE: u16 = 8;
const IN6_ADDR_GEN_MODE_NONE: u8 = 1;
const UP: u32 = libc::IFF_UP as u32;
const NEAR: &str = "bare0";
const FAR: &str = "eth0";
const BRIDGE: &str = "br0";

/// A bridge and a namespace to join to it, with a socket in each.
#[derive(Debug)]
pub(crate) struct Bare {
    near: OwnedFd,
    far: OwnedFd,
    netns: File,
    bridge: u32,
    address: Ipv4Addr,
    gateway: Ipv4Addr,
}

impl Bare {
    /// Makes the bridge `br0` with the gateway's address in `host`; `sandbox` is to join it.
    pub(crate) fn open(host: &Host, sandbox: &Host) -> io::Result<Self> {
        host.ip(&format!("link add {BRIDGE} type bridge"));
        host.ip(&format!("addr add 192.0.2.1/24 dev {BRIDGE}"));
        host.ip(&format!("link set {BRIDGE} up"));
        let addresses = [2, 1].map(|end| Ipv4Addr::new(192, 0, 2, end));
        Self::on(host, sandbox, BRIDGE, addresses)
    }

    /// On a bridge that is there, with these addresses of the sandbox and of the gateway.
    pub(crate) fn on(
        host: &Host,
        sandbox: &Host,
        bridge: &str,
        [address, gateway]: [Ipv4Addr; 2],
    ) -> io::Result<Self> {
        let near = host.enter(socket)?;
        Ok(Self {
            bridge: name_to_index(&near, bridge)?,
            near,
            far: sandbox.enter(socket)?,
            netns: File::open(sandbox.netns())?,
            address,
            gateway,
        })
    }

    /// Joins the namespace to the bridge.
    pub(crate) fn attach(&self) -> io::Result<()> {
        let pair = self.pair((NEAR, &self.netns), FAR, self.address);
        transact(&self.near, vec![pair])?;
        let index = name_to_index(&self.far, FAR)?;
        transact(&self.far, self.inside(index))
    }

    /// Gives the bridge so many ports, whose other ends lie in one namespace and are up.
    pub(crate) fn fill(&self, crowd: &Host, ports: usize) -> io::Result<()> {
        let (there, netns) = (crowd.enter(socket)?, File::open(crowd.netns())?);
        for number in 0..ports {
            let [near, far] = ["port", "end"].map(|end| format!("{end}{number}"));
            let like = Ipv4Addr::from(u32::from(Ipv4Addr::new(198, 18, 0, 0)) + number as u32);
            transact(&self.near, vec![self.pair((&near, &netns), &far, like)])?;
            let index = name_to_index(&there, &far)?;
            transact(&there, up(index).into())?;
        }
        Ok(())
    }

    /// Takes the namespace off again.
    pub(crate) fn detach(&self) -> io::Result<()> {
        let mut delete = Message::new(libc::RTM_DELLINK, 0);
        delete.link(0, 0).text(libc::IFLA_IFNAME, NEAR);
        transact(&self.near, vec![delete])
    }

    /// A pair between the bridge and a namespace, whose end there has the link-layer address that
    /// is made of `like`.
    fn pair(&self, (near, netns): (&str, &File), far: &str, like: Ipv4Addr) -> Message {
        let [a, b, c, d] = like.octets();
        let flags = libc::NLM_F_CREATE | libc::NLM_F_EXCL;
        let mut pair = Message::new(libc::RTM_NEWLINK, flags);
        pair.link(0, UP)
            .text(libc::IFLA_IFNAME, near)
            .number(libc::IFLA_MASTER, self.bridge)
            .one_queue()
            .nest(libc::IFLA_LINKINFO, |info| {
                info.attribute(libc::IFLA_INFO_KIND, b"veth");
                info.nest(libc::IFLA_INFO_DATA, |data| {
                    data.nest(VETH_INFO_PEER, |end| {
                        end.link(0, 0)
                            .text(libc::IFLA_IFNAME, far)
                            .attribute(libc::IFLA_ADDRESS, &[2, 0x42, a, b, c, d])
                            .one_queue()
                            .number(libc::IFLA_NET_NS_FD, netns.as_raw_fd() as u32);
                    });
                });
            });
        pair
    }

    fn inside(&self, index: u32) -> Vec<Message> {
        let [quiet, up] = up(index);
        let mut address = Message::new(libc::RTM_NEWADDR, libc::NLM_F_CREATE);
        // struct ifaddrmsg
        address.bytes(&[libc::AF_INET as u8, 24, 0, 0]);
        address.bytes(&index.to_ne_bytes());
        address.attribute(libc::IFA_LOCAL, &self.address.octets());
        let mut route = Message::new(libc::RTM_NEWROUTE, libc::NLM_F_CREATE);
        // struct rtmsg
        let table = libc::RT_TABLE_MAIN;
        let (boot, unicast) = (libc::RTPROT_BOOT, libc::RTN_UNICAST);
        route.bytes(&[libc::AF_INET as u8, 0, 0, 0, table, boot, 0, unicast]);
        route.bytes(&[0; 4]);
        route.attribute(libc::RTA_GATEWAY, &self.gateway.octets());
        vec![quiet, up, address, route]
    }
}

/// Brings a link up that makes no address of its own accord.
fn up(index: u32) -> [Message; 2] {
    let mut quiet = Message::new(libc::RTM_NEWLINK, 0);
    quiet.link(index, 0).nest(libc::IFLA_AF_SPEC, |families| {
        families.nest(libc::AF_INET6 as u16, |inet6| {
            inet6.attribute(IFLA_INET6_ADDR_GEN_MODE, &[IN6_ADDR_GEN_MODE_NONE]);
        });
    });
    let mut up = Message::new(libc::RTM_NEWLINK, 0);
    up.link(index, UP);
    [quiet, up]
}

/// A request under construction.
struct Message(Vec<u8>);

impl Message {
    fn new(kind: u16, flags: i32) -> Self {
        let mut bytes = vec![0; HEADER];
        let flags = (flags | libc::NLM_F_REQUEST) as u16;
        bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
        bytes[6..8].copy_from_slice(&flags.to_ne_bytes());
        Self(bytes)
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
    }

    /// `struct ifinfomsg`.
    fn link(&mut self, index: u32, flags: u32) -> &mut Self {
        self.bytes(&[0; 4]);
        self.bytes(&index.to_ne_bytes());
        self.bytes(&flags.to_ne_bytes());
        self.bytes(&flags.to_ne_bytes());
        self
    }

    fn attribute(&mut self, kind: u16, value: &[u8]) -> &mut Self {
        let length = (4 + value.len()) as u16;
        self.0.extend_from_slice(&length.to_ne_bytes());
        self.0.extend_from_slice(&kind.to_ne_bytes());
        self.bytes(value);
        self
    }

    fn number(&mut self, kind: u16, value: u32) -> &mut Self {
        self.attribute(kind, &value.to_ne_bytes())
    }

    fn text(&mut self, kind: u16, value: &str) -> &mut Self {
        let ended: Vec<u8> = value.bytes().chain([0]).collect();
        self.attribute(kind, &ended)
    }

    fn one_queue(&mut self) -> &mut Self {
        self.number(libc::IFLA_NUM_TX_QUEUES, 1)
            .number(libc::IFLA_NUM_RX_QUEUES, 1)
    }

    fn nest(&mut self, kind: u16, body: impl FnOnce(&mut Self)) -> &mut Self {
        let start = self.0.len();
        self.attribute(kind | NESTED, &[]);
        body(self);
        let length = (self.0.len() - start) as u16;
        self.0[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        self
    }
}

fn socket() -> io::Result<OwnedFd> {
    let (family, kind) = (AddressFamily::NETLINK, SocketType::RAW);
    Ok(socket_with(family, kind, SocketFlags::CLOEXEC, None)?)
}

/// Sends the requests at once, and waits for the acknowledgement of the last.
fn transact(socket: &OwnedFd, mut messages: Vec<Message>) -> io::Result<()> {
    let last = messages.len();
    if let Some(Message(bytes)) = messages.last_mut() {
        bytes[6] |= libc::NLM_F_ACK as u8;
    }
    let mut batch = Vec::new();
    for (number, Message(mut bytes)) in (1_u32..).zip(messages) {
        let length = bytes.len() as u32;
        bytes[..4].copy_from_slice(&length.to_ne_bytes());
        bytes[8..12].copy_from_slice(&number.to_ne_bytes());
        batch.extend(bytes);
    }
    send(socket, &batch, SendFlags::empty())?;
    let mut answer = [0; 8192];
    loop {
        recv(socket, answer.as_mut_slice(), RecvFlags::empty())?;
        let field = |at: usize| i32::from_ne_bytes([0, 1, 2, 3].map(|byte| answer[at + byte]));
        // Each answer is a datagram of its own: a header, the error number, the request.
        match (field(8) as usize, -field(HEADER)) {
            (number, 0) if number == last => return Ok(()),
            (_, 0) => {}
            (_, errno) => return Err(io::Error::from_raw_os_error(errno)),
        }
    }
}

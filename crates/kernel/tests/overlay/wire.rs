//! What is on the wire between hosts, and frames that nobody should send.

use crate::cluster::Station;
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, eth, recv, socket_with};
use std::os::fd::OwnedFd;
use vw_model::MacAddr;
use vw_testkit::Host;

const VXLAN_PORT: u16 = 4789;

/// A frame inside a tunnel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Inner {
    /// The network's number.
    pub(crate) vni: u32,
    /// To whom.
    pub(crate) dst: MacAddr,
    /// Of the outer packet in octets, as it was handed over.
    pub(crate) length: usize,
    /// Whether the outer packet is a part of one.
    pub(crate) fragment: bool,
    ethertype: u16,
    /// The ICMPv6 type, where it is that.
    icmp6: Option<u8>,
    /// The ARP operation, where it is that.
    arp: Option<u8>,
}

impl Inner {
    /// ARP, or a neighbour solicitation or advertisement.
    pub(crate) fn is_resolution(&self) -> bool {
        self.ethertype == 0x0806 || matches!(self.icmp6, Some(135 | 136))
    }

    /// Somebody asks who has an address.
    pub(crate) fn is_question(&self) -> bool {
        self.arp == Some(1) || self.icmp6 == Some(135)
    }
}

/// All frames of a host's interfaces from now on.
pub(crate) struct Capture(OwnedFd);

impl Capture {
    pub(crate) fn start(host: &Host) -> Self {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (family, kind) = (AddressFamily::PACKET, SocketType::RAW);
        let open = || socket_with(family, kind, flags, Some(eth::ALL));
        let fd = host.enter(open).expect("a packet socket");
        rustix::net::sockopt::set_socket_recv_buffer_size_force(&fd, 64 << 20)
            .expect("room for what comes");
        Self(fd)
    }

    fn frames(&self) -> Vec<Vec<u8>> {
        let mut frames = Vec::new();
        let mut buf = vec![0; 70_000];
        while let Ok((_, length)) = recv(&self.0, buf.as_mut_slice(), RecvFlags::empty()) {
            frames.push(buf[..length].to_vec());
        }
        frames
    }

    /// What was sent through tunnels since it was last asked.
    pub(crate) fn tunnelled(&self) -> Vec<Inner> {
        self.frames()
            .iter()
            .filter_map(|frame| inner(frame))
            .collect()
    }
}

fn number(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

fn inner(frame: &[u8]) -> Option<Inner> {
    // A part but the first has no ports: the first tells.
    let (udp, fragment) = match number(frame, 12) {
        0x0800 if frame[23] == 17 => (34, number(frame, 20) & 0x2000 != 0),
        0x86dd if frame[20] == 17 => (54, false),
        0x86dd if frame[20] == 44 && frame[54] == 17 => (62, true),
        _ => return None,
    };
    if number(frame, udp + 2) != VXLAN_PORT {
        return None;
    }
    let vxlan = frame.get(udp + 8..)?;
    let inside = vxlan.get(8..)?;
    let ethertype = number(inside, 12);
    Some(Inner {
        vni: u32::from_be_bytes([0, vxlan[4], vxlan[5], vxlan[6]]),
        dst: MacAddr(inside[..6].try_into().ok()?),
        length: frame.len(),
        fragment,
        ethertype,
        icmp6: (ethertype == 0x86dd && inside[20] == 58).then(|| inside[54]),
        arp: (ethertype == 0x0806).then(|| inside[21]),
    })
}

/// What a tunnel would send for a datagram that one station sends another.
pub(crate) fn forged(vni: u32, from: &Station, to: &Station, port: u16) -> Vec<u8> {
    const TEXT: &[u8] = b"forged";
    let mut out = vec![0x08, 0, 0, 0];
    out.extend_from_slice(&(vni << 8).to_be_bytes());
    out.extend_from_slice(&to.mac.0);
    out.extend_from_slice(&from.mac.0);
    out.extend_from_slice(&[0x08, 0x00]);
    let length = 28 + TEXT.len() as u16;
    let mut ip = vec![0x45, 0];
    ip.extend_from_slice(&length.to_be_bytes());
    ip.extend_from_slice(&[0, 0, 0, 0, 64, 17, 0, 0]);
    for station in [from, to] {
        let addr: std::net::Ipv4Addr = station.v4().parse().expect("an address");
        ip.extend_from_slice(&addr.octets());
    }
    let sum: u32 = (0..10).map(|word| u32::from(number(&ip, word * 2))).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    ip[10..12].copy_from_slice(&(!(folded as u16)).to_be_bytes());
    out.extend_from_slice(&ip);
    // An IPv4 datagram may come without a checksum.
    for field in [4000, port, 8 + TEXT.len() as u16, 0] {
        out.extend_from_slice(&field.to_be_bytes());
    }
    out.extend_from_slice(TEXT);
    out
}

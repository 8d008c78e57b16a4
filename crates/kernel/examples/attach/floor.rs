//! An attachment by hand-made netlink requests: as few and as small as they can be.

use rustix::{
    fd::{AsFd, OwnedFd},
    net::{
        AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netdevice, recv, send,
        socket_with,
    },
    thread::LinkNameSpaceType,
};
use std::{fs::File, io, os::fd::AsRawFd, path::Path};

const HOST: &str = "vwfloor00000";
const IFLA_AF_SPEC: u16 = 26;
const NESTED: u16 = 1 << 15;
/// The executor's group of links that wait for their deletion.
const DOOMED: u32 = 0x7678;

pub(crate) struct Floor {
    host: OwnedFd,
    inside: OwnedFd,
    netns: File,
    bridge: u32,
}

impl Floor {
    pub(crate) fn open(bridge: &str, netns: &Path) -> crate::Result<Self> {
        let netns = File::open(netns)?;
        let enter = netns.try_clone()?;
        let inside = std::thread::spawn(move || -> io::Result<OwnedFd> {
            let kind = Some(LinkNameSpaceType::Network);
            rustix::thread::move_into_link_name_space(enter.as_fd(), kind)?;
            socket()
        });
        let inside = inside.join().map_err(|_| "the thread panicked")??;
        let host = socket()?;
        let bridge = netdevice::name_to_index(&host, bridge)?;
        Ok(Self {
            host,
            inside,
            netns,
            bridge,
        })
    }

    pub(crate) fn attach(&mut self) -> crate::Result<()> {
        let fd = self.netns.as_raw_fd().cast_unsigned();
        let queues = [number(31, 1), number(32, 1)].concat();
        let far = [
            ifinfo(0, 0, 0),
            text(3, "eth0"),
            attr(1, &[2, 0x42, 10, 0, 0, 7]),
            number(4, 1500),
            queues.clone(),
            number(28, fd),
        ];
        let data = attr(2 | NESTED, &attr(1 | NESTED, &far.concat()));
        let create = [
            ifinfo(0, 1, 1),
            text(3, HOST),
            number(10, self.bridge),
            number(4, 1500),
            queues,
            attr(18 | NESTED, &[attr(1, b"veth"), data].concat()),
        ];
        let quiet = [ifinfo(0, 0, 0), text(3, HOST), quiet()];
        call(
            &self.host,
            &[(16, 0x600, create.concat()), (16, 0, quiet.concat())],
        )?;
        let index = netdevice::name_to_index(&self.inside, "eth0")?;
        let ifaddr = [vec![2, 24, 0, 0], index.to_ne_bytes().to_vec()].concat();
        let address = [
            ifaddr,
            attr(2, &[10, 0, 0, 7]),
            attr(1, &[10, 0, 0, 7]),
            attr(4, &[10, 0, 0, 255]),
        ];
        let route = [
            vec![2, 0, 0, 0, 254, 4, 0, 1, 0, 0, 0, 0],
            attr(5, &[10, 0, 0, 1]),
            number(4, index),
        ];
        let requests = [
            (16, 0, [ifinfo(index, 0, 0), self::quiet()].concat()),
            (16, 0, ifinfo(index, 1, 1)),
            (20, 0x600, address.concat()),
            (24, 0x600, route.concat()),
        ];
        call(&self.inside, &requests)
    }

    pub(crate) fn detach(&mut self) -> crate::Result<()> {
        let index = netdevice::name_to_index(&self.host, HOST)?;
        let inside = netdevice::name_to_index(&self.inside, "eth0")?;
        let out = [ifinfo(index, 0, 1), number(27, DOOMED), number(10, 0)];
        call(&self.host, &[(16, 0, out.concat())])?;
        let name = [ifinfo(inside, 0, 0), text(3, "vwx-floor")];
        call(
            &self.inside,
            &[(16, 0, ifinfo(inside, 0, 1)), (16, 0, name.concat())],
        )
    }
}

fn socket() -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC;
    Ok(socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        flags,
        None,
    )?)
}

/// Sends requests (type, flags, body) together, the last with an ACK.
fn call(socket: &OwnedFd, requests: &[(u16, u16, Vec<u8>)]) -> crate::Result<()> {
    let mut bytes = Vec::new();
    for (at, (kind, flags, body)) in requests.iter().enumerate() {
        let ack = if at + 1 == requests.len() { 4 } else { 0 };
        bytes.extend((16 + body.len() as u32).to_ne_bytes());
        bytes.extend(kind.to_ne_bytes());
        bytes.extend((flags | 1 | ack).to_ne_bytes());
        bytes.extend((at as u32).to_ne_bytes());
        bytes.extend([0; 4]);
        bytes.extend(body);
    }
    send(socket, &bytes, SendFlags::empty())?;
    let mut answer = [0_u8; 4096];
    recv(socket, &mut answer[..], RecvFlags::empty())?;
    let errno = i32::from_ne_bytes([answer[16], answer[17], answer[18], answer[19]]);
    match errno {
        0 => Ok(()),
        errno => Err(io::Error::from_raw_os_error(-errno).into()),
    }
}

fn ifinfo(index: u32, flags: u32, change: u32) -> Vec<u8> {
    let numbers = [0, index, flags, change];
    numbers.into_iter().flat_map(u32::to_ne_bytes).collect()
}

fn quiet() -> Vec<u8> {
    attr(IFLA_AF_SPEC | NESTED, &attr(10 | NESTED, &attr(8, &[1])))
}

fn attr(kind: u16, value: &[u8]) -> Vec<u8> {
    let mut bytes = (4 + value.len() as u16).to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

fn number(kind: u16, value: u32) -> Vec<u8> {
    attr(kind, &value.to_ne_bytes())
}

fn text(kind: u16, value: &str) -> Vec<u8> {
    attr(kind, &[value.as_bytes(), &[0]].concat())
}

//! The program that has frames pass a bridge by, and the table that it looks them up in.
//!
//! Owns both forms and where they are found again: the program in the block that links of the
//! namespace share, the table by the program. Which stations are in it is said by plans.

use crate::{
    bpf::{self, Assembler, Is, Label, Map, Register, Size, Word},
    netlink::{Batch, Socket, tc},
};
use std::{
    collections::BTreeMap,
    io,
    os::fd::{AsFd, RawFd},
};
use vw_hoststate::Station;
use vw_model::MacAddr;

/// Under what name the program is attached; another form of it or of the table has another.
const NAME: &str = "vethwork shortcuts 2";
/// What the program and the table are called themselves.
const SHORT: &str = "vethwork";
/// How many stations a table takes at most; with the room for this many an empty one takes 256 KiB.
/// Frames to any others pass the bridge.
pub(crate) const MOST: u32 = 1 << 14;

/// The link that the kernel gives each namespace first.
const LOOPBACK: u32 = 1;

/// Fields of a frame (`struct __sk_buff`).
const PROTOCOL: i16 = 16;
const VLAN_PRESENT: i16 = 20;
const IFINDEX: i16 = 40;
const DATA: i16 = 76;
const DATA_END: i16 = 80;

/// Functions (`enum bpf_func_id`).
const MAP_LOOKUP_ELEM: i32 = 1;
const REDIRECT: i32 = 23;
const SKB_CHANGE_TYPE: i32 = 32;
const REDIRECT_PEER: i32 = 155;

/// `TC_ACT_UNSPEC`: as if there were no program.
const GO_ON: i32 = -1;
const PACKET_HOST: i32 = 0;

/// Where what is known of the frame, the frame, and the table's key are to be found.
const CONTEXT: Register = Register::R6;
const FRAME: Register = Register::R8;
const KEY: i16 = -8;

/// Where a frame has its addresses.
const RECEIVER: i16 = 0;
const SENDER: i16 = 6;

/// Links that lead to a station, in the order of [`Station`]: the pair's end of one that is here, and
/// the tunnel of one that is elsewhere. In the midst of a move it may be both; then it is here.
type Ways = [u32; 2];

/// No link has this index.
const NO_LINK: u32 = 0;
const NOWHERE: Ways = [NO_LINK; 2];

/// An entry of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The station's address.
    pub(crate) mac: MacAddr,
    /// Where it lies.
    pub(crate) station: Station,
    /// The link that leads to it.
    pub(crate) index: u32,
}

/// What a namespace has of it.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// Links with an ingress discipline, and whether it is ours.
    pub(crate) bound: BTreeMap<u32, bool>,
    /// The table's entries, where there is a table of the form that we make.
    pub(crate) entries: Option<Vec<Entry>>,
    /// Whether there is a program of ours in any form.
    pub(crate) any: bool,
}

/// The table of a namespace.
#[derive(Debug)]
pub(crate) struct Table(Map);

impl Table {
    /// The one of the socket's namespace, if it has one of the form that we make.
    pub(crate) fn find(socket: &mut Socket) -> io::Result<Option<Self>> {
        let programs = tc::programs(socket)?;
        Self::of(&programs)
    }

    fn of(programs: &[(u32, String)]) -> io::Result<Option<Self>> {
        let Some((id, _)) = programs.iter().find(|(_, name)| name == NAME) else {
            return Ok(None);
        };
        match Map::of_program(*id) {
            // It went meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            map => map.map(|map| Some(Self(map))),
        }
    }

    /// Sets an entry. One that there is no room for is left out.
    ///
    /// # Errors
    /// What the kernel says that takes it not; then none of the address is left, which might lead
    /// elsewhere.
    pub(crate) fn put(&self, entry: &Entry) -> io::Result<()> {
        let key = key(entry.mac);
        let mut ways = self.ways(&key)?;
        ways[entry.station as usize] = entry.index;
        match self.0.put(&key, &value(ways)) {
            Err(error) if error.raw_os_error() == Some(libc::E2BIG) => Ok(()),
            Err(error) => {
                self.0.remove(&key)?;
                Err(error)
            }
            Ok(()) => Ok(()),
        }
    }

    /// The link that a station's entry leads to.
    pub(crate) fn link_to(&self, mac: MacAddr, station: Station) -> io::Result<Option<u32>> {
        let index = self.ways(&key(mac))?[station as usize];
        Ok(Some(index).filter(|index| *index != NO_LINK))
    }

    /// Removes a station's entry, if it is there.
    pub(crate) fn remove(&self, mac: MacAddr, station: Station) -> io::Result<()> {
        let key = key(mac);
        let mut ways = self.ways(&key)?;
        ways[station as usize] = NO_LINK;
        match ways {
            NOWHERE => self.0.remove(&key),
            ways => self.0.put(&key, &value(ways)),
        }
    }

    fn ways(&self, key: &Word) -> io::Result<Ways> {
        Ok(self.0.get(key)?.map_or(NOWHERE, ways))
    }
}

/// Has the frames that come in by links of our block looked up by the program, in an empty table.
///
/// # Errors
/// What the kernel says to it.
pub(crate) fn install(socket: &mut Socket) -> io::Result<()> {
    let map = Map::create(SHORT, MOST)?;
    let program = bpf::load(SHORT, &program(map.fd()))?;
    let mut batch = Batch::default();
    tc::attach(&mut batch, NAME, program.as_fd());
    carry_out(socket, &mut batch)
}

fn carry_out(socket: &mut Socket, batch: &mut Batch) -> io::Result<()> {
    match socket.transact(batch)?.into_iter().next() {
        Some(refusal) => Err(refusal.into_error()),
        None => Ok(()),
    }
}

/// Reads what the socket's namespace has. What cannot be read is not there: a kernel without it, or
/// one that lets nobody look.
pub(crate) fn look(socket: &mut Socket) -> Seen {
    let bound = tc::bound(socket).unwrap_or_default();
    let programs = tc::programs(socket).unwrap_or_default();
    let table = Table::of(&programs).ok().flatten();
    let all = table.and_then(|table| table.0.entries(MOST).ok());
    Seen {
        bound: bound.iter().map(|one| (one.index, one.ours)).collect(),
        entries: all.map(|all| all.into_iter().flat_map(entries).collect()),
        any: !programs.is_empty(),
    }
}

/// Does all of it once, in a namespace that is there for nothing else.
///
/// # Errors
/// What the kernel says to it.
pub(crate) fn probe(socket: &mut Socket) -> io::Result<()> {
    let mut batch = Batch::default();
    tc::bind(&mut batch, LOOPBACK);
    carry_out(socket, &mut batch)?;
    install(socket)
}

/// Refuses in a debug build that is told to have a kernel without it.
#[cfg(debug_assertions)]
pub(crate) fn hidden() -> io::Result<()> {
    match std::env::var_os("VETHWORK_NO_SHORTCUTS") {
        Some(_) => Err(io::ErrorKind::Unsupported.into()),
        None => Ok(()),
    }
}

/// Nothing: only debug builds can be told so.
#[cfg(not(debug_assertions))]
pub(crate) const fn hidden() -> io::Result<()> {
    Ok(())
}

/// A station's address, filled up.
fn key(mac: MacAddr) -> Word {
    let [a, b, c, d, e, f] = mac.0;
    [a, b, c, d, e, f, 0, 0]
}

fn value([here, elsewhere]: Ways) -> Word {
    let mut word = Word::default();
    word[..4].copy_from_slice(&here.to_ne_bytes());
    word[4..].copy_from_slice(&elsewhere.to_ne_bytes());
    word
}

fn ways(value: Word) -> Ways {
    let [a, b, c, d, e, f, g, h] = value;
    [[a, b, c, d], [e, f, g, h]].map(u32::from_ne_bytes)
}

fn entries((key, value): (Word, Word)) -> impl Iterator<Item = Entry> {
    let [a, b, c, d, e, f, _, _] = key;
    let sides = [Station::Here, Station::Elsewhere]
        .into_iter()
        .zip(ways(value));
    let there = sides.filter(|(_, index)| *index != NO_LINK);
    there.map(move |(station, index)| Entry {
        mac: MacAddr([a, b, c, d, e, f]),
        station,
        index,
    })
}

/// The program. Whatever it does not know, the bridge gets: frames that are no IP (ARP is answered
/// by those who are asked), tagged ones, those from or to groups, those from or to stations that are
/// in no entry, and those that would go out where they came in. A sender in no entry is one that the
/// bridge must see again and again: else it forgets him and floods what is for him. None is too
/// long: a pair takes no frame that is longer than its ends' MTU, and all links of a network have
/// the same.
fn program(map: RawFd) -> Vec<Word> {
    let mut code = Assembler::default();
    let (bridge, elsewhere) = (code.label(), code.label());
    code.copy(CONTEXT, Register::R1);
    check_frame(&mut code, bridge);
    look_up(&mut code, map, SENDER, bridge);
    look_up(&mut code, map, RECEIVER, bridge);
    code.load(Size::Word, Register::R1, (CONTEXT, IFINDEX));
    code.load(Size::Word, Register::R7, (Register::R0, 0));
    code.jump_if(Register::R7, Is::Equal(0), elsewhere);
    code.jump_if(Register::R7, Is::Same(Register::R1), bridge);
    // Its destination is that of the pair's other end, not of the one where it came in.
    code.copy(Register::R1, CONTEXT);
    code.set(Register::R2, PACKET_HOST);
    code.call(SKB_CHANGE_TYPE);
    redirect(&mut code, REDIRECT_PEER);

    code.place(elsewhere);
    code.load(Size::Word, Register::R7, (Register::R0, 4));
    code.jump_if(Register::R7, Is::Same(Register::R1), bridge);
    redirect(&mut code, REDIRECT);

    code.place(bridge);
    code.set(Register::R0, GO_ON);
    code.exit();
    code.finish()
}

/// Has `R0` lead to the entry of an address of the frame, and leaves it to the bridge where there is
/// none.
fn look_up(code: &mut Assembler, map: RawFd, address: i16, bridge: Label) {
    code.load(Size::Word, Register::R0, (FRAME, address));
    code.store(Size::Word, (Register::Frame, KEY), Register::R0);
    code.load(Size::Half, Register::R0, (FRAME, address + 4));
    code.store(Size::Half, (Register::Frame, KEY + 4), Register::R0);
    code.store_number(Size::Half, (Register::Frame, KEY + 6), 0);
    code.map(Register::R1, map);
    code.copy(Register::R2, Register::Frame);
    code.add(Register::R2, KEY.into());
    code.call(MAP_LOOKUP_ELEM);
    code.jump_if(Register::R0, Is::Equal(0), bridge);
}

/// Leaves what is no plain IP frame of a station's to the bridge; the frame is to be found then.
fn check_frame(code: &mut Assembler, bridge: Label) {
    let ip = code.label();
    code.load(Size::Word, FRAME, (CONTEXT, DATA));
    code.load(Size::Word, Register::R3, (CONTEXT, DATA_END));
    code.copy(Register::R4, FRAME);
    code.add(Register::R4, 14);
    code.jump_if(Register::R4, Is::Above(Register::R3), bridge);
    code.load(Size::Word, Register::R0, (CONTEXT, VLAN_PRESENT));
    code.jump_if(Register::R0, Is::Not(0), bridge);
    let number = |kind: i32| i32::from((kind as u16).to_be());
    code.load(Size::Word, Register::R0, (CONTEXT, PROTOCOL));
    code.jump_if(Register::R0, Is::Equal(number(libc::ETH_P_IP)), ip);
    code.jump_if(Register::R0, Is::Not(number(libc::ETH_P_IPV6)), bridge);
    code.place(ip);
    // A bridge takes no frame of a sender that is a group, or nobody.
    code.load(Size::Byte, Register::R0, (FRAME, SENDER));
    code.jump_if(Register::R0, Is::Has(1), bridge);
    code.load(Size::Word, Register::R0, (FRAME, SENDER));
    code.jump_if(Register::R0, Is::Equal(0), bridge);
}

/// Ends with the frame on its way by the link in `R7`.
fn redirect(code: &mut Assembler, how: i32) {
    code.copy(Register::R1, Register::R7);
    code.set(Register::R2, 0);
    code.call(how);
    code.exit();
}

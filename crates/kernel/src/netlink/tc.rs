//! Requests and answers about what looks at frames as they come in by a link, or leave by it: a queueing
//! discipline, and a program in it (`linux/pkt_sched.h`, `linux/pkt_cls.h`).
//!
//! The program stands once a namespace, in a block that the disciplines of all its links share:
//! binding one more link takes 17 us. Attached to each link by itself (TCX) it would be 16 ms, in
//! which nobody else can change a link: the kernel waits for all readers there
//! (`tcx_entry_sync`).

use super::{
    Attrs, Batch, Body, Socket,
    wire::{get_str, get_u32},
};
use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd},
};

const TCMSG: usize = 20;
/// `TC_H_INGRESS`.
const INGRESS: u32 = 0xffff_fff1;
/// `TC_H_MAKE(TC_H_INGRESS, 0)`.
const INGRESS_HANDLE: u32 = 0xffff_0000;
/// Stands for a link where a request is about a block (`TCM_IFINDEX_MAGIC_BLOCK`).
const NO_LINK: u32 = u32::MAX;
/// `TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_EGRESS)`.
const LEAVING: u32 = 0xffff_fff3;
/// The block of ours ("vw"), in each namespace its own.
const BLOCK: u32 = 0x7677;
/// The one place in it that we use.
const PRIORITY: u32 = 1;
const FILTER_HANDLE: u32 = 1;

const TCA_KIND: u16 = 1;
const TCA_OPTIONS: u16 = 2;
const TCA_INGRESS_BLOCK: u16 = 13;
const TCA_BPF_FD: u16 = 6;
const TCA_BPF_NAME: u16 = 7;
const TCA_BPF_FLAGS: u16 = 8;
const TCA_BPF_ID: u16 = 11;
/// What the program answers is done.
const TCA_BPF_FLAG_ACT_DIRECT: u32 = 1;

/// Gives a link an ingress discipline that shares our block; the first one makes the block.
pub(crate) fn bind(batch: &mut Batch, index: u32) {
    let flags = libc::NLM_F_CREATE | libc::NLM_F_EXCL;
    batch.push(libc::RTM_NEWQDISC, flags, |body| {
        header(body, index, INGRESS_HANDLE, INGRESS, 0);
        body.attr_str(TCA_KIND, "ingress");
        body.attr_u32(TCA_INGRESS_BLOCK, BLOCK);
    });
}

/// Takes a link's discipline away, whosever it is, with its programs; with the last one that shares
/// it goes the block.
pub(crate) fn unbind(batch: &mut Batch, index: u32) {
    batch.push(libc::RTM_DELQDISC, 0, |body| {
        header(body, index, INGRESS_HANDLE, INGRESS, 0);
    });
}

/// Puts a program into our block, in the place of a former one.
pub(crate) fn attach(batch: &mut Batch, name: &str, program: BorrowedFd<'_>) {
    batch.push(libc::RTM_NEWTFILTER, libc::NLM_F_CREATE, |body| {
        of_block(body, FILTER_HANDLE);
        put_program(body, name, program);
    });
}

/// Gives a link a discipline for programs that see what comes in and what leaves.
pub(crate) fn make_place(batch: &mut Batch, index: u32) {
    let flags = libc::NLM_F_CREATE | libc::NLM_F_EXCL;
    batch.push(libc::RTM_NEWQDISC, flags, |body| {
        header(body, index, INGRESS_HANDLE, INGRESS, 0);
        body.attr_str(TCA_KIND, "clsact");
    });
}

/// Has a program see what leaves by a link with such a discipline, in the place of a former one.
pub(crate) fn attach_leaving(batch: &mut Batch, index: u32, name: &str, program: BorrowedFd<'_>) {
    batch.push(libc::RTM_NEWTFILTER, libc::NLM_F_CREATE, |body| {
        header(body, index, FILTER_HANDLE, LEAVING, of_any());
        put_program(body, name, program);
    });
}

/// Takes it out of there.
pub(crate) fn detach(batch: &mut Batch) {
    batch.push(libc::RTM_DELTFILTER, 0, |body| {
        of_block(body, FILTER_HANDLE);
        body.attr_str(TCA_KIND, "bpf");
    });
}

/// A link with an ingress discipline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bound {
    /// The link.
    pub(crate) index: u32,
    /// Whether it shares our block; else it is somebody else's.
    pub(crate) ours: bool,
}

/// The links with one.
pub(crate) fn bound(socket: &mut Socket) -> io::Result<Vec<Bound>> {
    let mut bound = Vec::new();
    let body = |body: &mut Body<'_>| header(body, 0, 0, 0, 0);
    socket.dump(libc::RTM_GETQDISC, body, |payload| {
        if get_u32(payload, 12) == INGRESS {
            let mut attributes = Attrs::after(payload, TCMSG);
            let ours = |(kind, value): (u16, &[u8])| {
                kind == TCA_INGRESS_BLOCK && get_u32(value, 0) == BLOCK
            };
            bound.push(Bound {
                index: get_u32(payload, 4),
                ours: attributes.any(ours),
            });
        }
    })?;
    Ok(bound)
}

/// The programs in our block, by their numbers, with the names under which they were put there.
pub(crate) fn programs(socket: &mut Socket) -> io::Result<Vec<(u32, String)>> {
    programs_at(socket, |body| header(body, NO_LINK, 0, BLOCK, 0))
}

/// The same of those that see what leaves by a link.
pub(crate) fn programs_leaving(socket: &mut Socket, index: u32) -> io::Result<Vec<(u32, String)>> {
    programs_at(socket, |body| header(body, index, 0, LEAVING, 0))
}

fn programs_at(
    socket: &mut Socket,
    body: impl Fn(&mut Body<'_>),
) -> io::Result<Vec<(u32, String)>> {
    let mut programs = Vec::new();
    socket.dump(libc::RTM_GETTFILTER, body, |payload| {
        let options = Attrs::after(payload, TCMSG).find(|(kind, _)| *kind == TCA_OPTIONS);
        let (mut id, mut name) = (None, String::new());
        for (kind, value) in options.into_iter().flat_map(|(_, value)| Attrs::of(value)) {
            match kind {
                TCA_BPF_ID => id = Some(get_u32(value, 0)),
                TCA_BPF_NAME => name = get_str(value),
                _ => {}
            }
        }
        programs.extend(id.map(|id| (id, name)));
    })?;
    Ok(programs)
}

fn of_block(body: &mut Body<'_>, handle: u32) {
    header(body, NO_LINK, handle, BLOCK, of_any());
}

/// Our one place, for packets of any kind.
fn of_any() -> u32 {
    PRIORITY << 16 | u32::from((libc::ETH_P_ALL as u16).to_be())
}

fn put_program(body: &mut Body<'_>, name: &str, program: BorrowedFd<'_>) {
    body.attr_str(TCA_KIND, "bpf");
    body.nest(TCA_OPTIONS, |body| {
        body.attr(TCA_BPF_FD, &program.as_raw_fd().to_ne_bytes());
        body.attr_str(TCA_BPF_NAME, name);
        body.attr_u32(TCA_BPF_FLAGS, TCA_BPF_FLAG_ACT_DIRECT);
    });
}

fn header(body: &mut Body<'_>, index: u32, handle: u32, parent: u32, info: u32) {
    let mut bytes = [0; TCMSG];
    for (at, number) in [index, handle, parent, info].iter().enumerate() {
        bytes[4 + 4 * at..8 + 4 * at].copy_from_slice(&number.to_ne_bytes());
    }
    body.bytes(&bytes);
}

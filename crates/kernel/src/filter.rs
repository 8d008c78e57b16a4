//! Which of what the kernel tells by netlink reaches a listener, so that nothing else wakes it.

use crate::netlink::PROTOCOL;
use std::{
    io,
    os::fd::{AsRawFd, OwnedFd},
};

const ACCEPT: u32 = u32::MAX;

/// An instruction: its code, how far it jumps when true and when false, and its operand.
type Instruction = (u32, u8, u8, u32);

/// Has the kernel pass on only links that were deleted or went down, routes of ours that were, and
/// the link that is followed with its addresses.
///
/// Making a pair tells of it sixteen times, with its maker waiting; waking a thread for each cost
/// a tenth of an attachment. `RTM_NEWLINK` of a link that is up concerns nobody here.
pub(crate) fn only_losses(fd: &OwnedFd, besides: Option<u32>) -> io::Result<()> {
    let lowest = if cfg!(target_endian = "little") { 0 } else { 3 };
    // `ifi_flags` and `ifi_change`, each with IFF_UP in the lowest byte.
    let (flags, change) = (24, 28);
    // No link has the index 0.
    let besides = number(besides.unwrap_or_default());
    let program = [
        // `nlmsg_type`.
        load(libc::BPF_H, 4),
        jump(libc::BPF_JEQ, 14, 0, kind(libc::RTM_DELLINK)),
        jump(libc::BPF_JEQ, 11, 0, kind(libc::RTM_DELROUTE)),
        jump(libc::BPF_JEQ, 13, 0, kind(libc::RTM_NEWROUTE)),
        // `ifi_index` and `ifa_index`.
        load(libc::BPF_W, 20),
        jump(libc::BPF_JEQ, 10, 0, besides),
        load(libc::BPF_H, 4),
        jump(libc::BPF_JEQ, 0, 9, kind(libc::RTM_NEWLINK)),
        // As [`Seen::went_down`].
        load(libc::BPF_B, flags + lowest),
        jump(libc::BPF_JSET, 7, 0, libc::IFF_UP as u32),
        load(libc::BPF_B, change + lowest),
        jump(libc::BPF_JSET, 0, 5, libc::IFF_UP as u32),
        load(libc::BPF_W, change),
        jump(libc::BPF_JEQ, 3, 2, u32::MAX),
        // `rtm_protocol`.
        load(libc::BPF_B, 21),
        jump(libc::BPF_JEQ, 0, 1, u32::from(PROTOCOL)),
        answer(ACCEPT),
        answer(0),
    ];
    attach(fd, &program)
}

/// Has the kernel pass on all that it tells.
pub(crate) fn everything(fd: &OwnedFd) -> io::Result<()> {
    attach(fd, &[answer(ACCEPT)])
}

/// Has the kernel pass on nothing that it tells because of what these sockets asked for, by their
/// netlink ports. All messages of a datagram are of one of `nlmsg_pid`.
pub(crate) fn not_of(fd: &OwnedFd, ports: &[u32]) -> io::Result<()> {
    let mut program = vec![load(libc::BPF_W, 12)];
    for port in ports {
        program.extend([jump(libc::BPF_JEQ, 0, 1, number(*port)), answer(0)]);
    }
    program.push(answer(ACCEPT));
    attach(fd, &program)
}

/// Has the kernel pass on only what it tells of addresses that others than a link's own neighbours
/// may send to: each link that comes up has one of those.
pub(crate) fn only_global(fd: &OwnedFd) -> io::Result<()> {
    let program = [
        // `ifa_scope`.
        load(libc::BPF_B, 19),
        jump(libc::BPF_JEQ, 0, 1, u32::from(libc::RT_SCOPE_LINK)),
        answer(0),
        answer(ACCEPT),
    ];
    attach(fd, &program)
}

/// Has the kernel pass on only what it tells of one link.
pub(crate) fn only_link(fd: &OwnedFd, index: u32) -> io::Result<()> {
    let program = [
        // `ifi_index`.
        load(libc::BPF_W, 20),
        jump(libc::BPF_JEQ, 0, 1, number(index)),
        answer(ACCEPT),
        answer(0),
    ];
    attach(fd, &program)
}

const fn load(size: u32, at: u32) -> Instruction {
    (libc::BPF_LD | size | libc::BPF_ABS, 0, 0, at)
}

const fn jump(test: u32, yes: u8, no: u8, value: u32) -> Instruction {
    (libc::BPF_JMP | test | libc::BPF_K, yes, no, value)
}

const fn answer(value: u32) -> Instruction {
    (libc::BPF_RET | libc::BPF_K, 0, 0, value)
}

/// The filter reads numbers in network order, netlink has them in the host's.
const fn number(value: u32) -> u32 {
    u32::from_be_bytes(value.to_ne_bytes())
}

/// As [`number`], of a message's kind.
fn kind(kind: u16) -> u32 {
    u32::from(u16::from_be_bytes(kind.to_ne_bytes()))
}

fn attach(fd: &OwnedFd, program: &[Instruction]) -> io::Result<()> {
    let instruction = |&(code, jt, jf, k): &Instruction| libc::sock_filter {
        code: code as u16,
        jt,
        jf,
        k,
    };
    let mut filter: Vec<_> = program.iter().map(instruction).collect();
    let program = libc::sock_fprog {
        len: filter.len() as u16,
        filter: filter.as_mut_ptr(),
    };
    // SAFETY: program and filter live through the call, which copies them; sizes are given.
    let set = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            (&raw const program).cast(),
            size_of_val(&program) as libc::socklen_t,
        )
    };
    if set < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

//! The program by which a link translates IPv6 into IPv4 and back, and where it is found again.
//!
//! Owns the place: what leaves by the link is translated and comes in by it again. What is led there,
//! and by which addresses, is said by plans and by `vw_firewall`.

mod packet;
mod program;

use crate::{
    bpf,
    netlink::{Batch, Socket, tc},
};
use std::{io, os::fd::AsFd};

/// Under what name the program is attached; another form of it has another.
const NAME: &str = "vethwork translator 1";
/// What the program is called itself.
const SHORT: &str = "vethwork_xlat";
/// The link that the kernel gives each namespace first.
const LOOPBACK: u32 = 1;

/// Has what leaves by a link translated, in the place of a former program of ours.
///
/// # Errors
/// What the kernel says to it.
pub(crate) fn install(socket: &mut Socket, index: u32) -> io::Result<()> {
    let program = bpf::load(SHORT, &program::program())?;
    let mut batch = Batch::default();
    tc::make_place(&mut batch, index);
    // One that stands serves as well.
    if let Some(refusal) = socket.transact(&mut batch)?.into_iter().next() {
        let error = refusal.into_error();
        if error.kind() != io::ErrorKind::AlreadyExists {
            return Err(error);
        }
    }
    let mut batch = Batch::default();
    tc::attach_leaving(&mut batch, index, NAME, program.as_fd());
    match socket.transact(&mut batch)?.into_iter().next() {
        Some(refusal) => Err(refusal.into_error()),
        None => Ok(()),
    }
}

/// Whether what leaves by a link is translated. What cannot be read is not there.
pub(crate) fn stands(socket: &mut Socket, index: u32) -> bool {
    let programs = tc::programs_leaving(socket, index).unwrap_or_default();
    programs.iter().any(|(_, name)| name == NAME)
}

/// Does all of it once, in a namespace that is there for nothing else.
///
/// # Errors
/// What the kernel says to it.
pub(crate) fn probe(socket: &mut Socket) -> io::Result<()> {
    install(socket, LOOPBACK)
}

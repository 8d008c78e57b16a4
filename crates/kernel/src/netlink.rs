//! rtnetlink as far as the executor needs it: an encoder, a socket and one module an object.
//!
//! Owns the bytes on the wire (`linux/netlink.h`, `linux/rtnetlink.h`). It must not know plans:
//! it encodes requests and parses answers.

pub(crate) mod addr;
pub(crate) mod fdb;
pub(crate) mod link;
pub(crate) mod neigh;
pub(crate) mod route;
mod socket;
pub(crate) mod tc;
mod wire;
pub(crate) mod wireguard;

pub(crate) use socket::{Refusal, Socket, answer_well, errno, receive};
pub(crate) use wire::{Attrs, Batch, Body, get_u32, messages};

/// `rtm_protocol`, `NDA_PROTOCOL` and `IFA_PROTO` of what we make ("V"); `rt_protos` of iproute2
/// and FRR leave it unassigned.
pub(crate) const PROTOCOL: u8 = 0x56;

/// The link group that marks links of ours ("vw").
pub(crate) const GROUP_LIVE: u32 = 0x7677;

/// The link group of what is out of service and waits for its deletion.
pub(crate) const GROUP_DOOMED: u32 = 0x7678;

//! nftables by netlink transactions: our tables, their elements, and who else changes things.
//!
//! Owns the translation of `vw_firewall`'s tables and elements into `nf_tables` messages, and
//! back. It must not decide what the rules are, and never runs `nft` or `iptables`.
//!
//! Our table has no owner flag (`NFT_TABLE_F_OWNER`): it would keep the administrator from
//! filling the chain `user`, and a table without one survives the daemon just as well. What a
//! foreign `flush ruleset` takes is put back on [`Monitor`]'s word.

mod abi;
mod elements;
mod expr;
mod foreign;
mod legacy;
mod monitor;
mod rule;
mod shape;
mod socket;
mod table;
mod typeof_data;
mod wire;

pub(crate) use elements::Change;
pub use legacy::legacy_chains;
pub use monitor::{Changed, Monitor};
pub(crate) use table::Skeleton;

use std::io;

/// A socket to nf_tables of one namespace.
///
/// Every change is one transaction: all of it takes effect at once, or nothing.
#[derive(Debug)]
pub struct Nft {
    socket: socket::Socket,
}

/// A transaction that the kernel refused; nothing of it took effect.
#[derive(Debug, thiserror::Error)]
#[error("nftables refused the change: {source}")]
pub struct Refused {
    /// The change that was refused, by its place; `None` when it was none in particular.
    pub place: Option<usize>,
    /// The system's answer.
    pub source: io::Error,
}

impl From<io::Error> for Refused {
    fn from(source: io::Error) -> Self {
        Self {
            place: None,
            source,
        }
    }
}

impl Nft {
    /// Opens one in the namespace of the calling thread; it may be used from any thread then.
    ///
    /// # Errors
    /// The system's answer.
    pub fn open() -> io::Result<Self> {
        Ok(Self {
            socket: socket::Socket::open()?,
        })
    }

    /// Its netlink port, by which [`Monitor`] tells our changes from others'.
    ///
    /// # Errors
    /// The system's answer.
    pub fn port(&self) -> io::Result<u32> {
        self.socket.port()
    }
}

#[cfg(test)]
mod tests;

//! Numbers of `linux/netfilter/nf_tables.h` and `nfnetlink.h`, as far as they are used here.

use vw_firewall::foreign::TableFamily;

/// `NFNL_SUBSYS_NFTABLES`.
pub(super) const SUBSYSTEM: u8 = 10;
/// `NFNL_MSG_BATCH_BEGIN` and `_END`.
pub(super) const BATCH_BEGIN: u16 = 16;
pub(super) const BATCH_END: u16 = 17;
/// `NFNLGRP_NFTABLES`.
pub(super) const GROUP: u32 = 7;

/// A message of nf_tables, `NFT_MSG_*`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Message {
    NewTable = 0,
    GetTable = 1,
    DelTable = 2,
    NewChain = 3,
    GetChain = 4,
    DelChain = 5,
    NewRule = 6,
    GetRule = 7,
    DelRule = 8,
    NewSet = 9,
    GetSet = 10,
    DelSet = 11,
    NewSetElem = 12,
    GetSetElem = 13,
    DelSetElem = 14,
}

impl Message {
    /// Its `nlmsg_type`.
    pub(super) const fn kind(self) -> u16 {
        (SUBSYSTEM as u16) << 8 | self as u16
    }
}

/// `NFPROTO_*`.
pub(super) const UNSPEC: u8 = 0;
pub(super) const INET: u8 = 1;
pub(super) const IPV4: u8 = 2;
pub(super) const IPV6: u8 = 10;

/// That of a table's family.
pub(super) const fn number(family: TableFamily) -> u8 {
    match family {
        TableFamily::Ip => IPV4,
        TableFamily::Ip6 => IPV6,
        TableFamily::Inet => INET,
    }
}

/// `NFTA_TABLE_*`.
pub(super) mod table {
    pub(crate) const NAME: u16 = 1;
    pub(crate) const FLAGS: u16 = 2;
    /// `NFT_TABLE_F_OWNER`.
    pub(crate) const OWNER: u32 = 2;
}

/// `NFTA_CHAIN_*`.
pub(super) mod chain {
    pub(crate) const TABLE: u16 = 1;
    pub(crate) const NAME: u16 = 3;
    pub(crate) const HOOK: u16 = 4;
    pub(crate) const POLICY: u16 = 5;
    pub(crate) const TYPE: u16 = 7;
    pub(crate) const USERDATA: u16 = 12;
    /// `NFTA_HOOK_*`.
    pub(crate) const HOOK_NUM: u16 = 1;
    pub(crate) const HOOK_PRIORITY: u16 = 2;
}

/// `NFTA_RULE_*`.
pub(super) mod rule {
    pub(crate) const TABLE: u16 = 1;
    pub(crate) const CHAIN: u16 = 2;
    pub(crate) const HANDLE: u16 = 3;
    pub(crate) const EXPRESSIONS: u16 = 4;
    pub(crate) const USERDATA: u16 = 7;
}

/// `NFTA_SET_*`.
pub(super) mod set {
    pub(crate) const TABLE: u16 = 1;
    pub(crate) const NAME: u16 = 2;
    pub(crate) const FLAGS: u16 = 3;
    pub(crate) const KEY_TYPE: u16 = 4;
    pub(crate) const KEY_LEN: u16 = 5;
    pub(crate) const DATA_TYPE: u16 = 6;
    pub(crate) const DATA_LEN: u16 = 7;
    pub(crate) const ID: u16 = 10;
    pub(crate) const USERDATA: u16 = 13;
    /// `NFT_SET_MAP`.
    pub(crate) const MAP: u32 = 8;
    /// `NFT_DATA_VERDICT`.
    pub(crate) const DATA_VERDICT: u32 = 0xffff_ff00;
}

/// `NFTA_SET_ELEM_LIST_*` and `NFTA_SET_ELEM_*`.
pub(super) mod elem {
    pub(crate) const TABLE: u16 = 1;
    pub(crate) const SET: u16 = 2;
    pub(crate) const ELEMENTS: u16 = 3;
    pub(crate) const KEY: u16 = 1;
    pub(crate) const DATA: u16 = 2;
}

/// `NFTA_LIST_ELEM`.
pub(super) const LIST_ELEM: u16 = 1;

/// `NFTA_DATA_*` and `NFTA_VERDICT_*`.
pub(super) mod data {
    pub(crate) const VALUE: u16 = 1;
    pub(crate) const VERDICT: u16 = 2;
    pub(crate) const CODE: u16 = 1;
    pub(crate) const CHAIN: u16 = 2;
}

/// Verdicts: `NF_*` and `NFT_*`.
pub(super) mod verdict {
    pub(crate) const DROP: i32 = 0;
    pub(crate) const ACCEPT: i32 = 1;
    pub(crate) const JUMP: i32 = -3;
    pub(crate) const GOTO: i32 = -4;
    pub(crate) const RETURN: i32 = -5;
}

/// `NFTA_EXPR_*`.
pub(super) mod expr {
    pub(crate) const NAME: u16 = 1;
    pub(crate) const DATA: u16 = 2;
}

//! Other firewalls of the same host, whose drop policies would stop what ours lets pass.
//!
//! A drop wins over any accept in another table. Our forward chain therefore marks what it lets
//! pass, and one rule in the other firewall's own place accepts the mark. This module decides
//! where that rule goes; it must not look or write there itself.

use crate::table::FORWARD;
use std::fmt;

/// What the comments of our rules in other tables begin with, by which they are found again.
pub const TAG: &str = "vethwork: let pass by inet vethwork, mark ";

/// The family of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TableFamily {
    /// IPv4.
    Ip,
    /// IPv6.
    Ip6,
    /// Both.
    Inet,
}

impl fmt::Display for TableFamily {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ip => "ip",
            Self::Ip6 => "ip6",
            Self::Inet => "inet",
        })
    }
}

/// Who keeps a chain, as far as it matters for how it may be changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Keeper {
    /// An nftables table that anyone may change.
    Nftables,
    /// A table that only the process that made it may change (`flags owner`).
    Owner,
    /// A table of `iptables-nft`; everything in it must be such that iptables can list it.
    IptablesNft,
    /// A table of the kernel's older filter, which nftables cannot change.
    IptablesLegacy,
}

/// What a base chain does with what none of its rules decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Policy {
    /// It passes.
    Accept,
    /// It is gone.
    Drop,
}

/// A base chain of another table on the forward hook.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ForeignChain {
    /// The family of its table.
    pub family: TableFamily,
    /// Its table.
    pub table: String,
    /// Its name.
    pub chain: String,
    /// Its place on the hook.
    pub priority: i32,
    /// What it does in the end.
    pub policy: Policy,
    /// Who keeps it.
    pub keeper: Keeper,
    /// Whether its table has a chain `DOCKER-USER`, which Docker keeps at the head of `FORWARD`
    /// and whose rules it leaves alone.
    pub docker_user: bool,
}

/// Where a rule that accepts the mark goes: at the head of a chain.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The family of the table.
    pub family: TableFamily,
    /// The table.
    pub table: String,
    /// The chain.
    pub chain: String,
    /// Whether it must be one that iptables can list.
    pub iptables: bool,
}

/// What one other firewall needs in order to let our traffic pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Adjustment {
    /// Where the rule goes.
    pub place: Place,
    /// The mark it accepts.
    pub mark: u32,
    /// Whether it is iptables' older kind, with a command of its own.
    pub legacy: bool,
    /// Why we cannot put it there ourselves; the text of the rule must then do.
    pub obstacle: Option<&'static str>,
}

impl Adjustment {
    /// The comment of the rule: the tag, and the mark, so that one for another mark is told apart.
    #[must_use]
    pub fn comment(&self) -> String {
        format!("{TAG}{:#x}", self.mark)
    }
}

impl ForeignChain {
    /// Whether it may stop what no rule of its own lets pass: by its policy, or, firewalld, by a
    /// last rule that rejects.
    fn stops(&self) -> bool {
        self.policy == Policy::Drop || (self.table == "firewalld" && self.chain == "filter_FORWARD")
    }

    fn obstacle(&self) -> Option<&'static str> {
        match self.keeper {
            _ if self.priority < FORWARD => Some("it decides before our mark is set"),
            Keeper::Owner => Some("its table belongs to another process"),
            Keeper::IptablesLegacy => Some("it is of the older iptables (legacy)"),
            Keeper::Nftables | Keeper::IptablesNft => None,
        }
    }
}

/// The rules that other firewalls need, none where none of them would stop our traffic.
///
/// Nothing is accepted by mark 0: without a mark there are no adjustments.
#[must_use]
pub fn adjustments(chains: &[ForeignChain], mark: u32) -> Vec<Adjustment> {
    let stopping = chains.iter().filter(|chain| mark != 0 && chain.stops());
    let adjustment = |chain: &ForeignChain| Adjustment {
        place: Place {
            family: chain.family,
            table: chain.table.clone(),
            chain: match chain.docker_user {
                true => "DOCKER-USER".to_owned(),
                false => chain.chain.clone(),
            },
            iptables: matches!(chain.keeper, Keeper::IptablesNft | Keeper::IptablesLegacy),
        },
        mark,
        legacy: chain.keeper == Keeper::IptablesLegacy,
        obstacle: chain.obstacle(),
    };
    stopping.map(adjustment).collect()
}

/// The command by which an administrator makes the rule.
impl fmt::Display for Adjustment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Place {
            family,
            table,
            chain,
            iptables,
        } = &self.place;
        let (mark, comment) = (self.mark, self.comment());
        if *iptables {
            let legacy = match self.legacy {
                true => "-legacy",
                false => "",
            };
            let program = match family {
                TableFamily::Ip6 => "ip6tables",
                TableFamily::Ip | TableFamily::Inet => "iptables",
            };
            return write!(
                f,
                "{program}{legacy} -t {table} -I {chain} -m mark --mark {mark:#x}/{mark:#x} -m comment --comment \"{comment}\" -j ACCEPT"
            );
        }
        write!(
            f,
            "nft insert rule {family} {table} {chain} meta mark \\& {mark:#x} == {mark:#x} accept comment '\"{comment}\"'"
        )
    }
}

//! The sets and maps of `inet vethwork_services`.

use super::CLASSES;
use crate::DataType;
use serde::{Deserialize, Serialize};
use vw_model::Family;

/// What a connection asked for, and over which family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Entry {
    /// A virtual address, IPv4.
    Vip4,
    /// A virtual address, IPv6.
    Vip6,
    /// A published port, over IPv4.
    Port4,
    /// A published port, over IPv6.
    Port6,
    /// A port that is published on one address, IPv4.
    At4,
    /// A port that is published on one address, IPv6.
    At6,
}

/// A set or map of the services' table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ServiceSet {
    /// `ifname . address`: who comes by this interface may ask for this virtual address.
    Home(Family),
    /// `address`: every virtual address.
    Vips(Family),
    /// `address . inet_proto . inet_service`: every port that is published on one address.
    At(Family),
    /// `inet_proto . inet_service`: every port that is published on every address.
    Ports(Family),
    /// The entries whose slots fit into two to this power and no less.
    Class(Entry, u8),
    /// The entries that lead a client to the same slot each time.
    Affine(Entry),
    /// `entry . slot`: the endpoint's address, and for a published port its port.
    Slots(Entry),
}

/// What is named after an entry.
pub(super) struct Names {
    slots: &'static str,
    affine: &'static str,
    classes: [&'static str; CLASSES],
    /// The chain that finds the class.
    pub(super) balance: &'static str,
    /// The same for a client's own slot.
    pub(super) stick: &'static str,
    /// The chains that draw a slot of each class.
    pub(super) draw: [&'static str; CLASSES],
    /// The same by the client's address.
    pub(super) hash: [&'static str; CLASSES],
}

/// One name a class.
macro_rules! per_class {
    ($entry:literal, $what:literal) => {
        per_class!($entry, $what, 1 2 4 8 16 32 64 128 256 512 1024)
    };
    ($entry:literal, $what:literal, $($slots:literal)*) => {
        [$(concat!($entry, $what, $slots)),*]
    };
}

macro_rules! names {
    ($entry:literal) => {
        Names {
            slots: concat!($entry, "_slots"),
            affine: concat!($entry, "_affine"),
            classes: per_class!($entry, "_of_"),
            balance: concat!($entry, "_balance"),
            stick: concat!($entry, "_stick"),
            draw: per_class!($entry, "_draw_"),
            hash: per_class!($entry, "_hash_"),
        }
    };
}

static VIP4: Names = names!("vip4");
static VIP6: Names = names!("vip6");
static PORT4: Names = names!("port4");
static PORT6: Names = names!("port6");
static AT4: Names = names!("at4");
static AT6: Names = names!("at6");

/// How many sets there are: eight of what is asked for, and each entry's.
const SETS: usize = 8 + Entry::ALL.len() * (CLASSES + 2);

impl Entry {
    /// All of them.
    pub(super) const ALL: [Self; 6] = [
        Self::Vip4,
        Self::Vip6,
        Self::Port4,
        Self::Port6,
        Self::At4,
        Self::At6,
    ];

    pub(super) const fn vip(family: Family) -> Self {
        match family {
            Family::V4 => Self::Vip4,
            Family::V6 => Self::Vip6,
        }
    }

    pub(super) const fn port(family: Family) -> Self {
        match family {
            Family::V4 => Self::Port4,
            Family::V6 => Self::Port6,
        }
    }

    pub(super) const fn at(family: Family) -> Self {
        match family {
            Family::V4 => Self::At4,
            Family::V6 => Self::At6,
        }
    }

    pub(super) const fn family(self) -> Family {
        match self {
            Self::Vip4 | Self::Port4 | Self::At4 => Family::V4,
            Self::Vip6 | Self::Port6 | Self::At6 => Family::V6,
        }
    }

    pub(super) const fn names(self) -> &'static Names {
        match self {
            Self::Vip4 => &VIP4,
            Self::Vip6 => &VIP6,
            Self::Port4 => &PORT4,
            Self::Port6 => &PORT6,
            Self::At4 => &AT4,
            Self::At6 => &AT6,
        }
    }
}

impl ServiceSet {
    /// All of them, in the order in which they are made.
    pub const ALL: [Self; SETS] = {
        let mut all = [Self::Home(Family::V4); SETS];
        all[1] = Self::Home(Family::V6);
        all[2] = Self::Vips(Family::V4);
        all[3] = Self::Vips(Family::V6);
        all[4] = Self::At(Family::V4);
        all[5] = Self::At(Family::V6);
        all[6] = Self::Ports(Family::V4);
        all[7] = Self::Ports(Family::V6);
        let (mut at, mut number) = (8, 0);
        while number < Entry::ALL.len() {
            let entry = Entry::ALL[number];
            all[at] = Self::Slots(entry);
            all[at + 1] = Self::Affine(entry);
            at += 2;
            let mut class = 0;
            while class < CLASSES {
                all[at] = Self::Class(entry, class as u8);
                (at, class) = (at + 1, class + 1);
            }
            number += 1;
        }
        all
    };

    /// Its name in the kernel.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Home(Family::V4) => "home4",
            Self::Home(Family::V6) => "home6",
            Self::Vips(Family::V4) => "vips4",
            Self::Vips(Family::V6) => "vips6",
            Self::At(Family::V4) => "at4",
            Self::At(Family::V6) => "at6",
            Self::Ports(Family::V4) => "ports4",
            Self::Ports(Family::V6) => "ports6",
            Self::Class(entry, class) => entry.names().classes[class as usize],
            Self::Affine(entry) => entry.names().affine,
            Self::Slots(entry) => entry.names().slots,
        }
    }

    /// The types of its key's fields.
    #[must_use]
    pub const fn key(self) -> &'static [DataType] {
        use DataType::{IfName, InetProto, InetService, Ipv4Addr, Ipv6Addr, Slot};
        match self {
            Self::Home(Family::V4) => &[IfName, Ipv4Addr],
            Self::Home(Family::V6) => &[IfName, Ipv6Addr],
            Self::Vips(Family::V4) => &[Ipv4Addr],
            Self::Vips(Family::V6) => &[Ipv6Addr],
            Self::At(Family::V4) => &[Ipv4Addr, InetProto, InetService],
            Self::At(Family::V6) => &[Ipv6Addr, InetProto, InetService],
            Self::Ports(_) => &[InetProto, InetService],
            Self::Class(entry, _) | Self::Affine(entry) => match entry {
                Entry::Vip4 => &[Ipv4Addr],
                Entry::Vip6 => &[Ipv6Addr],
                Entry::Port4 | Entry::Port6 => &[InetProto, InetService],
                Entry::At4 => &[Ipv4Addr, InetProto, InetService],
                Entry::At6 => &[Ipv6Addr, InetProto, InetService],
            },
            Self::Slots(Entry::Vip4) => &[Ipv4Addr, Slot],
            Self::Slots(Entry::Vip6) => &[Ipv6Addr, Slot],
            Self::Slots(Entry::Port4 | Entry::Port6) => &[InetProto, InetService, Slot],
            Self::Slots(Entry::At4) => &[Ipv4Addr, InetProto, InetService, Slot],
            Self::Slots(Entry::At6) => &[Ipv6Addr, InetProto, InetService, Slot],
        }
    }

    /// The types of its value's fields; none for a set.
    #[must_use]
    pub const fn value(self) -> &'static [DataType] {
        use DataType::{InetService, Ipv4Addr, Ipv6Addr};
        match self {
            Self::Slots(Entry::Vip4) => &[Ipv4Addr],
            Self::Slots(Entry::Vip6) => &[Ipv6Addr],
            Self::Slots(Entry::Port4 | Entry::At4) => &[Ipv4Addr, InetService],
            Self::Slots(Entry::Port6 | Entry::At6) => &[Ipv6Addr, InetService],
            Self::Home(_)
            | Self::Vips(_)
            | Self::At(_)
            | Self::Ports(_)
            | Self::Class(..)
            | Self::Affine(_) => &[],
        }
    }
}

//! The forward chain of the older iptables, which lies outside nftables: seen, never changed.
//!
//! Its table is one blob (`linux/netfilter_ipv4/ip_tables.h`, `ip6_tables.h`).

use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto, socket_with};
use std::{
    fs, io,
    os::fd::{AsRawFd, OwnedFd},
};
use vw_firewall::foreign::{ForeignChain, Keeper, Policy, TableFamily};

/// `IPT_SO_GET_INFO` and `IPT_SO_GET_ENTRIES`; IPv6 has the same numbers.
const GET_INFO: libc::c_int = 64;
const GET_ENTRIES: libc::c_int = 65;
/// `sizeof(struct ipt_getinfo)`, and its fields: the name; where the entry stands that holds the
/// policy of the forward hook (`underflow`); the size of all entries.
const INFO: usize = 84;
const NAME: usize = 32;
const UNDERFLOW_FORWARD: usize = NAME + 4 + 20 + 2 * 4;
const SIZE: usize = INFO - 4;
/// Where the entries begin in `struct ipt_get_entries`.
const ENTRIES: usize = 40;
/// `sizeof(struct xt_entry_target)`: the verdict stands behind it.
const TARGET: usize = 32;
/// A verdict in such a target: `-NF_DROP - 1`.
const DROP: u32 = u32::MAX;

/// Where one family's interface differs.
struct Legacy {
    family: TableFamily,
    names: &'static str,
    domain: AddressFamily,
    level: libc::c_int,
    /// Where `target_offset` stands in an entry.
    target_offset: usize,
}

const FAMILIES: [Legacy; 2] = [
    Legacy {
        family: TableFamily::Ip,
        names: "/proc/thread-self/net/ip_tables_names",
        domain: AddressFamily::INET,
        level: libc::SOL_IP,
        target_offset: 88,
    },
    Legacy {
        family: TableFamily::Ip6,
        names: "/proc/thread-self/net/ip6_tables_names",
        domain: AddressFamily::INET6,
        level: libc::SOL_IPV6,
        target_offset: 140,
    },
];

/// The forward chains of the older iptables in the namespace of the calling thread.
///
/// A table that nobody uses is not looked at: that alone would make it.
///
/// # Errors
/// The system's answer.
pub fn legacy_chains() -> io::Result<Vec<ForeignChain>> {
    let mut found = Vec::new();
    for legacy in &FAMILIES {
        let names = match fs::read_to_string(legacy.names) {
            Ok(names) => names,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        if names.lines().any(|name| name == "filter") {
            found.extend(legacy.forward()?);
        }
    }
    Ok(found)
}

impl Legacy {
    /// `None` when the kernel's answer is not of the form that it should be.
    fn forward(&self) -> io::Result<Option<ForeignChain>> {
        let flags = SocketFlags::CLOEXEC;
        let fd = socket_with(self.domain, SocketType::RAW, flags, Some(ipproto::RAW))?;
        let mut info = [0; INFO];
        info[..6].copy_from_slice(b"filter");
        self.get(&fd, GET_INFO, &mut info)?;
        let number = |bytes: &[u8], at: usize| {
            let field = bytes.get(at..)?.first_chunk::<4>()?;
            Some(u32::from_ne_bytes(*field))
        };
        let (Some(place), Some(size)) = (number(&info, UNDERFLOW_FORWARD), number(&info, SIZE))
        else {
            return Ok(None);
        };
        let mut table = vec![0; ENTRIES + size as usize];
        table[..NAME].copy_from_slice(&info[..NAME]);
        table[NAME..NAME + 4].copy_from_slice(&size.to_ne_bytes());
        self.get(&fd, GET_ENTRIES, &mut table)?;
        let verdict = || {
            let entry = table.get(ENTRIES + place as usize..)?;
            let target = entry.get(self.target_offset..)?.first_chunk::<2>()?;
            number(entry, usize::from(u16::from_ne_bytes(*target)) + TARGET)
        };
        let docker = b"DOCKER-USER\0";
        Ok(verdict().map(|verdict| ForeignChain {
            family: self.family,
            table: "filter".to_owned(),
            chain: "FORWARD".to_owned(),
            priority: 0,
            policy: match verdict == DROP {
                true => Policy::Drop,
                false => Policy::Accept,
            },
            keeper: Keeper::IptablesLegacy,
            docker_user: table.windows(docker.len()).any(|part| part == docker),
        }))
    }

    fn get(&self, fd: &OwnedFd, option: libc::c_int, buf: &mut [u8]) -> io::Result<()> {
        let mut len = buf.len() as libc::socklen_t;
        // SAFETY: `buf` and `len` live through the call, and `len` is the size of `buf`.
        let result = unsafe {
            let out = buf.as_mut_ptr().cast();
            libc::getsockopt(fd.as_raw_fd(), self.level, option, out, &raw mut len)
        };
        match result {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

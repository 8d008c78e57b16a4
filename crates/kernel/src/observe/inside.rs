//! What one namespace shows, read by a thread that is in it.

use crate::{
    Nft,
    netlink::{Socket, addr, fdb, link, neigh, route, wireguard},
    nft::Skeleton,
    shortcuts, sysctl, translator,
};
use std::{
    collections::{BTreeMap, HashMap},
    io,
};
use vw_firewall::{Element, HostTable, TRANSLATOR};
use vw_hoststate::{Key, Netns, Object, Objects, Table};

/// What to read besides what is always read.
#[derive(Debug, Default)]
pub(super) struct Question {
    sysctls: Vec<String>,
    table: Option<Table>,
    services: bool,
    neighbors: bool,
}

impl Question {
    /// What the expected objects ask of each namespace.
    pub(super) fn all(expected: &Objects) -> BTreeMap<Netns, Self> {
        let mut questions: BTreeMap<Netns, Self> = BTreeMap::new();
        for (key, object) in expected {
            match (key, object) {
                (Key::Sysctl(netns, path), _) => {
                    let question = questions.entry(*netns).or_default();
                    question.sysctls.push(path.clone());
                }
                (Key::Table(netns), Object::Table(table)) => {
                    questions.entry(*netns).or_default().table = Some(table.clone());
                }
                (Key::ServiceTable, _) => {
                    questions.entry(Netns::Host).or_default().services = true;
                }
                (Key::Neighbor(netns, ..), _) => {
                    questions.entry(*netns).or_default().neighbors = true;
                }
                _ => {}
            }
        }
        questions
    }
}

/// What a namespace shows.
#[derive(Debug)]
pub(super) struct Inside {
    pub(super) links: Vec<link::Seen>,
    pub(super) addresses: Vec<addr::Seen>,
    pub(super) routes: Vec<route::Seen>,
    pub(super) neighbors: Vec<neigh::Seen>,
    /// Addresses that are answered for, which the host alone does.
    pub(super) proxies: Vec<neigh::SeenProxy>,
    /// Forwarding entries, where tunnels may be.
    pub(super) forwards: Vec<fdb::Seen>,
    /// Ways around the bridge, where there may be some.
    pub(super) shortcuts: shortcuts::Seen,
    /// The links that translate IPv6 into IPv4, which the host alone has.
    pub(super) translators: Vec<u32>,
    /// The encrypted tunnel's key and peers, where the kernel carries it.
    pub(super) wireguard: wireguard::Seen,
    pub(super) sysctls: Vec<(String, String)>,
    /// Our table, where there is one: the expected one when it stands as it should.
    pub(super) table: Option<Table>,
    /// Likewise the services' table, which the host alone may have.
    pub(super) services: Option<Table>,
    /// The elements of both tables of the host, or of a balancer's.
    pub(super) elements: Vec<Element>,
}

/// Reads a namespace; the calling thread must be in it.
pub(super) fn read(netns: Netns, question: &Question) -> io::Result<Inside> {
    let mut socket = Socket::open()?;
    let mut nft = Nft::open()?;
    let elements = match netns {
        Netns::Host => nft.elements().or_else(without_nftables)?,
        Netns::Sandbox(_) if matches!(question.table, Some(Table::Balancer { .. })) => {
            nft.elements().or_else(without_nftables)?
        }
        Netns::Sandbox(_) | Netns::Network(_) | Netns::Tunnel => Vec::new(),
    };
    let links = link::dump(&mut socket)?;
    let sysctls = sysctls(&links, &question.sysctls)?;
    let may_translate = |seen: &&link::Seen| netns == Netns::Host && seen.name == TRANSLATOR;
    let translators = links.iter().filter(may_translate).map(|seen| seen.index);
    let translators: Vec<u32> = translators
        .filter(|index| translator::stands(&mut socket, *index))
        .collect();
    let wireguard = match netns {
        Netns::Tunnel => wireguard::seen(&links)?,
        _ => wireguard::Seen::default(),
    };
    Ok(Inside {
        links,
        addresses: addr::dump(&mut socket)?,
        routes: route::dump(&mut socket)?,
        // No sandbox has any of ours, and the kernel walks those of all namespaces to tell one's.
        neighbors: match netns {
            Netns::Sandbox(_) if !question.neighbors => Vec::new(),
            _ => neigh::dump(&mut socket)?,
        },
        proxies: match netns {
            Netns::Host => neigh::dump_proxies(&mut socket)?,
            Netns::Sandbox(_) | Netns::Network(_) | Netns::Tunnel => Vec::new(),
        },
        forwards: match netns {
            Netns::Network(_) => fdb::dump(&mut socket)?,
            Netns::Host | Netns::Sandbox(_) | Netns::Tunnel => Vec::new(),
        },
        shortcuts: match netns {
            Netns::Network(_) => shortcuts::look(&mut socket),
            Netns::Host | Netns::Sandbox(_) | Netns::Tunnel => shortcuts::Seen::default(),
        },
        translators,
        wireguard,
        sysctls,
        table: table(netns, &mut nft, question.table.as_ref())?,
        services: services(netns, &mut nft, question.services)?,
        elements,
    })
}

/// The values of parameters that are there.
///
/// What came with the links is not read from files: the folders of all namespaces below
/// `/proc/sys/net` lie in one hash chain, so that with a thousand namespaces opening one file takes
/// a thousand comparisons (`proc_sys_compare`).
fn sysctls(links: &[link::Seen], paths: &[String]) -> io::Result<Vec<(String, String)>> {
    if paths.is_empty() {
        return Ok(Vec::new());
    }
    let links: HashMap<&str, &link::Seen> = links
        .iter()
        .map(|seen| (seen.name.as_str(), seen))
        .collect();
    let mut found = Vec::with_capacity(paths.len());
    for path in paths {
        let of_link = sysctl::ipv6_of_link(path);
        let told = of_link.and_then(|(link, name)| links.get(link)?.ipv6_parameter(name));
        let value = match told {
            Some(number) => Some(number.to_string()),
            None => sysctl::read(path)?,
        };
        found.extend(value.map(|value| (path.clone(), value)));
    }
    Ok(found)
}

/// Our table as it stands. One that differs from what is expected is as if it were not there:
/// making it mends it.
fn table(netns: Netns, nft: &mut Nft, expected: Option<&Table>) -> io::Result<Option<Table>> {
    let any = match netns {
        Netns::Host => Table::Host(HostTable::default()),
        Netns::Sandbox(sandbox) => Table::SandboxDns {
            sandbox,
            udp: 0,
            tcp: 0,
        },
        Netns::Network(_) | Netns::Tunnel => return Ok(None),
    };
    let wanted = expected.unwrap_or(&any);
    let found = stands(nft, wanted, expected.is_some())?;
    Ok(found.then(|| wanted.clone()))
}

fn services(netns: Netns, nft: &mut Nft, expected: bool) -> io::Result<Option<Table>> {
    let found = netns == Netns::Host && stands(nft, &Table::Services, expected)?;
    Ok(found.then_some(Table::Services))
}

/// Whether a table stands: as it should be where it is expected, any of it in any form where it is not.
fn stands(nft: &mut Nft, table: &Table, expected: bool) -> io::Result<bool> {
    let mut stands = Vec::new();
    for spec in table.specs() {
        let one = nft.check(&spec);
        stands.push(one.or_else(|error| without_nftables(error).map(|()| Skeleton::Absent))?);
    }
    Ok(match expected {
        true => stands.iter().all(|one| *one == Skeleton::Intact),
        false => stands.iter().any(|one| *one != Skeleton::Absent),
    })
}

/// A kernel without nf_tables answers every message of it so (`nfnetlink_rcv_msg`); it has
/// nothing of ours.
fn without_nftables<T: Default>(error: io::Error) -> io::Result<T> {
    match error.raw_os_error() {
        Some(libc::EINVAL | libc::EOPNOTSUPP | libc::EPROTONOSUPPORT) => Ok(T::default()),
        _ => Err(error),
    }
}

//! A host between a container and a machine outside, with a published port.

use super::super::{Change, Nft, Refused};
use super::ns::{LONG, Ns, SHORT};
use super::{MARK, bridge, published, stand};
use vw_firewall::foreign::{Adjustment, adjustments};
use vw_firewall::{network, port};

const DROPPED: &str = "TimedOut";

pub(super) struct Host {
    pub(super) host: Ns,
    pub(super) container: Ns,
    pub(super) outside: Ns,
    pub(super) nft: Nft,
}

impl Host {
    pub(super) fn new() -> Option<Self> {
        let (host, container, outside) = (Ns::new()?, Ns::new()?, Ns::new()?);
        host.sh(&format!(
            "sysctl -qw net.ipv4.ip_forward=1
             ip link add vw-a type bridge; ip link set vw-a up; ip addr add 10.1.0.1/24 dev vw-a
             ip link add eth0 type veth peer name eth0 netns {}
             ip link add c type veth peer name eth0 netns {}
             ip link set c master vw-a up; ip addr add 192.0.2.1/24 dev eth0; ip link set eth0 up",
            outside.path(),
            container.path()
        ));
        outside.sh("ip addr add 192.0.2.2/24 dev eth0; ip link set eth0 up");
        container.sh("ip addr add 10.1.0.2/24 dev eth0; ip link set eth0 up
             ip route add default via 10.1.0.1");
        container.serve("0.0.0.0:80");
        outside.serve("0.0.0.0:80");
        let mut nft = host.run(|| Nft::open().unwrap());
        stand(&mut nft);
        let mut elements = network(&bridge("vw-a"));
        elements.extend(port(&published("0.0.0.0:8080", "10.1.0.2:80")).unwrap());
        let changes: Vec<Change<'_>> = elements.iter().map(Change::Add).collect();
        nft.change(&changes).unwrap();
        Some(Self {
            host,
            container,
            outside,
            nft,
        })
    }

    pub(super) fn adjustments(&mut self) -> Vec<Adjustment> {
        adjustments(&self.nft.foreign_chains().unwrap(), MARK)
    }

    pub(super) fn adjust(&mut self) -> Result<(), Refused> {
        let wanted = self.adjustments();
        wanted.iter().try_for_each(|one| self.nft.adjust(one))
    }

    #[track_caller]
    pub(super) fn passes(&self, way: bool) {
        let patience = if way { LONG } else { SHORT };
        let expected = |addr| if way { addr } else { DROPPED };
        let came = self.outside.ask("192.0.2.1:8080", patience);
        assert_eq!(came, expected("192.0.2.2"));
        let left = self.container.ask("192.0.2.2:80", patience);
        assert_eq!(left, expected("192.0.2.1"));
    }
}

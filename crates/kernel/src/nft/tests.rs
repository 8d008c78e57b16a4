//! Against the real kernel, in namespaces of the tests' own; root is needed.

mod elements;
mod foreign;
mod host;
mod monitor;
mod ns;
mod peers;
mod services;
mod speed;
mod table;
mod traffic;

use super::Nft;
use ns::Ns;
use vw_firewall::{FamilyPolicy, GatewayMode, HostTable, NetworkPolicy, PortPolicy, TableSpec};
use vw_model::{PortMapping, Protocol};

const MARK: u32 = 0x1000_0000;

fn spec() -> TableSpec {
    HostTable {
        accept_mark: MARK,
        tunnels: Some([192, 0, 2, 1].into()),
    }
    .rules()
}

/// All that a host has.
fn stand(nft: &mut Nft) {
    nft.ensure_all(&[HostTable::rules6(), spec()]).unwrap();
}

fn bridge(name: &str) -> NetworkPolicy {
    let masquerade = |mode| (mode, true);
    let (mode, masquerade) = masquerade(GatewayMode::Nat);
    NetworkPolicy {
        bridge: name.parse().unwrap(),
        internal: false,
        icc: true,
        v4: FamilyPolicy {
            mode,
            masquerade,
            snat: None,
        },
        v6: FamilyPolicy {
            mode,
            masquerade,
            snat: None,
        },
    }
}

fn published(host: &str, target: &str) -> PortPolicy {
    let target: std::net::SocketAddr = target.parse().unwrap();
    PortPolicy {
        mapping: PortMapping {
            host: host.parse().unwrap(),
            container: vw_model::PortKey {
                port: target.port(),
                protocol: Protocol::Tcp,
            },
        },
        target: target.ip(),
        mode: GatewayMode::Nat,
        internal: false,
    }
}

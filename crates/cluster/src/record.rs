//! What records say: the number of their format, a space, and JSON.
//!
//! A host reads the formats up to its own. What it cannot read it passes over and keeps; of a
//! network and a service it can always read what they claim, which no format may change.

mod ranges;

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{collections::BTreeSet, net::IpAddr};
use vw_model::{
    EndpointId, HostId, IpNet, MacAddr, NetworkId, NetworkSpec, PortKey, PublishedPort, SandboxId,
    ServicePart, ServiceSpec,
};

/// The format that this version writes.
pub(crate) const FORMAT: u32 = 1;

/// What a presence says while its daemon runs: that it is there is all.
pub(crate) const PRESENT: &[u8] = b"";

/// And what one that a daemon left behind which stopped in order. Older versions read no presence,
/// and take both for the same.
pub(crate) const STOPPED: &[u8] = b"1 \"stopped\"";

/// The bytes of a record in the present format.
pub(crate) fn encode<T: Serialize>(record: &T) -> Vec<u8> {
    let mut bytes = format!("{FORMAT} ").into_bytes();
    // Every record is plain data with text keys, which always has a JSON form.
    serde_json::to_writer(&mut bytes, record).expect("plain data can be written as JSON");
    bytes
}

/// A record, or why it cannot be read, in words.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    let (v, json) = split(bytes).ok_or("it does not begin with the number of its format")?;
    if v > FORMAT {
        return Err(newer(v));
    }
    serde_json::from_slice(json).map_err(|error| format!("it cannot be understood: {error}"))
}

/// The number before the first space, and what follows.
fn split(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let space = bytes.iter().take(11).position(|byte| *byte == b' ')?;
    let v = std::str::from_utf8(&bytes[..space]).ok()?.parse().ok()?;
    Some((v, &bytes[space + 1..]))
}

fn newer(v: u32) -> String {
    format!("a newer version of vethwork wrote it, in format {v} where this one knows {FORMAT}")
}

/// The least format that a host must know to change anything.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct FormatRecord {
    pub(crate) least: u32,
    /// Names the cluster: another one has made its own.
    #[serde(default)]
    pub(crate) cluster: Option<String>,
}

/// A host that belongs to the cluster. Every transaction of a host depends on its record, so
/// that removing it fences the host off.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HostRecord {
    pub(crate) name: String,
    pub(crate) advertise: IpAddr,
    pub(crate) version: String,
    /// Differs with each attempt to join.
    pub(crate) instance: String,
    /// Seconds since 1970 by the host's clock; only shown.
    pub(crate) since: u64,
}

/// An order on the making and removal of networks: whoever does either replaces it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CatalogueRecord {
    /// Where the search for the next VNI begins. Numbers come round only after all others, so
    /// that a host that missed a removal does not meet its old network's number in a new one.
    pub(crate) next_vni: u32,
}

/// The host that was forgotten last. A host's record is made only while this one stands as it was
/// read, so that an attempt to join that arrives late cannot bring back who was forgotten since.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ForgottenRecord {
    pub(crate) host: HostId,
    #[serde(default)]
    pub(crate) name: String,
}

/// A network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NetworkRecord {
    /// The same in every format.
    pub(crate) claims: Claims,
    pub(crate) spec: NetworkSpec,
    pub(crate) state: NetworkState,
}

/// What no other network may have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Claims {
    pub(crate) name: String,
    pub(crate) subnets: Vec<IpNet>,
    pub(crate) vnis: BTreeSet<u32>,
}

/// The part of a network's record that every version reads.
#[derive(Debug, Serialize, Deserialize)]
struct OnlyClaims {
    claims: Claims,
}

/// What a network claims, whichever version wrote it.
pub(crate) fn claims(bytes: &[u8]) -> Option<Claims> {
    let (_, json) = split(bytes)?;
    let only: OnlyClaims = serde_json::from_slice(json).ok()?;
    Some(only.claims)
}

/// Whether a network is there to stay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum NetworkState {
    /// It is, and this is who last objected to its removal.
    Active(Option<Objection>),
    /// Somebody wants to remove it; hosts that use it object, others give up their blocks.
    Removing {
        /// Names this attempt.
        attempt: String,
        /// Whose it is; an older version does not say.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<HostId>,
    },
}

/// Why a network was not removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Objection {
    /// The attempt that it answers.
    pub(crate) attempt: String,
    /// The name of the host that uses the network.
    pub(crate) host: String,
    /// Its endpoints there.
    pub(crate) endpoints: Vec<String>,
}

/// An endpoint; its network, host and id are in its key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct EndpointRecord {
    pub(crate) mac: MacAddr,
    pub(crate) addresses: Vec<IpNet>,
    pub(crate) names: Vec<String>,
    pub(crate) sandbox: SandboxId,
    #[serde(default, with = "ranges")]
    pub(crate) ports: Vec<PortKey>,
    /// `None` also where a newer version wrote what this one does not know.
    #[serde(default, deserialize_with = "ServicePart::known")]
    pub(crate) service: Option<ServicePart>,
}

/// A service of a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ServiceRecord {
    pub(crate) spec: ServiceSpec,
}

/// The part of a service's record that every version reads.
#[derive(Debug, Deserialize)]
struct OnlyServiceClaims {
    spec: ServiceClaims,
}

/// Where a service is, and what no other may have.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct ServiceClaims {
    pub(crate) name: String,
    pub(crate) network: NetworkId,
    #[serde(default)]
    pub(crate) ports: Vec<PortClaim>,
}

/// A port of hosts; how else it is published is no other's business.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct PortClaim {
    #[serde(default)]
    host: Option<IpAddr>,
    published: u16,
    target: PortKey,
}

impl ServiceClaims {
    pub(crate) fn of(spec: &ServiceSpec) -> Self {
        let ports = spec.ports.iter().map(|port| PortClaim {
            host: port.host,
            published: port.published,
            target: port.target,
        });
        Self {
            name: spec.name.as_str().to_owned(),
            network: spec.network,
            ports: ports.collect(),
        }
    }
}

impl PortClaim {
    pub(crate) fn port(&self) -> PublishedPort {
        PublishedPort {
            host: self.host,
            published: self.published,
            target: self.target,
            mode: Default::default(),
            prefer: Default::default(),
        }
    }
}

/// What a service claims, whichever version wrote it, or why that cannot be read, in words.
pub(crate) fn service_claims(bytes: &[u8]) -> Result<ServiceClaims, String> {
    let (_, json) = split(bytes).ok_or("it does not begin with the number of its format")?;
    let only: OnlyServiceClaims = serde_json::from_slice(json)
        .map_err(|error| format!("it cannot be understood: {error}"))?;
    Ok(only.spec)
}

/// An order on the making and changing of services: whoever does either replaces it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RosterRecord {
    /// How many changes there were.
    pub(crate) changes: u64,
    /// Names the last one; older versions name none.
    #[serde(default)]
    pub(crate) change: Option<String>,
}

/// Which transaction of a host was the last that is noted here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MarkRecord {
    /// Names the run of its daemon.
    pub(crate) run: String,
    /// Counts that run's transactions.
    pub(crate) number: u64,
}

/// Whose a block is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BlockRecord {
    pub(crate) host: HostId,
}

/// A wish for an address that lies in another host's block.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RequestRecord {
    pub(crate) host: HostId,
    pub(crate) holder: EndpointId,
    /// Why the block's host refuses.
    pub(crate) refused: Option<String>,
    /// Whose block it lies in; an older version does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) of: Option<HostId>,
}

/// An address given out of one host's block to another host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct GrantRecord {
    pub(crate) host: HostId,
    pub(crate) holder: EndpointId,
}

#[cfg(test)]
mod tests;

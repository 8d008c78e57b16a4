//! `/networks` bodies into commands.

use crate::{
    endpoint::EndpointSettings, errors::ApiError, filters::Filters, json::go_struct, time,
    version::ApiVersion,
};
use std::{collections::BTreeMap, time::SystemTime};
use vw_controller::command::{Connect, NetworkCreate, NetworkPrune, PoolRequest};
use vw_model::{Options, Scope};

go_struct! {
    /// `POST /networks/create`. `CheckDuplicate` is read by no version served: a name is unique.
    CreateRequest {
        name: String,
        driver: String,
        scope: String,
        #[serde(rename = "EnableIPv4")]
        enable_ipv4: Option<bool>,
        #[serde(rename = "EnableIPv6")]
        enable_ipv6: Option<bool>,
        #[serde(rename = "IPAM")]
        ipam: Option<IpamRequest>,
        internal: bool,
        attachable: bool,
        ingress: bool,
        config_only: bool,
        config_from: Option<ConfigReference>,
        options: Options,
        labels: Options,
    }

    /// Another network to take the configuration from.
    ConfigReference {
        network: String,
    }

    /// Address management.
    IpamRequest {
        driver: String,
        options: Options,
        config: Vec<IpamConfig>,
    }

    /// One address range.
    IpamConfig {
        subnet: String,
        #[serde(rename = "IPRange")]
        ip_range: String,
        gateway: String,
        auxiliary_addresses: BTreeMap<String, String>,
    }

    /// `POST /networks/{id}/connect`.
    ConnectRequest {
        container: String,
        endpoint_config: Option<EndpointSettings>,
    }

    /// `POST /networks/{id}/disconnect`.
    DisconnectRequest {
        container: String,
        force: bool,
    }
}

impl CreateRequest {
    /// The command. `EnableIPv4` was added in API 1.48, and is not read before.
    ///
    /// # Errors
    /// 400 with Docker's sentences.
    pub(super) fn into_command(self, version: ApiVersion) -> Result<NetworkCreate, ApiError> {
        let unsupported = self.unsupported();
        let scope = scope(&self.scope)?;
        let ipam = self.ipam.unwrap_or_default();
        Ok(NetworkCreate {
            name: self.name.parse()?,
            driver: non_empty(self.driver),
            scope,
            ipv4: self.enable_ipv4.filter(|_| version >= ApiVersion::v1(48)),
            ipv6: self.enable_ipv6,
            internal: self.internal,
            attachable: self.attachable,
            unsupported,
            ipam_driver: non_empty(ipam.driver),
            ipam_options: ipam.options,
            pools: ipam.config.into_iter().map(pool).collect(),
            options: self.options,
            labels: self.labels,
        })
    }

    /// What was asked that the controller refuses by name.
    fn unsupported(&self) -> Vec<String> {
        let config_from = self
            .config_from
            .as_ref()
            .is_some_and(|from| !from.network.is_empty());
        [
            ("Ingress", self.ingress),
            ("ConfigOnly", self.config_only),
            ("ConfigFrom", config_from),
        ]
        .into_iter()
        .filter(|(_, asked)| *asked)
        .map(|(name, _)| name.to_owned())
        .collect()
    }
}

impl ConnectRequest {
    /// The command.
    ///
    /// # Errors
    /// 400 with Docker's sentences.
    pub(super) fn into_command(
        self,
        network: String,
        version: ApiVersion,
    ) -> Result<Connect, ApiError> {
        let settings = self
            .endpoint_config
            .unwrap_or_default()
            .limited_to(version)
            .into_model()?;
        Ok(Connect {
            network,
            sandbox: self.container,
            settings,
        })
    }
}

/// The command of `POST /networks/prune`.
///
/// # Errors
/// 400 for keys that it does not know, and moments that are none.
pub(super) fn prune(filters: Filters) -> Result<NetworkPrune, ApiError> {
    let filters = filters.accept(&["label", "label!", "until"])?;
    Ok(NetworkPrune {
        until: until(&filters)?,
        labels: filters.pairs("label"),
        not_labels: filters.pairs("label!"),
    })
}

/// The one value of the `until` filter.
///
/// # Errors
/// 400 for several, or one that is no moment.
pub(crate) fn until(filters: &Filters) -> Result<Option<SystemTime>, ApiError> {
    let mut values = filters.get("until");
    let Some(text) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(ApiError::bad_request(
            "more than one until filter specified",
        ));
    }
    time::moment(text, SystemTime::now()).map(Some)
}

/// `strconv.ParseBool`.
pub(super) fn go_bool(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(format!(
            "strconv.ParseBool: parsing {text:?}: invalid syntax"
        )),
    }
}

fn scope(text: &str) -> Result<Option<Scope>, ApiError> {
    match text {
        "" => Ok(None),
        "local" => Ok(Some(Scope::Local)),
        "global" => Ok(Some(Scope::Global)),
        _ => Err(ApiError::bad_request(format!(
            "invalid network scope {text:?}: use local or global"
        ))),
    }
}

/// The grammar of addresses is the controller's to check: it lists all that is wrong at once.
fn pool(config: IpamConfig) -> PoolRequest {
    PoolRequest {
        subnet: config.subnet,
        ip_range: config.ip_range,
        gateway: config.gateway,
        aux: config.auxiliary_addresses,
    }
}

fn non_empty(text: String) -> Option<String> {
    Some(text).filter(|text| !text.is_empty())
}

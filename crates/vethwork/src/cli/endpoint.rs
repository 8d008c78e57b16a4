//! What is asked for one endpoint, as the API takes it.

use super::grammar;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Settings of one endpoint; empty texts and lists ask for nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Endpoint {
    /// IPv4 address.
    pub(crate) ip: String,
    /// IPv6 address.
    pub(crate) ip6: String,
    /// Link-local addresses.
    pub(crate) link_local: Vec<String>,
    /// Link-layer address.
    pub(crate) mac: String,
    /// Further names.
    pub(crate) aliases: Vec<String>,
    /// Links to other containers.
    pub(crate) links: Vec<String>,
    /// Driver options.
    pub(crate) driver_opts: BTreeMap<String, String>,
    /// Priority as the default gateway.
    pub(crate) gw_priority: i64,
}

impl Endpoint {
    /// moby's `network.EndpointSettings`, what is not asked for left out.
    pub(crate) fn to_json(&self) -> Value {
        let mut ipam = Map::new();
        put(&mut ipam, "IPv4Address", self.ip.clone());
        put(&mut ipam, "IPv6Address", self.ip6.clone());
        put(&mut ipam, "LinkLocalIPs", self.link_local.clone());
        let mut settings = Map::new();
        put(&mut settings, "IPAMConfig", ipam);
        put(&mut settings, "Links", self.links.clone());
        put(&mut settings, "Aliases", self.aliases.clone());
        put(&mut settings, "MacAddress", self.mac.clone());
        put(&mut settings, "DriverOpts", json!(self.driver_opts));
        put(&mut settings, "GwPriority", self.gw_priority);
        Value::Object(settings)
    }

    /// Reads one field of the long syntax, such as `ip=10.0.0.2`.
    ///
    /// # Errors
    /// Docker's sentences.
    pub(crate) fn set(&mut self, field: &str) -> Result<(), String> {
        let (key, value) = field
            .split_once('=')
            .ok_or_else(|| format!("invalid field {field}"))?;
        let value = value.trim().to_owned();
        match key.trim().to_lowercase().as_str() {
            "alias" => self.aliases.push(value),
            "ip" => self.ip = value,
            "ip6" => self.ip6 = value,
            "mac-address" => self.mac = value,
            "link-local-ip" => self.link_local.push(value),
            "driver-opt" => {
                let (key, value) = grammar::full_pair(&value)
                    .map_err(|_| "invalid key value pair format in driver options".to_owned())?;
                self.driver_opts
                    .insert(key.to_lowercase(), value.to_lowercase());
            }
            "gw-priority" => {
                self.gw_priority = value
                    .parse()
                    .map_err(|_| format!("invalid gw-priority ({value}): use a whole number"))?;
            }
            key => return Err(format!("invalid field key {key}")),
        }
        Ok(())
    }
}

/// Adds a value unless it is Go's zero value, which asks for nothing.
pub(crate) fn put(object: &mut Map<String, Value>, key: &str, value: impl Into<Value>) {
    let value = value.into();
    let zero = match &value {
        Value::Null | Value::Bool(false) => true,
        Value::Bool(true) => false,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
    };
    if !zero {
        object.insert(key.to_owned(), value);
    }
}

/// `NET` or `name=NET,alias=…,ip=…`.
///
/// # Errors
/// Docker's sentences.
pub(crate) fn network_option(text: &str) -> Result<(String, Endpoint), String> {
    let fields = grammar::csv(text);
    let mut endpoint = Endpoint::default();
    // Docker's long syntax needs an equals sign; `container:NAME` and plain names have none.
    if !text.contains('=') {
        return match text {
            "" => Err("invalid syntax for network".to_owned()),
            _ if text.contains(',') => Err(format!("invalid field {text}")),
            _ => Ok((text.to_owned(), endpoint)),
        };
    }
    let mut network = String::new();
    for (index, field) in fields.iter().enumerate() {
        match field.split_once('=') {
            Some((key, value)) if key.trim().eq_ignore_ascii_case("name") => {
                value.trim().clone_into(&mut network);
            }
            // `NET,ip=…`: the network first by its bare name, as `adopt` is documented.
            None if index == 0 => network.clone_from(field),
            _ => endpoint.set(field)?,
        }
    }
    if network.is_empty() {
        return Err("network name/id is not specified".to_owned());
    }
    Ok((network, endpoint))
}

#[cfg(test)]
mod tests;

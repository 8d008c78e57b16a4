//! Sysctls of one interface among a container's.
//!
//! An interface's name is not known before it is placed, so such a sysctl belongs to an endpoint:
//! `com.docker.network.endpoint.sysctls` of its driver options, with `IFNAME` for the name. Until
//! API 1.48 those of `eth0` are moved there (`handleSysctlBC` in moby).

use crate::{errors::ApiError, version::ApiVersion};
use vw_model::{EndpointSettings, Options};

const OPTION: &str = "com.docker.network.endpoint.sysctls";

/// Moves sysctls of `eth0` to the first endpoint, and says so.
///
/// # Errors
/// 400 with Docker's sentences from API 1.48 on, and for other interfaces.
pub(super) fn migrate(
    sysctls: &mut Options,
    networks: &mut [(String, EndpointSettings)],
    version: ApiVersion,
) -> Result<Option<String>, ApiError> {
    let Some((_, endpoint)) = networks.first_mut() else {
        return Ok(None);
    };
    let (mut names, mut moved) = (Vec::new(), Vec::new());
    for (name, value) in sysctls.iter() {
        let Some((before, interface, after)) = of_interface(name) else {
            continue;
        };
        if version >= ApiVersion::v1(48) {
            return Err(ApiError::bad_request(format!(
                "interface specific sysctl setting {name:?} must be supplied using driver option \
                 '{OPTION}'"
            )));
        }
        if interface != "eth0" {
            return Err(ApiError::bad_request(format!(
                "unable to determine network endpoint for sysctl {name}, use driver option \
                 '{OPTION}' to set per-interface sysctls"
            )));
        }
        names.push(name.clone());
        moved.push(format!("{before}.IFNAME.{after}={value}"));
    }
    if names.is_empty() {
        return Ok(None);
    }
    sysctls.retain(|name, _| !names.contains(name));
    let option = moved.join(",");
    let warning = format!(
        "Migrated sysctl {:?} to DriverOpts{{{OPTION:?}:{option:?}}}.",
        names.join(",")
    );
    let held = endpoint.driver_opts.remove(OPTION);
    let all = held.map_or(option.clone(), |held| format!("{option},{held}"));
    endpoint.driver_opts.insert(OPTION.to_owned(), all);
    Ok(Some(warning))
}

/// Splits `net.ipv4.conf.eth0.forwarding` around the interface's name.
fn of_interface(name: &str) -> Option<(&str, &str, &str)> {
    let rest = name.strip_prefix("net.")?;
    let at = |n: usize| {
        rest.match_indices('.')
            .nth(n)
            .map(|(at, _)| at + "net.".len())
    };
    let (second, third) = (at(1)?, at(2)?);
    let interface = &name[second + 1..third];
    interface
        .starts_with("eth")
        .then(|| (&name[..second], interface, &name[third + 1..]))
}

#[cfg(test)]
mod tests {
    use super::{OPTION, migrate};
    use crate::version::ApiVersion;
    use vw_model::{EndpointSettings, Options};

    fn given(name: &str, minor: u32) -> Result<(Options, String, Option<String>), String> {
        let mut sysctls: Options = [
            (name.to_owned(), "1".to_owned()),
            ("kernel.msgmax".to_owned(), "2".to_owned()),
        ]
        .into();
        let mut networks = vec![("bridge".to_owned(), EndpointSettings::default())];
        let warning = migrate(&mut sysctls, &mut networks, ApiVersion::v1(minor))
            .map_err(|error| error.message)?;
        let option = networks[0]
            .1
            .driver_opts
            .get(OPTION)
            .cloned()
            .unwrap_or_default();
        Ok((sysctls, option, warning))
    }

    #[test]
    fn eth0_moves_to_the_endpoint_until_1_48() {
        let (sysctls, option, warning) = given("net.ipv6.conf.eth0.forwarding", 47).unwrap();
        assert_eq!(sysctls.len(), 1);
        assert_eq!(option, "net.ipv6.conf.IFNAME.forwarding=1");
        assert!(
            warning
                .unwrap()
                .starts_with("Migrated sysctl \"net.ipv6.conf.eth0.forwarding\"")
        );
        assert!(given("net.ipv6.conf.eth0.forwarding", 48).is_err());
        assert!(given("net.ipv6.conf.eth1.forwarding", 47).is_err());
    }

    #[test]
    fn others_stay() {
        for name in [
            "net.core.somaxconn",
            "net.ipv4.conf.all.forwarding",
            "net.ipv4.ip_forward",
        ] {
            let (sysctls, option, warning) = given(name, 51).unwrap();
            assert_eq!(
                (sysctls.len(), option.as_str(), warning),
                (2, "", None),
                "{name}"
            );
        }
    }
}

//! The options of an endpoint that is a bridge's port, typed.

use crate::option;
use vw_hoststate::{Netns, Sysctl};
use vw_model::{EndpointSpec, Error, IfName, Options, Result, SERVICE_KEY, WEIGHT_KEY};

const SYSCTLS: &str = "com.docker.network.endpoint.sysctls";
const IFNAME: &str = "com.docker.network.endpoint.ifname";

/// What the driver options of an endpoint say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EndpointOptions {
    /// What its interface must be called.
    pub(crate) ifname: Option<IfName>,
    /// Parameters of its interface.
    sysctls: Vec<Parameter>,
}

/// `net.FAMILY.TABLE.IFNAME.NAME=VALUE`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Parameter {
    family: String,
    table: String,
    name: String,
    value: String,
}

impl EndpointOptions {
    /// Reads an endpoint's driver options.
    ///
    /// # Errors
    /// With Docker's sentence for a value that cannot be read; by name for an option that is not
    /// known, `of` being the endpoint's kind.
    pub(crate) fn read(options: &Options, of: &str) -> Result<Self> {
        option::refuse_unknown(options, &[SYSCTLS, IFNAME, SERVICE_KEY, WEIGHT_KEY], of)?;
        let texts = options.get(SYSCTLS).into_iter();
        let texts = texts.flat_map(|texts| texts.split(','));
        Ok(Self {
            ifname: option::value(options, IFNAME, option::name)?,
            sysctls: texts.map(Parameter::read).collect::<Result<_>>()?,
        })
    }

    /// The parameters of the endpoint's interface inside its sandbox.
    pub(crate) fn sysctls(&self, endpoint: &EndpointSpec) -> impl Iterator<Item = Sysctl> {
        self.sysctls.iter().map(|parameter| Sysctl {
            netns: Netns::Sandbox(endpoint.sandbox),
            path: parameter.path(&endpoint.ifname),
            value: parameter.value.clone(),
            previous: None,
        })
    }
}

impl Parameter {
    /// The command line turns `IFNAME` into lower case, so both are taken. Names are words alone:
    /// this text becomes a path under `/proc/sys`.
    fn read(text: &str) -> Result<Self> {
        let word = |text: &&str| {
            let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
            !text.is_empty() && text.chars().all(fits)
        };
        let parts = || {
            let (path, value) = text.trim().split_once('=')?;
            let [net, family, table, ifname, name] =
                path.split('.').collect::<Vec<_>>().try_into().ok()?;
            let known = net == "net"
                && ["ipv4", "ipv6", "mpls"].contains(&family)
                && ["IFNAME", "ifname"].contains(&ifname)
                && [table, name].iter().all(word)
                && !value.is_empty();
            known.then(|| Self {
                family: family.to_owned(),
                table: table.to_owned(),
                name: name.to_owned(),
                value: value.to_owned(),
            })
        };
        parts().ok_or_else(|| {
            Error::invalid(
                "endpoint-sysctl-invalid",
                format!(
                    "unrecognised network interface sysctl '{text}'; represent 'net.X.Y.ethN.Z=V' as 'net.X.Y.IFNAME.Z=V', 'X' must be 'ipv4', 'ipv6' or 'mpls'"
                ),
            )
        })
    }

    fn path(&self, ifname: &IfName) -> String {
        let Self {
            family,
            table,
            name,
            ..
        } = self;
        format!("net/{family}/{table}/{ifname}/{name}")
    }
}

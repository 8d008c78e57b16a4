//! What `run` and `create` are told, and the API's body that says the same.

mod env;
mod limits;
mod mounts;
mod networks;
mod ports;

pub(crate) use env::pairs as environment;
pub(crate) use ports::{Ports, parse as parse_ports};

use crate::{
    cli::{endpoint::put, grammar},
    client,
};
use clap::Args;
use serde_json::{Map, Value, json};

/// What runs, and how it is connected: the flags that `run` and `create` share.
#[derive(Debug, Default, Args)]
pub(crate) struct Spec {
    /// Add a custom host-to-IP mapping (host:ip); host-gateway is this host
    #[arg(long, value_name = "HOST:IP", value_parser = extra_host)]
    pub(crate) add_host: Vec<String>,
    /// Add Linux capabilities
    #[arg(long, value_name = "CAP")]
    cap_add: Vec<String>,
    /// Drop Linux capabilities
    #[arg(long, value_name = "CAP")]
    cap_drop: Vec<String>,
    /// Write the container ID to the file
    #[arg(long, value_name = "FILE")]
    pub(crate) cidfile: Option<std::path::PathBuf>,
    #[command(flatten)]
    limits: limits::Limits,
    /// Set custom DNS servers
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) dns: Vec<String>,
    /// Set DNS options
    #[arg(long, alias = "dns-opt", value_name = "OPTION")]
    pub(crate) dns_option: Vec<String>,
    /// Set custom DNS search domains
    #[arg(long, value_name = "DOMAIN")]
    pub(crate) dns_search: Vec<String>,
    /// Container NIS domain name
    #[arg(
        long,
        value_name = "NAME",
        default_value = "",
        hide_default_value = true
    )]
    domainname: String,
    /// Overwrite the default ENTRYPOINT of the image
    #[arg(long, value_name = "COMMAND")]
    entrypoint: Option<String>,
    /// Set environment variables
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    env: Vec<String>,
    /// Read in a file of environment variables
    #[arg(long, value_name = "FILE")]
    env_file: Vec<String>,
    /// Add additional groups to join
    #[arg(long, value_name = "GROUP")]
    group_add: Vec<String>,
    /// Print usage
    #[arg(long, action = clap::ArgAction::Help)]
    help: Option<bool>,
    /// Container host name
    #[arg(
        short = 'h',
        long,
        value_name = "NAME",
        default_value = "",
        hide_default_value = true
    )]
    hostname: String,
    /// Run an init inside the container that forwards signals and reaps processes
    #[arg(long)]
    init: bool,
    /// Keep STDIN open even if not attached
    #[arg(short, long)]
    pub(crate) interactive: bool,
    /// Set meta data on a container
    #[arg(short, long, value_name = "KEY=VALUE", value_parser = grammar::pair)]
    label: Vec<(String, String)>,
    /// Read in a line delimited file of labels
    #[arg(long, value_name = "FILE")]
    label_file: Vec<String>,
    #[command(flatten)]
    mounts: mounts::Mounts,
    /// Assign a name to the container
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    #[command(flatten)]
    networks: networks::Networks,
    #[command(flatten)]
    ports: Ports,
    /// Give extended privileges to this container
    #[arg(long)]
    privileged: bool,
    /// Pull image before running: only "never", as there is no registry client
    #[arg(long, value_name = "POLICY", value_parser = pull)]
    pull: Option<String>,
    /// Mount the container's root filesystem as read only
    #[arg(long)]
    read_only: bool,
    /// Restart policy to apply when a container exits: no, always, unless-stopped, on-failure[:N]
    #[arg(long, value_name = "POLICY", default_value = "no")]
    restart: String,
    /// Automatically remove the container when it exits
    #[arg(long)]
    pub(crate) rm: bool,
    /// Security options
    #[arg(long, value_name = "OPTION")]
    security_opt: Vec<String>,
    /// Join a service: NAME, or NAME,weight=N
    #[arg(long, value_name = "NAME[,weight=N]", value_parser = grammar::service)]
    service: Option<grammar::Service>,
    /// Signal to stop the container
    #[arg(
        long,
        value_name = "SIGNAL",
        default_value = "",
        hide_default_value = true
    )]
    stop_signal: String,
    /// Timeout (in seconds) to stop a container
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true)]
    stop_timeout: Option<i32>,
    /// Sysctl options
    #[arg(long, value_name = "KEY=VALUE", value_parser = grammar::full_pair)]
    sysctl: Vec<(String, String)>,
    /// Allocate a pseudo-TTY
    #[arg(short, long)]
    pub(crate) tty: bool,
    /// Username or UID (format: <name|uid>[:<group|gid>])
    #[arg(
        short,
        long,
        value_name = "USER",
        default_value = "",
        hide_default_value = true
    )]
    user: String,
    /// Working directory inside the container
    #[arg(
        short,
        long,
        value_name = "DIR",
        default_value = "",
        hide_default_value = true
    )]
    workdir: String,
    /// The image, and the command that runs in it
    #[arg(required = true, num_args = 1.., trailing_var_arg = true,
          value_names = ["IMAGE", "COMMAND", "ARG"])]
    image_and_command: Vec<String>,
}

impl Spec {
    /// What the container is labelled with; its service is told by labels too.
    fn labels(&self) -> Result<Map<String, Value>, String> {
        let service = self.service.iter().flat_map(|service| &service.0);
        let given: Vec<_> = self.label.iter().chain(service).cloned().collect();
        env::labels(&self.label_file, &given)
    }

    /// The body of `POST /containers/create`; `attached` says that the client stays attached to
    /// its output, and to its input where it is interactive.
    ///
    /// # Errors
    /// Docker's sentences for what cannot be.
    pub(crate) fn body(&self, attached: bool) -> Result<Value, String> {
        let networks = self.networks.parse()?;
        let ports = self.ports.parse()?;
        let (volumes, host_mounts) = self.mounts.parse()?;
        let stdin = attached && self.interactive;
        let mut body = Map::new();
        put(&mut body, "Hostname", self.hostname.clone());
        put(&mut body, "Domainname", self.domainname.clone());
        put(&mut body, "User", self.user.clone());
        put(&mut body, "AttachStdin", stdin);
        put(&mut body, "AttachStdout", attached);
        put(&mut body, "AttachStderr", attached);
        put(&mut body, "ExposedPorts", ports.exposed.clone());
        put(&mut body, "Tty", self.tty);
        put(&mut body, "OpenStdin", self.interactive);
        put(&mut body, "StdinOnce", stdin);
        put(
            &mut body,
            "Env",
            env::environment(&self.env_file, &self.env)?,
        );
        if let [image, command @ ..] = self.image_and_command.as_slice() {
            put(&mut body, "Image", image.clone());
            put(&mut body, "Cmd", command.to_vec());
        }
        put(&mut body, "Volumes", volumes);
        put(&mut body, "WorkingDir", self.workdir.clone());
        // An empty one is a wish as well: none at all.
        put(
            &mut body,
            "Entrypoint",
            self.entrypoint.as_ref().map(|word| vec![word.clone()]),
        );
        put(&mut body, "Labels", self.labels()?);
        put(&mut body, "StopSignal", self.stop_signal.clone());
        if let Some(seconds) = self.stop_timeout {
            body.insert("StopTimeout".to_owned(), seconds.into());
        }
        let mut host = self.host()?;
        host.extend(host_mounts);
        put(&mut host, "NetworkMode", networks.mode);
        put(&mut host, "Links", networks.links);
        put(&mut host, "PortBindings", ports.bindings);
        put(&mut host, "PublishAllPorts", self.ports.publish_all);
        body.insert("HostConfig".to_owned(), host.into());
        body.insert(
            "NetworkingConfig".to_owned(),
            json!({ "EndpointsConfig": networks.endpoints }),
        );
        Ok(body.into())
    }

    fn host(&self) -> Result<Map<String, Value>, String> {
        let (cap_add, cap_drop) = limits::capabilities(&self.cap_add, &self.cap_drop);
        let mut host = self.limits.parse()?;
        let cidfile = self.cidfile.as_ref().map(|file| file.display().to_string());
        put(&mut host, "ContainerIDFile", cidfile);
        put(&mut host, "RestartPolicy", self.restart_policy()?);
        put(&mut host, "AutoRemove", self.rm);
        put(&mut host, "CapAdd", cap_add);
        put(&mut host, "CapDrop", cap_drop);
        put(&mut host, "Dns", self.dns.clone());
        put(&mut host, "DnsOptions", self.dns_option.clone());
        put(&mut host, "DnsSearch", self.dns_search.clone());
        put(&mut host, "ExtraHosts", self.add_host.clone());
        put(&mut host, "GroupAdd", self.group_add.clone());
        put(&mut host, "Privileged", self.privileged);
        put(&mut host, "ReadonlyRootfs", self.read_only);
        put(&mut host, "SecurityOpt", self.security_opt.clone());
        let sysctls: Map<_, _> = self
            .sysctl
            .iter()
            .map(|(key, value)| (key.clone(), value.clone().into()))
            .collect();
        put(&mut host, "Sysctls", sysctls);
        put(&mut host, "Init", self.init);
        if let Some((rows, columns)) = client::terminal_size().filter(|_| self.tty) {
            host.insert("ConsoleSize".to_owned(), json!([rows, columns]));
        }
        Ok(host)
    }

    /// `opts.ParseRestartPolicy`.
    fn restart_policy(&self) -> Result<Value, String> {
        let (name, count) = self.restart.split_once(':').unwrap_or((&self.restart, ""));
        if name.is_empty() && !self.restart.is_empty() {
            return Err(
                "invalid restart policy format: no policy provided before colon".to_owned(),
            );
        }
        let count: i64 = match count {
            "" => 0,
            count => count.parse().map_err(|_| {
                "invalid restart policy format: maximum retry count must be an integer".to_owned()
            })?,
        };
        if self.rm && !matches!(name, "" | "no") {
            return Err("conflicting options: cannot specify both --restart and --rm".to_owned());
        }
        Ok(json!({ "Name": name, "MaximumRetryCount": count }))
    }
}

/// `HOST:IP` or `HOST=IP`, with or without brackets around the address.
fn extra_host(text: &str) -> Result<String, String> {
    let parts = text.split_once('=').or_else(|| text.split_once(':'));
    let (name, address) = parts
        .filter(|(name, address)| !name.is_empty() && !address.is_empty())
        .ok_or_else(|| format!("bad format for add-host: {text:?}"))?;
    let bare = address
        .strip_prefix('[')
        .and_then(|address| address.strip_suffix(']'))
        .unwrap_or(address);
    if bare != "host-gateway" && bare.parse::<std::net::IpAddr>().is_err() {
        return Err(format!("invalid IP address in add-host: {address:?}"));
    }
    Ok(format!("{name}:{bare}"))
}

fn pull(text: &str) -> Result<String, String> {
    match text {
        "never" => Ok(text.to_owned()),
        _ => Err("there is no registry client: bring images in with load or import".to_owned()),
    }
}

#[cfg(test)]
mod tests;

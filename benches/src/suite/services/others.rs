//! What a user would have instead: a rule made by hand, and nginx's stream proxy.

use crate::Result;
use std::{
    fs,
    net::{IpAddr, SocketAddr, TcpStream},
    path::PathBuf,
    time::Duration,
};
use vw_testkit::{Host, Lab, Running, poll};

const SOON: Duration = Duration::from_secs(5);
/// An address of the bridge's that a rule leads on, as a service's would be.
const BY_HAND: &str = "10.99.200.1";

/// Leads an address on by one rule, in the namespace of the daemon: the connection passes the same
/// chains besides.
pub(super) fn by_hand(host: &Host, addresses: &[IpAddr]) -> Result<SocketAddr> {
    let leads: Vec<String> = (0..)
        .zip(addresses)
        .map(|(at, addr): (usize, _)| format!("{at} : {addr}"))
        .collect();
    let bridge = host
        .sh("ip -br -4 addr | awk '/10.99.0.1/ { print $1 }'")
        .ok();
    host.ip(&format!("addr add {BY_HAND}/32 dev {bridge}"));
    let rule = format!(
        "ip daddr {BY_HAND} dnat to numgen random mod {} map {{ {} }}",
        addresses.len(),
        leads.join(", ")
    );
    host.sh(&format!(
        "nft add table ip hand; nft 'add chain ip hand pre {{ type nat hook prerouting priority -102; }}'; nft 'add rule ip hand pre {rule}'"
    ))
    .must();
    Ok(SocketAddr::new(BY_HAND.parse()?, 80))
}

pub(super) fn end_by_hand(host: &Host) {
    let line = format!(
        "nft delete table ip hand; ip addr del {BY_HAND}/32 dev $(ip -br -4 addr | awk '/10.99.0.1/ {{ print $1 }}')"
    );
    host.sh(&line).must();
}

/// An nginx that passes connections on by its stream module, on port 9000 of every address.
pub(super) struct Nginx {
    _process: Running,
}

impl Nginx {
    pub(super) fn start(lab: &Lab, host: &Host, addresses: &[IpAddr]) -> Result<Self> {
        if !host.run(["sh", "-c", "command -v nginx"]).success() {
            return Err("nginx is not installed (scripts/install-deps peers)".into());
        }
        let folder: PathBuf = lab.folder().join("nginx");
        fs::create_dir_all(&folder)?;
        let servers: String = addresses
            .iter()
            .map(|addr| format!("server {addr}:80;"))
            .collect();
        let modules = "/usr/lib/nginx/modules/ngx_stream_module.so";
        let module = match std::path::Path::new(modules).exists() {
            true => format!("load_module {modules};"),
            false => String::new(),
        };
        let shown = folder.display();
        let text = format!(
            "{module} daemon off; user root; worker_processes auto; pid {shown}/pid; error_log {shown}/log;
             events {{ worker_connections 4096; }}
             stream {{ upstream all {{ random; {servers} }} server {{ listen 9000; proxy_pass all; }} }}"
        );
        let config = folder.join("nginx.conf");
        fs::write(&config, text)?;
        let path = config.display().to_string();
        let process = host.spawn(["nginx", "-c", path.as_str(), "-p", &shown.to_string()]);
        let up = || host.enter(|| TcpStream::connect("127.0.0.1:9000").ok());
        if poll(SOON, up).is_none() {
            let log = fs::read_to_string(folder.join("log")).unwrap_or_default();
            return Err(format!("nginx does not answer: {}{log}", process.output()).into());
        }
        Ok(Self { _process: process })
    }
}

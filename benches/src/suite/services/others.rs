//! What a user would have instead: a rule made by hand, and nginx's stream proxy.

use crate::Result;
use std::{
    fs,
    net::{IpAddr, SocketAddr, TcpStream},
    path::PathBuf,
    time::Duration,
};
use vw_testkit::{Host, Lab, Running, poll};

/// How the tables call it.
pub(super) const NGINX: &str = "nginx stream";

const SOON: Duration = Duration::from_secs(5);
/// An address of the bridge's that a rule leads on, as a service's would be.
const BY_HAND: &str = "10.99.200.1";

/// The bridge that has an address.
pub(super) fn bridge(host: &Host, address: &str) -> String {
    host.sh(&format!(
        "ip -br -4 addr | awk '/ {address}\\// {{ print $1 }}'"
    ))
    .ok()
    .trim()
    .to_owned()
}

/// The rule that leads on what is for an address and a port.
fn rule(matching: &str, addresses: &[IpAddr]) -> String {
    let leads: Vec<String> = (0..)
        .zip(addresses)
        .map(|(at, addr): (usize, _)| format!("{at} : {addr}"))
        .collect();
    format!(
        "add rule ip hand pre {matching} dnat to numgen random mod {} map {{ {} }}",
        addresses.len(),
        leads.join(", ")
    )
}

const PRE: &str = "add chain ip hand pre { type nat hook prerouting priority -102; }";
const POST: &str = "add chain ip hand post { type nat hook postrouting priority 100; }";

/// Leads an address on by one rule, in the namespace of the daemon: the connection passes the same
/// chains besides.
pub(super) fn by_hand(host: &Host, addresses: &[IpAddr]) -> Result<SocketAddr> {
    let bridge = bridge(host, "10.99.0.1");
    host.ip(&format!("addr add {BY_HAND}/32 dev {bridge}"));
    let rule = rule(&format!("ip daddr {BY_HAND}"), addresses);
    make(host, &["add table ip hand", PRE, &rule]);
    Ok(SocketAddr::new(BY_HAND.parse()?, 80))
}

/// Leads a port of the host's on by one rule more.
pub(super) fn port_by_hand(host: &Host, port: SocketAddr, addresses: &[IpAddr]) {
    let matching = format!("ip daddr {} tcp dport {}", port.ip(), port.port());
    make(host, &[&(rule(&matching, addresses) + ":80")]);
}

pub(super) fn end_by_hand(host: &Host) {
    let bridge = bridge(host, "10.99.0.1");
    host.sh("nft delete table ip hand").must();
    host.ip(&format!("addr del {BY_HAND}/32 dev {bridge}"));
}

/// Makes a sandbox on a network lead its TCP ports on, each by one rule, as an administrator would
/// make a balancer there: what comes to any of its addresses.
pub(super) fn by_hand_inside(sandbox: &Host, ports: &[(u16, IpAddr)]) {
    let to = |(port, addr): &(u16, IpAddr)| {
        rule(&format!("fib daddr type local tcp dport {port}"), &[*addr]) + ":80"
    };
    let rules: Vec<String> = ports.iter().map(to).collect();
    let masquerade = "add rule ip hand post ct status dnat masquerade";
    let mut lines = vec!["add table ip hand", PRE, POST, masquerade];
    lines.extend(rules.iter().map(String::as_str));
    sandbox.sh("echo 1 > /proc/sys/net/ipv4/ip_forward").must();
    make(sandbox, &lines);
}

fn make(host: &Host, lines: &[&str]) {
    let quoted: String = lines.iter().map(|line| format!("nft '{line}'; ")).collect();
    host.sh(&quoted).must();
}

/// An nginx that passes connections on by its stream module.
pub(super) struct Nginx {
    _process: Running,
}

impl Nginx {
    /// On these ports of every address, each over the port 80 of its endpoints.
    pub(super) fn start(lab: &Lab, host: &Host, ports: &[(u16, &[IpAddr])]) -> Result<Self> {
        if !host.run(["sh", "-c", "command -v nginx"]).success() {
            return Err("nginx is not installed (scripts/install-deps peers)".into());
        }
        let folder: PathBuf = lab.folder().join(format!("nginx-{}", host.name()));
        fs::create_dir_all(&folder)?;
        let modules = "/usr/lib/nginx/modules/ngx_stream_module.so";
        let module = match std::path::Path::new(modules).exists() {
            true => format!("load_module {modules};"),
            false => String::new(),
        };
        let shown = folder.display();
        let servers: String = ports.iter().map(|port| server(*port)).collect();
        let text = format!(
            "{module} daemon off; user root; worker_processes auto; pid {shown}/pid; error_log {shown}/log;
             events {{ worker_connections 4096; }} stream {{ {servers} }}"
        );
        let config = folder.join("nginx.conf");
        fs::write(&config, text)?;
        let path = config.display().to_string();
        let process = host.spawn(["nginx", "-c", path.as_str(), "-p", &shown.to_string()]);
        for (port, _) in ports {
            let up = || host.enter(|| TcpStream::connect(("127.0.0.1", *port)).ok());
            if poll(SOON, up).is_none() {
                let log = fs::read_to_string(folder.join("log")).unwrap_or_default();
                return Err(format!("nginx does not answer: {}{log}", process.output()).into());
            }
        }
        Ok(Self { _process: process })
    }
}

fn server((port, addresses): (u16, &[IpAddr])) -> String {
    let servers: String = addresses
        .iter()
        .map(|addr| format!("server {addr}:80;"))
        .collect();
    format!(
        "upstream all{port} {{ random; {servers} }} server {{ listen {port}; tcp_nodelay on; proxy_pass all{port}; }}"
    )
}

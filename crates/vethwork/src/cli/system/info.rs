//! `info`.

use crate::{
    cli::{
        Context, Done,
        cluster::carried,
        output::{print, print_line},
    },
    client::Request,
    render::{Template, human_size, value_of},
};
use clap::Args;
use serde_json::Value;

/// `info`.
#[derive(Debug, Args)]
pub(crate) struct Info {
    /// Format output using a custom template: 'json', or a Go template
    #[arg(short, long, value_name = "FORMAT")]
    format: Option<String>,
}

impl Info {
    /// Prints what the daemon tells about itself and this host.
    ///
    /// # Errors
    /// As the daemon refuses, or the template is wrong.
    pub(crate) async fn run(&self, context: &Context) -> Done {
        let info: Value = context.client.json(Request::get(&["info"])).await?;
        if let Some(format) = &self.format {
            let format = if format == "json" {
                "{{json .}}"
            } else {
                format
            };
            return print_line(&Template::parse(format)?.execute(&value_of(&info))?);
        }
        let ours: Value = context
            .client
            .json(Request::get(&["vethwork", "info"]))
            .await?;
        print(&format!("{}{}", dockers(&info), ours_alone(&ours)))?;
        for warning in texts(&ours["Warnings"]) {
            eprintln!("WARNING: {warning}");
        }
        Ok(())
    }
}

/// What Docker's `info` says of any engine.
fn dockers(info: &Value) -> String {
    let text = |name: &str| shown(&info[name]);
    let lines = [
        ("Containers", text("Containers")),
        (" Running", text("ContainersRunning")),
        (" Paused", text("ContainersPaused")),
        (" Stopped", text("ContainersStopped")),
        ("Images", text("Images")),
        ("Server Version", text("ServerVersion")),
        ("Storage Driver", text("Driver")),
        ("Logging Driver", text("LoggingDriver")),
        ("Cgroup Driver", text("CgroupDriver")),
        ("Cgroup Version", text("CgroupVersion")),
        (
            "Network Drivers",
            texts(&info["Plugins"]["Network"]).join(" "),
        ),
        ("Default Runtime", text("DefaultRuntime")),
        (
            "Security Options",
            texts(&info["SecurityOptions"]).join(" "),
        ),
        ("Kernel Version", text("KernelVersion")),
        ("Operating System", text("OperatingSystem")),
        ("OSType", text("OSType")),
        ("Architecture", text("Architecture")),
        ("CPUs", text("NCPU")),
        (
            "Total Memory",
            info["MemTotal"]
                .as_f64()
                .map(human_size)
                .unwrap_or_default(),
        ),
        ("Name", text("Name")),
        ("ID", text("ID")),
        ("Root Dir", text("DockerRootDir")),
        ("Debug Mode", text("Debug")),
        ("Live Restore Enabled", text("LiveRestoreEnabled")),
        ("Firewall Backend", text_of_firewall(info)),
    ];
    let lines = lines.iter().filter(|(_, value)| !value.is_empty());
    lines
        .map(|(name, value)| format!("{name}: {value}\n"))
        .collect()
}

fn text_of_firewall(info: &Value) -> String {
    shown(&info["FirewallBackend"]["Driver"])
}

/// What only vethwork tells.
fn ours_alone(info: &Value) -> String {
    let mut out = format!(
        "Networks: {}\nAdopted: {}\n",
        shown(&info["Networks"]),
        shown(&info["Adopted"])
    );
    if let Some(carried) = carried(&shown(&info["Encryption"])) {
        out += &format!("Encrypted Networks: {carried}\n");
    }
    let shortcuts = &info["OverlayShortcuts"];
    match shortcuts["Taken"].as_bool() {
        Some(true) => out += "Overlay Shortcuts: taken\n",
        Some(false) => {
            out += &format!("Overlay Shortcuts: none: {}\n", shown(&shortcuts["Reason"]));
        }
        None => {}
    }
    let mut list = |title: &str, lines: Vec<String>| {
        if !lines.is_empty() {
            out += &format!("{title}:\n");
            out.extend(lines.iter().map(|line| format!(" {line}\n")));
        }
    };
    let each = |name: &str| info[name].as_array().map(Vec::as_slice).unwrap_or_default();
    let pools = each("DefaultAddressPools").iter();
    list(
        "Default Address Pools",
        pools
            .map(|pool| format!("Base: {}, Size: {}", shown(&pool["Base"]), pool["Size"]))
            .collect(),
    );
    list("DNS Upstreams", texts(&info["DnsUpstreams"]));
    let sysctls = each("Sysctls").iter();
    list(
        "Changed Kernel Parameters",
        sysctls
            .map(|one| {
                let [path, value, former] =
                    ["Path", "Value", "Former"].map(|name| shown(&one[name]));
                format!("{path} = {value} (was {former})")
            })
            .collect(),
    );
    let labels = info["Labels"].as_object().into_iter().flatten();
    list(
        "Labels",
        labels
            .map(|(name, value)| format!("{name}={}", shown(value)))
            .collect(),
    );
    out
}

fn texts(list: &Value) -> Vec<String> {
    list.as_array().into_iter().flatten().map(shown).collect()
}

/// A value without quotes; nothing for what is not there.
fn shown(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

//! `version`.

use crate::{
    cli::{
        Context, Done,
        failure::{Failure, REFUSED},
        output::{print, print_line},
    },
    client::{API_VERSION, Request},
    render::{Template, value_of},
};
use clap::Args;
use serde_json::{Value, json};

/// `version`.
#[derive(Debug, Args)]
pub(crate) struct Version {
    /// Format output using a custom template: 'json', or a Go template
    #[arg(short, long, value_name = "FORMAT")]
    format: Option<String>,
}

impl Version {
    /// Prints the versions of the client and the daemon.
    ///
    /// # Errors
    /// When the daemon cannot be asked; the client's is printed all the same.
    pub(crate) async fn run(&self, context: &Context) -> Done {
        let server = context
            .client
            .json::<Value>(Request::get(&["version"]))
            .await;
        let client = json!({
            "Version": env!("CARGO_PKG_VERSION"),
            "ApiVersion": API_VERSION,
            "Os": std::env::consts::OS,
            "Arch": architecture(),
        });
        let (server, failure) = match server {
            Ok(server) => (server, None),
            Err(failure) => (Value::Null, Some(failure)),
        };
        if let Some(format) = &self.format {
            let format = if format == "json" {
                "{{json .}}"
            } else {
                format
            };
            let template = Template::parse(format)?;
            print_line(
                &template.execute(&value_of(&json!({ "Client": client, "Server": server })))?,
            )?;
        } else {
            print(&section("Client", &client))?;
            if !server.is_null() {
                print(&format!("\n{}", section("Server", &server)))?;
            }
        }
        match failure {
            None => Ok(()),
            Some(failure) => {
                eprintln!("{}", Failure::from(failure).chain());
                Err(Failure::Status(REFUSED))
            }
        }
    }
}

/// This machine's architecture as Go names it, and so the daemon.
const fn architecture() -> &'static str {
    match std::env::consts::ARCH.as_bytes() {
        b"x86_64" => "amd64",
        b"aarch64" => "arm64",
        b"x86" => "386",
        _ => std::env::consts::ARCH,
    }
}

fn section(title: &str, fields: &Value) -> String {
    let field = |name: &str| fields[name].as_str().unwrap_or_default().to_owned();
    let lines = [
        ("Version:", field("Version")),
        ("API version:", field("ApiVersion")),
        ("Minimum API version:", field("MinAPIVersion")),
        ("Git commit:", field("GitCommit")),
        ("Built:", field("BuildTime")),
        ("OS/Arch:", format!("{}/{}", field("Os"), field("Arch"))),
        ("Kernel:", field("KernelVersion")),
    ];
    let lines = lines.iter().filter(|(_, value)| !value.is_empty());
    let lines = lines.map(|(name, value)| format!(" {name:<22}{value}\n"));
    std::iter::once(format!("{title}:\n"))
        .chain(lines)
        .collect()
}

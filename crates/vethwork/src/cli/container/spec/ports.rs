//! Published and exposed ports in every form that Docker reads (`nat.ParsePortSpec`).

use crate::cli::grammar;
use clap::Args;
use serde_json::{Map, Value, json};
use std::net::IpAddr;

/// Flags about ports.
#[derive(Debug, Default, Args)]
pub(crate) struct Ports {
    /// Expose a port or a range of ports
    #[arg(long, value_name = "PORT[-PORT][/PROTO]")]
    expose: Vec<String>,
    /// Publish a container's port(s) to the host
    #[arg(short, long, value_name = "[[IP:]PORT:]PORT[/PROTO]")]
    publish: Vec<String>,
    /// Publish all exposed ports to random ports
    #[arg(short = 'P', long)]
    pub(crate) publish_all: bool,
}

/// Ports as the API takes them.
#[derive(Debug, Default)]
pub(crate) struct Parsed {
    /// Container ports.
    pub(crate) exposed: Map<String, Value>,
    /// Host sides by container port.
    pub(crate) bindings: Map<String, Value>,
}

impl Ports {
    /// Reads all of them.
    ///
    /// # Errors
    /// Docker's sentences.
    pub(crate) fn parse(&self) -> Result<Parsed, String> {
        parse(&self.publish, &self.expose)
    }
}

/// Reads `--publish` and `--expose`.
///
/// # Errors
/// Docker's sentences.
pub(crate) fn parse(publish: &[String], expose: &[String]) -> Result<Parsed, String> {
    let mut parsed = Parsed::default();
    for text in publish {
        let text = if text.contains('=') {
            &short_form(text)?
        } else {
            text
        };
        add_published(text, &mut parsed)?;
    }
    for text in expose {
        if text.contains(':') {
            return Err(format!("invalid port format for --expose: {text}"));
        }
        let (ports, protocol) = split_protocol(text)?;
        let (first, last) =
            range(ports).ok_or_else(|| format!("invalid range format for --expose: {text}"))?;
        for port in first..=last {
            parsed
                .exposed
                .insert(format!("{port}/{protocol}"), json!({}));
        }
    }
    Ok(parsed)
}

/// `published=8080,target=80,protocol=tcp` in the short form.
fn short_form(text: &str) -> Result<String, String> {
    let (mut target, mut published, mut protocol) = (None, None, "tcp".to_owned());
    for field in grammar::csv(text) {
        let (key, value) = field
            .split_once('=')
            .filter(|(_, value)| !value.is_empty())
            .ok_or_else(|| format!("invalid field: {field}"))?;
        match key {
            "target" => target = Some(value.to_owned()),
            "published" => published = Some(value.to_owned()),
            "protocol" => value.clone_into(&mut protocol),
            "mode" => return Err("mode is for services: leave it out".to_owned()),
            _ => return Err(format!("invalid field key: {key}")),
        }
    }
    let target = target.ok_or_else(|| format!("no target port specified: {text}"))?;
    let published = published.map(|port| format!("{port}:")).unwrap_or_default();
    Ok(format!("{published}{target}/{protocol}"))
}

fn add_published(text: &str, parsed: &mut Parsed) -> Result<(), String> {
    let (rest, inside) = text.rsplit_once(':').unwrap_or(("", text));
    let (ip, outside) = rest.rsplit_once(':').unwrap_or(("", rest));
    let ip = ip
        .strip_prefix('[')
        .and_then(|ip| ip.strip_suffix(']'))
        .unwrap_or(ip);
    if !ip.is_empty() && ip.parse::<IpAddr>().is_err() {
        return Err(format!("invalid IP address: {ip}"));
    }
    let (inside, protocol) = split_protocol(inside)?;
    if inside.is_empty() {
        return Err(format!("no port specified: {text}<empty>"));
    }
    let (first, last) = range(inside).ok_or_else(|| format!("invalid containerPort: {inside}"))?;
    let host = match outside {
        "" => None,
        outside => Some(range(outside).ok_or_else(|| format!("invalid hostPort: {outside}"))?),
    };
    // One port inside may get whichever of several outside is free.
    let any_of = first == last;
    if let Some((host_first, host_last)) = host
        && !any_of
        && host_last - host_first != last - first
    {
        return Err(format!(
            "invalid ranges specified for container and host Ports: {inside} and {outside}"
        ));
    }
    for port in first..=last {
        let host_port = match host {
            None => String::new(),
            Some((from, to)) if any_of && from != to => format!("{from}-{to}"),
            Some((from, _)) => (from + (port - first)).to_string(),
        };
        let key = format!("{port}/{protocol}");
        let binding = json!({ "HostIp": ip, "HostPort": host_port });
        parsed.exposed.insert(key.clone(), json!({}));
        match parsed.bindings.entry(key).or_insert_with(|| json!([])) {
            Value::Array(list) => list.push(binding),
            other => *other = json!([binding]),
        }
    }
    Ok(())
}

fn split_protocol(text: &str) -> Result<(&str, String), String> {
    let (ports, protocol) = text.split_once('/').unwrap_or((text, ""));
    match protocol.to_ascii_lowercase().as_str() {
        "" => Ok((ports, "tcp".to_owned())),
        known @ ("tcp" | "udp" | "sctp") => Ok((ports, known.to_owned())),
        _ => Err(format!("invalid proto: {protocol}")),
    }
}

/// `80` or `80-90`.
fn range(text: &str) -> Option<(u16, u16)> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (first.parse().ok()?, last.parse().ok()?);
    (first <= last).then_some((first, last))
}

#[cfg(test)]
mod tests {
    use super::parse;
    use expect_test::{Expect, expect};

    fn check(publish: &str, expected: Expect) {
        let shown = match parse(&[publish.to_owned()], &[]) {
            Ok(parsed) => serde_json::Value::from(parsed.bindings).to_string(),
            Err(error) => format!("ERROR {error}"),
        };
        expected.assert_eq(&shown);
    }

    #[test]
    fn every_form_is_read() {
        check(
            "80",
            expect![[r#"{"80/tcp":[{"HostIp":"","HostPort":""}]}"#]],
        );
        check(
            "8080:80",
            expect![[r#"{"80/tcp":[{"HostIp":"","HostPort":"8080"}]}"#]],
        );
        check(
            "1.2.3.4::80",
            expect![[r#"{"80/tcp":[{"HostIp":"1.2.3.4","HostPort":""}]}"#]],
        );
        check(
            "[::1]:8:9/UDP",
            expect![[r#"{"9/udp":[{"HostIp":"::1","HostPort":"8"}]}"#]],
        );
        check(
            "::1:5:6",
            expect![[r#"{"6/tcp":[{"HostIp":"::1","HostPort":"5"}]}"#]],
        );
        check(
            "7-8:80-81",
            expect![[
                r#"{"80/tcp":[{"HostIp":"","HostPort":"7"}],"81/tcp":[{"HostIp":"","HostPort":"8"}]}"#
            ]],
        );
        check(
            "8000-8010:90",
            expect![[r#"{"90/tcp":[{"HostIp":"","HostPort":"8000-8010"}]}"#]],
        );
        check(
            "published=80,target=81,protocol=sctp",
            expect![[r#"{"81/sctp":[{"HostIp":"","HostPort":"80"}]}"#]],
        );
    }

    #[test]
    fn malformed_ports_are_refused_in_dockers_words() {
        check("x:80", expect!["ERROR invalid hostPort: x"]);
        check("80:", expect!["ERROR no port specified: 80:<empty>"]);
        check("65536", expect!["ERROR invalid containerPort: 65536"]);
        check(
            "1-3:1-2",
            expect!["ERROR invalid ranges specified for container and host Ports: 1-2 and 1-3"],
        );
        check("a.b:1:2", expect!["ERROR invalid IP address: a.b"]);
        check("80/icmp", expect!["ERROR invalid proto: icmp"]);
        check(
            "published=80",
            expect!["ERROR no target port specified: published=80"],
        );
    }
}

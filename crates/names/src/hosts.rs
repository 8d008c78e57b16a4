//! The text of a sandbox's `/etc/hosts`, as Docker makes it.
//!
//! Owns its first text and the changes when an endpoint comes or goes, which touch our own
//! lines alone and so keep a user's. It must not read or write the file.

use std::{fmt::Write as _, net::IpAddr};
use vw_model::HostEntry;

/// What every host calls itself, and the multicast groups of RFC 4291.
const LOCAL_V4: &str = "127.0.0.1\tlocalhost\n";
const LOCAL_V6: &str = "::1\tlocalhost ip6-localhost ip6-loopback\n\
    fe00::\tip6-localnet\n\
    ff00::\tip6-mcastprefix\n\
    ff02::1\tip6-allnodes\n\
    ff02::2\tip6-allrouters\n";

/// What goes into a sandbox's `/etc/hosts`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HostsFile<'a> {
    /// Its host name; it may be qualified itself.
    pub hostname: &'a str,
    /// Its domain name; may be empty.
    pub domainname: &'a str,
    /// `--add-host`.
    pub extra: &'a [HostEntry],
    /// Whether the sandbox has IPv6 at all; if not, no line has an IPv6 address.
    pub ipv6: bool,
}

impl HostsFile<'_> {
    /// The whole text for a sandbox that holds `addresses`.
    #[must_use]
    pub fn render(&self, addresses: &[IpAddr]) -> String {
        let mut text = LOCAL_V4.to_owned();
        if self.ipv6 {
            text.push_str(LOCAL_V6);
        }
        for entry in self.extra {
            if self.ipv6 || entry.addr.is_ipv4() {
                push_record(&mut text, entry.addr, &entry.name);
            }
        }
        self.add(&mut text, addresses);
        text
    }

    /// Adds the sandbox's own lines for `addresses` at the end of a text, leaving the rest.
    pub fn add(&self, text: &mut String, addresses: &[IpAddr]) {
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        let own = self.own_names();
        for addr in addresses.iter().filter(|addr| self.ipv6 || addr.is_ipv4()) {
            push_record(text, *addr, &own);
        }
    }

    /// Takes the sandbox's own lines for `addresses` out of a text, leaving the rest.
    ///
    /// A line that somebody changed stays.
    #[must_use]
    pub fn remove(&self, text: &str, addresses: &[IpAddr]) -> String {
        let own = self.own_names();
        let ours = |line: &str| {
            line.split_once('\t').is_some_and(|(addr, names)| {
                names == own && addr.parse().is_ok_and(|addr| addresses.contains(&addr))
            })
        };
        let kept = text.split_inclusive('\n');
        kept.filter(|line| !ours(line.trim_end_matches('\n')))
            .collect()
    }

    /// `host.domain host`; the host name alone when there is no domain.
    fn own_names(&self) -> String {
        let mut names = self.hostname.to_owned();
        if !self.domainname.is_empty() {
            names.push('.');
            names.push_str(self.domainname);
        }
        if let Some((bare, _)) = names.clone().split_once('.') {
            names.push(' ');
            names.push_str(bare);
        }
        names
    }
}

fn push_record(text: &mut String, addr: IpAddr, names: &str) {
    // Writing into a String cannot fail.
    let _ = writeln!(text, "{addr}\t{names}");
}

#[cfg(test)]
mod tests;

//! `/etc/hosts`, `/etc/hostname` and `/etc/resolv.conf` of containers, as Docker makes them.
//!
//! Files that a user edited inside are left as they are, but for lines of ours.

use crate::{
    Controller,
    records::Mode,
    registry::{Sandbox, SandboxState, lock},
};
use std::{
    fs,
    io::{self, Read},
    net::IpAddr,
    path::PathBuf,
};
use vw_model::{Error, Family, IpNet, Result};
use vw_names::{HostsFile, Resolver};

/// What a file that users edit may hold to be kept up to date.
const LARGEST: u64 = 1 << 20;

impl Controller {
    /// Writes a container's files at its start; returns (path of the host, path inside).
    ///
    /// # Errors
    /// When one cannot be written.
    pub(crate) fn write_files(
        &self,
        sandbox: &Sandbox,
        mode: &Mode,
    ) -> Result<Vec<(PathBuf, PathBuf)>> {
        let folder = match mode {
            // Who shares a namespace shares the files that describe it.
            Mode::Of(other) => self.runtime.data_dir(*other),
            Mode::Own | Mode::None | Mode::Host => {
                self.write_own_files(sandbox, mode)?;
                self.runtime.data_dir(sandbox.id)
            }
        };
        let shown = ["hosts", "hostname", "resolv.conf"]
            .map(|name| (folder.join(name), PathBuf::from("/etc").join(name)));
        Ok(shown
            .into_iter()
            .filter(|(file, _)| file.exists())
            .collect())
    }

    fn write_own_files(&self, sandbox: &Sandbox, mode: &Mode) -> Result<()> {
        let folder = self.runtime.data_dir(sandbox.id);
        let _placing = lock(&sandbox.placing);
        let state = sandbox.state();
        let hosts = if *mode == Mode::Host {
            fs::read_to_string("/etc/hosts").unwrap_or_default()
        } else {
            hosts_file(&state).render(&addresses(&state))
        };
        let hostname = format!("{}\n", state.spec.hostname);
        let resolver = self.resolver_kind(&state);
        let resolv_conf = self.resolver_file(&state.spec.dns, resolver).text;
        drop(state);
        for (name, text) in [
            ("hosts", hosts),
            ("hostname", hostname),
            ("resolv.conf", resolv_conf),
        ] {
            let path = folder.join(name);
            fs::write(&path, text).map_err(|e| unwritable(&path, e))?;
        }
        Ok(())
    }

    /// Where the programs of a sandbox send their questions.
    pub(crate) fn resolver_kind(&self, state: &SandboxState) -> Resolver {
        if state
            .container
            .as_ref()
            .is_some_and(|record| record.mode == Mode::Host)
        {
            return Resolver::Host;
        }
        if state.resolver.is_some() {
            return Resolver::Embedded;
        }
        let ipv6 = state
            .attachments
            .iter()
            .any(|a| a.endpoint.address(Family::V6).is_some());
        Resolver::Direct { ipv6 }
    }

    /// Brings the files of a container that stands up to date after it joined or left a network.
    ///
    /// # Errors
    /// When one cannot be written.
    pub(crate) fn refresh_files(
        &self,
        sandbox: &Sandbox,
        before: &[IpAddr],
        was: Resolver,
    ) -> Result<()> {
        let folder = self.runtime.data_dir(sandbox.id);
        let state = sandbox.state();
        let path = folder.join("hosts");
        // One that is being started may have none yet: they are written as it is then.
        if state.container.is_none() || !state.live || !path.exists() {
            return Ok(());
        }
        let now = addresses(&state);
        let file = hosts_file(&state);
        let text = read_edited(&path).map_err(|e| unwritable(&path, e))?;
        let left: Vec<IpAddr> = before
            .iter()
            .copied()
            .filter(|addr| !now.contains(addr))
            .collect();
        let joined: Vec<IpAddr> = now
            .iter()
            .copied()
            .filter(|addr| !before.contains(addr))
            .collect();
        let mut updated = file.remove(&text, &left);
        file.add(&mut updated, &joined);
        if updated != text {
            // In place: the file is mounted inside, and another one would not be seen.
            fs::write(&path, updated).map_err(|e| unwritable(&path, e))?;
        }
        let resolver = self.resolver_kind(&state);
        if resolver != was {
            let former = self.resolver_file(&state.spec.dns, was);
            let path = folder.join("resolv.conf");
            let text = read_edited(&path).map_err(|e| unwritable(&path, e))?;
            if former.fingerprint().is_of(text.as_bytes()) {
                let new = self.resolver_file(&state.spec.dns, resolver).text;
                fs::write(&path, new).map_err(|e| unwritable(&path, e))?;
            }
        }
        Ok(())
    }
}

/// The sandbox's addresses on all its networks.
pub(crate) fn addresses(state: &SandboxState) -> Vec<IpAddr> {
    let of = |a: &crate::registry::Attachment| {
        a.endpoint
            .addresses
            .iter()
            .map(IpNet::addr)
            .collect::<Vec<_>>()
    };
    state.attachments.iter().flat_map(of).collect()
}

fn hosts_file(state: &SandboxState) -> HostsFile<'_> {
    HostsFile {
        hostname: &state.spec.hostname,
        domainname: &state.spec.domainname,
        extra: &state.spec.extra_hosts,
        ipv6: true,
    }
}

/// Reads a file that the container can write, and could make as large as its disk.
fn read_edited(path: &std::path::Path) -> io::Result<String> {
    let mut text = String::new();
    let size = fs::File::open(path)?
        .take(LARGEST + 1)
        .read_to_string(&mut text)?;
    if size as u64 > LARGEST {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(text)
}

fn unwritable(path: &std::path::Path, error: io::Error) -> Error {
    Error::internal(
        "file-unwritable",
        format!("cannot write {}", path.display()),
    )
    .because(error)
}

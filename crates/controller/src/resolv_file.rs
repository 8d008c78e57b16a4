//! The resolver file of what was adopted: replaced on request, put back on release.

use crate::{Controller, records, registry::Sandbox};
use std::{fs, path::Path};
use vw_model::{AdoptedFrom, Error, Kind, Result, SandboxKind};

impl Controller {
    /// The resolver file of what is adopted; refused where it is the host's own.
    pub(crate) fn resolv_conf_of(&self, from: &AdoptedFrom) -> Result<std::path::PathBuf> {
        match from {
            AdoptedFrom::Pid { pid, .. } => {
                let path = Path::new("/proc")
                    .join(pid.to_string())
                    .join("root/etc/resolv.conf");
                let same = |a: &Path, b: &Path| {
                    use std::os::unix::fs::MetadataExt;
                    let id = |path: &Path| fs::metadata(path).map(|m| (m.dev(), m.ino())).ok();
                    id(a).is_some() && id(a) == id(b)
                };
                if same(&path, &self.config.resolv_conf) {
                    let message = format!(
                        "process {pid} shares the host's {}: give it a mount namespace with a file of its own, or leave out --resolv-conf",
                        self.config.resolv_conf.display()
                    );
                    return Err(Error::new(Kind::Forbidden, "resolv-conf-shared", message));
                }
                Ok(path)
            }
            AdoptedFrom::Netns(path) => {
                let name = path.file_name().unwrap_or_default();
                Ok(Path::new("/etc/netns").join(name).join("resolv.conf"))
            }
        }
    }

    pub(crate) fn take_over_resolv_conf(&self, sandbox: &Sandbox) -> Result<()> {
        let state = sandbox.state();
        let SandboxKind::Adopted {
            resolv_conf: Some(path),
            ..
        } = state.spec.kind.clone()
        else {
            return Ok(());
        };
        let resolver = match state.resolver {
            Some(_) => vw_names::Resolver::Embedded,
            None => vw_names::Resolver::Direct { ipv6: true },
        };
        let file = self.resolver_file(&state.spec.dns, resolver);
        drop(state);
        let failed = |e| {
            Error::internal(
                "resolv-conf-unwritable",
                format!("cannot replace {}", path.display()),
            )
            .because(e)
        };
        let former = match fs::read_to_string(&path) {
            Ok(text) => Some(text),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => None,
            Err(e) => return Err(failed(e)),
        };
        sandbox.state().former_resolv_conf = Some(records::FormerFile {
            text: former,
            ours: file.text.clone(),
        });
        self.note_sandbox(sandbox)?;
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(failed)?;
        }
        fs::write(&path, &file.text).map_err(failed)
    }

    /// Puts the resolver file back, unless somebody else changed it meanwhile.
    pub(crate) fn give_back_resolv_conf(&self, sandbox: &Sandbox) {
        let mut state = sandbox.state();
        let Some(former) = state.former_resolv_conf.take() else {
            return;
        };
        let SandboxKind::Adopted {
            resolv_conf: Some(path),
            ..
        } = state.spec.kind.clone()
        else {
            return;
        };
        drop(state);
        if fs::read_to_string(&path).is_ok_and(|text| text == former.ours) {
            let put_back = match &former.text {
                Some(text) => fs::write(&path, text),
                None => fs::remove_file(&path),
            };
            if let Err(error) = put_back {
                self.warn(format!("cannot put {} back: {error}", path.display()));
            }
        }
    }
}

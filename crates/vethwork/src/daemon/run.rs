//! The daemon's parts put together, from checked settings to a clean end.

use super::{
    anew::{self, Reached, Start},
    encryption, listen, memory, notify,
    settings::DaemonSettings,
    signals::Stops,
    sockets::KernelSockets,
    watch,
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::sync::oneshot;
use vw_controller::{Controller, Parts, kernel_error, refuse_to_leave_cluster};
use vw_dns_server::DnsServer;
use vw_drivers::{DriverContext, Underlay};
use vw_engine_api::{ApiConfig, serve};
use vw_kernel::{HostFacts, LinuxKernel};
use vw_model::{Error, Kind, Result};
use vw_runtime::{Runtime, Settings};
use vw_store::{Embedded, Journal, Schema};

/// How long an OCI runtime may take to make a container; CRI-O gives it as long.
const CREATE: Duration = Duration::from_secs(240);

/// Removes the pid file when the daemon ends.
struct PidFile(Option<PathBuf>);

impl Drop for PidFile {
    fn drop(&mut self) {
        if let Some(path) = &self.0
            && let Err(error) = fs::remove_file(path)
        {
            tracing::debug!("{}: {error}", path.display());
        }
    }
}

/// How a daemon ended that had started.
#[derive(Debug)]
pub(super) enum Ended {
    /// Somebody asked it to.
    Stopped,
    /// It is to begin anew, in its own place, and go on with this, unless somebody asked it to stop since.
    BeginsAnew(Stops, Underlay),
}

/// Runs until SIGTERM or SIGINT, or until the other hosts reach this one by another address. Containers
/// and their networks go on after it.
///
/// # Errors
/// Whatever prevents the start, as one sentence with its causes.
pub(super) fn run(start: Start) -> Result<Ended> {
    let settings = &start.settings;
    anew::reap_former();
    raise_descriptors();
    memory::keep_little();
    for folder in [&settings.data_root, &settings.exec_root] {
        fs::create_dir_all(folder).map_err(|e| cannot("make", folder, e))?;
    }
    let kernel = Arc::new(
        LinuxKernel::open(&vw_kernel::Config {
            exec_root: settings.exec_root.clone(),
        })
        .map_err(kernel_error)?,
    );
    // Held until the process ends: a second daemon in this namespace is refused.
    let _claim = kernel.claim_netns().map_err(kernel_error)?;
    let _pid_file = write_pid(settings.pidfile.as_deref())?;
    let facts = anew::facts(&kernel, settings)?;
    let mut config = settings.controller_config(&facts)?;
    try_programs(&kernel, &mut config.drivers);
    let mut parts = parts(settings, &kernel, &facts)?;
    if settings.cluster.is_none() && !settings.leaves_cluster {
        refuse_to_leave_cluster(&*parts.data, &*parts.run, &facts.boot_id)?;
    }
    let underlay = config.drivers.underlay.clone();
    let unencrypted = join(&mut parts, settings, &kernel, &facts, underlay.as_ref())?;
    let controller = Arc::new(Controller::open(config, parts)?);
    if let Some(error) = unencrypted {
        controller.warn(format!(
            "this host is on no network with the option encrypted: {}; mend that and start the daemon again",
            error.chain()
        ));
    }
    watch::firewall(&controller, &kernel, settings)?;
    let link = underlay.as_ref().map(|underlay| underlay.link.as_str());
    watch::links(&controller, link)?;
    let (tell, moved) = oneshot::channel();
    if let (Some(cluster), Some(underlay)) = (settings.cluster.clone(), &underlay) {
        let reached = Reached::new(cluster, underlay);
        watch::addresses(&controller, &kernel, reached, start.clone(), tell)?;
    }
    let ended = answer(settings, &controller, moved)?;
    if matches!(ended, Ended::Stopped) {
        notify::stopping();
    }
    listen::forget(settings);
    match (close(&controller, &kernel), &ended) {
        (Err(error), Ended::BeginsAnew(..)) => {
            tracing::error!("left to the start that follows: {}", error.chain());
        }
        (closed, _) => closed?,
    }
    Ok(ended)
}

/// Makes the host a member of its cluster, where it is in one; tells why it is on no encrypted network,
/// where that is by a failure.
fn join(
    parts: &mut Parts,
    settings: &DaemonSettings,
    kernel: &Arc<LinuxKernel>,
    facts: &HostFacts,
    underlay: Option<&Underlay>,
) -> Result<Option<Error>> {
    let place = settings.cluster.as_ref().zip(underlay);
    let tunnel = place.map(|(_, end)| encryption::open(kernel, facts, end.addr, settings));
    // What else there is does without.
    let (tunnel, unencrypted) = match tunnel.transpose() {
        Ok(tunnel) => (tunnel.flatten(), None),
        Err(error) => (None, Some(error)),
    };
    if tunnel.is_none() {
        encryption::do_without(settings);
    }
    if let Some((cluster, underlay)) = place {
        parts.cluster = Some(cluster.membership(underlay, tunnel)?);
    }
    Ok(unencrypted)
}

/// Serves the API until the daemon is to stop, or to begin anew as the host has another address.
fn answer(
    settings: &DaemonSettings,
    controller: &Arc<Controller>,
    moved: oneshot::Receiver<Underlay>,
) -> Result<Ended> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("api")
        .build()
        .map_err(|e| Error::internal("runtime-refused", "cannot start threads").because(e))?;
    runtime.block_on(async {
        let listeners = listen::listeners(settings)?;
        let (stops, stop) = Stops::hear()?;
        notify::ready();
        tracing::info!("API listens");
        memory::give_back();
        let config = ApiConfig {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            firewall_backend: settings.firewall_name().to_owned(),
            ..ApiConfig::default()
        };
        let (tell, told) = oneshot::channel();
        let end = async {
            let anew = either(stop, moved).await;
            // Who waits for it below is there as long as this is.
            let _ = tell.send(anew);
        };
        let served = serve(controller.clone(), listeners, config, end).await;
        served.map_err(|e| Error::internal("serve-failed", "the API stopped").because(e))?;
        Ok(match told.await {
            Ok(Some(next)) => Ended::BeginsAnew(stops, next),
            Ok(None) | Err(_) => Ended::Stopped,
        })
    })
}

/// What the daemon begins anew with, if it does: who asks it to stop is heard first.
async fn either(
    stop: impl Future<Output = ()>,
    moved: oneshot::Receiver<Underlay>,
) -> Option<Underlay> {
    tokio::select! {
        biased;
        () = stop => None,
        // Where nobody looks for another address, none is told.
        Ok(next) = moved => Some(next),
    }
}

/// Ends what does not go on without the daemon.
fn close(controller: &Controller, kernel: &LinuxKernel) -> Result<()> {
    if controller.close()? {
        watch::leave_foreign(kernel);
        kernel.withdraw().map_err(kernel_error)?;
    }
    kernel.flush_reaper().map_err(kernel_error)
}

/// Tries which programs for packets the kernel takes: without them less is done, and said.
fn try_programs(kernel: &LinuxKernel, drivers: &mut DriverContext) {
    if drivers.underlay.is_some() {
        let cannot = kernel.shortcuts().map_err(kernel_error).err();
        drivers.no_shortcuts = cannot.map(|error| error.chain());
    }
    let cannot = kernel.translation().map_err(kernel_error).err();
    drivers.no_translation = cannot.map(|error| vw_controller::untranslated(&error.chain()));
}

fn parts(settings: &DaemonSettings, kernel: &Arc<LinuxKernel>, facts: &HostFacts) -> Result<Parts> {
    let data = Embedded::open(&settings.data_root.join("vethwork.db"), Schema::CURRENT)
        .map_err(Error::from)?;
    let run = Journal::open(
        &settings.exec_root.join("state.journal"),
        Schema::CURRENT,
        &facts.boot_id,
    )
    .map_err(Error::from)?;
    let runtime = Runtime::open(Settings {
        data_root: settings.data_root.clone(),
        exec_root: settings.exec_root.clone(),
        runtimes: vec!["crun".to_owned(), "runc".to_owned()],
        conmon: "conmon".to_owned(),
        patience: CREATE,
    });
    let sockets = Arc::new(KernelSockets(kernel.clone()));
    let dns = DnsServer::start(vw_dns_server::Config::default(), sockets)
        .map_err(|e| Error::internal("dns-failed", "cannot start the DNS server").because(e))?;
    Ok(Parts {
        kernel: kernel.clone(),
        data: Arc::new(data),
        run: Arc::new(run),
        runtime: Arc::new(runtime.map_err(Error::from)?),
        dns: Arc::new(dns),
        random,
        cluster: None,
    })
}

/// Random bits of the kernel; they never fail once it has booted (getrandom(2)).
pub(crate) fn random() -> [u8; 32] {
    let mut bytes = [0; 32];
    let mut filled = 0;
    while filled < bytes.len() {
        match rustix::rand::getrandom(&mut bytes[filled..], rustix::rand::GetRandomFlags::empty()) {
            Ok(count) => filled += count,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => {
                // Identifiers made of anything else could meet; nothing can go on without.
                tracing::error!("getrandom: {error}");
                std::process::abort();
            }
        }
    }
    bytes
}

/// A thousand sandboxes hold a few descriptors each; the hard limit is ours to use.
fn raise_descriptors() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!("cannot raise the limit of open files: {error}");
    }
}

fn write_pid(path: Option<&Path>) -> Result<PidFile> {
    let Some(path) = path else {
        return Ok(PidFile(None));
    };
    fs::write(path, format!("{}\n", std::process::id())).map_err(|e| cannot("write", path, e))?;
    Ok(PidFile(Some(path.to_owned())))
}

pub(crate) fn cannot(what: &str, path: &Path, error: io::Error) -> Error {
    let kind = if error.kind() == io::ErrorKind::PermissionDenied {
        Kind::Forbidden
    } else {
        Kind::Internal
    };
    Error::new(
        kind,
        "path-unusable",
        format!("cannot {what} {}", path.display()),
    )
    .because(error)
}

//! The life of a container: root file system, create, start, signal, end, removal.
//!
//! Owns the order of these and what is true after a crash between any two: everything is
//! read from the two directories, nothing is only in memory. It decides no policy
//! (restarting, stopping in two steps) and knows no network.

use crate::{
    cgroup::Cgroups,
    conmon::{self, AttachStream},
    error::{Context, Error, Result},
    files,
    images::{ImageId, Images},
    layout::Layout,
    programs::{self, Programs},
    rootfs::Rootfs,
    spec::WindowSize,
    state::State,
    watch::{self, ExitWatcher, Registry},
};
use std::{
    path::{Path, PathBuf},
    sync::{Arc, OnceLock, PoisonError, RwLock},
    time::Duration,
};
use vw_model::SandboxId;

/// Where containers live and what runs them.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Images, writable layers, logs: outlives a reboot.
    pub data_root: PathBuf,
    /// Bundles, sockets, mounts: need not.
    pub exec_root: PathBuf,
    /// OCI runtimes by preference, names or paths.
    pub runtimes: Vec<String>,
    /// conmon, a name or a path.
    pub conmon: String,
    /// How long the OCI runtime may take to make a container: a hook or a mount may hang.
    pub patience: Duration,
}

/// Containers of one data directory.
///
/// Methods may be called from any thread; two calls for one container must not overlap,
/// apart from the reading ones (`state`, `attach`, `logs`, `resize`). Only one process may
/// work on a data directory.
#[derive(Debug)]
pub struct Runtime {
    pub(crate) layout: Layout,
    pub(crate) cgroups: Arc<Cgroups>,
    pub(crate) settings: Settings,
    pub(crate) images: Images,
    programs: OnceLock<Programs>,
    pub(crate) registry: OnceLock<Registry>,
    /// Shared while a monitor moves into our control groups, exclusive while these are removed
    /// as empty.
    pub(crate) starting: RwLock<()>,
}

impl Runtime {
    /// Opens the two directories, making them. Starts and tries no program.
    ///
    /// # Errors
    /// [`Error::UnfitDirectory`], [`Error::Damaged`], [`Error::Io`].
    pub fn open(settings: Settings) -> Result<Self> {
        for path in [&settings.data_root, &settings.exec_root] {
            check_root(path)?;
        }
        let layout = Layout::new(&settings.data_root, &settings.exec_root);
        for directory in [layout.run_dirs(), layout.exits(), layout.runtime_root()] {
            files::make_dir(&directory)?;
        }
        Ok(Self {
            cgroups: Arc::new(Cgroups::detect(&settings.data_root)?),
            images: Images::open(&settings.data_root)?,
            layout,
            settings,
            programs: OnceLock::new(),
            registry: OnceLock::new(),
            starting: RwLock::new(()),
        })
    }

    /// The images of the data directory.
    #[must_use]
    pub fn images(&self) -> &Images {
        &self.images
    }

    /// The programs that run containers here: the first OCI runtime that really runs one.
    ///
    /// Tried once; the result is kept until a program or the boot changes.
    ///
    /// # Errors
    /// [`Error::NoRuntime`], [`Error::NoConmon`].
    pub fn probe(&self) -> Result<&Programs> {
        if let Some(programs) = self.programs.get() {
            return Ok(programs);
        }
        let _starting = self
            .starting
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let settings = &self.settings;
        let found = programs::probe(
            &self.layout,
            &self.cgroups,
            &settings.runtimes,
            &settings.conmon,
        )?;
        Ok(self.programs.get_or_init(|| found))
    }

    /// Starts to report the ends of containers. Those that run are adopted; those that ended
    /// while nobody watched are reported at once. To be called once.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn watch(&self) -> Result<ExitWatcher> {
        let (watcher, registry) = watch::start(&self.layout, Arc::clone(&self.cgroups))?;
        let registry = self.registry.get_or_init(|| registry);
        for id in self.ids()? {
            // What a crash left half-created has no end to report.
            if self.state(id)? != State::Absent {
                registry.register(id)?;
            }
        }
        Ok(watcher)
    }

    /// Every container that has a run directory, with its state.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn list(&self) -> Result<Vec<(SandboxId, State)>> {
        let ids = self.ids()?.into_iter();
        ids.map(|id| Ok((id, self.state(id)?))).collect()
    }

    /// Every container that has something in the data directory.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn stored(&self) -> Result<Vec<SandboxId>> {
        ids_in(&self.layout.data().join("containers"))
    }

    fn ids(&self) -> Result<Vec<SandboxId>> {
        ids_in(&self.layout.run_dirs())
    }

    /// Where the caller may keep files for a container, such as its `/etc/hosts`; goes with
    /// [`Runtime::delete`].
    #[must_use]
    pub fn data_dir(&self, id: SandboxId) -> PathBuf {
        self.layout.container_data(id)
    }

    /// Makes a container's writable layer over an image. Idempotent.
    ///
    /// # Errors
    /// [`Error::NoSuchImage`], [`Error::Io`].
    pub fn create_rootfs(&self, id: SandboxId, image: &ImageId) -> Result<()> {
        let hidden = [self.layout.data(), self.layout.exec()];
        self.rootfs(id).prepare(image, &self.images, &hidden)
    }

    /// The image that a container was made from; `None` when it has no root file system.
    ///
    /// # Errors
    /// [`Error::Damaged`], [`Error::Io`].
    pub fn image_of(&self, id: SandboxId) -> Result<Option<ImageId>> {
        Ok(self.rootfs(id).origin()?.map(|origin| origin.image))
    }

    pub(crate) fn rootfs(&self, id: SandboxId) -> Rootfs {
        Rootfs {
            data: self.layout.container_data(id),
            mounted: self.layout.run(id).rootfs(),
        }
    }

    /// Connects to the container's input and output. What was written before is in its log.
    ///
    /// # Errors
    /// [`Error::NotRunning`].
    pub fn attach(&self, id: SandboxId) -> Result<AttachStream> {
        AttachStream::connect(&self.layout.run(id), &id.to_string())
    }

    /// Tells the container's terminal its size.
    ///
    /// # Errors
    /// [`Error::NotRunning`].
    pub fn resize(&self, id: SandboxId, size: WindowSize) -> Result<()> {
        conmon::resize(&self.layout.run(id), &id.to_string(), size)
    }

    /// Removes our control groups where no container is left in them; for the daemon's end.
    pub fn remove_empty_cgroups(&self) {
        let _starting = self
            .starting
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        self.cgroups.remove_parents();
    }
}

fn check_root(path: &Path) -> Result<()> {
    let unfit = |why: &str| {
        Err(Error::UnfitDirectory {
            path: path.to_owned(),
            why: why.to_owned(),
        })
    };
    if !path.is_absolute() {
        return unfit("the directory must be an absolute path");
    }
    match path.to_str() {
        Some(text) if text.contains(':') => {
            unfit("conmon takes no path with a `:`; choose another directory")
        }
        Some(_) => Ok(()),
        None => unfit("the path must be valid UTF-8"),
    }
}

fn ids_in(directory: &Path) -> Result<Vec<SandboxId>> {
    match std::fs::read_dir(directory) {
        Ok(entries) => {
            let name = |entry: std::fs::DirEntry| entry.file_name().to_str()?.parse().ok();
            Ok(entries.flatten().filter_map(name).collect())
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error).context(|| format!("read {}", directory.display())),
    }
}

//! Pinned network namespaces: made, adopted, found again and let go.
//!
//! Owns the folder `<exec-root>/netns`, one file a sandbox or network, and every `setns` of the process. It
//! must not know what is done inside a namespace.

mod loopback;
mod source;
#[cfg(test)]
mod tests;
mod worker;

use crate::{
    KernelError,
    netlink::{Batch, Socket, link},
    shortcuts::Table,
    sysctl::Ipv6Conf,
};
use rustix::{
    fs::{AtFlags, CWD, Mode, OFlags, StatxAttributes, StatxFlags},
    io::Errno,
    mount::{MountPropagationFlags, UnmountFlags},
    thread::{LinkNameSpaceType, UnshareFlags},
};
use std::{
    collections::HashMap,
    fs, io,
    os::fd::{AsFd, AsRawFd, OwnedFd},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};
use vw_hoststate::{Namespace, NamespaceSource, Netns};
use worker::Workers;

/// How many of them are kept open; each takes a namespace's and a socket's descriptor.
const CACHE: usize = 128;

/// What the file of a network's namespace begins with, before its id.
const NETWORK: &str = "net-";

/// The file of the encrypted tunnel's namespace.
const TUNNEL: &str = "tunnel";

/// An open namespace, with what was opened inside of it once it was needed.
#[derive(Debug)]
pub(crate) struct Place {
    fd: OwnedFd,
    identity: (u64, u64),
    socket: Mutex<Option<Socket>>,
    /// Nothing where there is no IPv6.
    ipv6_conf: OnceLock<Option<Ipv6Conf>>,
    /// The table of ways around the bridge, once it was looked for and there is one.
    shortcuts: Mutex<Option<Arc<Table>>>,
}

impl Place {
    fn new(fd: OwnedFd, socket: Option<Socket>) -> io::Result<Self> {
        let identity = source::identity(fd.as_fd())?;
        let socket = Mutex::new(socket);
        Ok(Self {
            fd,
            identity,
            socket,
            ipv6_conf: OnceLock::new(),
            shortcuts: Mutex::default(),
        })
    }

    /// The namespace's descriptor.
    pub(crate) const fn fd(&self) -> &OwnedFd {
        &self.fd
    }

    /// Device and inode of the namespace.
    pub(crate) const fn identity(&self) -> (u64, u64) {
        self.identity
    }

    /// The table of ways around the bridge, where it is open already.
    pub(crate) fn shortcuts(&self) -> Option<Arc<Table>> {
        lock(&self.shortcuts).clone()
    }

    /// Keeps that table open, or closes it.
    pub(crate) fn set_shortcuts(&self, table: Option<Arc<Table>>) {
        *lock(&self.shortcuts) = table;
    }

    /// Takes the calling thread into it.
    fn enter(&self) -> io::Result<()> {
        let kind = Some(LinkNameSpaceType::Network);
        Ok(rustix::thread::move_into_link_name_space(
            self.fd.as_fd(),
            kind,
        )?)
    }
}

/// What to do in which namespace.
pub(crate) type Job<T> = (Arc<Place>, Box<dyn FnOnce() -> T + Send>);

#[derive(Debug, Default)]
struct Cache {
    places: HashMap<Netns, (u64, Arc<Place>)>,
    clock: u64,
}

impl Cache {
    fn get(&mut self, netns: Netns) -> Option<Arc<Place>> {
        self.clock += 1;
        let (used, place) = self.places.get_mut(&netns)?;
        *used = self.clock;
        Some(Arc::clone(place))
    }

    fn put(&mut self, netns: Netns, place: &Arc<Place>) {
        if self.places.len() >= CACHE
            && let Some(oldest) = self.places.iter().min_by_key(|(_, (used, _))| *used)
        {
            let oldest = *oldest.0;
            self.places.remove(&oldest);
        }
        self.clock += 1;
        self.places.insert(netns, (self.clock, Arc::clone(place)));
    }
}

/// The namespaces that the executor works in.
#[derive(Debug)]
pub(crate) struct Namespaces {
    dir: PathBuf,
    host: Arc<Place>,
    cache: Mutex<Cache>,
    workers: Workers,
}

impl Namespaces {
    /// Prepares `dir`; the calling thread's namespace is the host's from now on.
    pub(crate) fn prepare(dir: PathBuf) -> Result<Self, KernelError> {
        let failed = |source| call("prepare", dir.display(), source);
        prepare(&dir).map_err(failed)?;
        let host = source::open(Path::new("/proc/thread-self/ns/net")).map_err(failed)?;
        let socket = Socket::open().map_err(failed)?;
        let host = Arc::new(Place::new(host, Some(socket)).map_err(failed)?);
        Ok(Self {
            workers: Workers::new(Arc::clone(&host)),
            dir,
            host,
            cache: Mutex::default(),
        })
    }

    /// The file that pins a namespace; the host's own has none, and its name is no file's.
    pub(crate) fn path(&self, netns: Netns) -> PathBuf {
        self.dir.join(match netns {
            Netns::Host => "host".to_owned(),
            Netns::Sandbox(sandbox) => sandbox.to_string(),
            Netns::Network(network) => format!("{NETWORK}{network}"),
            Netns::Tunnel => TUNNEL.to_owned(),
        })
    }

    /// The daemon's own namespace.
    pub(crate) const fn host(&self) -> &Arc<Place> {
        &self.host
    }

    /// The namespace, if it is pinned still.
    pub(crate) fn place(&self, netns: Netns) -> Result<Arc<Place>, KernelError> {
        if netns == Netns::Host {
            return Ok(Arc::clone(&self.host));
        }
        let path = self.path(netns);
        // The file is looked at each time, so that a descriptor that is kept open never makes
        // a namespace look alive that its owner took away.
        let found = rustix::fs::stat(&path);
        let found = found.map_err(|error| unopened(netns, error.into()))?;
        if let Some(place) = self.cached().get(netns)
            && place.identity == (found.st_dev, found.st_ino)
        {
            return Ok(place);
        }
        let place = self.open_pinned(netns)?;
        self.cached().put(netns, &place);
        Ok(place)
    }

    /// The namespace, if it is pinned still, without keeping it open beyond the answer's life.
    pub(crate) fn open(&self, netns: Netns) -> Result<Arc<Place>, KernelError> {
        match netns {
            Netns::Host => Ok(Arc::clone(&self.host)),
            Netns::Sandbox(_) | Netns::Network(_) | Netns::Tunnel => self.open_pinned(netns),
        }
    }

    fn open_pinned(&self, netns: Netns) -> Result<Arc<Place>, KernelError> {
        let fd = source::open(&self.path(netns));
        let place = fd.and_then(|fd| Place::new(fd, None));
        place.map(Arc::new).map_err(|error| unopened(netns, error))
    }

    /// Runs `f` with the netlink socket of a namespace; others wait meanwhile.
    pub(crate) fn with_socket<T>(
        &self,
        place: &Arc<Place>,
        f: impl FnOnce(&mut Socket) -> io::Result<T>,
    ) -> io::Result<T> {
        let mut slot = lock(&place.socket);
        let socket = match &mut *slot {
            Some(socket) => socket,
            empty => empty.insert(self.open_inside(place)?),
        };
        let result = f(socket);
        // What is outstanding after an error of the socket's own is not waited for.
        if !socket.is_settled() {
            *slot = None;
        }
        result
    }

    /// Opens in one visit what a namespace is worked on with from then on.
    fn open_inside(&self, place: &Arc<Place>) -> io::Result<Socket> {
        let (socket, conf) = self.run(place, || (Socket::open(), Ipv6Conf::open()))?;
        // Another thread may have been first, with the same.
        let _ = place.ipv6_conf.set(conf.ok());
        socket
    }

    /// A namespace's parameters of IPv6 on its links; nothing where it has none.
    pub(crate) fn ipv6_conf<'a>(&self, place: &'a Arc<Place>) -> io::Result<Option<&'a Ipv6Conf>> {
        if place.ipv6_conf.get().is_none() {
            let conf = self.run(place, Ipv6Conf::open)?;
            // As above.
            let _ = place.ipv6_conf.set(conf.ok());
        }
        Ok(place.ipv6_conf.get().and_then(Option::as_ref))
    }

    /// Runs `f` on a thread that is in the namespace.
    pub(crate) fn run<T: Send + 'static>(
        &self,
        place: &Arc<Place>,
        f: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<T> {
        self.workers.run(Arc::clone(place), f)
    }

    /// Runs every job in its namespace, several at once, and answers in their order.
    pub(crate) fn run_all<T: Send + 'static>(&self, jobs: Vec<Job<T>>) -> Vec<io::Result<T>> {
        self.workers.run_all(jobs)
    }

    /// Runs `f` with what is given in every sandbox's namespace, one visit each, several side by
    /// side; the answers are in their order.
    ///
    /// The namespaces are opened by the threads that visit them and not kept, so that a thousand
    /// visits push nothing out of the cache.
    pub(crate) fn visit_all<A, T>(
        &self,
        visits: Vec<(Netns, A)>,
        f: impl Fn(A) -> Result<T, KernelError> + Clone + Send + 'static,
    ) -> Vec<Result<T, KernelError>>
    where
        A: Send + 'static,
        T: Send + 'static,
    {
        let asked: Vec<Netns> = visits.iter().map(|(netns, _)| *netns).collect();
        let share = visits.len().div_ceil(worker::THREADS).max(1);
        let mut visits = visits.into_iter();
        let mut jobs: Vec<Job<Vec<Result<T, KernelError>>>> = Vec::new();
        loop {
            let some: Vec<(PathBuf, Netns, A)> = visits
                .by_ref()
                .take(share)
                .map(|(netns, given)| (self.path(netns), netns, given))
                .collect();
            if some.is_empty() {
                break;
            }
            let f = f.clone();
            // From one to the next; whoever runs the job goes back to the host's.
            let tour = move || {
                let visit = |(path, netns, given): (PathBuf, Netns, A)| {
                    let fd = source::open(&path).map_err(|error| unopened(netns, error))?;
                    let place = Place::new(fd, None).and_then(|place| place.enter());
                    place.map_err(|error| unopened(netns, error))?;
                    f(given)
                };
                some.into_iter().map(visit).collect()
            };
            jobs.push((Arc::clone(&self.host), Box::new(tour)));
        }
        let mut answers = Vec::with_capacity(asked.len());
        for (of, answered) in asked.chunks(share).zip(self.run_all(jobs)) {
            match answered {
                Ok(some) => answers.extend(some),
                Err(error) => answers.extend(of.iter().map(|netns| {
                    let source = io::Error::new(error.kind(), error.to_string());
                    Err(call("visit network namespace", short(*netns), source))
                })),
            }
        }
        answers
    }

    /// Pins a namespace; one that is pinned already stays.
    pub(crate) fn pin(&self, namespace: &Namespace) -> Result<(), KernelError> {
        let netns = namespace.netns;
        if netns == Netns::Host {
            let source = io::Error::new(io::ErrorKind::InvalidInput, "it needs no pin");
            return Err(call("pin network namespace", short(netns), source));
        }
        if let Ok(place) = self.place(netns) {
            return self.check_pinned(&place, namespace);
        }
        let failed = |source| call("pin network namespace", short(netns), source);
        let place = match &namespace.source {
            NamespaceSource::New => {
                make().map_err(|source| call("create network namespace", short(netns), source))?
            }
            adopted => Place::new(source::of(adopted)?, None).map_err(failed)?,
        };
        let place = Arc::new(place);
        if place.identity == self.host.identity {
            let own = "it is the daemon's own; give the process a namespace first (unshare -n)";
            return Err(call(
                "adopt network namespace",
                source::name(&namespace.source),
                io::Error::new(io::ErrorKind::InvalidInput, own),
            ));
        }
        self.mount(&place, &self.path(netns)).map_err(failed)?;
        self.cached().put(netns, &place);
        if namespace.source == NamespaceSource::New {
            return Ok(());
        }
        let raised = self.raise_loopback(&place, netns);
        raised.map_err(|source| {
            // The first error is the one to tell.
            let _ = self.unpin(netns);
            call("bring up the loopback of", short(netns), source)
        })
    }

    fn check_pinned(&self, place: &Place, namespace: &Namespace) -> Result<(), KernelError> {
        // A new one cannot be told from the pinned one, and a process that ended since it was
        // adopted cannot be asked.
        let Ok(fd) = source::of(&namespace.source) else {
            return Ok(());
        };
        match source::identity(fd.as_fd()) {
            Ok(identity) if identity != place.identity => Err(call(
                "pin network namespace",
                short(namespace.netns),
                io::Error::new(
                    io::ErrorKind::AlreadyExists,
                    "another namespace is pinned under this id",
                ),
            )),
            _ => Ok(()),
        }
    }

    fn mount(&self, place: &Place, path: &Path) -> io::Result<()> {
        let flags = OFlags::CREATE | OFlags::CLOEXEC | OFlags::RDONLY;
        drop(rustix::fs::open(path, flags, Mode::from_raw_mode(0o444))?);
        let from = format!("/proc/thread-self/fd/{}", place.fd.as_raw_fd());
        let mounted = rustix::mount::mount_bind(&from, path);
        if mounted.is_err() {
            // The mount's error tells more than that of tidying up after it.
            let _ = fs::remove_file(path);
        }
        Ok(mounted?)
    }

    /// Lets a namespace go; one that is not pinned is no error.
    pub(crate) fn unpin(&self, netns: Netns) -> Result<(), KernelError> {
        self.lower_loopback(netns)
            .map_err(|source| call("put down the loopback of", short(netns), source))?;
        self.cached().places.remove(&netns);
        unmount(&self.path(netns))
            .map_err(|source| call("release network namespace", short(netns), source))
    }

    /// Takes the folder's own mount away when nothing is pinned in it.
    pub(crate) fn withdraw(&self) -> io::Result<()> {
        if !self.pinned()?.is_empty() {
            return Ok(());
        }
        match rustix::mount::unmount(&self.dir, UnmountFlags::DETACH) {
            Ok(()) | Err(Errno::INVAL) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Those that have a file, be their namespaces there or not.
    pub(crate) fn pinned(&self) -> io::Result<Vec<Netns>> {
        let mut pinned = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            pinned.extend(entry?.file_name().to_str().and_then(of_file));
        }
        Ok(pinned)
    }

    fn cached(&self) -> MutexGuard<'_, Cache> {
        lock(&self.cache)
    }
}

/// Makes the folder a mount of its own whose changes reach other mount namespaces.
///
/// A mount namespace that is copied from ours takes the files along. Were the folder private,
/// our unmounting would not reach those copies, and a namespace would live on for as long as some
/// service with a mount namespace of its own; so it is shared, as `ip netns` does it.
fn prepare(dir: &Path) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    let flags = StatxFlags::BASIC_STATS;
    let found = rustix::fs::statx(CWD, dir, AtFlags::empty(), flags)?;
    if !found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT) {
        rustix::mount::mount_bind_recursive(dir, dir)?;
        // Private first: it must not stay in the group of the mount that it was bound from.
        rustix::mount::mount_change(dir, MountPropagationFlags::PRIVATE)?;
        rustix::mount::mount_change(dir, MountPropagationFlags::SHARED)?;
    }
    Ok(())
}

fn unmount(path: &Path) -> io::Result<()> {
    match rustix::mount::unmount(path, UnmountFlags::DETACH) {
        // INVAL: a plain file that nothing is mounted on.
        Ok(()) | Err(Errno::INVAL | Errno::NOENT) => {}
        Err(error) => return Err(error.into()),
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Makes a namespace with its loopback up, on a thread that ends with it.
pub(crate) fn make() -> io::Result<Place> {
    let inside = || {
        // SAFETY: leaves only the network namespace, which no code of this thread relies on.
        unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET)? };
        let fd = source::open(Path::new("/proc/thread-self/ns/net"))?;
        let mut socket = Socket::open()?;
        let mut batch = Batch::default();
        let up = link::Settings {
            up: Some(true),
            ..link::Settings::default()
        };
        link::change(&mut batch, link::Which::Name("lo"), &up);
        if let Some(refusal) = socket.transact(&mut batch)?.pop() {
            return Err(refusal.into_error());
        }
        let place = Place::new(fd, Some(socket))?;
        // It is ours alone so far.
        let _ = place.ipv6_conf.set(Ipv6Conf::open().ok());
        Ok(place)
    };
    let builder = std::thread::Builder::new().name("netns-make".into());
    builder
        .spawn(inside)?
        .join()
        .unwrap_or_else(|_| Err(io::Error::other("the thread that made it panicked")))
}

fn call(operation: &'static str, object: impl ToString, source: io::Error) -> KernelError {
    KernelError::Call {
        operation,
        object: object.to_string(),
        source,
    }
}

/// The namespace that a file of that name pins.
fn of_file(name: &str) -> Option<Netns> {
    match name.strip_prefix(NETWORK) {
        Some(id) => id.parse().ok().map(Netns::Network),
        None if name == TUNNEL => Some(Netns::Tunnel),
        None => name.parse().ok().map(Netns::Sandbox),
    }
}

/// A namespace as errors name it.
pub(crate) fn short(netns: Netns) -> String {
    match netns {
        Netns::Host => "of the host".to_owned(),
        Netns::Sandbox(sandbox) => sandbox.short(),
        Netns::Network(network) => format!("{NETWORK}{}", network.short()),
        Netns::Tunnel => "of the encrypted tunnel".to_owned(),
    }
}

/// A file that is missing, or that nothing is mounted on any more, pins nothing.
fn unopened(netns: Netns, source: io::Error) -> KernelError {
    match source.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::InvalidInput => gone(short(netns), source),
        _ => call("open network namespace", short(netns), source),
    }
}

fn gone(name: String, source: io::Error) -> KernelError {
    KernelError::NamespaceGone { name, source }
}

/// A lock whose holder panicked still guards whole data here: every critical section replaces
/// a value at once.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

//! Effects that fail: steps of the kernel, sockets and ports, commits of both stores, counted as one
//! sequence.

use std::{
    collections::BTreeSet,
    io,
    net::{IpAddr, SocketAddr},
    os::fd::OwnedFd,
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc::{RecvTimeoutError, channel},
    },
    thread::JoinHandle,
    time::Duration,
};
use vw_hoststate::{Key, Netns, Objects, Plan, Step};
use vw_kernel::{
    Failure, FrameSocket, HostFacts, Kernel, KernelError, Leads, Led, Observed, PortClaim,
    PortHolder, SocketKind, SocketPlace, TunnelFacts, TunnelKey, fake::FakeKernel,
};
use vw_model::{EndpointSpec, IfName, NetworkId, Protocol, PublicKey, SandboxId};
use vw_store::{Batch, Change, Error, Memory, Store, Table};

/// Which effects fail, counted from 1.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Mode {
    /// None.
    Never,
    /// One.
    Once(usize),
    /// This and all after it, as when the process dies.
    From(usize),
}

/// Whose effects are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Whose {
    /// Everybody's.
    All,
    /// Those of whoever asks for something: of all threads but the cluster's, the encrypted
    /// tunnel's and the services'.
    Request,
    /// Those of the thread that takes in what other hosts tell.
    Follower,
    /// Those of the thread that tells them.
    Worker,
    /// Those of the thread that looks after the encrypted tunnel.
    Encryption,
    /// Those of the thread that looks after what leads to services.
    Balance,
}

impl Whose {
    fn is_mine(self) -> bool {
        let thread = std::thread::current();
        let name = thread.name().unwrap_or_default();
        match self {
            Self::All => true,
            Self::Request => {
                !name.starts_with("cluster-") && !["encryption", "balance"].contains(&name)
            }
            Self::Follower => name == "cluster-follow",
            Self::Worker => name == "cluster-work",
            Self::Encryption => name == "encryption",
            Self::Balance => name == "balance",
        }
    }
}

/// The one sequence of effects.
pub(crate) struct Faults {
    mode: Mutex<(Mode, usize, Whose)>,
    struck: AtomicBool,
    full: Mutex<Option<Table>>,
    meanwhile: Mutex<Option<(Table, Meanwhile)>>,
    beside: Mutex<Option<Beside>>,
    begun: Mutex<Vec<JoinHandle<()>>>,
    waits: AtomicBool,
    addresses_read: AtomicUsize,
    applied: AtomicUsize,
    forgotten: AtomicUsize,
}

/// What somebody else does.
type Meanwhile = Box<dyn FnOnce() + Send>;

/// How long an effect is held for what is done beside it, which may have to wait for its end.
const HELD: Duration = Duration::from_millis(300);

/// What takes longer waits for the effect that it was begun beside.
const NEVER_DONE: Duration = Duration::from_secs(20);

/// An effect that somebody else's doing falls into.
struct Beside {
    at: Box<dyn Fn(&Effect<'_>) -> bool + Send>,
    held: Duration,
    then: Mode,
    act: Meanwhile,
}

/// What is about to take effect.
pub(crate) enum Effect<'a> {
    Step(&'a Step),
    Change(&'a Change),
    /// The wait for connections to end.
    Quiet,
    /// The wait for frames to reach an endpoint.
    Frames,
    /// That it is forgotten who was led there.
    Forget(Netns),
}

impl Faults {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            mode: Mutex::new((Mode::Never, 0, Whose::All)),
            struck: AtomicBool::new(false),
            full: Mutex::default(),
            meanwhile: Mutex::default(),
            beside: Mutex::default(),
            begun: Mutex::default(),
            waits: AtomicBool::new(false),
            addresses_read: AtomicUsize::new(0),
            applied: AtomicUsize::new(0),
            forgotten: AtomicUsize::new(0),
        })
    }

    /// How often the kernel was asked which addresses the host has, by who looks after services.
    pub(crate) fn addresses_read(&self) -> usize {
        self.addresses_read.load(Ordering::SeqCst)
    }

    /// How many changes of the kernel were asked for, and how often what it leads was looked through.
    pub(crate) fn changes_and_looks(&self) -> (usize, usize) {
        let read = |count: &AtomicUsize| count.load(Ordering::SeqCst);
        (read(&self.applied), read(&self.forgotten))
    }

    /// Has this be begun by another thread before the next effect for which `at` holds, with what
    /// fails from there on. It is waited for a moment alone: it may have to wait for that effect.
    pub(crate) fn beside(
        &self,
        at: impl Fn(&Effect<'_>) -> bool + Send + 'static,
        then: Mode,
        act: impl FnOnce() + Send + 'static,
    ) {
        *self.beside.lock().unwrap() = Some(Beside {
            at: Box::new(at),
            held: HELD,
            then,
            act: Box::new(act),
        });
    }

    /// Has this be done by another thread during the wait for connections to end.
    pub(crate) fn while_drained(&self, act: impl FnOnce() + Send + 'static) {
        self.while_at(|effect| matches!(effect, Effect::Quiet), act);
    }

    /// Has this be done by another thread before the next effect for which `at` holds, which waits for
    /// its end.
    pub(crate) fn while_at(
        &self,
        at: impl Fn(&Effect<'_>) -> bool + Send + 'static,
        act: impl FnOnce() + Send + 'static,
    ) {
        *self.beside.lock().unwrap() = Some(Beside {
            at: Box::new(at),
            held: NEVER_DONE,
            then: Mode::Never,
            act: Box::new(act),
        });
    }

    /// Waits until all that was begun so has ended.
    pub(crate) fn await_beside(&self) {
        let begun = std::mem::take(&mut *self.begun.lock().unwrap());
        for thread in begun {
            thread.join().expect("it is done");
        }
    }

    /// Whether what was begun so last had not ended when the effect went on.
    pub(crate) fn had_to_wait(&self) -> bool {
        self.waits.load(Ordering::SeqCst)
    }

    fn begin_beside(&self, effect: &Effect<'_>) {
        let due = self.beside.lock().unwrap().take_if(|one| (one.at)(effect));
        let Some(Beside {
            held, then, act, ..
        }) = due
        else {
            return;
        };
        let (done, waiting) = channel::<()>();
        let thread = std::thread::spawn(move || {
            act();
            drop(done);
        });
        // Nobody sends: the channel closes when it is done.
        let waited = waiting.recv_timeout(held);
        self.waits
            .store(waited == Err(RecvTimeoutError::Timeout), Ordering::SeqCst);
        self.begun.lock().unwrap().push(thread);
        self.set(then);
    }

    /// Has this be done by another thread before the next record of a table is written.
    pub(crate) fn meanwhile(&self, table: Table, act: impl FnOnce() + Send + 'static) {
        *self.meanwhile.lock().unwrap() = Some((table, Box::new(act)));
    }

    /// Has no commit succeed any more that writes to this table, as where the disk is full, or every one.
    pub(crate) fn refuse_writes(&self, table: Option<Table>) {
        *self.full.lock().unwrap() = table;
    }

    fn refuses(&self, changes: &[Change]) -> bool {
        let full = *self.full.lock().unwrap();
        let mut tables = changes.iter().map(|change| match change {
            Change::Put { table, .. } | Change::Delete { table, .. } => *table,
        });
        full.is_some_and(|full| tables.any(|table| table == full))
    }

    fn before(&self, changes: &[Change]) {
        for change in changes {
            self.begin_beside(&Effect::Change(change));
        }
        let act = {
            let mut meanwhile = self.meanwhile.lock().unwrap();
            let due = |(table, _): &mut (Table, Meanwhile)| {
                let mut changes = changes.iter();
                changes.any(|change| matches!(change, Change::Put { table: of, .. } if of == table))
            };
            meanwhile.take_if(due)
        };
        if let Some((_, act)) = act {
            std::thread::spawn(act).join().expect("it is done");
        }
    }

    /// Starts to count anew.
    pub(crate) fn set(&self, mode: Mode) {
        self.set_of(Whose::All, mode);
    }

    /// Starts to count anew, some threads' effects alone.
    pub(crate) fn set_of(&self, whose: Whose, mode: Mode) {
        *self.mode.lock().unwrap() = (mode, 0, whose);
        self.struck.store(false, Ordering::SeqCst);
    }

    /// Whether an effect failed since [`Self::set`].
    pub(crate) fn struck(&self) -> bool {
        self.struck.load(Ordering::SeqCst)
    }

    pub(crate) fn strike(&self) -> bool {
        let mut mode = self.mode.lock().unwrap();
        if !mode.2.is_mine() {
            return false;
        }
        mode.1 += 1;
        let strikes = match mode.0 {
            Mode::Never => false,
            Mode::Once(nth) => mode.1 == nth,
            Mode::From(nth) => mode.1 >= nth,
        };
        if strikes {
            self.struck.store(true, Ordering::SeqCst);
        }
        strikes
    }
}

/// One object that the kernel refuses to remove as long as it is told to, and one that it refuses to
/// make; it counts how often all was compared.
#[derive(Debug, Default)]
pub(crate) struct Refusing {
    key: Mutex<Option<Key>>,
    made: Mutex<Option<Made>>,
    checks: AtomicBool,
    hangs: AtomicBool,
    ended: AtomicUsize,
    refused: AtomicUsize,
    comparisons: AtomicUsize,
}

/// Which objects are not made.
type Made = fn(&Key) -> bool;

impl Refusing {
    /// Refuses to remove this from now on, or nothing.
    pub(crate) fn set(&self, key: Option<Key>) {
        *self.key.lock().unwrap() = key;
    }

    /// Refuses to make these from now on, or none.
    pub(crate) fn set_made(&self, made: Option<Made>) {
        *self.made.lock().unwrap() = made;
    }

    /// Has no descriptor for a socket by which endpoints are asked from now on.
    pub(crate) fn refuse_checks(&self) {
        self.checks.store(true, Ordering::SeqCst);
    }

    /// Whether the process that carries encrypted packets hangs from now on.
    pub(crate) fn set_hangs(&self, hangs: bool) {
        self.hangs.store(hangs, Ordering::SeqCst);
    }

    /// Whether that process ends, which it was asked to.
    pub(crate) fn ends(&self) -> bool {
        let hangs = self.hangs.load(Ordering::SeqCst);
        self.ended.fetch_add(usize::from(!hangs), Ordering::SeqCst);
        !hangs
    }

    /// How often it has ended.
    pub(crate) fn ended(&self) -> usize {
        self.ended.load(Ordering::SeqCst)
    }

    /// How often it has refused to make one.
    pub(crate) fn refused(&self) -> usize {
        self.refused.load(Ordering::SeqCst)
    }

    /// How often all was compared so far.
    pub(crate) fn comparisons(&self) -> usize {
        self.comparisons.load(Ordering::SeqCst)
    }

    fn strikes(&self, step: &Step) -> bool {
        let made = *self.made.lock().unwrap();
        if !matches!(step, Step::Delete(_)) && made.is_some_and(|refused| refused(&step.key())) {
            self.refused.fetch_add(1, Ordering::SeqCst);
            return true;
        }
        let key = self.key.lock().unwrap();
        matches!(step, Step::Delete(_)) && key.as_ref() == Some(&step.key())
    }
}

/// A kernel whose steps can fail one by one.
pub(crate) struct FaultyKernel {
    pub(crate) fake: FakeKernel,
    pub(crate) faults: Arc<Faults>,
    pub(crate) refusing: Arc<Refusing>,
    /// Whether the daemon that has it was killed.
    pub(crate) killed: Arc<AtomicBool>,
}

impl FaultyKernel {
    fn effect(&self, operation: &'static str) -> Result<(), KernelError> {
        if self.killed.load(Ordering::SeqCst) || self.faults.strike() {
            return Err(refused(operation));
        }
        Ok(())
    }
}

fn refused(operation: &'static str) -> KernelError {
    KernelError::Call {
        operation,
        object: "what a test chose".to_owned(),
        source: io::Error::other("made to fail"),
    }
}

impl Kernel for FaultyKernel {
    fn apply(&self, plan: &Plan) -> Result<(), Failure> {
        self.faults.applied.fetch_add(1, Ordering::SeqCst);
        let mut done = vec![false; plan.steps.len()];
        for (at, step) in plan.steps.iter().enumerate() {
            let one = Plan {
                steps: vec![step.clone()],
            };
            self.faults.begin_beside(&Effect::Step(step));
            let allowed = match self.refusing.strikes(step) {
                true => Err(refused("make or remove")),
                false => self.effect("apply step"),
            };
            let outcome =
                allowed.and_then(|()| self.fake.apply(&one).map_err(|failure| failure.source));
            if let Err(source) = outcome {
                let step = at;
                return Err(Failure { done, step, source });
            }
            done[at] = true;
        }
        Ok(())
    }

    fn observe(&self, expected: &Objects) -> Result<Observed, KernelError> {
        self.refusing.comparisons.fetch_add(1, Ordering::SeqCst);
        self.fake.observe(expected)
    }

    fn facts(&self) -> Result<HostFacts, KernelError> {
        self.fake.facts()
    }

    fn socket(&self, place: SocketPlace, kind: SocketKind) -> Result<OwnedFd, KernelError> {
        let checks = matches!(kind, SocketKind::TcpUnbound(_));
        if checks && self.refusing.checks.load(Ordering::SeqCst) {
            self.refusing.refused.fetch_add(1, Ordering::SeqCst);
            return Err(refused("open socket"));
        }
        self.effect("open socket")?;
        self.fake.socket(place, kind)
    }

    fn frame_socket(
        &self,
        network: NetworkId,
        link: &IfName,
        ethertype: u16,
    ) -> Result<FrameSocket, KernelError> {
        self.effect("open frame socket")?;
        self.fake.frame_socket(network, link, ethertype)
    }

    fn claim_port(&self, protocol: Protocol, addr: SocketAddr) -> Result<PortClaim, KernelError> {
        self.effect("reserve port")?;
        self.fake.claim_port(protocol, addr)
    }

    fn host_addresses(&self) -> Result<BTreeSet<IpAddr>, KernelError> {
        if Whose::Balance.is_mine() {
            self.faults.addresses_read.fetch_add(1, Ordering::SeqCst);
        }
        self.effect("list addresses")?;
        self.fake.host_addresses()
    }

    fn port_holder(&self, protocol: Protocol, addr: SocketAddr) -> Option<PortHolder> {
        self.fake.port_holder(protocol, addr)
    }

    fn open_tun(&self, name: &IfName) -> Result<OwnedFd, KernelError> {
        self.effect("open tunnel")?;
        self.fake.open_tun(name)
    }

    fn know_tunnel_keys(&self, keys: Vec<TunnelKey>) {
        self.fake.know_tunnel_keys(keys);
    }

    fn tunnel_facts(&self, name: &IfName) -> Result<TunnelFacts, KernelError> {
        self.fake.tunnel_facts(name)
    }

    fn tunnel_sessions(&self, name: &IfName) -> Result<BTreeSet<PublicKey>, KernelError> {
        self.fake.tunnel_sessions(name)
    }

    fn netns_path(&self, sandbox: SandboxId) -> PathBuf {
        self.fake.netns_path(sandbox)
    }

    fn await_forwarding(&self, outer: Netns, endpoint: &EndpointSpec) -> Result<(), KernelError> {
        self.effect("await forwarding")?;
        self.faults.begin_beside(&Effect::Frames);
        self.fake.await_forwarding(outer, endpoint)
    }

    fn untranslated(&self) -> Option<String> {
        self.fake.untranslated()
    }

    fn await_quiet(&self, each: &[(Led, Duration)]) -> Result<(), KernelError> {
        self.effect("await quiet")?;
        self.faults.begin_beside(&Effect::Quiet);
        self.fake.await_quiet(each)
    }

    fn await_closed(
        &self,
        sandbox: SandboxId,
        peers: &[IpAddr],
        longest: Duration,
    ) -> Result<(), KernelError> {
        self.effect("await closed")?;
        self.fake.await_closed(sandbox, peers, longest)
    }

    fn forget_led(&self, netns: Netns, led: &Led) -> Result<(), KernelError> {
        self.faults.forgotten.fetch_add(1, Ordering::SeqCst);
        self.effect("forget connections")?;
        self.faults.begin_beside(&Effect::Forget(netns));
        self.fake.forget_led(netns, led)
    }

    fn forget_led_elsewhere(&self, netns: Netns, leads: &Leads) -> Result<(), KernelError> {
        self.faults.forgotten.fetch_add(1, Ordering::SeqCst);
        self.effect("forget connections")?;
        self.faults.begin_beside(&Effect::Forget(netns));
        self.fake.forget_led_elsewhere(netns, leads)
    }

    fn answering(&self, netns: Netns) -> Result<BTreeSet<IpAddr>, KernelError> {
        self.effect("list connections")?;
        self.fake.answering(netns)
    }

    fn forget_all(&self, netns: Netns, addrs: &BTreeSet<IpAddr>) -> Result<(), KernelError> {
        self.faults.forgotten.fetch_add(1, Ordering::SeqCst);
        self.effect("forget connections")?;
        self.fake.forget_all(netns, addrs)
    }

    fn interfaces(&self, sandbox: SandboxId) -> Result<Vec<IfName>, KernelError> {
        self.fake.interfaces(sandbox)
    }
}

/// A store whose commits can fail one by one.
pub(crate) struct FaultyStore {
    pub(crate) memory: Arc<Memory>,
    pub(crate) faults: Arc<Faults>,
    /// What was committed, in its order.
    pub(crate) log: Arc<Mutex<Vec<Change>>>,
    /// Whether the daemon that has it was killed.
    pub(crate) killed: Arc<AtomicBool>,
}

impl Store for FaultyStore {
    fn commit(&self, batch: Batch) -> Result<(), Error> {
        let changes = batch.changes().to_vec();
        self.faults.before(&changes);
        if self.killed.load(Ordering::SeqCst)
            || self.faults.refuses(&changes)
            || !batch.is_empty() && self.faults.strike()
        {
            return Err(Error::Injected { nth: 0 });
        }
        self.memory.commit(batch)?;
        self.log.lock().unwrap().extend(changes);
        Ok(())
    }

    fn get(&self, table: Table, key: &str) -> Result<Option<Vec<u8>>, Error> {
        self.memory.get(table, key)
    }

    fn scan_prefix(&self, table: Table, prefix: &str) -> Result<Vec<(String, Vec<u8>)>, Error> {
        self.memory.scan_prefix(table, prefix)
    }
}

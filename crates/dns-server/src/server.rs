//! The server as the rest of the house sees it: sandboxes come, change and go.

use crate::{
    Config, Counters, Error, SandboxSockets, SocketFactory,
    cache::Cache,
    client::{Client, Gate},
    counters::Tally,
    fast::{Fast, Queue},
    forward::{Command, Exchange, Forwarder},
    tcp::Service,
};
use arc_swap::ArcSwap;
use rustix::{net::sockopt, rand};
use std::{
    collections::HashMap,
    io,
    net::TcpListener,
    rc::Rc,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
};
use tokio::{
    runtime,
    sync::mpsc::{self, UnboundedReceiver, UnboundedSender},
    task::{AbortHandle, LocalSet, spawn_local},
};
use vw_model::SandboxId;
use vw_names::{Rng, View};

/// Who is served, with the number by which the queue knows it.
type Sandboxes = HashMap<SandboxId, (u64, Arc<Client>)>;

/// The embedded DNS server of all sandboxes of this daemon.
///
/// Its methods may be called from any thread and do not wait for the network. Dropping it
/// ends both threads and closes all sockets.
#[derive(Debug)]
pub struct DnsServer {
    config: Config,
    tally: Arc<Tally>,
    queue: Arc<Queue>,
    slow: Option<UnboundedSender<Command>>,
    sandboxes: Mutex<Sandboxes>,
    threads: Vec<JoinHandle<()>>,
}

impl DnsServer {
    /// Starts the threads; nobody is served yet.
    ///
    /// # Errors
    /// [`Error::Start`] when the system gives no thread or event queue.
    pub fn start(config: Config, sockets: Arc<dyn SocketFactory>) -> Result<Self, Error> {
        let tally = Arc::<Tally>::default();
        let queue = Arc::new(Queue::new().map_err(Error::Start)?);
        let gate = Gate::new(config.pending);
        let (slow, commands) = mpsc::unbounded_channel();
        let fast = Fast {
            queue: Arc::clone(&queue),
            tally: Arc::clone(&tally),
            slow: slow.clone(),
            gate: gate.clone(),
            rng: seeded().map_err(Error::Start)?,
        };
        let runtime = runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(Error::Start)?;
        let rng = seeded().map_err(Error::Start)?;
        // From here on dropping `server` ends what was started.
        let mut server = Self {
            config: config.clone(),
            tally: Arc::clone(&tally),
            queue,
            slow: Some(slow),
            sandboxes: Mutex::default(),
            threads: Vec::new(),
        };
        server.spawn("dns", move || fast.run())?;
        server.spawn("dns-forward", move || {
            let exchange = Exchange::new(&config, sockets, Arc::clone(&tally));
            let cache = Cache::new(config.cache_size, config.positive_ttl, config.negative_ttl);
            let forwarder = Forwarder::new(exchange, cache, Arc::clone(&tally));
            let service = Service::new(&config, Rc::clone(&forwarder), tally, gate, rng);
            LocalSet::new().block_on(&runtime, slow_lane(commands, forwarder, service));
        })?;
        Ok(server)
    }

    /// Serves a sandbox by `sockets`, bound inside of it, as `view` says. One that was
    /// served already is served by the new sockets from then on.
    ///
    /// # Errors
    /// [`Error::Socket`] when a socket cannot be used, [`Error::Stopped`] after a crash of
    /// the server's thread; the sandbox is not served then.
    pub fn add(
        &self,
        id: SandboxId,
        sockets: SandboxSockets,
        view: Arc<View>,
    ) -> Result<(), Error> {
        let mut refused = self.add_all(vec![(id, sockets, view)]);
        refused.pop().map_or(Ok(()), Err)
    }

    /// As [`DnsServer::add`] for many, which wakes the server's threads once; tells who is not
    /// served then.
    pub fn add_all(&self, news: Vec<(SandboxId, SandboxSockets, Arc<View>)>) -> Vec<Error> {
        let mut refused = Vec::new();
        let mut listeners = Vec::with_capacity(news.len());
        let mut served = Vec::with_capacity(news.len());
        let mut sandboxes = self.sandboxes();
        for (id, sockets, view) in news {
            self.take(&mut sandboxes, id);
            match self.serve_datagrams(id, sockets, view) {
                Ok((token, client, tcp)) => {
                    listeners.push((Arc::downgrade(&client), tcp));
                    served.push(id);
                    sandboxes.insert(id, (token, client));
                }
                Err(source) => refused.push(Error::Socket {
                    sandbox: id,
                    source,
                }),
            }
        }
        let sent = self
            .slow
            .as_ref()
            .is_some_and(|slow| slow.send(Command::Serve(listeners)).is_ok());
        if !sent {
            for id in served {
                self.take(&mut sandboxes, id);
                refused.push(Error::Stopped(id));
            }
        }
        refused
    }

    fn serve_datagrams(
        &self,
        id: SandboxId,
        sockets: SandboxSockets,
        view: Arc<View>,
    ) -> io::Result<(u64, Arc<Client>, TcpListener)> {
        let SandboxSockets { udp, tcp } = sockets;
        udp.set_nonblocking(true)?;
        tcp.set_nonblocking(true)?;
        // Beyond the system's bound where we may; a smaller buffer is no failure.
        let _ = sockopt::set_socket_recv_buffer_size_force(&udp, self.config.receive_buffer)
            .or_else(|_| sockopt::set_socket_recv_buffer_size(&udp, self.config.receive_buffer));
        let client = Arc::new(Client {
            id,
            udp,
            view: ArcSwap::new(view),
            gate: Gate::new(self.config.pending_per_sandbox),
        });
        let token = self.queue.add(Arc::clone(&client))?;
        Ok((token, client, tcp))
    }

    /// Shows a sandbox another view from its next query on; false when it is not served.
    ///
    /// Names that change on its networks need no call: views look at shared zones.
    pub fn update(&self, id: SandboxId, view: Arc<View>) -> bool {
        match self.sandboxes().get(&id) {
            Some((_, client)) => {
                client.view.store(view);
                true
            }
            None => false,
        }
    }

    /// Serves a sandbox no more; false when it was not served.
    ///
    /// Its sockets are closed in a moment, by the threads that use them.
    pub fn remove(&self, id: SandboxId) -> bool {
        self.take(&mut self.sandboxes(), id)
    }

    /// How many sandboxes are served.
    #[must_use]
    pub fn sandbox_count(&self) -> usize {
        self.sandboxes().len()
    }

    /// What has been done so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.tally.read()
    }

    fn take(&self, sandboxes: &mut Sandboxes, id: SandboxId) -> bool {
        let Some((token, _)) = sandboxes.remove(&id) else {
            return false;
        };
        self.queue.remove(token);
        if let Some(slow) = &self.slow {
            // Without the thread there is nothing left to forget.
            let _ = slow.send(Command::Forget(id));
        }
        true
    }

    fn spawn(&mut self, name: &str, run: impl FnOnce() + Send + 'static) -> Result<(), Error> {
        let thread = thread::Builder::new().name(name.to_owned()).spawn(run);
        self.threads.push(thread.map_err(Error::Start)?);
        Ok(())
    }

    fn sandboxes(&self) -> MutexGuard<'_, Sandboxes> {
        // Every change is one insertion or removal, so the map is whole after a panic.
        self.sandboxes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for DnsServer {
    fn drop(&mut self) {
        self.queue.stop();
        // The other thread ends when nobody can tell it anything any more: this sender and
        // the first thread's own were all.
        self.slow = None;
        for thread in self.threads.drain(..) {
            // A panic has been printed by its thread.
            let _ = thread.join();
        }
    }
}

/// What the second thread does until all senders are gone.
async fn slow_lane(
    mut commands: UnboundedReceiver<Command>,
    forwarder: Rc<Forwarder>,
    service: Service,
) {
    let mut listening = HashMap::<SandboxId, AbortHandle>::new();
    while let Some(command) = commands.recv().await {
        match command {
            Command::Serve(news) => {
                for (client, listener) in news {
                    let Some(id) = client.upgrade().map(|client| client.id) else {
                        continue;
                    };
                    let listen = service.clone().listen(client, listener);
                    let task = spawn_local(async move {
                        if let Err(error) = listen.await {
                            tracing::warn!(sandbox = %id.short(), %error, "names are not served over TCP");
                        }
                    });
                    listening.insert(id, task.abort_handle());
                }
            }
            Command::Forget(id) => {
                if let Some(task) = listening.remove(&id) {
                    task.abort();
                }
                forwarder.forget(id);
            }
            Command::Forward(job) => forwarder.forward(job),
        }
    }
}

fn seeded() -> io::Result<Rng> {
    let mut seed = [0; 8];
    rand::getrandom(&mut seed, rand::GetRandomFlags::empty())?;
    Ok(Rng::new(u64::from_ne_bytes(seed)))
}

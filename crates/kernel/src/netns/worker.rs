//! Threads that enter namespaces and come back.
//!
//! A thread that cannot come back ends: nothing may ever run in the wrong namespace.

use super::{Place, lock};
use std::{
    collections::VecDeque,
    io,
    sync::{
        Arc, Condvar, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
};

/// The kernel serves one at a time where it takes the RTNL; more threads only hide what waits.
pub(super) const THREADS: usize = 4;

type Work = Box<dyn FnOnce(io::Result<()>) + Send>;

struct Task {
    place: Arc<Place>,
    work: Work,
}

#[derive(Debug)]
pub(super) struct Workers {
    host: Arc<Place>,
    queue: Arc<Queue>,
    alive: Arc<AtomicUsize>,
}

/// Tasks that wait for a thread.
///
/// A task wakes one thread, where a channel behind a mutex wakes two: who takes a task lets the
/// next one wait at the channel.
#[derive(Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Default)]
struct Waiting {
    tasks: VecDeque<Task>,
    closed: bool,
}

impl std::fmt::Debug for Queue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Queue").finish_non_exhaustive()
    }
}

impl Queue {
    fn put(&self, task: Task) {
        lock(&self.waiting).tasks.push_back(task);
        self.changed.notify_one();
    }

    /// Waits for a task; `None` once it is closed.
    fn take(&self) -> Option<Task> {
        let waiting = lock(&self.waiting);
        let idle = |waiting: &mut Waiting| waiting.tasks.is_empty() && !waiting.closed;
        let waited = self.changed.wait_while(waiting, idle);
        waited
            .unwrap_or_else(PoisonError::into_inner)
            .tasks
            .pop_front()
    }
}

/// The threads end with what they work for.
impl Drop for Workers {
    fn drop(&mut self) {
        lock(&self.queue.waiting).closed = true;
        self.queue.changed.notify_all();
    }
}

/// Counts its thread out, however that ends.
struct Alive(Arc<AtomicUsize>);

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Workers {
    pub(super) fn new(host: Arc<Place>) -> Self {
        Self {
            host,
            queue: Arc::default(),
            alive: Arc::default(),
        }
    }

    /// Runs `f` in the namespace and waits for it.
    pub(super) fn run<T: Send + 'static>(
        &self,
        place: Arc<Place>,
        f: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<T> {
        let mut results = self.run_all(vec![(place, Box::new(f))]);
        results.pop().unwrap_or_else(|| Err(ended()))
    }

    /// Runs every job in its namespace and waits for all; the answers are in the jobs' order.
    pub(super) fn run_all<T: Send + 'static>(
        &self,
        jobs: Vec<super::Job<T>>,
    ) -> Vec<io::Result<T>> {
        let mut results: Vec<_> = jobs.iter().map(|_| Err(ended())).collect();
        let (answers, answered) = mpsc::channel();
        for (number, (place, f)) in jobs.into_iter().enumerate() {
            let answers = answers.clone();
            let work: Work = Box::new(move |entered| {
                // The caller waits for every answer, so somebody is there to take it.
                let _ = answers.send((number, entered.map(|()| f())));
            });
            if let Err(error) = self.submit(Task { place, work }) {
                results[number] = Err(error);
            }
        }
        drop(answers);
        let waiting = results.len();
        // Not until the channel closes: that takes the last thread a moment more.
        for (number, result) in answered.into_iter().take(waiting) {
            results[number] = result;
        }
        results
    }

    fn submit(&self, task: Task) -> io::Result<()> {
        while self.alive.load(Ordering::Relaxed) < THREADS {
            self.spawn()?;
        }
        self.queue.put(task);
        Ok(())
    }

    fn spawn(&self) -> io::Result<()> {
        self.alive.fetch_add(1, Ordering::Relaxed);
        let alive = Alive(Arc::clone(&self.alive));
        let (host, queue) = (Arc::clone(&self.host), Arc::clone(&self.queue));
        let builder = thread::Builder::new().name("netns-worker".into());
        builder.spawn(move || {
            let _alive = alive;
            work_off(&host, &queue);
        })?;
        Ok(())
    }
}

fn work_off(host: &Place, queue: &Queue) {
    // A thread starts where its maker is, which need not be the host's namespace.
    if host.enter().is_err() {
        return;
    }
    while let Some(Task { place, work }) = queue.take() {
        match place.enter() {
            Ok(()) => work(Ok(())),
            Err(error) => {
                work(Err(error));
                continue;
            }
        }
        drop(place);
        if let Err(error) = host.enter() {
            tracing::error!(%error, "a thread cannot return to the host's namespace and ends");
            return;
        }
    }
}

fn ended() -> io::Error {
    io::Error::other("the thread that entered the namespace ended")
}

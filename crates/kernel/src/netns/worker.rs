//! Threads that enter namespaces and come back.
//!
//! A thread that cannot come back ends: nothing may ever run in the wrong namespace.

use super::{Place, lock};
use std::{
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
        mpsc::{self, Receiver, Sender},
    },
    thread,
};

/// The kernel serves one at a time where it takes the RTNL; more threads only hide what waits.
const THREADS: usize = 4;

type Work = Box<dyn FnOnce(io::Result<()>) + Send>;

struct Task {
    place: Arc<Place>,
    work: Work,
}

#[derive(Debug)]
pub(super) struct Workers {
    host: Arc<Place>,
    tasks: Sender<Task>,
    queue: Arc<Mutex<Receiver<Task>>>,
    alive: Arc<AtomicUsize>,
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
        let (tasks, queue) = mpsc::channel();
        Self {
            host,
            tasks,
            queue: Arc::new(Mutex::new(queue)),
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
        for (number, result) in answered {
            results[number] = result;
        }
        results
    }

    fn submit(&self, task: Task) -> io::Result<()> {
        while self.alive.load(Ordering::Relaxed) < THREADS {
            self.spawn()?;
        }
        self.tasks.send(task).map_err(|_| ended())
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

fn work_off(host: &Place, queue: &Mutex<Receiver<Task>>) {
    // A thread starts where its maker is, which need not be the host's namespace.
    if host.enter().is_err() {
        return;
    }
    loop {
        let Ok(Task { place, work }) = lock(queue).recv() else {
            return;
        };
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

//! SIGTERM and SIGINT, from when the daemon serves until its process ends or another program takes its
//! place.
//!
//! Owns that none is lost on the way. It must not decide what follows.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};
use tokio::signal::unix::{Signal, SignalKind, signal};
use vw_model::{Error, Result};

const ASKED: [libc::c_int; 2] = [libc::SIGTERM, libc::SIGINT];

/// Whether somebody asked the daemon to stop.
#[derive(Debug)]
pub(super) struct Stops {
    came: Arc<AtomicBool>,
}

impl Stops {
    /// Begins to hear them, within a runtime of tokio's; gives what to wait for the first one by besides.
    ///
    /// # Errors
    /// When the system refuses a handler.
    pub(super) fn hear() -> Result<(Self, impl Future<Output = ()>)> {
        let refused = |e| Error::internal("signal-refused", "cannot wait for signals").because(e);
        let listen = |kind| signal(SignalKind::from_raw(kind));
        let [term, int] = ASKED.map(listen);
        let (term, int) = (term.map_err(refused)?, int.map_err(refused)?);
        let came = Arc::new(AtomicBool::new(false));
        for number in ASKED {
            let came = came.clone();
            // SAFETY: a store to an atomic is all that the handler does (signal-safety(7)).
            let heard = unsafe {
                signal_hook_registry::register(number, move || came.store(true, Ordering::SeqCst))
            };
            heard.map_err(refused)?;
        }
        Ok((Self { came }, either(term, int)))
    }

    /// Whether one came until now.
    pub(super) fn came(&self) -> bool {
        self.came.load(Ordering::SeqCst)
    }

    /// From now on one ends the process at once, as before it was heard.
    pub(super) fn no_longer_hear(&self) {
        for number in ASKED {
            // SAFETY: the default action needs nothing of ours, and both signals have one.
            unsafe { libc::signal(number, libc::SIG_DFL) };
        }
    }
}

async fn either(mut a: Signal, mut b: Signal) {
    tokio::select! {
        _ = a.recv() => {}
        _ = b.recv() => {}
    }
}

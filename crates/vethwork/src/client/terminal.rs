//! The user's terminal: raw mode and size.

use super::{Client, Request};
use rustix::termios::{OptionalActions, Termios, isatty, tcgetattr, tcgetwinsize, tcsetattr};
use std::io;
use tokio::signal::unix::{SignalKind, signal};

/// Standard input in raw mode until dropped.
#[derive(Debug)]
pub(super) struct RawMode {
    saved: Termios,
}

impl RawMode {
    /// Makes standard input raw; `None` when it is no terminal.
    ///
    /// # Errors
    /// When the terminal refuses.
    pub(super) fn enter() -> io::Result<Option<Self>> {
        let stdin = rustix::stdio::stdin();
        if !isatty(stdin) {
            return Ok(None);
        }
        let saved = tcgetattr(stdin)?;
        let mut raw = saved.clone();
        raw.make_raw();
        tcsetattr(stdin, OptionalActions::Now, &raw)?;
        Ok(Some(Self { saved }))
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        // Nothing is left to do about a terminal that is gone.
        let _ = tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, &self.saved);
    }
}

/// The terminal's rows and columns; `None` when standard output is no terminal or has no size.
pub(crate) fn size() -> Option<(u16, u16)> {
    let size = tcgetwinsize(rustix::stdio::stdout()).ok()?;
    (size.ws_row > 0 && size.ws_col > 0).then_some((size.ws_row, size.ws_col))
}

/// Whose terminal follows the user's.
#[derive(Debug, Clone)]
pub(crate) enum ResizeTarget {
    /// A container's.
    Container(String),
    /// An exec's.
    Exec(String),
}

/// Gives a remote terminal the size of the user's, now and whenever it changes. Never ends where
/// there is a terminal.
pub(crate) async fn follow_size(client: Client, target: ResizeTarget) {
    let Ok(mut changes) = signal(SignalKind::window_change()) else {
        return;
    };
    loop {
        let Some((rows, columns)) = size() else {
            return;
        };
        let request = match &target {
            ResizeTarget::Container(id) => Request::post(&["containers", id, "resize"]),
            ResizeTarget::Exec(id) => Request::post(&["exec", id, "resize"]),
        };
        let request = request
            .query("h", &rows.to_string())
            .query("w", &columns.to_string());
        // A process that has ended has no size; its end is told elsewhere.
        let _ = client.run(request).await;
        if changes.recv().await.is_none() {
            return;
        }
    }
}

//! Signals to the client passed on to what it is attached to.

use super::{Client, Request};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc,
};

/// What is passed on; the rest is ours (`SIGCHLD`, `SIGPIPE`, `SIGWINCH`) or cannot be caught.
const FORWARDED: &[(i32, &str)] = &[
    (libc::SIGHUP, "HUP"),
    (libc::SIGINT, "INT"),
    (libc::SIGQUIT, "QUIT"),
    (libc::SIGUSR1, "USR1"),
    (libc::SIGUSR2, "USR2"),
    (libc::SIGALRM, "ALRM"),
    (libc::SIGTERM, "TERM"),
    (libc::SIGCONT, "CONT"),
    (libc::SIGTSTP, "TSTP"),
    (libc::SIGTTIN, "TTIN"),
    (libc::SIGTTOU, "TTOU"),
];

/// Catches signals from now on, and sends them to a container once the returned future runs.
pub(crate) fn forward_signals(
    client: Client,
    container: String,
) -> impl Future<Output = ()> + Send + 'static {
    let (sender, mut caught) = mpsc::channel(FORWARDED.len());
    for (number, name) in FORWARDED {
        let Ok(mut stream) = signal(SignalKind::from_raw(*number)) else {
            continue;
        };
        let sender = sender.clone();
        tokio::spawn(async move {
            while stream.recv().await.is_some() && sender.send(*name).await.is_ok() {}
        });
    }
    async move {
        while let Some(name) = caught.recv().await {
            let request = Request::post(&["containers", &container, "kill"]).query("signal", name);
            // It may have ended meanwhile, which the stream tells.
            let _ = client.run(request).await;
        }
    }
}

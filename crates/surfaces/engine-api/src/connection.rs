//! Connections, each on a thread of its own from its first request to its end.
//!
//! A request blocks on the controller right there: no other thread has to be woken to go on with
//! other connections, which cost a tenth of an attachment. It must not know what any path means.

use crate::{body::Body, call::App, server::answer, socket::Socket, socket::Stream};
use hyper::{Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::{
    convert::Infallible,
    io::{self, Write},
    pin::pin,
    sync::Arc,
    thread,
    time::Duration,
};
use tokio::{
    net::{TcpListener, UnixListener},
    runtime::{self, Runtime},
    sync::{mpsc, watch},
    task::LocalSet,
};

/// How long a client may take to send a request's head; dockerd's own limit, so that clients
/// which keep idle connections find them as they expect.
const HEAD_TIMEOUT: Duration = Duration::from_secs(300);

/// A socket to serve on.
#[derive(Debug)]
pub enum Listener {
    /// `unix://`.
    Unix(UnixListener),
    /// `tcp://`.
    Tcp(TcpListener),
}

/// A client that was let in.
pub(crate) enum Client {
    Unix(std::os::unix::net::UnixStream),
    Tcp(std::net::TcpStream),
}

impl Listener {
    /// Lets the next client in.
    ///
    /// # Errors
    /// The system's answer.
    pub(crate) async fn next(&self) -> io::Result<Client> {
        match self {
            Self::Unix(listener) => listener.accept().await?.0.into_std().map(Client::Unix),
            Self::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                stream.set_nodelay(true)?;
                stream.into_std().map(Client::Tcp)
            }
        }
    }
}

/// What all connections share.
#[derive(Debug, Clone)]
pub(crate) struct Shared {
    /// For the requests.
    pub(crate) app: Arc<App>,
    /// Changes once, when no more requests are taken.
    pub(crate) stopped: watch::Receiver<()>,
    /// Dropped with the last connection.
    pub(crate) open: mpsc::Sender<()>,
}

/// Serves a client on a thread that ends with it.
///
/// # Errors
/// When the system gives no thread.
pub(crate) fn begin(client: Client, shared: Shared) -> io::Result<()> {
    let serving = move || {
        if let Err(error) = serve(client, shared) {
            tracing::warn!(%error, "a connection could not be served");
        }
    };
    let builder = thread::Builder::new().name("api".to_owned());
    builder.spawn(serving).map(drop)
}

/// Tells a client that there are too many, whatever it asks, and lets it go.
///
/// # Errors
/// When it does not take the answer.
pub(crate) fn refuse(client: Client) -> io::Result<()> {
    let body = "{\"message\":\"too many clients are connected: try again when some have left\"}\n";
    let length = body.len();
    let answer = format!(
        "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\n\
         Connection: close\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    // There is room for so little in a socket that nothing was written to.
    match client {
        Client::Unix(mut stream) => stream.write_all(answer.as_bytes()),
        Client::Tcp(mut stream) => stream.write_all(answer.as_bytes()),
    }
}

fn serve(client: Client, shared: Shared) -> io::Result<()> {
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    match client {
        Client::Unix(stream) => run(&runtime, stream, shared),
        Client::Tcp(stream) => run(&runtime, stream, shared),
    }
}

fn run<S: Stream + Send + 'static>(runtime: &Runtime, stream: S, shared: Shared) -> io::Result<()> {
    let tasks = LocalSet::new();
    tasks.block_on(runtime, async move {
        exchange(Socket::new(stream)?, shared).await;
        Ok::<_, io::Error>(())
    })?;
    // What took the connection over goes on.
    runtime.block_on(tasks);
    Ok(())
}

/// Answers requests until the client leaves, or takes the connection over.
async fn exchange<S>(socket: Socket<S>, shared: Shared)
where
    S: Stream + Send + 'static,
{
    let Shared {
        app,
        mut stopped,
        open: _open,
    } = shared;
    let service = service_fn(move |request: Request<Incoming>| {
        let app = app.clone();
        async move { Ok::<Response<Body>, Infallible>(answer(app, request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(socket), service)
        .with_upgrades();
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        _ = stopped.changed() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
}

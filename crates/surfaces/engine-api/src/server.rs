//! Listening, connections and shutdown.
//!
//! Owns the sockets from accept to close, the headers that every answer carries and the log line
//! of each request. It must not know what any path means.

use crate::{
    body::Body,
    call::{App, Call},
    errors::ApiError,
    query::{Query, percent_decode},
    router,
    version::ApiVersion,
};
use hyper::{
    Request, Response,
    body::Incoming,
    header::{HeaderName, HeaderValue, SERVER, UPGRADE},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::{
    convert::Infallible,
    future::Future,
    io,
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, UnixListener},
    sync::watch,
    task::JoinSet,
};
use vw_controller::Controller;

/// How long requests under way may take to end once the daemon stops. What has no end of its own,
/// such as a container's log that is followed, is cut then.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(2);

/// How long a client may take to send a request's head; dockerd's own limit, so that clients
/// which keep idle connections find them as they expect.
const HEAD_TIMEOUT: Duration = Duration::from_secs(300);

/// How long to wait before the next accept after one failed for want of descriptors: nothing
/// tells when there are some again.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A socket to serve on.
#[derive(Debug)]
pub enum Listener {
    /// `unix://`.
    Unix(UnixListener),
    /// `tcp://`.
    Tcp(TcpListener),
}

/// What the API tells about the program that serves it.
#[derive(Debug, Clone, Default)]
pub struct ApiConfig {
    /// The daemon's version, such as `0.1.0`.
    pub version: String,
    /// The commit it was built from; may be empty.
    pub git_commit: String,
    /// When it was built; may be empty.
    pub build_time: String,
    /// The firewall back end as `/info` names it, such as `nftables`.
    pub firewall_backend: String,
}

/// Serves the API on `listeners` until `shutdown` completes and requests under way have ended.
///
/// Requests block on the controller in tokio's blocking pool, never on its async threads.
///
/// # Errors
/// When a task of the server fails; errors of single connections are logged.
pub async fn serve(
    controller: Arc<Controller>,
    listeners: Vec<Listener>,
    config: ApiConfig,
    shutdown: impl Future<Output = ()> + Send,
) -> io::Result<()> {
    let (stop, stopped) = watch::channel(());
    let app = Arc::new(App::new(controller, config, stopped.clone()));
    let mut tasks = JoinSet::new();
    for listener in listeners {
        tasks.spawn(accept(listener, app.clone(), stopped.clone()));
    }
    shutdown.await;
    // Only fails when nobody listens, which is the end we want.
    let _ = stop.send(());
    let ended = tokio::time::timeout(SHUTDOWN_GRACE, async {
        while let Some(task) = tasks.join_next().await {
            task.map_err(io::Error::other)?;
        }
        Ok(())
    });
    ended.await.unwrap_or(Ok(()))
}

/// Accepts connections until told to stop, then waits for those that are open.
async fn accept(listener: Listener, app: Arc<App>, stopped: watch::Receiver<()>) {
    let mut connections = JoinSet::new();
    let mut stop = stopped.clone();
    loop {
        let accepted = tokio::select! {
            accepted = next(&listener) => accepted,
            _ = stop.changed() => break,
            Some(_) = connections.join_next() => continue,
        };
        match accepted {
            Ok(Io::Unix(stream)) => {
                connections.spawn(connection(stream, app.clone(), stopped.clone()));
            }
            Ok(Io::Tcp(stream)) => {
                connections.spawn(connection(stream, app.clone(), stopped.clone()));
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

enum Io {
    Unix(tokio::net::UnixStream),
    Tcp(tokio::net::TcpStream),
}

async fn next(listener: &Listener) -> io::Result<Io> {
    match listener {
        Listener::Unix(listener) => Ok(Io::Unix(listener.accept().await?.0)),
        Listener::Tcp(listener) => {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            Ok(Io::Tcp(stream))
        }
    }
}

/// Serves one connection.
async fn connection<S>(stream: S, app: Arc<App>, mut stopped: watch::Receiver<()>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request| {
        let app = app.clone();
        async move { Ok::<_, Infallible>(answer(app, request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service)
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

/// Answers one request.
async fn answer(app: Arc<App>, mut request: Request<Incoming>) -> Response<Body> {
    let started = Instant::now();
    let server = app.server_header();
    let method = request.method().clone();
    let path = percent_decode(request.uri().path()).into_owned();
    let upgrade = request
        .headers()
        .contains_key(UPGRADE)
        .then(|| hyper::upgrade::on(&mut request));
    let (version, rest) = split_version(&path);
    let answered = match version.served() {
        Ok(version) => {
            let (head, body) = request.into_parts();
            let query = Query::parse(head.uri.query().unwrap_or_default());
            let call = Call {
                app,
                version,
                method: method.clone(),
                query,
                headers: head.headers,
                body,
                upgrade,
            };
            router::route(call, rest).await
        }
        Err(error) => Err(error),
    };
    let mut response = answered.unwrap_or_else(ApiError::into_response);
    add_headers(&mut response, server);
    let status = response.status().as_u16();
    let elapsed = started.elapsed();
    if status >= 500 {
        tracing::warn!(%method, path, status, ?elapsed, "request failed");
    } else {
        tracing::debug!(%method, path, status, ?elapsed, "request");
    }
    response
}

/// Splits `/v1.43/networks` into its version, the newest when it names none, and the rest
/// without its leading slash.
fn split_version(path: &str) -> (ApiVersion, &str) {
    let path = path.strip_prefix('/').unwrap_or(path);
    let (first, rest) = path.split_once('/').unwrap_or((path, ""));
    match ApiVersion::of_segment(first) {
        Some(version) => (version, rest),
        None => (ApiVersion::MAX, path),
    }
}

fn add_headers(response: &mut Response<Body>, server: HeaderValue) {
    const API_VERSION: HeaderName = HeaderName::from_static("api-version");
    const OS_TYPE: HeaderName = HeaderName::from_static("ostype");
    const EXPERIMENTAL: HeaderName = HeaderName::from_static("docker-experimental");
    let headers = response.headers_mut();
    if let Ok(version) = HeaderValue::try_from(ApiVersion::MAX.to_string()) {
        headers.insert(API_VERSION, version);
    }
    headers.insert(OS_TYPE, HeaderValue::from_static("linux"));
    headers.insert(EXPERIMENTAL, HeaderValue::from_static("false"));
    headers.insert(SERVER, server);
}

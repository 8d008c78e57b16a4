//! Listening, answers and shutdown.
//!
//! Owns the sockets that clients come by, the headers that every answer carries and the log line
//! of each request. It must not know what any path means.

use crate::{
    body::Body,
    call::{App, Call},
    connection::{Listener, Shared, begin, refuse},
    errors::ApiError,
    query::{Query, percent_decode},
    router,
    version::ApiVersion,
};
use hyper::{
    Request, Response,
    body::Incoming,
    header::{HeaderName, HeaderValue, SERVER, UPGRADE},
};
use std::{
    future::Future,
    io,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
};
use vw_controller::Controller;

/// How long requests under way may take to end once the daemon stops. What has no end of its own,
/// such as a container's log that is followed, is cut then.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(2);

/// How long to wait before the next accept after one failed for want of descriptors: nothing
/// tells when there are some again.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

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
    /// How many clients are served at once, each on a thread of its own; 4,096 where it does not
    /// say. Further ones are told so with status 503.
    pub most_clients: Option<usize>,
}

/// See [`ApiConfig::most_clients`].
const MOST_CLIENTS: usize = 4096;

/// Serves the API on `listeners` until `shutdown` completes and requests under way have ended.
///
/// Each connection has a thread, on which its requests block.
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
    let (open, mut closed) = mpsc::channel(1);
    // Each socket that is listened on has a sender too.
    let most = config.most_clients.unwrap_or(MOST_CLIENTS) + listeners.len();
    let app = Arc::new(App::new(controller, config, stopped.clone()));
    let begin = |listener| {
        let shared = Shared {
            app: app.clone(),
            stopped: stopped.clone(),
            open: open.clone(),
        };
        accept(listener, shared, most)
    };
    let accepting: Vec<_> = listeners.into_iter().map(begin).collect();
    // Before anybody is counted.
    drop(open);
    let mut tasks: JoinSet<()> = accepting.into_iter().collect();
    shutdown.await;
    // Only fails when nobody listens, which is the end we want.
    let _ = stop.send(());
    let ended = tokio::time::timeout(SHUTDOWN_GRACE, async {
        while let Some(task) = tasks.join_next().await {
            task.map_err(io::Error::other)?;
        }
        // Nothing is ever sent: this ends with the last connection.
        let _ = closed.recv().await;
        Ok(())
    });
    ended.await.unwrap_or(Ok(()))
}

/// Accepts connections until told to stop; those beyond `most` users of `open` are refused.
async fn accept(listener: Listener, mut shared: Shared, most: usize) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.next() => accepted,
            _ = shared.stopped.changed() => return,
        };
        let begun = accepted.and_then(|client| match shared.open.strong_count() < most {
            true => begin(client, shared.clone()),
            false => refuse(client),
        });
        if let Err(error) = begun {
            tracing::warn!(%error, "a connection could not be accepted");
            tokio::time::sleep(ACCEPT_PAUSE).await;
        }
    }
}

/// Answers one request.
pub(crate) async fn answer(app: Arc<App>, mut request: Request<Incoming>) -> Response<Body> {
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

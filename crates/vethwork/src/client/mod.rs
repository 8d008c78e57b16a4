//! The client of the Engine API: one connection a request, plain, streamed or taken over.
//!
//! Owns the transport and the daemon's refusals. It must not know what any command prints.

mod body;
mod error;
mod frames;
mod host;
mod moment;
mod request;
mod session;
mod signals;
mod terminal;

pub(crate) use error::Error;
pub(crate) use frames::{Demux, Stream};
pub(crate) use host::{DEFAULT as DEFAULT_HOST, Host};
pub(crate) use moment::moment;
pub(crate) use request::Request;
pub(crate) use session::{DetachKeys, Ended, Session};
pub(crate) use signals::forward_signals;
pub(crate) use terminal::{ResizeTarget, follow_size, size as terminal_size};

pub(crate) use body::Answer;
use body::Sent;
use http_body_util::BodyExt;
use hyper::{
    Response, StatusCode,
    body::{Bytes, Incoming},
    client::conn::http1,
    header::{CONNECTION, CONTENT_TYPE, HOST, UPGRADE, USER_AGENT},
    upgrade::Upgraded,
};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use std::io;
use tokio::{
    net::{TcpStream, UnixStream},
    sync::mpsc,
};

/// The version of the API that the client speaks: the newest that the daemon serves.
pub(crate) const API_VERSION: &str = "1.51";

/// A daemon to talk to.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    host: Host,
}

impl Client {
    /// Talks to a daemon; connects with the first request.
    pub(crate) const fn new(host: Host) -> Self {
        Self { host }
    }

    /// Its address.
    pub(crate) const fn host(&self) -> &Host {
        &self.host
    }

    /// Sends a request and reads its JSON answer.
    ///
    /// # Errors
    /// When the daemon cannot be reached, refuses, or answers something else.
    pub(crate) async fn json<T: DeserializeOwned>(&self, request: Request) -> Result<T, Error> {
        let text = self.text(request).await?;
        serde_json::from_slice(&text).map_err(Error::Answer)
    }

    /// Sends a request and reads its answer whole.
    ///
    /// # Errors
    /// As [`Self::json`].
    pub(crate) async fn text(&self, request: Request) -> Result<Bytes, Error> {
        let response = self.send(request).await?;
        Ok(response.into_body().collect().await?.to_bytes())
    }

    /// Sends a request whose answer does not matter.
    ///
    /// # Errors
    /// When the daemon cannot be reached or refuses.
    pub(crate) async fn run(&self, request: Request) -> Result<(), Error> {
        self.text(request).await.map(drop)
    }

    /// Sends a request whose answer comes in pieces.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub(crate) async fn stream(&self, request: Request) -> Result<Answer, Error> {
        Ok(Answer::new(self.send(request).await?.into_body()))
    }

    /// Sends a request whose body comes in pieces, until their sender is dropped;
    /// an error among them breaks the request off.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub(crate) async fn upload(
        &self,
        request: Request,
        pieces: mpsc::Receiver<io::Result<Bytes>>,
    ) -> Result<Answer, Error> {
        let request = Request {
            body: Sent::Pieces(pieces),
            ..request
        };
        Ok(Answer::new(self.send(request).await?.into_body()))
    }

    /// Sends a request that takes the connection over.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub(crate) async fn hijack(&self, request: Request) -> Result<TokioIo<Upgraded>, Error> {
        let response = self
            .send(Request {
                upgrade: true,
                ..request
            })
            .await?;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Err(Error::NotTakenOver(response.status()));
        }
        Ok(TokioIo::new(hyper::upgrade::on(response).await?))
    }

    async fn send(&self, request: Request) -> Result<Response<Incoming>, Error> {
        let mut sender = self.connect().await?;
        let mut head = hyper::Request::builder()
            .uri(format!("/v{API_VERSION}{}", request.target()))
            .method(request.method)
            .header(HOST, "vethwork")
            .header(USER_AGENT, concat!("vethwork/", env!("CARGO_PKG_VERSION")));
        if let Some(kind) = request.content_type {
            head = head.header(CONTENT_TYPE, kind);
        }
        if request.upgrade {
            head = head.header(CONNECTION, "Upgrade").header(UPGRADE, "tcp");
        }
        let built = head.body(request.body).map_err(Error::Request)?;
        let response = sender.send_request(built).await?;
        let status = response.status();
        if status.is_client_error() || status.is_server_error() {
            let body = response.into_body().collect().await?.to_bytes();
            return Err(Error::refused(status, &body));
        }
        Ok(response)
    }

    async fn connect(&self) -> Result<http1::SendRequest<Sent>, Error> {
        let unreachable = |source| Error::Unreachable {
            host: self.host.clone(),
            source,
        };
        match &self.host {
            Host::Unix(path) => {
                let stream = UnixStream::connect(path).await.map_err(unreachable)?;
                handshake(TokioIo::new(stream)).await
            }
            Host::Tcp(authority) => {
                let stream = TcpStream::connect(authority).await.map_err(unreachable)?;
                stream.set_nodelay(true).map_err(unreachable)?;
                handshake(TokioIo::new(stream)).await
            }
        }
    }
}

async fn handshake<I>(io: I) -> Result<http1::SendRequest<Sent>, Error>
where
    I: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
{
    let (sender, connection) = http1::handshake(io).await?;
    // Its errors come to the request as well.
    tokio::spawn(async { connection.with_upgrades().await.ok() });
    Ok(sender)
}

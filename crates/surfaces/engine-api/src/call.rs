//! One request on its way to a handler, and what all of them share.

use crate::{
    body::Body, errors::ApiError, events::Hub, json, query::Query, server::ApiConfig,
    version::ApiVersion,
};
use hyper::{
    Method, Response,
    body::Incoming,
    header::{HeaderMap, HeaderValue},
    upgrade::OnUpgrade,
};
use serde::de::DeserializeOwned;
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};
use tokio::sync::watch;
use vw_controller::{Command, Controller};

/// What a handler answers.
pub(crate) type Answer = Result<Response<Body>, ApiError>;

/// What all requests share.
#[derive(Debug)]
pub(crate) struct App {
    /// The one way in.
    pub(crate) controller: Arc<Controller>,
    /// What we tell about ourselves.
    pub(crate) config: ApiConfig,
    /// Events for `/events`.
    pub(crate) events: Hub,
    /// Changes once, when the server stops.
    pub(crate) stopping: watch::Receiver<()>,
    server: HeaderValue,
}

impl App {
    pub(crate) fn new(
        controller: Arc<Controller>,
        config: ApiConfig,
        stopping: watch::Receiver<()>,
    ) -> Self {
        let server = HeaderValue::try_from(format!("Vethwork/{} (linux)", config.version))
            .unwrap_or(HeaderValue::from_static("Vethwork (linux)"));
        Self {
            controller,
            config,
            events: Hub::default(),
            stopping,
            server,
        }
    }

    /// The `Server` header.
    pub(crate) fn server_header(&self) -> HeaderValue {
        self.server.clone()
    }

    /// Carries a command out where it is, on the connection's own thread.
    ///
    /// # Errors
    /// The refusal as Docker words and numbers it.
    pub(crate) async fn submit<C>(&self, command: C) -> Result<C::Output, ApiError>
    where
        C: Command + 'static,
        C::Output: Send + 'static,
    {
        carry_out(&self.controller, command)
    }

    /// Carries out a command that reads the request's body. The body comes by this very task, so
    /// the command must wait for it on another thread.
    ///
    /// # Errors
    /// As [`Self::submit`].
    pub(crate) async fn submit_reading<C>(&self, command: C) -> Result<C::Output, ApiError>
    where
        C: Command + 'static,
        C::Output: Send + 'static,
    {
        let controller = self.controller.clone();
        let run = tokio::task::spawn_blocking(move || carry_out(&controller, command)).await;
        run.unwrap_or_else(|_| Err(cut_off::<C>()))
    }
}

/// A command that panicked ends its own request alone; what it left is behind locks that are used
/// on whatever became of their holders.
fn carry_out<C: Command>(controller: &Controller, command: C) -> Result<C::Output, ApiError> {
    match catch_unwind(AssertUnwindSafe(|| controller.submit(command))) {
        Ok(Ok(output)) => Ok(output),
        Ok(Err(error)) => Err(ApiError::of(C::OPERATION, &error)),
        Err(_) => Err(cut_off::<C>()),
    }
}

fn cut_off<C: Command>() -> ApiError {
    tracing::error!(operation = C::OPERATION, "a request did not end");
    ApiError::internal(format!(
        "{} did not end: see the daemon's log",
        C::OPERATION
    ))
}

/// One request.
#[derive(Debug)]
pub(crate) struct Call {
    /// What all requests share.
    pub(crate) app: Arc<App>,
    /// The API version that it speaks.
    pub(crate) version: ApiVersion,
    /// Its method.
    pub(crate) method: Method,
    /// Its query.
    pub(crate) query: Query,
    /// Its headers.
    pub(crate) headers: HeaderMap,
    /// Its body.
    pub(crate) body: Incoming,
    /// The connection itself, when the client asked for it (`Upgrade: tcp`).
    pub(crate) upgrade: Option<OnUpgrade>,
}

impl Call {
    /// As [`App::submit`].
    pub(crate) async fn submit<C>(&self, command: C) -> Result<C::Output, ApiError>
    where
        C: Command + 'static,
        C::Output: Send + 'static,
    {
        self.app.submit(command).await
    }

    /// Reads the JSON body; see [`json::read`].
    pub(crate) async fn into_json<T>(self) -> Result<(Parts, T), ApiError>
    where
        T: DeserializeOwned + Default,
    {
        let document = json::read(&self.headers, self.body).await?;
        let parts = Parts {
            app: self.app,
            version: self.version,
            query: self.query,
            upgrade: self.upgrade,
        };
        Ok((parts, document))
    }
}

/// A request whose body was read.
#[derive(Debug)]
pub(crate) struct Parts {
    /// What all requests share.
    pub(crate) app: Arc<App>,
    /// The API version that it speaks.
    pub(crate) version: ApiVersion,
    /// Its query.
    pub(crate) query: Query,
    /// The connection itself, when the client asked for it.
    pub(crate) upgrade: Option<OnUpgrade>,
}

//! Response bodies: whole ones and streams fed from elsewhere.

use hyper::{
    Response, StatusCode,
    body::{Body as HttpBody, Bytes, Frame, SizeHint},
    header::{CONTENT_TYPE, HeaderValue},
};
use serde::Serialize;
use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};
use tokio::sync::mpsc;

/// What an answer carries.
#[derive(Debug)]
pub(crate) enum Body {
    /// All of it, taken when sent.
    Whole(Option<Bytes>),
    /// Pieces until the sender is dropped.
    Stream(mpsc::Receiver<Bytes>),
}

impl Body {
    /// Nothing.
    pub(crate) const fn empty() -> Self {
        Self::Whole(None)
    }

    /// These bytes.
    pub(crate) fn whole(bytes: impl Into<Bytes>) -> Self {
        Self::Whole(Some(bytes.into()).filter(|bytes| !bytes.is_empty()))
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.get_mut() {
            Self::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Stream(receiver) => receiver
                .poll_recv(context)
                .map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(None))
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Self::Stream(_) => SizeHint::default(),
        }
    }
}

/// A JSON document and the line break that Go's encoder ends it with.
pub(crate) fn json_response(status: StatusCode, document: &impl Serialize) -> Response<Body> {
    match serde_json::to_vec(document) {
        Ok(mut bytes) => {
            bytes.push(b'\n');
            typed_response(status, "application/json", Body::whole(bytes))
        }
        Err(error) => {
            tracing::error!(%error, "an answer could not be written as JSON");
            empty_response(StatusCode::INTERNAL_SERVER_ERROR)
        }
    }
}

/// A status without a body.
pub(crate) fn empty_response(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

/// A body with its content type.
pub(crate) fn typed_response(
    status: StatusCode,
    content_type: &'static str,
    body: Body,
) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

//! Go's conventions for JSON: what clients send and expect because the engine is written in it.
//!
//! A `null` reads as the field's zero value, unknown fields are ignored, and a nil map or list is
//! written as `null` where an empty one is `{}` or `[]`; a nilable field is an `Option`.

#[cfg(test)]
mod tests;

use crate::errors::ApiError;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::{
    body::{Body as HttpBody, Incoming},
    header::{CONTENT_TYPE, HeaderMap},
};
use serde::{Deserialize, Deserializer, de::DeserializeOwned};

/// The most of a JSON body that is read. A request names at most a few thousand ports or mounts.
const MAX_BODY: usize = 4 << 20;

/// Reads `null` as the zero value.
pub(crate) fn zero_if_null<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// A struct read as Go reads one: every field may be absent or `null`. Field names are Go's.
macro_rules! go_struct {
    ($(
        $(#[$meta:meta])*
        $name:ident { $($(#[$field_meta:meta])* $field:ident: $ty:ty,)* }
    )*) => {$(
        $(#[$meta])*
        #[derive(Debug, Clone, Default, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(default, rename_all = "PascalCase")]
        pub(crate) struct $name {
            $(
                #[serde(deserialize_with = "crate::json::zero_if_null")]
                $(#[$field_meta])*
                pub(crate) $field: $ty,
            )*
        }
    )*};
}
pub(crate) use go_struct;

/// Whether a value is its type's zero: Go's `omitempty`.
pub(crate) fn is_zero<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Reads a JSON body; an absent one is the zero value, as in moby's `httputils.ReadJSON`.
///
/// # Errors
/// 400 with Docker's sentences for another content type, malformed JSON or anything after it.
pub(crate) async fn read<T: DeserializeOwned + Default>(
    headers: &HeaderMap,
    body: Incoming,
) -> Result<T, ApiError> {
    if body.is_end_stream() {
        return Ok(T::default());
    }
    check_content_type(headers)?;
    let limited = Limited::new(body, MAX_BODY).collect().await;
    let bytes = limited
        .map_err(|error| read_failure(error.as_ref()))?
        .to_bytes();
    parse(&bytes)
}

/// Reads one JSON document.
///
/// # Errors
/// As [`read`].
pub(crate) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    if bytes.trim_ascii().is_empty() {
        let message = "invalid JSON: got EOF while reading request body";
        return Err(ApiError::bad_request(message));
    }
    // Every request is an object. Serde would take a list for a struct, field by field.
    if bytes.trim_ascii_start().starts_with(b"[") {
        let message = "invalid JSON: cannot unmarshal array into an object";
        return Err(ApiError::bad_request(message));
    }
    let mut documents = serde_json::Deserializer::from_slice(bytes).into_iter::<T>();
    let Some(document) = documents.next() else {
        return Err(ApiError::bad_request(
            "invalid JSON: got EOF while reading request body",
        ));
    };
    let document =
        document.map_err(|error| ApiError::bad_request(format!("invalid JSON: {error}")))?;
    let rest = bytes.get(documents.byte_offset()..).unwrap_or_default();
    if !rest.trim_ascii().is_empty() {
        return Err(ApiError::bad_request("unexpected content after JSON"));
    }
    Ok(document)
}

fn read_failure(error: &(dyn std::error::Error + Send + Sync + 'static)) -> ApiError {
    if error.is::<LengthLimitError>() {
        let message = format!("request body too large: at most {MAX_BODY} bytes are read");
        return ApiError::bad_request(message);
    }
    ApiError::bad_request(format!("invalid JSON: {error}"))
}

fn check_content_type(headers: &HeaderMap) -> Result<(), ApiError> {
    let text = headers
        .get(CONTENT_TYPE)
        .map(|value| value.to_str().unwrap_or_default());
    let text = text.unwrap_or_default();
    let media = text.split(';').next().unwrap_or_default().trim();
    if media.is_empty() || media.starts_with('/') {
        let message = format!("malformed Content-Type header ({text}): mime: no media type");
        return Err(ApiError::bad_request(message));
    }
    if media.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    Err(ApiError::bad_request(format!(
        "unsupported Content-Type header ({text}): must be 'application/json'"
    )))
}

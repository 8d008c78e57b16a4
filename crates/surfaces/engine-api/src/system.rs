//! `/_ping`, `/version`, `/info`, `/system/df`: what the engine tells about itself.

mod host;
mod info;

use crate::{
    absent::without,
    body::{Body, json_response, typed_response},
    call::{Answer, App, Call},
    errors::ApiError,
    images,
    version::ApiVersion,
};
use host::Host;
use hyper::{
    Method, StatusCode,
    header::{CACHE_CONTROL, HeaderName, HeaderValue, PRAGMA},
};
use serde::Serialize;
use std::collections::BTreeMap;
use vw_controller::command::Info;

/// Answers one of these paths.
///
/// # Errors
/// The refusal to send.
pub(crate) async fn route(call: Call, path: &[&str]) -> Answer {
    match (&call.method, path) {
        (&Method::GET | &Method::HEAD, ["_ping"]) => Ok(ping(call.method == Method::HEAD)),
        (&Method::GET, ["version"]) => Ok(json_response(StatusCode::OK, &version(&call.app))),
        (&Method::GET, ["info"]) => {
            let view = call.submit(Info).await?;
            let host = Host::read();
            let rendered = info::render(&view, &host, &call.app.config, call.version);
            Ok(json_response(StatusCode::OK, &rendered))
        }
        (&Method::GET, ["system", "df"]) => images::disk_usage(call).await,
        (&Method::POST, ["auth"]) => Err(without("registry client")),
        _ => Err(ApiError::page_not_found()),
    }
}

/// `Builder-Version: 1` keeps clients from opening a BuildKit session first: their build is
/// refused in one answer.
fn ping(head: bool) -> hyper::Response<Body> {
    const BUILDER: HeaderName = HeaderName::from_static("builder-version");
    const SWARM: HeaderName = HeaderName::from_static("swarm");
    let body = if head {
        Body::empty()
    } else {
        Body::whole("OK")
    };
    let mut response = typed_response(StatusCode::OK, "text/plain; charset=utf-8", body);
    let headers = response.headers_mut();
    headers.insert(BUILDER, HeaderValue::from_static("1"));
    headers.insert(SWARM, HeaderValue::from_static("inactive"));
    headers.insert(
        CACHE_CONTROL,
        HeaderValue::from_static("no-cache, no-store, must-revalidate"),
    );
    headers.insert(PRAGMA, HeaderValue::from_static("no-cache"));
    response
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Version<'a> {
    platform: Platform,
    components: [Component<'a>; 1],
    version: &'a str,
    api_version: String,
    #[serde(rename = "MinAPIVersion")]
    min_api_version: String,
    git_commit: &'a str,
    go_version: &'static str,
    os: &'static str,
    arch: &'static str,
    kernel_version: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    build_time: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Platform {
    name: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Component<'a> {
    name: &'static str,
    version: &'a str,
    details: BTreeMap<&'static str, String>,
}

fn version(app: &App) -> Version<'_> {
    let config = &app.config;
    let kernel = host::kernel_version();
    let details = BTreeMap::from([
        ("ApiVersion", ApiVersion::MAX.to_string()),
        ("Arch", images::ARCHITECTURE.to_owned()),
        ("BuildTime", config.build_time.clone()),
        ("Experimental", "false".to_owned()),
        ("GitCommit", config.git_commit.clone()),
        ("KernelVersion", kernel.clone()),
        ("MinAPIVersion", ApiVersion::MIN.to_string()),
        ("Os", "linux".to_owned()),
    ]);
    Version {
        platform: Platform { name: "vethwork" },
        components: [Component {
            name: "Engine",
            version: &config.version,
            details,
        }],
        version: &config.version,
        api_version: ApiVersion::MAX.to_string(),
        min_api_version: ApiVersion::MIN.to_string(),
        git_commit: &config.git_commit,
        go_version: "",
        os: "linux",
        arch: images::ARCHITECTURE,
        kernel_version: kernel,
        build_time: &config.build_time,
    }
}

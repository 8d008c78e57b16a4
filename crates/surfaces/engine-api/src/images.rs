//! `/images`: what can be run, brought in as archives.

mod render;
mod upload;

pub(crate) use render::ARCHITECTURE;

use crate::{
    absent::without,
    body::{Body, empty_response, json_response, typed_response},
    call::{Answer, Call},
    errors::ApiError,
};
use hyper::{Method, Response, StatusCode};
use serde::Serialize;
use std::path::PathBuf;
use vw_controller::{
    command::{
        ImageImport, ImageInspect, ImageList, ImageLoad, ImageRemove, ImageSource, ImageTag,
    },
    view::ImageView,
};

/// Answers a path below `/images`. An image's name may hold slashes.
///
/// # Errors
/// The refusal to send.
pub(crate) async fn route(call: Call, path: &[&str]) -> Answer {
    match (&call.method, path) {
        (&Method::GET, ["json"]) => list(call).await,
        (&Method::POST, ["create"]) => create(call).await,
        (&Method::POST, ["load"]) => load(call).await,
        (&Method::POST, ["prune"]) => prune(&call),
        (&Method::GET, ["search"]) => Err(without("registry client")),
        (&Method::GET, ["get"] | [_, .., "get"]) => Err(without("saving of images")),
        (&Method::GET, [name @ .., "json"]) => inspect(call, name.join("/")).await,
        (&Method::GET, [_, .., "history"]) => Err(without("history of images")),
        (&Method::POST, [_, .., "push"]) => Err(without("registry client")),
        (&Method::POST, [name @ .., "tag"]) if !name.is_empty() => tag(call, name.join("/")).await,
        (&Method::DELETE, name) if !name.is_empty() => remove(call, name.join("/")).await,
        _ => Err(ApiError::page_not_found()),
    }
}

/// Refuses platforms other than this machine's.
///
/// # Errors
/// 501 by name.
pub(crate) fn check_platform(text: &str) -> Result<(), ApiError> {
    if text.is_empty() {
        return Ok(());
    }
    let mut parts = text.split('/');
    let os = parts.next().unwrap_or_default();
    let architecture = parts.next().unwrap_or(render::ARCHITECTURE);
    let same = os == "linux" || os == render::ARCHITECTURE;
    if same && (architecture == render::ARCHITECTURE || architecture == std::env::consts::ARCH) {
        return Ok(());
    }
    let ours = format!("this machine runs linux/{}", render::ARCHITECTURE);
    Err(ApiError::unsupported_option(
        &format!("platform {text}"),
        &ours,
    ))
}

async fn list(call: Call) -> Answer {
    let filter = render::ImageFilter::parse(&call.query)?;
    let images = call.submit(ImageList).await?;
    let lines: Vec<_> = images
        .iter()
        .filter(|image| filter.keeps(image))
        .map(|image| render::summary(image, call.version))
        .collect();
    Ok(json_response(StatusCode::OK, &lines))
}

async fn inspect(call: Call, image: String) -> Answer {
    let view = call.submit(ImageInspect { image }).await?;
    Ok(json_response(
        StatusCode::OK,
        &render::inspect(&view, call.version),
    ))
}

async fn tag(call: Call, image: String) -> Answer {
    let name = reference(call.query.get("repo"), call.query.get("tag"));
    call.submit(ImageTag { image, name }).await?;
    Ok(empty_response(StatusCode::CREATED))
}

async fn remove(call: Call, image: String) -> Answer {
    let removed = call
        .submit(ImageRemove {
            image,
            force: call.query.truth("force"),
        })
        .await?;
    let lines: Vec<_> = removed.into_iter().map(render::Removed::of).collect();
    Ok(json_response(StatusCode::OK, &lines))
}

/// Only names are removed on demand, and an image goes with its last one: none is ever left over.
fn prune(call: &Call) -> Answer {
    call.query
        .filters()?
        .accept(&["dangling", "label", "label!", "until"])?;
    let report = Body::whole("{\"ImagesDeleted\":null,\"SpaceReclaimed\":0}\n");
    Ok(typed_response(StatusCode::OK, "application/json", report))
}

/// What `docker system df` shows: images and their sizes; there are no volumes and no build cache.
///
/// # Errors
/// The refusal to send.
pub(crate) async fn disk_usage(call: Call) -> Answer {
    let images = call.submit(ImageList).await?;
    let usage = render::DiskUsage::of(&images, call.version);
    Ok(json_response(StatusCode::OK, &usage))
}

/// Brings in what the client sends (`fromSrc=-`) or a folder of this host
/// (`fromSrc=file:///path`, an addition of ours), and refuses to pull.
async fn create(call: Call) -> Answer {
    let query = &call.query;
    let image = query.get("fromImage").to_owned();
    if !image.is_empty() {
        return Err(no_registry(familiar(&image)));
    }
    check_platform(query.get("platform"))?;
    let changes = query.all("changes").map(str::to_owned).collect();
    let name = reference(query.get("repo"), query.get("tag"));
    let message = query.get("message").to_owned();
    let source = match query.get("fromSrc") {
        "-" => None,
        text => Some(folder(text)?),
    };
    let (app, source) = match source {
        Some(folder) => (call.app, ImageSource::Folder(folder)),
        None => (
            call.app,
            ImageSource::Tar(Box::new(upload::reader(call.body))),
        ),
    };
    let image = app
        .submit_reading(ImageImport {
            source,
            name,
            changes,
            message,
        })
        .await?;
    Ok(progress(&[Status { status: &image.id }]))
}

fn folder(text: &str) -> Result<PathBuf, ApiError> {
    match text.strip_prefix("file://") {
        Some(path) if path.starts_with('/') => Ok(PathBuf::from(path)),
        _ => Err(ApiError::unsupported_option(
            &format!("fromSrc {text:?}"),
            "send the archive itself (fromSrc=-), or name a folder as file:///path",
        )),
    }
}

/// Docker's sentence for an image that its registry does not have, and what to do instead.
fn no_registry(image: &str) -> ApiError {
    let message = format!(
        "pull access denied for {image}, repository does not exist or may require 'docker \
         login': vethwork has no registry client; use `vethwork load` with an archive of `docker \
         save`, or `vethwork import`"
    );
    ApiError::new(StatusCode::NOT_FOUND, message)
}

async fn load(call: Call) -> Answer {
    check_platform(call.query.get("platform"))?;
    let archive = Box::new(upload::reader(call.body));
    let images = call.app.submit_reading(ImageLoad { archive }).await?;
    let lines: Vec<_> = images.iter().map(loaded).collect();
    let lines: Vec<_> = lines.iter().map(|stream| Stream { stream }).collect();
    Ok(progress(&lines))
}

fn loaded(image: &ImageView) -> String {
    match image.tags.first() {
        Some(tag) => format!("Loaded image: {tag}\n"),
        None => format!("Loaded image ID: {}\n", image.id),
    }
}

#[derive(Serialize)]
struct Status<'a> {
    status: &'a str,
}

#[derive(Serialize)]
struct Stream<'a> {
    stream: &'a str,
}

/// Lines of progress, ended as Docker's formatter ends them.
fn progress(lines: &[impl Serialize]) -> Response<Body> {
    let mut text = Vec::new();
    for line in lines {
        text.extend(serde_json::to_vec(line).unwrap_or_default());
        text.extend_from_slice(b"\r\n");
    }
    typed_response(StatusCode::OK, "application/json", Body::whole(text))
}

/// A name with its tag, which a client may give apart.
fn reference(repository: &str, tag: &str) -> String {
    let repository = familiar(repository);
    if repository.is_empty() || tag.is_empty() {
        return repository.to_owned();
    }
    format!("{repository}:{tag}")
}

/// A name as people write it: Docker's clients put its default registry before some.
fn familiar(name: &str) -> &str {
    let bare = name.strip_prefix("docker.io/").unwrap_or(name);
    bare.strip_prefix("library/").unwrap_or(bare)
}

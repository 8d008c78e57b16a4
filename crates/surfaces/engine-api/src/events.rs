//! `/events`: what happened lately and what happens now, one JSON document after another.

mod filter;
#[cfg(test)]
mod tests;

use crate::{
    body::{Body, typed_response},
    call::{Answer, Call},
    errors::ApiError,
    query::Query,
    time,
    version::ApiVersion,
};
use filter::EventFilter;
use hyper::{StatusCode, body::Bytes};
use serde::Serialize;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::SystemTime,
};
use tokio::sync::{broadcast, mpsc};
use vw_controller::{
    Controller,
    event::{Event, EventType},
};

/// How many events a client may fall behind before it is dropped.
const BACKLOG: usize = 1024;

/// Deals the controller's events out to any number of clients by one thread, which lives as long
/// as there is a client.
#[derive(Debug, Default, Clone)]
pub(crate) struct Hub(Arc<Mutex<Option<broadcast::Sender<Event>>>>);

impl Hub {
    /// Events from now on. Ends when the controller drops the subscription or the client falls
    /// behind: never with events left out in between.
    pub(crate) fn listen(&self, controller: &Controller) -> broadcast::Receiver<Event> {
        let mut sender = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sender) = sender.as_ref() {
            return sender.subscribe();
        }
        let (new, receiver) = broadcast::channel(BACKLOG);
        let subscription = controller.subscribe();
        let (hub, feed) = (self.clone(), new.clone());
        let dealing = move || {
            while let Ok(event) = subscription.recv() {
                if feed.send(event).is_err() && hub.close(false) {
                    return;
                }
            }
            hub.close(true);
        };
        match thread::Builder::new()
            .name("api-events".to_owned())
            .spawn(dealing)
        {
            Ok(_) => *sender = Some(new),
            Err(error) => tracing::error!(%error, "no thread for events"),
        }
        receiver
    }

    /// Forgets the feed, when forced or when no client is left; says whether it did.
    fn close(&self, forced: bool) -> bool {
        let mut sender = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let idle = sender
            .as_ref()
            .is_none_or(|sender| sender.receiver_count() == 0);
        if forced || idle {
            *sender = None;
        }
        forced || idle
    }
}

/// One event as Docker writes it; the first three repeat it in the words of before API 1.22,
/// for containers and images.
#[derive(Serialize)]
struct Message<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<&'a str>,
    #[serde(rename = "Type")]
    kind: &'static str,
    #[serde(rename = "Action")]
    action: &'a str,
    #[serde(rename = "Actor")]
    actor: Actor<'a>,
    scope: &'static str,
    time: i64,
    #[serde(rename = "timeNano")]
    time_nano: i64,
}

#[derive(Serialize)]
struct Actor<'a> {
    #[serde(rename = "ID")]
    id: &'a str,
    #[serde(rename = "Attributes")]
    attributes: &'a BTreeMap<String, String>,
}

/// What a client asks for.
#[derive(Debug)]
struct Request {
    since: Option<SystemTime>,
    until: Option<SystemTime>,
    filter: EventFilter,
    version: ApiVersion,
}

impl Request {
    fn parse(query: &Query, version: ApiVersion) -> Result<Self, ApiError> {
        let now = SystemTime::now();
        let moment = |key: &str| {
            query
                .given(key)
                .map(|text| time::moment(text, now))
                .transpose()
        };
        let (since, until) = (moment("since")?, moment("until")?);
        if let (Some(after), Some(before)) = (since, until)
            && before < after
        {
            return Err(ApiError::bad_request(format!(
                "`since` time ({}) cannot be after `until` time ({})",
                query.get("since"),
                query.get("until")
            )));
        }
        let filter = EventFilter::parse(query.filters()?)?;
        Ok(Self {
            since,
            until,
            filter,
            version,
        })
    }

    /// Whether it is shown. Images were told about when created from API 1.46 on.
    fn keeps(&self, event: &Event) -> bool {
        let image_created = event.kind == EventType::Image && event.action == "create";
        !(image_created && self.version < ApiVersion::v1(46))
            && self.until.is_none_or(|until| event.time <= until)
            && self.filter.keeps(event)
    }
}

/// Answers `GET /events`. Without `since` nothing of the past is told, without `until` the answer
/// goes on until the client leaves.
///
/// # Errors
/// 400 for a query that it does not understand.
pub(crate) fn route(call: Call) -> Answer {
    if call.method != hyper::Method::GET {
        return Err(ApiError::page_not_found());
    }
    let request = Request::parse(&call.query, call.version)?;
    let live = call.app.events.listen(&call.app.controller);
    // Taken after the subscription, so that nothing falls in between; what both have is told once.
    let recent = call.app.controller.recent_events();
    let (sender, receiver) = mpsc::channel(BACKLOG);
    let mut stopping = call.app.stopping.clone();
    tokio::task::spawn_local(async move {
        tokio::select! {
            () = tell(request, recent, live, sender) => {}
            _ = stopping.changed() => {}
        }
    });
    Ok(typed_response(
        StatusCode::OK,
        "application/json",
        Body::Stream(receiver),
    ))
}

async fn tell(
    request: Request,
    recent: Vec<Event>,
    mut live: broadcast::Receiver<Event>,
    client: mpsc::Sender<Bytes>,
) {
    let past = recent.iter().filter(|event| match request.since {
        Some(since) => event.time >= since,
        None => false,
    });
    for event in past.filter(|event| request.keeps(event)) {
        if client.send(line(event)).await.is_err() {
            return;
        }
    }
    let told = |event: &Event| request.since.is_some() && recent.contains(event);
    let end = end_of(request.until);
    tokio::pin!(end);
    loop {
        let event = tokio::select! {
            biased;
            event = live.recv() => event,
            () = &mut end => return,
            () = client.closed() => return,
        };
        let Ok(event) = event else { return };
        if !told(&event) && request.keeps(&event) && client.send(line(&event)).await.is_err() {
            return;
        }
    }
}

/// Completes at a moment, at once when it has passed, never when there is none.
async fn end_of(until: Option<SystemTime>) {
    match until {
        Some(until) => {
            let left = until.duration_since(SystemTime::now()).unwrap_or_default();
            tokio::time::sleep(left).await;
        }
        None => std::future::pending().await,
    }
}

fn line(event: &Event) -> Bytes {
    let container = event.kind == EventType::Container;
    let legacy = container || event.kind == EventType::Image;
    let nanos = vw_model::rfc3339::nanos(event.time);
    let image = event.attributes.get("image").map(String::as_str);
    let message = Message {
        status: legacy.then_some(event.action.as_str()),
        id: legacy.then_some(event.id.as_str()),
        from: image.filter(|_| container),
        kind: event.kind.as_str(),
        action: &event.action,
        actor: Actor {
            id: &event.id,
            attributes: &event.attributes,
        },
        scope: "local",
        time: time::unix(event.time),
        time_nano: i64::try_from(nanos).unwrap_or(i64::MAX),
    };
    let mut text = serde_json::to_vec(&message).unwrap_or_default();
    text.push(b'\n');
    text.into()
}

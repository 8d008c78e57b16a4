//! Which events a client wants.

use crate::{errors::ApiError, filters::Filters};
use vw_controller::event::{Event, EventType};
use vw_model::Options;

/// Checked filters of `GET /events`.
#[derive(Debug)]
pub(super) struct EventFilter(Filters);

const KEYS: &[&str] = &[
    "config",
    "container",
    "daemon",
    "event",
    "image",
    "label",
    "network",
    "node",
    "plugin",
    "scope",
    "secret",
    "service",
    "type",
    "volume",
];
/// Kinds of object that there are none of: nothing ever happens to one.
const NOTHING: &[&str] = &["config", "node", "plugin", "secret", "service", "volume"];

impl EventFilter {
    /// Checks the keys.
    ///
    /// # Errors
    /// 400 with Docker's sentence.
    pub(super) fn parse(filters: Filters) -> Result<Self, ApiError> {
        filters.accept(KEYS).map(Self)
    }

    /// Whether the client wants it.
    pub(super) fn keeps(&self, event: &Event) -> bool {
        let filters = &self.0;
        let labels: &Options = &event.attributes;
        filters.exact("type", event.kind.as_str())
            && filters.exact("scope", "local")
            && self.keeps_action(&event.action)
            && filters.labels("label", labels)
            && !NOTHING.iter().any(|key| filters.contains(key))
            && self.keeps_object(event, EventType::Container)
            && self.keeps_object(event, EventType::Network)
            && self.keeps_object(event, EventType::Daemon)
            && self.keeps_image(event)
    }

    /// `exec_create: ls -l` is found as `exec_create`.
    fn keeps_action(&self, action: &str) -> bool {
        let word = action.split(':').next().unwrap_or(action);
        self.0.exact("event", action) || self.0.exact("event", word)
    }

    /// By id or its start, or by name or its start.
    fn keeps_object(&self, event: &Event, kind: EventType) -> bool {
        let key = kind.as_str();
        if !self.0.contains(key) {
            return true;
        }
        let name = event
            .attributes
            .get("name")
            .map(String::as_str)
            .unwrap_or_default();
        event.kind == kind && (self.0.prefixes(key, &event.id) || self.0.prefixes(key, name))
    }

    /// An image's own events, and those of containers made of it, with or without its tag.
    fn keeps_image(&self, event: &Event) -> bool {
        if !self.0.contains("image") {
            return true;
        }
        let key = match event.kind {
            EventType::Image => "name",
            _ => "image",
        };
        let name = event
            .attributes
            .get(key)
            .map(String::as_str)
            .unwrap_or_default();
        let untagged = name.rsplit_once(':').map_or(name, |(name, _)| name);
        self.0.exact("image", &event.id)
            || self.0.exact("image", name)
            || self.0.exact("image", untagged)
    }
}

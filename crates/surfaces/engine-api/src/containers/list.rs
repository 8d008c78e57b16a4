//! `GET /containers/json`: which containers a list shows.

#[cfg(test)]
mod tests;

use super::{inspect, state, summary};
use crate::{errors::ApiError, filters::Filters, query::Query};
use std::{cmp::Reverse, time::SystemTime};
use vw_controller::view::ContainerView;
use vw_model::{PortKey, PortRange};

/// What a list request asks for.
#[derive(Debug)]
pub(super) struct ListRequest {
    all: bool,
    limit: usize,
    filters: Filters,
    exited: Vec<i32>,
    published: Vec<Ports>,
    exposed: Vec<Ports>,
    is_task: Option<bool>,
}

/// `80`, `80/udp`, `8000-8010/tcp` of a filter.
#[derive(Debug)]
struct Ports {
    range: PortRange,
    protocol: vw_model::Protocol,
}

const KEYS: &[&str] = &[
    "ancestor",
    "before",
    "exited",
    "expose",
    "health",
    "id",
    "is-task",
    "isolation",
    "label",
    "name",
    "network",
    "publish",
    "since",
    "status",
    "volume",
];
const STATES: &[&str] = &[
    "created",
    "dead",
    "exited",
    "paused",
    "removing",
    "restarting",
    "running",
];
const HEALTH: &[&str] = &["healthy", "none", "starting", "unhealthy"];

impl ListRequest {
    /// Reads and checks the query.
    ///
    /// # Errors
    /// 400 with Docker's sentences.
    pub(super) fn parse(query: &Query) -> Result<Self, ApiError> {
        let filters = query.filters()?.accept(KEYS)?;
        for (key, words) in [("status", STATES), ("health", HEALTH)] {
            if let Some(value) = filters.get(key).find(|value| !words.contains(value)) {
                return Err(invalid(key, value));
            }
        }
        let exited = filters
            .get("exited")
            .map(|value| value.parse().map_err(|_| invalid("exited", value)));
        let limit = query.integer("limit")?.unwrap_or_default();
        Ok(Self {
            all: query.truth("all") || filters.contains("status") || limit > 0,
            limit: usize::try_from(limit).unwrap_or_default(),
            exited: exited.collect::<Result<_, _>>()?,
            published: port_filter(&filters, "publish")?,
            exposed: port_filter(&filters, "expose")?,
            is_task: filters.truth("is-task")?,
            filters,
        })
    }

    /// The containers that the list shows, newest first.
    ///
    /// # Errors
    /// 404 when `before` or `since` name no container.
    pub(super) fn select<'a>(
        &self,
        views: &'a [ContainerView],
    ) -> Result<Vec<&'a ContainerView>, ApiError> {
        let mut sorted: Vec<_> = views.iter().collect();
        sorted.sort_by_key(|view| Reverse(view.sandbox.created));
        let before = self.bound("before", views)?;
        let since = self.bound("since", views)?;
        let bounded = before.is_some() || since.is_some();
        let limit = if self.limit == 0 {
            usize::MAX
        } else {
            self.limit
        };
        let kept = sorted.into_iter().filter(|view| {
            let created = view.sandbox.created;
            (self.all || bounded || state::is_alive(&view.state.status))
                && before.is_none_or(|moment| created < moment)
                && since.is_none_or(|moment| created > moment)
                && self.keeps(view)
        });
        Ok(kept.take(limit).collect())
    }

    fn bound(&self, key: &str, views: &[ContainerView]) -> Result<Option<SystemTime>, ApiError> {
        let Some(text) = self.filters.get(key).next() else {
            return Ok(None);
        };
        let name = text.strip_prefix('/').unwrap_or(text);
        let named = views.iter().find(|view| view.sandbox.name.as_str() == name);
        let found = named.or_else(|| {
            views
                .iter()
                .find(|view| view.sandbox.id.to_string().starts_with(name))
        });
        match found {
            Some(view) => Ok(Some(view.sandbox.created)),
            None => Err(ApiError::new(
                hyper::StatusCode::NOT_FOUND,
                format!("No such container: {text}"),
            )),
        }
    }

    fn keeps(&self, view: &ContainerView) -> bool {
        let filters = &self.filters;
        let name = view.sandbox.name.as_str();
        let named = filters.matches("name", name) || filters.matches("name", &format!("/{name}"));
        let ended = !state::is_alive(&view.state.status);
        named
            && self.is_task != Some(true)
            && filters.matches("id", &view.sandbox.id.to_string())
            && filters.labels("label", &summary::labels(view))
            && filters.exact("status", state::word(&view.state.status))
            && filters.exact("health", "none")
            && (self.exited.is_empty() || (ended && self.exited.contains(&view.state.exit_code)))
            && self.keeps_image(view)
            && self.keeps_network(view)
            && self.keeps_volume(view)
            && keeps_port(
                &self.published,
                view.sandbox.ports.iter().map(|port| port.container),
            )
            && keeps_port(&self.exposed, view.sandbox.exposed.iter().copied())
    }

    fn keeps_image(&self, view: &ContainerView) -> bool {
        if !self.filters.contains("ancestor") {
            return true;
        }
        let image = view
            .container
            .as_ref()
            .map(|spec| spec.image.as_str())
            .unwrap_or_default();
        let id = view
            .image_id
            .strip_prefix("sha256:")
            .unwrap_or(&view.image_id);
        self.filters.get("ancestor").any(|asked| {
            let digest = asked.strip_prefix("sha256:").unwrap_or(asked);
            let by_id = !digest.is_empty() && id.starts_with(digest);
            by_id || asked == image || tagged(asked) == tagged(image)
        })
    }

    fn keeps_network(&self, view: &ContainerView) -> bool {
        if !self.filters.contains("network") {
            return true;
        }
        self.filters.get("network").any(|asked| {
            view.endpoints.iter().any(|endpoint| {
                let id = crate::endpoint::text(endpoint.network_id);
                endpoint.network == asked || (!asked.is_empty() && id.starts_with(asked))
            })
        })
    }

    fn keeps_volume(&self, view: &ContainerView) -> bool {
        if !self.filters.contains("volume") {
            return true;
        }
        let mounts = inspect::mounts(view.container.as_ref());
        self.filters
            .get("volume")
            .any(|asked| mounts.iter().any(|mount| mount.is_at(asked)))
    }
}

fn keeps_port(asked: &[Ports], mut has: impl Iterator<Item = PortKey>) -> bool {
    asked.is_empty()
        || has.any(|port| {
            asked.iter().any(|asked| {
                asked.protocol == port.protocol
                    && (asked.range.first..=asked.range.last).contains(&port.port)
            })
        })
}

fn port_filter(filters: &Filters, key: &str) -> Result<Vec<Ports>, ApiError> {
    let parse = |text: &str| {
        let (range, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
        match (range.parse(), protocol.parse()) {
            (Ok(range), Ok(protocol)) => Ok(Ports { range, protocol }),
            _ => Err(invalid(key, text)),
        }
    };
    filters.get(key).map(parse).collect()
}

/// A name with the tag that it has when none is written.
fn tagged(name: &str) -> String {
    let last = name.rsplit('/').next().unwrap_or_default();
    if last.contains(':') {
        name.to_owned()
    } else {
        format!("{name}:latest")
    }
}

fn invalid(key: &str, value: &str) -> ApiError {
    ApiError::bad_request(format!("invalid filter '{key}={value}'"))
}

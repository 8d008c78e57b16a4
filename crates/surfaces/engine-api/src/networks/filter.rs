//! Which networks a list request keeps.

use super::render;
use crate::{errors::ApiError, filters::Filters};
use vw_controller::view::NetworkView;

/// Checked filters of `GET /networks`.
#[derive(Debug)]
pub(super) struct NetworkFilter {
    filters: Filters,
    dangling: Option<bool>,
}

impl NetworkFilter {
    /// Checks keys and values.
    ///
    /// # Errors
    /// 400 with Docker's sentences.
    pub(super) fn parse(filters: Filters) -> Result<Self, ApiError> {
        const KEYS: &[&str] = &["dangling", "driver", "id", "label", "name", "scope", "type"];
        let filters = filters.accept(KEYS)?;
        let dangling = filters.truth("dangling")?;
        for value in filters.get("type") {
            if !matches!(value, "builtin" | "custom") {
                let message = format!("invalid filter: 'type'='{value}'");
                return Err(ApiError::bad_request(message));
            }
        }
        Ok(Self { filters, dangling })
    }

    /// Whether the list shows it.
    pub(super) fn keeps(&self, network: &NetworkView) -> bool {
        let spec = &network.spec;
        let kind = if spec.predefined { "builtin" } else { "custom" };
        let unused = !spec.predefined && network.members.is_empty();
        self.filters.exact("driver", &spec.driver)
            && self.filters.exact("scope", render::scope(spec.scope))
            && self.filters.exact("type", kind)
            && self.filters.matches("name", spec.name.as_str())
            && self.filters.matches("id", &spec.id.to_string())
            && self.filters.labels("label", &spec.labels)
            && self.dangling.is_none_or(|dangling| dangling == unused)
    }
}

//! What people and scripts read: tables, templates, and Docker's ways to say things.
//!
//! Owns words and columns. It must not talk to the daemon.

pub(crate) mod clock;
mod duration;
mod json;
mod listing;
mod ports;
mod size;
mod table;
mod template;

pub(crate) use duration::human_duration;
pub(crate) use json::indent;
pub(crate) use listing::{Listing, Row};
pub(crate) use ports::{Port, displayable_ports};
pub(crate) use size::{bytes_of, human_size};
pub(crate) use table::align;
pub(crate) use template::{Template, TemplateError, value_of};

/// An id as lists show it: twelve digits, the digest's algorithm left out.
pub(crate) fn short_id(id: &str) -> &str {
    let bare = id.split_once(':').map_or(id, |(_, digest)| digest);
    bare.get(..12).unwrap_or(bare)
}

/// A text of at most `width` characters, its end replaced by an ellipsis.
pub(crate) fn ellipsis(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(width.saturating_sub(1)).collect();
    short.push('…');
    short
}

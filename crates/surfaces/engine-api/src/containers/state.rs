//! A container's state in Docker's words.

use crate::time;
use std::time::SystemTime;
use vw_controller::view::{StateView, Status};

/// The one word: `running`.
pub(super) const fn word(status: &Status) -> &'static str {
    match status {
        Status::Created => "created",
        Status::Running => "running",
        Status::Restarting => "restarting",
        Status::Removing => "removing",
        Status::Exited => "exited",
        Status::Dead => "dead",
    }
}

/// Whether Docker calls it running: also while it waits to be started again.
pub(super) const fn is_alive(status: &Status) -> bool {
    matches!(status, Status::Running | Status::Restarting)
}

/// The sentence in lists: `Up 3 minutes`.
pub(super) fn sentence(state: &StateView, now: SystemTime) -> String {
    let since = |moment: Option<SystemTime>| human(now, moment);
    match state.status {
        Status::Created => "Created".to_owned(),
        Status::Running => format!("Up {}", since(state.started)),
        Status::Restarting => {
            format!(
                "Restarting ({}) {} ago",
                state.exit_code,
                since(state.finished)
            )
        }
        Status::Removing => "Removal In Progress".to_owned(),
        Status::Exited => format!("Exited ({}) {} ago", state.exit_code, since(state.finished)),
        Status::Dead => "Dead".to_owned(),
    }
}

/// `HumanDuration` of go-units.
fn human(now: SystemTime, then: Option<SystemTime>) -> String {
    let seconds = then
        .map_or(0, |then| time::unix(now) - time::unix(then))
        .max(0);
    let (minutes, hours) = (seconds / 60, (seconds + 1800) / 3600);
    match seconds {
        0 => "Less than a second".to_owned(),
        1 => "1 second".to_owned(),
        2..60 => format!("{seconds} seconds"),
        _ if minutes == 1 => "About a minute".to_owned(),
        _ if minutes < 60 => format!("{minutes} minutes"),
        _ if hours == 1 => "About an hour".to_owned(),
        _ if hours < 48 => format!("{hours} hours"),
        _ if hours < 24 * 7 * 2 => format!("{} days", hours / 24),
        _ if hours < 24 * 30 * 2 => format!("{} weeks", hours / 24 / 7),
        _ if hours < 24 * 365 * 2 => format!("{} months", hours / 24 / 30),
        _ => format!("{} years", hours / 24 / 365),
    }
}

#[cfg(test)]
mod tests {
    use super::human;
    use std::time::{Duration, UNIX_EPOCH};

    #[test]
    fn durations_read_as_dockers() {
        for (seconds, text) in [
            (0, "Less than a second"),
            (1, "1 second"),
            (59, "59 seconds"),
            (60, "About a minute"),
            (120, "2 minutes"),
            (3_599, "59 minutes"),
            (3_600, "About an hour"),
            (5_400, "2 hours"),
            (47 * 3_600, "47 hours"),
            (48 * 3_600, "2 days"),
            (14 * 86_400, "2 weeks"),
            (60 * 86_400, "2 months"),
            (730 * 86_400, "2 years"),
        ] {
            let now = UNIX_EPOCH + Duration::from_secs(seconds);
            assert_eq!(human(now, Some(UNIX_EPOCH)), text, "{seconds}");
        }
    }
}

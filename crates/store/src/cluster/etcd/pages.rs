//! All records below a prefix, read page by page as they were at one revision.
//!
//! Owns the pages and their bounds: etcd sends nothing of an answer before all of it is there, so
//! that one answer with everything would come too late, or never, where there is much. It must not
//! know what is followed from there on.

use super::{
    super::{ClusterError, Record},
    STORE,
    ask::Asker,
    codec::{self, Keys},
};
use serde_json::{Value, json};
use std::{
    hash::{BuildHasher, RandomState},
    thread,
    time::{Duration, Instant},
};

/// How many records are asked for at once.
const PAGE: usize = 1000;

/// How long all pages together may take, begun anew or not.
const ALL: Duration = Duration::from_secs(30);

/// How long to wait at most before all is begun anew for the first time; twice as long each time after.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// The longest of these.
const LONGEST_PAUSE: Duration = Duration::from_millis(3200);

/// The records below a prefix in the order of their keys, and the head of the first page, which
/// tells the revision that they are of.
pub(super) fn all(
    asker: &Asker,
    keys: &Keys,
    prefix: &str,
) -> Result<(Vec<Record>, Value), ClusterError> {
    let end = Instant::now() + ALL;
    until_read(
        end,
        || at_one_revision(asker, keys, prefix, end),
        |pause| thread::sleep(pause.mul_f64(drawn())),
    )
}

/// Reads anew what was lost halfway, the later the more often it was: whatever compacts so often, or the
/// servers that change leaders, are not asked without a break by every host.
fn until_read<T>(
    end: Instant,
    mut read: impl FnMut() -> Result<T, ClusterError>,
    mut wait: impl FnMut(Duration),
) -> Result<T, ClusterError> {
    let mut pause = FIRST_PAUSE;
    loop {
        let reason = match read() {
            Err(ClusterError::Lost { reason, .. }) => reason,
            read => return read,
        };
        let left = end.saturating_duration_since(Instant::now());
        if left <= pause {
            return Err(late(&reason));
        }
        // The first page of another attempt tells the revision that there is by then.
        wait(pause);
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// A part of one, from a half, that differs among hosts and attempts.
fn drawn() -> f64 {
    // Keys of the standard library's hashing are random, and others each time.
    let bits = RandomState::new().hash_one(());
    0.5 + 0.5 * (f64::from(bits as u32) / f64::from(u32::MAX))
}

/// Gives `Lost` where the revision, or the history that it is of, is gone before the last page.
fn at_one_revision(
    asker: &Asker,
    keys: &Keys,
    prefix: &str,
    end: Instant,
) -> Result<(Vec<Record>, Value), ClusterError> {
    let (mut start, after) = keys.below(prefix);
    let mut ask = json!({"range_end": codec::encode(after), "limit": PAGE.to_string()});
    let mut records = Vec::new();
    let mut head = Value::Null;
    loop {
        ask["key"] = codec::encode(&start).into();
        let mut answer = asker.read("/v3/kv/range", &ask)?;
        let of_page = answer["header"].take();
        if head.is_null() {
            ask["revision"] = of_page["revision"].clone();
            head = of_page;
        } else if history(&head) != history(&of_page) {
            // What is brought back from a backup counts the same revisions anew.
            return Err(ClusterError::Lost {
                store: STORE,
                reason: "another server leads by now".to_owned(),
            });
        }
        records.append(&mut keys.records(&answer)?);
        let Some(last) = records.last().filter(|_| answer["more"] == true) else {
            return Ok((records, head));
        };
        if Instant::now() >= end {
            return Err(late("all records were not read in time"));
        }
        start = keys.after(&last.key);
    }
}

/// Whose revisions they are.
fn history(head: &Value) -> [&Value; 2] {
    [&head["cluster_id"], &head["raft_term"]]
}

fn late(reason: &str) -> ClusterError {
    ClusterError::Unavailable {
        store: STORE,
        reason: reason.to_owned(),
    }
}

#[cfg(test)]
mod tests;

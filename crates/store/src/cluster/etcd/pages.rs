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
use std::time::{Duration, Instant};

/// How many records are asked for at once.
const PAGE: usize = 1000;

/// How long all pages together may take, begun anew or not.
const ALL: Duration = Duration::from_secs(30);

/// The records below a prefix in the order of their keys, and the head of the first page, which
/// tells the revision that they are of.
pub(super) fn all(
    asker: &Asker,
    keys: &Keys,
    prefix: &str,
) -> Result<(Vec<Record>, Value), ClusterError> {
    let end = Instant::now() + ALL;
    loop {
        match at_one_revision(asker, keys, prefix, end) {
            // The first page of another attempt tells the revision that there is by then.
            Err(ClusterError::Lost { .. }) if Instant::now() < end => {}
            Err(ClusterError::Lost { reason, .. }) => return Err(late(&reason)),
            read => return read,
        }
    }
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

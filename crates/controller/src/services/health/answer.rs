//! What checks answered, and the last answers of each endpoint.

use crate::{registry::lock, view::CheckView};
use std::{
    collections::{BTreeMap, VecDeque},
    sync::Mutex,
    time::{Duration, SystemTime},
};
use vw_model::EndpointId;

/// Answers that are kept of an endpoint, as Docker's `maxLogEntries` (moby `daemon/health.go`).
const KEPT: usize = 5;

/// How a check ended, or why this host could not make it.
pub(super) type Outcome = Result<Answer, String>;

/// What a check says of an endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    /// 0 where all is well.
    pub(super) code: i32,
    /// What was said, or why nothing was.
    pub(super) output: String,
}

impl Answer {
    pub(super) fn well(output: impl Into<String>) -> Self {
        Self {
            code: 0,
            output: output.into(),
        }
    }

    pub(super) fn failed(why: impl Into<String>) -> Self {
        Self {
            code: 1,
            output: why.into(),
        }
    }

    /// Docker's sentence, with what was said until then, and its status.
    pub(super) fn late(timeout: Duration, said: &[u8]) -> Self {
        let colon = if said.is_empty() { "" } else { ": " };
        let said = String::from_utf8_lossy(said);
        Self {
            code: -1,
            output: format!("Health check exceeded timeout ({timeout:?}){colon}{said}"),
        }
    }

    pub(super) const fn is_well(&self) -> bool {
        self.code == 0
    }
}

/// The last answers.
#[derive(Default)]
pub(super) struct Answers(Mutex<BTreeMap<EndpointId, VecDeque<CheckView>>>);

impl Answers {
    pub(super) fn note(&self, endpoint: EndpointId, start: SystemTime, answer: Answer) {
        let mut all = lock(&self.0);
        let kept = all.entry(endpoint).or_default();
        if kept.len() >= KEPT {
            kept.pop_front();
        }
        kept.push_back(CheckView {
            start,
            end: SystemTime::now(),
            code: answer.code,
            output: answer.output,
        });
    }

    /// Those of an endpoint, the oldest first.
    pub(super) fn of(&self, endpoint: EndpointId) -> Vec<CheckView> {
        let all = lock(&self.0);
        all.get(&endpoint).into_iter().flatten().cloned().collect()
    }

    /// Forgets all of an endpoint that nobody asks any more.
    pub(super) fn forget(&self, endpoint: EndpointId) {
        lock(&self.0).remove(&endpoint);
    }
}

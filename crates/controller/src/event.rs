//! What happened, in Docker's words, for those who listen.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Mutex, PoisonError,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    time::SystemTime,
};

/// What kind of object something happened to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EventType {
    /// A container or an adopted sandbox.
    Container,
    /// A network.
    Network,
    /// An image.
    Image,
    /// The daemon.
    Daemon,
    /// A service.
    Service,
}

impl EventType {
    /// Docker's word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Container => "container",
            Self::Network => "network",
            Self::Image => "image",
            Self::Daemon => "daemon",
            Self::Service => "service",
        }
    }
}

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// What kind of object.
    pub kind: EventType,
    /// What happened: `create`, `connect`, `die`, … as Docker says it.
    pub action: String,
    /// The object's id.
    pub id: String,
    /// `name`, `image`, `exitCode`, `container`, `type`, … as Docker gives them, and labels.
    pub attributes: BTreeMap<String, String>,
    /// When.
    pub time: SystemTime,
}

/// How many events are kept for those who ask for the past, as Docker keeps.
const KEPT: usize = 256;

/// How many events a listener may lag behind before it is cut off.
const LAG: usize = 4096;

/// Tells listeners what happens, and keeps the recent past.
#[derive(Debug, Default)]
pub(crate) struct EventBus {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    recent: VecDeque<Event>,
    listeners: Vec<SyncSender<Event>>,
}

impl EventBus {
    /// Tells everyone; a listener that lags is cut off rather than waited for.
    pub(crate) fn publish(&self, event: Event) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner
            .listeners
            .retain(|listener| listener.try_send(event.clone()).is_ok());
        if inner.recent.len() == KEPT {
            inner.recent.pop_front();
        }
        inner.recent.push_back(event);
    }

    /// What happens from now on.
    pub(crate) fn subscribe(&self) -> Receiver<Event> {
        let (sender, receiver) = sync_channel(LAG);
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.listeners.push(sender);
        receiver
    }

    /// What happened lately, oldest first.
    pub(crate) fn recent(&self) -> Vec<Event> {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.recent.iter().cloned().collect()
    }
}

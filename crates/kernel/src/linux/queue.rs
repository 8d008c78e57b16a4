//! rtnetlink requests of one namespace that wait for their common send.

use crate::{
    netlink::{Batch, Refusal},
    netns::{Namespaces, Place},
};
use std::{collections::BTreeSet, io, sync::Arc};
use vw_hoststate::Netns;
use vw_model::IfName;

/// Which refusal of a request is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Forgive {
    /// Any counts.
    Nothing,
    /// What is to be made is there: it must be compared.
    Exists,
    /// What is to be removed or taken out of service is gone.
    Gone,
    /// The link is no port of a bridge.
    NoPort,
    /// What is to be removed from a bridge is gone, or the link is no port of one.
    Unbridged,
    /// What is to be made is there, whoever made it.
    Present,
}

impl Forgive {
    /// Whether a refusal means that there is nothing to do.
    pub(super) fn covers(self, errno: i32) -> bool {
        let gone = [
            libc::ENODEV,
            libc::ENXIO,
            libc::ENOENT,
            libc::ESRCH,
            libc::EADDRNOTAVAIL,
        ];
        match self {
            Self::Gone => gone.contains(&errno),
            Self::NoPort => errno == libc::EOPNOTSUPP,
            Self::Unbridged => Self::Gone.covers(errno) || Self::NoPort.covers(errno),
            Self::Present => errno == libc::EEXIST,
            Self::Nothing | Self::Exists => false,
        }
    }
}

/// What a request is for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Note {
    /// The step, by its place in the plan.
    pub(super) step: usize,
    /// What may happen to it.
    pub(super) forgive: Forgive,
}

/// What the kernel said to a request.
pub(super) type Answer = (Note, Option<Refusal>);

/// Requests for one namespace.
#[derive(Debug)]
pub(super) struct Queue {
    /// The namespace.
    pub(super) netns: Netns,
    place: Arc<Place>,
    batch: Batch,
    notes: Vec<Note>,
    /// Names of links whose index is unknown until the requests went out.
    touched: BTreeSet<IfName>,
    /// The link that was last asked for: most requests in a row are about one.
    last: Option<(IfName, u32)>,
    /// Namespaces whose descriptors the requests name.
    held: Vec<Arc<Place>>,
}

impl Queue {
    pub(super) fn new(netns: Netns, place: Arc<Place>) -> Self {
        Self {
            netns,
            place,
            batch: Batch::default(),
            notes: Vec::new(),
            touched: BTreeSet::new(),
            last: None,
            held: Vec::new(),
        }
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.notes.is_empty()
    }

    /// Where the requests go.
    pub(super) fn place(&self) -> Arc<Place> {
        Arc::clone(&self.place)
    }

    /// Adds a request for a step.
    pub(super) fn push(&mut self, step: usize, forgive: Forgive, request: impl FnOnce(&mut Batch)) {
        request(&mut self.batch);
        self.notes.push(Note { step, forgive });
    }

    /// Tells that a request makes, renames or removes the link of that name.
    pub(super) fn touch(&mut self, name: &IfName) {
        self.touched.insert(name.clone());
    }

    /// Whether a request does.
    pub(super) fn touches(&self, name: &IfName) -> bool {
        self.touched.contains(name)
    }

    /// Keeps a namespace open until the requests went out.
    pub(super) fn hold(&mut self, place: Arc<Place>) {
        self.held.push(place);
    }

    /// The index of a link, as things stand before the requests.
    pub(super) fn index(
        &mut self,
        namespaces: &Namespaces,
        name: &IfName,
    ) -> io::Result<Option<u32>> {
        if let Some((last, index)) = &self.last
            && last == name
        {
            return Ok(Some(*index));
        }
        let found = namespaces.with_socket(&self.place, |socket| {
            // An unknown name is no fault of the socket's.
            Ok(socket.index_of(name.as_str()))
        })?;
        match found {
            Ok(index) => {
                self.last = Some((name.clone(), index));
                Ok(Some(index))
            }
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Sends the requests; each one's note with its refusal.
    pub(super) fn send(
        mut self,
        namespaces: &Namespaces,
    ) -> Result<Vec<Answer>, (Note, io::Error)> {
        let Some(first) = self.notes.first().copied() else {
            return Ok(Vec::new());
        };
        let batch = &mut self.batch;
        let refusals = namespaces
            .with_socket(&self.place, |socket| socket.transact(batch))
            .map_err(|error| (first, error))?;
        let mut answers: Vec<_> = self.notes.into_iter().map(|note| (note, None)).collect();
        for refusal in refusals {
            if let Some((_, answer)) = answers.get_mut(refusal.message) {
                *answer = Some(refusal);
            }
        }
        Ok(answers)
    }
}

//! Who is asked when, on the thread that asks.
//!
//! Owns that what happens to one endpoint costs the same however many others there are: who waits
//! stands in order of time, and only checks that go on are waited for. An endpoint that changes to and
//! fro must be well more often in a row each time before it is led to again.

use super::{
    Changed, Due, Patient, Patients, Place,
    answer::{Answer, Answers},
    check::{Asking, Check},
    command::Command,
    lane::Lane,
    verdict::Verdict,
};
use crate::{
    Controller, command::ServiceReport, controller::WeakController, services::roster::Health,
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::{
    collections::{BTreeMap, BTreeSet},
    os::fd::OwnedFd,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};
use vw_model::{EndpointId, Probe, ServiceId};

/// How many commands run at once: each takes an OCI runtime and a conmon, so that the first checks
/// of many members would take all of the host.
const COMMANDS: usize = 8;

/// How many sockets are open at once: half of what a process may open where nobody said more. Those
/// of endpoints that are well are open for a moment.
const SOCKETS: usize = 512;

/// When an endpoint that starts is asked once more, each time after twice as long until that is its
/// interval: it serves soon after its process does, and what it fails until then counts for nothing.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// When this host tries again to ask whom it could not.
const PUT_OFF: Duration = Duration::from_secs(1);

/// Within what time after the daemon's start those are first asked who were well before.
const SPREAD: Duration = Duration::from_secs(30);

/// A check that is late by less than this, or than its interval, is not spoken of.
const LATE: Duration = Duration::from_secs(5);

/// For how long this host must have been able to ask before it says once more that it is not.
const QUIET: Duration = Duration::from_secs(60);

/// An endpoint that is asked again and again.
struct Watched {
    patient: Patient,
    joined: Instant,
    next: Instant,
    /// After how long it is asked again that was never well, while that is less than its interval.
    pause: Option<Duration>,
    running: Option<Check>,
    verdict: Verdict,
}

impl Watched {
    fn new(patient: Patient, health: Health, now: Instant) -> Self {
        Self {
            joined: now,
            next: now,
            pause: (health == Health::Starting).then_some(FIRST_PAUSE),
            running: None,
            verdict: Verdict::new(health, patient.spec.retries),
            patient,
        }
    }

    /// Whether another patient is this one but for the times at which it is asked.
    fn is(&self, other: &Patient) -> bool {
        let Patient {
            sandbox,
            addr,
            spec,
        } = &self.patient;
        (sandbox, addr, &spec.probe) == (&other.sandbox, &other.addr, &other.spec.probe)
    }

    /// When it is asked next, after such an answer; tells whether it counts as one that starts.
    fn plan(&mut self, well: bool, now: Instant) -> bool {
        let interval = self.patient.spec.interval;
        let early = self.pause.filter(|pause| !well && *pause < interval);
        self.next = now + early.unwrap_or(interval);
        self.pause = early.map(|pause| pause * 2);
        early.is_some() || now < self.joined + self.patient.spec.start_period
    }
}

#[derive(Default)]
struct Lanes {
    sockets: Lane,
    commands: Lane,
}

impl Lanes {
    const fn of(&mut self, probe: &Probe) -> &mut Lane {
        match probe {
            Probe::Exec { .. } => &mut self.commands,
            Probe::Tcp { .. } | Probe::Http { .. } => &mut self.sockets,
        }
    }
}

/// All who are asked, and what goes on.
#[derive(Default)]
struct Rounds {
    watched: BTreeMap<Place, Watched>,
    lanes: Lanes,
    /// Commands for whose answer nobody waits any more, and for which service each asked. An endpoint
    /// is asked again when its own has ended, so that no two are in each other's way.
    ending: BTreeMap<EndpointId, (ServiceId, Command)>,
    /// When this host last could not ask somebody.
    hindered: Option<Instant>,
    /// When it last asked somebody later than by an interval.
    late: Option<Instant>,
    answers: Arc<Answers>,
}

/// Asks until there is no controller; `first` those of these services.
pub(super) fn ask_all(
    controller: &WeakController,
    due: &Due,
    answers: Arc<Answers>,
    first: &BTreeSet<ServiceId>,
) {
    let mut rounds = Rounds {
        answers,
        ..Rounds::default()
    };
    if let Some(controller) = controller.upgrade() {
        for service in first {
            rounds.take_first(
                *service,
                controller.patients(*service, None),
                Instant::now(),
            );
        }
    }
    loop {
        if let Some(changed) = due.take() {
            let Some(controller) = controller.upgrade() else {
                return;
            };
            rounds.refresh(changed, |service, only| controller.patients(service, only));
        }
        let now = Instant::now();
        let ask = rounds.due(now);
        if !ask.is_empty()
            && let Some(controller) = controller.upgrade()
        {
            rounds.ask(&controller, ask);
        }
        let ready = rounds.wait(&due.wake, now);
        for (place, well) in rounds.look(ready) {
            let Some(controller) = controller.upgrade() else {
                return;
            };
            rounds.tell(&controller, place, well);
        }
    }
}

impl Rounds {
    /// Takes up who is to be asked at the daemon's start: who was well before not all at once, nor
    /// ever after.
    fn take_first(&mut self, service: ServiceId, patients: Patients, now: Instant) {
        for (id, (patient, health)) in patients {
            let mut one = Watched::new(patient, health, now);
            if health == Health::Healthy {
                let [a, b, ..] = *id.0.as_bytes();
                let part = f64::from(u16::from_be_bytes([a, b])) / f64::from(u16::MAX);
                one.next = now + SPREAD.min(one.patient.spec.interval).mul_f64(part);
            }
            self.add((service, id), one);
        }
    }

    /// Takes up what changed, by looking at that alone.
    fn refresh(
        &mut self,
        changed: Changed,
        look: impl Fn(ServiceId, Option<EndpointId>) -> Patients,
    ) {
        let Changed {
            services,
            mut members,
        } = changed;
        members.retain(|(service, _)| !services.contains(service));
        for service in services {
            let mut patients = look(service, None);
            for place in self.of(service) {
                let found = patients.remove(&place.1);
                self.take(place, found);
            }
            for (id, found) in patients {
                self.take((service, id), Some(found));
            }
        }
        for place in members {
            let found = look(place.0, Some(place.1)).remove(&place.1);
            self.take(place, found);
        }
    }

    /// Who is asked of a service.
    fn of(&self, service: ServiceId) -> Vec<Place> {
        let [first, last] = [[0; 32], [u8::MAX; 32]].map(EndpointId::from_bytes);
        let of = self.watched.range((service, first)..=(service, last));
        of.map(|(place, _)| *place).collect()
    }

    /// Goes on with one who is asked as before, and begins with one who is new, at once.
    fn take(&mut self, place: Place, found: Option<(Patient, Health)>) {
        let now = Instant::now();
        let Some((patient, health)) = found else {
            self.drop(place);
            self.answers.forget(place.1);
            return;
        };
        match self.watched.get_mut(&place) {
            Some(one) if one.is(&patient) => {
                // It was to leave, and stays; or what was told of it did not count.
                let anew = !one.verdict.agree(health) && health == Health::Starting;
                self.time(place, patient, now);
                if anew {
                    self.start(place, now);
                }
            }
            _ => {
                self.drop(place);
                self.add(place, Watched::new(patient, health, now));
            }
        }
    }

    /// Has one be asked at other times from now on: what it answered until then counts.
    fn time(&mut self, place: Place, patient: Patient, now: Instant) {
        let sooner = now + patient.spec.interval;
        let Some(one) = self.watched.get_mut(&place) else {
            return;
        };
        one.verdict.allow(patient.spec.retries);
        one.patient = patient;
        if one.running.is_none() {
            let next = one.next.min(sooner);
            self.wait_until(place, next);
        }
    }

    /// Has one be asked at once, as who has just come.
    fn start(&mut self, place: Place, now: Instant) {
        let Some(one) = self.watched.get_mut(&place) else {
            return;
        };
        (one.joined, one.pause) = (now, Some(FIRST_PAUSE));
        if one.running.is_none() {
            self.wait_until(place, now);
        }
    }

    fn add(&mut self, place: Place, one: Watched) {
        let lane = self.lanes.of(&one.patient.spec.probe);
        lane.wait(place, one.next);
        self.watched.insert(place, one);
    }

    fn drop(&mut self, place: Place) {
        let Some(one) = self.watched.remove(&place) else {
            return;
        };
        let lane = self.lanes.of(&one.patient.spec.probe);
        lane.leave(place, one.next);
        lane.end(place);
        dismiss(&mut self.ending, place, one.running);
    }

    /// Has one that is not asked now asked then.
    fn wait_until(&mut self, place: Place, next: Instant) {
        let Some(one) = self.watched.get_mut(&place) else {
            return;
        };
        let former = std::mem::replace(&mut one.next, next);
        let lane = self.lanes.of(&one.patient.spec.probe);
        lane.leave(place, former);
        lane.wait(place, next);
    }

    /// How many more can be asked at once, in each way.
    fn rooms(&self) -> [(&Lane, usize); 2] {
        // What nobody waits for takes a runtime and a thread as well, until it has ended.
        let Lanes { sockets, commands } = &self.lanes;
        let commanded = commands.running().len() + self.ending.len();
        [
            (sockets, SOCKETS.saturating_sub(sockets.running().len())),
            (commands, COMMANDS.saturating_sub(commanded)),
        ]
    }

    /// Whom to ask now, and no more than there is room for: where others wait besides, first those of
    /// whose service the fewest are asked, so that none that hangs holds up another; among those, who
    /// waits longest.
    fn due(&self, now: Instant) -> Vec<Place> {
        let by_command = [false, true];
        let lanes = self.rooms().into_iter().zip(by_command);
        let due = lanes.flat_map(|((lane, room), by_command)| {
            // One that does not end takes a place as long as one that is waited for.
            let mut besides = BTreeMap::new();
            for (service, _) in self.ending.values().filter(|_| by_command) {
                *besides.entry(*service).or_default() += 1;
            }
            let held = |(_, id): Place| by_command && self.ending.contains_key(&id);
            lane.choose(now, room, &besides, held)
        });
        due.collect()
    }

    fn ask(&mut self, controller: &Controller, places: Vec<Place>) {
        for place in places {
            let Some(one) = self.watched.get(&place) else {
                continue;
            };
            match Check::begin(controller, place.1, &one.patient) {
                Ok(check) => self.begin(place, check),
                // What one lacks the others lack as well: they are tried when something ended.
                Err(why) => return self.put_off(place, &why),
            }
        }
    }

    fn begin(&mut self, place: Place, check: Check) {
        let now = Instant::now();
        let Some(one) = self.watched.get_mut(&place) else {
            return;
        };
        if now > one.next + one.patient.spec.interval.max(LATE) && is_news(&mut self.late, now) {
            tracing::warn!(
                "checks of endpoints wait for others, for more than their interval: at most {COMMANDS} commands and {SOCKETS} connections are made at once; give longer intervals or shorter timeouts"
            );
        }
        one.running = Some(check);
        let lane = self.lanes.of(&one.patient.spec.probe);
        lane.leave(place, one.next);
        lane.begin(place);
    }

    /// Has one asked soon that this host could not ask: that says nothing of it.
    fn put_off(&mut self, place: Place, why: &str) {
        let now = Instant::now();
        if is_news(&mut self.hindered, now) {
            tracing::warn!(
                "this host cannot ask endpoints whether they are well, which count as they did until it can: {why}"
            );
        }
        self.wait_until(place, now + PUT_OFF);
    }

    /// Waits until something can be read or written, or is due that was not at `now`; whose checks are
    /// to be looked at. Who was and is not asked waits for the end of another.
    fn wait(&self, wake: &OwnedFd, now: Instant) -> Vec<Place> {
        let mut fds = vec![PollFd::new(wake, PollFlags::IN)];
        let ending = self.ending.values();
        fds.extend(ending.map(|(_, command)| PollFd::new(command.told(), PollFlags::IN)));
        let before = fds.len();
        let mut running = Vec::new();
        for place in self
            .rooms()
            .into_iter()
            .flat_map(|(lane, _)| lane.running())
        {
            let one = self.watched.get(place);
            if let Some(check) = one.and_then(|one| one.running.as_ref()) {
                fds.extend(check.poll());
                running.push((*place, check, check.poll().is_some()));
            }
        }
        let open = self.rooms().into_iter().filter(|(_, room)| *room > 0);
        let next = open.filter_map(|(lane, _)| lane.next_after(now));
        let deadlines = running.iter().map(|(_, check, _)| check.deadline());
        let left = next
            .chain(deadlines)
            .min()
            .map(|moment| moment.saturating_duration_since(Instant::now()));
        let timeout = left.and_then(|left| Timespec::try_from(left).ok());
        // After an interruption nothing may be told, and all is waited for anew.
        let _ = poll(&mut fds, timeout.as_ref());
        let now = Instant::now();
        let mut told = fds[before..].iter().map(|fd| !fd.revents().is_empty());
        running.retain(|(_, check, polled)| {
            // Of what has nothing to be polled it is known already how it ended.
            let told = !polled || told.next().unwrap_or_default();
            told || check.deadline() <= now
        });
        running.into_iter().map(|(place, ..)| place).collect()
    }

    /// Forgets commands that have ended: whom they kept from being asked waits for others only from
    /// now on.
    fn let_end(&mut self, now: Instant) {
        let ended = self
            .ending
            .extract_if(.., |_, (_, command)| command.has_ended());
        let ended: Vec<Place> = ended.map(|(id, (service, _))| (service, id)).collect();
        for place in ended {
            let held = self.watched.get(&place).is_some_and(|one| {
                let by_command = matches!(one.patient.spec.probe, Probe::Exec { .. });
                by_command && one.running.is_none() && one.next < now
            });
            if held {
                self.wait_until(place, now);
            }
        }
    }

    /// What became of checks: whose members are other than before.
    fn look(&mut self, ready: Vec<Place>) -> Vec<(Place, bool)> {
        let now = Instant::now();
        self.let_end(now);
        let mut changed = Vec::new();
        for place in ready {
            let Some(one) = self.watched.get_mut(&place) else {
                continue;
            };
            let Some(check) = &mut one.running else {
                continue;
            };
            let probe = &one.patient.spec.probe;
            let Some(outcome) = check.outcome(probe, now) else {
                continue;
            };
            let start = check.start;
            self.lanes.of(probe).end(place);
            dismiss(&mut self.ending, place, one.running.take());
            match outcome {
                Ok(answer) => {
                    let well = self.take_answer(place, start, answer, now);
                    changed.extend(well.map(|well| (place, well)));
                }
                Err(why) => self.put_off(place, &why),
            }
        }
        changed
    }

    fn take_answer(
        &mut self,
        place: Place,
        start: SystemTime,
        answer: Answer,
        now: Instant,
    ) -> Option<bool> {
        let one = self.watched.get_mut(&place)?;
        let well = answer.is_well();
        let starting = one.plan(well, now);
        let told = one.verdict.take(well, starting, now);
        let next = one.next;
        self.answers.note(place.1, start, answer);
        self.wait_until(place, next);
        told
    }

    fn tell(&mut self, controller: &Controller, place: Place, well: bool) {
        let Some(one) = self.watched.get_mut(&place) else {
            return;
        };
        let report = ServiceReport {
            endpoint: place.1,
            probe: one.patient.spec.probe.clone(),
            well,
        };
        if let Err(error) = controller.submit(report) {
            // It is told again with the next answer.
            tracing::warn!("a health check has no effect: {}", error.chain());
            one.verdict.take_back();
        }
    }
}

/// Whether what happens now has not for so long that it is to be said.
fn is_news(last: &mut Option<Instant>, now: Instant) -> bool {
    let before = last.replace(now);
    before.is_none_or(|before| now >= before + QUIET)
}

/// Nobody waits for a check any more.
fn dismiss(
    ending: &mut BTreeMap<EndpointId, (ServiceId, Command)>,
    (service, id): Place,
    check: Option<Check>,
) {
    if let Some(Check {
        by: Asking::Command(command),
        ..
    }) = check
        && !command.has_ended()
    {
        command.leave();
        ending.insert(id, (service, command));
    }
}

#[cfg(test)]
mod tests;

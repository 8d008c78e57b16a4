//! One server's process: started, killed, stopped for a while, started again.
//!
//! Owns the process and nothing of what it serves.

use super::Place;
use crate::{Running, poll, process};
use rustix::process::Signal;
use std::{path::PathBuf, process::Command, time::Duration};

/// A start takes a second; this is for a machine that does much else.
const START: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) place: Place,
    words: Vec<String>,
    log: PathBuf,
    running: Option<Running>,
}

impl Server {
    /// Starts a program with its arguments.
    #[track_caller]
    pub(crate) fn start(place: &Place, log: PathBuf, words: Vec<String>) -> Self {
        let mut server = Self {
            place: place.clone(),
            words,
            log,
            running: None,
        };
        server.restart();
        server
    }

    /// Starts it again, after [`Server::kill`].
    #[track_caller]
    pub(crate) fn restart(&mut self) {
        let (program, arguments) = self.words.split_first().expect("a command has a program");
        let mut command = Command::new(program);
        command.args(arguments);
        self.running = Some(self.place.spawn(&mut command, &self.log));
    }

    /// Kills it (SIGKILL); nothing when it does not run.
    pub(crate) fn kill(&mut self) {
        self.running = None;
    }

    /// Stops it (SIGSTOP): its connections stay, and nothing answers.
    pub(crate) fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on.
    pub(crate) fn resume(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        if let Some(running) = &self.running {
            process::signal(running.pid(), signal);
        }
    }

    /// Waits until it is ready; fails the test, with its log, when it ends or takes too long.
    #[track_caller]
    pub(crate) fn wait_until(&mut self, mut ready: impl FnMut() -> bool) {
        let running = self.running.as_mut().expect("it was started");
        let ended = poll(START, || match running.ended() {
            Some(status) => Some(Err(format!("ended with {status}"))),
            None => ready().then_some(Ok(())),
        });
        if let Err(error) = ended.unwrap_or_else(|| Err(format!("not ready within {START:?}"))) {
            panic!("{}: {error}:\n{}", self.words[0], running.output());
        }
    }
}

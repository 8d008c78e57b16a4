//! Output and input of containers and execs, as channels that surfaces carry on.

use crate::{
    Controller,
    command::{Attached, Chunk, ContainerAttach, ContainerLogs, ContainerResize},
    containers::must_run,
    registry::{Sandbox, lock},
};
use std::{
    io::{self, Write},
    sync::{
        Arc, Condvar, Mutex, PoisonError,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
};
use vw_model::{Error, Result};
use vw_runtime::{ATTACH_MESSAGE, AttachStream, LogOptions, Stream, WindowSize};

/// Pieces of output that may wait for a slow client before the container waits too.
const BACKLOG: usize = 64;

/// Somebody who attached before the container was started.
pub(crate) struct PendingAttach {
    output: SyncSender<io::Result<Chunk>>,
    input: Arc<InputSlot>,
}

/// Where an input writer finds its connection, once there is one.
#[derive(Default)]
struct InputSlot {
    state: Mutex<Slot>,
    changed: Condvar,
}

#[derive(Default)]
enum Slot {
    #[default]
    Waiting,
    Open(AttachStream),
    /// The writer left before there was a connection: its end is passed on at once.
    Left,
    Closed,
}

/// Standard input of an attached client; dropping it says that no more comes, where the process
/// is to hear of that: never on a terminal, which the next client finds open.
struct Input {
    slot: Arc<InputSlot>,
    ends: bool,
}

impl Write for Input {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let mut slot = lock(&self.slot.state);
        loop {
            match &*slot {
                Slot::Open(stream) => {
                    let stream = stream.clone();
                    drop(slot);
                    return stream
                        .send(data)
                        .map(|()| data.len())
                        .map_err(|_| io::ErrorKind::BrokenPipe.into());
                }
                Slot::Left | Slot::Closed => return Err(io::ErrorKind::BrokenPipe.into()),
                Slot::Waiting => {
                    slot = self
                        .slot
                        .changed
                        .wait(slot)
                        .unwrap_or_else(PoisonError::into_inner)
                }
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Input {
    fn drop(&mut self) {
        let mut slot = lock(&self.slot.state);
        match std::mem::replace(&mut *slot, Slot::Left) {
            Slot::Open(stream) if self.ends => stream.close_stdin(),
            Slot::Open(_) => {}
            Slot::Closed => *slot = Slot::Closed,
            Slot::Waiting if !self.ends => *slot = Slot::Closed,
            Slot::Waiting | Slot::Left => {}
        }
    }
}

impl Drop for PendingAttach {
    fn drop(&mut self) {
        let mut slot = lock(&self.input.state);
        if matches!(*slot, Slot::Waiting) {
            *slot = Slot::Closed;
        }
        self.input.changed.notify_all();
    }
}

impl Controller {
    pub(crate) fn container_attach(&self, request: ContainerAttach) -> Result<Attached> {
        let sandbox = self.sandbox(&request.container)?;
        sandbox.must_be_container("attach to")?;
        let (tty, open_stdin, ends) = {
            let state = sandbox.state();
            let record = state.container.as_ref();
            record
                .map(|r| &r.container)
                .map(|spec| (spec.tty, spec.open_stdin, spec.stdin_once && !spec.tty))
                .unwrap_or_default()
        };
        if request.logs && !request.stream {
            return self.read_logs(&sandbox, &all_output());
        }
        let slot = Arc::new(InputSlot::default());
        let (sender, output) = sync_channel(BACKLOG);
        let input: Option<Box<dyn Write + Send>> = if request.stdin && open_stdin {
            let slot = slot.clone();
            Some(Box::new(Input { slot, ends }))
        } else {
            None
        };
        let pending = PendingAttach {
            output: sender,
            input: slot,
        };
        // In one step: a start that comes between would look for who waits too early.
        let waits = {
            let mut state = sandbox.state();
            match state.running {
                Some(_) => Some(pending),
                None => {
                    state.pending.push(pending);
                    None
                }
            }
        };
        if let Some(pending) = waits {
            let stream = self.runtime.attach(sandbox.id).map_err(Error::from)?;
            pump(stream, pending)?;
        }
        Ok(Attached {
            tty,
            output: forward(output),
            input,
        })
    }

    /// Connects those who attached before the start; the process waits for its start still.
    pub(crate) fn connect_pending(&self, sandbox: &Sandbox) -> Result<()> {
        let pending = std::mem::take(&mut sandbox.state().pending);
        for waiting in pending {
            let stream = self.runtime.attach(sandbox.id).map_err(Error::from)?;
            pump(stream, waiting)?;
        }
        Ok(())
    }

    pub(crate) fn container_logs(&self, request: ContainerLogs) -> Result<Attached> {
        let sandbox = self.sandbox(&request.container)?;
        sandbox.must_be_container("read the logs of")?;
        let asked = request.options;
        let running = sandbox.state().running.is_some();
        let options = LogOptions {
            follow: asked.follow && running,
            since: asked.since,
            until: asked.until,
            tail: asked.tail.map(|lines| lines as u64),
            stdout: asked.stdout,
            stderr: asked.stderr,
        };
        if asked.timestamps {
            self.read_logs_with(&sandbox, &options, true)
        } else {
            self.read_logs(&sandbox, &options)
        }
    }

    fn read_logs(&self, sandbox: &Sandbox, options: &LogOptions) -> Result<Attached> {
        self.read_logs_with(sandbox, options, false)
    }

    fn read_logs_with(
        &self,
        sandbox: &Sandbox,
        options: &LogOptions,
        timestamps: bool,
    ) -> Result<Attached> {
        let tty = sandbox
            .state()
            .container
            .as_ref()
            .is_some_and(|record| record.container.tty);
        let reader = self
            .runtime
            .logs(sandbox.id, options)
            .map_err(Error::from)?;
        let (sender, output) = sync_channel(BACKLOG);
        let read = move || {
            for entry in reader {
                let piece = entry.map_err(io::Error::other).map(|entry| {
                    let mut bytes = if timestamps {
                        format!("{} ", entry.timestamp()).into_bytes()
                    } else {
                        Vec::new()
                    };
                    bytes.extend_from_slice(&entry.data);
                    Chunk {
                        stderr: entry.stream == Stream::Stderr,
                        bytes,
                    }
                });
                if sender.send(piece).is_err() {
                    return;
                }
            }
        };
        spawn("logs", read)?;
        Ok(Attached {
            tty,
            output: forward(output),
            input: None,
        })
    }

    pub(crate) fn container_resize(&self, request: ContainerResize) -> Result<()> {
        let sandbox = self.sandbox(&request.container)?;
        let size = WindowSize {
            rows: request.height,
            cols: request.width,
        };
        sandbox.state().console = Some(size);
        must_run(&sandbox)?;
        self.runtime.resize(sandbox.id, size).map_err(Error::from)
    }
}

fn all_output() -> LogOptions {
    LogOptions {
        follow: false,
        since: None,
        until: None,
        tail: None,
        stdout: true,
        stderr: true,
    }
}

fn forward(output: Receiver<io::Result<Chunk>>) -> Receiver<io::Result<Chunk>> {
    output
}

/// Carries a connection's output to its client until either ends.
pub(crate) fn pump_to(stream: AttachStream, output: SyncSender<io::Result<Chunk>>) -> Result<()> {
    let carry = move || {
        let mut buffer = vec![0; ATTACH_MESSAGE];
        loop {
            let piece = match stream.recv(&mut buffer) {
                Ok(Some((from, count))) => Ok(Chunk {
                    stderr: from == Stream::Stderr,
                    bytes: buffer[..count].to_vec(),
                }),
                Ok(None) => return,
                Err(error) => Err(io::Error::other(error)),
            };
            let last = piece.is_err();
            if output.send(piece).is_err() || last {
                return stream.close();
            }
        }
    };
    spawn("attach", carry)
}

fn pump(stream: AttachStream, pending: PendingAttach) -> Result<()> {
    {
        let mut slot = lock(&pending.input.state);
        if matches!(*slot, Slot::Left) {
            stream.close_stdin();
        } else {
            *slot = Slot::Open(stream.clone());
        }
        pending.input.changed.notify_all();
    }
    pump_to(stream, pending.output.clone())
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Result<()> {
    let builder = thread::Builder::new()
        .name(name.to_owned())
        .stack_size(256 << 10);
    let refused = |e| Error::internal("thread-refused", "no thread for a stream").because(e);
    builder.spawn(run).map(|_| ()).map_err(refused)
}

/// A writer into a connection that stands; `ends` passes its end on.
pub(crate) fn writer(stream: AttachStream, ends: bool) -> Box<dyn Write + Send> {
    let slot = InputSlot {
        state: Mutex::new(Slot::Open(stream)),
        changed: Condvar::new(),
    };
    Box::new(Input {
        slot: Arc::new(slot),
        ends,
    })
}

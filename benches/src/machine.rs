//! What the figures were measured on, and where a process runs there.

use rustix::thread::{CpuSet, sched_setaffinity};
use serde::Serialize;
use std::{fmt, fs, io, time::Duration};

/// The machine, as a figure must name it.
#[derive(Debug, Serialize)]
pub(crate) struct Machine {
    kernel: String,
    processor: String,
    cores: usize,
    /// Seconds since 1970.
    measured_at: u64,
}

/// This machine, now.
pub(crate) fn describe() -> Machine {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpuinfo
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let now = std::time::UNIX_EPOCH.elapsed();
    Machine {
        kernel: rustix::system::uname()
            .release()
            .to_string_lossy()
            .into_owned(),
        processor: model.map_or("unknown", |(_, name)| name).to_owned(),
        cores: cores(),
        measured_at: now.map_or(0, |now| now.as_secs()),
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            kernel,
            processor,
            cores,
            ..
        } = self;
        write!(f, "Linux {kernel}, {cores} cores, {processor}")
    }
}

/// How many processors this process may use.
pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Keeps all threads of a process on one processor; threads that they start inherit it.
pub(crate) fn pin(pid: u32, processor: usize) -> io::Result<()> {
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let id = task?.file_name().to_string_lossy().parse().ok();
        match pin_thread(id.and_then(rustix::process::Pid::from_raw), processor) {
            // It ended meanwhile.
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => {}
            result => result?,
        }
    }
    Ok(())
}

/// Keeps a thread, the calling one where none is given, on one processor.
pub(crate) fn pin_thread(thread: Option<rustix::process::Pid>, processor: usize) -> io::Result<()> {
    let mut set = CpuSet::new();
    set.set(processor);
    Ok(sched_setaffinity(thread, &set)?)
}

/// The processor time that a process has used, over all its threads (proc(5), `schedstat`).
pub(crate) fn busy(pid: u32) -> io::Result<Duration> {
    let mut total = Duration::ZERO;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        // A thread that ends meanwhile takes its time along.
        let stat = fs::read_to_string(task?.path().join("schedstat")).unwrap_or_default();
        let nanos = stat.split(' ').next().and_then(|field| field.parse().ok());
        total += Duration::from_nanos(nanos.unwrap_or_default());
    }
    Ok(total)
}

/// What a process keeps in memory, in MiB (`VmRSS`).
pub(crate) fn resident(pid: u32) -> io::Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let field = |line: &str| {
        let kib = line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?;
        kib.parse::<f64>().ok()
    };
    let found = status.lines().find_map(field);
    found
        .map(|kib| kib / 1024.0)
        .ok_or_else(|| io::Error::other(format!("process {pid} has no memory")))
}

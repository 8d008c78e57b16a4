//! A program that waits, told from all others of the machine.
//!
//! Owns how a test finds what was started by it and nothing else. It starts and ends none.

/// A command that waits, and that no process of others is called by; `number` tells those of one
/// test apart.
#[must_use]
pub fn unlike_others(number: u64) -> String {
    let unlike = 10_000_000 * number + u64::from(std::process::id());
    format!("sleep {}", 3_000_000_000 + unlike)
}

/// The processes that were started by these words alone.
#[must_use]
pub fn processes(words: &str) -> Vec<String> {
    let line = format!("{}\0", words.replace(' ', "\0"));
    let all = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = all.filter_map(|entry| entry.file_name().into_string().ok());
    pids.filter(|pid| {
        std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|found| found == line.as_bytes())
    })
    .collect()
}

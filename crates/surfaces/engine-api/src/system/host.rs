//! Facts of this machine that `/info` and `/version` show, read when asked.

use rustix::system::uname;
use std::{fs, path::Path};

/// What is shown of the machine.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Host {
    /// Its name.
    pub(super) name: String,
    /// The kernel's release.
    pub(super) kernel: String,
    /// The distribution.
    pub(super) os: String,
    /// The distribution's version.
    pub(super) os_version: String,
    /// Processors.
    pub(super) processors: usize,
    /// Memory in bytes.
    pub(super) memory: u64,
    /// Whether control groups are unified (version 2).
    pub(super) unified: bool,
}

impl Host {
    /// Reads `/proc`, `/sys` and `/etc/os-release`; what cannot be read stays empty.
    pub(super) fn read() -> Self {
        let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
        let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        Self {
            name: uname().nodename().to_string_lossy().into_owned(),
            kernel: kernel_version(),
            os: field(&release, "PRETTY_NAME"),
            os_version: field(&release, "VERSION_ID"),
            processors: std::thread::available_parallelism().map_or(1, usize::from),
            memory: total_memory(&memory),
            unified: Path::new("/sys/fs/cgroup/cgroup.controllers").exists(),
        }
    }
}

/// The kernel's release.
pub(super) fn kernel_version() -> String {
    uname().release().to_string_lossy().into_owned()
}

/// A value of os-release(5), without its quotes.
fn field(text: &str, key: &str) -> String {
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    value.unwrap_or_default().trim_matches('"').to_owned()
}

/// `MemTotal:  123 kB` in bytes.
fn total_memory(text: &str) -> u64 {
    let value = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let digits = value.and_then(|value| value.split_ascii_whitespace().next());
    digits
        .and_then(|digits| digits.parse::<u64>().ok())
        .unwrap_or_default()
        * 1024
}

#[cfg(test)]
mod tests {
    use super::{field, total_memory};

    #[test]
    fn machine_files_are_read() {
        let release = "ID=debian\nPRETTY_NAME=\"Debian GNU/Linux 12\"\nVERSION_ID=12\n";
        assert_eq!(field(release, "PRETTY_NAME"), "Debian GNU/Linux 12");
        assert_eq!(field(release, "VERSION_ID"), "12");
        assert_eq!(field(release, "NAME"), "");
        assert_eq!(total_memory("MemTotal:        8 kB\nMemFree: 1 kB\n"), 8192);
        assert_eq!(total_memory("nothing"), 0);
    }
}

//! Where a sandbox's namespace comes from: a process or a file, opened and checked.

use super::gone;
use crate::KernelError;
use rustix::{
    fs::{Mode, OFlags},
    io::Errno,
    process::{Pid, PidfdFlags},
};
use std::{
    fs, io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
    path::Path,
};
use vw_hoststate::NamespaceSource;

/// `NSFS_MAGIC` of `linux/magic.h`.
const NSFS_MAGIC: u64 = 0x6e73_6673;
/// `NS_GET_NSTYPE` of `linux/nsfs.h`.
const NS_GET_NSTYPE: libc::c_ulong = 0xb703;
/// `PIDFD_GET_NET_NAMESPACE` of `linux/pidfd.h`, since Linux 6.11.
const PIDFD_GET_NET_NAMESPACE: libc::c_ulong = 0xff04;

/// Opens a namespace file; anything else is refused.
pub(super) fn open(path: &Path) -> io::Result<OwnedFd> {
    // NONBLOCK: what is no namespace may be a FIFO.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let fd = rustix::fs::open(path, flags, Mode::empty())?;
    if is_network_namespace(fd.as_fd())? {
        return Ok(fd);
    }
    let refused =
        "not a network namespace: give a file such as /run/netns/NAME or /proc/PID/ns/net";
    Err(io::Error::new(io::ErrorKind::InvalidInput, refused))
}

fn is_network_namespace(fd: BorrowedFd<'_>) -> io::Result<bool> {
    let magic = rustix::fs::fstatfs(fd)?.f_type;
    if u64::try_from(magic) != Ok(NSFS_MAGIC) {
        return Ok(false);
    }
    // SAFETY: the request takes no argument.
    let kind = unsafe { libc::ioctl(fd.as_raw_fd(), NS_GET_NSTYPE as _) };
    Ok(kind == libc::CLONE_NEWNET)
}

/// Device and inode, which name a namespace as long as somebody holds it.
pub(super) fn identity(fd: BorrowedFd<'_>) -> io::Result<(u64, u64)> {
    let found = rustix::fs::fstat(fd)?;
    Ok((found.st_dev, found.st_ino))
}

/// The source as people name it.
pub(super) fn name(source: &NamespaceSource) -> String {
    match source {
        NamespaceSource::New => "new".to_owned(),
        NamespaceSource::Process { pid, .. } => format!("of process {pid}"),
        NamespaceSource::File(path) => path.display().to_string(),
    }
}

/// Opens the namespace of a process or a file.
pub(super) fn of(source: &NamespaceSource) -> Result<OwnedFd, KernelError> {
    let opened = match source {
        NamespaceSource::New => Err(io::ErrorKind::NotFound.into()),
        NamespaceSource::Process { pid, start_time } => of_process(*pid, *start_time),
        NamespaceSource::File(path) => open(path),
    };
    opened.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => gone(name(source), error),
        _ if error.raw_os_error() == Some(libc::ESRCH) => gone(name(source), error),
        _ => super::call("open network namespace", name(source), error),
    })
}

/// The descriptor of the process is opened before its start time is read, so both are of the
/// process that the caller means, or the process is found to be gone.
fn of_process(pid: u32, start_time: u64) -> io::Result<OwnedFd> {
    let number = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let number = number.ok_or(Errno::SRCH)?;
    let process = rustix::process::pidfd_open(number, PidfdFlags::empty())?;
    check_start(pid, start_time)?;
    // SAFETY: the request takes no argument and returns a descriptor or -1.
    let fd = unsafe { libc::ioctl(process.as_raw_fd(), PIDFD_GET_NET_NAMESPACE as _, 0) };
    if fd >= 0 {
        // SAFETY: a descriptor that the kernel just made for us.
        return Ok(unsafe { OwnedFd::from_raw_fd(fd) });
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        // A kernel that does not know the request: by path, and see that nobody took the id.
        Some(libc::ENOTTY | libc::EINVAL) => {
            let fd = open(Path::new(&format!("/proc/{pid}/ns/net")))?;
            check_start(pid, start_time)?;
            Ok(fd)
        }
        _ => Err(error),
    }
}

fn check_start(pid: u32, start_time: u64) -> io::Result<()> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    if start_of(&stat) == Some(start_time) {
        return Ok(());
    }
    let reused = "the process ended and another one has its id";
    Err(io::Error::new(io::ErrorKind::NotFound, reused))
}

/// Field 22 of `/proc/PID/stat`; the second, the program's name, may hold blanks and brackets.
pub(super) fn start_of(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_ascii_whitespace().nth(19)?.parse().ok()
}

//! A timer that one thread sets and another one waits for.
//!
//! Waking a thread takes the waker up to 0.1 ms where processors are virtual (an interrupt of the
//! other one leaves the guest). Setting a timer takes 1 us, and the wake-up happens in the timer's
//! interrupt, when the caller has its answer; so background work that can wait is started this way.

use std::{
    io,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    time::Duration,
};

/// A timer (`timerfd`).
#[derive(Debug)]
pub(crate) struct Alarm(OwnedFd);

impl Alarm {
    /// One that is not set.
    pub(crate) fn new() -> io::Result<Self> {
        // SAFETY: takes no pointers, and returns a descriptor or -1.
        let fd = unsafe { libc::timerfd_create(libc::CLOCK_MONOTONIC, libc::TFD_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: a descriptor that the kernel just made for us.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Makes it go off after `delay`, instead of when it was set to before.
    pub(crate) fn set(&self, delay: Duration) {
        // A time of zero would stop it.
        self.put(delay.max(Duration::from_nanos(1)));
    }

    /// Makes it not go off.
    pub(crate) fn stop(&self) {
        self.put(Duration::ZERO);
    }

    fn put(&self, delay: Duration) {
        let spec = libc::itimerspec {
            it_interval: timespec(Duration::ZERO),
            it_value: timespec(delay),
        };
        // SAFETY: `spec` lives through the call; the former setting is not asked for.
        let set = unsafe {
            libc::timerfd_settime(self.0.as_raw_fd(), 0, &raw const spec, std::ptr::null_mut())
        };
        debug_assert_eq!(set, 0, "a timer takes every time that is not negative");
    }

    /// Waits until it goes off.
    pub(crate) fn wait(&self) -> io::Result<()> {
        loop {
            match rustix::io::read(&self.0, &mut [0_u8; 8]) {
                Ok(_) => return Ok(()),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

fn timespec(time: Duration) -> libc::timespec {
    libc::timespec {
        tv_sec: time.as_secs().try_into().unwrap_or(libc::time_t::MAX),
        tv_nsec: time.subsec_nanos().into(),
    }
}

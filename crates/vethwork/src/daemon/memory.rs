//! What of memory goes back to the system when it is free.
//!
//! Reading all records, at a start or from a cluster's store, takes several times what they take in
//! the end. The C library keeps what was freed for itself: with 10,000 endpoints on other hosts that
//! was 40 MiB more than before the start.

/// Set before there are threads: blocks from 128 KiB on are the system's again when they are freed.
/// By itself the C library learns from the first large one to keep those that are smaller.
pub(super) fn keep_little() {
    #[cfg(target_env = "gnu")]
    {
        const LARGE: libc::c_int = 128 << 10;
        // SAFETY: both take a number; nothing else changes them.
        unsafe {
            libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE);
            libc::mallopt(libc::M_TRIM_THRESHOLD, LARGE);
        }
    }
}

/// Gives back what is free, after much was.
pub(super) fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it takes a number and may be called at any time, by any thread.
    unsafe {
        libc::malloc_trim(0);
    }
}

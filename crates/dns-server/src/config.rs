//! Limits and times of the server.

use std::time::Duration;

/// How much the server takes on, and how long it waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Questions of one sandbox that may wait for upstreams at once; Docker's number. One
    /// more is refused at once.
    pub pending_per_sandbox: usize,
    /// The same for all sandboxes together, of which one may have as many as are left for the others,
    /// and four in any case.
    /// Each costs a few sockets while it lasts.
    pub pending: usize,
    /// How long the first upstream is waited for before the next is asked besides.
    pub stagger: Duration,
    /// After which time an unanswered datagram is sent again.
    pub retransmit: Duration,
    /// When a question that nobody answered has failed; below the five seconds after which
    /// the C library asks again.
    pub deadline: Duration,
    /// Memory for answers of upstreams, in octets.
    pub cache_size: usize,
    /// The longest time, in seconds, that an answer is kept.
    pub positive_ttl: u32,
    /// The longest time, in seconds, that "there is none" is kept.
    pub negative_ttl: u32,
    /// When an idle TCP connection is closed (RFC 7766, section 6.2.3).
    pub tcp_idle: Duration,
    /// TCP connections of one sandbox at once; more are closed when they come.
    pub tcp_per_sandbox: usize,
    /// The receive buffer of each UDP socket, in octets, as far as the kernel allows: some
    /// 20,000 queries, so that none is lost while a busy machine keeps the thread waiting.
    /// Memory is taken by waiting queries alone.
    pub receive_buffer: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            pending_per_sandbox: 1024,
            pending: 4096,
            stagger: Duration::from_millis(100),
            retransmit: Duration::from_millis(1500),
            deadline: Duration::from_secs(4),
            cache_size: 8 << 20,
            positive_ttl: 3600,
            negative_ttl: 300,
            tcp_idle: Duration::from_secs(10),
            tcp_per_sandbox: 64,
            receive_buffer: 8 << 20,
        }
    }
}

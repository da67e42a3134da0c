//! Sizes and times of the measuring tool, each with its reason.

use std::time::Duration;

/// Bytes of one write of a source and one read of a sink: large, so that the tool spends as little
/// as it can of the cores that the processes under test need.
pub const BULK_CHUNK: usize = 256 * 1024;

/// Bytes of a small message: a key press or a game's update with its framing.
pub const ECHO_LEN: usize = 64;

/// Time for one connection through everything to be made.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);

/// Time for a started process to serve. The slowest builds a store and hashes a password.
pub const START_TIMEOUT: Duration = Duration::from_secs(20);

/// Time for a stopped process to end before it is killed.
pub const STOP_TIMEOUT: Duration = Duration::from_secs(3);

/// Pause between two looks at whether a process serves.
pub const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// Units (sessions or tunnels) that one holding process keeps open: below the 20,000 descriptors
/// that Linux distributions commonly allow as hard limit, with room for connects under way.
pub const UNITS_PER_HOLDER: usize = 8_000;

/// Connections that a holder makes at a time: enough to be quick, few enough for the backlog of
/// every program under test.
pub const CONNECTS_AT_A_TIME: usize = 64;

/// Requests to the manager that a fleet has under way while it enrols: an eighth of what the
/// manager takes at once.
pub const REQUESTS_AT_A_TIME: usize = 64;

/// Connections from one source address before the next of 127.0.0.0/8 is used: far below the
/// 28,000 ephemeral ports of an address.
pub const CONNECTIONS_PER_ADDRESS: usize = 200;

/// Longest answer of a proxy to a request; what is longer is no proxy.
pub const MAX_PROXY_ANSWER: usize = 16 * 1024;

/// Bytes that a delayed link holds per direction unless told otherwise: 25 ms of 2.5 GB/s.
pub const LINK_BYTES: usize = 64 * 1024 * 1024;

/// Bytes of one read of a delayed link without a rate limit.
pub const LINK_READ: usize = 128 * 1024;

/// Bytes of one read of a delayed link with a rate limit: two segments, so that the queue's length
/// is kept to within 3 KiB.
pub const LINK_READ_LIMITED: usize = 2 * 1448;

/// Bytes of each buffer that the kernel keeps for a link with a rate: the queue's part that lies
/// outside the relay. Eleven segments, so that TCP still streams.
pub const LINK_SOCKET_BUFFER: usize = 16 * 1024;

/// By how much timers may be late on a busy machine before a link with a rate stops reading.
pub const LINK_TICK: Duration = Duration::from_millis(20);

/// Bytes of the send buffer of a source whose sessions are not read by the thousand: the kernel's
/// memory for TCP is shared by the whole machine.
pub const STALLED_SEND_BUFFER: u32 = 32 * 1024;

/// Bytes of the receive buffer of a client that reads nothing, for the same reason.
pub const STALLED_RECEIVE_BUFFER: u32 = 4 * 1024;

/// Pause between two looks at resident memory under load: a look walks the page tables of the
/// process under test, which takes some 0.1 ms for 100 MiB.
pub const MEMORY_INTERVAL: Duration = Duration::from_millis(100);

/// Time over which processes must have used less than a twentieth of a core to be at rest.
pub const QUIET_INTERVAL: Duration = Duration::from_millis(500);

/// Time for thousands of stalled sessions to fill every buffer: 2 GB at 100 MB/s.
pub const QUIET_PATIENCE: Duration = Duration::from_secs(20);

/// Longest UDP payload over IPv4: 65,535 bytes less 20 of the IP header and 8 of UDP's (RFC 768).
pub const MAX_UDP_PAYLOAD: usize = 65_507;

/// Datagrams under way at once: fewer than the smallest usual receive buffer (208 KiB) holds of
/// small ones, so that no socket on the way has a reason to drop one.
pub const DATAGRAMS_UNDER_WAY: u64 = 128;

/// Time after which a datagram is lost that has not come back.
pub const DATAGRAM_LOST_AFTER: Duration = Duration::from_secs(2);

/// Sessions that echo beside one that fills a link, each with one small message under way: some 100
/// echoes a second, enough for a 99th percentile, and below a hundredth of 20 Mbit/s.
pub const NARROW_ECHOES: usize = 8;

/// Highest latency that histograms tell apart, in microseconds: one minute.
pub const MAX_LATENCY_US: u64 = 60_000_000;

/// First and longest pause of a simulated edge before it tries again (with full jitter).
pub const RETRY_FIRST: Duration = Duration::from_millis(100);
/// See [`RETRY_FIRST`].
pub const RETRY_LONGEST: Duration = Duration::from_secs(5);

/// Bytes of one read or write of a soak: small, so that the governor's turns are short.
pub const SOAK_CHUNK: usize = 32 * 1024;

/// Bytes of the smallest and the largest bulk transfer of a soak: within and beyond the windows of
/// a session, which grow to 6 MiB.
pub const SOAK_BULK: std::ops::RangeInclusive<u64> = 16 * 1024..=12 * 1024 * 1024;

/// Longest message of a soak's echo sessions.
pub const SOAK_MESSAGE: usize = 1024;

/// Bytes that a connection is worth to the governor: what 100 µs of CPU on each side would carry.
pub const SOAK_CONNECTION: usize = 128 * 1024;

/// Bytes that a small message is worth to the governor.
pub const SOAK_SMALL: usize = 16 * 1024;

/// Bytes a second that a soak starts with, and the least and the most it is brought to.
pub const GOVERNOR_START: f64 = 20e6;
/// See [`GOVERNOR_START`].
pub const GOVERNOR_SLOWEST: f64 = 1e6;
/// See [`GOVERNOR_START`].
pub const GOVERNOR_FASTEST: f64 = 1e9;

/// Pause between two looks of the governor.
pub const GOVERNOR_INTERVAL: Duration = Duration::from_millis(500);

/// Time for one session of a soak, from its first byte to its end.
pub const SOAK_SESSION_TIMEOUT: Duration = Duration::from_secs(180);

/// Time within which a PoP knows that an edge was killed: the kernel closes its sockets, so this
/// is for busy machines.
pub const KILL_NOTICED_AFTER: Duration = Duration::from_secs(2);

/// Failures that a soak tells in words; more are counted.
pub const MAX_TOLD_FAILURES: usize = 20;

/// Time for everything to come to rest after a soak: longer than the 30 s that TCP retries and
/// drains take, shorter than an idle timeout, which would hide a leak.
pub const SOAK_REST: Duration = Duration::from_secs(60);

/// Descriptors by which a process may differ from its idle baseline: connections to the manager
/// that come and go.
pub const SOAK_SPARE_FDS: usize = 4;

/// By how much a PoP's memory may differ at the end from that of minute five: a part of it and so
/// many bytes more, for what an allocator keeps.
pub const SOAK_MEMORY_PART: f64 = 0.2;
/// See [`SOAK_MEMORY_PART`].
pub const SOAK_MEMORY_BYTES: u64 = 16 << 20;

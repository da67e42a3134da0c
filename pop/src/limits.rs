//! Every limit, timeout and buffer size of the gateway that is not a setting, each with its reason.

use std::time::Duration;

// ---- Clients before they are known -------------------------------------------------------------

/// Default of `handshake_s`, the longest a stranger may take for each step: a proxy client from accept
/// to a complete request, login included; an edge from accept to a complete upgrade request, and from
/// there to its HELLO. An HTTP client has as much for each further request,
/// from its first byte on.
///
/// A browser needs two round trips; ten seconds cover the worst satellite line with one lost
/// segment each way, and bound what a client that never speaks can hold.
pub const HANDSHAKE_S: u32 = 10;

/// Default of `max_handshakes`. An honest handshake takes some 300 ms, so 8,192 of them are 27,000 new
/// connections a second on one shard, more than one core can serve. The longest heads make them
/// hold 128 MiB.
pub const MAX_HANDSHAKES: u32 = 8192;

/// Default of `max_handshakes_per_address`: a quarter of all places, so that one address alone can push
/// nobody out, and 6,800 new connections a second for an office or a carrier's NAT behind one.
pub const MAX_HANDSHAKES_PER_ADDRESS: u32 = MAX_HANDSHAKES / 4;

/// Bytes a client may send before its request is complete, early data included.
///
/// The largest legitimate head is 16 KiB (the limit of the HTTP parser); what arrives behind a
/// head in the same read is early data and fits in as much again.
pub const CLIENT_HANDSHAKE_BYTES: usize = 32 * 1024;

/// Read size of a handshake: greeting, login and request of SOCKS5 fit in one, a browser's
/// CONNECT head too.
pub const HANDSHAKE_READ: usize = 2 * 1024;

// ---- Tunnels before they are known -------------------------------------------------------------

/// Bytes an edge may send before its upgrade is complete: the parser's 8 KiB of head and the
/// HELLO that may follow in the same read.
pub const TUNNEL_UPGRADE_BYTES: usize = 16 * 1024;

/// Seconds by which the clocks of manager and PoP may differ when a token's expiry is checked.
pub const TOKEN_LEEWAY_S: u64 = 30;

/// Tunnels one node may have, so that no node takes the table of all others.
///
/// An edge can be told to keep 16. When its line comes back with a new address, as many dead ones
/// stay until their heartbeat is missed; this leaves room for three such moments in a row.
pub const MAX_TUNNELS_PER_NODE: usize = 64;

/// Nodes sent away that a shard remembers: more than an operator sends away one by one within the life
/// of a token.
pub const BANISHED_NODES: usize = 1024;

/// How long it does, in seconds: twice the life of a token.
pub const SENT_AWAY_KEPT_S: u64 = 600;

// ---- Accepting ---------------------------------------------------------------------------------

/// Connections taken from a listener before its task waits on readiness again: enough to amortise
/// the wake-up, few enough that running sessions do not feel a connection storm.
pub const ACCEPT_BURST: usize = 64;

/// Pause of a listener after the process or the kernel ran out of descriptors or memory.
/// The condition ends when other connections end, so polling faster only burns the core.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Queue of connections that the kernel holds for each listener.
/// The kernel cuts it to `net.core.somaxconn`, 4096 by default.
pub const LISTEN_BACKLOG: i32 = 4096;

// ---- Sockets -----------------------------------------------------------------------------------

/// Idle time before the kernel asks a silent peer whether it is still there.
pub const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);

/// Interval of those questions once they have begun.
pub const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);

/// Questions without an answer after which the connection is dead.
pub const KEEPALIVE_PROBES: u32 = 4;

/// Default of `heartbeat_s`: what the protocol recommends.
pub const TUNNEL_HEARTBEAT_S: u32 = 15;

/// Intervals of silence after which an edge counts as gone: one lost packet with a slow retransmission
/// must not end a tunnel.
pub const TUNNEL_SILENT_HEARTBEATS: u32 = 3;

// ---- Reads and writes --------------------------------------------------------------------------

/// First read size of a session, and the size after reads that did not fill it.
pub const SESSION_READ_MIN: usize = 4 * 1024;

/// Largest read size of a session: what one DATA frame carries at most.
pub const SESSION_READ_MAX: usize = titan_proto::limits::MAX_FRAME as usize;

/// First read size of a tunnel, and the size after reads that did not fill it.
pub const TUNNEL_READ_MIN: usize = 16 * 1024;

/// Largest read size of a tunnel. Large reads are what bulk data costs least with (perf/README.md); one
/// twice as large gains nothing more and leaves the processor's cache.
pub const TUNNEL_READ_MAX: usize = 512 * 1024;

/// Reads in a row from one socket before its task waits on readiness again.
pub const READ_BURST: usize = 4;

/// Slices in one vectored write; the kernel takes 1024 (`UIO_MAXIOV`), and 64 of typical size
/// already fill a batch.
pub const WRITE_SLICES: usize = 64;

/// Most bytes gathered for one write to a client.
pub const CLIENT_WRITE_BATCH: usize = 512 * 1024;

/// Buffers that a shard keeps for reuse. One burst of reads in a turn of the loop rarely holds more
/// at a time; more would only pin memory.
pub const POOLED_BUFFERS: usize = 32;

/// Bytes of them: what one tunnel's ring and one session's read hold at their fullest, several times.
pub const POOLED_BYTES: usize = 16 * 1024 * 1024;

/// A read that fills less than this share of its buffer (one in so many parts) is copied out of it,
/// so that nothing pins more than twice its length while it waits.
pub const COPY_BELOW_SHARE: usize = 2;

/// What an edge may send in a new session, whatever the memory: the least with which a session still
/// moves. The rest of its window is granted with the OPEN while there is memory, so this is what ten
/// thousand sessions that nobody reads come down to.
pub const UNASKED_WINDOW: u32 = 16 * 1024;

/// The window of a new session towards its client, while there is memory. A target's first round
/// trips bring 15, 30 and 60 KB (RFC 6928), and the window doubles as often as they do. It is what each
/// session whose client never reads holds: fifty of them 6 MiB.
pub const START_WINDOW: u32 = 128 * 1024;

/// Default of `session_memory_mib`, the MiB that the sessions of one shard may hold: two thousand
/// windows as they are at first, or forty sessions at their fastest.
pub const SESSION_MEMORY_MIB: u32 = 256;

// ---- Sessions ----------------------------------------------------------------------------------

/// Default of `open_timeout_s`, the longest until an edge has connected or refused, all edges together
/// that are tried for a session. A dial that loses its first three SYNs takes 7 s; browsers give up
/// after some 20.
pub const OPEN_TIMEOUT_S: u32 = 15;

/// How often a session may be opened again because the edge that had it failed it. Where a second
/// and a third edge fail as well, the trouble is seldom the edge's, and the client should hear of it.
pub const MAX_REOPENS: usize = 3;

/// Most bytes of one client that are kept to open its session again with: a request with all its
/// cookies, or a small upload. A client that has sent more is mostly one that has been answered.
pub const KEPT_BYTES: usize = 64 * 1024;

/// Most memory of one shard that may be kept for that: a thousand sessions at their bound, or a
/// hundred thousand with a small request each. A session beyond it runs, but only once.
pub const KEPT_BYTES_PER_SHARD: u64 = 64 * 1024 * 1024;

/// How often to look whether a client is gone while nobody reads from it. Soon enough to free what
/// the session holds, rare enough to cost nothing.
pub const CLIENT_WATCH: Duration = Duration::from_secs(2);

/// Longest a peer may take to hear the last words on a connection and to close it.
pub const FAREWELL_TIMEOUT: Duration = Duration::from_secs(5);

/// Bytes read and thrown away while it does: what it may have sent before it heard them.
pub const FAREWELL_DISCARD: usize = 256 * 1024;

/// Longest the last frames of a tunnel may take to leave, and the edge to close its end.
pub const TUNNEL_CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// Bytes behind a plain HTTP request that are read while it is served: requests sent ahead. Reading
/// some lets us see the client close; whatever is beyond waits in the kernel, which slows the client
/// down. As much as a head may be long.
pub const PIPELINED_BYTES: usize = 16 * 1024;

// ---- UDP associations --------------------------------------------------------------------------

/// Datagrams taken from one side of an association before its task waits on readiness again: at
/// 1,400 bytes each some 90 KiB, as much as a burst of reads of a stream.
pub const DATAGRAM_BURST: usize = 64;

/// Room for one datagram: more than the 65,527 bytes that UDP over IPv6 can carry, so that none is
/// ever cut.
pub const DATAGRAM_ROOM: usize = 64 * 1024;

/// A datagram that fills less of [`DATAGRAM_ROOM`] than this is copied out of it, so that a few
/// bytes do not hold 64 KiB while they wait.
pub const DATAGRAM_COPY_BELOW: usize = DATAGRAM_ROOM / 2;

/// Socket buffers of an association, in each direction. The kernel's default of 208 KiB holds some
/// 90 full-sized datagrams, which a sender of 100 Mbit/s fills in 10 ms; memory is used only by
/// what waits.
pub const DATAGRAM_SOCKET_BUFFER: usize = 1024 * 1024;

/// Ports of a configured range that are tried for an association. With half of the range in use, all
/// of 32 attempts fail once in four thousand million times.
pub const UDP_PORT_ATTEMPTS: usize = 32;

/// Longest an edge may take to confirm the end of an association, datagrams under way included.
pub const ASSOCIATION_END_TIMEOUT: Duration = Duration::from_secs(5);

// ---- Routing and hand-over ---------------------------------------------------------------------

/// Random nodes among which the best is chosen. Two already avoid the worst; beyond
/// four the gain is lost in the noise of the measured RTT.
pub const CANDIDATES: usize = 4;

/// Nodes with tunnels of the choosing shard that are looked at when the best candidate's tunnel is
/// another shard's.
pub const LOCAL_CANDIDATES: usize = 2;

/// RTT assumed of a tunnel before its first measurement: a plausible line, so that a new tunnel
/// is neither flooded nor starved.
pub const UNKNOWN_RTT: Duration = Duration::from_millis(100);

/// A local tunnel is preferred to one of another shard when its score is at most this many
/// percent worse: what the move of a socket costs is far below one millisecond.
pub const LOCAL_PREFERENCE_PERCENT: u32 = 5;

/// How often a session may be routed again because its tunnel was gone when it arrived.
pub const MAX_ROUTE_ATTEMPTS: u8 = 3;

/// Sockets that may wait in the queue of one shard. A shard this far behind is overloaded, and
/// refusing is kinder than a longer queue.
pub const HANDOVER_QUEUE: usize = 4096;

/// Messages a shard takes from its queues before other tasks get a turn.
pub const MESH_BURST: usize = 256;

// ---- Users -------------------------------------------------------------------------------------

/// Age from which a user's record is refreshed in the background while it is still served.
pub const RECORD_FRESH: Duration = Duration::from_secs(10);

/// Age beyond which a record is no longer served without asking, unless the manager is away: a
/// user switched off an hour ago must not get one more connection.
pub const RECORD_STALE: Duration = Duration::from_secs(60);

/// How long a refusal is remembered, so that a client with a wrong password in a loop costs one
/// argon2 computation per interval and not one per attempt.
pub const REFUSAL_REMEMBERED: Duration = Duration::from_secs(2);

/// Users a shard remembers.
pub const CACHED_USERS: usize = 100_000;

/// Refused logins a shard remembers.
pub const CACHED_REFUSALS: usize = 10_000;

/// Logins that may wait for the control thread per shard.
pub const PENDING_LOGINS: usize = 4096;

/// Users whose verified logins the control thread remembers for all shards.
pub const VERIFIED_LOGINS: usize = 100_000;

/// Password checks that may wait for a free core on the control side; each takes some 20 ms.
pub const QUEUED_VERIFICATIONS: usize = 1024;

/// Checks of one user's password that may run or wait. Clients with the same password share one, so
/// only guesses and a password change need more than one.
pub const VERIFICATIONS_PER_USER: usize = 4;

// ---- What users may do at once -----------------------------------------------------------------

/// The burst of a rate limit is what the rate gives in the `1/RATE_BURST_PER_S` part of a second: ten
/// times what a wait may be late ([`FINE_TICK`]), so that a session that is woken late loses nothing.
pub const RATE_BURST_PER_S: u64 = 10;

/// Least burst in bytes: a page or an image at once, however slow the user is.
pub const RATE_BURST_MIN: u64 = 64 * 1024;

/// Turns in a second of a user whose rate is used up, as far as the bounds below allow: every one of
/// the user's sessions on a shard moves a quantum and goes to the end of the line.
pub const RATE_QUANTA_PER_S: u64 = 64;

/// Least quantum in bytes. A user with 1 KB/s waits half a second between two.
pub const RATE_QUANTUM_MIN: usize = 512;

/// Largest quantum in bytes: what a session of a fast user moves before the next one does.
pub const RATE_QUANTUM_MAX: usize = 64 * 1024;

/// Longest wait for a rate before it is looked at again: the rate may be another one by then.
pub const RATE_RECHECK: Duration = Duration::from_millis(250);

/// Rates from here on, in bytes a second, are no limits: no PoP is as fast.
pub const RATE_UNLIMITED: u64 = 100_000_000_000;

/// Most of a user's package that a shard takes at a time, in bytes, so that the shards seldom meet at
/// its counter.
pub const ALLOWANCE_MAX: u64 = 1024 * 1024;

/// A shard takes at most this part of what is left, so that no shard sits on what another one needs.
pub const ALLOWANCE_PART: u64 = 20;

/// Least that a shard takes, in bytes, as long as there is as much.
pub const ALLOWANCE_MIN: u64 = 16 * 1024;

/// How often accounts are looked at for packages that have expired. A session ends within two seconds
/// of its package, most of which the way to the client may need.
pub const ACCOUNTS_INTERVAL: Duration = Duration::from_millis(500);

/// How long an account without connections is remembered, in looks: five minutes. By then the
/// manager knows what was relayed, and a rate is full again.
pub const ACCOUNT_KEPT_LOOKS: u32 = 600;

// ---- Control plane -----------------------------------------------------------------------------

/// Interval of heartbeats; the manager gives a silent PoP no new nodes after three of them.
pub const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(5);

/// Interval until the first one is answered: nothing can be served before.
pub const FIRST_HEARTBEAT_INTERVAL: Duration = Duration::from_millis(500);

/// Delay of the heartbeat that reports a tunnel's coming or going, so that a storm of them
/// travels in a few messages.
pub const HEARTBEAT_DEBOUNCE: Duration = Duration::from_millis(75);

/// Longest one request to the manager may take.
pub const MANAGER_TIMEOUT: Duration = Duration::from_secs(5);

/// Longest the manager may take to answer a request for events, which waits for one: half as long again
/// as the manager makes it wait.
pub const EVENTS_TIMEOUT: Duration = Duration::from_secs(30);

/// Pause after the first failure to get events; each further one doubles it.
pub const EVENTS_RETRY_MIN: Duration = Duration::from_millis(200);

/// Longest pause. A change that was made while the manager was away takes effect this much later.
pub const EVENTS_RETRY_MAX: Duration = Duration::from_secs(5);

/// Longest a connection to the manager may take to be made.
pub const MANAGER_CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// Longest answer of the manager: that to a usage report of as many users as one may hold has 2.2 MiB.
pub const MANAGER_ANSWER: usize = 4 * 1024 * 1024;

/// Requests to the manager for users that may run at a time.
pub const LOOKUPS_AT_A_TIME: usize = 64;

// ---- Usage -------------------------------------------------------------------------------------

/// How often usage is handed over and reported. It bounds what a crash can cost, and how late a used-up
/// quota is noticed.
pub const REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// Time that the shards' reports may take from the beat to the control thread: two ticks of the wheel.
pub const COLLECT_GRACE: Duration = Duration::from_millis(200);

/// Pause behind a report that was not answered well, and a write that the disk did not take.
pub const REPORT_RETRY: Duration = Duration::from_secs(1);

/// Users of one batch: so that a report holds one at least.
pub const BATCH_USERS: usize = 10_000;

/// Batches that may wait, never sent, before they are merged: two minutes without the manager.
pub const MERGE_BATCHES: usize = 120;

/// Longest record of the spool that is read: a batch of as many users as it may have, with the longest
/// names and numbers, has 2.5 MiB.
pub const SPOOL_RECORD: usize = 4 * 1024 * 1024;

/// Acknowledged bytes that may lie in front of the spool's file before it is written anew, if they are
/// more than half of it.
pub const SPOOL_REWRITE: u64 = 1024 * 1024;

/// Default of `spool_mib`. An hour without the manager takes 12 merged batches of some 130 bytes a user: with
/// 10,000 users who relay all the time it is full after more than two days.
pub const SPOOL_MIB: u32 = 1024;

// ---- Timers ------------------------------------------------------------------------------------

/// Resolution of the timer wheel. Every timeout here is a second or more; a late one by a tenth
/// is not noticed.
pub const TIMER_TICK: Duration = Duration::from_millis(100);

/// Resolution of the wheel for waits that set a user's rate, turned only while somebody waits so. A
/// tenth of a second would be as much as a burst; at 5 ms the wake-ups of all limited users of a
/// shard together cost less than 1 % of its core.
pub const FINE_TICK: Duration = Duration::from_millis(5);

/// Slots of the timer wheel. 512 ticks are 51 s, more than the common timeouts; a longer one
/// goes round again.
pub const TIMER_SLOTS: usize = 512;

/// How often a draining shard looks whether its last session has ended.
pub const DRAIN_CHECK: Duration = Duration::from_millis(100);

/// Time the shards get to send their last bytes once the drain's deadline has passed.
pub const SHUTDOWN_GRACE: Duration = Duration::from_millis(250);

/// How long to wait for a port that a process killed a moment ago may still hold: the kernel takes
/// its io_uring down in the background. Long enough for a busy machine, short enough for an operator
/// who has two services on one port and waits for the error.
pub const PORT_RELEASE: Duration = Duration::from_secs(3);

/// How often to look meanwhile.
pub const PORT_RETRY: Duration = Duration::from_millis(20);

const _: () = {
    // So that a draw holds a node that has not failed the session yet, if there is one.
    assert!(MAX_REOPENS < CANDIDATES);
    // What a handshake may leave behind can be kept.
    assert!(CLIENT_HANDSHAKE_BYTES <= KEPT_BYTES);
    assert!(SESSION_READ_MIN <= SESSION_READ_MAX);
    assert!(TUNNEL_READ_MIN <= TUNNEL_READ_MAX);
    assert!(titan_proto::limits::PROXY_MAX_HEAD + HANDSHAKE_READ <= CLIENT_HANDSHAKE_BYTES);
    assert!(TUNNEL_HEARTBEAT_S as u64 == titan_proto::limits::HEARTBEAT_INTERVAL.as_secs());
    assert!(RATE_QUANTUM_MIN <= RATE_QUANTUM_MAX && RATE_QUANTUM_MAX as u64 <= RATE_BURST_MIN);
    assert!(FINE_TICK.as_millis() * 10 <= 1000 / RATE_BURST_PER_S as u128);
    assert!(RECORD_FRESH.as_secs() < RECORD_STALE.as_secs());
    assert!(TIMER_SLOTS.is_power_of_two());
    assert!(BATCH_USERS <= titan_proto::control::MAX_USAGE_ENTRIES);
    assert!(BATCH_USERS * 250 <= SPOOL_RECORD);
    assert!(COLLECT_GRACE.as_millis() < REPORT_INTERVAL.as_millis());
    assert!(DATAGRAM_ROOM > titan_proto::limits::MAX_DATAGRAM);
};

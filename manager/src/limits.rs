//! Every limit of the manager, each with how it was chosen.

use std::time::Duration;

/// Silence after which a PoP counts as gone and its nodes as offline. PoPs send a
/// heartbeat every few seconds, so that one or two may be lost.
pub(crate) const POP_SILENCE: Duration = Duration::from_secs(15);

/// Tunnels above which a PoP gets no new nodes, unless configured otherwise: half of the 100,000
/// edges that a PoP is built for, so that one can stand in for a neighbour.
pub(crate) const DEFAULT_MAX_TUNNELS_PER_POP: u32 = 50_000;

/// Life of a tunnel token in seconds. It is used once, right after it was issued; five minutes
/// allow for a slow dial and for clocks that disagree a little.
pub(crate) const TUNNEL_TOKEN_LIFETIME_S: u64 = 300;

/// Life of a challenge: an edge signs and returns it within one round trip.
pub(crate) const CHALLENGE_LIFETIME: Duration = Duration::from_secs(60);

/// Challenges remembered as used. One is remembered only when an enrolled node has signed it, so
/// this allows 2,000 assignments a second for a minute, in about 8 MiB.
pub(crate) const MAX_CLAIMED_NONCES: usize = 120_000;

/// Seconds after which an edge that got no PoP should ask again: one heartbeat later the choice
/// may be different.
pub(crate) const RETRY_ASSIGNMENT_S: u64 = 5;

/// Seconds after which a caller turned away by overload should ask again.
pub(crate) const RETRY_OVERLOAD_S: u64 = 1;

/// Shortest password an operator may set. What is made is far longer.
pub(crate) const MIN_PASSWORD_LEN: usize = 8;

/// Longest password in bytes: RFC 1929 §2 carries its length in one byte.
pub(crate) const MAX_PASSWORD_LEN: usize = 255;

/// Characters of a password that is made: 20 of 62 are 119 bits.
pub(crate) const MADE_PASSWORD_LEN: usize = 20;

/// Argon2id memory in KiB, iterations and lanes: the first of the minimal settings that the OWASP
/// Password Storage Cheat Sheet names. Takes about 20 ms; every PoP pays it once per login it has
/// not cached.
pub(crate) const ARGON2_MEMORY_KIB: u32 = 19 * 1024;
/// See [`ARGON2_MEMORY_KIB`].
pub(crate) const ARGON2_ITERATIONS: u32 = 2;
/// See [`ARGON2_MEMORY_KIB`].
pub(crate) const ARGON2_LANES: u32 = 1;

/// Random bytes in a secret text (admin token, PoP credential, enrolment key).
pub(crate) const SECRET_LEN: usize = 32;

/// Random bytes in the public handle of an admin token or enrolment key: enough that handles
/// never meet by chance, few enough to be typed.
pub(crate) const HANDLE_LEN: usize = 6;

/// Longest bearer token looked at: a PoP credential with the longest id has 139 bytes.
pub(crate) const MAX_BEARER_LEN: usize = 256;

/// Longest text that a peer may give about itself: program version, boot id.
pub(crate) const MAX_LABEL_LEN: usize = 64;

/// Longest address or URL that a PoP may announce.
pub(crate) const MAX_ENDPOINT_LEN: usize = 512;

/// Items of a page when the caller names no number.
pub(crate) const DEFAULT_PAGE: usize = 100;

/// Most items of a page: about 300 KiB of JSON.
pub(crate) const MAX_PAGE: usize = 1000;

/// Largest request body, except for heartbeats. The largest that makes sense has 1 KiB.
pub(crate) const MAX_BODY_LEN: usize = 64 * 1024;

/// Largest heartbeat body: the whole list of 100,000 nodes with IPv6 addresses has 10 MiB.
pub(crate) const MAX_HEARTBEAT_LEN: usize = 16 * 1024 * 1024;

/// Nodes that one PoP may report as connected, at once or in sum: twice what a PoP is built for.
pub(crate) const MAX_NODES_PER_POP: usize = 200_000;

/// Time for reading, answering and writing one request. The slowest, setting a password while all
/// cores hash, takes a fraction of it.
pub(crate) const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// Requests without credentials in progress, which are the edges': apart from the others, so that
/// nobody can keep operators and PoPs out by sending bodies slowly.
pub(crate) const MAX_ANONYMOUS_REQUESTS: usize = 512;

/// Requests in progress that show credentials; more are turned away with 503. Bounds memory and the queue in front of
/// the store's single writer, which does some hundred durable writes a second.
pub(crate) const MAX_REQUESTS: usize = 512;

/// Heartbeats in progress: bounds what their large bodies can take to 512 MiB.
pub(crate) const MAX_HEARTBEATS: usize = 32;

/// Open connections; further ones wait in the kernel's backlog. A thousand PoPs keep one or two
/// each, edges come and go.
pub(crate) const MAX_CONNECTIONS: usize = 8192;

/// Time for a request head to arrive, and for a kept-alive connection to stay idle. Longer than
/// the interval of heartbeats, so that PoPs keep their connection.
pub(crate) const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// Read buffer of a connection, and so the largest request head. 8 KiB is the least hyper takes.
pub(crate) const MAX_HEAD_LEN: usize = 16 * 1024;

/// Time for requests in progress to end when the manager stops.
pub(crate) const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);

/// Pause after a failed accept (most likely: no file descriptor left) before the next.
pub(crate) const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Connections that the kernel may hold for us before they are accepted.
pub(crate) const BACKLOG: u32 = 4096;

/// Memory for redb's page cache. The default, 1 GiB, is meant for a machine of its own.
pub(crate) const STORE_CACHE_BYTES: usize = 64 * 1024 * 1024;

/// Seconds after which a caller should ask again when the store did not answer.
pub(crate) const RETRY_STORE_S: u64 = 1;

/// Oldest Redis that is accepted: the one the tests run on. From 7.0 on scripts are always
/// replicated by their effects, which those that read the clock rely on.
pub(crate) const MIN_REDIS_VERSION: (u32, u32) = (7, 0);

/// Time to connect to Redis and log in, a Sentinel's answer included.
pub(crate) const REDIS_CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// Time for Redis to answer one command. The slowest, a thousand nodes of a full heartbeat, takes
/// some milliseconds.
pub(crate) const REDIS_RESPONSE_TIMEOUT: Duration = Duration::from_secs(3);

/// After a failed connect everybody is told so for this long, rather than that each of some
/// hundred requests tries and waits by itself.
pub(crate) const REDIS_RECONNECT_PAUSE: Duration = Duration::from_millis(250);

/// How long a command that Redis refused for another node (a slot that has moved, a master that
/// became a replica) is offered anew, and the pause between two offers. Such a refusal means that
/// nothing was done.
pub(crate) const REDIS_REDIRECT_TIMEOUT: Duration = Duration::from_secs(2);
/// See [`REDIS_REDIRECT_TIMEOUT`].
pub(crate) const REDIS_REDIRECT_PAUSE: Duration = Duration::from_millis(50);

/// Commands that may wait for a connection's writer. All requests of the API together are fewer
/// than this times the few commands each has in flight; more wait for a place.
pub(crate) const REDIS_QUEUE: usize = 1024;

/// Commands of one operation that are in flight at a time.
pub(crate) const REDIS_FAN_OUT: usize = 16;

/// Parts of the table of users and of that of nodes, each in a slot of its own: enough to spread over the
/// masters of a usual Cluster, few enough to be asked all for a page of a list. Another number is
/// another format.
pub(crate) const REDIS_SHARDS: u8 = 16;

/// Attempts at a change of a record that others change at the same time.
pub(crate) const MAX_CHANGE_ATTEMPTS: usize = 16;

/// Nodes in one command to Redis: it takes about two milliseconds, in which Redis does nothing else.
pub(crate) const REDIS_BATCH: usize = 1000;

/// Changes in a heartbeat that Redis applies in one step. A PoP with more is asked for its whole
/// list, which is taken in piece by piece.
pub(crate) const MAX_HEARTBEAT_CHANGES: usize = 5000;

/// How long it is remembered that a node has been seen on a PoP, and after which time a PoP is
/// asked for its whole list so that this is renewed. Four chances, should some lists get lost.
pub(crate) const SIGHTING_LIFETIME: Duration = Duration::from_secs(24 * 3600);
/// See [`SIGHTING_LIFETIME`].
pub(crate) const RESYNC_INTERVAL: Duration = Duration::from_secs(6 * 3600);

/// Life of a list of nodes that is being taken in and was left unfinished.
pub(crate) const STAGED_LIFETIME: Duration = Duration::from_secs(60);

const _: () = assert!(4 * RESYNC_INTERVAL.as_secs() <= SIGHTING_LIFETIME.as_secs());
const _: () = assert!(
    REDIS_CONNECT_TIMEOUT.as_millis() + REDIS_RESPONSE_TIMEOUT.as_millis()
        < REQUEST_TIMEOUT.as_millis()
);
const _: () =
    assert!(MIN_PASSWORD_LEN <= MADE_PASSWORD_LEN && MADE_PASSWORD_LEN <= MAX_PASSWORD_LEN);
const _: () = assert!(DEFAULT_PAGE <= MAX_PAGE);
const _: () = assert!(MAX_BODY_LEN <= MAX_HEARTBEAT_LEN);
const _: () = assert!(REQUEST_TIMEOUT.as_millis() <= DRAIN_TIMEOUT.as_millis());
const _: () = assert!(POP_SILENCE.as_millis() < HEAD_TIMEOUT.as_millis());
const _: () = assert!(CHALLENGE_LIFETIME.as_secs() < TUNNEL_TOKEN_LIFETIME_S);

//! Every limit of the manager, each with how it was chosen.

use std::{num::NonZeroU32, time::Duration};

use titan_proto::control::{MAX_USAGE_BATCHES, MAX_USAGE_ENTRIES};

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

/// Labels of a user: enough for what billing and support note, in less than 7 KiB.
pub(crate) const MAX_LABELS: usize = 32;

/// Networks a user's clients may come from. A PoP looks through them at each login.
pub(crate) const MAX_CLIENT_ADDRESSES: usize = 64;

/// Most bytes of a package: 2^53 − 1, which every JSON reader takes exactly (RFC 7493 §2.2). It is
/// more than 10 Gbit/s carry in 200 days.
pub(crate) const MAX_PACKAGE_BYTES: u64 = (1 << 53) - 1;

/// Last second of the year 9999, beyond which RFC 3339 cannot write a time.
pub(crate) const LAST_TIME_S: u64 = 253_402_300_799;

/// Longest `Idempotency-Key`: a UUID has 36 characters.
pub(crate) const MAX_IDEMPOTENCY_KEY_LEN: usize = 128;

/// How long an idempotency key means the request it first came with: a day, in which whatever retries
/// has given up or been mended.
pub(crate) const IDEMPOTENCY_LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);

/// Requests remembered under their idempotency keys: two a second for a day, in some 200 MB on disk.
pub(crate) const MAX_KEYED_REQUESTS: u64 = 200_000;

/// Admin tokens: people and programs that operate the network. All are looked through when one is
/// revoked.
pub(crate) const MAX_ADMIN_TOKENS: u64 = 1000;

/// How exactly it is known when an admin token was last used: a write to the store in ten minutes.
pub(crate) const LAST_USED_GRANULARITY: Duration = Duration::from_secs(600);

/// Blocked nodes and networks: as many as a PoP is built to hold edges. Blocks are found by their
/// keys, so their number costs nothing but disk.
pub(crate) const MAX_BLOCKS: u64 = 100_000;

/// Requests a second with one admin token, unless configured otherwise, and as many again at once: more
/// than the store's writer takes, so that it bounds what one program gone wild costs the others.
pub(crate) const DEFAULT_TOKEN_REQUESTS_PER_S: NonZeroU32 = NonZeroU32::new(500).unwrap();

/// Requests a second with a wrong token from one address (of IPv6: one /64), and how many at once. Each
/// costs a look-up; a program with an old token tries every few seconds.
pub(crate) const WRONG_TOKENS_PER_S: NonZeroU32 = NonZeroU32::new(1).unwrap();
/// See [`WRONG_TOKENS_PER_S`].
pub(crate) const WRONG_TOKENS_BURST: NonZeroU32 = NonZeroU32::new(20).unwrap();

/// Addresses whose wrong tokens are counted apart, in some 5 MiB; those beyond are counted together.
pub(crate) const MAX_RATED_ADDRESSES: usize = 65_536;

/// Addresses looked at in `X-Forwarded-For`: nobody stands behind more proxies of his own.
pub(crate) const MAX_FORWARDED: usize = 16;

/// Longest text that a peer may give about itself: program version, boot id.
pub(crate) const MAX_LABEL_LEN: usize = 64;

/// Longest address or URL that a PoP may announce.
pub(crate) const MAX_ENDPOINT_LEN: usize = 512;

/// Items of a page when the caller names no number.
pub(crate) const DEFAULT_PAGE: usize = 100;

/// Most items of a page: about 300 KiB of JSON.
pub(crate) const MAX_PAGE: usize = 1000;

/// Items that are looked at for one page of a list with conditions: some milliseconds of reading.
pub(crate) const MAX_SCAN: usize = 10_000;

/// Largest request body, except for heartbeats. The largest that makes sense has 1 KiB.
pub(crate) const MAX_BODY_LEN: usize = 64 * 1024;

/// Largest heartbeat body: the whole list of 100,000 nodes with IPv6 addresses has 10 MiB.
pub(crate) const MAX_HEARTBEAT_LEN: usize = 16 * 1024 * 1024;

/// Largest usage report: as many entries as one may hold, at some 200 bytes for the longest.
pub(crate) const MAX_USAGE_LEN: usize = 4 * 1024 * 1024;

/// Days for which points of five minutes are kept: today's trouble and yesterday's.
pub(crate) const FIVE_MINUTES_KEPT_DAYS: u64 = 2;
/// Days for which points of an hour are kept: last month's bill, with a month to dispute it.
pub(crate) const HOURS_KEPT_DAYS: u64 = 60;
/// Days for which points of a day are kept: the same month of the year before.
pub(crate) const DAYS_KEPT_DAYS: u64 = 2 * 366;

/// Points past their time that one batch of usage removes, beside as many as it may have added.
/// They fall due all at once, at the turn of an hour or a day; a batch must not wait for that.
pub(crate) const PRUNED_AT_ONCE: usize = 1000;

/// Age of a PoP's last report beyond which a user's bandwidth there counts as nothing: reports come
/// every second, and one may be late.
pub(crate) const BANDWIDTH_FRESH_S: u64 = 3;

/// Users among those who relay most, when the caller names no number.
pub(crate) const DEFAULT_TOP: usize = 20;

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

/// Events that are kept for PoPs that have been away: at ten changes a second nearly three hours.
pub(crate) const MAX_EVENTS: u64 = 100_000;

/// Most events of one answer: some 30 KiB of JSON, half of what a PoP reads.
pub(crate) const EVENTS_PAGE: usize = 200;

/// Longest wait of a PoP for the next event. Short enough for whatever stands between the two and
/// closes idle connections; a thousand PoPs ask fifty times a second.
pub(crate) const EVENTS_WAIT: Duration = Duration::from_secs(20);

/// How often the store is asked for events of other managers.
pub(crate) const EVENTS_POLL: Duration = Duration::from_millis(250);

/// PoPs that may wait for events at a time: twice the thousand that one control plane is built for.
pub(crate) const MAX_EVENT_WAITS: usize = 2048;

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

/// Users of a batch of usage that Redis counts in one step: it takes one to two milliseconds.
pub(crate) const REDIS_USAGE_BATCH: usize = 100;

/// Outboxes, of 32, that each look for the latest event looks into as well: with one every 250 ms each
/// is looked into every two seconds.
pub(crate) const REDIS_OUTBOXES_AT_ONCE: usize = 4;

/// Longest that such looks may keep the answer waiting: PoPs hear of everything else meanwhile.
pub(crate) const REDIS_OVERDUE_TIMEOUT: Duration = Duration::from_millis(500);

/// From this age on an event in an outbox was left there, and is anybody's to pass on: a little
/// longer than Redis may take to answer the one who wrote it.
pub(crate) const REDIS_EVENT_OVERDUE: Duration = Duration::from_secs(4);

/// Points past their time, of each length, that one such step finds to be forgotten: some more
/// than the one that it may have added, so that those of a pause are soon gone.
pub(crate) const REDIS_POINTS_PRUNED: u64 = 16;

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
const _: () = assert!(DEFAULT_PAGE <= MAX_PAGE && MAX_PAGE <= MAX_SCAN);
const _: () = assert!(MAX_BODY_LEN <= MAX_HEARTBEAT_LEN);
const _: () = assert!(MAX_USAGE_LEN <= MAX_HEARTBEAT_LEN);
// 208 bytes: a name of 64 characters, four numbers of 20 digits, and their names.
const _: () = assert!(MAX_USAGE_ENTRIES * 208 + MAX_USAGE_BATCHES * 128 <= MAX_USAGE_LEN);
const _: () = assert!(DEFAULT_TOP <= MAX_PAGE);
const _: () = assert!(REQUEST_TIMEOUT.as_millis() <= DRAIN_TIMEOUT.as_millis());
const _: () = assert!(EVENTS_WAIT.as_millis() < HEAD_TIMEOUT.as_millis());
const _: () = assert!(POP_SILENCE.as_millis() < HEAD_TIMEOUT.as_millis());
const _: () = assert!(CHALLENGE_LIFETIME.as_secs() < TUNNEL_TOKEN_LIFETIME_S);

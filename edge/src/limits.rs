//! Every limit, timeout and buffer size of the edge, each with how it was chosen.

use std::time::Duration;

/// Longest wait for a connection to the manager.
pub(crate) const MANAGER_CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Longest wait for a whole answer of the manager: it does little more than look a key up.
pub(crate) const MANAGER_TIMEOUT: Duration = Duration::from_secs(20);

/// Longest answer of the manager that is read; its longest, an assignment, has less than 2 KiB.
pub(crate) const MAX_MANAGER_ANSWER: usize = 64 << 10;

/// Longest detail of a refusal by the manager that is kept for the log, in characters.
pub(crate) const MAX_PROBLEM_DETAIL: usize = 200;

/// Longest wait for the PoP's name, connection and WebSocket upgrade together.
pub(crate) const TUNNEL_OPEN_TIMEOUT: Duration = Duration::from_secs(15);

/// Most tunnels of one edge. Several spread its sessions over a PoP's cores and let a long line carry
/// more than one TCP window; 16 are as many cores as a large PoP has, and a quarter of what a PoP
/// allows one node.
pub(crate) const MAX_TUNNELS: u8 = 16;

/// First ceiling of the reconnect delay. With full jitter the mean of the first wait is half of it.
pub(crate) const BACKOFF_BASE: Duration = Duration::from_millis(500);

/// Highest ceiling of the reconnect delay: 100,000 edges spread over 30 s are 3,300 dials a second,
/// which a PoP that has just come back can take.
pub(crate) const BACKOFF_CAP: Duration = Duration::from_secs(30);

/// A tunnel that lived this long was good: the next failure starts from the first delay again.
pub(crate) const TUNNEL_PROVEN_AFTER: Duration = Duration::from_secs(30);

/// A token is taken for dead this long before it expires, so that it does not die on its way.
pub(crate) const TOKEN_MARGIN: Duration = Duration::from_secs(5);

/// How long a tunnel that a newer one has replaced may go on for the sake of its last sessions.
pub(crate) const RETIRED_TUNNEL_LIFETIME: Duration = Duration::from_secs(600);

/// How long a closing tunnel may take to send its close frame and see the peer's.
pub(crate) const CLOSE_GRACE: Duration = Duration::from_secs(2);

/// Longest wait for the address of a name. glibc gives up on one server after 5 s.
pub(crate) const RESOLVE_TIMEOUT: Duration = Duration::from_secs(8);

/// Lookups that run at once. Each occupies a thread of the blocking pool while it waits.
pub(crate) const MAX_LOOKUPS: usize = 64;

/// Addresses of one name that are tried; more would outlast [`DIAL_TIMEOUT`] anyway.
pub(crate) const MAX_DIAL_ADDRESSES: usize = 16;

/// Longest wait for a connection to a target, over all its addresses.
pub(crate) const DIAL_TIMEOUT: Duration = Duration::from_secs(10);

/// RFC 8305 §5: the recommended "Connection Attempt Delay".
pub(crate) const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// Silence on a target's socket before the kernel probes it.
pub(crate) const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);

/// Time between two keep-alive probes.
pub(crate) const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);

/// Probes without an answer after which the kernel ends the connection.
pub(crate) const KEEPALIVE_PROBES: u32 = 4;

/// Smallest read of a socket.
pub(crate) const MIN_READ: usize = 4 << 10;

/// Largest read from a target: what one DATA frame carries at most.
pub(crate) const MAX_TARGET_READ: usize = titan_proto::limits::MAX_FRAME as usize;

/// Largest read from the tunnel. Large reads are what bulk data costs least with; one twice as large
/// gains nothing more and leaves the processor's cache.
pub(crate) const MAX_TUNNEL_READ: usize = 512 << 10;

/// Reads in a row from one socket before its task waits again.
pub(crate) const READ_BURST: usize = 4;

/// A read that fills less than this share of its buffer (one in so many parts) is copied out, so
/// that a small answer does not pin a large buffer while it waits.
pub(crate) const COPY_BELOW_SHARE: usize = 2;

/// How long a session that its target has reset stays for what the target sent before that.
pub(crate) const FLUSH_BEFORE_RESET: Duration = Duration::from_millis(500);

/// Largest batch handed to a target's socket in one write.
pub(crate) const MAX_TARGET_WRITE: usize = 512 << 10;

/// Bytes that the sessions of an edge may hold, together: as much as a small virtual machine can spare,
/// and five hundred full windows as they are at first.
pub(crate) const SESSION_MEMORY: usize = 128 << 20;

/// Buffers in one vectored write. The kernel refuses more than 1,024 (UIO_MAXIOV); beyond this
/// many, another system call costs less than the bytes it carries.
pub(crate) const MAX_IO_SLICES: usize = 128;

/// Datagrams taken from one side of an association before others get a turn: at 1,400 bytes each
/// some 90 KiB, as much as one large read of a stream.
pub(crate) const DATAGRAM_BURST: usize = 64;

/// Room for one datagram: more than the 65,527 bytes that UDP over IPv6 can carry, so that none is
/// ever cut.
pub(crate) const DATAGRAM_ROOM: usize = 64 << 10;

/// Socket buffers of an association, in each direction. The kernel's default of 208 KiB holds some 90
/// full-sized datagrams, which a sender of 100 Mbit/s fills in 10 ms; memory is used only by what
/// waits.
pub(crate) const DATAGRAM_SOCKET_BUFFER: usize = 1 << 20;

/// Names whose addresses an association remembers. A client talks to a few; a resolver's tests to
/// some dozens.
pub(crate) const ASSOCIATION_NAMES: usize = 64;

/// Look-ups of one association that run at once, of [`MAX_LOOKUPS`] in all.
pub(crate) const ASSOCIATION_LOOKUPS: usize = 8;

/// Datagrams to one name that wait for its address: the first packets of a call or of QUIC. With
/// [`ASSOCIATION_LOOKUPS`] names at most 8 MiB if all are of the greatest length.
pub(crate) const DATAGRAMS_AWAITING_NAME: usize = 16;

/// How long an address is used. The system's resolver tells no lifetime; names that move keep their
/// old address for some minutes.
pub(crate) const NAME_FRESH: Duration = Duration::from_secs(60);

/// How long a name counts as one without an address.
pub(crate) const NAME_MISSING_FRESH: Duration = Duration::from_secs(5);

/// Entries of the submission queue. The queue is flushed whenever it is full.
pub(crate) const RING_ENTRIES: u32 = 1024;

/// Completions the ring holds before the kernel has to buffer more of them.
pub(crate) const RING_COMPLETIONS: u32 = 8192;

/// Largest request head that `whoami` reads.
pub(crate) const MAX_WHOAMI_HEAD: usize = 16 << 10;

/// Most header fields that `whoami` takes.
pub(crate) const MAX_WHOAMI_FIELDS: usize = 64;

/// Longest wait for the request of `whoami`.
pub(crate) const WHOAMI_TIMEOUT: Duration = Duration::from_secs(30);

const _: () = assert!(MIN_READ <= MAX_TARGET_READ && MIN_READ <= MAX_TUNNEL_READ);
const _: () = assert!(MAX_IO_SLICES <= 1024);
const _: () = assert!(RESOLVE_TIMEOUT.as_secs() < TUNNEL_OPEN_TIMEOUT.as_secs());
const _: () = assert!(ASSOCIATION_LOOKUPS < MAX_LOOKUPS && ASSOCIATION_LOOKUPS < ASSOCIATION_NAMES);
const _: () = assert!(DATAGRAM_ROOM > titan_proto::limits::MAX_DATAGRAM);

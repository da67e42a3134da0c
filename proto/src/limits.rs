//! Every bound of the protocols, each with its reason.

use std::time::Duration;

/// Bytes a session's receiver grants at first. One 256 KiB window fills 20 Mbit/s at 100 ms, and
/// 10,000 sessions that nobody reads hold at most 2.5 GiB before memory pressure shrinks them.
pub const INITIAL_WINDOW: u32 = 256 * 1024;

/// Most credit a sender may ever hold. Far above the 6 MiB that windows grow to, far below where
/// the sums would overflow.
pub const MAX_WINDOW: u32 = 64 * 1024 * 1024;

/// Smallest initial window a peer may announce: less would make every write a round trip.
pub const MIN_WINDOW: u32 = 4 * 1024;

/// Largest payload of a DATA frame we accept and announce. A frame is the unit of fairness among
/// sessions; 64 KiB make the headers 0.03 % of the traffic.
pub const MAX_FRAME: u32 = 64 * 1024;

/// Smallest frame limit a peer may announce.
pub const MIN_MAX_FRAME: u32 = 1024;

/// Most sessions one tunnel carries: what the slot half of a session id can name.
pub const MAX_SESSIONS: u32 = 65_535;

/// Unsent DATA a tunnel holds: the write ring. Enough to keep 10 Gbit/s busy for 800 µs, which is
/// more than a turn of the event loop takes.
pub const RING_BYTES: usize = 1024 * 1024;

/// Least share of the write ring a session gets, however many compete for it.
pub const MIN_RING_SHARE: usize = 16 * 1024;

/// Room below which a session is told to wait rather than to write a sliver. Not applied to credit:
/// there the peer decides.
pub const MIN_RING_ROOM: usize = 4 * 1024;

/// Slices in one batch for the transport. Beyond some dozen a longer vector saves no more calls, and
/// it must stay below the kernel's limit of 1,024.
pub const MAX_BATCH_SLICES: usize = 64;

/// Queued control frames at which no more sessions may be opened. Each is at most 300 bytes.
pub const OPEN_BACKLOG_BYTES: usize = 64 * 1024;

/// Queued control frames at which the tunnel is closed: the peer makes us answer and does not read
/// the answers. Above [`OPEN_BACKLOG_BYTES`] by what 3,000 sessions may have to say.
pub const MAX_CONTROL_BYTES: usize = 256 * 1024;

/// Payload of any frame but DATA. The longest is an OPEN with a 255-byte name and options, or a
/// RESET with [`MAX_RESET_TEXT`].
pub const MAX_CONTROL_PAYLOAD: usize = 1024;

/// Bytes of text a RESET carries.
pub const MAX_RESET_TEXT: usize = 256;

/// Chunks below this size are copied when they have to wait, so that a few bytes do not pin the
/// whole read buffer they arrived in. Copying 2 KiB costs less than the queue's own bookkeeping.
pub const COPY_BELOW: usize = 2 * 1024;

/// Time between heartbeats: 19,000 tunnels cost 1,300 pings a second, and NAT tables that forget
/// after 30 s stay alive.
pub const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(15);

/// Silence after which a tunnel counts as dead: three heartbeats, so that one lost packet with a
/// slow retransmission does not end a tunnel.
pub const HEARTBEAT_TIMEOUT: Duration = Duration::from_secs(45);

/// Time the peer has for its HELLO.
pub const HELLO_TIMEOUT: Duration = Duration::from_secs(10);

/// Longest head of a WebSocket opening handshake. The largest part of it is a signed token of about
/// a kilobyte; browsers and the proxies in between add less than that.
pub const UPGRADE_MAX_HEAD: usize = 8 * 1024;

/// Most header lines in the head of an opening handshake: a browser sends about 20, each proxy in
/// between a few more.
pub const UPGRADE_MAX_HEADERS: usize = 64;

/// Bytes of text taken over from a server that refuses an opening handshake: a sentence for the
/// log, not a page.
pub const UPGRADE_MAX_REFUSAL: usize = 1024;

/// Longest head of a proxy request. Browsers send 1 to 2 KiB; sites with many cookies make that 8,
/// which is what most servers take.
pub const PROXY_MAX_HEAD: usize = 16 * 1024;

/// Most header lines in a proxy request, as many as common servers take. No `Connection` header may
/// name more of them, which bounds the work of removing those.
pub const PROXY_MAX_HEADERS: usize = 100;

/// Longest method of a proxy request: the longest registered one, `UPDATEREDIRECTREF`, has 17.
pub const PROXY_MAX_METHOD: usize = 32;

/// Bytes of user name and of password that HTTP may carry: what SOCKS5 may (RFC 1929 §2), so that
/// whoever can log in can do so by either.
pub const PROXY_MAX_CREDENTIAL: usize = 255;

/// Bytes of explanation in an error response: a sentence or two.
pub const PROXY_MAX_DETAIL: usize = 512;

/// Longest head of an origin server's response. Sites that set many cookies and a long policy come
/// to 16 KiB; browsers take 256 KiB, and other proxies 16 to 64.
pub const RESPONSE_MAX_HEAD: usize = 64 * 1024;

/// Most header lines in a response: 30 are common, and each cookie is a line.
pub const RESPONSE_MAX_HEADERS: usize = 256;

/// Longest extension of a chunk (RFC 9112 §7.1.1), with its semicolon. Signed uploads to object stores have
/// the longest that are known, 85 bytes.
pub const CHUNKED_MAX_EXTENSION: usize = 1024;

/// Longest trailer section of chunked content: checksums and signatures, a few lines.
pub const CHUNKED_MAX_TRAILER: usize = 8 * 1024;

const _: () = {
    assert!(MIN_WINDOW <= INITIAL_WINDOW && INITIAL_WINDOW <= MAX_WINDOW);
    assert!(MIN_MAX_FRAME <= MAX_FRAME);
    assert!(MIN_RING_ROOM <= MIN_RING_SHARE && MIN_RING_SHARE <= RING_BYTES);
    assert!(OPEN_BACKLOG_BYTES < MAX_CONTROL_BYTES);
    assert!(MAX_RESET_TEXT < MAX_CONTROL_PAYLOAD);
    assert!(MAX_SESSIONS <= u16::MAX as u32);
};

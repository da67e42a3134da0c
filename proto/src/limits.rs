//! Every bound of the protocols, each with its reason.

use std::time::Duration;

use crate::addr::MAX_ENCODED_TARGET;

/// Bytes that HELLO grants in each new session, whatever the memory: what the opener may send before
/// it hears anything. It fills 20 Mbit/s at 100 ms.
pub const INITIAL_WINDOW: u32 = 256 * 1024;

/// What a new session's window is at once where HELLO granted less and there is memory.
pub const START_WINDOW: u32 = INITIAL_WINDOW;

/// What windows grow to with the traffic: 120 MB/s at 50 ms of round trip.
pub const GROWN_WINDOW: u32 = 6 * 1024 * 1024;

/// What they grow to while hardly any memory is held: 100 MB/s at 160 ms, once around the world.
pub const LARGEST_WINDOW: u32 = 16 * 1024 * 1024;

/// Most credit a sender may ever hold. Far above what windows grow to, far below where the sums
/// would overflow.
pub const MAX_WINDOW: u32 = 64 * 1024 * 1024;

/// Time by which a window's round may exceed two round trips and the window still grow: what the two
/// ends take to wake up and to hand the bytes on. Without it a line that is quicker than the
/// programs at its ends would be fed in pieces too small to be cheap.
pub const WINDOW_LATENCY: Duration = Duration::from_millis(2);

/// Up to here windows grow for that reason; beyond it only with the round trip. Two of the largest
/// frames: one is read while the grant for the other is under way. Larger pieces are hardly cheaper,
/// and a session on a quick line would hold memory for nothing.
pub const LATENCY_WINDOW: u32 = 2 * MAX_FRAME;

/// Bytes that the sessions of one thread may hold unless told otherwise.
pub const SESSION_MEMORY: usize = 256 * 1024 * 1024;

/// Smallest initial window a peer may announce: less would make every write a round trip.
pub const MIN_WINDOW: u32 = 4 * 1024;

/// Largest payload of a DATA frame we accept and announce: one large read. Sixteen uploads cost a PoP
/// 0.38 s of CPU per GB with reads of 2 MiB and 0.55 with 256 KiB: the kernel works off the sender's
/// next segments on each reader's clock, so few deep reads are cheaper than many shallow ones; 4 MiB gain
/// nothing more. A frame is the unit of fairness among sessions, so on a slow line no frame is longer
/// than the batch that [`Pace`](crate::mux::Pace) allows.
pub const MAX_FRAME: u32 = 2 * 1024 * 1024;

/// Smallest frame limit a peer may announce.
pub const MIN_MAX_FRAME: u32 = 1024;

/// Most sessions one tunnel carries: what the slot half of a session id can name.
pub const MAX_SESSIONS: u32 = 65_535;

/// Unsent DATA at which a tunnel's write ring is full; the frame that fills it may exceed it. Enough to
/// keep 10 Gbit/s busy for 800 µs, which is more than a turn of the event loop takes, and little
/// enough that what is written is still in the processor's cache: with 8 MiB a PoP spends twice the
/// time on copying into the socket.
pub const RING_BYTES: usize = 1024 * 1024;

/// Least size of the ring, on the slowest line: four frames that may change places.
pub const MIN_RING_BYTES: usize = 64 * 1024;

/// What a session that talks little may add to a full ring, so that its key press waits for its
/// turn among the sessions and not for room that bulk data leaves.
pub const TALK_BYTES: usize = 4 * 1024;

/// Smallest batch handed to the transport. What it holds can no longer be overtaken: 16 KiB are
/// 6.5 ms on a line of 20 Mbit/s.
pub const MIN_WRITE_BATCH: usize = 16 * 1024;

/// Largest batch handed to the transport: one of the largest frames, on a line of 400 MB/s and more.
pub const MAX_WRITE_BATCH: usize = MAX_FRAME as usize;

/// The batch a tunnel starts with, before its speed is known.
pub const FIRST_WRITE_BATCH: usize = 64 * 1024;

/// What a batch is worth in time: on a slow line another session's bytes wait for so much more than
/// their turn.
pub const BATCH_TIME: Duration = Duration::from_millis(5);

/// A line's speed is measured over so many batches, or for so long: the transport takes one batch at
/// once and makes the next one wait.
pub const PACE_BATCHES: usize = 4;
/// See [`PACE_BATCHES`].
pub const PACE_TIME: Duration = Duration::from_millis(20);

/// Slices in one batch for the transport. Beyond some dozen a longer vector saves no more calls, and
/// it must stay below the kernel's limit of 1,024.
pub const MAX_BATCH_SLICES: usize = 64;

/// Queued control frames at which no more sessions may be opened. Each is at most 300 bytes.
pub const OPEN_BACKLOG_BYTES: usize = 64 * 1024;

/// Queued control frames at which the tunnel is closed: the peer makes us answer and does not read
/// the answers. Above [`OPEN_BACKLOG_BYTES`] by what 3,000 sessions may have to say.
pub const MAX_CONTROL_BYTES: usize = 256 * 1024;

/// Frames that bring nothing on which a peer may send in one go; `mux::budget` lists them. An honest
/// peer's are those under way when their session ended: at most as many frames as one round trip
/// holds, and 100,000 messages a second on a line of a whole second are that many.
pub const IDLE_FRAMES_BURST: u32 = 100_000;

/// Frames that bring nothing on which a peer may send each second for ever. When 20,000 sessions a
/// second end by a reset of ours, about as many frames that were under way come too late; this is
/// more than twice that. Each costs some 200 ns, so a flood gets 1 % of a core.
pub const IDLE_FRAMES_PER_S: u32 = 50_000;

/// What it costs a PoP to reset a session that its edge is still dialling: two frames that bring
/// nothing on. An edge has begun a task and perhaps a socket for it; 20,000 sessions a second that
/// are all given up are still no flood.
pub const CANCEL_COST: u32 = 2;

/// Grants below this bring nothing on: they would make us send slivers. A quarter of the smallest
/// window is the least that a receiver has reason to grant.
pub const SMALL_GRANT: u32 = MIN_WINDOW / 4;

/// Fragments of a WebSocket message below this bring nothing on. Neither end sends fragments, and a
/// proxy in between that does has no reason to cut so small.
pub const SMALL_FRAGMENT: u64 = 1024;

/// Largest UDP payload carried: what IPv4 can, 65,535 bytes less 20 of its header and 8 of UDP's
/// (RFC 791 §3.1, RFC 768). IPv6 could carry 20 bytes more; no sender relies on them.
pub const MAX_DATAGRAM: usize = 65_507;

/// Payload of a DATAGRAM frame: an address and a datagram. Collected whole, so that a tunnel holds
/// at most one incomplete one; longer than a DATA frame's [`MAX_FRAME`] by what the maxima demand.
pub const MAX_DATAGRAM_PAYLOAD: usize = MAX_ENCODED_TARGET + MAX_DATAGRAM;

/// Unsent datagrams a tunnel holds, beside the DATA of [`RING_BYTES`]: bulk data does not crowd them
/// out, nor they it. 200 ms of a 20 Mbit/s uplink; what waits longer is of no use to a call or a
/// game, and a download by QUIC is told to slow down by a loss.
pub const DATAGRAM_RING_BYTES: usize = 512 * 1024;

/// Least share of that for an association, however many compete. The first datagram in an
/// association's queue is bound only by the whole.
pub const MIN_DATAGRAM_SHARE: usize = 16 * 1024;

/// Datagrams that arrived for an association and were not taken. Its consumer never waits for
/// anything but its turn, and in one turn the tunnel's reader takes up to 1 MiB.
pub const DATAGRAM_INBOX_BYTES: usize = 1024 * 1024;

/// What a queued datagram costs beside its bytes: its place in the queue, its buffer's own
/// bookkeeping. Empty datagrams would otherwise queue without bound.
pub const DATAGRAM_OVERHEAD: usize = 128;

/// Payload of any frame but DATA and DATAGRAM. The longest is an OPEN with a 255-byte name and options, or a
/// RESET with [`MAX_RESET_TEXT`].
pub const MAX_CONTROL_PAYLOAD: usize = 1024;

/// Bytes of text a RESET carries.
pub const MAX_RESET_TEXT: usize = 256;

/// Chunks below this size are copied when they have to wait, so that a few bytes do not pin the
/// whole read buffer they arrived in. Copying 2 KiB costs less than the queue's own bookkeeping.
pub const COPY_BELOW: usize = 2 * 1024;

/// Payloads that wait to be sent are joined up to this size, which every peer takes in one frame. So a
/// session that is fed single bytes queues one frame a kilobyte, and not a buffer and a header for each.
pub const JOIN_UP_TO: usize = MIN_MAX_FRAME as usize;

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
    assert!(INITIAL_WINDOW <= START_WINDOW && START_WINDOW <= GROWN_WINDOW);
    assert!(START_WINDOW <= LATENCY_WINDOW && LATENCY_WINDOW <= GROWN_WINDOW);
    assert!(GROWN_WINDOW <= LARGEST_WINDOW && LARGEST_WINDOW <= MAX_WINDOW);
    assert!(MIN_RING_BYTES <= RING_BYTES && MIN_WRITE_BATCH <= MIN_RING_BYTES);
    assert!(MIN_WRITE_BATCH <= FIRST_WRITE_BATCH && FIRST_WRITE_BATCH <= MAX_WRITE_BATCH);
    assert!(MIN_WRITE_BATCH.is_power_of_two() && MAX_WRITE_BATCH.is_power_of_two());
    assert!(OPEN_BACKLOG_BYTES < MAX_CONTROL_BYTES);
    assert!(MIN_DATAGRAM_SHARE <= DATAGRAM_RING_BYTES);
    assert!(MAX_DATAGRAM_PAYLOAD + DATAGRAM_OVERHEAD <= DATAGRAM_RING_BYTES);
    assert!(MAX_DATAGRAM_PAYLOAD + DATAGRAM_OVERHEAD <= DATAGRAM_INBOX_BYTES);
    assert!(MAX_RESET_TEXT < MAX_CONTROL_PAYLOAD);
    assert!(MAX_SESSIONS <= u16::MAX as u32);
    assert!(IDLE_FRAMES_PER_S <= IDLE_FRAMES_BURST);
    assert!(CANCEL_COST * 20_000 <= IDLE_FRAMES_PER_S);
};

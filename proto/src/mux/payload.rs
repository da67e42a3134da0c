//! Bytes to send, with room in front for the headers of two layers.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::{FrameHeader, FrameKind, SessionId};
use crate::ws;

/// Payload of one DATA or DATAGRAM frame, kept so that the headers are written in front of it and the whole
/// frame leaves as one slice, without a copy.
///
/// ```text
///  0                     HEADROOM
/// +----------------------+--------------------+
/// | room for the headers | payload            |
/// +----------------------+--------------------+
/// ```
#[derive(Debug)]
pub struct Payload {
    /// Invariant: `buf.len() >= HEADROOM`.
    buf: BytesMut,
}

impl Payload {
    /// Bytes to leave free in front of the payload: the longest WebSocket header and a frame header.
    pub const HEADROOM: usize = ws::header::MAX_LEN + FrameHeader::LEN;

    /// Takes a buffer whose first [`HEADROOM`](Self::HEADROOM) bytes are free for headers.
    ///
    /// # Panics
    /// If the buffer is shorter than that, which is a mistake of the caller's, not of the peer's.
    pub fn from_buffer(buf: BytesMut) -> Self {
        assert!(buf.len() >= Self::HEADROOM, "a payload needs its headroom");
        Self { buf }
    }

    /// Copies `bytes` behind fresh headroom.
    pub fn copy_from(bytes: &[u8]) -> Self {
        let mut buf = BytesMut::with_capacity(Self::HEADROOM + bytes.len());
        buf.put_bytes(0, Self::HEADROOM);
        buf.put_slice(bytes);
        Self { buf }
    }

    /// Adds bytes behind the payload.
    pub(super) fn append(&mut self, bytes: &[u8]) {
        self.buf.extend_from_slice(bytes);
    }

    /// Bytes of payload.
    pub fn len(&self) -> usize {
        self.buf.len() - Self::HEADROOM
    }

    /// Whether there is no payload.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The payload.
    pub fn as_slice(&self) -> &[u8] {
        &self.buf[Self::HEADROOM..]
    }

    /// Writes the headers in front, masks what RFC 6455 §5.3 says when there is a key, and gives
    /// the frame as it travels.
    pub(super) fn into_frame(
        mut self,
        kind: FrameKind,
        id: SessionId,
        key: Option<[u8; 4]>,
    ) -> Bytes {
        let header = FrameHeader::session(kind, id).encode();
        let mux_at = Self::HEADROOM - FrameHeader::LEN;
        self.buf[mux_at..Self::HEADROOM].copy_from_slice(&header);
        let message = &mut self.buf[mux_at..];
        let mut ws_header = [0; ws::header::MAX_LEN];
        let mut rest = &mut ws_header[..];
        write_header(key, message.len(), &mut rest);
        let unused = rest.len();
        let ws_len = ws::header::MAX_LEN - unused;
        if let Some(key) = key {
            ws::mask::apply(key, 0, message);
        }
        let start = mux_at - ws_len;
        self.buf[start..mux_at].copy_from_slice(&ws_header[..ws_len]);
        self.buf.advance(start);
        self.buf.freeze()
    }
}

/// Appends the WebSocket header of one whole binary message of `len` bytes.
pub(super) fn write_header(key: Option<[u8; 4]>, len: usize, out: &mut impl BufMut) {
    ws::encode_frame_header(true, ws::Opcode::Binary, key, len as u64, out);
}

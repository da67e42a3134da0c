//! Cuts the stream of WebSocket messages into mux frames, without waiting for their end.

use bytes::BytesMut;

use super::{FrameHeader, FrameKind, SessionId, Violation};
use crate::limits::{MAX_CONTROL_PAYLOAD, MAX_DATAGRAM_PAYLOAD};

/// What a piece of a message turned out to be.
#[derive(Debug)]
pub(super) enum Arrived {
    /// Bytes of a DATA frame that may not be complete yet. May be empty.
    Data {
        id: SessionId,
        bytes: BytesMut,
        /// The frame is complete and had not one byte.
        is_void: bool,
    },
    /// Any other frame, whole.
    Frame {
        header: FrameHeader,
        payload: BytesMut,
    },
    /// Nothing to act on yet.
    Incomplete,
}

/// The frame under way: each WebSocket message is one frame.
#[derive(Debug)]
pub(super) struct Inbox {
    state: State,
    max_frame: usize,
}

#[derive(Debug)]
enum State {
    /// Collecting the header; a sender may cut a message anywhere.
    Header {
        bytes: [u8; FrameHeader::LEN],
        filled: usize,
    },
    /// Handing on DATA as it arrives; `len` bytes so far.
    Data { id: SessionId, len: usize },
    /// Collecting the payload of any other frame.
    Frame {
        header: FrameHeader,
        payload: BytesMut,
    },
}

impl State {
    const START: Self = Self::Header {
        bytes: [0; FrameHeader::LEN],
        filled: 0,
    };
}

impl Inbox {
    /// `max_frame` is the longest DATA payload this end has announced to take.
    pub(super) fn new(max_frame: u32) -> Self {
        Self {
            state: State::START,
            max_frame: max_frame as usize,
        }
    }

    /// Takes the next piece of a message, `end` if it is the last.
    pub(super) fn push(&mut self, mut piece: BytesMut, end: bool) -> Result<Arrived, Violation> {
        if let State::Header { bytes, filled } = &mut self.state {
            let part = piece.split_to(piece.len().min(FrameHeader::LEN - *filled));
            bytes[*filled..*filled + part.len()].copy_from_slice(&part);
            *filled += part.len();
            if *filled == FrameHeader::LEN {
                self.state = Self::start(FrameHeader::decode(*bytes)?);
            } else if end {
                return Err(Violation::Malformed("header"));
            } else {
                return Ok(Arrived::Incomplete);
            }
        }
        self.push_payload(piece, end)
    }

    fn start(header: FrameHeader) -> State {
        match header {
            FrameHeader {
                kind: FrameKind::Data,
                session: Some(id),
            } => State::Data { id, len: 0 },
            header => State::Frame {
                header,
                payload: BytesMut::new(),
            },
        }
    }

    fn push_payload(&mut self, piece: BytesMut, end: bool) -> Result<Arrived, Violation> {
        match &mut self.state {
            State::Header { .. } => Ok(Arrived::Incomplete),
            State::Data { id, len } => {
                *len += piece.len();
                if *len > self.max_frame {
                    return Err(Violation::FrameTooLong);
                }
                let (id, is_void) = (*id, end && *len == 0);
                if end {
                    self.state = State::START;
                }
                Ok(Arrived::Data {
                    id,
                    bytes: piece,
                    is_void,
                })
            }
            State::Frame { header, payload } => {
                if payload.len() + piece.len() > max_payload(header.kind) {
                    return Err(Violation::Malformed("overlong"));
                }
                if end && payload.is_empty() {
                    *payload = piece;
                } else {
                    // What waits for its end must not pin the read buffer it came in.
                    payload.extend_from_slice(&piece);
                }
                if !end {
                    return Ok(Arrived::Incomplete);
                }
                let arrived = Arrived::Frame {
                    header: *header,
                    payload: std::mem::take(payload),
                };
                self.state = State::START;
                Ok(arrived)
            }
        }
    }
}

/// The longest payload of a frame that is collected whole.
fn max_payload(kind: FrameKind) -> usize {
    match kind {
        FrameKind::Datagram => MAX_DATAGRAM_PAYLOAD,
        _ => MAX_CONTROL_PAYLOAD,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id() -> SessionId {
        SessionId::new(1, 1).expect("valid")
    }

    fn message(kind: FrameKind, payload: &[u8]) -> BytesMut {
        let mut message = BytesMut::from(&FrameHeader::session(kind, id()).encode()[..]);
        message.extend_from_slice(payload);
        message
    }

    #[test]
    fn data_is_handed_on_in_the_pieces_it_comes_in() {
        let whole = message(FrameKind::Data, b"hello");
        for cut in 0..=whole.len() {
            let mut inbox = Inbox::new(5);
            let mut rest = whole.clone();
            let mut data = BytesMut::new();
            let first = rest.split_to(cut);
            for (piece, end) in [(first, false), (rest, true)] {
                if let Arrived::Data { bytes, .. } = inbox.push(piece, end).expect("sound") {
                    data.extend_from_slice(&bytes);
                }
            }
            assert_eq!(data, &b"hello"[..], "cut at {cut}");
        }
    }

    #[test]
    fn a_frame_without_a_byte_is_told_from_one_whose_bytes_are_to_come() {
        let push = |end| Inbox::new(5).push(message(FrameKind::Data, b""), end);
        assert!(matches!(
            push(true),
            Ok(Arrived::Data { is_void: true, .. })
        ));
        assert!(matches!(
            push(false),
            Ok(Arrived::Data { is_void: false, .. })
        ));
    }

    #[test]
    fn other_frames_come_whole() {
        let whole = message(FrameKind::Reset, b"\x01text");
        for cut in 0..=whole.len() {
            let mut inbox = Inbox::new(5);
            let mut rest = whole.clone();
            let first = rest.split_to(cut);
            assert!(matches!(inbox.push(first, false), Ok(Arrived::Incomplete)));
            let Ok(Arrived::Frame { header, payload }) = inbox.push(rest, true) else {
                panic!("cut at {cut}");
            };
            assert_eq!(
                (header.kind, &payload[..]),
                (FrameKind::Reset, &b"\x01text"[..])
            );
        }
    }

    #[test]
    fn a_message_without_a_whole_header_is_a_violation() {
        for len in 0..FrameHeader::LEN {
            let cut = BytesMut::from(&message(FrameKind::Fin, b"")[..len]);
            let result = Inbox::new(5).push(cut, true);
            assert!(matches!(result, Err(Violation::Malformed("header"))));
        }
    }

    #[test]
    fn payloads_are_bounded_before_they_are_complete() {
        let data = message(FrameKind::Data, &[0; 6]);
        assert!(matches!(
            Inbox::new(5).push(data, false),
            Err(Violation::FrameTooLong)
        ));
        for (kind, bound) in [
            (FrameKind::Reset, MAX_CONTROL_PAYLOAD),
            (FrameKind::Datagram, MAX_DATAGRAM_PAYLOAD),
        ] {
            let longest = message(kind, &vec![0; bound]);
            assert!(Inbox::new(5).push(longest, true).is_ok());
            let overlong = message(kind, &vec![0; bound + 1]);
            assert!(matches!(
                Inbox::new(5).push(overlong, false),
                Err(Violation::Malformed("overlong"))
            ));
        }
    }
}

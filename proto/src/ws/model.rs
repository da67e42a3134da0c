//! A second, simpler reading of RFC 6455 to compare the deframer with: it sees the whole input at
//! once, copies everything and shares no code with the codec.

use bytes::BytesMut;

use super::{Deframer, Error, Opcode, Piece, Role, close};

/// What a stream of frames amounts to, independent of how it was cut into segments.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Outcome {
    /// Whole messages and control frames, in order.
    pub(super) events: Vec<Event>,
    /// The bytes that have arrived of a message that has not ended. Empty after an error: how much
    /// of a text is handed on before its bad byte depends on the segments.
    pub(super) unfinished: Vec<u8>,
    /// The broken rule that ended the stream.
    pub(super) error: Option<Error>,
}

/// A whole message or control frame.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Event {
    Message(Opcode, Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<(close::CloseCode, String)>),
}

/// What `input` amounts to by the deframer when it arrives in `segments`.
///
/// # Panics
///
/// When the deframer breaks a promise of its documentation.
pub(super) fn deframe<'a>(role: Role, segments: impl IntoIterator<Item = &'a [u8]>) -> Outcome {
    let mut deframer = Deframer::new(role);
    let mut input = BytesMut::new();
    let mut outcome = Outcome::default();
    for segment in segments {
        input.extend_from_slice(segment);
        loop {
            match deframer.next(&mut input) {
                Ok(Some(piece)) => outcome.take(piece),
                Ok(None) => break,
                Err(error) => {
                    assert_eq!(deframer.next(&mut input), Err(error), "an error is final");
                    return outcome.fail(error);
                }
            }
        }
        assert!(input.len() < Deframer::MAX_UNCONSUMED, "bytes were left");
    }
    outcome
}

/// What `input` amounts to by this model.
pub(super) fn interpret(role: Role, mut input: &[u8]) -> Outcome {
    let mut outcome = Outcome::default();
    let mut open = None;
    while !matches!(outcome.events.last(), Some(Event::Close(_))) {
        let read = Frame::read(role, input).and_then(|frame| match frame {
            Some(frame) => outcome.add(&mut open, &frame).map(|()| Some(frame)),
            None => Ok(None),
        });
        match read {
            Ok(Some(frame)) if frame.complete => input = &input[frame.wire_len..],
            Ok(_) => return outcome,
            Err(error) => return outcome.fail(error),
        }
    }
    outcome
}

impl Outcome {
    fn take(&mut self, piece: Piece) {
        assert!(
            !matches!(self.events.last(), Some(Event::Close(_))),
            "something after a close"
        );
        self.events.push(match piece {
            Piece::Data {
                opcode,
                bytes,
                message_end,
            } => {
                assert!(message_end || !bytes.is_empty(), "a piece without meaning");
                self.unfinished.extend_from_slice(&bytes);
                if !message_end {
                    return;
                }
                Event::Message(opcode, std::mem::take(&mut self.unfinished))
            }
            Piece::Ping(payload) => Event::Ping(payload.into()),
            Piece::Pong(payload) => Event::Pong(payload.into()),
            Piece::Close(reason) => Event::Close(reason),
        });
    }

    fn fail(mut self, error: Error) -> Self {
        self.unfinished.clear();
        self.error = Some(error);
        self
    }

    fn add(&mut self, open: &mut Option<Opcode>, frame: &Frame) -> Result<(), Error> {
        let payload = frame.payload.clone();
        match frame.opcode {
            Opcode::Ping | Opcode::Pong | Opcode::Close if !frame.complete => {}
            Opcode::Ping => self.events.push(Event::Ping(payload)),
            Opcode::Pong => self.events.push(Event::Pong(payload)),
            Opcode::Close => self.events.push(Event::Close(close_reason(&payload)?)),
            _ => return self.add_data(open, frame),
        }
        Ok(())
    }

    fn add_data(&mut self, open: &mut Option<Opcode>, frame: &Frame) -> Result<(), Error> {
        let opcode = match (frame.opcode, *open) {
            (Opcode::Continuation, None) => return Err(Error::UnexpectedContinuation),
            (Opcode::Continuation, Some(opcode)) => opcode,
            (_, Some(_)) => return Err(Error::MessageInterrupted),
            (opcode, None) => opcode,
        };
        *open = Some(opcode);
        self.unfinished.extend_from_slice(&frame.payload);
        let end = frame.fin && frame.complete;
        if opcode == Opcode::Text {
            check_text(&self.unfinished, end)?;
        }
        if end {
            *open = None;
            self.events
                .push(Event::Message(opcode, std::mem::take(&mut self.unfinished)));
        }
        Ok(())
    }
}

/// A frame, of which the end of the payload may be missing.
struct Frame {
    fin: bool,
    opcode: Opcode,
    payload: Vec<u8>,
    complete: bool,
    wire_len: usize,
}

impl Frame {
    /// The frame at the front of `input`; `None` while its header is incomplete.
    fn read(role: Role, input: &[u8]) -> Result<Option<Self>, Error> {
        let byte = |at: usize| input.get(at).copied().map(u64::from);
        let Some(first) = byte(0) else {
            return Ok(None);
        };
        let opcode = opcode(first & 15)?;
        let Some(second) = byte(1) else {
            return Ok(None);
        };
        let length_bytes = match second & 127 {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let mut len = if length_bytes == 0 { second & 127 } else { 0 };
        for at in 2..2 + length_bytes {
            let Some(digit) = byte(at) else {
                return Ok(None);
            };
            len = len << 8 | digit;
        }
        check_length(length_bytes, len)?;
        let masked = second & 128 != 0;
        let start = 2 + length_bytes + if masked { 4 } else { 0 };
        if input.len() < start {
            return Ok(None);
        }
        check_bits(role, first, masked, len)?;
        let available = len.min((input.len() - start) as u64);
        let end = start + usize::try_from(available).expect("no more than the input");
        let key = if masked {
            &input[start - 4..start]
        } else {
            &[0; 4]
        };
        let payload = input[start..end]
            .iter()
            .enumerate()
            .map(|(i, byte)| byte ^ key[i % 4]);
        Ok(Some(Self {
            fin: first & 128 != 0,
            opcode,
            payload: payload.collect(),
            complete: available == len,
            wire_len: end,
        }))
    }
}

fn opcode(bits: u64) -> Result<Opcode, Error> {
    use Opcode::{Binary, Close, Continuation, Ping, Pong, Text};
    let known = [
        (0, Continuation),
        (1, Text),
        (2, Binary),
        (8, Close),
        (9, Ping),
        (10, Pong),
    ];
    let found = known.into_iter().find(|(known, _)| *known == bits);
    found
        .map(|(_, opcode)| opcode)
        .ok_or(Error::ReservedOpcode(bits.try_into().expect("four bits")))
}

fn check_length(length_bytes: usize, len: u64) -> Result<(), Error> {
    match length_bytes {
        2 if len < 126 => Err(Error::LengthNotMinimal(len)),
        8 if len < 65536 => Err(Error::LengthNotMinimal(len)),
        8 if len >= 1 << 63 => Err(Error::LengthTooLarge(len)),
        _ => Ok(()),
    }
}

fn check_bits(role: Role, first: u64, masked: bool, len: u64) -> Result<(), Error> {
    let reserved = first / 16 % 8;
    match (role, masked) {
        _ if reserved != 0 => {
            return Err(Error::ReservedBits(
                reserved.try_into().expect("three bits"),
            ));
        }
        (Role::Server, false) => return Err(Error::MaskMissing),
        (Role::Client, true) => return Err(Error::MaskUnexpected),
        _ => {}
    }
    if first & 8 != 0 && first & 128 == 0 {
        return Err(Error::ControlFragmented);
    }
    if first & 8 != 0 && len > 125 {
        return Err(Error::ControlTooLong(len));
    }
    Ok(())
}

fn check_text(text: &[u8], end: bool) -> Result<(), Error> {
    match std::str::from_utf8(text) {
        Err(error) if end || error.error_len().is_some() => Err(Error::TextNotUtf8),
        _ => Ok(()),
    }
}

fn close_reason(payload: &[u8]) -> Result<Option<(close::CloseCode, String)>, Error> {
    let [high, low, reason @ ..] = payload else {
        return if payload.is_empty() {
            Ok(None)
        } else {
            Err(Error::CloseCodeTruncated)
        };
    };
    let code = u16::from(*high) * 256 + u16::from(*low);
    let code = close::CloseCode::new(code).ok_or(Error::InvalidCloseCode(code))?;
    let reason = String::from_utf8(reason.to_vec()).map_err(|_| Error::CloseReasonNotUtf8)?;
    Ok(Some((code, reason)))
}

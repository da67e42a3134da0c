//! From received bytes to pieces of messages and control frames (RFC 6455 §5, §6.2).

use bytes::{Buf, Bytes, BytesMut};

use super::{
    Error, Header, MAX_CONTROL_PAYLOAD, Opcode, Role, close, close::CloseCode, header, mask, utf8,
};
use crate::limits::SMALL_FRAGMENT;

/// What the peer sent, in the order it sent it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// The next bytes of a message, unmasked.
    Data {
        /// [`Opcode::Text`] or [`Opcode::Binary`]: the kind of the message, on each of its pieces.
        opcode: Opcode,
        /// What had arrived of one frame: at least one byte, or none when the message ends without
        /// more. A piece of text may end inside a character.
        bytes: BytesMut,
        /// True on the last piece of a message and on no other.
        message_end: bool,
    },
    /// A ping: send a pong with the same payload (§5.5.2). It shares no memory with the input.
    Ping(Bytes),
    /// A pong. It shares no memory with the input.
    Pong(Bytes),
    /// The peer's last frame, with its code and reason if it gave them (§5.5.1).
    Close(Option<(CloseCode, String)>),
}

/// Splits what arrives into [`Piece`]s.
///
/// A payload is handed on as it arrives, however long its frame. The deframer holds no payload, only
/// where in the stream it is:
///
/// ```text
///            data header                       all of the frame
///   Header ───────────────▶ Data ───────────────────────────────▶ Header
///      │                     └─ pieces, as they arrive
///      │    control header              all of the frame
///      ├──────────────────▶ Control ────────────────────────────▶ Header, or Closed
///      └─ a broken rule, in any state ──────────────────────────▶ Failed
/// ```
///
/// Invariants:
/// * When [`Deframer::next`] returns `Ok(None)`, its input holds part of a header or part of a
///   control frame, fewer than [`Deframer::MAX_UNCONSUMED`] bytes.
/// * A message that has begun and not ended is in `open` between its frames and in the state `Data`
///   during them, never in both.
/// * `Closed` and `Failed` are final.
#[derive(Debug, Clone)]
pub struct Deframer {
    role: Role,
    state: State,
    open: Option<Message>,
    small_fragments: u32,
}

impl Deframer {
    /// [`Deframer::next`] leaves fewer bytes than this in its input: a control frame of full length.
    pub const MAX_UNCONSUMED: usize = header::MAX_LEN + MAX_CONTROL_PAYLOAD;

    /// A deframer for the end that we are: a server requires masked frames, a client refuses them.
    pub const fn new(role: Role) -> Self {
        Self {
            role,
            state: State::Header,
            open: None,
            small_fragments: 0,
        }
    }

    /// Takes the next piece off the front of `input`, or returns `None` when that needs more bytes.
    ///
    /// Whatever arrives after [`Piece::Close`] is discarded (§1.4).
    ///
    /// # Errors
    ///
    /// The rule that the peer broke. The pieces before it are good; the connection has failed, and
    /// every later call returns the same error.
    pub fn next(&mut self, input: &mut BytesMut) -> Result<Option<Piece>, Error> {
        let result = self.advance(input);
        if let Err(error) = result {
            self.state = State::Failed(error);
        }
        result
    }

    /// Fragments below [`SMALL_FRAGMENT`] bytes, empty ones among them, that began since this was last
    /// asked. The RFC allows any number of them in a message (§5.4), so it is the owner who says how many are
    /// too many.
    pub fn take_small_fragments(&mut self) -> u32 {
        std::mem::take(&mut self.small_fragments)
    }

    fn advance(&mut self, input: &mut BytesMut) -> Result<Option<Piece>, Error> {
        if matches!(self.state, State::Header) {
            self.read_headers(input)?;
        }
        match self.state {
            State::Header => Ok(None),
            State::Data(frame) => self.read_data(frame, input),
            State::Control(frame) => self.read_control(frame, input),
            State::Closed => {
                input.clear();
                Ok(None)
            }
            State::Failed(error) => Err(error),
        }
    }

    /// Reads headers up to one whose frame makes a piece: an empty data frame makes none unless it
    /// ends its message.
    fn read_headers(&mut self, input: &mut BytesMut) -> Result<(), Error> {
        while matches!(self.state, State::Header)
            && let Some((header, len)) = header::decode(input)?
        {
            self.state = self.begin_frame(&header)?;
            input.advance(len);
        }
        Ok(())
    }

    /// Checks a header against all that does not depend on the payload.
    fn begin_frame(&mut self, header: &Header) -> Result<State, Error> {
        if header.rsv != 0 {
            return Err(Error::ReservedBits(header.rsv));
        }
        match (self.role, header.mask) {
            (Role::Server, None) => return Err(Error::MaskMissing),
            (Role::Client, Some(_)) => return Err(Error::MaskUnexpected),
            (Role::Server, Some(_)) | (Role::Client, None) => {}
        }
        let kind = match header.opcode {
            Opcode::Ping => Control::Ping,
            Opcode::Pong => Control::Pong,
            Opcode::Close => Control::Close,
            Opcode::Text | Opcode::Binary | Opcode::Continuation => {
                return self.begin_data_frame(header);
            }
        };
        ControlFrame::new(kind, header).map(State::Control)
    }

    /// Begins a message or goes on with the open one (§5.4).
    fn begin_data_frame(&mut self, header: &Header) -> Result<State, Error> {
        let message = match (header.opcode, self.open.take()) {
            (Opcode::Continuation, Some(message)) => message,
            (Opcode::Continuation, None) => return Err(Error::UnexpectedContinuation),
            (opcode, None) => Message {
                opcode,
                utf8: utf8::Validator::default(),
            },
            (_, Some(_)) => return Err(Error::MessageInterrupted),
        };
        if !header.fin && header.len < SMALL_FRAGMENT {
            self.small_fragments = self.small_fragments.saturating_add(1);
        }
        if header.len == 0 && !header.fin {
            self.open = Some(message);
            return Ok(State::Header);
        }
        Ok(State::Data(DataFrame {
            message,
            fin: header.fin,
            key: header.mask,
            left: header.len,
        }))
    }

    /// Takes what is there of a data frame's payload.
    fn read_data(
        &mut self,
        mut frame: DataFrame,
        input: &mut BytesMut,
    ) -> Result<Option<Piece>, Error> {
        if input.is_empty() && frame.left > 0 {
            return Ok(None);
        }
        let bytes = frame.take_payload(input);
        let message_end = frame.fin && frame.left == 0;
        frame.message.check(&bytes, message_end)?;
        let opcode = frame.message.opcode;
        if frame.left > 0 {
            self.state = State::Data(frame);
        } else {
            self.state = State::Header;
            self.open = (!message_end).then_some(frame.message);
        }
        Ok(Some(Piece::Data {
            opcode,
            bytes,
            message_end,
        }))
    }

    /// Takes a control frame's payload once all of it is there.
    fn read_control(
        &mut self,
        frame: ControlFrame,
        input: &mut BytesMut,
    ) -> Result<Option<Piece>, Error> {
        let Some(payload) = frame.take_payload(input) else {
            return Ok(None);
        };
        self.state = State::Header;
        Ok(Some(match frame.kind {
            Control::Ping => Piece::Ping(payload.freeze()),
            Control::Pong => Piece::Pong(payload.freeze()),
            Control::Close => {
                self.state = State::Closed;
                Piece::Close(close::parse(&payload)?)
            }
        }))
    }
}

#[derive(Debug, Clone, Copy)]
enum State {
    Header,
    Data(DataFrame),
    Control(ControlFrame),
    Closed,
    Failed(Error),
}

/// A message of which a frame has begun.
#[derive(Debug, Clone, Copy)]
struct Message {
    opcode: Opcode,
    /// Of text; a binary message leaves it alone.
    utf8: utf8::Validator,
}

impl Message {
    /// Checks the next bytes of a text, which must not end inside a character (§8.1).
    fn check(&mut self, bytes: &[u8], message_end: bool) -> Result<(), Error> {
        if self.opcode != Opcode::Text {
            return Ok(());
        }
        self.utf8
            .push(bytes)
            .map_err(|utf8::Malformed| Error::TextNotUtf8)?;
        if message_end && !self.utf8.is_complete() {
            return Err(Error::TextNotUtf8);
        }
        Ok(())
    }
}

/// A data frame of which the header has been read.
#[derive(Debug, Clone, Copy)]
struct DataFrame {
    message: Message,
    fin: bool,
    /// Turned so that its first byte masks the next byte of the payload.
    key: Option<[u8; 4]>,
    /// Bytes of the payload that have not been taken yet.
    left: u64,
}

impl DataFrame {
    /// Takes and unmasks as much of the payload as `input` holds.
    fn take_payload(&mut self, input: &mut BytesMut) -> BytesMut {
        let len = usize::try_from(self.left).map_or(input.len(), |left| left.min(input.len()));
        let mut bytes = input.split_to(len);
        if let Some(key) = &mut self.key {
            mask::apply(*key, 0, &mut bytes);
            *key = mask::turn(*key, len);
        }
        self.left -= len as u64;
        bytes
    }
}

/// A control frame of which the header has been read; `len` is at most [`MAX_CONTROL_PAYLOAD`].
#[derive(Debug, Clone, Copy)]
struct ControlFrame {
    kind: Control,
    key: Option<[u8; 4]>,
    len: usize,
}

#[derive(Debug, Clone, Copy)]
enum Control {
    Ping,
    Pong,
    Close,
}

impl ControlFrame {
    /// Checks what §5.5 asks of every control frame.
    fn new(kind: Control, header: &Header) -> Result<Self, Error> {
        if !header.fin {
            return Err(Error::ControlFragmented);
        }
        match usize::try_from(header.len) {
            Ok(len @ ..=MAX_CONTROL_PAYLOAD) => Ok(Self {
                kind,
                key: header.mask,
                len,
            }),
            _ => Err(Error::ControlTooLong(header.len)),
        }
    }

    /// Takes and unmasks the payload if `input` holds all of it.
    ///
    /// The copy is at most 125 bytes: an answer that waits to be sent must not pin a receive buffer.
    fn take_payload(&self, input: &mut BytesMut) -> Option<BytesMut> {
        let mut payload = BytesMut::from(input.get(..self.len)?);
        input.advance(self.len);
        if let Some(key) = self.key {
            mask::apply(key, 0, &mut payload);
        }
        Some(payload)
    }
}

#[cfg(test)]
mod tests;

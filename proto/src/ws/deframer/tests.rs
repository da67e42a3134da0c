use proptest::{collection::vec, prelude::*, sample::Index};

use super::*;
use crate::ws::model::{Event, Outcome, deframe, interpret};

const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// A frame as its sender writes it; masked when the receiver is a server.
fn frame(receiver: Role, fin: bool, opcode: Opcode, payload: &[u8]) -> Vec<u8> {
    let key = (receiver == Role::Server).then_some(KEY);
    let mut bytes = Vec::new();
    header::encode_frame_header(fin, opcode, key, payload.len() as u64, &mut bytes);
    let start = bytes.len();
    bytes.extend_from_slice(payload);
    if let Some(key) = key {
        mask::apply(key, 0, &mut bytes[start..]);
    }
    bytes
}

fn text(payload: &str) -> Event {
    Event::Message(Opcode::Text, payload.into())
}

/// Checks that `input` amounts to `expected`: whole, split in two at every byte, and byte by byte.
fn check(role: Role, input: &[u8], expected: &Outcome) {
    for cut in 0..=input.len() {
        let (a, b) = input.split_at(cut);
        assert_eq!(&deframe(role, [a, b]), expected, "split at {cut}");
    }
    assert_eq!(&deframe(role, input.chunks(1)), expected, "byte by byte");
    assert_eq!(&interpret(role, input), expected, "by the model");
}

fn check_events(role: Role, input: &[u8], events: Vec<Event>) {
    check(
        role,
        input,
        &Outcome {
            events,
            ..Outcome::default()
        },
    );
}

fn check_error(role: Role, input: &[u8], events: Vec<Event>, error: Error) {
    check(
        role,
        input,
        &Outcome {
            events,
            error: Some(error),
            ..Outcome::default()
        },
    );
}

/// The examples of §5.7, in its order.
#[test]
fn the_examples_of_the_rfc_are_read() {
    let (hello, client, server) = (b"Hello".to_vec(), Role::Client, Role::Server);
    check_events(client, b"\x81\x05Hello", vec![text("Hello")]);
    let masked = [
        0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58,
    ];
    check_events(server, &masked, vec![text("Hello")]);
    check_events(client, b"\x01\x03Hel\x80\x02lo", vec![text("Hello")]);
    check_events(client, b"\x89\x05Hello", vec![Event::Ping(hello.clone())]);
    let pong = [
        0x8a, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58,
    ];
    check_events(server, &pong, vec![Event::Pong(hello)]);
    for len in [256, 65536] {
        let payload: Vec<u8> = (0..len).map(|i: u32| i.to_le_bytes()[0]).collect();
        let input = frame(client, true, Opcode::Binary, &payload);
        let expected = vec![Event::Message(Opcode::Binary, payload)];
        assert_eq!(deframe(client, input.chunks(1)).events, expected);
        assert_eq!(deframe(client, input.chunks(1000)).events, expected);
    }
}

#[test]
fn control_frames_may_come_between_fragments() {
    let input = b"\x01\x02\xe2\x82\x89\x01!\x00\x00\x8a\x00\x80\x01\xac\x88\x04\x03\xe8ok";
    let close = Event::Close(Some((CloseCode::NORMAL, "ok".into())));
    let events = vec![
        Event::Ping(vec![b'!']),
        Event::Pong(vec![]),
        text("€"),
        close,
    ];
    check_events(Role::Client, input, events);
}

#[test]
fn empty_messages_and_fragments_are_read() {
    check_events(Role::Client, b"\x81\x00", vec![text("")]);
    check_events(Role::Client, b"\x01\x00\x00\x00\x80\x00", vec![text("")]);
    check_events(Role::Client, b"\x01\x01a\x80\x00", vec![text("a")]);
}

#[test]
fn what_follows_a_close_frame_is_discarded() {
    check_events(
        Role::Client,
        b"\x88\x00\x81\x01a\xff\xff",
        vec![Event::Close(None)],
    );
}

#[test]
fn a_payload_is_handed_on_before_its_frame_is_complete() {
    let mut deframer = Deframer::new(Role::Client);
    let mut input = BytesMut::from(&b"\x82\x7f\x7f\xff\xff\xff\xff\xff\xff\xffabc"[..]);
    let bytes = BytesMut::from("abc");
    let piece = Piece::Data {
        opcode: Opcode::Binary,
        bytes,
        message_end: false,
    };
    assert_eq!(deframer.next(&mut input), Ok(Some(piece)));
    assert_eq!(deframer.next(&mut input), Ok(None));
}

#[test]
fn a_broken_rule_is_named_after_all_that_came_before_it() {
    use Error::*;
    let broken: [(&[u8], Error); 14] = [
        (b"\xc1\x01a", ReservedBits(0b100)),
        (b"\x83\x00", ReservedOpcode(3)),
        (b"\x8b\x00", ReservedOpcode(11)),
        (b"\x81\x7e\x00\x7d", LengthNotMinimal(125)),
        (
            b"\x82\x7f\xff\xff\xff\xff\xff\xff\xff\xff",
            LengthTooLarge(u64::MAX),
        ),
        (b"\x81\x81abcd", MaskUnexpected),
        (b"\x09\x00", ControlFragmented),
        (b"\x89\x7e\x00\x7e", ControlTooLong(126)),
        (b"\x80\x00", UnexpectedContinuation),
        (b"\x01\x00\x81\x00", MessageInterrupted),
        (b"\x88\x01\x03", CloseCodeTruncated),
        (b"\x88\x02\x03\xed", InvalidCloseCode(1005)),
        (b"\x88\x03\x03\xe8\xff", CloseReasonNotUtf8),
        (b"\x81\x02\xe2\x82", TextNotUtf8),
    ];
    for (bytes, error) in broken {
        check_error(
            Role::Client,
            &[b"\x81\x01a", bytes].concat(),
            vec![text("a")],
            error,
        );
    }
    check_error(Role::Server, b"\x81\x01a", vec![], MaskMissing);
}

#[test]
fn close_codes_of_errors_follow_the_rfc() {
    assert_eq!(Error::TextNotUtf8.close_code(), CloseCode::INVALID_PAYLOAD);
    assert_eq!(
        Error::CloseReasonNotUtf8.close_code(),
        CloseCode::INVALID_PAYLOAD
    );
    assert_eq!(Error::MaskMissing.close_code(), CloseCode::PROTOCOL_ERROR);
}

#[test]
fn text_is_refused_at_its_first_bad_byte() {
    let mut deframer = Deframer::new(Role::Client);
    let mut input = BytesMut::from(&b"\x01\x7e\xff\xff\xce\xba\xf4"[..]);
    assert!(matches!(
        deframer.next(&mut input),
        Ok(Some(Piece::Data { .. }))
    ));
    input.extend_from_slice(b"\x90");
    assert_eq!(deframer.next(&mut input), Err(Error::TextNotUtf8));
}

/// Bytes of a stream that breaks no rule: messages in fragments with control frames between them.
fn any_stream(role: Role) -> impl Strategy<Value = Vec<u8>> {
    let control = (
        prop_oneof![Just(Opcode::Ping), Just(Opcode::Pong)],
        vec(any::<u8>(), 0..=125),
    );
    let fragment = (
        vec(any::<u8>(), 0..300),
        proptest::option::weighted(0.2, control),
    );
    let message = (any::<String>(), any::<bool>(), vec(fragment, 1..5));
    vec(message, 0..6).prop_map(move |messages| {
        messages
            .into_iter()
            .flat_map(|message| write_message(role, message))
            .collect()
    })
}

type Fragment = (Vec<u8>, Option<(Opcode, Vec<u8>)>);

fn write_message(role: Role, (text, is_text, fragments): (String, bool, Vec<Fragment>)) -> Vec<u8> {
    let (mut bytes, last) = (Vec::new(), fragments.len() - 1);
    let mut opcode = if is_text {
        Opcode::Text
    } else {
        Opcode::Binary
    };
    let mut text = text.as_bytes().chunks(text.len() / fragments.len() + 1);
    for (i, (payload, control)) in fragments.into_iter().enumerate() {
        let payload = if is_text {
            text.next().unwrap_or_default()
        } else {
            &payload
        };
        bytes.extend(frame(role, i == last, opcode, payload));
        if let Some((opcode, payload)) = control {
            bytes.extend(frame(role, true, opcode, &payload));
        }
        opcode = Opcode::Continuation;
    }
    bytes
}

/// Cuts `input` into segments of these lengths, over and over.
fn segments<'a>(mut input: &'a [u8], lens: &[usize]) -> Vec<&'a [u8]> {
    let mut segments = Vec::new();
    for len in lens.iter().cycle() {
        if input.is_empty() {
            break;
        }
        let (segment, rest) = input.split_at(*len.min(&input.len()));
        segments.push(segment);
        input = rest;
    }
    segments
}

proptest! {
    #[test]
    fn segments_change_nothing(
        (role, mut stream) in prop_oneof![
            any_stream(Role::Client).prop_map(|stream| (Role::Client, stream)),
            any_stream(Role::Server).prop_map(|stream| (Role::Server, stream)),
        ],
        flip in proptest::option::of((any::<Index>(), any::<u8>())),
        lens in vec(1_usize..200, 1..10),
    ) {
        if let Some((at, byte)) = flip && !stream.is_empty() {
            let at = at.index(stream.len());
            stream[at] ^= byte;
        }
        let outcome = deframe(role, segments(&stream, &lens));
        prop_assert_eq!(&outcome, &interpret(role, &stream));
        prop_assert!(flip.is_some() || outcome.error.is_none() && outcome.unfinished.is_empty());
    }
}

#[test]
fn small_fragments_are_counted_and_other_frames_are_not() {
    let large = vec![0; usize::try_from(SMALL_FRAGMENT).expect("small")];
    let mut input = BytesMut::new();
    for (fin, opcode, payload) in [
        (false, Opcode::Binary, &b"a"[..]),
        (false, Opcode::Continuation, b""),
        (true, Opcode::Ping, b""),
        (false, Opcode::Continuation, &large),
        (false, Opcode::Continuation, b""),
        (true, Opcode::Continuation, b""),
        (true, Opcode::Binary, b"b"),
    ] {
        input.extend_from_slice(&frame(Role::Client, fin, opcode, payload));
    }
    let mut deframer = Deframer::new(Role::Client);
    while deframer.next(&mut input).expect("sound").is_some() {}
    assert_eq!(deframer.take_small_fragments(), 3);
    assert_eq!(deframer.take_small_fragments(), 0);
}

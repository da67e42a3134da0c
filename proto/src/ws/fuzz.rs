//! Entry points of the fuzz targets `ws_deframer` and `ws_upgrade`. Each panics when a promise of
//! this module is broken.

use bytes::BytesMut;

use super::{
    Role, model,
    upgrade::{self, UpgradeError},
};
use crate::fuzz::segments;

/// Deframes `data` behind a byte that selects our role and one that selects the segments; the
/// result must be what the model makes of it.
pub fn deframer(data: &[u8]) {
    let Some((&[role, seed], stream)) = data.split_first_chunk() else {
        return;
    };
    let role = if role & 1 == 0 {
        Role::Server
    } else {
        Role::Client
    };
    let expected = model::interpret(role, stream);
    assert_eq!(model::deframe(role, [stream]), expected);
    assert_eq!(model::deframe(role, segments(stream, seed)), expected);
}

/// Parses `data`, behind a byte that selects the segments, as a request and as a response, and
/// makes a request of it.
pub fn upgrade(data: &[u8]) {
    let Some((&seed, head)) = data.split_first() else {
        return;
    };
    check_segments(head, seed, upgrade::parse_request);
    for protocol in [None, Some("titan.v1")] {
        check_segments(head, seed, |input| {
            upgrade::parse_response(input, KEY, protocol)
        });
    }
    if let Ok(text) = str::from_utf8(head) {
        check_round_trip(text);
    }
}

/// The key of the response in the seeds.
const KEY: [u8; 16] = *b"the sample nonce";

/// Parses `head` whole and in segments. Which error is found may differ: a head that is too long
/// may also be malformed behind the limit.
fn check_segments<T: PartialEq + std::fmt::Debug>(
    head: &[u8],
    seed: u8,
    parse: impl Fn(&mut BytesMut) -> Result<Option<T>, UpgradeError>,
) {
    let mut whole = BytesMut::from(head);
    let expected = parse(&mut whole);
    let mut input = BytesMut::new();
    let mut arrived = 0;
    for segment in segments(head, seed) {
        input.extend_from_slice(segment);
        arrived += segment.len();
        match parse(&mut input) {
            Ok(None) => assert_eq!(input.len(), arrived, "an incomplete head was consumed"),
            Err(_) => return assert!(expected.is_err(), "refused in segments only"),
            parsed => {
                assert_eq!(parsed, expected);
                return assert_eq!([&input[..], &head[arrived..]].concat(), whole);
            }
        }
    }
    assert_eq!(expected, Ok(None), "incomplete in segments only");
}

/// Whatever the host, the path, the protocol and the token are, the request is one head that a
/// server accepts, and its answer is one that the client accepts.
fn check_round_trip(text: &str) {
    let mut fields = text.splitn(4, '\n');
    let (host, path) = (
        fields.next().unwrap_or_default(),
        fields.next().unwrap_or_default(),
    );
    let (protocol, bearer) = (fields.next(), fields.next());
    let mut wire = BytesMut::from(&upgrade::request(host, path, KEY, protocol, bearer)[..]);
    let request = match upgrade::parse_request(&mut wire) {
        Ok(Some(request)) => request,
        Err(UpgradeError::TooLarge) => return,
        other => panic!("our own request is {other:?}"),
    };
    assert!(wire.is_empty(), "a field ended the head");
    let chosen = request.protocols.first().map(String::as_str);
    let mut answer = BytesMut::from(&upgrade::accept_response(&request, chosen)[..]);
    assert_eq!(
        upgrade::parse_response(&mut answer, KEY, chosen),
        Ok(Some(()))
    );
    assert!(answer.is_empty(), "the protocol ended the head");
}

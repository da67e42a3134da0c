//! What a client is told, in the language it asked in.

use std::net::SocketAddr;

use bytes::Bytes;
use titan_proto::{
    http,
    reason::Reason,
    socks5::{self, Reply},
};

use crate::{
    mesh::Answer,
    net::{Socket, farewell},
};

/// What says that the session is there; `bound` is the edge's address towards the target, where it
/// is known, or this PoP's address for datagrams. A forwarded request is answered by its target
/// alone.
pub(super) fn success(answer: Answer, bound: Option<SocketAddr>) -> Bytes {
    match answer {
        Answer::Socks5 | Answer::Socks5Associate => socks5::reply(Reply::Succeeded, bound),
        Answer::HttpConnect => http::connect_established(),
        Answer::HttpForward { .. } => Bytes::new(),
    }
}

/// Tells the client why there is no session, and closes. `detail` may be empty.
pub async fn refuse(client: Socket, answer: Answer, reason: Reason, detail: String) {
    let last_words = match answer {
        Answer::Socks5 | Answer::Socks5Associate => socks5::reply(reason.socks5_reply(), None),
        Answer::HttpConnect => http::error_response(reason, &detail, false),
        Answer::HttpForward { is_head, .. } => http::error_response(reason, &detail, is_head),
    };
    farewell(client, &last_words).await;
}

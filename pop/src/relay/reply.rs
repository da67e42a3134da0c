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
/// is known, or this PoP's address for datagrams.
pub(super) fn success(answer: Answer, bound: Option<SocketAddr>) -> Bytes {
    match answer {
        Answer::Socks5 | Answer::Socks5Associate => socks5::reply(Reply::Succeeded, bound),
        Answer::HttpConnect => http::connect_established(),
        Answer::HttpUpgraded => Bytes::new(),
    }
}

/// Tells the client why there is no session, and closes. `detail` may be empty.
pub(super) async fn refuse(client: Socket, answer: Answer, reason: Reason, detail: String) {
    let last_words = match answer {
        Answer::Socks5 | Answer::Socks5Associate => socks5::reply(reason.socks5_reply(), None),
        Answer::HttpConnect => {
            http::error_response(reason, &detail, false, http::Persistence::Close)
        }
        // It has its answer, and what follows is not HTTP.
        Answer::HttpUpgraded => Bytes::new(),
    };
    farewell(client, &last_words).await;
}

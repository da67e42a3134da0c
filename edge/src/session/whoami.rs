//! `http://whoami.titan.internal/`: the edge answers itself, and nothing leaves it. What customers
//! and operators ask first of an exit: which one is it, and where does it stand?

use std::{net::IpAddr, time::Duration};

use bytes::{Bytes, BytesMut};
use serde::Serialize;
use titan_proto::{
    control::{NodeId, PopId, Region},
    mux::Payload,
    reason::Reason,
};
use tokio::time::timeout;

use super::Failure;
use crate::{
    limits::{MAX_WHOAMI_FIELDS, MAX_WHOAMI_HEAD, WHOAMI_TIMEOUT},
    link::{Gone, Session},
    manager::VERSION,
};

/// What an edge knows of itself while a tunnel lasts.
#[derive(Debug, Clone)]
pub(crate) struct Facts {
    pub(crate) node_id: NodeId,
    pub(crate) region: Option<Region>,
    pub(crate) pop: PopId,
    /// The address that targets see, where the edge can know it.
    pub(crate) address: Option<IpAddr>,
}

#[derive(Serialize)]
struct Answer<'a> {
    node_id: NodeId,
    region: Option<&'a Region>,
    pop: &'a PopId,
    address: Option<IpAddr>,
    /// Round trip between the edge and its PoP.
    rtt_ms: Option<f64>,
    version: &'static str,
}

/// Answers one request and ends the session.
pub(super) async fn serve(session: &Session, facts: &Facts) -> Result<(), Failure> {
    session.accept(None, (IpAddr::from([0, 0, 0, 0]), 0).into())?;
    match timeout(WHOAMI_TIMEOUT, converse(session, facts)).await {
        Ok(result) => result.map_err(Failure::from),
        Err(_) => Err(Reason::Idle.into()),
    }
}

async fn converse(session: &Session, facts: &Facts) -> Result<(), Gone> {
    let asked = read_request(session).await?;
    let response = respond(asked, facts, session.tunnel_rtt());
    session.send(Payload::copy_from(&response)).await?;
    session.finish();
    drain(session).await
}

/// What was asked, as far as the answer depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    Facts { with_body: bool },
    OtherPath,
    OtherMethod,
    Nonsense,
    TooMuch,
}

/// Reads up to the end of the request's head. Whatever follows is not looked at.
async fn read_request(session: &Session) -> Result<Asked, Gone> {
    let mut head = BytesMut::new();
    let mut batch = Vec::new();
    loop {
        let (bytes, end) = session.receive(MAX_WHOAMI_HEAD, &mut batch).await?;
        batch
            .drain(..)
            .for_each(|data: Bytes| head.extend_from_slice(&data));
        session.consumed(bytes);
        match parse(&head) {
            Some(asked) => return Ok(asked),
            None if end => return Ok(Asked::Nonsense),
            None => {}
        }
    }
}

/// `None` while the head is incomplete.
fn parse(head: &[u8]) -> Option<Asked> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_WHOAMI_FIELDS];
    let mut request = httparse::Request::new(&mut fields);
    match request.parse(head) {
        Ok(httparse::Status::Complete(_)) => Some(classify(&request)),
        Ok(httparse::Status::Partial) if head.len() < MAX_WHOAMI_HEAD => None,
        Ok(httparse::Status::Partial) | Err(httparse::Error::TooManyHeaders) => {
            Some(Asked::TooMuch)
        }
        Err(_) => Some(Asked::Nonsense),
    }
}

fn classify(request: &httparse::Request<'_, '_>) -> Asked {
    let path = request.path.unwrap_or_default().split('?').next();
    match (request.method, path) {
        (Some("GET"), Some("/")) => Asked::Facts { with_body: true },
        (Some("HEAD"), Some("/")) => Asked::Facts { with_body: false },
        (Some("GET" | "HEAD"), _) => Asked::OtherPath,
        _ => Asked::OtherMethod,
    }
}

fn respond(asked: Asked, facts: &Facts, rtt: Option<Duration>) -> Vec<u8> {
    let (status, extra) = match asked {
        Asked::Facts { .. } => ("200 OK", ""),
        Asked::OtherPath => ("404 Not Found", ""),
        Asked::OtherMethod => ("405 Method Not Allowed", "Allow: GET, HEAD\r\n"),
        Asked::Nonsense => ("400 Bad Request", ""),
        Asked::TooMuch => ("431 Request Header Fields Too Large", ""),
    };
    let body = match asked {
        Asked::Facts { .. } => describe(facts, rtt),
        _ => format!("{{\"status\":{}}}\n", &status[..3]),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
         Cache-Control: no-store\r\n{extra}Connection: close\r\n\r\n",
        body.len()
    );
    let without_body = asked == Asked::Facts { with_body: false };
    if without_body {
        head.into_bytes()
    } else {
        (head + &body).into_bytes()
    }
}

fn describe(facts: &Facts, rtt: Option<Duration>) -> String {
    let answer = Answer {
        node_id: facts.node_id,
        region: facts.region.as_ref(),
        pop: &facts.pop,
        address: facts.address,
        rtt_ms: rtt.map(|rtt| (rtt.as_secs_f64() * 1e6).round() / 1e3),
        version: VERSION,
    };
    // Strings, numbers and nulls always have a JSON form.
    serde_json::to_string(&answer).unwrap_or_default() + "\n"
}

/// Takes what else the client sends until it ends its direction too.
async fn drain(session: &Session) -> Result<(), Gone> {
    let mut batch = Vec::new();
    loop {
        let (bytes, end) = session.receive(MAX_WHOAMI_HEAD, &mut batch).await?;
        batch.clear();
        session.consumed(bytes);
        if end {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> Facts {
        Facts {
            node_id: NodeId::from_public_key(&[7; 32]),
            region: Some("DE".parse().unwrap()),
            pop: "pop-1".parse().unwrap(),
            address: Some([192, 0, 2, 1].into()),
        }
    }

    #[test]
    fn requests_are_told_apart() {
        let with_body = Some(Asked::Facts { with_body: true });
        assert_eq!(parse(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"), with_body);
        assert_eq!(parse(b"GET /?a=b HTTP/1.0\r\n\r\n"), with_body);
        assert_eq!(
            parse(b"HEAD / HTTP/1.1\r\n\r\n"),
            Some(Asked::Facts { with_body: false })
        );
        assert_eq!(
            parse(b"GET /other HTTP/1.1\r\n\r\n"),
            Some(Asked::OtherPath)
        );
        assert_eq!(parse(b"POST / HTTP/1.1\r\n\r\n"), Some(Asked::OtherMethod));
        assert_eq!(parse(b"\x16\x03\x01\x02"), Some(Asked::Nonsense));
        assert_eq!(parse(b"GET / HTTP/1.1\r\nHost: x\r\n"), None);
    }

    #[test]
    fn an_endless_head_is_too_much() {
        let mut head = b"GET / HTTP/1.1\r\nA: ".to_vec();
        head.resize(MAX_WHOAMI_HEAD, b'a');
        assert_eq!(parse(&head), Some(Asked::TooMuch));
        let many = format!(
            "GET / HTTP/1.1\r\n{}\r\n",
            "A: a\r\n".repeat(MAX_WHOAMI_FIELDS + 1)
        );
        assert_eq!(parse(many.as_bytes()), Some(Asked::TooMuch));
    }

    #[test]
    fn the_answer_is_json_of_the_stated_length() {
        let response = respond(
            Asked::Facts { with_body: true },
            &facts(),
            Some(Duration::from_micros(12_345)),
        );
        let text = String::from_utf8(response).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())));
        let json: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(json["node_id"], facts().node_id.to_string());
        assert_eq!(json["region"], "DE");
        assert_eq!(json["pop"], "pop-1");
        assert_eq!(json["address"], "192.0.2.1");
        assert_eq!(json["rtt_ms"], 12.345);
    }

    #[test]
    fn other_answers_say_their_status_and_head_has_no_body() {
        let text = |asked| String::from_utf8(respond(asked, &facts(), None)).unwrap();
        assert!(text(Asked::OtherPath).starts_with("HTTP/1.1 404 "));
        assert!(text(Asked::OtherMethod).contains("\r\nAllow: GET, HEAD\r\n"));
        assert!(text(Asked::Facts { with_body: false }).ends_with("\r\n\r\n"));
    }
}

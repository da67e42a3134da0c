//! How sessions end that do not end by themselves.

use titan_proto::{mux::Reset, reason::Reason};

use super::{
    link::{Broken, Link},
    reply::refuse,
};
use crate::{mesh::Answer, net::spawn_guarded};

/// Ends a session whose client was told that it is connected: with a reset, so that a cut stream
/// is never taken for a whole one.
pub(super) fn cut(link: Link, broken: &Broken) {
    account(&link, broken);
    link.client.reset();
}

/// Ends a session whose client waits for an answer: it gets the true one.
pub(super) fn fail(link: Link, answer: Answer, broken: Broken) {
    account(&link, &broken);
    match broken {
        // A task of its own, so that every session need not have room for it.
        Broken::Session(Reset { reason, text }) => {
            link.end_cleanly();
            spawn_guarded("refusal", refuse(link.client, answer, reason, text));
        }
        Broken::Client(_) | Broken::Idle => {}
    }
}

/// Counts a failure and ends the session on the tunnel's side.
fn account(link: &Link, broken: &Broken) {
    let reason = match broken {
        Broken::Client(_) => Reason::ClientGone,
        Broken::Session(reset) => reset.reason,
        Broken::Idle => Reason::Idle,
    };
    link.core.metrics.sessions_failed.inc(reason);
    link.session.reset(reason);
    tracing::debug!(%broken, "session failed");
}

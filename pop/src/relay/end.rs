//! How sessions end that do not end by themselves.

use std::time::Instant;

use titan_proto::mux::Reset;

use super::{
    link::{Broken, Link},
    reply::refuse,
    start::reopen,
};
use crate::{
    limits::MAX_REOPENS,
    mesh::{Order, Progress},
    net::spawn_guarded,
};

/// Ends a session that broke. Where another edge can have it, its client sees nothing of that. Where
/// none can, a client that waits for an answer gets the true one; one that was answered gets a
/// reset, so that a cut stream is never taken for a whole one.
pub(super) fn broke(link: Link, broken: Broken) {
    link.session.reset(broken.reason());
    tracing::debug!(%broken, "session failed");
    if let Some((order, progress)) = for_another_edge(&link, &broken) {
        let Link { core, client, .. } = link;
        return reopen(&core, client, order, progress);
    }
    link.core.metrics.sessions_failed.inc(broken.reason());
    match broken {
        // A task of its own, so that every session need not have room for it.
        Broken::Session(Reset { reason, text }) if !link.is_answered() => {
            link.end_cleanly();
            spawn_guarded("refusal", refuse(link.client, link.answer, reason, text));
        }
        Broken::User(reason) if !link.is_answered() => {
            link.end_cleanly();
            let refusal = refuse(link.client, link.answer, reason, String::new());
            spawn_guarded("refusal", refusal);
        }
        _ => link.client.reset(),
    }
}

/// What another edge needs to carry the session on; `None` where none can or may.
fn for_another_edge(link: &Link, broken: &Broken) -> Option<(Order, Progress)> {
    let Broken::Session(reset) = broken else {
        return None;
    };
    // The answer may have got lost on its way to the client; the target has given it all the same.
    if !reset.reason.retry_elsewhere() || link.session.has_heard() {
        return None;
    }
    let (order, mut progress) = link.kept.take()?;
    if progress.failed.len() >= MAX_REOPENS {
        return None;
    }
    progress.note_failure(link.session.tunnel(), reset.clone());
    progress.told = link.told.get();
    if link.session.is_open() {
        // It was open in time; now it has to be opened once more.
        progress.open_by = Instant::now() + link.core.config.open_timeout();
    }
    Some((order, progress))
}

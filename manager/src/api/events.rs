//! The event stream for PoPs: asked for again and again, answered when something happens.

use std::sync::Arc;

use axum::{Json, extract::State};
use titan_proto::control::EventsPage;
use tokio::{
    sync::{Notify, watch},
    time::{Instant, sleep, timeout_at},
};

use super::{
    App,
    auth::CallingPop,
    extract::{EventsQuery, Query},
    problem::ApiProblem,
};
use crate::{limits, store::Store};

/// The route's path, whose requests wait.
pub(super) const PATH: &str = "/api/v1/pop/events";

/// What wakes the PoPs that wait for events. Clones are one.
#[derive(Debug, Clone, Default)]
pub(crate) struct Events(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    stream: watch::Sender<Stream>,
    nudged: Notify,
}

/// What is known of the stream.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Stream {
    latest: u64,
    is_stopping: bool,
}

impl Events {
    /// An event may have been written just now.
    pub(crate) fn nudge(&self) {
        self.0.nudged.notify_one();
    }

    /// Answers everybody who waits: the manager stops.
    pub(crate) fn stop(&self) {
        self.0
            .stream
            .send_modify(|stream| stream.is_stopping = true);
    }

    /// Looks for events until the manager stops: at once for those of this manager, a moment later
    /// for those of others on the same store.
    pub(crate) async fn follow(self, store: Arc<dyn Store>) {
        let mut stream = self.0.stream.subscribe();
        loop {
            match store.latest_event().await {
                Ok(latest) => self.note(latest),
                Err(error) => tracing::warn!(%error, "the event stream cannot be read"),
            }
            tokio::select! {
                () = self.0.nudged.notified() => {}
                () = sleep(limits::EVENTS_POLL) => {}
                _ = stream.wait_for(|stream| stream.is_stopping) => return,
            }
        }
    }

    fn note(&self, latest: u64) {
        self.0.stream.send_if_modified(|stream| {
            let is_news = stream.latest != latest;
            stream.latest = latest;
            is_news
        });
    }
}

/// What has happened behind a cursor; waits up to some twenty seconds for something.
#[utoipa::path(
    get, path = PATH, tag = "pop", security(("pop" = [])), params(EventsQuery),
    responses((status = 200, description = "What has happened.", body = EventsPage))
)]
pub(super) async fn events_for_pop(
    State(app): State<App>,
    _: CallingPop,
    Query(query): Query<EventsQuery>,
) -> Result<Json<EventsPage>, ApiProblem> {
    let page = match query.after {
        None => EventsPage {
            events: Vec::new(),
            cursor: app.store.latest_event().await?,
            gap: false,
        },
        Some(cursor) => wait(&app, cursor).await?,
    };
    Ok(Json(page))
}

async fn wait(app: &App, after: u64) -> Result<EventsPage, ApiProblem> {
    // Before the first look, so that nothing falls between the two.
    let mut stream = app.events.0.stream.subscribe();
    let deadline = Instant::now() + limits::EVENTS_WAIT;
    loop {
        let Some(events) = app.store.events_after(after, limits::EVENTS_PAGE).await? else {
            return Ok(EventsPage {
                events: Vec::new(),
                cursor: app.store.latest_event().await?,
                gap: true,
            });
        };
        let cursor = events.last().map_or(after, |event| event.cursor);
        let is_over = !events.is_empty() || stream.borrow_and_update().is_stopping;
        if is_over || timeout_at(deadline, stream.changed()).await.is_err() {
            return Ok(EventsPage {
                events,
                cursor,
                gap: false,
            });
        }
    }
}

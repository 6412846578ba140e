//! `GET /v1/tenants/{tenant}/changes/{id}/watch`: a change as it happens, as server-sent events (WHATWG HTML, "Server-sent events").
//!
//! `entry` for each entry, with its index as id and its moment of the timeline as data, and with `notes` where something stands in its way; `state` with `{"state", "attempt"}` whenever that is another one.
//! Whoever comes back says what he has seen (`Last-Event-ID`, or `?after=INDEX`) and is told the rest. It goes on until the client leaves or the
//! server stops: a change that is closed may be opened again. So many may watch at once (`watchers`).

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Sse;
use axum::response::sse::{Event, KeepAlive};
use futures::Stream;
use ledger::entry::Header;
use pipeline::Progress;
use projector::document::{ChangeDocument, Telling};
use schemas::ids::{ChangeId, Tenant};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::watch;

use super::app::{App, OpenTenant, blocking, log_failed};
use super::changes::{circumstances, unknown};
use super::extract::{UrlPath, UrlQuery};
use super::notes;
use super::problem::Problem;
use super::watchers::Place;

/// Headers that are looked through for the change; where the log grew by more, the change itself is read.
const HEADERS_MAX: u64 = 4_096;
/// How often a connection that has nothing to say is kept alive.
const ALIVE: Duration = Duration::from_secs(15);
/// At most so often a busy log is looked at.
const PACE: Duration = Duration::from_millis(50);

/// Where to begin.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WatchQuery {
    /// The last entry that is known already.
    after: Option<u64>,
}

/// `GET …/watch`
pub async fn watch(
    State(app): State<Arc<App>>,
    UrlPath((tenant, change)): UrlPath<(Tenant, ChangeId)>,
    UrlQuery(query): UrlQuery<WatchQuery>,
    headers: HeaderMap,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Problem> {
    let open = app.tenant(&tenant)?;
    let place = app.watchers.take(&tenant)?;
    let progress = app.watched(&tenant).ok_or_else(|| Problem::unavailable("the server is stopping"))?;
    let seen = headers.get("Last-Event-ID").and_then(|id| id.to_str().ok()?.parse().ok());
    let mut watcher = Watcher {
        app,
        open,
        change,
        progress,
        size: 0,
        after: seen.or(query.after),
        said: None,
        ready: VecDeque::new(),
        _place: place,
    };
    // Whoever asks for what is not there is told so at once.
    if !watcher.look().await? {
        return Err(unknown(&tenant, &watcher.change));
    }
    Ok(Sse::new(futures::stream::unfold(watcher, next)).keep_alive(KeepAlive::new().interval(ALIVE)))
}

/// One who watches a change.
struct Watcher {
    app: Arc<App>,
    open: Arc<OpenTenant>,
    change: ChangeId,
    progress: watch::Receiver<Progress>,
    /// Entries of the log that were looked at.
    size: u64,
    /// The last entry of the change that was told.
    after: Option<u64>,
    /// The state that was told last, with its attempt.
    said: Option<(String, u64)>,
    ready: VecDeque<Event>,
    /// Given back when the client leaves.
    _place: Place,
}

async fn next(mut watcher: Watcher) -> Option<(Result<Event, Infallible>, Watcher)> {
    loop {
        if let Some(event) = watcher.ready.pop_front() {
            return Some((Ok(event), watcher));
        }
        let ending = watcher.app.ending().clone();
        tokio::select! {
            () = ending.cancelled() => return None,
            grown = watcher.progress.changed() => grown.ok()?,
        }
        if let Err(problem) = watcher.look().await {
            // The client comes back, and is told then.
            tracing::debug!(problem = %problem.to_json(), "a change can't be watched any further");
            return None;
        }
        if watcher.ready.is_empty() {
            tokio::time::sleep(PACE).await;
        }
    }
}

impl Watcher {
    /// Reads what is new of the change. False where there is no such change.
    async fn look(&mut self) -> Result<bool, Problem> {
        let (app, open, change, from) = (Arc::clone(&self.app), Arc::clone(&self.open), self.change.clone(), self.size);
        let after = self.after;
        let (size, told) = blocking(move || {
            let size = open.log.head().map_err(|error| log_failed(&error))?.size;
            if !has_grown(&open, &change, from, size)? {
                return Ok((size, None));
            }
            Ok((size, Some(document(&app, &open, &change, after)?)))
        })
        .await?;
        self.size = size;
        let Some((document, notes)) = told else { return Ok(true) };
        self.tell(&document, &notes);
        Ok(!document.timeline.is_empty())
    }

    fn tell(&mut self, document: &ChangeDocument, notes: &Notes) {
        for moment in document.timeline.iter().filter(|moment| self.after.is_none_or(|after| moment.index > after)) {
            let mut data = json!(moment);
            if let Some(notes) = notes.get(&moment.index).filter(|notes| !notes.is_empty()) {
                data["notes"] = json!(notes);
            }
            let data = data.to_string();
            self.ready.push_back(Event::default().id(moment.index.to_string()).event("entry").data(data));
        }
        self.after = document.timeline.last().map(|moment| moment.index).max(self.after);
        let attempt = document.attempts.last().map_or(1, |attempt| attempt.attempt);
        let now = (document.state.as_str().to_owned(), attempt);
        if !document.timeline.is_empty() && self.said.as_ref() != Some(&now) {
            let data = json!({ "state": now.0, "attempt": now.1 }).to_string();
            self.ready.push_back(Event::default().event("state").data(data));
            self.said = Some(now);
        }
    }
}

/// Whether entries `from..size` have one of the change. Where there are too many to look through, that is assumed.
fn has_grown(open: &OpenTenant, change: &ChangeId, from: u64, size: u64) -> Result<bool, Problem> {
    if from == 0 || size.saturating_sub(from) > HEADERS_MAX {
        return Ok(true);
    }
    for index in from..size {
        if let Some(Header::Event(header)) = open.log.header(index).map_err(|error| log_failed(&error))?
            && header.change == *change
        {
            return Ok(true);
        }
    }
    Ok(false)
}

/// What stands in the way, by the entry that says it.
type Notes = BTreeMap<u64, Vec<String>>;

/// The change as it is now, with the notes of entries behind `after`; with an empty timeline where there is none.
fn document(
    app: &App,
    open: &OpenTenant,
    change: &ChangeId,
    after: Option<u64>,
) -> Result<(ChangeDocument, Notes), Problem> {
    let found = app.room.find(open, change)?;
    let _room = app.room.take(&found)?;
    let context = circumstances(open)?;
    let (mut telling, mut notes) = (Telling::new(change, &context), Notes::new());
    for (index, header) in &found.headers {
        let stored = open.log.stored(*index).map_err(|error| log_failed(&error))?;
        let payload = stored.as_ref().map(|stored| stored.payload.as_slice());
        telling.add(*index, header, payload);
        if after.is_none_or(|after| *index > after) {
            notes.insert(*index, payload.map(notes::of).unwrap_or_default());
        }
    }
    Ok((telling.document(), notes))
}

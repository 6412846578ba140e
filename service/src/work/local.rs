//! The ledger of this process as workers see it: over the open logs. What a server answers to workers elsewhere comes from here too.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use futures::future::BoxFuture;
use ledger::entry::{Header, Road};
use ledger::kv::Kv;
use ledger::read::{Log, ReadError};
use pipeline::work::{Record, RecordError, Stored};
use projector::approval::Rules;
use projector::document::Context;
use projector::fold::State;
use projector_sqlite::Filter;
use schemas::ids::{ChangeId, Tenant};

use super::believed::{self, By, Known};
use super::recent::{Became, road_of};
use crate::http::{App, Held, OpenTenant, Problem, blocking, log_failed};

/// Changes of one state that whoever starts looks at.
const OPEN_OF_A_STATE: usize = 500;

/// States in which something may be due: not where a change has ended.
const UNDER_WAY: [State; 11] = [
    State::Planned,
    State::PreflightPassed,
    State::PreflightFailed,
    State::Approved,
    State::Executing,
    State::Executed,
    State::Failed,
    State::Verified,
    State::VerifyFailed,
    State::RollingBack,
    // Whether what was taken back is gone has to be looked at.
    State::RolledBack,
];

/// The ledger of this process.
pub struct Local {
    /// Weak: workers must not keep the store open.
    app: Weak<App>,
    /// Each tenant's rules, with the control entries that they were read from: to decide about those again checks their signatures.
    rules: Mutex<BTreeMap<Tenant, (Vec<u64>, Rules)>>,
}

impl Local {
    /// That of `app`.
    pub fn new(app: &Arc<App>) -> Self {
        Self { app: Arc::downgrade(app), rules: Mutex::default() }
    }

    /// What approvals are graded by. A few rows that are in memory: on the thread that asks.
    fn circumstances(&self, open: &OpenTenant) -> Result<Context, ReadError> {
        let head = open.log.head()?;
        let last = head.size.checked_sub(1).map(|index| open.log.header(index)).transpose()?.flatten();
        let as_of_ms = last.and_then(|header| header.at()).unwrap_or_default();
        let mut acts = open.log.control_indices()?;
        acts.retain(|index| *index < head.size);
        let known = lock(&self.rules).get(&open.tenant).filter(|(read_from, _)| *read_from == acts).cloned();
        if let Some((_, rules)) = known {
            return Ok(Context { rules, as_of_ms });
        }
        let rules = Rules::of(head.origin.as_str(), &open.log.facts_over_time(head.size)?);
        lock(&self.rules).insert(open.tenant.clone(), (acts, rules.clone()));
        Ok(Context { rules, as_of_ms })
    }

    fn app(&self) -> Result<Arc<App>, RecordError> {
        self.app.upgrade().ok_or_else(|| RecordError::Away("it is stopping".to_owned()))
    }
}

impl Record for Local {
    fn change<'a>(
        &'a self,
        tenant: &'a Tenant,
        change: &'a ChangeId,
    ) -> BoxFuture<'a, Result<Vec<Stored>, RecordError>> {
        Box::pin(async move { stored(&self.app()?, tenant, change).await.map_err(|problem| failed(&problem)) })
    }

    fn decided<'a>(
        &'a self,
        tenant: &'a Tenant,
        road_sequence: u64,
    ) -> BoxFuture<'a, Result<Option<ChangeId>, RecordError>> {
        Box::pin(async move { decided(&self.app()?, tenant, road_sequence).await.map_err(|problem| failed(&problem)) })
    }

    fn context<'a>(&'a self, tenant: &'a Tenant) -> BoxFuture<'a, Result<Context, RecordError>> {
        Box::pin(async move {
            let open = self.app()?.tenant(tenant).map_err(|problem| failed(&problem))?;
            self.circumstances(&open).map_err(|error| failed(&log_failed(&error)))
        })
    }

    fn open<'a>(&'a self, tenant: &'a Tenant) -> BoxFuture<'a, Result<Vec<ChangeId>, RecordError>> {
        Box::pin(async move { open(&self.app()?, tenant).await.map_err(|problem| failed(&problem)) })
    }

    fn tenants(&self) -> BoxFuture<'_, Result<Vec<Tenant>, RecordError>> {
        Box::pin(async move { Ok(self.app()?.tenants().iter().map(|open| open.tenant.clone()).collect()) })
    }
}

/// A lock whose holder panicked still guards plain values.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn failed(problem: &Problem) -> RecordError {
    let document = problem.to_json();
    if problem.is(TOO_LARGE) {
        return RecordError::TooLarge(document["detail"].as_str().unwrap_or_default().to_owned());
    }
    let said = document["detail"].as_str().unwrap_or_default().to_owned();
    if document["status"] == 503 { RecordError::Away(said) } else { RecordError::Unreadable(said) }
}

/// The type of the problem of a change of which even the workers' own events are too many to be read.
pub const TOO_LARGE: &str = "too_large";

/// The events of a change that workers read.
pub async fn stored(app: &Arc<App>, tenant: &Tenant, change: &ChangeId) -> Result<Vec<Stored>, Problem> {
    let (open, app, change) = (app.tenant(tenant)?, Arc::clone(app), change.clone());
    // Where nobody says how far the log is, it is asked.
    let committed = app.watched(tenant).map_or(u64::MAX, |progress| progress.borrow().committed);
    if let Some(entries) = app.recent.change(&open, committed, &change).map_err(|error| log_failed(&error))? {
        return Ok(entries);
    }
    blocking(move || {
        let size = open.log.head().map_err(|error| log_failed(&error))?.size;
        let entries = read(&app, &open, &change)?.0;
        app.recent.keep(&open, &change, &entries, size);
        Ok(entries)
    })
    .await
}

/// The same (`believed`), with the room that they take. Blocking.
pub fn read(app: &App, open: &OpenTenant, change: &ChangeId) -> Result<(Vec<Stored>, Held), Problem> {
    let size = open.log.head().map_err(|error| log_failed(&error))?.size;
    let mut all = Vec::new();
    for index in open.change_indices(change, size)? {
        if let Some(Header::Event(header)) = open.log.header(index).map_err(|error| log_failed(&error))? {
            all.push(Known { index, bytes: header.size, by: By::of(header.producer.as_ref()) });
        }
    }
    let wanted = believed::read(&all);
    if wanted.len() < all.len() {
        let left_out = all.len() - wanted.len();
        tracing::debug!(tenant = %open.tenant, %change, left_out, "events of others are not read: there are too many");
    }
    let room = app.room.hold(change, wanted.len(), wanted.iter().map(|known| known.bytes).sum())?;
    let mut stored = Vec::with_capacity(wanted.len());
    for Known { index, .. } in wanted {
        let header = open.log.header(index).map_err(|error| log_failed(&error))?;
        let payload = open.log.stored(index).map_err(|error| log_failed(&error))?;
        if let (Some(Header::Event(header)), Some(payload)) = (header, payload) {
            stored.push(Stored::new(index, header, Some(payload.payload.into())));
        }
    }
    Ok((stored, room))
}

/// Waits until a message of the road is decided, and says which change it is an event of.
pub async fn decided(app: &Arc<App>, tenant: &Tenant, sequence: u64) -> Result<Option<ChangeId>, Problem> {
    let open = app.tenant(tenant)?;
    let mut progress = app.watched(tenant).ok_or_else(stopping)?;
    let reached = progress.wait_for(|progress| progress.road >= sequence).await.map_err(|_| stopping())?.committed;
    match app.recent.decided(&open, reached, sequence).map_err(|error| log_failed(&error))? {
        Became::Event(change) => return Ok(Some(change)),
        Became::Nothing => return Ok(None),
        Became::Forgotten => {}
    }
    blocking(move || {
        let found = by_road(&open.log, sequence).map_err(|error| log_failed(&error))?;
        Ok(found.and_then(|header| match header {
            Header::Event(header) => Some(header.change),
            _ => None,
        }))
    })
    .await
}

fn stopping() -> Problem {
    Problem::unavailable("the server is stopping")
}

/// Changes in which something may be due.
pub async fn open(app: &Arc<App>, tenant: &Tenant) -> Result<Vec<ChangeId>, Problem> {
    let open = app.tenant(tenant)?;
    blocking(move || {
        let mut changes = Vec::new();
        for state in UNDER_WAY {
            let filter = Filter { state: Some(state), ..Filter::default() };
            let page = open.ask(|views| views.changes(&filter, None, OPEN_OF_A_STATE))?;
            changes.extend(page.rows.into_iter().map(|row| row.change));
        }
        Ok(changes)
    })
    .await
}

/// What a log was told about its tenant, by the entry that said it.
pub type Facts = Vec<(u64, BTreeMap<String, String>)>;

/// Origin, time of the newest entry and facts over the log's life: what `packs::circumstances` is made of.
pub fn facts<K: Kv>(log: &Log<K>) -> Result<(String, u64, Facts), ReadError> {
    let head = log.head()?;
    let last = head.size.checked_sub(1).map(|index| log.header(index)).transpose()?.flatten();
    let as_of_ms = last.and_then(|header| header.at()).unwrap_or_default();
    Ok((head.origin.as_str().to_owned(), as_of_ms, log.facts_over_time(head.size)?))
}

/// The entry that was made of a message of the current road. Entries come in the order of their messages, so it is searched by halves.
fn by_road<K: Kv>(log: &Log<K>, sequence: u64) -> Result<Option<Header>, ReadError> {
    let head = log.head()?;
    // The first entry from `at` on that was made of a message, of this road or an earlier one.
    let from = |at: u64| -> Result<Option<(Header, Road)>, ReadError> {
        for index in at..head.size {
            if let Some(header) = log.header(index)?
                && let Some(road) = road_of(&header)
            {
                return Ok(Some((header, road)));
            }
        }
        Ok(None)
    };
    let is_before = |road: &Road| road.epoch < head.epoch || (road.epoch == head.epoch && road.sequence < sequence);
    let (mut low, mut high) = (0, head.size);
    while low < high {
        let middle = low + (high - low) / 2;
        match from(middle)? {
            Some((_, road)) if is_before(&road) => low = middle + 1,
            _ => high = middle,
        }
    }
    Ok(from(low)?.filter(|(_, road)| road.epoch == head.epoch && road.sequence == sequence).map(|(header, _)| header))
}

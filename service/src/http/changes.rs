//! `/v1/tenants/{tenant}/changes`: lists out of the core views; one change out of the log itself, so that what is answered
//! is what a pack of it would say.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use bytes::Bytes;
use evidence::KeptLog;
use ledger::entry::EventHeader;
use ledger::read::ReadError;
use pipeline::work::Case;
use projector::anomaly::Code;
use projector::document::{Context, Entry, Telling};
use projector::fold::State as ChangeState;
use projector_sqlite::{Filter, PageKey};
use schemas::ids::{ChangeClass, ChangeId, Environment, Tenant};
use schemas::object::bucket;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::app::{App, OpenTenant, blocking, log_failed};
use super::evidence::segment;
use super::extract::{UrlPath, UrlQuery};
use super::problem::Problem;
use super::room::{Found, Held};
use crate::objects_dir::{Record, Standing};
use crate::packs;
use crate::work::local;

/// Rows of a page where nobody says how many, and at most.
const PAGE_ROWS: usize = 50;
const PAGE_ROWS_MAX: usize = 500;

/// The filter of a list, its page, and the entry that the views must cover.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ListQuery {
    state: Option<String>,
    owner: Option<String>,
    initiator: Option<String>,
    env: Option<Environment>,
    /// standard, normal or emergency.
    class: Option<String>,
    /// The name of a resource.
    resource: Option<String>,
    /// The code of an anomaly.
    anomaly: Option<String>,
    /// With events since then: RFC 3339 or milliseconds since 1970, inclusive.
    from: Option<String>,
    /// With events before then, exclusive.
    to: Option<String>,
    q: Option<String>,
    /// Whether to list changes of which every event says that it is a probe. If nobody says: unless an anomaly is asked for.
    probes: Option<bool>,
    limit: Option<usize>,
    after: Option<String>,
    at_least: Option<u64>,
}

impl ListQuery {
    /// The query of the next page: the same filter from behind `after`.
    pub fn on_from(mut self, after: &str) -> String {
        (self.after, self.at_least) = (Some(after.to_owned()), None);
        let value = serde_json::to_value(self).unwrap_or_default();
        let pair = |(name, value): (&String, &Value)| {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            (!value.is_null()).then(|| format!("{name}={}", segment(&text)))
        };
        value.as_object().into_iter().flatten().filter_map(pair).collect::<Vec<_>>().join("&")
    }
}

/// A list of events: where it begins, how long it is.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EventsQuery {
    /// The first entry index to show.
    from: Option<u64>,
    limit: Option<usize>,
    at_least: Option<u64>,
}

/// Nothing but the entry that must be covered.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AtLeast {
    at_least: Option<u64>,
}

/// `GET /v1/tenants/{tenant}/changes`: `{"changes": […], "next": key}`, newest first; `after=key` goes on.
pub async fn list(
    State(app): State<Arc<App>>,
    UrlPath(tenant): UrlPath<Tenant>,
    UrlQuery(query): UrlQuery<ListQuery>,
) -> Result<Json<Value>, Problem> {
    Ok(Json(page(&app, &tenant, query).await?))
}

/// `GET /v1/tenants/{tenant}/changes/{id}`: `change.json` as of now.
pub async fn one(
    State(app): State<Arc<App>>,
    UrlPath((tenant, change)): UrlPath<(Tenant, ChangeId)>,
    UrlQuery(query): UrlQuery<AtLeast>,
) -> Result<impl IntoResponse, Problem> {
    let open = app.tenant(&tenant)?;
    app.covered(&tenant, query.at_least).await?;
    let json = blocking(move || change_json(&app, &open, &change)).await?;
    Ok(([(header::CONTENT_TYPE, "application/json")], json))
}

/// `GET /v1/tenants/{tenant}/changes/{id}/events`: `{"events": […], "next": index}`, oldest first; `from=index` goes on.
pub async fn events(
    State(app): State<Arc<App>>,
    UrlPath((tenant, change)): UrlPath<(Tenant, ChangeId)>,
    UrlQuery(query): UrlQuery<EventsQuery>,
) -> Result<Json<Value>, Problem> {
    let open = app.tenant(&tenant)?;
    app.covered(&tenant, query.at_least).await?;
    let (from, limit) = (query.from.unwrap_or(0), rows(query.limit)?);
    blocking(move || {
        let (known, mut events) =
            open.ask(|views| Ok((views.change(&change)?.is_some(), views.events(&change, from, limit + 1)?)))?;
        if !known {
            return Err(unknown(&open.tenant, &change));
        }
        let next = events.get(limit).map(|event| event.index);
        events.truncate(limit);
        Ok(Json(with_next(json!({ "events": events }), next.map(Value::from))))
    })
    .await
}

/// `GET /v1/tenants/{tenant}/changes/{id}/logs`: `{"logs": […]}`, what the change's steps refer to by digest, and what became of it: `here`,
/// `waiting`, `missing` with why, or `elsewhere` where nobody here looks for it.
pub async fn logs(
    State(app): State<Arc<App>>,
    UrlPath((tenant, change)): UrlPath<(Tenant, ChangeId)>,
    UrlQuery(query): UrlQuery<AtLeast>,
) -> Result<impl IntoResponse, Problem> {
    let open = app.tenant(&tenant)?;
    app.covered(&tenant, query.at_least).await?;
    let takes = app.takes_objects();
    let json = blocking(move || {
        let found = known(&app, &open, &change)?;
        let _room = app.room.take(&found)?;
        let mut logs = Vec::new();
        // One payload after the other, of which only what it refers to is kept.
        for (index, _) in found.headers {
            let stored = open.log.stored(index).map_err(|error| log_failed(&error))?;
            for log in stored.iter().flat_map(|stored| evidence::kept_logs(&stored.payload)) {
                logs.push(log_row(&open, index, &log, takes)?);
            }
        }
        let json = serde_json::to_vec(&json!({ "logs": logs }));
        app.room.answer(json.map_err(|error| Problem::internal("the list can't be written", &error))?)
    })
    .await?;
    Ok(([(header::CONTENT_TYPE, "application/json")], json))
}

fn log_row(open: &OpenTenant, index: u64, log: &KeptLog, takes: bool) -> Result<Value, Problem> {
    let KeptLog { section, step, stream, reference } = log;
    let record = open.objects().record(&reference.hex());
    let record = record.map_err(|error| Problem::internal("what became of an object could not be read", &error))?;
    let own = reference.bucket == bucket(&open.tenant);
    // An object has one length, and a reference that says another is to nothing.
    let length = record.as_ref().filter(|record| record.standing == Standing::Here).and_then(Record::parsed);
    let length = length.map(|kept| kept.size).filter(|size| *size != reference.size);
    let standing = match &record {
        Some(_) if length.is_some() => json!(Standing::Missing),
        Some(record) => json!(record.standing),
        // Its entry is not looked at yet.
        None if own && takes => json!(Standing::Waiting),
        None => json!("elsewhere"),
    };
    let mut row = json!({
        "index": index, "section": section, "step": step, "stream": stream, "reference": reference.to_string(),
        "sha256": reference.hex(), "size": reference.size, "standing": standing,
    });
    let of_length = length.map(|size| format!("the object with this digest has {size} bytes"));
    if let Some(why) = of_length.or(record.and_then(|record| record.why)) {
        row["why"] = why.into();
    }
    Ok(row)
}

/// A page of changes, as the API and the web page show it.
pub async fn page(app: &Arc<App>, tenant: &Tenant, query: ListQuery) -> Result<Value, Problem> {
    let open = app.tenant(tenant)?;
    app.covered(tenant, query.at_least).await?;
    let limit = rows(query.limit)?;
    let after = query.after.as_deref().map(str::parse::<PageKey>).transpose();
    let after = after.map_err(|error| Problem::bad_request(format!("after: {error}")))?;
    let filter = filter(query)?;
    // Resources and anomalies are in the detail tables, which follow: an answer out of them says how far behind.
    let of_detail = filter.resource.is_some() || filter.anomaly.is_some();
    let behind = app.progress(tenant).filter(|_| of_detail);
    let behind = behind.map(|progress| progress.committed.saturating_sub(progress.detail));
    blocking(move || {
        let page = open.ask(|views| views.changes(&filter, after, limit))?;
        let next = page.next.map(|key| Value::from(key.to_string()));
        let mut document = with_next(json!({ "changes": page.rows }), next);
        if let Some(behind) = behind {
            document["detail_behind"] = behind.into();
        }
        Ok(document)
    })
    .await
}

/// That there is no such change.
pub fn unknown(tenant: &Tenant, change: &ChangeId) -> Problem {
    Problem::not_found(format!("tenant {tenant} has no change {change}")).with("change", change.as_str())
}

/// The number of rows of a page.
pub fn rows(limit: Option<usize>) -> Result<usize, Problem> {
    match limit.unwrap_or(PAGE_ROWS) {
        limit @ 1..=PAGE_ROWS_MAX => Ok(limit),
        limit => Err(Problem::bad_request(format!("limit: found {limit}, expected 1 to {PAGE_ROWS_MAX}"))),
    }
}

/// `document` with where the next page begins, if there is one.
pub fn with_next(mut document: Value, next: Option<Value>) -> Value {
    if let Some(next) = next {
        document["next"] = next;
    }
    document
}

fn filter(query: ListQuery) -> Result<Filter, Problem> {
    Ok(Filter {
        state: query.state.as_deref().map(state).transpose()?,
        owner: query.owner,
        initiator: query.initiator,
        environment: query.env,
        class: query.class.as_deref().map(class).transpose()?,
        resource: query.resource,
        anomaly: query.anomaly.as_deref().map(anomaly).transpose()?,
        from_ms: query.from.as_deref().map(|text| time_ms("from", text)).transpose()?,
        to_ms: query.to.as_deref().map(|text| time_ms("to", text)).transpose()?,
        text: query.q,
        without_probes: !query.probes.unwrap_or(query.anomaly.is_none()),
    })
}

fn state(word: &str) -> Result<ChangeState, Problem> {
    ChangeState::parse(word).ok_or_else(|| {
        let known = ChangeState::ALL.map(ChangeState::as_str).join(", ");
        Problem::bad_request(format!("state: found {word:?}, expected one of {known}"))
    })
}

fn class(word: &str) -> Result<ChangeClass, Problem> {
    ChangeClass::parse(word).map_err(|_| {
        Problem::bad_request(format!("class: found {word:?}, expected one of standard, normal, emergency"))
    })
}

fn anomaly(word: &str) -> Result<Code, Problem> {
    Code::ALL.into_iter().find(|code| code.as_str() == word).ok_or_else(|| {
        let known = Code::ALL.map(Code::as_str).join(", ");
        Problem::bad_request(format!("anomaly: found {word:?}, expected one of {known}"))
    })
}

/// Milliseconds since 1970 from a time as people or programs write it.
fn time_ms(name: &str, text: &str) -> Result<u64, Problem> {
    if let Ok(ms) = text.parse() {
        return Ok(ms);
    }
    let time = text.parse::<jiff::Timestamp>().ok().and_then(|time| u64::try_from(time.as_millisecond()).ok());
    time.ok_or_else(|| {
        Problem::bad_request(format!(
            "{name}: found {text:?}, expected a time such as 2026-01-31T12:00:00Z, or milliseconds since 1970"
        ))
    })
}

pub(super) fn change_json(app: &App, open: &OpenTenant, change: &ChangeId) -> Result<Bytes, Problem> {
    let found = known(app, open, change)?;
    let _room = app.room.take(&found)?;
    let context = circumstances(open)?;
    // One payload after the other, of which only what it says is kept.
    let mut telling = Telling::new(change, &context);
    for (index, header) in &found.headers {
        let stored = open.log.stored(*index).map_err(|error| log_failed(&error))?;
        telling.add(*index, header, stored.as_ref().map(|stored| stored.payload.as_slice()));
    }
    app.room.answer(telling.document().to_json())
}

/// The events of a change that has to be known.
fn known(app: &App, open: &OpenTenant, change: &ChangeId) -> Result<Found, Problem> {
    let found = app.room.find(open, change)?;
    if found.headers.is_empty() { Err(unknown(&open.tenant, change)) } else { Ok(found) }
}

/// By what a change is judged now.
pub fn circumstances(open: &OpenTenant) -> Result<Context, Problem> {
    let judged = || {
        let head = open.log.head()?;
        packs::circumstances(&open.log, &head.origin, head.size)
    };
    judged().map_err(|error: ReadError| log_failed(&error))
}

/// The events of a change as the log holds them now, oldest first, with the room that they take.
pub struct Recorded {
    /// Index, header and payload of each.
    pub entries: Vec<(u64, EventHeader, Vec<u8>)>,
    _room: Held,
}

impl Recorded {
    /// None where the change is not known. Blocking.
    pub fn of(app: &App, open: &OpenTenant, change: &ChangeId) -> Result<Self, Problem> {
        let found = app.room.find(open, change)?;
        let room = app.room.take(&found)?;
        let mut entries = Vec::with_capacity(found.headers.len());
        for (index, header) in found.headers {
            if let Some(stored) = open.log.stored(index).map_err(|error| log_failed(&error))? {
                entries.push((index, header, stored.payload));
            }
        }
        Ok(Self { entries, _room: room })
    }

    /// As workers read it, of a change that has to be known: what somebody else publishes into it neither hides what is to be approved nor moves it to an attempt
    /// that nobody asked for. Blocking.
    pub fn believed(app: &App, open: &OpenTenant, change: &ChangeId) -> Result<Self, Problem> {
        let (stored, room) = local::read(app, open, change)?;
        let case = Case::new(open.tenant.clone(), change.clone(), stored);
        let entries = case.entries.into_iter();
        let entries = entries
            .filter_map(|stored| Some((stored.index, Arc::unwrap_or_clone(stored.header), stored.payload?.into())));
        let entries: Vec<_> = entries.collect();
        if entries.is_empty() { Err(unknown(&open.tenant, change)) } else { Ok(Self { entries, _room: room }) }
    }

    /// Of a change that has to be known. Blocking.
    pub fn known(app: &App, open: &OpenTenant, change: &ChangeId) -> Result<Self, Problem> {
        let recorded = Self::of(app, open, change)?;
        if recorded.entries.is_empty() { Err(unknown(&open.tenant, change)) } else { Ok(recorded) }
    }

    /// What is judged.
    pub fn views(&self) -> Vec<Entry<'_>> {
        self.entries
            .iter()
            .map(|(index, header, payload)| Entry { index: *index, header, payload: Some(payload) })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_people_and_programs_write_them() {
        for (text, expect) in [
            ("0", Some(0)),
            ("1700000000123", Some(1_700_000_000_123)),
            ("2023-11-14T22:13:20Z", Some(1_700_000_000_000)),
            ("2023-11-14T23:13:20.5+01:00", Some(1_700_000_000_500)),
            ("1969-12-31T23:59:59Z", None),
            ("yesterday", None),
            ("", None),
            ("-1", None),
        ] {
            assert_eq!(time_ms("from", text).ok(), expect, "{text}");
        }
    }

    #[test]
    fn pages_have_bounds() {
        assert_eq!(rows(None).unwrap(), PAGE_ROWS);
        assert_eq!(rows(Some(500)).unwrap(), 500);
        for limit in [0, 501, usize::MAX] {
            assert!(rows(Some(limit)).is_err(), "{limit}");
        }
    }

    #[test]
    fn the_next_page_has_the_same_filter() {
        let query = ListQuery {
            q: Some("a&b <c>".to_owned()),
            env: Environment::parse("prod").ok(),
            probes: Some(true),
            limit: Some(7),
            after: Some("12".to_owned()),
            at_least: Some(3),
            ..ListQuery::default()
        };
        let next = query.on_from("9");
        let mut pairs: Vec<_> = next.split('&').collect();
        pairs.sort_unstable();
        assert_eq!(pairs, ["after=9", "env=prod", "limit=7", "probes=true", "q=a%26b%20%3Cc%3E"]);
    }

    #[test]
    fn probes_are_no_anomalies_unless_asked_for() {
        let of = |anomaly: bool, probes: Option<bool>| {
            let anomaly = anomaly.then(|| Code::NoApprovalRecorded.as_str().to_owned());
            filter(ListQuery { anomaly, probes, ..ListQuery::default() }).unwrap().without_probes
        };
        assert_eq!([of(false, None), of(false, Some(false)), of(false, Some(true))], [false, true, false]);
        assert_eq!([of(true, None), of(true, Some(false)), of(true, Some(true))], [true, true, false]);
    }

    #[test]
    fn a_state_that_does_not_exist_is_named_with_those_that_do() {
        let detail = state("done").unwrap_err().to_json()["detail"].to_string();
        assert!(detail.contains("done") && detail.contains("verify_failed"), "{detail}");
    }
}

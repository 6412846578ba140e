//! `/v1/tenants/{tenant}/maturity`: levels with their evidence, the checklist, the level of each day, and our row of the comparison template.
//!
//! Figures are read off the sums that the detail projection keeps; each answer says how many entries those are behind. The row of a named set of changes
//! is measured from their entries alone.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use jiff::civil::Date;
use ledger::read::ReadError;
use projector::account::Account;
use projector::kpi::figure::{self, Sums, Total};
use projector::kpi::scratch::{Filter, Scratch};
use projector::kpi::{Day, Settings, Window};
use projector::maturity::compare::Row;
use projector::maturity::evidence::{Count, Figures};
use projector::maturity::{DayLevels, WINDOW_DAYS, attestation, report};
use projector_sqlite::Reader;
use schemas::ids::{ChangeId, Tenant};
use schemas::model;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::app::{App, OpenTenant, blocking, log_failed};
use super::changes::Recorded;
use super::evidence::segment;
use super::extract::{JsonBody, UrlPath, UrlQuery};
use super::problem::Problem;
use crate::clock;
use crate::packs::circumstances;

/// Ten years.
const HISTORY_DAYS_MAX: u32 = 3_660;
/// Changes that a row may be restricted to.
const CHANGES_MAX: usize = 10_000;

/// Query of the report and the checklist.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asked {
    at_least: Option<u64>,
}

/// Query of the history.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HistoryQuery {
    days: Option<u32>,
    at_least: Option<u64>,
}

/// Which changes a row is measured from.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChangeSet {
    changes: Vec<ChangeId>,
}

/// `GET …/maturity`
pub async fn get(
    app: State<Arc<App>>,
    tenant: UrlPath<Tenant>,
    query: UrlQuery<Asked>,
) -> Result<Json<Value>, Problem> {
    told(app, tenant, query, |figures| json!(report::report(figures))).await
}

/// `GET …/maturity/checklist`: `{"items": […], "criteria": […]}`: the tenant's items, and of this program the acceptance criteria with their tests.
pub async fn checklist(
    app: State<Arc<App>>,
    tenant: UrlPath<Tenant>,
    query: UrlQuery<Asked>,
) -> Result<Json<Value>, Problem> {
    told(app, tenant, query, |figures| json!({ "items": report::checklist(figures), "criteria": report::criteria() }))
        .await
}

/// What is told of the figures of the window that ends today.
async fn told(
    State(app): State<Arc<App>>,
    UrlPath(tenant): UrlPath<Tenant>,
    UrlQuery(query): UrlQuery<Asked>,
    tell: fn(&Figures) -> Value,
) -> Result<Json<Value>, Problem> {
    let open = opened(&app, &tenant, query.at_least).await?;
    blocking(move || {
        let now = clock::unix_ms();
        let (figures, _) = measured(&open, window_to(Day::of(now)), now)?;
        with_head(&open, tell(&figures), now)
    })
    .await
    .map(Json)
}

/// `GET …/maturity/history`: `{"days": [{"day", "level", "with_attestations", "cap", "phases", "phases_with_attestations"}]}`, oldest first: the
/// rows of `maturity_daily`.
pub async fn history(
    State(app): State<Arc<App>>,
    UrlPath(tenant): UrlPath<Tenant>,
    UrlQuery(query): UrlQuery<HistoryQuery>,
) -> Result<Json<Value>, Problem> {
    let days = query.days.unwrap_or(WINDOW_DAYS);
    if !(1..=HISTORY_DAYS_MAX).contains(&days) {
        return Err(Problem::bad_request(format!("days: found {days}, expected 1 to {HISTORY_DAYS_MAX}")));
    }
    let open = opened(&app, &tenant, query.at_least).await?;
    blocking(move || {
        let now = clock::unix_ms();
        let today = Day::of(now);
        let first = first_day(&open)?.map_or(today, |first| first.max(Day((today.0 + 1).saturating_sub(days))));
        let told = open.ask(|views| views.maturity_daily((first.0..=today.0).map(Day)))?;
        let shown: Vec<_> = told.iter().map(|(day, levels)| level_of(*day, levels)).collect();
        with_head(&open, json!({ "days": shown }), now)
    })
    .await
    .map(Json)
}

fn first_day(open: &OpenTenant) -> Result<Option<Day>, Problem> {
    let header = open.log.header(0).map_err(|error| log_failed(&error))?;
    Ok(header.and_then(|header| header.at()).map(Day::of))
}

fn level_of(day: Day, levels: &DayLevels) -> Value {
    let phases = |levels: &[u8]| {
        let named = model::get().phases.iter().zip(levels);
        named.map(|(phase, level)| (phase.id.clone(), Value::from(*level))).collect::<Map<_, _>>()
    };
    json!({
        "day": date(day),
        "level": levels.level,
        "with_attestations": levels.with_attestations,
        "cap": levels.cap,
        "phases": phases(&levels.phases),
        "phases_with_attestations": phases(&levels.phases_with_attestations),
    })
}

/// `GET …/maturity/row`: our row of the comparison template.
pub async fn row(State(app): State<Arc<App>>, UrlPath(tenant): UrlPath<Tenant>) -> Result<Json<Value>, Problem> {
    let open = opened(&app, &tenant, None).await?;
    blocking(move || {
        let now = clock::unix_ms();
        let (figures, sums) = measured(&open, window_to(Day::of(now)), now)?;
        let base = format!("/v1/tenants/{}", open.tenant);
        let links = ["kpis", "maturity", "maturity/checklist", "changes"].map(|name| format!("{base}/{name}"));
        Ok(own_row(&open, &figures, &sums, links.into()))
    })
    .await
    .map(Json)
}

/// `POST …/maturity/row` with `{"changes": [ID, …]}`: the row measured from these changes alone, whenever they were.
pub async fn row_of(
    State(app): State<Arc<App>>,
    UrlPath(tenant): UrlPath<Tenant>,
    JsonBody(ChangeSet { mut changes }): JsonBody<ChangeSet>,
) -> Result<Json<Value>, Problem> {
    let open = opened(&app, &tenant, None).await?;
    // One that is named twice is one.
    changes.sort_unstable();
    changes.dedup();
    if changes.is_empty() || changes.len() > CHANGES_MAX {
        let found = changes.len();
        return Err(Problem::bad_request(format!("changes: found {found}, expected 1 to {CHANGES_MAX}")));
    }
    blocking(move || {
        let now = clock::unix_ms();
        let (figures, sums) = of_changes(&app, &open, &changes, now)?;
        let link = |id: &ChangeId| format!("/v1/tenants/{}/changes/{}/evidence.zip", open.tenant, segment(id.as_str()));
        Ok(own_row(&open, &figures, &sums, changes.iter().map(link).collect()))
    })
    .await
    .map(Json)
}

async fn opened(app: &Arc<App>, tenant: &Tenant, at_least: Option<u64>) -> Result<Arc<OpenTenant>, Problem> {
    let open = app.tenant(tenant)?;
    app.covered(tenant, at_least).await?;
    Ok(open)
}

/// The window that ends with a day.
fn window_to(day: Day) -> Window {
    let to = day.0.saturating_add(1);
    Window { from: Day(to.saturating_sub(WINDOW_DAYS)), to: Day(to) }
}

/// What a window shows, with the attestations that stood at `at_ms`.
fn measured(open: &OpenTenant, window: Window, at_ms: u64) -> Result<(Figures, Sums), Problem> {
    let assessors = assessors(open)?;
    open.ask(|views| views.maturity(window, &assessors, at_ms))
}

fn assessors(open: &OpenTenant) -> Result<BTreeMap<String, String>, Problem> {
    let read = || open.log.facts_over_time(open.log.head()?.size);
    let facts = read().map_err(|error: ReadError| log_failed(&error))?;
    Ok(facts.last().map(|(_, facts)| attestation::assessors(facts)).unwrap_or_default())
}

/// The same from the entries of named changes.
fn of_changes(app: &App, open: &OpenTenant, changes: &[ChangeId], now_ms: u64) -> Result<(Figures, Sums), Problem> {
    let size = open.log.head().map_err(|error| log_failed(&error))?.size;
    let rules = circumstances(&open.log, &open.origin, size).map_err(|error| log_failed(&error))?.rules;
    let settings = Settings::of(rules.at(u64::MAX));
    let all = Window { from: Day(0), to: Day(Day::of(now_ms).0.saturating_add(1)) };
    let (mut accounts, mut samples) = (Vec::new(), Vec::new());
    for change in changes {
        let recorded = Recorded::known(app, open, change)?;
        let entries = recorded.views();
        samples.push(projector::maturity::samples(change, &entries, &rules, settings.ended_after_ms));
        accounts.extend(Account::of(change, &entries, &rules));
    }
    let mut sums = Scratch::of(&accounts).sums(all, &Filter::default());
    let mut environments: BTreeMap<String, Count> = BTreeMap::new();
    let mut cases = Vec::new();
    for (account, samples) in accounts.iter().zip(samples) {
        for sample in samples.iter().filter(|sample| all.contains(sample.day)) {
            let total = Total::of(sample);
            sums.totals.entry(sample.metric.to_owned()).or_default().add(&total);
            let count = Count { num: total.num, den: total.den };
            if sample.metric == projector::maturity::ROLLBACK_EXECUTED {
                let name = account.group.environment.as_ref().map_or("(no environment)", |name| name.as_str());
                let of = environments.entry(name.to_owned()).or_default();
                (of.num, of.den) = (of.num + count.num, of.den + count.den);
            }
            cases.push((sample.day, sample.metric, count));
        }
    }
    cases.sort_unstable_by_key(|(day, ..)| *day);
    let mut figures = Figures::of(&sums, environments);
    figures.take_cases(cases.into_iter().map(|(_, name, count)| (name, count)));
    Ok((figures, sums))
}

fn own_row(open: &OpenTenant, figures: &Figures, sums: &Sums, evidence: Vec<String>) -> Value {
    let report = report::report(figures);
    let row = Row {
        platform: format!("Your Stack ({})", open.tenant),
        overall: report.overall.measured.level,
        phases: report.phases.iter().map(|phase| phase.measured.level).collect(),
        kpis: figure::figures(sums).iter().map(|figure| figure.value).collect(),
        evidence,
        reason: report.reason,
    };
    row.json()
}

fn with_head(open: &OpenTenant, mut answer: Value, now_ms: u64) -> Result<Value, Problem> {
    let cursors = |views: &Reader| Ok((views.core_cursor()?, views.detail_cursor()?));
    let (core, detail) = open.ask(cursors)?;
    let window = window_to(Day::of(now_ms));
    answer["tenant"] = json!(open.tenant);
    answer["window"] = json!({ "from": date(window.from), "to": date(window.to), "days": WINDOW_DAYS });
    answer["as_of"] = json!(detail);
    answer["behind"] = json!(core.saturating_sub(detail));
    Ok(answer)
}

/// A day as people write it.
fn date(day: Day) -> String {
    let span = jiff::Span::new().try_days(i64::from(day.0));
    let date = span.ok().and_then(|span| Date::constant(1970, 1, 1).checked_add(span).ok());
    date.map_or_else(|| format!("day {}", day.0), |date| date.to_string())
}

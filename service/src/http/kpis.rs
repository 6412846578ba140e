//! `/v1/tenants/{tenant}/kpis`: the model's ten KPIs over a window of UTC days, with the changes behind each.
//!
//! A figure is read off sums that the detail projection keeps; the answer says how far that has come. What was not measured has no value.

use std::fmt::Write as _;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use jiff::civil::Date;
use projector::kpi::figure::{Figure, figures};
use projector::kpi::scratch::Filter;
use projector::kpi::{DAY_MS, Day, Settings, Window, metric};
use projector_sqlite::Reader;
use projector_sqlite::kpi::{Counted, CountedKey, Side};
use schemas::ids::{ChangeClass, Environment, Tenant};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::app::{App, OpenTenant, blocking, log_failed};
use super::changes::{rows, with_next};
use super::evidence::segment;
use super::extract::{UrlPath, UrlQuery};
use super::problem::Problem;
use crate::clock;
use crate::packs::circumstances;

/// Days of a window where nobody says how many: that of the model's measures.
pub const WINDOW_DAYS: u32 = 90;
/// Days that a window may have: ten years.
const WINDOW_DAYS_MAX: u32 = 3_660;
/// Changes named beside each figure.
const NAMED: usize = 5;

/// Window and filter of a question; of one KPI also the page.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KpiQuery {
    /// The first day, `2026-09-01`.
    from: Option<String>,
    /// The first day after the window.
    to: Option<String>,
    /// So many days up to today, `90d`; instead of `from` and `to`.
    last: Option<String>,
    owner: Option<String>,
    env: Option<Environment>,
    class: Option<String>,
    /// Whether to tell each day, too.
    trend: Option<bool>,
    /// Of one KPI, which changes: `against`, `for` or `all`.
    changes: Option<String>,
    limit: Option<usize>,
    after: Option<String>,
    at_least: Option<u64>,
}

/// `GET /v1/tenants/{tenant}/kpis`: `{"window", "settings", "filter", "as_of", "kpis": […], "trend"?}`.
pub async fn list(
    State(app): State<Arc<App>>,
    UrlPath(tenant): UrlPath<Tenant>,
    UrlQuery(query): UrlQuery<KpiQuery>,
) -> Result<Json<Value>, Problem> {
    let open = app.tenant(&tenant)?;
    of_all(&query)?;
    app.covered(&tenant, query.at_least).await?;
    let question = Question::of(&query, clock::unix_ms())?;
    blocking(move || open.ask(|views| Ok(question.all(&open, views))).and_then(|answer| answer)).await.map(Json)
}

/// `GET /v1/tenants/{tenant}/kpis/{kpi}`: one of them, day by day, with a page of the changes that count against it, for it (`?changes=for`), or of
/// all (`?changes=all`).
pub async fn one(
    State(app): State<Arc<App>>,
    UrlPath((tenant, kpi)): UrlPath<(Tenant, String)>,
    UrlQuery(query): UrlQuery<KpiQuery>,
) -> Result<Json<Value>, Problem> {
    let open = app.tenant(&tenant)?;
    app.covered(&tenant, query.at_least).await?;
    let question = Question::of(&query, clock::unix_ms())?;
    let kpi = known(&kpi)?;
    let limit = rows(query.limit)?;
    let after = query.after.as_deref().map(str::parse::<CountedKey>).transpose();
    let after = after.map_err(|error| Problem::bad_request(format!("after: {error}")))?;
    let page = Page { side: side(query.changes.as_deref())?, after, limit };
    let answer = move || open.ask(|views| Ok(question.one(&open, views, kpi, &page))).and_then(|answer| answer);
    blocking(answer).await.map(Json)
}

/// The figures of the last [`WINDOW_DAYS`] days, for `/metrics`.
pub fn recent(open: &OpenTenant, now_ms: u64) -> Result<Vec<Figure>, Problem> {
    let window = last_days(WINDOW_DAYS, now_ms);
    open.ask(|views| views.kpis(window, &Filter::default())).map(|sums| figures(&sums))
}

fn known(kpi: &str) -> Result<&'static str, Problem> {
    metric::KPIS.into_iter().find(|known| *known == kpi).ok_or_else(|| {
        let problem = Problem::new(
            StatusCode::NOT_FOUND,
            "unknown_kpi",
            "No such KPI",
            format!("kpi: found {kpi:?}, expected one of {}", metric::KPIS.join(", ")),
        );
        problem.with("kpis", metric::KPIS.to_vec())
    })
}

/// What pages the changes behind one KPI says nothing of all of them.
fn of_all(query: &KpiQuery) -> Result<(), Problem> {
    let given =
        [("changes", query.changes.is_some()), ("limit", query.limit.is_some()), ("after", query.after.is_some())];
    match given.into_iter().find(|(_, given)| *given) {
        Some((name, _)) => Err(Problem::bad_request(format!("{name}: found of all KPIs, expected of one: …/kpis/KPI"))),
        None => Ok(()),
    }
}

fn side(word: Option<&str>) -> Result<Side, Problem> {
    match word {
        None | Some("against") => Ok(Side::Against),
        Some("for") => Ok(Side::For),
        Some("all") => Ok(Side::All),
        Some(found) => {
            Err(Problem::bad_request(format!("changes: found {found:?}, expected one of against, for, all")))
        }
    }
}

/// Which of the changes behind a figure.
struct Page {
    side: Side,
    after: Option<CountedKey>,
    limit: usize,
}

struct Question {
    window: Window,
    filter: Filter,
    trend: bool,
}

impl Question {
    fn of(query: &KpiQuery, now_ms: u64) -> Result<Self, Problem> {
        let class = query.class.as_deref().map(|word| {
            ChangeClass::parse(word)
                .map_err(|_| Problem::bad_request(format!("class: found {word:?}, expected {}", ChangeClass::EXPECTED)))
        });
        let filter = Filter { owner: query.owner.clone(), environment: query.env.clone(), class: class.transpose()? };
        Ok(Self { window: window(query, now_ms)?, filter, trend: query.trend.unwrap_or(false) })
    }

    fn all(&self, open: &OpenTenant, views: &Reader) -> Result<Value, Problem> {
        let failed = |error| super::app::views_failed(&error);
        let figures = figures(&views.kpis(self.window, &self.filter).map_err(failed)?);
        let mut kpis = Vec::with_capacity(figures.len());
        for figure in &figures {
            let counted = views.kpi_changes(&figure.kpi, self.window, &self.filter, Side::Against, None, NAMED);
            let mut kpi = told(open, figure, &counted.map_err(failed)?.0, Side::Against);
            kpi["changes_href"] = self.changes_href(open, &figure.kpi).into();
            kpis.push(kpi);
        }
        let mut answer = self.head(open, views)?;
        answer["measured"] = figures.iter().any(|figure| figure.measured).into();
        answer["kpis"] = kpis.into();
        if self.trend {
            let trend = views.kpi_trend(self.window, &self.filter).map_err(failed)?;
            let days = trend.iter().map(|point| {
                let values = self::figures(&point.sums);
                let values = values.into_iter().filter_map(|figure| Some((figure.kpi, Value::from(figure.value?))));
                json!({ "day": date(point.day), "values": values.collect::<Map<_, _>>() })
            });
            answer["trend"] = days.collect();
        }
        Ok(answer)
    }

    fn one(&self, open: &OpenTenant, views: &Reader, kpi: &str, page: &Page) -> Result<Value, Problem> {
        let failed = |error| super::app::views_failed(&error);
        let figures = self::figures(&views.kpis(self.window, &self.filter).map_err(failed)?);
        let counted = views.kpi_changes(kpi, self.window, &self.filter, page.side, page.after, page.limit);
        let (counted, next) = counted.map_err(failed)?;
        let mut answer = self.head(open, views)?;
        if let Some(figure) = figures.iter().find(|figure| figure.kpi == kpi) {
            answer["measured"] = figure.measured.into();
            answer["kpi"] = told(open, figure, &counted, page.side);
        }
        let trend = views.kpi_trend(self.window, &self.filter).map_err(failed)?;
        let days = trend.iter().filter_map(|point| {
            let figure = self::figures(&point.sums).into_iter().find(|figure| figure.kpi == kpi && figure.measured)?;
            let (numerator, denominator) = (figure.numerator, figure.denominator);
            Some(json!({ "day": date(point.day), "value": figure.value, "numerator": numerator, "denominator": denominator }))
        });
        answer["trend"] = days.collect();
        Ok(with_next(answer, next.map(|key| key.to_string().into())))
    }

    /// Where all changes behind a figure are, page by page.
    fn changes_href(&self, open: &OpenTenant, kpi: &str) -> String {
        let Filter { owner, environment, class } = &self.filter;
        let mut href = format!(
            "/v1/tenants/{}/kpis/{kpi}?from={}&to={}&changes=all",
            open.tenant,
            date(self.window.from),
            date(self.window.to)
        );
        let given = [
            ("owner", owner.as_deref()),
            ("env", environment.as_ref().map(Environment::as_str)),
            ("class", class.map(ChangeClass::as_str)),
        ];
        for (name, value) in given.into_iter().filter_map(|(name, value)| Some((name, value?))) {
            let _ = write!(href, "&{name}={}", segment(value));
        }
        href
    }

    fn head(&self, open: &OpenTenant, views: &Reader) -> Result<Value, Problem> {
        let failed = |error| super::app::views_failed(&error);
        let (core, detail) = (views.core_cursor().map_err(failed)?, views.detail_cursor().map_err(failed)?);
        let filter = json!({ "owner": self.filter.owner, "env": self.filter.environment, "class": self.filter.class });
        let given = filter.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null());
        let given: Map<_, _> = given.map(|(name, value)| (name.clone(), value.clone())).collect();
        let days = views.kpi_days().map_err(failed)?;
        let known = days.map(|(first, last)| json!({ "from": date(first), "to": date(Day(last.0.saturating_add(1))) }));
        let window = self.window;
        Ok(json!({
            "tenant": open.tenant,
            "window": { "from": date(window.from), "to": date(window.to), "days": window.to.0 - window.from.0 },
            "filter": given,
            "settings": settings(open)?,
            "as_of": { "entries": detail, "behind": core.saturating_sub(detail) },
            "days_with_data": known,
        }))
    }
}

/// What time-driven figures go by: of the tenant's newest rule. A change is measured by the rule that held when it executed.
fn settings(open: &OpenTenant) -> Result<Value, Problem> {
    const HOUR_MS: u64 = 3_600_000;
    let read = || circumstances(&open.log, &open.origin, open.log.head()?.size);
    let rules = read().map_err(|error| log_failed(&error))?.rules;
    let Settings { ended_after_ms, emergency_within_ms } = Settings::of(rules.at(u64::MAX));
    Ok(json!({ "ended_after_h": ended_after_ms / HOUR_MS, "emergency_within_h": emergency_within_ms / HOUR_MS }))
}

/// A figure with changes behind it: those against it as `missed`, others as `changes`, each with what it adds and on which side.
fn told(open: &OpenTenant, figure: &Figure, counted: &[Counted], side: Side) -> Value {
    let mut told = serde_json::to_value(figure).unwrap_or_default();
    // Resources are listed as of now: a window in which none was managed has none to name.
    let counted = counted.iter().filter(|_| figure.denominator > 0 || figure.kpi != metric::DRIFT_COVERAGE);
    let named = counted.map(|counted| {
        let mut named = json!({
            "change": counted.change,
            "href": format!("/v1/tenants/{}/changes/{}", open.tenant, segment(counted.change.as_str())),
        });
        if let Some(day) = counted.day {
            named["day"] = date(day).into();
        }
        if let Some(resource) = &counted.resource {
            named["resource"] = serde_json::from_str(resource).unwrap_or_else(|_| resource.clone().into());
        }
        if side != Side::Against {
            let [numerator, denominator, _] = counted.total;
            named["counts"] = if counted.against { "against" } else { "for" }.into();
            (named["numerator"], named["denominator"]) = (numerator.into(), denominator.into());
        }
        named
    });
    told[if side == Side::Against { "missed" } else { "changes" }] = named.collect();
    told
}

fn window(query: &KpiQuery, now_ms: u64) -> Result<Window, Problem> {
    let window = match (&query.last, &query.from, &query.to) {
        (Some(_), Some(_), _) | (Some(_), _, Some(_)) => {
            return Err(Problem::bad_request("last: found beside from or to, expected one of them"));
        }
        (Some(last), None, None) => last_days(days_of(last)?, now_ms),
        (None, None, None) => last_days(WINDOW_DAYS, now_ms),
        (None, from, to) => {
            let today = Day(Day::of(now_ms).0.saturating_add(1));
            let to = to.as_deref().map_or(Ok(today), |text| day("to", text))?;
            let from = from.as_deref().map(|text| day("from", text)).transpose()?;
            Window { from: from.unwrap_or(Day(to.0.saturating_sub(WINDOW_DAYS))), to }
        }
    };
    let days = window.to.0.saturating_sub(window.from.0);
    if (1..=WINDOW_DAYS_MAX).contains(&days) {
        return Ok(window);
    }
    let found = format!("{} to {}", date(window.from), date(window.to));
    Err(Problem::bad_request(format!("window: found {found}, expected 1 to {WINDOW_DAYS_MAX} days, from before to")))
}

/// The last days, today among them.
fn last_days(days: u32, now_ms: u64) -> Window {
    let to = Day::of(now_ms).0.saturating_add(1);
    Window { from: Day(to.saturating_sub(days)), to: Day(to) }
}

fn days_of(text: &str) -> Result<u32, Problem> {
    let days = text.strip_suffix('d').and_then(|number| number.parse().ok()).filter(|days| *days > 0);
    days.ok_or_else(|| Problem::bad_request(format!("last: found {text:?}, expected days such as 90d")))
}

/// A day, or the midnight that it begins with.
fn day(name: &str, text: &str) -> Result<Day, Problem> {
    let midnight = |text: &str| {
        let ms = text.parse::<jiff::Timestamp>().ok().and_then(|time| u64::try_from(time.as_millisecond()).ok())?;
        (ms % DAY_MS == 0).then(|| Day::of(ms))
    };
    let of_date = |text: &str| {
        let days = text.parse::<Date>().ok()?.since(Date::constant(1970, 1, 1)).ok()?.get_days();
        u32::try_from(days).ok().map(Day)
    };
    let date_only = text.len() == 10;
    let found = if date_only { of_date(text) } else { midnight(text) };
    found.ok_or_else(|| {
        Problem::bad_request(format!(
            "{name}: found {text:?}, expected a day such as 2026-01-31: windows are whole days in UTC"
        ))
    })
}

/// A day as people write it.
fn date(day: Day) -> String {
    let span = jiff::Span::new().try_days(i64::from(day.0));
    let date = span.ok().and_then(|span| Date::constant(1970, 1, 1).checked_add(span).ok());
    date.map_or_else(|| format!("day {}", day.0), |date| date.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-29T06:00:00Z.
    const NOW_MS: u64 = 1_795_932_000_000;

    #[track_caller]
    fn check(query: &KpiQuery, expect: &str) {
        let told = match window(query, NOW_MS) {
            Ok(window) => format!("{} {}", date(window.from), date(window.to)),
            Err(problem) => problem.to_json()["detail"].as_str().unwrap_or_default().to_owned(),
        };
        assert_eq!(told, expect);
    }

    #[test]
    fn windows() {
        let text = |text: &str| Some(text.to_owned());
        check(&KpiQuery::default(), "2026-09-01 2026-11-30");
        check(&KpiQuery { last: text("1d"), ..KpiQuery::default() }, "2026-11-29 2026-11-30");
        check(
            &KpiQuery { from: text("2026-01-01"), to: text("2027-01-01T00:00:00Z"), ..KpiQuery::default() },
            "2026-01-01 2027-01-01",
        );
        check(&KpiQuery { from: text("2026-11-01"), ..KpiQuery::default() }, "2026-11-01 2026-11-30");
        check(&KpiQuery { to: text("2026-04-01"), ..KpiQuery::default() }, "2026-01-01 2026-04-01");
        let whole = "expected a day such as 2026-01-31: windows are whole days in UTC";
        for bad in ["2026-02-30", "yesterday", "2026-01-31T12:00:00Z", "1969-12-31", ""] {
            check(&KpiQuery { from: text(bad), ..KpiQuery::default() }, &format!("from: found {bad:?}, {whole}"));
        }
        for bad in ["0d", "90", "d", "-1d", "1y"] {
            check(
                &KpiQuery { last: text(bad), ..KpiQuery::default() },
                &format!("last: found {bad:?}, expected days such as 90d"),
            );
        }
        check(
            &KpiQuery { from: text("2026-02-01"), to: text("2026-01-01"), ..KpiQuery::default() },
            "window: found 2026-02-01 to 2026-01-01, expected 1 to 3660 days, from before to",
        );
        check(
            &KpiQuery { from: text("2026-02-01"), last: text("3d"), ..KpiQuery::default() },
            "last: found beside from or to, expected one of them",
        );
    }

    #[test]
    fn pages_are_of_one_kpi() {
        assert!(of_all(&KpiQuery { trend: Some(true), at_least: Some(1), ..KpiQuery::default() }).is_ok());
        for (query, name) in [
            (KpiQuery { changes: Some("all".to_owned()), ..KpiQuery::default() }, "changes"),
            (KpiQuery { limit: Some(3), ..KpiQuery::default() }, "limit"),
            (KpiQuery { after: Some("1".to_owned()), ..KpiQuery::default() }, "after"),
        ] {
            let detail = of_all(&query).unwrap_err().to_json()["detail"].to_string();
            assert!(detail.contains(&format!("{name}: found of all KPIs")), "{detail}");
        }
    }

    #[test]
    fn an_unknown_kpi_is_named_with_those_that_are() {
        let problem = known("uptime").unwrap_err().to_json();
        assert_eq!(problem["kpis"].as_array().map(Vec::len), Some(10));
        assert!(problem["detail"].as_str().unwrap().contains("plan_determinism"));
        assert!(metric::KPIS.iter().all(|kpi| known(kpi).is_ok()));
    }
}

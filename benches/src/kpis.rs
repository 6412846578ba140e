//! `upm-bench kpis`: a made-up history that ends today into the views, then the questions of a dashboard, in process and over HTTP. Without a log: headers and payloads
//! come from the generator, and those of the last days are kept, because detail reads changes whole. The figures that are timed are compared with the history's truth.

use std::collections::BTreeMap;
use std::time::{Instant, SystemTime};

use hdrhistogram::Histogram;
use ledger::entry::{EventHeader, Header};
use projector::approval::Rules;
use projector::detail::detail;
use projector::document::Entry;
use projector::kpi::scratch::Filter;
use projector_sqlite::{ChangeRows, ChunkLimits, Row, Told as Heard, Touched, ViewError, Views};
use schemas::admit::Scratch;
use serde::Serialize;

use crate::KpiArguments;
use crate::against::{self, header, window};
use crate::history::{DAY_MS, History, Options, Told, Truth};
use crate::served::{self, Served};
use crate::world::{self, Failure, per_second};

/// Events of a transaction.
const CHUNK: usize = 2_048;
/// Days for which events are kept: no change of the generator goes on for longer.
const KEPT_MS: u64 = 8 * DAY_MS;
/// Questions asked, each kind.
const QUESTIONS: u32 = 200;
/// What a run measured.
#[derive(Serialize)]
struct Measured {
    events: u64,
    core_events_per_s: f64,
    detail_events_per_s: f64,
    file_mib: u64,
    kpis_90d_p50_us: f64,
    kpis_90d_p99_us: f64,
    kpis_90d_of_owner_p99_us: f64,
    kpis_year_by_day_p99_us: f64,
    /// The same over HTTP.
    served: Served,
}

/// Fills views and asks them.
pub(crate) fn run(arguments: &KpiArguments) -> Result<(), Failure> {
    let dir = world::folder(arguments.dir.as_deref())?;
    let path = dir.path().join("kpis.db");
    // What a server calls the last 90 days are those of the history.
    let today = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_secs() / 86_400;
    let from = (today + 1).saturating_sub(arguments.days);
    let options = Options {
        seed: arguments.seed,
        tenant: "acme".to_owned(),
        changes: arguments.events / 6,
        from_ms: from * DAY_MS,
        days: arguments.days,
        played_at_ms: None,
        anomalies: false,
        sign: None,
    };
    let mut filling =
        Filling { views: Views::open(&path)?, kept: BTreeMap::new(), next: 0, core_s: 0.0, detail_s: 0.0 };
    let mut history = History::new(options);
    loop {
        let some: Vec<Told> = history.by_ref().filter(|told| !told.duplicate).take(CHUNK).collect();
        if some.is_empty() {
            break;
        }
        filling.take(&some)?;
    }
    let truth = history.into_truth();
    check(&filling.views, &truth, from, arguments.days)?;
    let last = from + arguments.days;
    let recent = window(last.saturating_sub(90), last);
    let owner = Filter { owner: Some("payments".to_owned()), ..Filter::default() };
    let views = &filling.views;
    let all = ask(|| views.kpis(recent, &Filter::default()).map(drop))?;
    let one = ask(|| views.kpis(recent, &owner).map(drop))?;
    let year = ask(|| views.kpi_trend(window(last.saturating_sub(365), last), &Filter::default()).map(drop))?;
    let Filling { views, next: events, core_s, detail_s, .. } = filling;
    let expect = views.kpis(recent, &Filter::default())?;
    // Closed, so that all of it is in the one file that the server gets.
    drop(views);
    let file_mib = std::fs::metadata(&path)?.len() >> 20;
    let served = served::run(&arguments.nats_server, &path, &expect)?;
    let measured = Measured {
        events,
        core_events_per_s: per_second(events, core_s),
        detail_events_per_s: per_second(events, detail_s),
        file_mib,
        kpis_90d_p50_us: micros(&all, 0.5),
        kpis_90d_p99_us: micros(&all, 0.99),
        kpis_90d_of_owner_p99_us: micros(&one, 0.99),
        kpis_year_by_day_p99_us: micros(&year, 0.99),
        served,
    };
    let text = serde_json::to_string_pretty(&measured)?;
    println!("{text}");
    if let Some(json) = &arguments.json {
        std::fs::write(json, text)?;
    }
    Ok(())
}

struct Filling {
    views: Views,
    kept: BTreeMap<u64, (EventHeader, Vec<u8>)>,
    next: u64,
    core_s: f64,
    detail_s: f64,
}

impl Filling {
    fn take(&mut self, some: &[Told]) -> Result<(), Failure> {
        let from = self.next;
        let mut headers = Vec::with_capacity(some.len());
        let mut scratch = Scratch::default();
        for told in some {
            let header = header(told, &mut scratch)?;
            self.kept.insert(self.next, (header.clone(), told.payload.as_bytes().to_vec()));
            headers.push(Header::Event(header));
            self.next += 1;
        }
        let rows: Vec<Row<'_>> = (from..)
            .zip(headers.iter().zip(some))
            .map(|(index, (header, told))| Row::stored(index, header, told.payload.as_bytes()))
            .collect();
        let start = Instant::now();
        self.views.project(&rows)?;
        self.core_s += start.elapsed().as_secs_f64();
        let start = Instant::now();
        self.follow()?;
        self.detail_s += start.elapsed().as_secs_f64();
        let now = some.last().map_or(0, |told| told.at_ms);
        self.kept.retain(|_, (header, _)| header.at + KEPT_MS >= now);
        Ok(())
    }

    fn follow(&mut self) -> Result<(), Failure> {
        let limits = ChunkLimits { entries: CHUNK as u64, events: 8 * CHUNK, bytes: 64 << 20 };
        let rules = Rules::default();
        loop {
            let pending = self.views.pending_detail(&limits)?;
            if pending.from == pending.to {
                return Ok(());
            }
            let details: Vec<ChangeRows> =
                pending.changes.iter().map(|touched| self.tell(touched, &rules)).collect::<Result<_, _>>()?;
            let at_ms = self.kept.range(..pending.to).next_back().map_or(0, |(_, (header, _))| header.at);
            self.views.project_detail(
                &pending,
                &Heard { details: &details, rejections: &[], assessors: &BTreeMap::new(), first_ms: at_ms, at_ms },
            )?;
        }
    }

    fn tell(&self, touched: &Touched, rules: &Rules) -> Result<ChangeRows, ViewError> {
        let entries = touched.events.iter().filter_map(|(index, _)| {
            let (header, payload) = self.kept.get(index)?;
            Some(Entry { index: *index, header, payload: Some(payload) })
        });
        ChangeRows::of(detail(&touched.change, &entries.collect::<Vec<_>>(), rules))
    }
}

/// Microseconds; the histogram holds nanoseconds.
fn micros(times: &Histogram<u64>, quantile: f64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
    let nanos = times.value_at_quantile(quantile) as f64;
    nanos / 1000.0
}

/// A benchmark of wrong figures would time nothing.
fn check(views: &Views, truth: &Truth, from: u64, days: u64) -> Result<(), Failure> {
    let to = from + days + 10;
    let sums = views.kpis(window(from, to), &Filter::default())?;
    against::figures(&sums, truth, from, to)?;
    Ok(against::drift(&sums, truth, from)?)
}

fn ask<E: Into<Failure>>(question: impl Fn() -> Result<(), E>) -> Result<Histogram<u64>, Failure> {
    let mut times = Histogram::new(3)?;
    for _ in 0..QUESTIONS {
        let start = Instant::now();
        question().map_err(Into::into)?;
        times.record(u64::try_from(start.elapsed().as_nanos())?)?;
    }
    Ok(times)
}

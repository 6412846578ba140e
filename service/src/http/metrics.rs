//! `GET /metrics`: what the pipeline counts and where everything stands, as Prometheus reads it (`OpenMetrics` 1.0 text).
//!
//! Every figure is read when it is asked for; nothing is kept here. Names begin with `upm_`; a log's carry its tenant.
//! `docs/operations.md` says which to watch.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use pipeline::Health;
use pipeline::stats::{COMMIT_BOUNDS_S, LogStats, Stats};
use pipeline::work::tally::{CASE_BOUNDS_S, Counts};
use projector::kpi::figure::{Band, Figure};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use super::app::{App, OpenTenant, blocking};
use super::kpis;
use super::problem::Problem;
use crate::clock;

/// Directories deeper than this are none of ours.
const DEPTH_MAX: usize = 12;

/// `GET /metrics`
pub async fn metrics(State(app): State<Arc<App>>) -> Result<Response, Problem> {
    let text = blocking(move || {
        let snapshot = Snapshot::take(&app);
        let mut registry = Registry::default();
        registry.register_collector(Box::new(snapshot));
        let mut text = String::new();
        let encoded = text::encode(&mut text, &registry);
        encoded.map_err(|error| Problem::internal("the metrics could not be written", &error))?;
        Ok(text)
    });
    let mut response = text.await?.into_response();
    let kind = HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    Ok(response)
}

/// All figures of one moment.
#[derive(Debug)]
struct Snapshot {
    health: Health,
    stats: Stats,
    now_ms: u64,
    /// Bytes below each part of the data directory.
    store: Vec<(&'static str, u64)>,
    /// The KPIs of each tenant over the last days.
    kpis: Vec<(String, Vec<Figure>)>,
    /// What the workers of this process did; nothing where it has none.
    workers: BTreeMap<&'static str, Counts>,
}

impl Snapshot {
    /// Blocking: directories are walked.
    fn take(app: &App) -> Self {
        let store = app.directories().map(|(part, dir)| (part, bytes_below(&dir, 0))).into();
        let now_ms = clock::unix_ms();
        // A tenant whose views cannot be asked has none: /readyz says why.
        let of = |open: Arc<OpenTenant>| Some((open.tenant.to_string(), kpis::recent(&open, now_ms).ok()?));
        let kpis = app.tenants().into_iter().filter_map(of).collect();
        Self { health: app.health(), stats: app.stats(), now_ms, store, kpis, workers: app.tally.counts() }
    }
}

impl Collector for Snapshot {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut page = Page(encoder);
        self.encode_whole(&mut page)?;
        self.encode_commits(&mut page)?;
        self.encode_logs(&mut page)?;
        self.encode_workers(&mut page)?;
        self.encode_kpis(&mut page)
    }
}

impl Snapshot {
    fn encode_whole(&self, page: &mut Page<'_>) -> fmt::Result {
        let Stats { rounds, intake_open, disk_free_bytes, child_restarts, .. } = &self.stats;
        page.gauge("upm_ready", "1 when everything works, as /readyz says", u64::from(self.health.ready))?;
        page.gauge("upm_intake_open", "1 while messages are taken in", u64::from(*intake_open))?;
        let reasons = self.health.reasons.iter().map(|reason| ([("reason", reason.clone())], 1));
        page.gauges("upm_not_ready", "1 for each thing that is wrong", reasons)?;
        page.counter("upm_rounds", "Synced writes", *rounds)?;
        if let Some(free) = disk_free_bytes {
            page.gauge("upm_disk_free_bytes", "Bytes free on the disk of the data directory", *free)?;
        }
        if let Some(restarts) = child_restarts {
            page.counter("upm_nats_restarts", "Times the child nats-server was started again", *restarts)?;
        }
        let parts = self.store.iter().map(|(part, bytes)| ([("part", (*part).to_owned())], *bytes));
        page.gauges("upm_store_bytes", "Bytes of files below a part of the data directory", parts)
    }

    fn encode_commits(&self, page: &mut Page<'_>) -> fmt::Result {
        let commit = &self.stats.commit;
        let bounds = COMMIT_BOUNDS_S.into_iter().chain([f64::INFINITY]);
        let buckets: Vec<(f64, u64)> = bounds.zip(commit.buckets.iter().copied()).collect();
        let count = commit.buckets.iter().sum();
        let help = "How long synced writes took";
        let mut metric = page.0.encode_descriptor("upm_commit_seconds", help, None, MetricType::Histogram)?;
        metric.encode_histogram::<NoLabelSet>(commit.sum_s, count, &buckets, None)
    }

    fn encode_logs(&self, page: &mut Page<'_>) -> fmt::Result {
        let gauges: [(&str, &str, LogFigure); 9] = [
            ("upm_entries", "Entries in the log", |log, _| Some(log.entries)),
            ("upm_views_lag_entries", "Entries that the core views do not hold yet", |log, _| {
                Some(log.entries.saturating_sub(log.core))
            }),
            ("upm_detail_lag_entries", "Entries that the detail tables do not cover yet", |log, _| {
                Some(log.entries.saturating_sub(log.detail))
            }),
            ("upm_road_lag_messages", "Messages on the road that are not in the log yet", |log, _| {
                log.stream.map(|stream| stream.last.saturating_sub(log.road))
            }),
            ("upm_road_messages", "Messages on the road, in the log or not", |log, _| {
                log.stream.map(|stream| (stream.last + 1).saturating_sub(stream.first.max(1)))
            }),
            ("upm_road_bytes", "Bytes on the road", |log, _| log.stream.map(|stream| stream.bytes)),
            ("upm_road_max_bytes", "Bytes after which producers are refused", |log, _| log.stream?.max_bytes),
            ("upm_newest_entry_age_seconds", "Age of the newest entry since the start", |log, now_ms| {
                log.newest_at_ms.map(|at_ms| now_ms.saturating_sub(at_ms) / 1_000)
            }),
            ("upm_heartbeat_age_seconds", "Age of the newest heartbeat since the start", |log, now_ms| {
                log.heartbeat_at_ms.map(|at_ms| now_ms.saturating_sub(at_ms) / 1_000)
            }),
        ];
        for (name, help, figure) in gauges {
            page.gauges(name, help, self.of_logs(figure))?;
        }
        let counters: [(&str, &str, LogFigure); 8] = [
            ("upm_events_accepted", "Events accepted since the start", |log, _| Some(log.accepted)),
            ("upm_rejections", "Messages rejected since the start", |log, _| Some(log.rejected)),
            ("upm_duplicates", "Events recognised as duplicates since the start", |log, _| Some(log.duplicates)),
            ("upm_payload_bytes", "Bytes of payloads committed since the start", |log, _| Some(log.payload_bytes)),
            ("upm_gaps", "Gap entries since the start: messages were missing from the road", |log, _| Some(log.gaps)),
            ("upm_epochs", "Epoch entries since the start: the road was cut", |log, _| Some(log.epochs)),
            ("upm_sweeps", "Sweeps of the road since the start", |log, _| Some(log.sweeps)),
            ("upm_swept_messages", "Messages swept from the road since the start", |log, _| Some(log.swept)),
        ];
        for (name, help, figure) in counters {
            page.counters(name, help, self.of_logs(figure))?;
        }
        Ok(())
    }

    fn encode_workers(&self, page: &mut Page<'_>) -> fmt::Result {
        let counters: [(&str, &str, CountFigure); 4] = [
            ("upm_worker_cases", "Times that workers of this process took a change in hand", |counts| counts.cases),
            ("upm_worker_failures", "Those that ended in an error of the worker, which is tried again", |counts| {
                counts.failures
            }),
            ("upm_worker_steps", "Commands of steps and of ways back that were run", |counts| counts.steps),
            ("upm_worker_steps_failed", "Those that did not end well", |counts| counts.steps_failed),
        ];
        for (name, help, figure) in counters {
            let all = self.workers.iter();
            page.counters(
                name,
                help,
                all.map(|(worker, counts)| ([("worker", (*worker).to_owned())], figure(counts))),
            )?;
        }
        let help = "How long workers of this process had a change in hand";
        let mut metric = page.0.encode_descriptor("upm_worker_case_seconds", help, None, MetricType::Histogram)?;
        for (worker, counts) in &self.workers {
            let bounds = CASE_BOUNDS_S.into_iter().chain([f64::INFINITY]);
            let buckets: Vec<(f64, u64)> = bounds.zip(counts.took.buckets.iter().copied()).collect();
            let labels = [("worker", *worker)];
            let mut of_worker = metric.encode_family(&labels)?;
            of_worker.encode_histogram::<NoLabelSet>(counts.took.sum_s, counts.cases, &buckets, None)?;
        }
        Ok(())
    }

    fn encode_kpis(&self, page: &mut Page<'_>) -> fmt::Result {
        let help = "A KPI over the last 90 days, in its unit; absent where nothing was measured";
        page.kpis("upm_kpi", help, &self.kpis, |figure| figure.value)?;
        let help = "How many a KPI was measured of in the last 90 days";
        #[expect(clippy::cast_precision_loss, reason = "counts far below 2^53")]
        page.kpis("upm_kpi_count", help, &self.kpis, |figure| Some(figure.denominator as f64))?;
        let help = "The band of the model that a KPI reaches over the last 90 days: 4, 3, or 0 for neither";
        page.kpis("upm_kpi_band", help, &self.kpis, |figure| {
            figure.band.map(|band| match band {
                Band::L4 => 4.0,
                Band::L3 => 3.0,
                Band::Below => 0.0,
            })
        })
    }

    fn of_logs(&self, figure: LogFigure) -> impl Iterator<Item = ([(&'static str, String); 1], u64)> {
        let logs = self.stats.logs.iter();
        logs.filter_map(move |log| Some(([("tenant", log.tenant.to_string())], figure(log, self.now_ms)?)))
    }
}

/// A figure of one log, with the clock in milliseconds; none where it is not known.
type LogFigure = fn(&LogStats, u64) -> Option<u64>;
/// A figure of one kind of worker.
type CountFigure = fn(&Counts) -> u64;
type Labels = [(&'static str, String); 1];

/// The page as it is being written.
struct Page<'a>(DescriptorEncoder<'a>);

impl Page<'_> {
    fn gauge(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        self.0.encode_descriptor(name, help, None, MetricType::Gauge)?.encode_gauge(&value)
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        metric.encode_counter::<NoLabelSet, u64, u64>(&value, None)
    }

    fn gauges(&mut self, name: &str, help: &str, values: impl Iterator<Item = (Labels, u64)>) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (labels, value) in values {
            metric.encode_family(&labels)?.encode_gauge(&value)?;
        }
        Ok(())
    }

    fn kpis(
        &mut self,
        name: &str,
        help: &str,
        tenants: &[(String, Vec<Figure>)],
        figure: fn(&Figure) -> Option<f64>,
    ) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (tenant, figures) in tenants {
            for one in figures {
                if let Some(value) = figure(one) {
                    let labels = [("tenant", tenant.as_str()), ("kpi", one.kpi.as_str())];
                    metric.encode_family(&labels)?.encode_gauge(&value)?;
                }
            }
        }
        Ok(())
    }

    fn counters(&mut self, name: &str, help: &str, values: impl Iterator<Item = (Labels, u64)>) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (labels, value) in values {
            metric.encode_family(&labels)?.encode_counter::<NoLabelSet, u64, u64>(&value, None)?;
        }
        Ok(())
    }
}

/// Bytes of all files below a directory; what can't be read counts as nothing.
fn bytes_below(dir: &Path, depth: usize) -> u64 {
    let Ok(entries) = std::fs::read_dir(dir) else { return 0 };
    let size = |entry: std::fs::DirEntry| match entry.file_type() {
        Ok(kind) if kind.is_dir() && depth < DEPTH_MAX => bytes_below(&entry.path(), depth + 1),
        Ok(kind) if kind.is_file() => entry.metadata().map_or(0, |metadata| metadata.len()),
        _ => 0,
    };
    entries.filter_map(Result::ok).map(size).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use pipeline::stats::{Latency, StreamStats};
    use schemas::ids::Tenant;

    fn log() -> LogStats {
        LogStats {
            tenant: Tenant::parse("acme").unwrap(),
            entries: 12,
            core: 10,
            detail: 7,
            accepted: 8,
            rejected: 1,
            duplicates: 2,
            gaps: 1,
            epochs: 0,
            payload_bytes: 1_234,
            newest_at_ms: Some(95_000),
            heartbeat_at_ms: None,
            road: 7,
            stream: Some(StreamStats { first: 3, last: 9, bytes: 4_096, max_bytes: None }),
            sweeps: 1,
            swept: 2,
        }
    }

    /// Three changes in hand, two of them for long; one of four commands failed.
    fn worked() -> Counts {
        let mut buckets = vec![0; CASE_BOUNDS_S.len() + 1];
        (buckets[0], buckets[6]) = (1, 2);
        Counts { cases: 3, failures: 1, steps: 4, steps_failed: 1, took: Latency { buckets, sum_s: 7.5 } }
    }

    /// Half of two changes succeeded; nothing else was measured.
    fn figures() -> Vec<Figure> {
        let mut sums = projector::kpi::figure::Sums::default();
        let half = projector::kpi::figure::Total { num: 1, den: 2, sum_us: 0 };
        sums.totals.insert("change_success".to_owned(), half);
        projector::kpi::figure::figures(&sums)
    }

    #[test]
    fn the_page_is_what_prometheus_reads() {
        let mut buckets = vec![0; COMMIT_BOUNDS_S.len() + 1];
        (buckets[2], buckets[13]) = (3, 1);
        let stats = Stats {
            rounds: 4,
            commit: Latency { buckets, sum_s: 20.5 },
            intake_open: false,
            disk_free_bytes: Some(5),
            child_restarts: None,
            logs: vec![log()],
        };
        let health = Health { ready: false, reasons: vec!["the \"disk\" is full".into()] };
        let snapshot = Snapshot {
            health,
            stats,
            now_ms: 100_000,
            store: vec![("ledger", 77)],
            kpis: vec![("acme".to_owned(), figures())],
            workers: BTreeMap::from([("execute", worked())]),
        };
        let mut registry = Registry::default();
        registry.register_collector(Box::new(snapshot));
        let mut text = String::new();
        text::encode(&mut text, &registry).unwrap();
        for line in [
            "upm_ready 0",
            "upm_intake_open 0",
            r#"upm_not_ready{reason="the \"disk\" is full"} 1"#,
            "upm_rounds_total 4",
            "upm_disk_free_bytes 5",
            r#"upm_store_bytes{part="ledger"} 77"#,
            r#"upm_commit_seconds_bucket{le="0.004"} 3"#,
            r#"upm_commit_seconds_bucket{le="+Inf"} 4"#,
            "upm_commit_seconds_sum 20.5",
            "upm_commit_seconds_count 4",
            r#"upm_entries{tenant="acme"} 12"#,
            r#"upm_views_lag_entries{tenant="acme"} 2"#,
            r#"upm_detail_lag_entries{tenant="acme"} 5"#,
            r#"upm_road_lag_messages{tenant="acme"} 2"#,
            r#"upm_road_messages{tenant="acme"} 7"#,
            r#"upm_newest_entry_age_seconds{tenant="acme"} 5"#,
            r#"upm_duplicates_total{tenant="acme"} 2"#,
            r#"upm_swept_messages_total{tenant="acme"} 2"#,
            r#"upm_worker_cases_total{worker="execute"} 3"#,
            r#"upm_worker_failures_total{worker="execute"} 1"#,
            r#"upm_worker_steps_total{worker="execute"} 4"#,
            r#"upm_worker_steps_failed_total{worker="execute"} 1"#,
            r#"upm_worker_case_seconds_sum{worker="execute"} 7.5"#,
            r#"upm_worker_case_seconds_count{worker="execute"} 3"#,
            r#"upm_worker_case_seconds_bucket{le="0.005",worker="execute"} 1"#,
            r#"upm_worker_case_seconds_bucket{le="+Inf",worker="execute"} 3"#,
            r#"upm_kpi{tenant="acme",kpi="change_success"} 50.0"#,
            r#"upm_kpi_count{tenant="acme",kpi="change_success"} 2.0"#,
            r#"upm_kpi_count{tenant="acme",kpi="mttr"} 0.0"#,
            r#"upm_kpi_band{tenant="acme",kpi="change_success"} 0.0"#,
            "# EOF",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in:\n{text}");
        }
        let absent = [
            r#"upm_kpi{tenant="acme",kpi="mttr"}"#,
            "upm_heartbeat_age_seconds{",
            "upm_road_max_bytes{",
            "upm_nats_restarts",
        ];
        assert!(absent.iter().all(|name| !text.contains(name)), "what is not known is not shown:\n{text}");
    }
}

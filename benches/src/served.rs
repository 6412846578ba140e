//! Views that were made without a log, served by a real `upm serve`: it is started with a log of its own, and once it has made its views, a file of
//! another history takes their place. Readers open what is there now; the writer goes on in the file that it has. Nothing in the program knows of it, and
//! what it answers is compared with what the file says.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use projector::kpi::figure::{Sums, figures};
use projector_sqlite::Views;
use serde_json::Value;

use crate::server::{Quantiles, Server, quantiles};
use crate::world::Failure;

const TENANT: &str = "acme";
/// Questions of each kind.
const QUESTIONS: u64 = 1_000;

/// Milliseconds over HTTP, by question.
pub(crate) type Served = BTreeMap<&'static str, Quantiles>;

/// Has a server answer from the views at `path`, which are moved; `expect` is what they say of the last 90 days.
pub(crate) fn run(nats_server: &Path, path: &Path, expect: &Sums) -> Result<Served, Failure> {
    let data = path.with_file_name("data");
    // Taking objects in would open the views that the server made itself.
    let server = Server::start(nats_server, TENANT, &data, &["--object-bytes", "0"])?;
    put(&server, path, &data)?;
    let base = format!("/v1/tenants/{TENANT}");
    let path = format!("{base}/kpis?last=90d");
    compare(&answer(&server, &path)?, expect)?;
    let mut times = Served::new();
    let mut ask = |name, path: &str| -> Result<(), Failure> {
        let mut took = Histogram::<u64>::new(3)?;
        for _ in 0..QUESTIONS {
            let start = Instant::now();
            answer(&server, path)?;
            took.record(u64::try_from(start.elapsed().as_micros())?)?;
        }
        times.insert(name, quantiles(&took));
        Ok(())
    };
    ask("kpis, 90 days", &path)?;
    ask("kpis, 90 days, of one owner and environment", &format!("{path}&owner=payments&env=production"))?;
    ask("kpis, 90 days, each day", &format!("{path}&trend=true"))?;
    ask("kpis, a year, each day", &format!("{base}/kpis?last=365d&trend=true"))?;
    ask("one kpi, 90 days, 50 changes", &format!("{base}/kpis/approval_coverage?last=90d&changes=all&limit=50"))?;
    ask("maturity", &format!("{base}/maturity"))?;
    ask("checklist", &format!("{base}/maturity/checklist"))?;
    server.stop()?;
    Ok(times)
}

/// Puts the views in place of those that the server has made.
fn put(server: &Server, path: &Path, data: &Path) -> Result<(), Failure> {
    let place = data.join(format!("views/{TENANT}.db"));
    let start = Instant::now();
    while !Views::open_read_only(&place).is_ok_and(|views| views.core_cursor().is_ok_and(|cursor| cursor > 0)) {
        server.patient(start)?;
        std::thread::sleep(Duration::from_millis(50));
    }
    for beside in ["db-wal", "db-shm"] {
        let beside = place.with_extension(beside);
        if beside.exists() {
            std::fs::remove_file(beside)?;
        }
    }
    Ok(std::fs::rename(path, place)?)
}

fn answer(server: &Server, path: &str) -> Result<String, Failure> {
    match server.get(path)? {
        (200, body) => Ok(body),
        (status, body) => Err(format!("GET {path}: {status} {body}").into()),
    }
}

/// A benchmark of other views' figures would time nothing.
fn compare(answer: &str, expect: &Sums) -> Result<(), Failure> {
    let answer: Value = serde_json::from_str(answer)?;
    for figure in figures(expect) {
        let told =
            answer["kpis"].as_array().into_iter().flatten().find(|told| told["kpi"].as_str() == Some(&figure.kpi));
        let same = told.is_some_and(|told| {
            told["numerator"] == figure.numerator && told["denominator"] == figure.denominator && figure.denominator > 0
        });
        if !same {
            return Err(format!("{}: the server says {told:?}, the file {figure:?}", figure.kpi).into());
        }
    }
    Ok(())
}

//! `upm-bench history`: a made-up history as a file, or on the road of a running server, with its truth beside it.

use std::fs::File;
use std::io::{BufWriter, Write};

use serde_json::json;

use crate::HistoryArguments;
use crate::history::{DAY_MS, History, Options, Told};
use crate::world::Failure;

/// Publishes whose acknowledgement is awaited together.
const AT_ONCE: usize = 256;

/// Writes or publishes the history, then its truth.
pub(crate) fn run(arguments: &HistoryArguments) -> Result<(), Failure> {
    let options = Options {
        seed: arguments.seed,
        tenant: arguments.tenant.clone(),
        changes: arguments.changes,
        from_ms: arguments.from_day * DAY_MS,
        days: arguments.days,
        played_at_ms: None,
        anomalies: arguments.truth.is_some(),
        sign: None,
    };
    let mut history = History::new(options);
    match (&arguments.emit, &arguments.output) {
        (Some(url), _) => publish(url, &arguments.tenant, &mut history)?,
        (None, Some(path)) => write(&mut BufWriter::new(File::create(path)?), &arguments.tenant, &mut history)?,
        (None, None) => write(&mut BufWriter::new(std::io::stdout().lock()), &arguments.tenant, &mut history)?,
    }
    let truth = history.into_truth();
    if let Some(path) = &arguments.truth {
        let (from, to) = (arguments.from_day, arguments.from_day + arguments.days + 10);
        let figures = truth.expected(from, to).into_iter().map(|one| {
            json!({"what": one.what, "numerator": one.numerator, "denominator": one.denominator, "sum_us": one.sum_us, "p95_us": one.p95_us})
        });
        let (covered, managed) = truth.drift(from);
        let told = json!({"changes": truth.changes, "events": truth.events, "duplicates": truth.duplicates,
            "figures": figures.collect::<Vec<_>>(), "drift": {"covered": covered, "managed": managed}, "anomalies": truth.anomalies, "due": truth.due});
        serde_json::to_writer_pretty(File::create(path)?, &told)?;
    }
    eprintln!("{} events of {} changes, {} repeats", truth.events, truth.changes, truth.duplicates);
    Ok(())
}

/// One `{"subject", "payload"}` a line.
fn write(out: &mut impl Write, tenant: &str, history: &mut History) -> Result<(), Failure> {
    for told in history {
        serde_json::to_writer(&mut *out, &json!({"subject": told.subject(tenant), "payload": told.payload}))?;
        out.write_all(b"\n")?;
    }
    Ok(out.flush()?)
}

fn publish(url: &str, tenant: &str, history: &mut History) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let road = async_nats::jetstream::new(async_nats::connect(url).await?);
        loop {
            let some: Vec<Told> = history.by_ref().take(AT_ONCE).collect();
            if some.is_empty() {
                return Ok(());
            }
            let mut sent = Vec::with_capacity(some.len());
            for told in some {
                let subject = told.subject(tenant);
                sent.push(road.publish(subject, told.payload.into()).await?);
            }
            for acknowledged in sent {
                acknowledged.await?;
            }
        }
    })
}

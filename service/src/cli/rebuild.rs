//! `upm rebuild`: derives all views again from the ledger, with no server running. The same entries give the same rows.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Arc;

use indicatif::{ProgressBar, ProgressStyle};
use ledger::append::LogId;
use ledger::entry::Header;
use ledger::read::{Log, Stored};
use ledger_rocks::Rocks;
use pipeline::detail;
use projector_sqlite::{ChunkLimits, Row, Views};
use schemas::ids::Tenant;
use serde_json::json;

use super::client::print;
use super::{CliError, Globals};
use crate::data_dir::DataDir;
use crate::home::Home;

/// Options of `upm rebuild`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  upm rebuild --tenant acme\n\nWithout --tenant: the views of all tenants. The server must not be running."
)]
pub struct Args {}

/// An entry out of the store: index, header, payload, the change's previous event.
type Loaded = (u64, Header, Vec<u8>, Option<u64>);

/// Entries of one transaction: the more, the more rows share a page of an index.
const BATCH: usize = 16_384;
/// Payload bytes after which a transaction ends early: a payload has up to 1 MB.
const BATCH_BYTES: usize = 32 << 20;
/// Entries read before their bytes are counted again.
const STEP: u64 = 512;

/// What one transaction of detail takes.
const CHUNK: ChunkLimits = ChunkLimits { entries: BATCH as u64, events: 2 * BATCH, bytes: 2 * BATCH_BYTES as u64 };
/// Threads that read changes for it.
const READERS: usize = 2;

/// Runs the command.
pub fn run(globals: &Globals, _args: Args) -> Result<ExitCode, CliError> {
    let dir = DataDir::existing(&globals.data).map_err(|error| CliError::of(&error))?;
    let lock = dir
        .lock()
        .map_err(|error| CliError::of(&error).with_detail("stop the server first: views are rebuilt offline"))?;
    let home = Home::open(dir, lock).map_err(|error| CliError::of(&error))?;
    let mut done = Vec::new();
    for (tenant, log) in selected(&home, &globals.tenants)? {
        let entries = rebuild(&home, &tenant, log)?;
        if !globals.json {
            print::line(&format!("{tenant}: views derived again from {entries} entries"))?;
        }
        done.push(json!({ "tenant": tenant, "entries": entries }));
    }
    if globals.json {
        print::json_line(&json!({ "rebuilt": done }))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn selected(home: &Home, named: &[Tenant]) -> Result<Vec<(Tenant, LogId)>, CliError> {
    let known = home.tenants().map_err(|error| CliError::of(&error))?;
    if let Some(stranger) = named.iter().find(|name| !known.iter().any(|(tenant, ..)| tenant == *name)) {
        return Err(CliError::no(format!("there is no tenant {stranger} in this ledger")));
    }
    let wanted = known.into_iter().filter(|(tenant, ..)| named.is_empty() || named.contains(tenant));
    Ok(wanted.map(|(tenant, log, _)| (tenant, log)).collect())
}

/// Projects the whole log of a tenant into new views; the number of entries.
fn rebuild(home: &Home, tenant: &Tenant, log: LogId) -> Result<u64, CliError> {
    let failed = |error: &dyn std::error::Error| CliError::because(format!("tenant {tenant}"), error);
    let log = Log::open(Arc::clone(&home.kv), log).map_err(|error| failed(&error))?;
    let size = log.head().map_err(|error| failed(&error))?.size;
    let mut views = Views::recreate(&home.dir.view(tenant)).map_err(|error| failed(&error))?;
    let bar = bar(tenant, size);
    let mut next = 0;
    while next < size {
        let rows = read_batch(&log, next, size).map_err(|error| failed(&*error))?;
        let rows: Vec<Row<'_>> = rows
            .iter()
            .map(|(index, header, payload, previous)| Row::stored(*index, header, payload).after(*previous))
            .collect();
        let reached = views.project(&rows).map_err(|error| failed(&error))?;
        if reached <= next {
            return Err(CliError::could_not(format!("tenant {tenant}: entry {next} is missing from the store")));
        }
        next = reached;
        bar.set_position(next);
    }
    bar.set_message("detail");
    bar.reset();
    while views.detail_cursor().map_err(|error| failed(&error))? < size {
        let advanced = detail::advance(&log, &mut views, &CHUNK, READERS).map_err(|error| failed(&error))?;
        bar.set_position(advanced.to);
    }
    bar.finish_and_clear();
    Ok(size)
}

/// Entries from `from` on, as many as one transaction takes.
fn read_batch(log: &Log<Arc<Rocks>>, from: u64, size: u64) -> Result<Vec<Loaded>, Box<dyn std::error::Error>> {
    let (mut rows, mut bytes, mut next) = (Vec::new(), 0, from);
    while next < size && rows.len() < BATCH && bytes < BATCH_BYTES {
        let to = size.min(next + STEP);
        let step = read(log, next, to)?;
        bytes += step.iter().map(|(_, _, payload, _)| payload.len()).sum::<usize>();
        rows.extend(step);
        next = to;
    }
    Ok(rows)
}

/// Entries `from..to` with the payloads of events.
fn read(log: &Log<Arc<Rocks>>, from: u64, to: u64) -> Result<Vec<Loaded>, Box<dyn std::error::Error>> {
    let limit = usize::try_from(to - from)?;
    let mut stored: BTreeMap<u64, Stored> = log.stored_range(from..to, limit)?.into_iter().collect();
    let mut rows = Vec::with_capacity(limit);
    for (index, entry) in log.entries(from..to, limit)? {
        let header = Header::decode(&entry)?;
        let event = stored.remove(&index).filter(|_| matches!(header, Header::Event(_)));
        let (payload, previous) = event.map_or((Vec::new(), None), |stored| (stored.payload, stored.previous));
        rows.push((index, header, payload, previous));
    }
    Ok(rows)
}

/// Shown on a terminal only.
fn bar(tenant: &Tenant, size: u64) -> ProgressBar {
    let bar = ProgressBar::new(size).with_prefix(tenant.to_string()).with_message("core");
    match ProgressStyle::with_template(
        "{prefix} {msg} {wide_bar} {human_pos}/{human_len} entries, {per_sec}, {eta} left",
    ) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

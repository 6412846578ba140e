//! `upm rebuild`: derives all views again from the ledger, with no server running. The same entries give the same rows.

use std::process::ExitCode;
use std::sync::Arc;

use indicatif::{ProgressBar, ProgressStyle};
use ledger::append::LogId;
use ledger::read::Log;
use projector_sqlite::{ChunkLimits, Draft};
use schemas::ids::Tenant;
use serde_json::json;

use super::client::print;
use super::{CliError, Globals};
use crate::data_dir::DataDir;
use crate::home::Home;

/// Options of `upm rebuild`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  upm rebuild --tenant acme\n\nWithout --tenant: the views of all tenants. The server must not be running. Until the new views are whole, those before stay."
)]
pub struct Args {}

/// What one transaction of detail takes: payloads have up to 1 MB each.
const CHUNK: ChunkLimits = ChunkLimits { entries: 16_384, events: 2 * 16_384, bytes: 64 << 20 };
/// Days whose levels are settled in one transaction.
const SETTLED_DAYS: usize = 32;

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
    let mut draft = Draft::begin(&home.dir.view(tenant)).map_err(|error| failed(&error))?;
    let bar = bar(tenant, size);
    let advanced = |next| bar.set_position(next);
    let size = draft.core(&log, &advanced).map_err(|error| failed(&error))?;
    bar.set_message("detail");
    bar.reset();
    draft.detail(&log, &CHUNK, &advanced).map_err(|error| failed(&error))?;
    bar.set_message("levels of days");
    while draft.settle(SETTLED_DAYS).map_err(|error| failed(&error))? {}
    draft.publish().map_err(|error| failed(&error))?;
    bar.finish_and_clear();
    Ok(size)
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

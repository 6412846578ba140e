//! `upm catch-up`: copies what a data directory lacks from another copy of the same ledger, with no server running. For a directory that
//! was restored from an older copy than was shown, or lost altogether but for its keys.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use indicatif::{ProgressBar, ProgressStyle};
use ledger::append::LogId;
use ledger::birth::{self, LEDGER_LOG};
use ledger::checkpoint::Origin;
use ledger::kv::Kv;
use ledger::note::VerifierKey;
use ledger::read::Log;
use ledger::replica::{Copier, KvSource, Limits, Progress, ReplicaError, Source, Trust};
use ledger_rocks::Rocks;
use schemas::ids::Tenant;
use serde_json::json;

use super::client::print;
use super::{CliError, Globals};
use crate::data_dir::DataDir;
use crate::follow::{HttpSource, read_vkeys};
use crate::keys_on_disk::{self, Keys};
use crate::reading::Reading;

/// Options of `upm catch-up`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  upm catch-up --from http://127.0.0.1:8081\n  upm catch-up --data /var/lib/upm --from /backup/upm\n\n\
                  The server must not be running; the other one may. Every entry is checked and made again under the log's own signed\n\
                  checkpoints; nothing is signed. Run again after a crash, it goes on where it stood.\n\n\
                  Exit codes: 0 nothing is missing any more; 1 the two copies contradict each other; 2 could not be done."
)]
pub struct Args {
    /// A follower or another server of this ledger (URL), or a directory that holds a copy: a backup or another data directory
    #[arg(long, value_name = "URL|DIR")]
    from: String,
    /// Verifier key (vkey) of the ledger's own log, where the data directory has neither the log nor its key; several may be given
    #[arg(long = "key", value_name = "VKEYFILE")]
    keys: Vec<PathBuf>,
}

/// Runs the command.
pub fn run(globals: &Globals, args: Args) -> Result<ExitCode, CliError> {
    let dir = DataDir::create(&globals.data).map_err(|error| CliError::of(&error))?;
    let _lock =
        dir.lock().map_err(|error| CliError::of(&error).with_detail("stop the server first: it would not notice"))?;
    let kv = Rocks::open(&dir.ledger()).map_err(|error| CliError::of(&error))?;
    let given = read_vkeys(&args.keys).map_err(|error| CliError::of(&error))?;
    let keys = Keys::at(dir.keys());
    if args.from.contains("://") {
        let source = HttpSource::new(&args.from);
        return copy(globals, &kv, &keys, given, source, |_| None);
    }
    let other = Path::new(&args.from);
    if !other.is_dir() {
        return Err(CliError::could_not(format!("{} is neither a URL nor a directory", args.from)));
    }
    let there = Reading::open(other).map_err(|error| CliError::of(&error))?;
    let their_keys = Keys::at(other.join("keys"));
    let ceilings = super::backup::ceilings(&there.kv, other)?;
    let source = KvSource::new(&there.kv, |tenant| their_keys.dedupe(tenant.as_str()).ok());
    let source = source.below(move |log| ceilings.get(&log).cloned());
    copy(globals, &kv, &keys, given, source, |tenant| their_keys.dedupe(tenant.as_str()).ok())
}

fn copy(
    globals: &Globals,
    kv: &Rocks,
    keys: &Keys,
    mut given: Vec<VerifierKey>,
    source: impl Source,
    theirs: impl Fn(&Tenant) -> Option<ledger::dedupe::DedupeKey> + Send,
) -> Result<ExitCode, CliError> {
    given.extend(own_keys(kv, keys, &source)?);
    let own = keys.clone();
    let dedupe = move |tenant: &Tenant| own.dedupe(tenant.as_str()).ok().or_else(|| theirs(tenant));
    let mut copier = Copier::new(kv, source, Trust::of(given), dedupe);
    let bar = bar();
    let (mut lagging, mut waiting) = (Vec::new(), 0);
    let done = copier.catch_up(Limits::default(), |progress: &Progress| {
        bar.set_length(bar.position() + progress.copied + progress.behind);
        bar.inc(progress.copied);
        lagging.clone_from(&progress.set_back);
        waiting = progress.waiting;
    });
    bar.finish_and_clear();
    let entries = done.map_err(|error| refused(&error))?;
    if waiting > 0 {
        let line = format!(
            "{entries} entries copied, {waiting} more can't be: they wait for what the other copy does not show"
        );
        return Err(CliError::could_not(line).with_detail(
            "its own log lists an act or a log that it does not show yet: run the command again; if it stays so, run `upm fsck` on it",
        ));
    }
    if globals.json {
        let ahead =
            lagging.iter().map(|log| json!({ "origin": log.origin.as_str(), "there": log.found, "here": log.ours }));
        print::json_line(&json!({ "copied": entries, "ahead": ahead.collect::<Vec<_>>() }))?;
        return Ok(ExitCode::SUCCESS);
    }
    print::line(&format!("{entries} entries copied; nothing that the other copy has is missing"))?;
    for log in lagging {
        print::line(&format!(
            "{}: {} entries here, {} there, the same as far as they go",
            log.origin, log.ours, log.found
        ))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The key of the ledger's own log: as it was born here; else as its key files say, for a store that was lost.
fn own_keys(kv: &Rocks, keys: &Keys, source: &impl Source) -> Result<Vec<VerifierKey>, CliError> {
    if birth::ledger_name(kv).map_err(|error| CliError::of(&error))?.is_some() {
        return Ok(vec![own_key_of(kv)?]);
    }
    let later = keys.later_files().map_err(|error| CliError::of(&error))?;
    let later = later.into_iter().filter(|file| file.log == LEDGER_LOG).map(|file| file.path);
    let files: Vec<PathBuf> =
        [keys.log_path(LEDGER_LOG)].into_iter().filter(|path| path.exists()).chain(later).collect();
    if files.is_empty() {
        return Ok(Vec::new());
    }
    let name = source.listing().map_err(|error| refused(&ReplicaError::Source(error)))?.name;
    let origin = Origin::of(&name, LEDGER_LOG).map_err(|error| CliError::of(&error))?;
    let read =
        |path: &PathBuf| Ok(keys_on_disk::signer(path, &origin).map_err(|error| CliError::of(&error))?.verifier());
    files.iter().map(read).collect()
}

fn own_key_of<K: Kv>(kv: &K) -> Result<VerifierKey, CliError> {
    let first = Log::open(kv, LogId::LEDGER).and_then(|log| log.first()).map_err(|error| CliError::of(&error))?;
    Ok(VerifierKey::new(first.origin.key_name().clone(), first.log_key))
}

fn refused(error: &ReplicaError) -> CliError {
    let detail = match error {
        ReplicaError::Unvouched { .. } => {
            "give the vkey of the ledger's own log (serve.json, `upm keys show`) with --key VKEYFILE"
        }
        error if error.is_difference() => {
            "the two copies contradict each other: keep both as they are, and find out which of them was shown to others"
        }
        _ => "",
    };
    let line = error.to_string();
    if error.is_difference() {
        CliError::no(line).with_detail(detail)
    } else {
        CliError::could_not(line).with_detail(detail)
    }
}

/// Shown on a terminal only.
fn bar() -> ProgressBar {
    let bar = ProgressBar::new(0);
    match ProgressStyle::with_template("{wide_bar} {human_pos}/{human_len} entries, {per_sec}, {eta} left") {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

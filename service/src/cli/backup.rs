//! `upm backup`: copies a ledger into a directory of its own, beside a running server or without. Again into the same directory, it
//! copies what is new. Every entry is checked and made again on the way, under the log's own signed checkpoints.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use indicatif::{ProgressBar, ProgressStyle};
use ledger::append::LogId;
use ledger::birth;
use ledger::checkpoint::Origin;
use ledger::fsck;
use ledger::kv::{Batch, Kv, Space};
use ledger::layout::Key;
use ledger::note::VerifierKey;
use ledger::read::{Ceiling, Log};
use ledger::replica::{Copier, KvSource, Limits, Progress, ReplicaError, Trust};
use ledger_rocks::Rocks;
use schemas::ids::Tenant;
use serde_json::json;

use super::client::print;
use super::{CliError, Globals};
use crate::backup_dir::{self, Manifest, SavedLog};
use crate::clock;
use crate::data_dir;
use crate::kept_heads::Bounds;
use crate::keys_on_disk::Keys;
use crate::objects_dir::{self, Copied};
use crate::reading::Reading;

/// Options of `upm backup`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  upm backup /backup/upm\n  upm backup /backup/upm --with-keys --json\n\n\
                  The server may be running: what it had when the command started is copied. Again into the same directory, only what is\n\
                  new is copied. The dedupe keys are copied too; they are secrets, and the directory is closed to others. Signing keys are\n\
                  copied with --with-keys only, the recovery key never. Not in it: views (they are derived again) and the road.\n\n\
                  Exit codes: 0 done; 1 the ledger and the backup contradict each other, or an entry is not what it should be; 2 could\n\
                  not be done. Run again after a crash, it goes on where it stood.")]
pub struct Args {
    /// Where the backup is or will be: a directory of its own, best on another disk
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// Copy the signing keys as well: whoever has the backup can then sign in the ledger's name
    #[arg(long)]
    with_keys: bool,
}

/// Runs the command.
pub fn run(globals: &Globals, args: Args) -> Result<ExitCode, CliError> {
    let source = Reading::open(&globals.data).map_err(|error| CliError::of(&error))?;
    data_dir::make_private(&args.dir).map_err(|error| CliError::of(&error))?;
    refuse_inside(&globals.data, &args.dir)?;
    backup_dir::refuse_other(&args.dir).map_err(|error| CliError::of(&error))?;
    let _lock = data_dir::lock_file(&args.dir).map_err(|error| CliError::of(&error))?;
    // Keys first: a store without its dedupe keys is no backup.
    let keys = copy_keys(&globals.data, &args.dir, args.with_keys)?;
    let kv = Rocks::open(&args.dir.join("ledger")).map_err(|error| CliError::of(&error))?;
    let before = fsck::total(&kv);
    let copied = copy(&source.kv, &globals.data, &kv)?;
    copy_cosignatures(&source.kv, &kv)?;
    let objects = copy_objects(&globals.data, &args.dir)?;
    let manifest = manifest(&kv, args.with_keys)?;
    kv.close().map_err(|error| CliError::of(&error))?;
    manifest.write(&args.dir).map_err(|error| CliError::of(&error))?;
    tell(globals, &args.dir, &manifest, (before, copied, keys), &objects)
}

/// Copies the objects that are not in the backup yet.
pub(super) fn copy_objects(from: &Path, to: &Path) -> Result<Copied, CliError> {
    objects_dir::copy_all(from, to)
        .map_err(|error| CliError::because("the objects beside the ledger can't be copied", &error))
}

/// A backup inside the data directory would go with it.
fn refuse_inside(data: &Path, dir: &Path) -> Result<(), CliError> {
    let whole = |path: &Path| fs::canonicalize(path).map_err(|error| CliError::of(&backup_dir::at(path)(error)));
    let (data, dir) = (whole(data)?, whole(dir)?);
    if dir.starts_with(&data) || data.starts_with(&dir) {
        let (data, dir) = (data.display(), dir.display());
        return Err(CliError::could_not(format!(
            "the backup {dir} and the data directory {data} are inside each other"
        )));
    }
    Ok(())
}

fn copy_keys(data: &Path, dir: &Path, signing: bool) -> Result<usize, CliError> {
    let (from, to) = (data.join("keys"), dir.join("keys"));
    data_dir::make_private(&to).map_err(|error| CliError::of(&error))?;
    let files = backup_dir::key_files(&from, signing).map_err(|error| CliError::of(&error))?;
    for file in &files {
        let Some(name) = file.file_name() else { continue };
        backup_dir::copy_key(file, &to.join(name)).map_err(|error| CliError::of(&error))?;
    }
    Ok(files.len())
}

/// Copies what is new, checked on the way; the number of entries.
fn copy(source: &Rocks, data: &Path, kv: &Rocks) -> Result<u64, CliError> {
    let keys = Keys::at(data.join("keys"));
    let ceilings = ceilings(source, data)?;
    let first = Log::open(source, LogId::LEDGER).and_then(|log| log.first()).map_err(|error| CliError::of(&error))?;
    let own = VerifierKey::new(first.origin.key_name().clone(), first.log_key);
    let dedupe = |tenant: &Tenant| keys.dedupe(tenant.as_str()).ok();
    let bounded = KvSource::new(source, dedupe).below(|log| ceilings.get(&log).cloned());
    let mut replica = Copier::new(kv, bounded, Trust::of([own]), dedupe);
    let bar = bar(fsck::total(source).saturating_sub(fsck::total(kv)));
    let mut ahead = Vec::new();
    let copied = replica.catch_up(Limits::default(), |progress: &Progress| {
        bar.inc(progress.copied);
        ahead.clone_from(&progress.set_back);
    });
    bar.finish_and_clear();
    let copied = copied.map_err(|error| refused(&error))?;
    match ahead.first() {
        None => Ok(copied),
        Some(log) => Err(CliError::no(format!(
            "{}: the backup has {} entries, the ledger only {}: it was set back",
            log.origin, log.ours, log.found
        ))
        .with_detail("restore the newer one of the two, or begin a backup in another directory")),
    }
}

/// Up to where each log may be copied: what is durable, but not yet kept elsewhere where heads are, was shown to nobody.
pub(super) fn ceilings(source: &Rocks, data: &Path) -> Result<BTreeMap<LogId, Ceiling>, CliError> {
    let of = |error: &dyn std::error::Error| CliError::of(error);
    let name = birth::ledger_name(source).map_err(|error| of(&error))?.unwrap_or_default();
    let Some(bounds) = Bounds::of(data, &name).map_err(|error| of(&error))? else { return Ok(BTreeMap::new()) };
    let tenants = birth::list_tenants(source).map_err(|error| of(&error))?;
    let mut ceilings = BTreeMap::new();
    for log in [LogId::LEDGER].into_iter().chain(tenants.into_iter().map(|(_, log, _)| log)) {
        let open = Log::open(source, log).map_err(|error| of(&error))?;
        ceilings.insert(log, bounds.ceiling(&open).map_err(|error| of(&error))?);
    }
    Ok(ceilings)
}

fn refused(error: &ReplicaError) -> CliError {
    if error.is_difference() {
        CliError::no(error.to_string()).with_detail(
            "nothing of it was copied: run `upm fsck` on the ledger; if it is sound, the backup is of another history: keep it",
        )
    } else {
        CliError::of(error).with_detail("run `upm fsck` to see whether the ledger is sound; what was copied stays good")
    }
}

/// Cosignatures come later than their checkpoints, or never; copied as they are, each with its check value.
fn copy_cosignatures(source: &Rocks, kv: &Rocks) -> Result<(), CliError> {
    let heads = kv.range(Space::Meta, &Key::Head(LogId(0)).bytes(), &Key::Head(LogId(u32::MAX)).bytes(), usize::MAX);
    for (key, _) in heads.map_err(|error| CliError::of(&error))? {
        let Ok(Key::Head(log)) = Key::decode(Space::Meta, &key) else { continue };
        let mut from = Key::Cosignatures(log, 0).bytes().to_vec();
        let to = Key::Cosignatures(log, u64::MAX).bytes();
        loop {
            let rows = source.range(Space::Tree, &from, &to, 1_000).map_err(|error| CliError::of(&error))?;
            let Some((last, _)) = rows.last() else { break };
            from.clone_from(last);
            from.push(0);
            copy_rows(kv, &rows)?;
        }
        let newest = Key::NewestCosigned(log);
        if let Some(row) = source.get(Space::Meta, &newest.bytes()).map_err(|error| CliError::of(&error))? {
            copy_row(kv, &newest, &row)?;
        }
    }
    Ok(())
}

fn copy_rows(kv: &Rocks, rows: &[(Vec<u8>, Vec<u8>)]) -> Result<(), CliError> {
    for (key, row) in rows {
        let Ok(key @ Key::Cosignatures(log, size)) = Key::decode(Space::Tree, key) else { continue };
        let checkpoint = kv.get(Space::Tree, &Key::Checkpoint(log, size).bytes());
        if checkpoint.map_err(|error| CliError::of(&error))?.is_some() {
            copy_row(kv, &key, row)?;
        }
    }
    Ok(())
}

fn copy_row(kv: &Rocks, key: &Key, row: &[u8]) -> Result<(), CliError> {
    let failed = |error: &dyn std::error::Error| CliError::because(format!("{key:?}"), error);
    key.without_check(row).map_err(|error| failed(&error))?;
    if kv.get(key.space(), &key.bytes()).map_err(|error| failed(&error))?.as_deref() == Some(row) {
        return Ok(());
    }
    let mut batch = Batch::with_capacity(1, row.len() + 64);
    batch.put(key.space(), &key.bytes(), &[row]);
    kv.write(batch).map_err(|error| failed(&error))
}

/// What the backup holds now.
fn manifest(kv: &Rocks, signing_keys: bool) -> Result<Manifest, CliError> {
    let name = birth::ledger_name(kv).map_err(|error| CliError::of(&error))?.unwrap_or_default();
    let tenants = birth::list_tenants(kv).map_err(|error| CliError::of(&error))?;
    let own = Origin::of(&name, birth::LEDGER_LOG).map_err(|error| CliError::of(&error))?;
    let logs = [(LogId::LEDGER, own)].into_iter().chain(tenants.into_iter().map(|(_, log, origin)| (log, origin)));
    let saved = |(log, origin): (LogId, Origin)| {
        let log = Log::open(kv, log)?;
        let first = log.first()?;
        Ok(SavedLog {
            origin: origin.to_string(),
            size: log.head()?.size,
            checkpoint: log.newest_checkpoint()?,
            vkey: VerifierKey::new(first.origin.key_name().clone(), first.log_key).to_vkey(),
        })
    };
    let logs: Result<Vec<SavedLog>, ledger::read::ReadError> = logs.map(saved).collect();
    Ok(Manifest::new(name, clock::unix_ms(), signing_keys, logs.map_err(|error| CliError::of(&error))?))
}

fn tell(
    globals: &Globals,
    dir: &Path,
    manifest: &Manifest,
    (before, copied, keys): (u64, u64, usize),
    objects: &Copied,
) -> Result<ExitCode, CliError> {
    if globals.json {
        let told = json!({
            "copied": copied, "before": before, "keys": keys, "manifest": manifest,
            "objects": objects.objects, "damaged_objects": damaged(objects),
        });
        print::json_line(&told)?;
        return left_behind(objects).map_or(Ok(ExitCode::SUCCESS), Err);
    }
    for log in &manifest.logs {
        print::line(&print::clean(&format!("{}: {} entries", log.origin, log.size)))?;
    }
    print::line(&format!("{copied} entries copied and checked; {before} were there"))?;
    if objects.objects > 0 {
        print::line(&format!("{} objects copied and checked ({} bytes)", objects.objects, objects.bytes))?;
    }
    let kinds = if manifest.signing_keys { "dedupe keys and signing keys" } else { "dedupe keys" };
    print::line(&format!(
        "{} holds {keys} files with {kinds}: they are secrets, keep the backup as safe as the ledger",
        dir.join("keys").display()
    ))?;
    if !manifest.signing_keys {
        print::line("the signing keys are not in it: keep copies of keys/*.pem elsewhere (or use --with-keys)")?;
    }
    left_behind(objects).map_or(Ok(ExitCode::SUCCESS), Err)
}

/// The objects that are not what their names say, one a line.
pub(super) fn damaged(objects: &Copied) -> Vec<String> {
    objects.damaged.iter().map(|fault| format!("objects/{}: {}", fault.file, fault.found)).collect()
}

/// That some objects were not copied, if so.
fn left_behind(objects: &Copied) -> Option<CliError> {
    let count = objects.damaged.len();
    (count > 0).then(|| {
        CliError::no(format!("{count} objects are damaged and were not copied; all else was"))
            .with_detail(damaged(objects).join("\n"))
    })
}

/// Shown on a terminal only.
fn bar(entries: u64) -> ProgressBar {
    let bar = ProgressBar::new(entries);
    match ProgressStyle::with_template("{wide_bar} {human_pos}/{human_len} entries, {per_sec}, {eta} left") {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

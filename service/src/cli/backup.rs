//! `upm backup`: copies a ledger into a directory of its own, beside a running server or without. Again into the same directory, it
//! copies what is new. Every entry is checked and made again on the way, under the log's own signed checkpoints.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use indicatif::{ProgressBar, ProgressStyle};
use ledger::append::LogId;
use ledger::birth;
use ledger::fsck;
use ledger::kv::{Batch, Kv, KvError, Space};
use ledger::layout::Key;
use ledger::note::VerifierKey;
use ledger::read::{Ceiling, Log};
use ledger::replica::{Copier, KvSource, Limits, Progress, ReplicaError, Trust};
use ledger_rocks::{OpenError, Rocks};
use schemas::ids::Tenant;
use serde_json::json;

use super::client::print;
use super::{CliError, Globals};
use crate::backup_dir::{self, BackupError};
use crate::clock;
use crate::data_dir;
use crate::kept_heads::Bounds;
use crate::keys_on_disk::Keys;
use crate::manifest::{self, Difference, Found, Manifest};
use crate::objects_dir::{self, Copied};
use crate::reading::Reading;

/// Options of `upm backup`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  upm backup /backup/upm\n  upm backup /backup/upm --with-keys --json\n\n\
                  The server may be running: what it had when the command started is copied. Again into the same directory, only what is\n\
                  new is copied. The dedupe keys are copied too; they are secrets, and the directory is closed to others. Signing keys are\n\
                  copied with --with-keys only, the recovery key never. Not in it: views (they are derived again) and the road. What is kept from\n\
                  earlier runs is read again and compared with the manifest.\n\n\
                  Exit codes: 0 done; 1 the ledger and the backup contradict each other, or something in one of them is not what it\n\
                  should be; 2 could not be done. Run again after a crash, it goes on where it stood.")]
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
    // What can be refused is refused before anything is made.
    let source = Reading::open(&globals.data).map_err(|error| CliError::of(&error))?;
    backup_dir::refuse_inside(&globals.data, &args.dir).map_err(|error| CliError::of(&error))?;
    backup_dir::refuse_other(&args.dir).map_err(|error| CliError::of(&error))?;
    let ceilings = ceilings(&source.kv, &globals.data)?;
    data_dir::make_private(&args.dir).map_err(|error| CliError::of(&error))?;
    let _lock = data_dir::lock_file(&args.dir).map_err(|error| CliError::of(&error))?;
    let found = earlier(&args.dir)?;
    // Keys first: a store without its dedupe keys is no backup.
    let keys = copy_keys(&globals.data, &args.dir, args.with_keys)?;
    let kv = open_earlier(&args.dir, found.as_ref())?;
    let before = fsck::total(&kv);
    let copied = copy(&source.kv, &globals.data, &ceilings, &kv)?;
    copy_cosignatures(&source.kv, &kv)?;
    let objects = objects_dir::copy_all(&globals.data, &args.dir).map_err(|error| objects_not_copied(&error))?;
    kv.close().map_err(|error| not_written(&error))?;
    let manifest = finish(&args.dir, found)?;
    tell(globals, &args, &manifest, (before, copied, keys), &objects)
}

fn objects_not_copied(error: &io::Error) -> CliError {
    match error.kind() {
        io::ErrorKind::StorageFull => not_written(error),
        _ => CliError::because("the objects beside the ledger can't be copied", error),
    }
}

/// What an earlier run left, none where none was finished. A table that is kept from it must be what it was: entries are only compared when
/// they are copied, and nobody would notice until the backup is needed.
fn earlier(dir: &Path) -> Result<Option<Found>, CliError> {
    if !dir.join(manifest::NAME).exists() {
        return Ok(None);
    }
    let found = read_manifest(dir)?;
    let changed = found.changed_tables(&dir.join("ledger")).map_err(|error| CliError::of(&error))?;
    if changed.is_empty() { Ok(Some(found)) } else { Err(damaged(dir, &changed)) }
}

/// Opens the store of the backup, if it is what its manifest says.
fn open_earlier(dir: &Path, found: Option<&Found>) -> Result<Rocks, CliError> {
    let store = dir.join("ledger");
    let there = manifest::table_names(&store).map_err(|error| CliError::of(&error))?;
    let kv = Rocks::open(&store).map_err(|error| match &error {
        OpenError::Damaged { .. } => damaged_by(dir, &error),
        OpenError::Other { .. } => not_written(&error),
        _ => CliError::of(&error),
    })?;
    if let Some(found) = found {
        let differences = found.differences(&kv).map_err(|error| damaged_by(dir, &error))?;
        if !differences.is_empty() {
            return Err(damaged(dir, &differences));
        }
    }
    // Written by a run that was cut off: no digest is known, but every block has a checksum.
    if there.iter().any(|name| found.is_none_or(|found| !found.manifest.tables.contains_key(name))) {
        for space in Space::ALL {
            kv.scan(space, &[], &[u8::MAX; 64], &mut |_, _| ()).map_err(|error| damaged_by(dir, &error))?;
        }
    }
    Ok(kv)
}

/// Says what the backup holds now.
fn finish(dir: &Path, found: Option<Found>) -> Result<Manifest, CliError> {
    let store = dir.join("ledger");
    let known = found.map(|found| found.manifest.tables).unwrap_or_default();
    // Closed before, so that no table changes any more.
    let tables = manifest::tables(&store, &known).map_err(|error| CliError::of(&error))?;
    let kv = Rocks::open_read_only(&store).map_err(|error| CliError::of(&error))?;
    let manifest = Manifest::of(&kv, clock::unix_ms(), tables).map_err(|error| CliError::of(&error))?;
    manifest.write(dir).map_err(|error| CliError::of(&error))?;
    Ok(manifest)
}

/// The manifest of a backup. That it can't be read is damage.
pub(super) fn read_manifest(dir: &Path) -> Result<Found, CliError> {
    Found::read(dir).map_err(|error| match error {
        BackupError::Manifest { .. } => CliError::no(error.to_string()).with_detail(MANIFEST_ALONE),
        error => CliError::of(&error),
    })
}

/// What to do where only the manifest is damaged.
const MANIFEST_ALONE: &str = "use another backup; if `upm fsck --store` finds nothing but the manifest, remove it, and `upm backup` into the directory writes it anew";

/// A backup that is not what its manifest says.
pub(super) fn damaged(dir: &Path, differences: &[Difference]) -> CliError {
    let mut lines: Vec<String> = differences.iter().map(ToString::to_string).collect();
    let first = if lines.is_empty() { String::new() } else { lines.remove(0) };
    lines.push(MANIFEST_ALONE.to_owned());
    CliError::no(format!("the backup {} is damaged: {first}", dir.display())).with_detail(lines.join("\n"))
}

fn damaged_by(dir: &Path, error: &dyn std::error::Error) -> CliError {
    match CliError::because(format!("the backup {} is damaged", dir.display()), error) {
        CliError::CouldNot { line, detail } | CliError::No { line, detail } => {
            CliError::no(line).with_detail(format!("{detail}\nkeep it for what is sound in it, and begin another one"))
        }
    }
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
fn copy(source: &Rocks, data: &Path, ceilings: &BTreeMap<LogId, Ceiling>, kv: &Rocks) -> Result<u64, CliError> {
    let keys = Keys::at(data.join("keys"));
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
    // `_ledger` last: its head is kept before those of the acts that it lists, so that it reaches at least as far as theirs.
    for log in tenants.into_iter().map(|(_, log, _)| log).chain([LogId::LEDGER]) {
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
    } else if matches!(error, ReplicaError::Kv(KvError::Write { .. })) {
        not_written(error)
    } else {
        CliError::of(error).with_detail("run `upm fsck` to see whether the ledger is sound; what was copied stays good")
    }
}

/// The backup's own disk: nothing is wrong with the ledger.
fn not_written(error: &dyn std::error::Error) -> CliError {
    let causes = std::iter::successors(Some(error), |error| error.source()).map(ToString::to_string);
    let causes = causes.collect::<Vec<_>>().join(": ");
    CliError::could_not(format!("the backup could not be written: {causes}")).with_detail(
        "make room on its disk, or mend it, and run it again: it goes on where it stood, and what was backed up before stays good",
    )
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
        let size = Log::open(source, log).and_then(|log| log.newest_cosigned_size());
        if let Some(size) = size.map_err(|error| CliError::of(&error))?
            && has_checkpoint(kv, log, size)?
            && let Some(row) = source.get(Space::Meta, &newest.bytes()).map_err(|error| CliError::of(&error))?
        {
            copy_row(kv, &newest, &row)?;
        }
    }
    Ok(())
}

fn copy_rows(kv: &Rocks, rows: &[(Vec<u8>, Vec<u8>)]) -> Result<(), CliError> {
    for (key, row) in rows {
        let Ok(key @ Key::Cosignatures(log, size)) = Key::decode(Space::Tree, key) else { continue };
        if has_checkpoint(kv, log, size)? {
            copy_row(kv, &key, row)?;
        }
    }
    Ok(())
}

fn has_checkpoint(kv: &Rocks, log: LogId, size: u64) -> Result<bool, CliError> {
    let row = kv.get(Space::Tree, &Key::Checkpoint(log, size).bytes());
    row.map(|row| row.is_some()).map_err(|error| CliError::of(&error))
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

fn tell(
    globals: &Globals,
    args: &Args,
    manifest: &Manifest,
    (before, copied, keys): (u64, u64, usize),
    objects: &Copied,
) -> Result<ExitCode, CliError> {
    let logs = manifest.logs();
    if globals.json {
        let logs: Vec<_> = logs.iter().map(|(origin, size)| json!({ "origin": origin, "size": size })).collect();
        let told = json!({
            "copied": copied, "before": before, "keys": keys, "logs": logs, "manifest": manifest,
            "objects": objects.objects, "damaged_objects": damaged_objects(objects),
        });
        print::json_line(&told)?;
        return left_behind(objects).map_or(Ok(ExitCode::SUCCESS), Err);
    }
    for (origin, size) in &logs {
        print::line(&print::clean(&format!("{origin}: {size} entries")))?;
    }
    print::line(&format!("{copied} entries copied and checked; {before} were there"))?;
    if objects.objects > 0 {
        print::line(&format!("{} objects copied and checked ({} bytes)", objects.objects, objects.bytes))?;
    }
    let kinds = if args.with_keys { "dedupe keys and signing keys" } else { "dedupe keys" };
    print::line(&format!(
        "{} holds {keys} files with {kinds}: they are secrets, keep the backup as safe as the ledger",
        args.dir.join("keys").display()
    ))?;
    if !args.with_keys {
        print::line("the signing keys are not in it: keep copies of keys/*.pem elsewhere (or use --with-keys)")?;
    }
    left_behind(objects).map_or(Ok(ExitCode::SUCCESS), Err)
}

/// The objects that are not what their names say, one a line.
pub(super) fn damaged_objects(objects: &Copied) -> Vec<String> {
    objects.damaged.iter().map(|fault| format!("objects/{}: {}", fault.file, fault.found)).collect()
}

/// That some objects were not copied, if so.
fn left_behind(objects: &Copied) -> Option<CliError> {
    let count = objects.damaged.len();
    (count > 0).then(|| {
        CliError::no(format!("{count} objects are damaged and were not copied; all else was"))
            .with_detail(damaged_objects(objects).join("\n"))
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

//! `upm restore`: makes a data directory of a backup. Nothing is used that was not checked, and nothing is overwritten.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use ledger::append::LogId;
use ledger::birth;
use ledger::checkpoint::{Checkpoint, Origin, peek};
use ledger::read::Log;
use ledger_rocks::Rocks;
use serde_json::json;

use super::client::print;
use super::{CliError, Globals, fsck};
use crate::backup_dir::{self, Manifest};
use crate::data_dir::{self, DataDir};
use crate::head_file;
use crate::keys_on_disk::Keys;
use crate::objects_dir::{Copied, ObjectDir};
use crate::reading::Reading;

/// Options of `upm restore`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  upm restore /backup/upm --data /var/lib/upm\n  upm restore /backup/upm --data /var/lib/upm \
                  --known-checkpoint acme.checkpoint\n\n\
                  The backup is copied, the copy checked whole (as by `upm fsck`) and compared with the backup's manifest, and only then\n\
                  put in place, in one step. A data directory that holds a ledger already is refused. A checkpoint that somebody kept\n\
                  (`upm log checkpoint`, `upm monitor`, a receipt) proves whether the backup is older than it, or another history.\n\n\
                  Exit codes: 0 restored; 1 the backup is damaged, or a known checkpoint speaks against it; 2 could not be done."
)]
pub struct Args {
    /// The backup
    #[arg(value_name = "BACKUP")]
    backup: PathBuf,
    /// A checkpoint of one of its logs that was kept elsewhere; may be given several times
    #[arg(long = "known-checkpoint", value_name = "FILE")]
    known: Vec<PathBuf>,
    /// Admit payloads again as well, as `upm fsck --deep`
    #[arg(long)]
    deep: bool,
}

/// Runs the command.
pub fn run(globals: &Globals, args: Args) -> Result<ExitCode, CliError> {
    let manifest = Manifest::read(&args.backup).map_err(|error| CliError::of(&error))?;
    // Nobody writes to the backup while it is copied; on a medium that can't be written to nobody can.
    let _backup = match data_dir::lock_file(&args.backup) {
        Err(error @ data_dir::DataDirError::InUse { .. }) => return Err(CliError::of(&error)),
        locked => locked.ok(),
    };
    refuse_ledger(&globals.data)?;
    let dir = DataDir::create(&globals.data).map_err(|error| CliError::of(&error))?;
    let lock = dir.lock().map_err(|error| CliError::of(&error))?;
    let copy = dir.restoring();
    if copy.exists() {
        // Left by a restore that was cut off: never used.
        fs::remove_dir_all(&copy).map_err(|error| CliError::of(&backup_dir::at(&copy)(error)))?;
    }
    let checked = copy_and_check(&args, &manifest, &copy);
    if checked.is_err() {
        let _ = fs::remove_dir_all(&copy);
    }
    let sizes = checked?;
    drop_views(&dir)?;
    let keys = restore_keys(&args.backup.join("keys"), &dir)?;
    let objects = restore_objects(&args.backup, &dir)?;
    put_in_place(&copy, &dir)?;
    let missing = missing_keys(&dir)?;
    let behind = behind(&dir)?;
    drop(lock);
    tell(globals, &dir, &sizes, (keys, &objects), (&missing, &behind))
}

/// Copies the objects; one that is damaged stays behind, and is missing from now on. What the entries refer to is looked through anew, whatever
/// was noted in this directory before.
fn restore_objects(backup: &Path, dir: &DataDir) -> Result<Copied, CliError> {
    let copied = super::backup::copy_objects(backup, dir.root())?;
    let again = |(_, objects): (_, ObjectDir)| objects.set_next(0);
    let reset = ObjectDir::all(dir.root()).and_then(|all| all.into_iter().try_for_each(again));
    reset.map_err(|error| CliError::of(&backup_dir::at(&dir.objects())(error)))?;
    Ok(copied)
}

/// What was committed in this data directory before, and is not in the backup: `upm serve` will refuse it.
fn behind(dir: &DataDir) -> Result<Vec<String>, CliError> {
    let noted = head_file::read(dir.root()).map_err(|error| CliError::of(&error))?;
    let reading = fsck::open(&dir.ledger())?;
    let lost = head_file::compare(&reading.kv, &noted, &head_file::path(dir.root()));
    Ok(lost.map_err(|error| CliError::of(&error))?.iter().map(ToString::to_string).collect())
}

/// Views of the ledger that was here before would show its entries as the restored one's.
fn drop_views(dir: &DataDir) -> Result<(), CliError> {
    let views = dir.views();
    let of = |error| CliError::of(&backup_dir::at(&views)(error));
    for entry in fs::read_dir(&views).map_err(of)? {
        fs::remove_file(entry.map_err(of)?.path()).map_err(of)?;
    }
    Ok(())
}

fn refuse_ledger(data: &Path) -> Result<(), CliError> {
    let ledger = data.join("ledger");
    let taken = fs::read_dir(&ledger).is_ok_and(|mut entries| entries.next().is_some());
    if taken {
        let line = format!("there is a ledger in {} already: restore never overwrites one", data.display());
        return Err(CliError::could_not(line)
            .with_detail("give another --data, or stop the server and move the old directory away"));
    }
    Ok(())
}

/// Copies the backup's store and checks the copy; the logs with their sizes.
fn copy_and_check(args: &Args, manifest: &Manifest, copy: &Path) -> Result<Vec<(String, u64)>, CliError> {
    let from = args.backup.join("ledger");
    backup_dir::copy_store(&from, copy, |_| ()).map_err(|error| CliError::of(&error))?;
    let reading = fsck::open(copy)?;
    let report = fsck::check(&reading, &args.backup, &[], args.deep, ledger::fsck::FINDINGS);
    if !report.is_sound() {
        let line = format!(
            "the backup {} is damaged in {} places: nothing was restored",
            args.backup.display(),
            report.findings.len() as u64 + report.more_findings
        );
        let mut places = fsck::shown(&report, false);
        places.push(format!("`upm fsck --store {}` shows them all", args.backup.display()));
        return Err(CliError::no(line).with_detail(places.join("\n")));
    }
    if let Some(what) = report.unchecked.first() {
        return Err(CliError::could_not(format!("not all of the backup can be checked: {what}")));
    }
    for saved in &manifest.logs {
        let claimed = peek(&saved.checkpoint).map_err(|error| CliError::because("manifest.json", &error))?;
        compare(&reading.kv, &claimed, "its manifest")?;
    }
    for file in &args.known {
        known(&reading, file)?;
    }
    Ok(report.logs.into_iter().map(|log| (log.origin, log.size)).collect())
}

/// A checkpoint that somebody kept: signed by the log's key, and of this history.
fn known(reading: &Reading, file: &Path) -> Result<(), CliError> {
    let shown = file.display().to_string();
    let text = fs::read_to_string(file).map_err(|error| CliError::of(&backup_dir::at(file)(error)))?;
    // A receipt ends in the checkpoint that it is under.
    let note = text.rsplit_once("\n\n").and_then(|(before, _)| {
        let start = before.rfind("\n\n").map_or(0, |at| at + 2);
        text.get(start..)
    });
    let note = note.unwrap_or(&text);
    let claimed = peek(note).map_err(|error| CliError::because(format!("{shown} is no checkpoint"), &error))?;
    let Some(log) = log_of(&reading.kv, &claimed.origin)? else {
        return Err(CliError::no(format!("{shown} is a checkpoint of {}, which is not in the backup", claimed.origin)));
    };
    let keys = log.governance().map_err(|error| CliError::of(&error))?;
    keys.log_keys().open_stored(note).map_err(|error| {
        CliError::could_not(format!("{shown} is not signed by the key of {}: {error}", claimed.origin))
    })?;
    compare(&reading.kv, &claimed, &shown)
}

/// Whether the store holds what a checkpoint says.
fn compare(kv: &Rocks, claimed: &Checkpoint, what: &str) -> Result<(), CliError> {
    let Checkpoint { origin, size, root } = claimed;
    let Some(log) = log_of(kv, origin)? else {
        return Err(CliError::no(format!("{what} names {origin}, which is not in the backup")));
    };
    let found = log.head().map_err(|error| CliError::of(&error))?.size;
    if found < *size {
        return Err(CliError::no(format!(
            "the backup is older than {what}: {origin} had {size} entries then, here it has {found}"
        ))
        .with_detail(
            "find a newer backup; without one: restore without this checkpoint, keep the server from starting, and copy what is \
             missing from a follower with `upm catch-up` before anything is signed",
        ));
    }
    let ours = log.root(*size).map_err(|error| CliError::of(&error))?;
    if ours != *root {
        return Err(CliError::no(format!(
            "the backup is another history than {what}: the first {size} entries of {origin} have the root {ours}, signed was {root}"
        ))
        .with_detail("keep both: together they prove that two histories were signed"));
    }
    Ok(())
}

fn log_of<'a>(kv: &'a Rocks, origin: &Origin) -> Result<Option<Log<&'a Rocks>>, CliError> {
    let tenants = birth::list_tenants(kv).map_err(|error| CliError::of(&error))?;
    let own = origin.log() == birth::LEDGER_LOG;
    let id = match tenants.into_iter().find(|(.., found)| found == origin) {
        Some((_, log, _)) => log,
        None if own => LogId::LEDGER,
        None => return Ok(None),
    };
    let log = Log::open(kv, id).map_err(|error| CliError::of(&error))?;
    let named = log.first().map_err(|error| CliError::of(&error))?.origin;
    Ok((named == *origin).then_some(log))
}

/// The keys of the backup that are not there yet; those that are have to be the same. How many were copied.
fn restore_keys(from: &Path, dir: &DataDir) -> Result<usize, CliError> {
    let mut copied = 0;
    for file in backup_dir::key_files(from, true).map_err(|error| CliError::of(&error))? {
        let Some(name) = file.file_name() else { continue };
        if backup_dir::copy_key(&file, &dir.keys().join(name)).map_err(|error| CliError::of(&error))? {
            copied += 1;
        }
    }
    Ok(copied)
}

/// The one step that makes it the ledger.
fn put_in_place(copy: &Path, dir: &DataDir) -> Result<(), CliError> {
    let ledger = dir.ledger();
    // Made empty with the data directory; anything in it would have been refused.
    fs::remove_dir(&ledger).map_err(|error| CliError::of(&backup_dir::at(&ledger)(error)))?;
    fs::rename(copy, &ledger).map_err(|error| CliError::of(&backup_dir::at(copy)(error)))?;
    backup_dir::sync_dir(dir.root()).map_err(|error| CliError::of(&error))
}

/// Files without which the ledger can't go on.
fn missing_keys(dir: &DataDir) -> Result<Vec<PathBuf>, CliError> {
    let reading = fsck::open(&dir.ledger())?;
    let keys = Keys::at(dir.keys());
    let mut missing = Vec::new();
    let tenants = birth::list_tenants(&reading.kv).map_err(|error| CliError::of(&error))?;
    for id in [LogId::LEDGER].into_iter().chain(tenants.iter().map(|(_, log, _)| *log)) {
        let log = Log::open(&reading.kv, id).map_err(|error| CliError::of(&error))?;
        let governance = log.governance().map_err(|error| CliError::of(&error))?;
        let (origin, key) = (governance.origin().clone(), governance.log_keys().current());
        let later = keys.later_path(&origin, key);
        let born = governance.log_keys().history().len() == 1;
        let wanted = if born { keys.log_path(origin.log()) } else { later };
        if !wanted.exists() && !keys.later_path(&origin, key).exists() {
            missing.push(wanted);
        }
    }
    missing.extend([keys.admin_path()].into_iter().filter(|path| !path.exists()));
    Ok(missing)
}

fn tell(
    globals: &Globals,
    dir: &DataDir,
    sizes: &[(String, u64)],
    (keys, objects): (usize, &Copied),
    (missing, behind): (&[PathBuf], &[String]),
) -> Result<ExitCode, CliError> {
    if globals.json {
        let logs: Vec<_> = sizes.iter().map(|(origin, size)| json!({ "origin": origin, "size": size })).collect();
        let told = json!({
            "restored": dir.root(), "logs": logs, "keys": keys, "missing_keys": missing, "behind": behind,
            "objects": objects.objects, "damaged_objects": super::backup::damaged(objects),
        });
        print::json_line(&told)?;
        return Ok(ExitCode::SUCCESS);
    }
    for (origin, size) in sizes {
        print::line(&print::clean(&format!("{origin}: {size} entries")))?;
    }
    print::line(&format!("restored to {}, every row checked; {keys} key files copied", dir.root().display()))?;
    if objects.objects > 0 {
        print::line(&format!("{} objects copied and checked", objects.objects))?;
    }
    for line in super::backup::damaged(objects) {
        print::line(&print::clean(&format!("left behind, because it is damaged: {line}")))?;
    }
    for path in missing {
        print::line(&format!("missing: {}; put your copy there (mode 0600) before `upm serve`", path.display()))?;
    }
    for line in behind {
        print::line(&format!("`upm serve` will refuse it: {}", print::clean(line)))?;
    }
    print::line(
        "if the ledger was served after this backup was made, copy what is missing first: upm catch-up --from a follower",
    )?;
    Ok(ExitCode::SUCCESS)
}

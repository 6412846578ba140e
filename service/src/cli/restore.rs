//! `upm restore`: makes a data directory of a backup. Nothing is used that was not checked, and nothing is overwritten.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use ledger::append::LogId;
use ledger::birth;
use ledger::checkpoint::{Checkpoint, peek};
use ledger::read::Log;
use ledger_rocks::Rocks;
use serde_json::json;

use super::client::{input, print};
use super::{CliError, Globals, backup, fsck};
use crate::backup_dir;
use crate::bounded::NOTE_MAX;
use crate::data_dir::{self, DataDir};
use crate::head_file;
use crate::keys_on_disk::Keys;
use crate::manifest::{self, Found};
use crate::objects_dir::{self, Copied, ObjectDir};

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
    let found = backup::read_manifest(&args.backup)?;
    let known: Result<Vec<Known>, _> = args.known.iter().map(|file| Known::read(file)).collect();
    let known = known?;
    backup_dir::refuse_inside(&globals.data, &args.backup).map_err(|error| CliError::of(&error))?;
    // Nobody writes to the backup while it is copied; on a medium that can't be written to nobody can.
    let _backup = match data_dir::lock_file(&args.backup) {
        Err(error @ data_dir::DataDirError::InUse { .. }) => return Err(CliError::of(&error)),
        locked => locked.ok(),
    };
    refuse_ledger(&globals.data)?;
    let made = Made::of(&globals.data);
    let restored = restore(globals, &args, &found, &known);
    if restored.is_err() {
        made.undo();
    }
    tell(globals, &restored?)
}

/// What was restored.
struct Restored {
    dir: DataDir,
    sizes: Vec<(String, u64)>,
    keys: usize,
    objects: Copied,
    missing: Vec<PathBuf>,
    behind: Vec<String>,
}

fn restore(globals: &Globals, args: &Args, found: &Found, known: &[Known]) -> Result<Restored, CliError> {
    let dir = DataDir::create(&globals.data).map_err(|error| CliError::of(&error))?;
    let _lock = dir.lock().map_err(|error| CliError::of(&error))?;
    // Again, now that nobody else can make one.
    refuse_ledger(&globals.data)?;
    let copy = dir.restoring();
    if copy.exists() {
        // Left by a restore that was cut off: never used.
        fs::remove_dir_all(&copy).map_err(|error| CliError::of(&backup_dir::at(&copy)(error)))?;
    }
    let checked = copy_and_check(args, found, known, &copy);
    if checked.is_err() {
        let _ = fs::remove_dir_all(&copy);
    }
    let sizes = checked?;
    drop_views(&dir)?;
    let (keys, objects) = restore_beside(&args.backup, &dir)?;
    put_in_place(&copy, &dir)?;
    let (missing, behind) = (missing_keys(&dir)?, behind(&dir)?);
    Ok(Restored { dir, sizes, keys, objects, missing, behind })
}

/// What a restore is about to make: one that is refused leaves nothing of it behind.
struct Made(Vec<PathBuf>);

impl Made {
    fn of(root: &Path) -> Self {
        let parts = ["lock", "ledger", "views", "nats", "keys", "objects"].map(|part| root.join(part));
        let above = root.ancestors().filter(|path| !path.as_os_str().is_empty()).map(Path::to_owned);
        Self(parts.into_iter().chain(above).filter(|path| !path.exists()).collect())
    }

    fn undo(self) {
        for path in self.0 {
            // Only what is empty goes: whatever else came there meanwhile is not ours.
            let _ = if path.is_file() { fs::remove_file(path) } else { fs::remove_dir(path) };
        }
    }
}

/// Copies what lies beside the store: how many keys, and the objects. Where that is refused, no object of it stays that was not there before.
fn restore_beside(from: &Path, dir: &DataDir) -> Result<(usize, Copied), CliError> {
    let before = dir.objects().exists();
    let restored = restore_objects(from, dir).and_then(|objects| {
        let keys = restore_keys(&from.join("keys"), dir)?;
        Ok((keys, objects))
    });
    if restored.is_err() && !before {
        let _ = fs::remove_dir_all(dir.objects());
    }
    restored
}

/// Copies the objects; one that is damaged stays behind, and is missing from now on. What the entries refer to is looked through anew, whatever
/// was noted in this directory before.
fn restore_objects(from: &Path, dir: &DataDir) -> Result<Copied, CliError> {
    let copied = objects_dir::copy_all(from, dir.root());
    let copied = copied.map_err(|error| CliError::because("the objects of the backup can't be copied", &error))?;
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

/// A store that nothing was written to is no ledger: it is left by a start that was refused, or cut off before a ledger was born.
fn refuse_ledger(data: &Path) -> Result<(), CliError> {
    let detail = "give another --data, or stop the server and move the old directory away";
    let line = format!("there is a ledger in {} already: restore never overwrites one", data.display());
    match Rocks::is_unwritten(&data.join("ledger")) {
        Ok(true) => Ok(()),
        Ok(false) => Err(CliError::could_not(line).with_detail(detail)),
        // What can't be read may be a ledger.
        Err(error) => Err(CliError::could_not(line).with_detail(format!("{error}\n{detail}"))),
    }
}

/// Copies the backup's store and checks the copy; the logs with their sizes.
fn copy_and_check(args: &Args, found: &Found, known: &[Known], copy: &Path) -> Result<Vec<(String, u64)>, CliError> {
    let from = args.backup.join("ledger");
    backup_dir::copy_store(&from, copy, |_| ()).map_err(|error| CliError::of(&error))?;
    let changed = found.changed_tables(copy).map_err(|error| CliError::of(&error))?;
    if !changed.is_empty() {
        return Err(backup::damaged(&args.backup, &changed));
    }
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
    let differences = found.differences(&reading.kv).map_err(|error| CliError::of(&error))?;
    if !differences.is_empty() {
        return Err(backup::damaged(&args.backup, &differences));
    }
    known.iter().try_for_each(|known| known.check(&reading.kv))?;
    Ok(report.logs.into_iter().map(|log| (log.origin, log.size)).collect())
}

/// A checkpoint that somebody kept.
struct Known {
    /// Its file, for messages.
    file: String,
    note: String,
    claimed: Checkpoint,
}

impl Known {
    fn read(file: &Path) -> Result<Self, CliError> {
        let text = input::text(file, NOTE_MAX)?;
        // A receipt ends in the checkpoint that it is under.
        let note = text.rsplit_once("\n\n").and_then(|(before, _)| {
            let start = before.rfind("\n\n").map_or(0, |at| at + 2);
            text.get(start..)
        });
        let note = note.unwrap_or(&text).to_owned();
        let file = file.display().to_string();
        let claimed = peek(&note).map_err(|error| {
            CliError::because(format!("{file} holds no checkpoint"), &error).with_detail(
                "expected a signed note, as `upm log checkpoint` prints it, or a receipt, which ends in one",
            )
        })?;
        Ok(Self { file, note, claimed })
    }

    /// Signed by the log's key, and of this history?
    fn check(&self, kv: &Rocks) -> Result<(), CliError> {
        let Self { file, note, claimed } = self;
        let Some(log) = manifest::log_named(kv, &claimed.origin).map_err(|error| CliError::of(&error))? else {
            let line = format!("{file} is a checkpoint of {}, which is not in the backup", claimed.origin);
            return Err(CliError::no(line));
        };
        let keys = log.governance().map_err(|error| CliError::of(&error))?;
        keys.log_keys().open_stored(note).map_err(|error| {
            CliError::could_not(format!("{file} is not signed by the key of {}: {error}", claimed.origin))
        })?;
        compare(&log, claimed, file)
    }
}

/// Whether the store holds what a checkpoint says.
fn compare(log: &Log<&Rocks>, claimed: &Checkpoint, what: &str) -> Result<(), CliError> {
    let Checkpoint { origin, size, root } = claimed;
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
    let (ledger, aside) = (dir.ledger(), dir.root().join("ledger.unwritten"));
    let of = |path: &Path, error| CliError::of(&backup_dir::at(path)(error));
    // Nothing was ever written to the store that is there. Aside in one step, so that a crash never leaves a part of it.
    if aside.exists() {
        fs::remove_dir_all(&aside).map_err(|error| of(&aside, error))?;
    }
    fs::rename(&ledger, &aside).map_err(|error| of(&ledger, error))?;
    fs::rename(copy, &ledger).map_err(|error| of(copy, error))?;
    backup_dir::sync_dir(dir.root()).map_err(|error| CliError::of(&error))?;
    fs::remove_dir_all(&aside).map_err(|error| of(&aside, error))
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

fn tell(globals: &Globals, restored: &Restored) -> Result<ExitCode, CliError> {
    let Restored { dir, sizes, keys, objects, missing, behind } = restored;
    if globals.json {
        let logs: Vec<_> = sizes.iter().map(|(origin, size)| json!({ "origin": origin, "size": size })).collect();
        let told = json!({
            "restored": dir.root(), "logs": logs, "keys": keys, "missing_keys": missing, "behind": behind,
            "objects": objects.objects, "damaged_objects": backup::damaged_objects(objects),
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
    for line in backup::damaged_objects(objects) {
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

//! `upm fsck`: derives everything in a store again from its entries and payloads, and compares. Beside a running server or without.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};
use std::thread;

use indicatif::{ProgressBar, ProgressStyle};
use ledger::birth;
use ledger::fsck::{self, Finding, Options, Report};
use ledger_rocks::OpenError;
use schemas::ids::Tenant;
use serde_json::json;

use super::client::print;
use super::{CliError, Globals};
use crate::backup_dir::BackupError;
use crate::clock;
use crate::head_file::{self, Heads, LostError};
use crate::keys_on_disk::{KeyFileError, Keys};
use crate::manifest::{self, Found};
use crate::objects_dir::ObjectDir;
use crate::reading::{Reading, ReadingError, store_of};

/// Options of `upm fsck`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  upm fsck\n  upm fsck --tenant acme --json\n  upm fsck --store /backup/upm\n\n\
                  Checks every row of the store: entries, payloads, tree, checkpoints and their signatures, chains, the index. Finds any\n\
                  flipped bit, and says where. The server may be running: the store is checked as it stands at the start. With --tenant:\n\
                  the logs of these tenants alone. The dedupe keys are looked for in keys/; without them it is not checked which change\n\
                  a chain belongs to. A backup is compared with its manifest as well.\n\n\
                  Exit codes: 0 sound; 1 something is wrong; 2 it could not be checked, or not all of it.")]
pub struct Args {
    /// Admit payloads again as well: what is stored must be what admission stores; several times as slow
    #[arg(long)]
    deep: bool,
    /// Check the store in this directory instead of the data directory's: a backup, another data directory, or a bare store
    #[arg(long, value_name = "DIR")]
    store: Option<PathBuf>,
    /// Show every place of a damage, not the first few of each kind (--json always has all)
    #[arg(long)]
    all: bool,
}

/// Places that are shown of one kind of damage.
const SHOWN: usize = 3;

/// Runs the command.
pub fn run(globals: &Globals, args: Args) -> Result<ExitCode, CliError> {
    let root = args.store.as_deref().unwrap_or(&globals.data);
    let watch = clock::stopwatch();
    let most = if args.all || globals.json { usize::MAX } else { fsck::FINDINGS };
    let (report, beside_writer) = checked(root, &globals.tenants, args.deep, most)?;
    let seconds = watch().as_secs_f64();
    if globals.json {
        print::json_line(&json!({
            "sound": report.is_sound(),
            "beside_server": beside_writer,
            "deep": args.deep,
            "entries": report.entries(),
            "seconds": seconds,
            "logs": report.logs,
            "findings": report.findings,
            "more_findings": report.more_findings,
            "unchecked": report.unchecked,
        }))?;
    } else {
        show(&report, seconds, args.all)?;
    }
    Ok(ExitCode::from(match (report.is_sound(), report.unchecked.is_empty()) {
        (false, _) => 1,
        (true, false) => 2,
        (true, true) => 0,
    }))
}

/// Checks the store of a directory; whether a server was writing to it.
fn checked(root: &Path, tenants: &[Tenant], deep: bool, most: usize) -> Result<(Report, bool), CliError> {
    // Before the store: beside a server the store is then the newer of the two.
    let heads = head_file::read(root).map_err(|error| CliError::of(&error))?;
    let manifest = root.join(manifest::NAME).exists().then(|| Found::read(root));
    let reading = open(root)?;
    // Whether a tenant is there is asked of a store that can be read; a damaged one is checked all the same.
    if let (false, Ok(known)) = (tenants.is_empty(), birth::list_tenants(&reading.kv))
        && let Some(stranger) = tenants.iter().find(|name| !known.iter().any(|(tenant, ..)| tenant == *name))
    {
        return Err(CliError::no(format!("there is no tenant {stranger} in this ledger")));
    }
    let mut report = check(&reading, root, tenants, deep, most);
    compare_heads(&reading, root, &heads, &mut report)?;
    compare_manifest(&reading, root, manifest.as_ref(), &mut report)?;
    check_objects(root, tenants, &mut report)?;
    if report.is_sound() || !reading.beside_writer {
        return Ok((report, reading.beside_writer));
    }
    // What the server moved from one file to another while we opened them may look as if it were missing: a second look, from
    // another moment, does not.
    drop(reading);
    let reading = open(root)?;
    let mut report = check(&reading, root, tenants, deep, most);
    compare_heads(&reading, root, &heads, &mut report)?;
    compare_manifest(&reading, root, manifest.as_ref(), &mut report)?;
    check_objects(root, tenants, &mut report)?;
    Ok((report, reading.beside_writer))
}

/// Every object beside the ledger has the digest that it is named by.
fn check_objects(root: &Path, tenants: &[Tenant], report: &mut Report) -> Result<(), CliError> {
    let failed = |error: &std::io::Error| CliError::because("the objects beside the ledger can't be read", error);
    for (tenant, objects) in ObjectDir::all(root).map_err(|error| failed(&error))? {
        if !tenants.is_empty() && !tenants.contains(&tenant) {
            continue;
        }
        let (_, faults) = objects.check(&tenant).map_err(|error| failed(&error))?;
        report.findings.extend(faults.into_iter().map(|fault| Finding {
            log: None,
            row: "object",
            at: format!("objects/{}", fault.file),
            expected: fault.expected,
            found: fault.found,
            remedy: DAMAGED_OBJECT,
        }));
    }
    report.findings.sort();
    Ok(())
}

/// What to do about an object that is not what its name says.
const DAMAGED_OBJECT: &str = "copy the file from a backup (it is named by its digest); without one the log is lost, and the event's digest still says which one it was";

/// What was committed here and is not in the store: a tail that was cut off looks whole by itself.
fn compare_heads(reading: &Reading, root: &Path, heads: &Heads, report: &mut Report) -> Result<(), CliError> {
    let path = head_file::path(root);
    // A store that can't tell which logs it has is found damaged by that already.
    let lost = match head_file::compare(&reading.kv, heads, &path) {
        Ok(lost) => lost,
        Err(_) if !report.is_sound() => return Ok(()),
        Err(error) => return Err(CliError::of(&error)),
    };
    for lost in lost {
        let (origin, expected, found) = match &lost {
            LostError::Behind { origin, found, noted, .. } => {
                (origin, format!("{noted} entries, as ledger.heads says"), format!("{found}: the newest are lost"))
            }
            LostError::Differs { origin, size, found, noted, .. } => {
                (origin, format!("root {noted} of {size} entries, as ledger.heads says"), found.clone())
            }
            _ => continue,
        };
        let at = "of the log".to_owned();
        report.findings.push(Finding { log: Some(origin.clone()), row: "head", at, expected, found, remedy: LOST });
    }
    for log in &heads.damaged {
        let (expected, found) = ("a slot that its check value fits".to_owned(), "another check value".to_owned());
        let at = format!("slot {} of {}", log.0, path.display());
        report.findings.push(Finding { log: None, row: "ledger.heads", at, expected, found, remedy: DAMAGED_NOTE });
    }
    report.findings.sort();
    Ok(())
}

/// Where a backup and its manifest say different things.
fn compare_manifest(
    reading: &Reading,
    root: &Path,
    manifest: Option<&Result<Found, BackupError>>,
    report: &mut Report,
) -> Result<(), CliError> {
    let mut add = |row, at, expected, found, remedy| {
        report.findings.push(Finding { log: None, row, at, expected, found, remedy });
    };
    let of = |error: &dyn std::error::Error| CliError::of(error);
    match manifest {
        None => return Ok(()),
        Some(Err(error)) => {
            let expected = "one that `upm backup` wrote".to_owned();
            add("manifest", manifest::NAME.to_owned(), expected, error.to_string(), MANIFEST);
        }
        Some(Ok(found)) => {
            // Beside a backup at work tables come and go.
            let store = store_of(root);
            let tables = if reading.beside_writer { Ok(Vec::new()) } else { found.changed_tables(&store) };
            for table in tables.map_err(|error| of(&error))? {
                add("table", table.place, table.expected, table.found, TABLE);
            }
            match found.differences(&reading.kv) {
                Ok(differences) => {
                    for member in differences {
                        add("manifest", member.place, member.expected, member.found, MANIFEST);
                    }
                }
                // A store that can't tell what it has is found damaged by that already.
                Err(error) if report.is_sound() => return Err(of(&error)),
                Err(_) => {}
            }
        }
    }
    report.findings.sort();
    Ok(())
}

/// What to do about a manifest, where nothing else is found.
const MANIFEST: &str = "where only the manifest is damaged, remove it: `upm backup` into the directory writes it anew, and `upm catch-up --from` needs none";

/// What to do about a file of a backup.
const TABLE: &str = "use another backup, or begin one in another directory";

/// What to do about a note that says nothing any more.
const DAMAGED_NOTE: &str = "compare the newest checkpoint with one kept elsewhere (a monitor, a witness, a receipt); `upm serve` then writes the note anew";

/// What to do about rounds that are lost.
const LOST: &str =
    "stop the server, copy what is missing from a follower or a backup (upm catch-up); `upm serve` refuses this store";

/// Opens a store for reading. That its files are damaged is an answer.
pub(super) fn open(root: &Path) -> Result<Reading, CliError> {
    Reading::open(root).map_err(|error| match &error {
        ReadingError::Store(OpenError::Damaged { .. }) => {
            CliError::no(error.to_string()).with_detail("keep a copy of it, restore a backup (upm restore)")
        }
        _ => CliError::of(&error),
    })
}

/// Checks an opened store, with a progress bar.
pub(super) fn check(reading: &Reading, root: &Path, tenants: &[Tenant], deep: bool, most: usize) -> Report {
    let keys = Keys::at(root.join("keys"));
    let unusable = Mutex::new(Vec::new());
    let dedupe = |tenant: &Tenant| match keys.dedupe(tenant.as_str()) {
        Ok(key) => Some(key),
        Err(KeyFileError::Missing(_)) => None,
        Err(error) => {
            unusable.lock().unwrap_or_else(PoisonError::into_inner).push(error.to_string());
            None
        }
    };
    let bar = bar(fsck::total(&reading.kv));
    let progress = |entries: u64| bar.inc(entries);
    let threads = thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let options = Options { threads, deep, tenants, dedupe: &dedupe, progress: &progress };
    let mut report = fsck::check_keeping(&reading.kv, &options, most);
    bar.finish_and_clear();
    // The report says what was not checked for lack of a key; this is why there is none, where its file is there.
    report.unchecked.splice(0..0, unusable.into_inner().unwrap_or_else(PoisonError::into_inner));
    report
}

fn show(report: &Report, seconds: f64, all: bool) -> Result<(), CliError> {
    for log in &report.logs {
        let (origin, size, root) = (&log.origin, log.size, &log.root);
        print::line(&print::clean(&format!("{origin}: {size} entries, root {root}, {} checkpoints", log.checkpoints)))?;
    }
    for what in &report.unchecked {
        print::line(&print::clean(&format!("not checked: {what}")))?;
    }
    for line in shown(report, all) {
        print::line(&line)?;
    }
    let entries = report.entries();
    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    let rate = entries as f64 / seconds.max(0.001);
    let verdict = match (report.is_sound(), report.unchecked.is_empty()) {
        (false, _) => format!("{} findings", report.findings.len() as u64 + report.more_findings),
        (true, false) => "sound as far as it was checked".to_owned(),
        (true, true) => "sound".to_owned(),
    };
    print::line(&format!("{verdict}: {entries} entries of {} logs in {seconds:.1} s ({rate:.0}/s)", report.logs.len()))
}

/// The findings, each kind of row with what to do about it; the first few of each kind, or all.
pub(super) fn shown(report: &Report, all: bool) -> Vec<String> {
    let mut lines = Vec::new();
    for group in report.groups() {
        let few = if all { group.len() } else { SHOWN.min(group.len()) };
        lines.extend(group[..few].iter().map(|finding| print::clean(&finding.to_string())));
        if let (Some(first), true) = (group.first(), few < group.len()) {
            let log = first.log.as_ref().map(|log| format!("{log}: ")).unwrap_or_default();
            let more = group.len() - few;
            lines
                .push(print::clean(&format!("{log}{more} more places of this kind ({}); --all shows them", first.row)));
        }
        let mut remedies: Vec<&str> = group.iter().map(|finding| finding.remedy).collect();
        remedies.dedup();
        lines.extend(remedies.into_iter().take(SHOWN).map(|remedy| format!("  {remedy}")));
    }
    if report.more_findings > 0 {
        lines.push(format!("and {} places more, which --all and --json show", report.more_findings));
    }
    lines
}

/// Shown on a terminal only.
fn bar(entries: u64) -> ProgressBar {
    let bar = ProgressBar::new(entries);
    match ProgressStyle::with_template("{wide_bar} {human_pos}/{human_len} entries, {per_sec}, {eta} left") {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

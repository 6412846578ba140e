//! `upm log`: the log itself. Checkpoints, proofs, entries, and the whole of it as files; from a server, or from the data directory
//! where no server runs.
//!
//! What a server answers is checked before it is printed: proofs by their own arithmetic, entries and tiles against the
//! checkpoint. Whose checkpoint it is, only a key from elsewhere says (`--key`, `upm verify`).

mod source;

use std::io::{self, IsTerminal as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use indicatif::{ProgressBar, ProgressStyle};
use ledger::checkpoint::{self, Checkpoint};
use ledger::note::VerifierKey;
use ledger::tiles::TiledLog;
use schemas::ids::EventId;
use serde_json::{Value, json};

use super::client::{input, print};
use super::{CliError, Globals, say};
use crate::bounded::NOTE_MAX;
use crate::export;
use crate::proofs::{Holds, Inclusion};
use source::Source;

/// Options of `upm log`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
    /// The ledger's own log (`_ledger`) instead of a tenant's
    #[arg(long, global = true)]
    ledger: bool,
}

const EXAMPLES: &str = "\
Examples:
  upm log checkpoint --tenant acme
  upm log proof --file event.json --tenant acme > event.tlog-proof
  upm verify event.tlog-proof --event event.json --key my-copy.vkey
  upm log consistency 300 70000 --tenant acme > proof.txt
  upm log export /srv/www/logs/acme --tenant acme";

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Print the newest checkpoint, or an older one
    Checkpoint {
        /// The one of exactly this tree size
        #[arg(long, value_name = "SIZE")]
        size: Option<u64>,
        /// List the sizes that have one
        #[arg(long, conflicts_with = "size")]
        list: bool,
    },
    /// Prove that an entry is in the log (C2SP tlog-proof; of an event: its receipt)
    #[command(override_usage = "upm log proof INDEX|--event ID|--file FILE [OPTIONS]")]
    Proof {
        /// Index of the entry
        #[arg(required_unless_present_any = ["event", "file"], conflicts_with_all = ["event", "file"])]
        index: Option<u64>,
        /// All entries with this event id
        #[arg(long, value_name = "ID", conflicts_with = "file")]
        event: Option<EventId>,
        /// The entries of this very event, byte for byte; `-` for standard input
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
        /// In the tree of this size; a tlog-proof needs one that was signed [default: the newest]
        #[arg(long, value_name = "SIZE")]
        size: Option<u64>,
    },
    /// Prove that the log only grew, for `upm verify --consistency`
    Consistency {
        /// Older tree size
        from: u64,
        /// Newer tree size, one that was signed [default: the newest]
        to: Option<u64>,
    },
    /// Print entries, the headers that the tree hashes
    Entries {
        /// First index
        from: u64,
        /// Index behind the last [default: one entry]
        to: Option<u64>,
    },
    /// Write the log as files (C2SP tlog-tiles), or what is new of it
    Export {
        /// Where; made if it is missing
        dir: PathBuf,
        /// Export only what this key signed: vkey, or a file with one
        #[arg(long, value_name = "KEY")]
        key: Option<String>,
        /// Read all files back afterwards and compare them with the checkpoint
        #[arg(long)]
        check: bool,
    },
}

/// Runs the command.
pub fn run(globals: &Globals, args: Args) -> Result<ExitCode, CliError> {
    let event = match &args.action {
        Action::Proof { file: Some(file), .. } => Some(input::whole(file)?),
        _ => None,
    };
    let source = Source::open(globals, args.ledger, event.as_deref())?;
    match args.action {
        Action::Checkpoint { list: true, .. } => sizes(globals, &source)?,
        Action::Checkpoint { size, .. } => checkpoint(globals, &source, size)?,
        Action::Proof { index: Some(index), size, .. } => {
            let proof = source.inclusion(index, size)?;
            told(globals, &json!(proof), std::slice::from_ref(&proof))?;
        }
        Action::Proof { event: Some(id), size, .. } => several(globals, &source.by_event_id(&id, size)?)?,
        Action::Proof { size, .. } => {
            let proofs = source.of_event(&event.unwrap_or_default(), size)?;
            several(globals, &proofs)?;
            proofs.iter().filter_map(held_otherwise).for_each(|line| say(&line));
        }
        Action::Consistency { from, to } => consistency(globals, &source, from, to)?,
        Action::Entries { from, to } => entries(globals, &source, from, to)?,
        Action::Export { dir, key, check } => exported(globals, &source, &dir, key.as_deref(), check)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn sizes(globals: &Globals, source: &Source) -> Result<(), CliError> {
    let sizes = source.sizes()?;
    if globals.json {
        return print::json_line(&json!({ "sizes": sizes }));
    }
    sizes.iter().try_for_each(|size| print::line(&size.to_string()))
}

fn checkpoint(globals: &Globals, source: &Source, size: Option<u64>) -> Result<(), CliError> {
    let (note, head) = source.checkpoint(size)?;
    if globals.json {
        let Checkpoint { origin, size, root } = head;
        return print::json(&json!({ "origin": origin.as_str(), "size": size, "root": root, "note": note }));
    }
    print::line(note.trim_end_matches('\n'))
}

/// A list of proofs, of which there must be one.
fn several(globals: &Globals, proofs: &[Inclusion]) -> Result<(), CliError> {
    if proofs.is_empty() {
        return Err(CliError::no("no entry of this tree holds it"));
    }
    told(globals, &json!({ "proofs": proofs }), proofs)
}

/// What is to be said of an entry that was not made, or not for certain, from the bytes that were asked about.
fn held_otherwise(proof: &Inclusion) -> Option<String> {
    let what = match proof.holds? {
        Holds::Sent => return None,
        Holds::Stored => "these bytes are what is kept of it, masked; what was sent may have been others",
        Holds::Masked => {
            "masked they are what is kept of it; whether they are what was sent only the tenant's dedupe key tells, \
             which is not there"
        }
    };
    Some(format!("upm: entry {}: {what}", proof.index))
}

/// Prints proofs as they are kept and passed on; each begins with the line that names its format.
fn told(globals: &Globals, document: &Value, proofs: &[Inclusion]) -> Result<(), CliError> {
    for proof in proofs {
        proof
            .check()
            .map_err(|error| CliError::because(format!("the proof of entry {} is wrong", proof.index), &error))?;
    }
    if globals.json {
        return print::json(document);
    }
    for Inclusion { index, size, proof, .. } in proofs {
        let text = proof.as_deref().ok_or_else(|| {
            CliError::no(format!(
                "no checkpoint of {size} entries was signed, so there is no tlog-proof of entry {index} under one"
            ))
            .with_detail("`upm log checkpoint --list` shows the sizes that have one; --json prints the bare path")
        })?;
        print::line(text.trim_end_matches('\n'))?;
    }
    Ok(())
}

fn consistency(globals: &Globals, source: &Source, from: u64, to: Option<u64>) -> Result<(), CliError> {
    if let Some(to) = to.filter(|to| from > *to) {
        let line = format!("from {from} to {to}: the first size must not be the greater one");
        return Err(CliError::no(line).with_detail(format!("did you mean `upm log consistency {to} {from}`?")));
    }
    let proof = source.consistency(from, to)?;
    proof.check().map_err(|error| CliError::because("the proof is wrong", &error))?;
    if globals.json {
        return print::json(&json!(proof));
    }
    let text = proof.proof.as_deref().ok_or_else(|| {
        CliError::no(format!("no checkpoint of {} entries was signed to prove anything under", proof.to))
            .with_detail("`upm log checkpoint --list` shows the sizes that have one; --json prints the bare path")
    })?;
    print::line(text.trim_end_matches('\n'))
}

fn entries(globals: &Globals, source: &Source, from: u64, to: Option<u64>) -> Result<(), CliError> {
    let (_, head) = source.checkpoint(None)?;
    let last = match to {
        Some(to) if from >= to => {
            let line = format!("no entries from {from} up to {to}; the log has {} entries", head.size);
            return Err(CliError::no(line));
        }
        Some(to) => to - 1,
        None => from,
    };
    if last >= head.size {
        return Err(CliError::no(format!("there is no entry {last} yet; the log has {} entries", head.size)));
    }
    let to = last + 1;
    let log = TiledLog::open(source, &head).map_err(|error| CliError::of(&error))?;
    for number in from / 256..to.div_ceil(256) {
        let bundle = log.bundle(number).map_err(|error| CliError::of(&error))?;
        for (index, entry) in (number * 256..).zip(bundle).filter(|(index, _)| (from..to).contains(index)) {
            let text = String::from_utf8_lossy(&entry);
            if globals.json {
                let header: Value = serde_json::from_str(&text).unwrap_or_default();
                print::json_line(&json!({ "index": index, "entry": STANDARD.encode(&entry), "header": header }))?;
            } else {
                print::raw_line(&format!("{index}\t{text}"))?;
            }
        }
    }
    Ok(())
}

fn exported(globals: &Globals, source: &Source, dir: &Path, key: Option<&str>, check: bool) -> Result<(), CliError> {
    let (note, mut head) = source.checkpoint(None)?;
    if let Some(key) = key {
        let verified = checkpoint::open(&note, &read_key(key)?);
        head = verified.map_err(|error| CliError::no(format!("the newest checkpoint: {error}")))?.into_inner();
    }
    let bar = bar(&head);
    let progress = |done, total| {
        bar.set_length(total);
        bar.set_position(done);
    };
    let done = export::export(dir, source, &note, &head, progress);
    let done = done.and_then(|done| if check { export::check(dir, &head, progress).map(|()| done) } else { Ok(done) });
    bar.finish_and_clear();
    let done = done.map_err(|error| match error {
        export::ExportError::Forked { .. }
        | export::ExportError::Newer { .. }
        | export::ExportError::Damaged { .. } => CliError::no(error.to_string()),
        other => CliError::of(&other),
    })?;
    if globals.json {
        let mut told = json!(done);
        told["dir"] = json!(dir);
        told["origin"] = json!(head.origin.as_str());
        return print::json_line(&told);
    }
    let (origin, size, files, bytes) = (&head.origin, done.size, done.files, done.bytes);
    print::line(&match done.from {
        Some(from) if from == size => format!("{origin}: {size} entries, nothing new"),
        Some(from) => format!("{origin}: {from} to {size} entries, {files} files written ({bytes} bytes)"),
        None => format!("{origin}: {size} entries, {files} files written ({bytes} bytes)"),
    })
}

fn read_key(given: &str) -> Result<VerifierKey, CliError> {
    let text = if Path::new(given).is_file() { input::text(Path::new(given), NOTE_MAX)? } else { given.to_owned() };
    VerifierKey::parse(text.trim()).map_err(|error| CliError::because("--key", &error))
}

/// Shown on a terminal only.
fn bar(head: &Checkpoint) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(0).with_prefix(head.origin.log().to_owned());
    match ProgressStyle::with_template("{prefix} {wide_bar} {human_pos}/{human_len} files, {per_sec}, {eta} left") {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

//! `upm monitor`: an auditor's watcher of one published log (C2SP tlog-tiles), ours or one like ours: whose origin is the name of its key
//! and has a `/`, and whose checkpoints have no extension lines. Of any other it says that it can't read it. It keeps the newest checkpoint that it has seen, proves at each look from tiles that it fetches itself that the log only grew, and cries when it did not.
//!
//! What it believes is the key it was given (and what that key vouches for, see [`keys`]) and its own state. A server that does not answer, or gives tiles that its checkpoint
//! does not commit to, is trouble: nothing is proved either way, and the state stays.

mod keys;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use ledger::checkpoint::{self, Checkpoint};
use ledger::note::SignedNote;
use ledger::tiles::{TiledError, TiledLog};
use serde_json::{Value, json};

use super::client::print;
use super::client::tiles::{HttpLog, HttpLogError};
use super::{CliError, Globals, say};
use crate::bounded::{self, NOTE_MAX};
use crate::export::{self, ExportError};
use crate::follow::read_vkeys;
use keys::Keys;

/// Options of `upm monitor`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  upm monitor http://127.0.0.1:8080/logs/acme --key acme.vkey --state acme.seen\n  \
                  upm monitor https://log.example.org/logs/acme --key acme.vkey --state acme.seen --once --mirror acme-headers\n\n\
                  The state is the newest checkpoint that was seen: a signed note, good for `upm verify --known-checkpoint`.\n\
                  On a fork, a rollback or a bad signature it ends with exit code 1 and leaves both checkpoints beside the state,\n\
                  as STATE.<what>.<size>-<size>.kept and .seen: two signed heads of one log that contradict each other are the proof.\n\n\
                  Exit codes: 0 the log only grew; 1 it did not, or was not signed by the key, or the mirror is not what was written there;\n\
                  2 could not tell (with --once; without, it says so and tries again)."
)]
pub struct Args {
    /// Where the log is published: the address that `/checkpoint` and `/tile/…` are below
    #[arg(value_name = "URL")]
    url: String,
    /// The log's key, from a source other than the server: a file with its vkey. The changes of key that the log proves are followed from
    /// it; of a log that says nothing of its keys, give all of them, oldest first
    #[arg(long = "key", value_name = "VKEYFILE", required = true)]
    keys: Vec<PathBuf>,
    /// The newest checkpoint that was seen is kept in this file; made at the first look
    #[arg(long, value_name = "FILE")]
    state: PathBuf,
    /// Seconds between looks
    #[arg(long, value_name = "S", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..))]
    interval: u64,
    /// Look once
    #[arg(long, conflicts_with = "interval")]
    once: bool,
    /// Keep a copy of all headers in this directory, each checked under the signed root (laid out like `upm log export`)
    #[arg(long, value_name = "DIR")]
    mirror: Option<PathBuf>,
    /// At the first look, read every file of the mirror back and compare it with the checkpoint; without, only its newest tiles
    #[arg(long, requires = "mirror")]
    check: bool,
}

/// Why a look did not end well.
#[derive(Debug)]
enum Trouble {
    /// The log contradicts itself, or its key.
    Cry {
        /// One word, for file names.
        what: &'static str,
        /// In a sentence.
        why: String,
        /// The note that was seen.
        seen: String,
        /// The size it states, if it does.
        size: u64,
        /// What was believed until now.
        kept: Option<Box<Kept>>,
    },
    /// Nothing could be told.
    CouldNot(CliError),
}

impl From<CliError> for Trouble {
    fn from(error: CliError) -> Self {
        Self::CouldNot(error)
    }
}

/// The newest checkpoint that was seen.
#[derive(Clone, Debug)]
struct Kept {
    note: String,
    head: Checkpoint,
}

/// Runs the command.
pub fn run(globals: &Globals, args: Args) -> Result<ExitCode, CliError> {
    let keys = read_vkeys(&args.keys).map_err(|error| CliError::of(&error))?;
    if let Some(other) = keys.iter().find(|key| key.name() != keys[0].name()) {
        let line = format!("the keys are of different logs: {} and {}", keys[0].name().as_str(), other.name().as_str());
        return Err(CliError::could_not(line));
    }
    let mut keys = Keys::read(keys, &args.state)?;
    let log = HttpLog::new(&args.url);
    let mut check = args.check;
    loop {
        // Read again at each look: what counts is what is on disk.
        let kept = read_state(&args.state)?;
        match look(&log, &mut keys, kept, &args, check) {
            Ok(told) => {
                check = false;
                tell(globals, &told)?;
            }
            Err(Trouble::Cry { what, why, seen, size, kept }) => {
                return Err(cry(&args.state, kept.as_deref(), what, &why, &seen, size));
            }
            Err(Trouble::CouldNot(error @ CliError::No { .. })) => return Err(error),
            Err(Trouble::CouldNot(error)) if args.once => return Err(error),
            Err(Trouble::CouldNot(error)) => say(&format!("upm: could not tell, trying again: {error}")),
        }
        if args.once {
            return Ok(ExitCode::SUCCESS);
        }
        std::thread::sleep(Duration::from_secs(args.interval));
    }
}

/// One look. When it returns, what it saw is the state; with `check` the mirror was read back.
fn look(log: &HttpLog, keys: &mut Keys, state: Option<String>, args: &Args, check: bool) -> Result<Value, Trouble> {
    // Before the head: who signs it is known then.
    keys.learn(log.key_chain().map_err(CliError::from)?.as_deref())?;
    let kept = state.map(|note| believed(note, keys, &args.state)).transpose()?;
    let kept = kept.as_ref();
    let note = log.checkpoint().map_err(CliError::from)?;
    let note = note.ok_or_else(|| CliError::could_not(format!("there is no log at {} (no checkpoint)", args.url)))?;
    let head = signed(&note, keys, kept, log)?;
    let whole = kept.map(|kept| Box::new(kept.clone()));
    let seen = |what, why: String| Trouble::Cry { what, why, seen: note.clone(), size: head.size, kept: whole.clone() };
    if let Some(kept) = kept {
        if head.size < kept.head.size {
            let why = format!("it had {} entries, and now shows a signed head of {}", kept.head.size, head.size);
            return Err(seen("rollback", why));
        }
        if head.size == kept.head.size && head.root != kept.head.root {
            let why = format!("two signed heads of {} entries: {} and {}", head.size, kept.head.root, head.root);
            return Err(seen("fork", why));
        }
    }
    if kept.is_none_or(|kept| kept.head.size < head.size) {
        // Asked also at the first look: a signed head without a log behind it is nothing to keep.
        let tiled = TiledLog::open(log, &head).map_err(|error| unproved(&error))?;
        for older in kept.map(|kept| &kept.head).into_iter().chain(keys.learned_under()) {
            if older.size > head.size {
                let why = format!(
                    "its changes of keys are proved under a signed head of {}, and now it shows one of {}",
                    older.size, head.size
                );
                return Err(seen("rollback", why));
            }
            match tiled.extends(older) {
                Ok(_) => {}
                Err(TiledError::Forked { old, new, why }) => {
                    return Err(seen(
                        "fork",
                        format!("the signed head of {new} entries does not extend that of {old}: {why}"),
                    ));
                }
                Err(error) => return Err(unproved(&error).into()),
            }
        }
    }
    let mirrored = args.mirror.as_deref().map(|dir| {
        let done = export::export(dir, log, &note, &head, |_, _| ())?;
        if check { export::check(dir, &head, |_, _| ()).map(|()| done) } else { Ok(done) }
    });
    let mirrored = mirrored.transpose().map_err(|error| match error {
        // The mirror's own checkpoint is signed too: with what was seen it is the proof.
        ExportError::Forked { .. } => seen("fork", error.to_string()),
        ExportError::Newer { .. } => seen("rollback", error.to_string()),
        // Not the log's doing: somebody else wrote to the mirror, or its disk fails.
        ExportError::Damaged { .. } => CliError::no(format!("the mirror {error}")).into(),
        error => CliError::because("the mirror", &error).into(),
    })?;
    let mirrored = mirrored.map(|exported| exported.files);
    if kept.is_none_or(|kept| kept.note != note) {
        write_state(&args.state, &note).map_err(|error| state_error(&args.state, &error))?;
    }
    Ok(json!({
        "origin": head.origin.as_str(),
        "size": head.size,
        "root": head.root.to_string(),
        "before": kept.map(|kept| kept.head.size),
        "mirrored": mirrored,
    }))
}

/// The head in a note, if those signed it who sign its size. Keys that have changed since we asked are asked for once more.
fn signed(note: &str, keys: &mut Keys, kept: Option<&Kept>, log: &HttpLog) -> Result<Checkpoint, Trouble> {
    if SignedNote::parse(note).is_err() {
        return Err(CliError::could_not("what the server gives as its checkpoint is no signed note").into());
    }
    let before = kept.map(|kept| kept.note.as_str());
    if let Ok(head) = keys.open(note, before) {
        return Ok(head);
    }
    keys.learn(log.key_chain().map_err(CliError::from)?.as_deref())?;
    keys.open(note, before).map_err(|refused| match keys.unreadable(note, kept.is_some()) {
        Some(why) => CliError::could_not(format!("the key signed a checkpoint that this program can't read: {why}"))
            .with_detail(
                "It reads logs whose origin is the name of their key, with a / in it, and whose checkpoints have three lines.\n\
                 That says nothing against this one: watch it with a tool of its own.",
            )
            .into(),
        None => Trouble::Cry {
            what: refused.what,
            why: refused.why,
            seen: note.to_owned(),
            size: checkpoint::peek(note).map_or(0, |head| head.size),
            kept: kept.map(|kept| Box::new(kept.clone())),
        },
    })
}

fn unproved(error: &TiledError<HttpLogError>) -> CliError {
    CliError::because("that the log only grew could not be proved", error)
}

fn read_state(path: &Path) -> Result<Option<String>, CliError> {
    match bounded::read(path, NOTE_MAX) {
        Ok(note) => match String::from_utf8(note) {
            Ok(note) => Ok(Some(note)),
            Err(error) => Err(no_state(path, &format!("it is no text: {}", error.utf8_error()))),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(no_state(path, &error.to_string())),
    }
}

/// The state, if it is one: what was cut off or is of another log is not taken for a first look.
fn believed(note: String, keys: &Keys, path: &Path) -> Result<Kept, CliError> {
    match keys.open_kept(&note) {
        Ok(head) => Ok(Kept { note, head }),
        Err(why) => Err(no_state(path, &format!("it is no checkpoint of {} signed by the key: {why}", keys.name()))),
    }
}

fn no_state(path: &Path, why: &str) -> CliError {
    CliError::could_not(format!("the state {} can't be used: {why}", path.display())).with_detail(
        "restore it from your own copy; only if there is none, move it away: then what is met next is believed as the first",
    )
}

/// The whole new state or the whole old one, whatever happens.
fn write_state(path: &Path, note: &str) -> io::Result<()> {
    let partial = with_suffix(path, "partial");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).open(&partial)?;
    file.write_all(note.as_bytes())?;
    file.sync_all()?;
    fs::rename(&partial, path)?;
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(dir)?.sync_all()
}

fn state_error(path: &Path, error: &io::Error) -> CliError {
    CliError::could_not(format!("can't keep the state {}: {error}", path.display()))
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(suffix);
    name.into()
}

/// Saves both heads beside the state, and says where.
fn cry(state: &Path, kept: Option<&Kept>, what: &'static str, why: &str, seen: &str, size: u64) -> CliError {
    let name = format!("{what}.{}-{size}", kept.map_or(0, |kept| kept.head.size));
    let mut notes = vec![("seen", seen)];
    notes.extend(kept.map(|kept| ("kept", kept.note.as_str())));
    let mut lines = Vec::new();
    for (which, note) in notes {
        let path = with_suffix(state, &format!("{name}.{which}"));
        lines.push(match write_state(&path, note) {
            Ok(()) => format!("saved: {}", path.display()),
            Err(error) => format!("NOT saved: {}: {error}\n{note}", path.display()),
        });
    }
    let log = checkpoint::peek(seen).map_or_else(|_| "the log".to_owned(), |head| head.origin.to_string());
    CliError::no(format!("{}: {log}: {why}", what.to_uppercase())).with_detail(lines.join("\n"))
}

fn tell(globals: &Globals, told: &Value) -> Result<(), CliError> {
    if globals.json {
        return print::json_line(told);
    }
    let grown = match (told["before"].as_u64(), told["size"].as_u64()) {
        (None, _) => "seen for the first time: believed as it is".to_owned(),
        (Some(before), Some(size)) if before < size => {
            format!("{} more than before, and the rest as it was", size - before)
        }
        _ => "as before".to_owned(),
    };
    print::line(&format!("{}: {} entries, {grown}", told["origin"].as_str().unwrap_or_default(), told["size"]))
}

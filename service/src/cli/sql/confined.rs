//! The process that answers one question for a server (`upm sql --confined`): the question comes on standard input as JSON, and the answer leaves in the format
//! that is wanted, behind one line that says how long it is, or why there is none.
//!
//! It is made whole before its first byte is sent, because what is too large or takes too long is refused and never cut short; it waits here, and not in the
//! server, until whoever asked has taken it.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::sys::resource::{Resource, setrlimit};
use projector_sqlite::ask::{AnswerLimits, AskError, Param};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use super::ask_file;
use crate::answers::{Format, Text, TooLarge};
use crate::cli::CliError;
use crate::clock;

/// Bytes of an answer's values.
pub const VALUES_BYTES_MAX: usize = 16 << 20;
/// Bytes of an answer as it is sent: names of members and escapes come on top of the values.
pub const TEXT_BYTES_MAX: usize = 4 * VALUES_BYTES_MAX;
/// What a question may use: address space, which holds the program too.
const MEMORY_BYTES: u64 = 1 << 30;
/// Bytes of the files that it sorts in: of all of them together, and, where a single step writes more than it is looked at, of each.
const TEMPORARY_BYTES_MAX: u64 = 256 << 20;
/// How often it is looked at how large those files are.
const LOOK: Duration = Duration::from_millis(5);
/// Longest reason, characters.
const DETAIL_CHARS_MAX: usize = 2_000;
/// What is too large for the process in whatever way.
pub const TOO_MUCH: &str = "it needs more memory, time or disk than a question may use";

/// What a server asks.
#[derive(Debug, Serialize, Deserialize)]
pub struct Task {
    /// One SELECT statement, or `@name`.
    pub sql: String,
    /// Values of its parameters.
    pub params: BTreeMap<String, Value>,
    /// Rows that the answer may have.
    pub max_rows: usize,
    /// How long it may take, milliseconds.
    pub timeout_ms: u64,
    /// How the answer is written.
    pub format: Format,
    /// Entries of the log, which the tables may be behind.
    pub entries: u64,
}

/// The line before the answer.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Head {
    /// So many bytes follow.
    Bytes(u64),
    /// There is no answer.
    Refused {
        /// What kind of refusal it is: `views`, `not_allowed`, `limit` or `sql`.
        kind: String,
        /// Why.
        detail: String,
    },
}

/// The value of a parameter out of JSON, of the type that it has there.
pub fn param(raw: &RawValue) -> Result<Param, String> {
    let text = raw.get();
    match text.as_bytes().first() {
        Some(b'"') => serde_json::from_str(text).map(Param::Text).map_err(|error| error.to_string()),
        Some(b'n') => Ok(Param::Null),
        Some(b'-' | b'0'..=b'9') => {
            Param::number(text).ok_or_else(|| format!("found {text}, expected a number of at most 64 bits"))
        }
        _ => Err(format!("found {}, expected null, a number or a text", text.chars().take(64).collect::<String>())),
    }
}

/// The JSON of such a value.
pub fn param_json(param: &Param) -> Value {
    match param {
        Param::Null => Value::Null,
        Param::Integer(number) => (*number).into(),
        Param::Real(number) => (*number).into(),
        Param::Text(text) => text.as_str().into(),
    }
}

/// Reads the question, answers it out of `file`, and writes the answer.
pub fn answer(file: &Path) -> Result<ExitCode, CliError> {
    let cannot = |error: &dyn std::error::Error| CliError::because("can't answer the server", error);
    let mut asked = String::new();
    io::stdin().lock().read_to_string(&mut asked).map_err(|error| cannot(&error))?;
    let task: Task = serde_json::from_str(&asked).map_err(|error| cannot(&error))?;
    for (resource, most) in [
        (Resource::RLIMIT_AS, MEMORY_BYTES),
        (Resource::RLIMIT_FSIZE, TEMPORARY_BYTES_MAX),
        (Resource::RLIMIT_CPU, task.timeout_ms.div_ceil(1000) + 1),
    ] {
        setrlimit(resource, most, most).map_err(|error| cannot(&error))?;
    }
    let (head, text) = match written(file, task) {
        Ok(text) => (Head::Bytes(text.len() as u64), text),
        Err((kind, detail)) => {
            // SQLite repeats what it does not understand.
            let detail = detail.chars().take(DETAIL_CHARS_MAX).collect();
            (Head::Refused { kind: kind.to_owned(), detail }, Vec::new())
        }
    };
    let head = serde_json::to_string(&head).map_err(|error| cannot(&error))?;
    let mut out = io::stdout().lock();
    // A server that has hung up needs no answer.
    let _ = writeln!(out, "{head}").and_then(|()| out.write_all(&text)).and_then(|()| out.flush());
    Ok(ExitCode::SUCCESS)
}

fn written(file: &Path, task: Task) -> Result<Vec<u8>, (&'static str, String)> {
    let read = |(name, value): (String, Value)| {
        let raw = serde_json::value::to_raw_value(&value).map_err(|error| error.to_string())?;
        Ok((name, param(&raw)?))
    };
    let params = task.params.into_iter().map(read).collect::<Result<_, String>>().map_err(|error| ("sql", error))?;
    let limits = AnswerLimits { rows: task.max_rows, bytes: VALUES_BYTES_MAX };
    let mut text = Text::new(task.format, task.entries, TEXT_BYTES_MAX);
    let filled = Arc::new(AtomicBool::new(false));
    let go_on = patience(Duration::from_millis(task.timeout_ms), Arc::clone(&filled));
    match ask_file(file, (&task.sql, params), limits, go_on, &mut text) {
        Ok(()) => Ok(text.end()),
        Err(_) if filled.load(Ordering::Relaxed) => {
            let most = TEMPORARY_BYTES_MAX >> 20;
            Err(("limit", format!("stopped: its temporary files grew beyond {most} MiB; sort or collect less")))
        }
        Err(AskError::Sink(TooLarge)) => Err(("limit", AskError::<TooLarge>::Bytes(TEXT_BYTES_MAX).to_string())),
        Err(error) => Err((kind(&error), error.to_string())),
    }
}

/// Goes on until the time is over or the temporary files are too large, which `filled` then says.
fn patience(time: Duration, filled: Arc<AtomicBool>) -> impl FnMut() -> bool + Send + 'static {
    let (since, mut looked) = (clock::now(), Duration::ZERO);
    move || {
        let spent = since.elapsed();
        if spent.saturating_sub(looked) >= LOOK {
            looked = spent;
            filled.fetch_or(temporary_bytes() > TEMPORARY_BYTES_MAX, Ordering::Relaxed);
        }
        spent < time && !filled.load(Ordering::Relaxed)
    }
}

/// Bytes of our open files that have no name any more: `SQLite` removes its temporary files as soon as they are open.
fn temporary_bytes() -> u64 {
    let open = fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
    let files = open.filter_map(|file| fs::metadata(file.path()).ok());
    files.filter(|file| file.is_file() && file.nlink() == 0).map(|file| file.len()).sum()
}

/// What kind of refusal it is, for the API.
fn kind<E>(error: &AskError<E>) -> &'static str {
    match error {
        AskError::Views(_) => "views",
        AskError::Refused(_) | AskError::Several => "not_allowed",
        AskError::Stopped | AskError::Rows(_) | AskError::Bytes(_) | AskError::Value | AskError::Long { .. } => "limit",
        _ => "sql",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_keep_the_types_of_json() {
        let read = |text: &str| param(&RawValue::from_string(text.to_owned()).unwrap());
        assert_eq!(read("\"0042\""), Ok(Param::Text("0042".into())));
        assert_eq!(read("\"a\\u0000b\""), Ok(Param::Text("a\0b".into())));
        assert_eq!(read("42"), Ok(Param::Integer(42)));
        assert_eq!(read("-1.0"), Ok(Param::Real(-1.0)));
        assert_eq!(read("null"), Ok(Param::Null));
        for (text, expect) in [
            ("9223372036854775808", "at most 64 bits"),
            ("1e999", "at most 64 bits"),
            ("true", "expected null, a number or a text"),
            ("[1]", "found [1]"),
            ("{}", "found {}"),
        ] {
            let told = read(text).unwrap_err();
            assert!(told.contains(expect), "{text}: {told}");
        }
        for param in [Param::Null, Param::Integer(-7), Param::Real(2.0), Param::Text("1".into())] {
            assert_eq!(read(&param_json(&param).to_string()), Ok(param));
        }
    }

    #[test]
    fn files_without_a_name_are_counted() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(12_345_678).unwrap();
        assert!(temporary_bytes() >= 12_345_678);
    }
}

//! Questions in SQL, asked by anybody: one statement, read-only by construction, and bounded.
//!
//! Each question gets a connection of its own to one tenant's file. Nothing but reading that file can be compiled: an authorizer refuses every
//! action that is not a SELECT, a read of one of the file's tables or a harmless function, so there is no ATTACH, no PRAGMA, no writing and no
//! way to another file; beneath it the connection is read-only and `query_only`. What is compiled is bounded while it runs: by the caller's patience
//! ([`ask`]'s `go_on`), by rows and bytes of the answer, and by `SQLite`'s own limits on the length of any one value, so that `randomblob(1e9)` is an
//! error and not memory.
//!
//! Left out: clocks (the caller's `go_on` reads one), and formats of answers ([`Sink`] gets the values). `SQLite` sorts what does not fit into
//! its cache in unnamed files; whoever serves strangers bounds those with the process (`RLIMIT_FSIZE`).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::config::DbConfig;
use rusqlite::hooks::{AuthAction, AuthContext, Authorization};
use rusqlite::limits::Limit;
pub use rusqlite::types::ValueRef;
use rusqlite::{Connection, ErrorCode, OpenFlags, Statement};

use crate::error::ViewError;
use crate::saved::{SAVED, SavedError};
use crate::{TABLES, check_version, set_up};

/// Longest value that a question may make, bytes: a row of a documented table has a few kilobytes.
const VALUE_BYTES_MAX: i32 = 1_000_000;

/// Longest text of a question, bytes.
pub const SQL_BYTES_MAX: usize = 100_000;

/// Steps of the virtual machine between two times that the caller is asked whether to go on: about ten microseconds of plain work, and no more than a few hundred
/// values of [`VALUE_BYTES_MAX`] where each step writes one into a temporary file.
const STEPS: i32 = 500;

/// Page cache of a question, KiB; sorting spills into files beyond it.
const CACHE_KIB: i64 = 8 * 1024;

/// What `SQLite` says before the name of a table that there is not.
const NO_TABLE: &str = "no such table: ";

/// Table-valued functions that read nothing but their arguments.
const TABLE_FUNCTIONS: [&str; 2] = ["json_each", "json_tree"];

/// Functions that reach beyond their arguments.
const REFUSED_FUNCTIONS: [&str; 4] = ["load_extension", "fts3_tokenizer", "sqlite_log", "sqlite_offset"];

/// A question.
#[derive(Clone, Debug, Default)]
pub struct Question {
    /// One statement.
    pub sql: String,
    /// Values of its parameters, by name without the colon. More may be given than it has.
    pub params: BTreeMap<String, Param>,
}

/// A value of a parameter.
#[derive(Clone, Debug, PartialEq)]
pub enum Param {
    /// Nothing.
    Null,
    /// A whole number.
    Integer(i64),
    /// A number.
    Real(f64),
    /// A text.
    Text(String),
}

impl fmt::Display for Param {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => out.write_str("null"),
            Self::Integer(number) => number.fmt(out),
            Self::Real(number) => write!(out, "{number:?}"),
            Self::Text(text) => write!(out, "{:?}", text.chars().take(64).collect::<String>()),
        }
    }
}

impl Param {
    /// A parameter as somebody wrote it who did not say what it is: a number where that is how the number would be printed, so that `0042`, which is
    /// somebody's ID, and numbers that a column cannot hold stay the texts that they are.
    pub fn parse(text: &str) -> Self {
        let digits = text.strip_prefix('-').unwrap_or(text);
        let padded = digits.len() > 1 && digits.starts_with('0') && !digits.starts_with("0.");
        let number = if padded || text == "-0" { None } else { Self::number(text) };
        number.unwrap_or_else(|| Self::Text(text.to_owned()))
    }

    /// A number as JSON has them; none where it is not one, or a whole one of more than 64 bits.
    pub fn number(text: &str) -> Option<Self> {
        let digits = text.strip_prefix('-').unwrap_or(text);
        if !digits.starts_with(|first: char| first.is_ascii_digit()) {
            return None;
        }
        if digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return text.parse().ok().map(Self::Integer);
        }
        text.parse().ok().filter(|number: &f64| number.is_finite()).map(Self::Real)
    }
}

/// Whether a parameter may have this name: what can stand behind the colon.
pub fn is_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// The documented tables, by name.
pub fn tables() -> Vec<&'static str> {
    let mut tables: Vec<_> =
        TABLES.lines().filter_map(|line| line.strip_prefix("CREATE VIEW ")?.split(' ').next()).collect();
    tables.sort_unstable();
    tables
}

/// The saved questions in a line.
fn saved_names() -> String {
    SAVED.iter().map(|saved| format!("@{}", saved.name)).collect::<Vec<_>>().join(", ")
}

/// How large an answer may be.
#[derive(Clone, Copy, Debug)]
pub struct AnswerLimits {
    /// Rows.
    pub rows: usize,
    /// Bytes of all values.
    pub bytes: usize,
}

/// What the views covered when the question was asked: answer and cursors are of the same moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AsOf {
    /// Entries in `changes` and `events`.
    pub core: u64,
    /// Entries in the other tables.
    pub detail: u64,
}

/// Takes an answer, value by value.
pub trait Sink {
    /// What goes wrong while it takes one.
    type Error;

    /// The names of the columns, once, before any row.
    fn columns(&mut self, names: &[&str], as_of: AsOf) -> Result<(), Self::Error>;

    /// A row, as many values as there are columns.
    fn row(&mut self, values: &[ValueRef<'_>]) -> Result<(), Self::Error>;
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError<E> {
    /// The views could not be opened.
    #[error(transparent)]
    Views(ViewError),
    /// There is no statement.
    #[error("there is no question: expected one SELECT statement")]
    Empty,
    /// It is too long.
    #[error("the question has {found} bytes, expected at most {SQL_BYTES_MAX}")]
    Long {
        /// Its length.
        found: usize,
    },
    /// There is no such saved question.
    #[error("there is no saved question @{0}: there are {names}", names = saved_names())]
    Unknown(String),
    /// A parameter that a saved question does not have, or a value that is none.
    #[error("{0}")]
    Parameter(String),
    /// There is no such table.
    #[error("no such table: {0}: there are {known} (upm sql --schema describes them)", known = tables().join(", "))]
    NoTable(String),
    /// A text ends at a character of this number, as `SQLite` reads it.
    #[error("the question has a NUL character at byte {0}, expected none")]
    Nul(usize),
    /// There is more than one statement.
    #[error("expected one statement, found several")]
    Several,
    /// It does more than read this tenant's tables.
    #[error("refused: {0}; only SELECT over this tenant's tables is allowed")]
    Refused(String),
    /// `SQLite` does not understand it, or something went wrong in it.
    #[error("sql: {0}")]
    Sql(String),
    /// A parameter has no value.
    #[error("the parameter :{0} has no value: give it one")]
    NoValue(String),
    /// A parameter without a name.
    #[error("parameters need a name, as in :name; found {0:?}")]
    Unnamed(String),
    /// It was stopped.
    #[error(
        "stopped: it took too long; ask for less, or filter by an indexed column (entry, change, state, owner, initiator, environment)"
    )]
    Stopped,
    /// The answer has too many rows.
    #[error("the answer has more than {0} rows: add a LIMIT or a filter, or ask for more rows")]
    Rows(usize),
    /// The answer is too large.
    #[error("the answer has more than {0} bytes: ask for fewer columns or rows")]
    Bytes(usize),
    /// A value is too large.
    #[error("a value is too large: expected at most {VALUE_BYTES_MAX} bytes")]
    Value,
    /// The answer could not be passed on.
    #[error("the answer could not be passed on")]
    Sink(E),
}

impl<E> From<ViewError> for AskError<E> {
    fn from(error: ViewError) -> Self {
        Self::Views(error)
    }
}

impl<E> From<SavedError> for AskError<E> {
    fn from(error: SavedError) -> Self {
        match error {
            SavedError::Unknown(name) => Self::Unknown(name),
            SavedError::Parameter(text) => Self::Parameter(text),
        }
    }
}

/// Asks the views at `path`. `go_on` is asked whether to, some 100,000 times a second: it has to be quick.
pub fn ask<S: Sink>(
    path: &Path,
    question: &Question,
    limits: AnswerLimits,
    mut go_on: impl FnMut() -> bool + Send + 'static,
    sink: &mut S,
) -> Result<AsOf, AskError<S::Error>> {
    if question.sql.len() > SQL_BYTES_MAX {
        return Err(AskError::Long { found: question.sql.len() });
    }
    if let Some(place) = question.sql.find('\0') {
        return Err(AskError::Nul(place));
    }
    let (mut connection, as_of) = open(path)?;
    let refused = Arc::default();
    restrict(&mut connection, &refused).map_err(ViewError::from)?;
    connection.progress_handler(STEPS, Some(move || !go_on())).map_err(ViewError::from)?;
    let told = |error: rusqlite::Error| explain(&error, &refused);
    let mut statement = connection.prepare(&question.sql).map_err(told)?;
    if statement.expanded_sql().is_none() {
        return Err(AskError::Empty);
    }
    // VACUUM compiles without asking the authorizer; into another file it even passes for reading.
    if statement.column_count() == 0 || !statement.readonly() {
        return Err(AskError::Refused("it writes".to_owned()));
    }
    bind(&mut statement, question)?;
    sink.columns(&statement.column_names().collect::<Vec<_>>(), as_of).map_err(AskError::Sink)?;
    answer(&mut statement, limits, sink, &told)?;
    Ok(as_of)
}

/// A connection that reads one file, in a transaction whose cursors are known.
fn open(path: &Path) -> Result<(Connection, AsOf), ViewError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    set_up(&connection)?;
    check_version(&connection)?;
    connection.pragma_update(None, "query_only", true)?;
    connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
    connection.pragma_update(None, "temp_store", "file")?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DQS_DML, false)?;
    for (limit, most) in [
        (Limit::SQLITE_LIMIT_LENGTH, VALUE_BYTES_MAX),
        (Limit::SQLITE_LIMIT_COLUMN, 256),
        (Limit::SQLITE_LIMIT_EXPR_DEPTH, 200),
        (Limit::SQLITE_LIMIT_COMPOUND_SELECT, 50),
        (Limit::SQLITE_LIMIT_VDBE_OP, 200_000),
        (Limit::SQLITE_LIMIT_FUNCTION_ARG, 100),
        (Limit::SQLITE_LIMIT_ATTACHED, 0),
        (Limit::SQLITE_LIMIT_LIKE_PATTERN_LENGTH, 1_000),
        (Limit::SQLITE_LIMIT_VARIABLE_NUMBER, 100),
        (Limit::SQLITE_LIMIT_TRIGGER_DEPTH, 0),
        (Limit::SQLITE_LIMIT_WORKER_THREADS, 0),
    ] {
        connection.set_limit(limit, most)?;
    }
    connection.execute_batch("BEGIN")?;
    let cursor =
        |name: &str| connection.query_row("SELECT next_index FROM cursors WHERE name = ?1", [name], |row| row.get(0));
    let as_of = AsOf { core: cursor("core")?, detail: cursor("detail")? };
    Ok((connection, as_of))
}

/// From here on the connection compiles nothing but reading; what it refuses it notes.
fn restrict(connection: &mut Connection, refused: &Arc<Mutex<Option<String>>>) -> rusqlite::Result<()> {
    let mut tables: BTreeSet<String> = TABLE_FUNCTIONS.map(str::to_owned).into();
    tables.extend(["sqlite_schema".to_owned(), "sqlite_master".to_owned()]);
    {
        let mut statement = connection.prepare("SELECT name FROM sqlite_schema WHERE type IN ('table', 'view')")?;
        for name in statement.query_map([], |row| row.get(0))? {
            tables.insert(name?);
        }
    }
    let note = Arc::clone(refused);
    connection.authorizer(Some(move |context: AuthContext<'_>| match refusal(&context.action, &tables) {
        None => Authorization::Allow,
        Some(what) => {
            note.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(what);
            Authorization::Deny
        }
    }))
}

/// What is wrong with an action; none where it only reads.
fn refusal(action: &AuthAction<'_>, tables: &BTreeSet<String>) -> Option<String> {
    match action {
        // Without a column nothing but the number of rows is read; so are tables of the question's own (WITH).
        AuthAction::Select | AuthAction::Recursive | AuthAction::Read { column_name: "", .. } => None,
        AuthAction::Read { table_name, .. } if tables.contains(*table_name) => None,
        AuthAction::Read { table_name, .. } => Some(format!("it reads {table_name}")),
        AuthAction::Function { function_name } if REFUSED_FUNCTIONS.contains(function_name) => {
            Some(format!("it calls {function_name}"))
        }
        AuthAction::Function { .. } => None,
        AuthAction::Attach { .. } | AuthAction::Detach { .. } => Some("it reaches for another file".to_owned()),
        AuthAction::Pragma { pragma_name, .. } => Some(format!("it is PRAGMA {pragma_name}")),
        AuthAction::Transaction { .. } | AuthAction::Savepoint { .. } => Some("it is about transactions".to_owned()),
        AuthAction::CreateVtable { module_name, .. } => Some(format!("it makes a table of {module_name}")),
        _ => Some("it writes".to_owned()),
    }
}

/// Gives every parameter its value.
fn bind<E>(statement: &mut Statement<'_>, question: &Question) -> Result<(), AskError<E>> {
    for place in 1..=statement.parameter_count() {
        let name = statement.parameter_name(place).unwrap_or("?").to_owned();
        let bare = name.get(1..).filter(|bare| !bare.is_empty() && !name.starts_with('?'));
        let bare = bare.ok_or_else(|| AskError::Unnamed(name.clone()))?;
        let value = question.params.get(bare).ok_or_else(|| AskError::NoValue(bare.to_owned()))?;
        let bound = match value {
            Param::Null => statement.raw_bind_parameter(place, rusqlite::types::Null),
            Param::Integer(number) => statement.raw_bind_parameter(place, number),
            Param::Real(number) => statement.raw_bind_parameter(place, number),
            Param::Text(text) => statement.raw_bind_parameter(place, text),
        };
        bound.map_err(|error| AskError::Sql(error.to_string()))?;
    }
    Ok(())
}

fn answer<S: Sink>(
    statement: &mut Statement<'_>,
    limits: AnswerLimits,
    sink: &mut S,
    told: &impl Fn(rusqlite::Error) -> AskError<S::Error>,
) -> Result<(), AskError<S::Error>> {
    let columns = statement.column_count();
    let mut rows = statement.raw_query();
    let (mut count, mut bytes) = (0, 0);
    while let Some(row) = rows.next().map_err(told)? {
        count += 1;
        if count > limits.rows {
            return Err(AskError::Rows(limits.rows));
        }
        let values: Result<Vec<ValueRef<'_>>, _> = (0..columns).map(|column| row.get_ref(column)).collect();
        let values = values.map_err(told)?;
        bytes += values.iter().map(size).sum::<usize>();
        if bytes > limits.bytes {
            return Err(AskError::Bytes(limits.bytes));
        }
        sink.row(&values).map_err(AskError::Sink)?;
    }
    Ok(())
}

fn size(value: &ValueRef<'_>) -> usize {
    8 + match value {
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => bytes.len(),
        _ => 0,
    }
}

/// What an error of `SQLite` means to whoever asked.
fn explain<E>(error: &rusqlite::Error, refused: &Mutex<Option<String>>) -> AskError<E> {
    if let Some(what) = refused.lock().unwrap_or_else(PoisonError::into_inner).take() {
        return AskError::Refused(what);
    }
    match error {
        rusqlite::Error::MultipleStatement => AskError::Several,
        rusqlite::Error::SqlInputError { error, msg, offset, .. } => match error.code {
            ErrorCode::OperationInterrupted => AskError::Stopped,
            _ if *offset >= 0 => AskError::Sql(format!("{msg} (at character {offset})")),
            _ => in_words(msg),
        },
        rusqlite::Error::SqliteFailure(error, said) => match error.code {
            ErrorCode::OperationInterrupted => AskError::Stopped,
            ErrorCode::TooBig => AskError::Value,
            _ => in_words(&said.clone().unwrap_or_else(|| error.to_string())),
        },
        other => AskError::Sql(other.to_string()),
    }
}

fn in_words<E>(said: &str) -> AskError<E> {
    said.strip_prefix(NO_TABLE)
        .map_or_else(|| AskError::Sql(said.to_owned()), |table| AskError::NoTable(table.to_owned()))
}

#[cfg(test)]
mod tests;

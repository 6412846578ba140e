//! The argv guard: a command line becomes the arguments of one command or of a pipeline, or is refused with what was found, where and why.
//!
//! Nothing here is a shell. The language is the small part of a shell's that every shell reads alike: words with spaces and tabs between
//! them, `'…'` and `"…"` around what is meant literally, `|` between commands. Whatever a shell would make more of is refused, not
//! passed on: who approves a line must not have to know which of two readings was meant. Outside quotes only printable ASCII stands;
//! inside, everything that can be seen, a line break and a tab.
//!
//! Left of the first pipe stands a tool that the catalogue pins, by its bare name; right of it one of the model's allow-list, with
//! options that are known to read standard input and files below the working directory, and to write standard output alone ([`filter`]).
//!
//! Whatever is accepted is the same when rendered and parsed again (a property test and a fuzz target hold it). What is left to the
//! executor: finding the program, its version and digest, a clean environment (jq reads `$HOME/.jq`), a working directory that holds
//! no links to elsewhere.

pub mod filter;
mod jq;

use std::fmt::Write as _;

use crate::catalogue::Catalogue;
use schemas::canonicals;

/// The longest line. A plan's event holds many.
pub const LINE_BYTES: usize = 16 * 1024;

/// Commands of one pipeline.
pub const STAGES: usize = 8;

/// A command, and what its output goes through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pipeline {
    /// At least one; each has at least its program's name.
    pub commands: Vec<Vec<String>>,
}

/// Why a line is not run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{found:?} at byte {at}: {reason}")]
pub struct Refusal {
    /// The meta, character, option or program.
    pub found: String,
    /// Where it begins in the line, in bytes from 0.
    pub at: usize,
    /// What is wrong with it.
    pub reason: Reason,
}

/// What is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// A shell would act on it.
    #[error("a shell meta ({0}); there is no shell here. Quote it if it is meant as text")]
    Meta(&'static str),
    /// Expanded even between double quotes.
    #[error("{0}, even between double quotes; use single quotes if it is meant as text")]
    InDoubleQuotes(&'static str),
    /// Outside quotes.
    #[error("outside quotes only printable ASCII may stand, because other characters can look like it; quote it")]
    NotAscii,
    /// Anywhere.
    #[error("it can't be seen, or steers the terminal, so what is shown would not be what is run")]
    Unseen,
    /// A quote without its end.
    #[error("the quote is not closed")]
    Open,
    /// Nothing between two pipes, or at an end.
    #[error("a command is missing here")]
    NoCommand,
    /// A limit.
    #[error("at most {0}")]
    TooMuch(String),
    /// `NAME=value` in front.
    #[error("variables are not set on a command line; a clean environment is the executor's")]
    Assignment,
    /// Not a pinned tool.
    #[error("not a pinned tool of the catalogue; those are {0}")]
    NotPinned(String),
    /// The tool's own refusals in the catalogue.
    #[error("the catalogue refuses this for {program}: {reason}")]
    Tool {
        /// The tool's program.
        program: String,
        /// As the catalogue says.
        reason: String,
    },
    /// Behind a pipe.
    #[error("a pipe may only lead into {0}, by their bare names")]
    NotAllowed(String),
    /// An option or operand behind a pipe.
    #[error("{program} behind a pipe: {reason}")]
    Filter {
        /// Which of the allow-list.
        program: String,
        /// Why not.
        reason: String,
    },
}

/// Reads a line; the tools are those of the catalogue.
pub fn parse(line: &str, catalogue: &Catalogue) -> Result<Pipeline, Refusal> {
    let stages = words(line)?;
    let mut commands = Vec::with_capacity(stages.len());
    for (place, stage) in stages.iter().enumerate() {
        if place == 0 {
            pinned(stage, catalogue)?;
        } else {
            filtered(stage)?;
        }
        commands.push(stage.iter().map(|word| word.text.clone()).collect());
    }
    Ok(Pipeline { commands })
}

impl Pipeline {
    /// The line, with quotes only where they are needed.
    pub fn render(&self) -> String {
        self.commands.iter().map(|argv| render(argv)).collect::<Vec<_>>().join(" | ")
    }
}

/// One command as a line.
pub fn render(argv: &[String]) -> String {
    argv.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ")
}

/// A word as it stands in a line: bare, between double quotes as people write them, or between single quotes.
fn quoted(word: &str) -> String {
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    if !word.contains(['"', '$', '`', '\\', '!']) {
        return format!("\"{word}\"");
    }
    // A single quote can't stand between single quotes, and a backslash can't stand outside them here.
    let pieces: Vec<String> =
        word.split('\'').map(|piece| if piece.is_empty() { String::new() } else { format!("'{piece}'") }).collect();
    pieces.join("\"'\"")
}

/// What means itself in every shell, wherever it stands.
fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || "_@%+=:,./-^".contains(c)
}

/// Whether a character is unseen or changes how others are seen.
pub fn is_invisible(c: char) -> bool {
    matches!(u32::from(c),
        0x85 | 0xad | 0x34f | 0x61c | 0x115f..=0x1160 | 0x17b4..=0x17b5 | 0x180b..=0x180f | 0x200b..=0x200f | 0x2028..=0x202e
        | 0x2060..=0x206f | 0x2800 | 0x3164 | 0xfe00..=0xfe0f | 0xfeff | 0xffa0 | 0xfff0..=0xfffb | 0x1d173..=0x1d17a
        | 0xe0000..=0xe0fff)
        || (c.is_whitespace() && !c.is_ascii())
}

/// Whether a text can be a program's bare name.
pub fn is_program(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.len() <= 64
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "._+-".contains(c))
}

/// A word, and where it begins.
#[derive(Debug, Clone, Default)]
struct Word {
    text: String,
    at: usize,
}

type Stage = Vec<Word>;

/// The words between pipes.
fn words(line: &str) -> Result<Vec<Stage>, Refusal> {
    if line.len() > LINE_BYTES {
        return refuse("…", LINE_BYTES, Reason::TooMuch(format!("{LINE_BYTES} bytes in a line")));
    }
    let mut reader = Reader { line, at: 0, word: None, stages: vec![Stage::new()] };
    while let Some(c) = reader.peek() {
        reader.step(c)?;
    }
    reader.end_word();
    reader.end_stage(line.len())?;
    Ok(reader.stages)
}

fn refuse<T>(found: &str, at: usize, reason: Reason) -> Result<T, Refusal> {
    Err(Refusal { found: found.to_owned(), at, reason })
}

struct Reader<'a> {
    line: &'a str,
    at: usize,
    word: Option<Word>,
    stages: Vec<Stage>,
}

impl Reader<'_> {
    fn peek(&self) -> Option<char> {
        self.line[self.at..].chars().next()
    }

    fn step(&mut self, c: char) -> Result<(), Refusal> {
        match c {
            ' ' | '\t' => {
                self.end_word();
                self.at += 1;
                Ok(())
            }
            '\'' | '"' => self.quote(c),
            '|' if !self.line[self.at..].starts_with("||") && !self.line[self.at..].starts_with("|&") => self.pipe(),
            c if is_plain(c) => {
                self.push(c);
                self.at += 1;
                Ok(())
            }
            _ => self.bare(c),
        }
    }

    fn pipe(&mut self) -> Result<(), Refusal> {
        self.end_word();
        self.end_stage(self.at)?;
        if self.stages.len() == STAGES {
            return refuse("|", self.at, Reason::TooMuch(format!("{STAGES} commands in a pipeline")));
        }
        self.stages.push(Stage::new());
        self.at += 1;
        Ok(())
    }

    fn bare(&mut self, c: char) -> Result<(), Refusal> {
        if let Some((meta, purpose)) = self.meta() {
            return refuse(meta, self.at, Reason::Meta(purpose));
        }
        if c.is_control() || is_invisible(c) {
            return refuse(&c.to_string(), self.at, Reason::Unseen);
        }
        if !c.is_ascii() {
            return refuse(&c.to_string(), self.at, Reason::NotAscii);
        }
        self.push(c);
        self.at += 1;
        Ok(())
    }

    /// The meta that begins here, the longest first.
    fn meta(&self) -> Option<(&'static str, &'static str)> {
        let rest = &self.line[self.at..];
        let found = METAS.iter().find(|(meta, _)| rest.starts_with(meta));
        // A comment begins a word; elsewhere it is text.
        found.copied().filter(|(meta, _)| *meta != "#" || self.word.is_none())
    }

    fn quote(&mut self, quote: char) -> Result<(), Refusal> {
        let begins = self.at;
        self.word.get_or_insert_with(|| Word { text: String::new(), at: begins });
        self.at += 1;
        loop {
            let Some(c) = self.peek() else { return refuse(&quote.to_string(), begins, Reason::Open) };
            if c == quote {
                self.at += 1;
                return Ok(());
            }
            if (c.is_control() && !matches!(c, '\n' | '\t')) || is_invisible(c) {
                return refuse(&c.to_string(), self.at, Reason::Unseen);
            }
            if quote == '"'
                && let Some((_, purpose)) = IN_DOUBLE_QUOTES.iter().find(|(live, _)| *live == c)
            {
                return refuse(&c.to_string(), self.at, Reason::InDoubleQuotes(purpose));
            }
            self.push(c);
            self.at += c.len_utf8();
        }
    }

    fn push(&mut self, c: char) {
        let at = self.at;
        self.word.get_or_insert_with(|| Word { text: String::new(), at }).text.push(c);
    }

    fn end_word(&mut self) {
        if let (Some(word), Some(stage)) = (self.word.take(), self.stages.last_mut()) {
            stage.push(word);
        }
    }

    fn end_stage(&self, at: usize) -> Result<(), Refusal> {
        match self.stages.last() {
            Some(stage) if !stage.is_empty() => Ok(()),
            _ => refuse(self.line.get(at..).and_then(|rest| rest.get(..1)).unwrap_or_default(), at, Reason::NoCommand),
        }
    }
}

/// What shells act on outside quotes, longer ones before their beginnings.
const METAS: [(&str, &str); 36] = [
    ("&&", "it joins commands"),
    ("||", "it joins commands"),
    ("|&", "it pipes errors too"),
    ("&>", "it redirects"),
    ("&", "it starts a command in the background"),
    (";", "it joins commands"),
    ("\r\n", "a line break ends a command"),
    ("\n", "a line break ends a command"),
    ("\r", "a line break ends a command"),
    ("<<<", "it redirects"),
    ("<<", "it redirects"),
    ("<(", "it runs a command in place of a file"),
    ("<", "it redirects"),
    (">>", "it redirects"),
    (">(", "it runs a command in place of a file"),
    (">&", "it redirects"),
    (">|", "it redirects"),
    (">", "it redirects"),
    ("$((", "it is replaced by a sum"),
    ("$(", "it is replaced by a command's output"),
    ("${", "it is replaced by a variable"),
    ("$'", "a quote with escapes"),
    ("$\"", "a quote that is translated"),
    ("$", "it is replaced by a variable"),
    ("`", "it is replaced by a command's output"),
    ("\\", "it takes the meaning from what follows"),
    ("(", "it starts a subshell"),
    (")", "it ends a subshell"),
    ("{", "it is expanded to several words"),
    ("}", "it ends an expansion"),
    ("*", "it is replaced by names of files"),
    ("?", "it is replaced by names of files"),
    ("[", "it is replaced by names of files"),
    ("~", "it is replaced by somebody's home"),
    ("!", "it is replaced from the history, or turns a result round"),
    ("#", "it begins a comment"),
];

const IN_DOUBLE_QUOTES: [(char, &str); 3] = [
    ('$', "shells replace what it begins"),
    ('`', "shells replace what it begins"),
    ('\\', "shells do not agree on what it means"),
];

fn pinned(stage: &Stage, catalogue: &Catalogue) -> Result<(), Refusal> {
    let Some((program, arguments)) = stage.split_first() else { return refuse("", 0, Reason::NoCommand) };
    let Some(tool) = catalogue.tool_of(&program.text) else {
        let is_assignment = program.text.split_once('=').is_some_and(|(name, _)| is_variable(name));
        let known: Vec<&str> = catalogue.tools.values().map(|tool| tool.program.as_str()).collect();
        let reason = if is_assignment { Reason::Assignment } else { Reason::NotPinned(known.join(", ")) };
        return refuse(&program.text, program.at, reason);
    };
    let texts: Vec<&str> = arguments.iter().map(|word| word.text.as_str()).collect();
    if let Some(found) = tool.stranger(&texts).map(|place| &arguments[place]) {
        let reason = "no command of its own that may be run, and it would look for a program of that name; its command comes first, options behind it";
        return refuse(
            &found.text,
            found.at,
            Reason::Tool { program: tool.program.clone(), reason: reason.to_owned() },
        );
    }
    for word in arguments {
        if let Some(reason) = tool.refuses(&word.text) {
            let reason = Reason::Tool { program: tool.program.clone(), reason: reason.to_owned() };
            return refuse(&word.text, word.at, reason);
        }
    }
    Ok(())
}

fn is_variable(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "_+".contains(c))
}

fn filtered(stage: &Stage) -> Result<(), Refusal> {
    let argv: Vec<&str> = stage.iter().map(|word| word.text.as_str()).collect();
    match filter::check(&argv) {
        Ok(()) => Ok(()),
        Err(filter::Wrong::Program) => {
            refuse(argv[0], stage[0].at, Reason::NotAllowed(canonicals::get().pipe_allow_list.join(", ")))
        }
        Err(filter::Wrong::Argument { place, reason }) => {
            let reason = Reason::Filter { program: argv[0].to_owned(), reason };
            refuse(argv[place], stage[place].at, reason)
        }
    }
}

/// The refusal with the line under it and a mark below the place, for a terminal.
pub fn pointed_at(line: &str, refusal: &Refusal) -> String {
    let before = line.get(..refusal.at).map_or(0, |text| text.chars().count());
    let shown: String = line.chars().map(|c| if c.is_control() || is_invisible(c) { '\u{fffd}' } else { c }).collect();
    let mut out = String::new();
    // Writing into a string has no way to fail.
    let _ = write!(out, "{shown}\n{}^ {refusal}", " ".repeat(before));
    out
}

#[cfg(test)]
mod tests;

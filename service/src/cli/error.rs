//! What a command says when it does not succeed, and how it is printed.

use std::error::Error;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::process::ExitCode;

use super::client::print;
use crate::redact;

/// Why a command did not succeed. The variant decides the exit code, so that scripts can tell "no" from "don't know".
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// The question was answered, and the answer is no: rejected, refuted, not found, unhealthy. Exit code 1.
    #[error("{line}")]
    No {
        /// The reason in one line.
        line: String,
        /// More lines for a person; may be empty.
        detail: String,
    },
    /// It could not be done: usage, I/O, a server that is not there. Exit code 2.
    #[error("{line}")]
    CouldNot {
        /// The reason in one line.
        line: String,
        /// More lines for a person; may be empty.
        detail: String,
    },
}

impl CliError {
    /// The answer is no (exit code 1).
    pub fn no(line: impl Into<String>) -> Self {
        Self::No { line: line.into(), detail: String::new() }
    }

    /// It could not be done (exit code 2).
    pub fn could_not(line: impl Into<String>) -> Self {
        Self::CouldNot { line: line.into(), detail: String::new() }
    }

    /// It could not be done because of `cause`: the line is `what: cause`, the detail the chain of causes behind it.
    pub fn because(what: impl AsRef<str>, cause: &dyn Error) -> Self {
        Self::CouldNot { line: format!("{}: {cause}", what.as_ref()), detail: causes(cause) }
    }

    /// It could not be done, and the error says it all: its own words are the line.
    pub fn of(cause: &dyn Error) -> Self {
        Self::CouldNot { line: cause.to_string(), detail: causes(cause) }
    }

    /// The same error with `text` as its detail.
    #[must_use]
    pub fn with_detail(self, text: impl Into<String>) -> Self {
        match self {
            Self::No { line, .. } => Self::No { line, detail: text.into() },
            Self::CouldNot { line, .. } => Self::CouldNot { line, detail: text.into() },
        }
    }

    /// 1 for no, 2 for could not.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.code())
    }

    /// Prints to standard error: `upm: <line>`, then the detail; with `json`, one object
    /// `{"error": line, "detail": text, "exit": 1|2}`.
    pub fn print(&self, json: bool) {
        write_error(&self.render(json));
    }

    fn code(&self) -> u8 {
        match self {
            Self::No { .. } => 1,
            Self::CouldNot { .. } => 2,
        }
    }

    fn render(&self, json: bool) -> String {
        let (Self::No { line, detail } | Self::CouldNot { line, detail }) = self;
        let (line, detail) = (redact::urls(line), redact::urls(detail));
        if json {
            let error = serde_json::json!({ "error": line, "detail": detail, "exit": self.code() });
            return print::clean_json(&error.to_string());
        }
        // The first line is the whole reason: a newline inside it would break that promise.
        let line = print::clean(&line.replace(['\n', '\r'], " "));
        let detail = print::clean_lines(&detail);
        if detail.is_empty() { format!("upm: {line}") } else { format!("upm: {line}\n{detail}") }
    }
}

/// Prints lines to standard error that are no error of a command, as safely as one.
pub fn say(text: &str) {
    write_error(&print::clean_lines(&redact::urls(text)));
}

/// Prints an event to standard error for further use: what steers is escaped, nothing else is touched.
pub fn say_event(json: &[u8]) {
    write_error(&print::clean_json(&String::from_utf8_lossy(json)));
}

/// Nobody is left to tell where standard error is closed or full; the exit code still says it.
fn write_error(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// What lies behind an error, a line each.
fn causes(error: &dyn Error) -> String {
    let mut lines = String::new();
    let mut last = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        let text = inner.to_string();
        // Many errors already print their source; saying it twice helps nobody.
        if !last.contains(&text) {
            let _ = writeln!(lines, "caused by: {text}");
        }
        last = text;
        source = inner.source();
    }
    lines.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(error: &CliError, text: &str, json: &str) {
        assert_eq!(error.render(false), text);
        assert_eq!(error.render(true), json);
    }

    #[test]
    fn an_error_is_one_line_then_the_detail() {
        check(
            &CliError::no("change c-1 is not in tenant acme"),
            "upm: change c-1 is not in tenant acme",
            r#"{"detail":"","error":"change c-1 is not in tenant acme","exit":1}"#,
        );
        check(
            &CliError::could_not("two\nlines").with_detail("more"),
            "upm: two lines\nmore",
            r#"{"detail":"more","error":"two\nlines","exit":2}"#,
        );
    }

    #[test]
    fn no_password_and_nothing_that_steers_is_printed() {
        check(
            &CliError::could_not("no road nats://u:hunter2@h:1 \u{1b}[31m")
                .with_detail("a\u{202e}b\nhttp://v:hunter2@h"),
            "upm: no road nats://***@h:1 \\u{1b}[31m\na\\u{202e}b\nhttp://***@h",
            r#"{"detail":"a\u202eb\nhttp://***@h","error":"no road nats://***@h:1 \u001b[31m","exit":2}"#,
        );
    }

    #[test]
    fn causes_are_named_once() {
        #[derive(Debug, thiserror::Error)]
        #[error("outer")]
        struct Outer(#[source] std::io::Error);
        let error = CliError::because("can't open x", &Outer(std::io::Error::other("disk is gone")));
        assert_eq!(error.render(false), "upm: can't open x: outer\ncaused by: disk is gone");
    }
}

//! What a command says when it does not succeed, and how it is printed.

use std::error::Error;
use std::fmt::Write as _;
use std::process::ExitCode;

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
        eprintln!("{}", self.render(json));
    }

    fn code(&self) -> u8 {
        match self {
            Self::No { .. } => 1,
            Self::CouldNot { .. } => 2,
        }
    }

    fn render(&self, json: bool) -> String {
        let (Self::No { line, detail } | Self::CouldNot { line, detail }) = self;
        if json {
            return serde_json::json!({ "error": line, "detail": detail, "exit": self.code() }).to_string();
        }
        // The first line is the whole reason: a newline inside it would break that promise.
        let line = line.replace(['\n', '\r'], " ");
        if detail.is_empty() { format!("upm: {line}") } else { format!("upm: {line}\n{detail}") }
    }
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
    fn causes_are_named_once() {
        #[derive(Debug, thiserror::Error)]
        #[error("outer")]
        struct Outer(#[source] std::io::Error);
        let error = CliError::because("can't open x", &Outer(std::io::Error::other("disk is gone")));
        assert_eq!(error.render(false), "upm: can't open x: outer\ncaused by: disk is gone");
    }
}

//! Why a file did not become events. Each variant says what was found and what was expected.

use crate::split::Document;
use schemas::admit::Rejection;
use schemas::reason::Reason;

/// Why [`crate::adapt`] gave nothing. `line` counts the file's lines from 1.
#[derive(Debug, thiserror::Error)]
pub enum AdaptError {
    /// No bytes but white space.
    #[error("the file is empty; expected a JSON document")]
    Empty,
    /// Not strict JSON.
    #[error("line {line}: {} at {}: found {}, expected {}", .rejection.reason.as_str(), place(&.rejection.path), .rejection.found, .rejection.expected)]
    Unreadable {
        /// Where the document starts.
        line: usize,
        /// What the scan says.
        rejection: Box<Rejection>,
    },
    /// JSON, but not what the adapter takes.
    #[error("this is not what {program} takes (line {line}, {}): found {found}; expected {expected}", place(.path))]
    Unexpected {
        /// The adapter.
        program: String,
        /// Where the document starts.
        line: usize,
        /// JSON pointer, empty for the document.
        path: String,
        /// What stands there.
        found: String,
        /// What should.
        expected: String,
    },
    /// A required field that neither the document nor a flag gives.
    #[error("the document says no {flag} (line {line}): add --{flag}")]
    Missing {
        /// Where the document starts.
        line: usize,
        /// Both the field and the flag.
        flag: String,
    },
    /// The program does not compile.
    #[error("{program}, line {line}: {what}")]
    Program {
        /// The program.
        program: String,
        /// Line of the program, from 1.
        line: usize,
        /// What is wrong there.
        what: String,
    },
    /// The program stopped with an error of its own.
    #[error("{program} failed on the document at line {line}: {what}")]
    Failed {
        /// The program.
        program: String,
        /// Where the document starts.
        line: usize,
        /// What it said.
        what: String,
    },
    /// The program ended without an event.
    #[error(
        "{program} made no event of the document at line {line}; expected at least one {{\"provisioning_event\": …}}"
    )]
    Nothing {
        /// The program.
        program: String,
        /// Where the document starts.
        line: usize,
    },
    /// The program does not end.
    #[error("{program} made more than {} events of the document at line {line}", crate::MAX_EVENTS_A_DOCUMENT)]
    TooMany {
        /// The program.
        program: String,
        /// Where the document starts.
        line: usize,
    },
    /// The program's event would be rejected.
    #[error("the event {program} made of the document at line {line} would be rejected, {} at {}: found {}, expected {}{}", .rejection.reason.as_str(), place(&.rejection.path), .rejection.found, .rejection.expected, .largest)]
    Refused {
        /// The program.
        program: String,
        /// Where the document starts.
        line: usize,
        /// What admission says.
        rejection: Box<Rejection>,
        /// For an event that is too large: the sections that make it so.
        largest: String,
    },
}

impl AdaptError {
    pub(crate) fn refused(program: &str, line: usize, rejection: Rejection, event: &[u8]) -> Self {
        let largest = match rejection.reason {
            Reason::TooLarge => largest_sections(event),
            _ => String::new(),
        };
        Self::Refused { program: program.to_owned(), line, rejection: Box::new(rejection), largest }
    }

    /// The runner knows documents by number only; people know lines.
    pub(crate) fn at_line_of(mut self, documents: &[Document]) -> Self {
        if let Self::Unexpected { line, .. }
        | Self::Missing { line, .. }
        | Self::Failed { line, .. }
        | Self::Nothing { line, .. }
        | Self::TooMany { line, .. } = &mut self
        {
            *line = documents.get(*line).map_or(*line, |document| document.line);
        }
        self
    }
}

fn place(path: &str) -> &str {
    if path.is_empty() { "the document" } else { path }
}

/// The three largest members of the event, one level into its additional section: what to leave out with a program.
fn largest_sections(event: &[u8]) -> String {
    let Ok(serde_json::Value::Object(document)) = serde_json::from_slice(event) else {
        return String::new();
    };
    let mut sizes = Vec::new();
    let sections = document.get("provisioning_event").and_then(serde_json::Value::as_object);
    for (name, section) in sections.into_iter().flatten() {
        match section {
            serde_json::Value::Object(members) => {
                sizes.extend(members.iter().map(|(m, value)| (value.to_string().len(), format!("{name}.{m}"))));
            }
            other => sizes.push((other.to_string().len(), name.clone())),
        }
    }
    sizes.sort_by(|a, b| b.cmp(a));
    let named: Vec<String> = sizes.iter().take(3).map(|(size, name)| format!("{name} ({size} bytes)")).collect();
    format!(
        "; the largest parts are {}; a program of your own (--program) can leave out what you need not keep",
        named.join(", ")
    )
}

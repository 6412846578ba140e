//! Printing what came from events. Whoever can publish can choose these texts, so nothing in them may move a cursor, change a
//! colour, or reorder what a person reads.

use std::fmt::Write as _;
use std::io::{self, IsTerminal as _, Write as _};

use projector::unseen::is_unseen;
use serde::Serialize;

use crate::cli::CliError;
use crate::env;

/// How a story looks: coloured and broken to the width of a terminal, plain in a file or a pipe.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    /// Colours are wanted.
    pub colours: bool,
    /// Characters of a line; `None`: as long as it is.
    pub width: Option<usize>,
}

/// What a colour says; it never says anything that the words do not.
#[derive(Clone, Copy, Debug)]
pub enum Paint {
    /// It held.
    Good,
    /// It did not.
    Bad,
    /// It was taken back.
    Warn,
    /// Neither.
    Quiet,
    /// A heading.
    Strong,
}

impl Look {
    /// For standard output as it is: colours on a terminal unless `NO_COLOR` is set (no-color.org) or it cannot show any.
    pub fn of_stdout() -> Self {
        if !io::stdout().is_terminal() {
            return Self::plain();
        }
        let dumb = env::var("TERM").is_some_and(|term| term == "dumb");
        let width = terminal_size::terminal_size().map(|(width, _)| usize::from(width.0));
        Self { colours: env::var("NO_COLOR").is_none() && !dumb, width }
    }

    /// Without colours, and lines as long as they are.
    pub fn plain() -> Self {
        Self { colours: false, width: None }
    }

    /// The text in a colour. It has to be clean.
    pub fn paint(self, paint: Paint, text: &str) -> String {
        if !self.colours {
            return text.to_owned();
        }
        let code = match paint {
            Paint::Good => "32",
            Paint::Bad => "31",
            Paint::Warn => "33",
            Paint::Quiet => "2",
            Paint::Strong => "1",
        };
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    }

    /// A line of `head` and `text`; what does not fit into the width goes on below the beginning of the text.
    pub fn hang(self, head: &str, text: &str) -> String {
        let indent = visible(head);
        // Below a dozen characters nobody reads a column.
        let room = self.width.map(|width| width.saturating_sub(indent)).filter(|room| *room >= 12);
        let Some(room) = room else { return format!("{head}{text}\n") };
        let mut out = head.to_owned();
        let mut used = 0;
        for word in text.split(' ') {
            let mut rest: Vec<char> = word.chars().collect();
            if used > 0 && used + 1 + rest.len() > room {
                let _ = write!(out, "\n{}", " ".repeat(indent));
                used = 0;
            } else if used > 0 {
                out.push(' ');
                used += 1;
            }
            while rest.len() > room {
                out.extend(rest.drain(..room));
                let _ = write!(out, "\n{}", " ".repeat(indent));
            }
            used += rest.len();
            out.extend(rest);
        }
        out.push('\n');
        out
    }
}

/// Characters that are seen: all but our own colours.
fn visible(text: &str) -> usize {
    let mut count = 0;
    let mut inside = false;
    for c in text.chars() {
        match c {
            '\u{1b}' => inside = true,
            'm' if inside => inside = false,
            _ if inside => {}
            _ => count += 1,
        }
    }
    count
}

/// The text on one line, with everything unseen written as `\u{1b}`.
pub fn clean(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if is_unseen(c) {
            let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
        } else {
            out.push(c);
        }
    }
    out
}

/// [`clean`], at most `width` characters, with `…` where something is missing.
pub fn short(text: &str, width: usize) -> String {
    let text = clean(text);
    if text.chars().count() <= width {
        return text;
    }
    let mut cut: String = text.chars().take(width.saturating_sub(1)).collect();
    cut.push('…');
    cut
}

/// Text of several lines, each of them clean.
pub fn clean_lines(text: &str) -> String {
    let lines: Vec<String> = text.lines().map(clean).collect();
    lines.join("\n")
}

/// JSON text with everything unseen as `\u001b`. The line ends of pretty JSON stay: inside strings there are none.
pub fn clean_json(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c != '\n' && is_unseen(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                let _ = write!(out, "\\u{unit:04x}");
            }
        } else {
            out.push(c);
        }
    }
    out
}

/// Prints a value as JSON over several lines.
pub fn json<T: Serialize>(value: &T) -> Result<(), CliError> {
    let text = serde_json::to_string_pretty(value).map_err(|error| CliError::because("can't print JSON", &error))?;
    line(&clean_json(&text))
}

/// Prints a value as JSON on one line.
pub fn json_line<T: Serialize>(value: &T) -> Result<(), CliError> {
    let text = serde_json::to_string(value).map_err(|error| CliError::because("can't print JSON", &error))?;
    line(&clean_json(&text))
}

/// Prints JSON text that is to be used further, on one line: its bytes where the output is a file or a pipe, clean on a terminal.
pub fn raw_line(text: &str) -> Result<(), CliError> {
    if io::stdout().is_terminal() { line(&clean_json(text)) } else { line(text) }
}

/// Prints text and a line end to standard output. That a reader like `head` has gone away is no failure.
pub fn line(text: &str) -> Result<(), CliError> {
    let mut out = io::stdout().lock();
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(CliError::because("can't write to standard output", &error))
        }
        _ => Ok(()),
    }
}

/// Prints text as it is to standard output, which is to be a file or a pipe; on a terminal clean and with a line end.
pub fn raw(text: &str) -> Result<(), CliError> {
    if io::stdout().is_terminal() {
        return line(&clean_json(text));
    }
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(CliError::because("can't write to standard output", &error))
        }
        _ => Ok(()),
    }
}

/// Prints lines as they are to a file or a pipe; on a terminal clean.
pub fn raw_lines(text: &str) -> Result<(), CliError> {
    if io::stdout().is_terminal() { line(&clean_lines(text)) } else { raw(text) }
}

/// Rows as columns, each as wide as its widest cell, two spaces apart. Cells are cleaned, the last column is left ragged.
pub fn columns(rows: &[Vec<String>]) -> String {
    let rows: Vec<Vec<String>> = rows.iter().map(|row| row.iter().map(|cell| clean(cell)).collect()).collect();
    let count = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..count).map(width).collect();
    let mut out = String::new();
    for row in &rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            let pad = width - cell.chars().count() + 2;
            let _ = write!(line, "{cell}{}", " ".repeat(pad));
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out.truncate(out.trim_end_matches('\n').len());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_steers_the_terminal() {
        for (text, expect) in [
            ("plain é 日本 🚀", "plain é 日本 🚀"),
            ("\u{1b}]0;owned\u{7}", "\\u{1b}]0;owned\\u{7}"),
            ("a\r\nb\tc", "a\\u{d}\\u{a}b\\u{9}c"),
            ("\u{9b}2J\u{7f}", "\\u{9b}2J\\u{7f}"),
            ("refused\u{202e}devorppa", "refused\\u{202e}devorppa"),
            ("a\u{200b}\u{feff}\u{e0041}", "a\\u{200b}\\u{feff}\\u{e0041}"),
        ] {
            assert_eq!(clean(text), expect);
        }
        assert_eq!(clean_lines("a\nb\u{1b}[31m"), "a\nb\\u{1b}[31m");
    }

    #[test]
    fn json_stays_json_and_means_the_same() {
        let value = serde_json::json!({"a": "\u{1b}\u{9b}\u{202e}\u{e0041}\n", "é": 1});
        let text = clean_json(&serde_json::to_string_pretty(&value).unwrap());
        assert!(text.chars().all(|c| c == '\n' || !is_unseen(c)), "{text:?}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap(), value);
    }

    #[test]
    fn short_text_ends_with_an_ellipsis() {
        assert_eq!(short("abcdef", 6), "abcdef");
        assert_eq!(short("abcdefg", 6), "abcde…");
        assert_eq!(short("", 0), "");
    }

    #[test]
    fn columns_line_up() {
        let rows = [vec!["a".into(), "bb".into()], vec!["ccc".into(), "d\u{7}".into()], vec!["e".into()]];
        assert_eq!(columns(&rows), "a    bb\nccc  d\\u{7}\ne");
        assert_eq!(columns(&[]), "");
    }
}

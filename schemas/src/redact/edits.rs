//! Writes marks over places; every other byte stays.

use std::sync::LazyLock;

use super::table::{RuleId, TABLE};
use crate::scan::Token;

/// A place to mask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Edit {
    start: u32,
    end: u32,
    rule: RuleId,
    /// What is replaced is no string, so the mark brings its own quotes.
    quoted: bool,
    /// Token of the member name that it is in.
    pub(super) name: Option<u32>,
}

impl Edit {
    /// Part of a string.
    pub(super) const fn inside(start: u32, end: u32, rule: RuleId) -> Self {
        Self { start, end, rule, quoted: false, name: None }
    }

    /// A whole number or boolean.
    pub(super) const fn scalar(token: Token, rule: RuleId) -> Self {
        Self { start: token.start, end: token.end, rule, quoted: true, name: None }
    }
}

/// Copies a document with its edits, which are in order and apart, into `out`. With `numbered`, marks in member names
/// get a number, so that two names that become one mark stay two.
pub(super) fn apply(document: &[u8], edits: &[Edit], numbered: bool, out: &mut Vec<u8>) {
    out.clear();
    let mut from = 0;
    for edit in edits {
        let (start, end) = (edit.start as usize, edit.end as usize);
        out.extend_from_slice(&document[from..start]);
        if edit.quoted {
            out.push(b'"');
        }
        out.extend_from_slice(TABLE.marks[edit.rule].as_bytes());
        if edit.quoted {
            out.push(b'"');
        }
        if let (true, Some(name)) = (numbered, edit.name) {
            out.extend_from_slice(format!("~{name}").as_bytes());
        }
        from = end;
    }
    out.extend_from_slice(&document[from..]);
}

/// Number of `[masked:RULE]` marks in bytes, whoever wrote them.
pub(super) fn count(bytes: &[u8]) -> u32 {
    static BEGIN: LazyLock<memchr::memmem::Finder<'static>> =
        LazyLock::new(|| memchr::memmem::Finder::new(b"[masked:"));
    let mut marks = 0;
    for at in BEGIN.find_iter(bytes) {
        let rest = &bytes[at + 8..];
        let rule = rest.iter().take_while(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-')).count();
        marks += u32::from(rule > 0 && rest.get(rule) == Some(&b']'));
    }
    marks
}

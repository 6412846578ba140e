//! Secrets in text: what the patterns find, and the value after every quoted name that means a secret.
//!
//! Works on bytes that need be neither UTF-8 nor JSON. Quotes are not paired from the start, because one quote too many
//! would turn the inside out: every quote may open a name.

use super::table::{Bits, RuleId, TABLE, Table};
use crate::scan;

/// Bytes to be replaced by a rule's mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) rule: RuleId,
}

/// The rules whose triggers stand in a text.
pub(super) fn bits(text: &[u8]) -> Bits {
    let mut all = 0;
    TABLE.triggers(&text.to_ascii_lowercase(), |_, bits| all |= bits);
    all
}

/// Adds what the rules find, in no order and perhaps overlapping.
pub(super) fn find(text: &[u8], bits: Bits, spans: &mut Vec<Span>) {
    let table = &*TABLE;
    for (rule, text_rule) in table.text.iter().enumerate().filter(|(rule, _)| bits >> rule & 1 == 1) {
        let mut from = 0;
        while let Some(groups) = text_rule.pattern.captures_at(text, from) {
            let Some(whole) = groups.get(0) else { break };
            let secret = groups.iter().skip(1).flatten().next().unwrap_or(whole);
            from = if table.is_untouched(secret.as_bytes()) {
                // What was taken for the value may be the next option: read on from there.
                secret.start().saturating_sub(1).max(whole.start() + 1)
            } else {
                spans.push(Span { start: secret.start(), end: secret.end(), rule });
                secret.end().max(whole.start() + 1)
            };
            if from > text.len() {
                break;
            }
        }
    }
    let by_names = [table.by_name.0, table.kubernetes.0, table.terraform.0, table.cloudtrail.0, table.docker.0];
    if bits & by_names.iter().fold(0, |all, bits| all | bits) != 0 {
        named(text, table, bits, spans);
    }
}

/// Sorts, and joins what overlaps under the rule that begins first.
pub(super) fn join(spans: &mut Vec<Span>) {
    spans.sort_by_key(|span| (span.start, std::cmp::Reverse(span.end)));
    spans.dedup_by(|next, kept| {
        let overlap = next.start < kept.end || (next.start == kept.start && next.end == kept.end);
        if overlap {
            kept.end = kept.end.max(next.end);
        }
        overlap
    });
}

/// Names whose value is a secret because of something else in the text.
struct Extra<'a> {
    names: Vec<(&'a str, RuleId)>,
}

impl<'a> Extra<'a> {
    fn new(text: &[u8], table: &'a Table, bits: Bits) -> Self {
        let mut names = Vec::new();
        let contains = |word: &str| memchr::memmem::find(text, word.as_bytes()).is_some();
        let manifest = &table.manifest;
        let kinds = || manifest.kinds.iter().chain(&manifest.lists);
        if bits & table.kubernetes.0 != 0
            && (kinds().any(|kind| member_is(text, "kind", kind)) || member_is(text, "resource", &manifest.resource))
        {
            names.extend(manifest.members.iter().map(|name| (name.as_str(), table.kubernetes.1)));
        }
        if bits & table.terraform.0 != 0 {
            let pairs = table.sensitive_pairs.iter().filter(|(_, mark)| contains(mark));
            names.extend(pairs.map(|(value, _)| (value.as_str(), table.terraform.1)));
            let (value, flag) = &table.sensitive_flag;
            if member_is(text, flag, "true") {
                names.push((value.as_str(), table.terraform.1));
            }
        }
        if bits & table.cloudtrail.0 != 0 && contains(&table.credentials.parent) {
            names.push((table.credentials.member.as_str(), table.cloudtrail.1));
        }
        if bits & table.docker.0 != 0 && contains(&table.registries.parent) {
            names.push((table.registries.member.as_str(), table.docker.1));
        }
        Self { names }
    }
}

/// Whether `"name": value` stands in the text, however often it was escaped.
fn member_is(text: &[u8], name: &str, value: &str) -> bool {
    let between = |byte: &&u8| matches!(byte, b'"' | b'\\' | b':' | b' ' | b'\t' | b'\n' | b'\r');
    memchr::memmem::find_iter(text, name.as_bytes()).any(|at| {
        let rest = &text[at + name.len()..];
        let skip = rest.iter().take_while(between).count();
        let ends = |rest: &[u8]| !rest.first().is_some_and(u8::is_ascii_alphanumeric);
        skip > 0 && rest[skip..].strip_prefix(value.as_bytes()).is_some_and(ends)
    })
}

/// The value after every quoted name that means a secret.
fn named(text: &[u8], table: &Table, bits: Bits, spans: &mut Vec<Span>) {
    let extra = Extra::new(text, table, bits);
    let mut quotes = memchr::memchr_iter(b'"', text).peekable();
    while let Some(open) = quotes.next() {
        let Some(&close) = quotes.peek() else { break };
        let Some(value) = after_colon(text, close + 1) else { continue };
        let name = scan::decode(&text[open + 1..close]);
        let name = name.trim_end_matches(['\\', char::REPLACEMENT_CHARACTER]);
        let known = extra.names.iter().find(|(known, _)| *known == name).map(|(_, rule)| *rule);
        let secret = known.or_else(|| table.names.secret(name).map(|_| table.by_name.1));
        if let Some(rule) = secret {
            let level = text[..close].iter().rev().take_while(|&&byte| byte == b'\\').count();
            let (start, end) = value_span(text, value, level);
            if start < end && !table.is_untouched(&text[start..end]) {
                spans.push(Span { start, end, rule });
                // What is inside is masked with it; looking again would cost the square of a deep nesting.
                while quotes.next_if(|&quote| quote < end).is_some() {}
            }
        }
    }
}

fn after_colon(text: &[u8], at: usize) -> Option<usize> {
    let colon = skip_space(text, at);
    (text.get(colon) == Some(&b':')).then(|| skip_space(text, colon + 1))
}

fn skip_space(text: &[u8], at: usize) -> usize {
    let space = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\n' | b'\r');
    at + text.get(at..).unwrap_or_default().iter().take_while(|byte| space(byte)).count()
}

/// The value that begins at `at`; one without an end goes to the end of the text. `level` is how many backslashes a
/// quote has that delimits: one more for each time the JSON was put into a string.
fn value_span(text: &[u8], at: usize, level: usize) -> (usize, usize) {
    let first = at + text[at..].iter().take_while(|&&byte| byte == b'\\').count();
    match text.get(first) {
        Some(b'"') => (first + 1, end_of_string(text, first + 1, level)),
        Some(b'{' | b'[') => (first, end_of_container(text, first, level)),
        _ => {
            let bare = |byte: &&u8| !matches!(byte, b',' | b'}' | b']' | b' ' | b'\t' | b'\n' | b'\r');
            (first, first + text[first..].iter().take_while(bare).count())
        }
    }
}

/// Position of the quote that ends a string, less the backslashes that belong to it.
fn end_of_string(text: &[u8], from: usize, level: usize) -> usize {
    let mut run = 0;
    for (at, &byte) in text.iter().enumerate().skip(from) {
        match byte {
            b'\\' => run += 1,
            b'"' if delimits(run, level) => return at - if level == 0 { 0 } else { run },
            _ => run = 0,
        }
    }
    text.len()
}

fn delimits(run: usize, level: usize) -> bool {
    if level == 0 { run.is_multiple_of(2) } else { run <= level }
}

fn end_of_container(text: &[u8], from: usize, level: usize) -> usize {
    let (mut depth, mut run, mut inside) = (0_usize, 0, false);
    for (at, &byte) in text.iter().enumerate().skip(from) {
        match byte {
            b'\\' => {
                run += 1;
                continue;
            }
            b'"' if delimits(run, level) => inside = !inside,
            b'{' | b'[' if !inside => depth += 1,
            b'}' | b']' if !inside => {
                depth -= 1;
                if depth == 0 {
                    return at + 1;
                }
            }
            _ => {}
        }
        run = 0;
    }
    text.len()
}

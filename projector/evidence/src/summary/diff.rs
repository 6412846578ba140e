//! `plan/N-diff.txt`: how the plan of entry N differs from the one recorded before it, within an attempt or between two.
//!
//! Compared is what the plan digest is taken of, a line for each value; so two plans differ here exactly where an approval of one is none of
//! the other.

use std::fmt::Write as _;

use serde_json::Value;

use crate::parts::{PackFile, number};
use crate::text::visible;

/// Most pairs of lines that are held against each other. Beyond, all lines between the common beginning and the common end are exchanged.
const PAIRS_MAX: usize = 250_000;

/// One plan after another.
pub(crate) struct Change {
    /// The entry with the plan.
    pub(crate) index: u64,
    /// Its attempt.
    attempt: u64,
    /// Its digest.
    digest: String,
    /// Place, entry, attempt and digest of the plan before it.
    before: Before,
    /// None where it is the same.
    lines: Option<Vec<(Mark, String)>>,
}

#[derive(Clone)]
struct Before {
    place: usize,
    index: u64,
    attempt: u64,
    digest: String,
}

/// An entry of the change, and its payload.
#[derive(Clone, Copy)]
pub(crate) struct At<'a> {
    /// Its position among the change's entries.
    pub(crate) place: usize,
    /// Its index in the log.
    pub(crate) index: u64,
    pub(crate) attempt: u64,
    pub(crate) payload: &'a [u8],
}

/// What became of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mark {
    Kept,
    Removed,
    Added,
}

impl Mark {
    fn sign(self) -> char {
        match self {
            Self::Kept => ' ',
            Self::Removed => '-',
            Self::Added => '+',
        }
    }
}

/// Holds each plan against the one before it.
#[derive(Default)]
pub(crate) struct Differ {
    last: Option<(Before, Vec<String>)>,
}

impl Differ {
    /// Takes the change's next entry, in the order of the log. None where it has no plan, or is the first that has one.
    pub(crate) fn next(&mut self, at: At<'_>) -> Option<Change> {
        let At { place, index, attempt, payload } = at;
        let digest = schemas::plan::digest(payload)?;
        let subject = schemas::plan::subject(payload)?;
        let lines = lines(&serde_json::from_slice(&subject).unwrap_or_default());
        let change = self.last.as_ref().map(|(before, old)| {
            let differs = before.digest != digest;
            let lines = differs.then(|| compare(old, &lines));
            Change { index, attempt, digest: digest.clone(), before: before.clone(), lines }
        });
        self.last = Some((Before { place, index, attempt, digest }, lines));
        change
    }
}

/// The file of the difference between two entries' plans; none where it is the same, or one of them has none.
pub(crate) fn between(before: At<'_>, now: At<'_>) -> Option<PackFile> {
    let mut differ = Differ::default();
    differ.next(before);
    differ.next(now)?.file()
}

impl Change {
    /// The place and the attempt of the plan before it.
    pub(crate) fn against(&self) -> (usize, u64) {
        (self.before.place, self.before.attempt)
    }

    /// The entry whose plan this one is held against.
    pub(crate) fn before(&self) -> u64 {
        self.before.index
    }

    /// The lines that were removed or added, each with its sign, shown; none where the plan is the same.
    pub(crate) fn changed(&self) -> impl Iterator<Item = (Mark, String)> {
        let lines = self.lines.iter().flatten().filter(|(mark, _)| *mark != Mark::Kept);
        lines.map(|(mark, line)| (*mark, format!("{} {}", mark.sign(), visible(line))))
    }

    /// Its file; none where the plan is the same.
    pub(crate) fn file(&self) -> Option<PackFile> {
        let lines = self.lines.as_ref()?;
        let (before, n) = (&self.before, number(self.index));
        let mut text = format!(
            "--- entry {} attempt {} {}\n+++ entry {n} attempt {} {}\n",
            number(before.index),
            before.attempt,
            before.digest,
            self.attempt,
            self.digest
        );
        for (mark, line) in lines {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{}{}", mark.sign(), visible(line));
        }
        Some((format!("plan/{n}-diff.txt"), text.into_bytes()))
    }
}

/// What has a word of its own: the word, where a digest of version 1 covers it, and where one of the whole plan does.
const WORDS: [(&str, &str, &str); 8] = [
    ("environment", "/environment", "/environment"),
    ("cloud", "/target/cloud", "/target/cloud"),
    ("endpoint", "/target/cluster_endpoint_id", "/target/cluster_endpoint_id"),
    ("resource", "/target/resources", "/target/resources"),
    ("command", "/commands", "/plan/commands"),
    ("graph", "/dependency_graph", "/plan/dependency_graph"),
    ("artifact", "/artifacts", "/plan/artifacts"),
    ("rollback", "/rollback_plan", "/rollback/plan"),
];

/// A line for each value, in a fixed order.
fn lines(subject: &Value) -> Vec<String> {
    let is_whole = schemas::plan::is_whole(&subject["v"]);
    let mut out = Vec::new();
    for (word, first, whole) in WORDS {
        add(&mut out, word, subject.pointer(if is_whole { whole } else { first }));
    }
    if is_whole {
        add(&mut out, "class", subject.get("change_class"));
        for section in ["plan", "rollback", "target"] {
            rest(&mut out, section, &subject[section]);
        }
    }
    out
}

/// What else a section of a whole plan has, in the order of the names.
fn rest(out: &mut Vec<String>, section: &str, value: &Value) {
    let Value::Object(members) = value else { return add(out, section, Some(value).filter(|value| !value.is_null())) };
    let mut names: Vec<&String> = members.keys().collect();
    names.sort();
    for name in names {
        let pointer = format!("/{section}/{name}");
        if WORDS.iter().all(|(_, _, known)| *known != pointer) {
            add(out, &format!("{section}.{name}"), members.get(name));
        }
    }
}

fn add(out: &mut Vec<String>, word: &str, value: Option<&Value>) {
    let items = match value {
        None => return,
        Some(Value::Array(items)) => items.as_slice(),
        Some(one) => std::slice::from_ref(one),
    };
    out.extend(items.iter().map(|item| format!("{word}: {}", shown(item))));
}

/// A text as it is, anything else as RFC 8785.
fn shown(value: &Value) -> String {
    // It fails only for numbers that JSON does not have.
    value.as_str().map_or_else(|| serde_json_canonicalizer::to_string(value).unwrap_or_default(), str::to_owned)
}

/// The longest common lines kept; before each of them what was removed, as soon as removing leaves no fewer to keep, else what was added.
fn compare(old: &[String], new: &[String]) -> Vec<(Mark, String)> {
    let begin = old.iter().zip(new).take_while(|(a, b)| a == b).count();
    let (old_rest, new_rest) = (&old[begin..], &new[begin..]);
    let end = old_rest.iter().rev().zip(new_rest.iter().rev()).take_while(|(a, b)| a == b).count();
    let (removed, added) = (&old_rest[..old_rest.len() - end], &new_rest[..new_rest.len() - end]);
    let keep = |lines: &[String]| lines.iter().map(|line| (Mark::Kept, line.clone())).collect::<Vec<_>>();
    let mut out = keep(&old[..begin]);
    out.extend(middle(removed, added));
    out.extend(keep(&old_rest[old_rest.len() - end..]));
    out
}

fn middle(old: &[String], new: &[String]) -> Vec<(Mark, String)> {
    if old.len().saturating_mul(new.len()) > PAIRS_MAX {
        let removed = old.iter().map(|line| (Mark::Removed, line.clone()));
        return removed.chain(new.iter().map(|line| (Mark::Added, line.clone()))).collect();
    }
    let common = common(old, new);
    let width = new.len() + 1;
    let (mut i, mut j, mut out) = (0, 0, Vec::new());
    while i < old.len() || j < new.len() {
        if i < old.len() && j < new.len() && old[i] == new[j] {
            out.push((Mark::Kept, old[i].clone()));
            (i, j) = (i + 1, j + 1);
        } else if j == new.len() || (i < old.len() && common[(i + 1) * width + j] >= common[i * width + j + 1]) {
            out.push((Mark::Removed, old[i].clone()));
            i += 1;
        } else {
            out.push((Mark::Added, new[j].clone()));
            j += 1;
        }
    }
    out
}

/// At `i * (new.len() + 1) + j`: how many lines of `old[i..]` and `new[j..]` can be kept.
fn common(old: &[String], new: &[String]) -> Vec<u32> {
    let width = new.len() + 1;
    let mut out = vec![0_u32; (old.len() + 1) * width];
    for i in (0..old.len()).rev() {
        for j in (0..new.len()).rev() {
            out[i * width + j] = if old[i] == new[j] {
                out[(i + 1) * width + j + 1] + 1
            } else {
                out[(i + 1) * width + j].max(out[i * width + j + 1])
            };
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(sections: &str) -> Vec<u8> {
        format!(r#"{{"provisioning_event":{{{sections}}}}}"#).into_bytes()
    }

    #[track_caller]
    fn check(old: &str, new: &str, expect: &str) {
        let payloads = [plan(old), plan(new)];
        let at = |place: usize| At { place, index: place as u64, attempt: 1, payload: &payloads[place] };
        let text = between(at(0), at(1)).map(|(name, bytes)| {
            assert_eq!(name, "plan/0000000001-diff.txt");
            String::from_utf8(bytes).unwrap().lines().skip(2).flat_map(|line| [line, "\n"]).collect::<String>()
        });
        assert_eq!(text.unwrap_or_else(|| "the same".to_owned()), expect);
    }

    #[test]
    fn what_an_approval_binds_is_compared() {
        check(r#""plan":{"commands":["a"]}"#, r#""plan":{"commands":["a"],"impact":{}}"#, "the same");
        check(
            r#""environment":"prod","target":{"cloud":"azure","resources":[{"b":1,"a":"x"}]},"plan":{"commands":["a","b","c"]}"#,
            r#""environment":"stage","target":{"cloud":"azure","resources":[{"a":"x","b":2}]},"plan":{"commands":["b","a","c"]},"rollback":{"plan":["u"]}"#,
            "-environment: prod\n+environment: stage\n cloud: azure\n-resource: {\"a\":\"x\",\"b\":1}\n-command: a\n\
             +resource: {\"a\":\"x\",\"b\":2}\n command: b\n+command: a\n command: c\n+rollback: u\n",
        );
        // A plan that is covered whole, where an approval binds all of it.
        check(
            r#""change_class":"normal","target":{"zone":"a"},"plan":{"digest_version":2,"commands":["a"],"steps":[{"id":"a"},{"id":"b"}],"compile_ms":1},"rollback":{"plan":["u"]}"#,
            r#""target":{"zone":"a"},"plan":{"digest_version":2,"commands":["a"],"steps":[{"id":"a"},{"id":"c"}],"compile_ms":2,"window":"w"},"rollback":{"plan":["u"],"left":[]}"#,
            " command: a\n rollback: u\n-class: normal\n plan.digest_version: 2\n plan.steps: {\"id\":\"a\"}\n-plan.steps: {\"id\":\"b\"}\n\
             +plan.steps: {\"id\":\"c\"}\n+plan.window: w\n target.zone: a\n",
        );
        check(
            r#""plan":{"commands":["x\u202e"]}"#,
            r#""plan":{"commands":["x\\u{202e}"]}"#,
            "-command: x\\u{202e}\n+command: x\\u{202e}\n",
        );
    }

    #[test]
    fn two_long_plans_are_exchanged_whole() {
        let old: Vec<String> = (0..600).map(|n| format!("old {n}")).collect();
        let mut new: Vec<String> = (0..600).map(|n| format!("new {n}")).collect();
        new[300] = old[300].clone();
        let made = compare(&old, &new);
        assert_eq!(made.iter().filter(|(mark, _)| *mark == Mark::Kept).count(), 0);
        let made = compare(&old[..400], &new[..400]);
        assert_eq!(made.iter().filter(|(mark, _)| *mark == Mark::Kept).count(), 1);
        assert_eq!(made.iter().filter(|(mark, _)| *mark == Mark::Removed).count(), 399);
    }

    #[test]
    fn the_header_names_both() {
        let payloads = [plan(r#""plan":{"commands":["a"]}"#), plan(r#""plan":{"commands":["b"]}"#)];
        let at = |place: usize, index, attempt| At { place, index, attempt, payload: &payloads[place] };
        let text = String::from_utf8(between(at(0, 3, 1), at(1, 12, 2)).unwrap().1).unwrap();
        let digests = payloads.map(|payload| schemas::plan::digest(&payload).unwrap());
        assert!(text.starts_with(&format!(
            "--- entry 0000000003 attempt 1 {}\n+++ entry 0000000012 attempt 2 {}\n",
            digests[0], digests[1]
        )));
    }
}

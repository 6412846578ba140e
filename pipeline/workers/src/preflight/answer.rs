//! What the answers of reading commands mean: whether something is there, what is left of a quota, which version a tool has.

use serde_json::Value;

use crate::catalogue::When;

use super::planned::Look;

/// The longest piece of an output that is quoted, in characters.
const QUOTED: usize = 160;

/// What came of a command.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answer {
    /// Its exit code; `None` if it was not started or did not end by itself.
    pub code: Option<u64>,
    /// Standard output, as text.
    pub stdout: String,
    /// Standard error, as text.
    pub stderr: String,
    /// Why it was not started or ended, in a clause: no such program, a time limit.
    pub problem: Option<String>,
}

/// Whether a resource is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Presence {
    /// It is.
    There,
    /// It is not.
    Absent,
    /// Nobody knows, and why.
    Unknown(String),
}

impl Presence {
    /// Whether somebody knows.
    pub fn is_known(&self) -> bool {
        !matches!(self, Self::Unknown(_))
    }

    /// `there`, `absent` or `unknown`.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::There => "there",
            Self::Absent => "absent",
            Self::Unknown(_) => "unknown",
        }
    }
}

impl Answer {
    /// What it shows, in a clause for people, masked and shortened.
    pub fn shown(&self) -> String {
        if let Some(problem) = &self.problem {
            return problem.clone();
        }
        let code = self.code.map_or("no exit code".to_owned(), |code| format!("exit code {code}"));
        let text = if self.stderr.trim().is_empty() { &self.stdout } else { &self.stderr };
        let text = quoted(text);
        if text.is_empty() { code } else { format!("{code}: {text}") }
    }

    /// Whether what was looked for is there.
    pub fn presence(&self, look: &Look) -> Presence {
        let Some(code) = self.code else { return Presence::Unknown(self.shown()) };
        let printed = self.stdout.trim();
        if code == 0 {
            let there = match &look.when {
                When::Success => true,
                When::Prints(text) => printed == text,
                When::PrintsOtherThan(text) => printed != text,
            };
            return if there { Presence::There } else { Presence::Absent };
        }
        let absent = &look.absent;
        let says = absent.says.as_ref().is_some_and(|text| self.stderr.contains(text.as_str()));
        // A check that answers in words has failed if it failed; one without words of its own says no by failing.
        let plain = look.when == When::Success && absent.code.is_none() && absent.says.is_none();
        if plain || absent.code == Some(code) || says { Presence::Absent } else { Presence::Unknown(self.shown()) }
    }
}

/// Text for people: its first line with something on it, masked, without what can't be seen.
fn quoted(text: &str) -> String {
    let line = text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
    let (masked, _) = schemas::redact::mask_text(line);
    let clean: String =
        masked.chars().filter(|c| !c.is_control() && !crate::argv::is_invisible(*c) || *c == ' ').collect();
    if clean.chars().count() > QUOTED { clean.chars().take(QUOTED - 1).chain(['…']).collect() } else { clean }
}

/// The version in what a tool prints: the first number with dots.
pub fn version(text: &str) -> Option<&str> {
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        if !bytes[at].is_ascii_digit() {
            at += 1;
            continue;
        }
        let end = at + text[at..].find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len() - at);
        let found = text[at..end].trim_end_matches('.');
        let before = text[..at].chars().next_back();
        // `v1.2` is a version, `go1.2` that of something else.
        let apart = before.is_none_or(|c| !c.is_alphanumeric())
            || (before == Some('v') && text[..at - 1].chars().next_back().is_none_or(|c| !c.is_alphanumeric()));
        if apart && found.contains('.') {
            return Some(found);
        }
        at = end;
    }
    None
}

/// Whether a version is the pinned one: equal, or going on with a dot.
pub fn is_pinned(found: &str, pinned: &str) -> bool {
    found.strip_prefix(pinned).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// What is known of a quota.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Room {
    /// In use.
    pub used: Option<u64>,
    /// In all.
    pub limit: Option<u64>,
}

/// Reads what the catalogue's quota commands print:
///
/// - a list of `{"name": {"value"}, "currentValue", "limit"}` (`az … list-usage`);
/// - `{"items": [{"status": {"hard", "used"}}]}` (`kubectl get resourcequota`), of which the tightest counts; no items: no limit;
/// - `{"Quota": {"Value"}}` (`aws service-quotas`), a limit without usage;
/// - a number, usage without limit.
///
/// `None` where it is none of these, or does not name the quota.
pub fn room(quota: &str, text: &str) -> Option<Room> {
    if let Ok(used) = text.trim().parse() {
        return Some(Room { used: Some(used), limit: None });
    }
    let value: Value = serde_json::from_str(text).ok()?;
    if let Some(usages) = value.as_array() {
        return usages
            .iter()
            .find(|usage| is_named(usage, quota))
            .map(|usage| Room { used: number(&usage["currentValue"]), limit: number(&usage["limit"]) });
    }
    if let Some(limit) = value.pointer("/Quota/Value") {
        return Some(Room { used: None, limit: number(limit) });
    }
    let items = value.get("items")?.as_array()?;
    let rooms = items.iter().filter_map(|item| {
        let status = item.get("status")?;
        let limit = number(status.get("hard")?.get(quota)?)?;
        let used = status.get("used").and_then(|used| number(used.get(quota)?)).unwrap_or(0);
        Some((used, limit))
    });
    let tightest = rooms.min_by_key(|(used, limit)| limit.saturating_sub(*used));
    Some(tightest.map_or(Room::default(), |(used, limit)| Room { used: Some(used), limit: Some(limit) }))
}

/// `standardDSv2Family vCPUs` is the usage of value `standardDSv2Family`.
fn is_named(usage: &Value, quota: &str) -> bool {
    let value = usage.pointer("/name/value").and_then(Value::as_str);
    let localized = usage.pointer("/name/localizedValue").and_then(Value::as_str);
    value.is_some_and(|value| quota == value || quota.split(' ').next() == Some(value)) || localized == Some(quota)
}

/// A whole number, also in quotes; a fraction is floored.
fn number(value: &Value) -> Option<u64> {
    match value {
        Value::Number(number) => number.as_u64().or_else(|| {
            let number = number.as_f64().filter(|number| (0.0..9e15).contains(number))?;
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and 2^53")]
            Some(number as u64)
        }),
        Value::String(text) => text.parse().ok(),
        _ => None,
    }
}

//! When a plan may run: the one reading of `plan.window`, for anomalies, rows and measures.

use std::collections::BTreeMap;

use schemas::event::Any;

/// Names of its first second, and of its last; the first of them that is there counts.
const ENDS: [[&str; 3]; 2] = [["start", "from", "not_before"], ["end", "to", "not_after"]];

/// A window as a plan gives it: an object with two ends, or `start/end` as ISO 8601 writes an interval. Any other form has no ends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Window {
    /// From when on, as sent.
    pub from: Option<String>,
    /// Until when, as sent.
    pub to: Option<String>,
}

impl Window {
    /// Reads what a plan gives; `None` where nothing of it is an end.
    pub(super) fn read(given: Any<'_>) -> Option<Self> {
        let [from, to] = if let Some(text) = given.read::<String>() {
            text.split_once('/').map(|(from, to)| [from, to].map(|end| Some(end.trim().to_owned())))?
        } else {
            let members: BTreeMap<String, Any<'_>> = given.read()?;
            ENDS.map(|names| names.iter().find_map(|name| members.get(*name)?.read::<String>()))
        };
        (from.is_some() || to.is_some()).then_some(Self { from, to })
    }

    /// Its first and its last second. `None` where an end is missing or no time of RFC 3339: nobody can judge by it then.
    pub fn seconds(&self) -> Option<(i64, i64)> {
        let seconds = |end: &Option<String>| schemas::time::seconds(end.as_deref()?);
        Some((seconds(&self.from)?, seconds(&self.to)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form() {
        let check = |text: &str, ends: Option<[Option<&str>; 2]>, judged: bool| {
            let window = Window::read(serde_json::from_str(text).unwrap());
            assert_eq!(window.as_ref().map(|window| [window.from.as_deref(), window.to.as_deref()]), ends, "{text}");
            assert_eq!(window.and_then(|window| window.seconds()).is_some(), judged, "{text}");
        };
        let (a, b) = ("2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z");
        let both = Some([Some(a), Some(b)]);
        for [from, to] in [["start", "end"], ["from", "to"], ["not_before", "not_after"], ["start", "to"]] {
            check(&format!(r#"{{"{from}": "{a}", "{to}": "{b}", "x": [1]}}"#), both, true);
        }
        check(&format!(r#"{{"from": "{b}", "start": "{a}", "end": "{b}"}}"#), both, true);
        check(&format!(r#"{{"from": "{a}", "start": 5, "end": "{b}"}}"#), both, true);
        check(&format!(r#""{a} / {b}""#), both, true);
        check(&format!(r#"{{"start": "{a}"}}"#), Some([Some(a), None]), false);
        check(r#"{"start": "monday", "end": "friday"}"#, Some([Some("monday"), Some("friday")]), false);
        check(r#""on/off""#, Some([Some("on"), Some("off")]), false);
        for none in ["null", "\"weekend\"", "[\"a\"]", r#"{"from": {}, "to": null}"#, "5", "1.5", "true", "{}"] {
            check(none, None, false);
        }
    }
}

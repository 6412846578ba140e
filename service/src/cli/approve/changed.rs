//! What became another in a plan since the one before it, for whoever read that one.

use serde_json::Value;

use crate::cli::client::print;

/// Places that are shown at most.
const PLACES_MAX: usize = 40;
/// Characters of a value that are shown.
const SHOWN_MAX: usize = 120;

/// A line for each place in which what the digests are taken of (`schemas::plan::subject`) differs.
pub(super) fn changed(before: &Value, now: &Value) -> Vec<String> {
    let mut lines = Vec::new();
    differ(before, now, "", &mut lines);
    let more = lines.len().saturating_sub(PLACES_MAX);
    lines.truncate(PLACES_MAX);
    lines.extend((more > 0).then(|| format!("and {more} more places")));
    lines
}

fn differ(before: &Value, now: &Value, place: &str, lines: &mut Vec<String>) {
    match (before, now) {
        (Value::Object(old), Value::Object(new)) => {
            let mut names: Vec<&String> = old.keys().chain(new.keys()).collect();
            names.sort();
            names.dedup();
            for name in names {
                let inner = if place.is_empty() { name.clone() } else { format!("{place}.{name}") };
                differ(old.get(name).unwrap_or(&Value::Null), new.get(name).unwrap_or(&Value::Null), &inner, lines);
            }
        }
        (Value::Array(old), Value::Array(new)) if old.len() == new.len() => {
            for (at, (old, new)) in old.iter().zip(new).enumerate() {
                differ(old, new, &format!("{place}.{}", at + 1), lines);
            }
        }
        _ if before == now => {}
        _ => lines.push(format!("{}: {} → {}", print::clean(place), shown(before), shown(now))),
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::Null => "nothing".to_owned(),
        Value::String(text) => print::short(text, SHOWN_MAX),
        other => print::short(&other.to_string(), SHOWN_MAX),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_place_is_named() {
        let before =
            json!({"v": 2, "plan": {"commands": ["a", "b"], "steps": [{"check": {"command": "x"}}], "window": "w"}});
        let now =
            json!({"v": 2, "plan": {"commands": ["a"], "steps": [{"check": {"command": "y\u{1b}"}}], "waves": []}});
        assert_eq!(changed(&before, &before), Vec::<String>::new());
        assert_eq!(
            changed(&before, &now),
            [
                "plan.commands: [\"a\",\"b\"] → [\"a\"]",
                "plan.steps.1.check.command: x → y\\u{1b}",
                "plan.waves: nothing → []",
                "plan.window: w → nothing",
            ]
        );
        let many = |text: &str| (0..50).map(|_| Value::from(text)).collect::<Value>();
        assert_eq!(changed(&many("a"), &many("b")).last().map(String::as_str), Some("and 10 more places"));
    }
}

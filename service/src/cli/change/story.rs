//! One change told to a person, from its document (`change.json`): what is worth a look first, then who and what, the timeline, the approvals.

use std::fmt::Write as _;

use projector::approval::Lack;
use serde_json::Value;

use super::super::client::print::{self, Look, Paint};
use super::{list_of, span, time, word};

/// The whole story.
pub(super) fn tell(document: &Value, look: Look) -> String {
    let mut out = String::new();
    let state = state_line(document);
    let paint = if is_bad(document) { Paint::Bad } else { Paint::Good };
    // Writing to a string cannot fail.
    let _ = writeln!(
        out,
        "{}  {}",
        look.paint(Paint::Strong, &print::clean(word(document, "change"))),
        look.paint(paint, &state)
    );
    let request = word(document, "request");
    if !request.is_empty() {
        out.push_str(&look.hang("  ", &print::clean(request)));
    }
    let who: Vec<String> = [
        ("asked by", "initiator"),
        ("through", "source"),
        ("owner", "owner"),
        ("environment", "environment"),
        ("class", "class"),
        ("visible to", "visibility"),
    ]
    .iter()
    .map(|(name, member)| (name, word(document, member)))
    .filter(|(_, value)| !value.is_empty())
    .map(|(name, value)| format!("{name} {}", print::short(value, 48)))
    .collect();
    out.push_str(&look.hang("  ", &who.join(" · ")));
    out.push_str(&anomalies(document, look));
    out.push_str(&timeline(document, look));
    out.push_str(&approvals(document, look));
    out.truncate(out.trim_end().len());
    out
}

fn is_bad(document: &Value) -> bool {
    let attempts = list_of(document, "attempts");
    let reached = attempts.last().map_or("", |attempt| word(attempt, "reached"));
    let state = if reached.is_empty() { word(document, "state") } else { reached };
    state.contains("fail") || state == "refused"
}

/// Of a change: every event says so. Of an event: it does.
fn is_probe(value: &Value) -> bool {
    value["probe"].as_bool() == Some(true)
}

fn state_line(document: &Value) -> String {
    let attempts = list_of(document, "attempts");
    let reached = attempts.last().map_or("", |attempt| word(attempt, "reached"));
    let state = word(document, "state");
    let mut line = print::clean(&state.replace('_', " "));
    if !reached.is_empty() && reached != state {
        let _ = write!(line, " (it was {})", print::clean(&reached.replace('_', " ")));
    }
    if attempts.len() > 1 {
        let _ = write!(line, ", {} attempts", attempts.len());
    }
    if is_probe(document) {
        line.push_str(", calls itself a probe: no figure counts it");
    }
    line
}

/// First, because whoever reads on may stop before the end.
fn anomalies(document: &Value, look: Look) -> String {
    let anomalies = list_of(document, "anomalies");
    let mut out = String::new();
    if !anomalies.is_empty() {
        let _ = writeln!(out, "\n{}", look.paint(Paint::Strong, "Worth a look"));
    }
    for anomaly in anomalies {
        let index = anomaly["index"].as_u64().map_or_else(String::new, |index| format!("  #{index}"));
        let text = format!("{}{index}", print::clean(word(anomaly, "text")));
        out.push_str(&look.hang(&format!("  {} ", look.paint(Paint::Bad, "!")), &text));
    }
    out
}

fn timeline(document: &Value, look: Look) -> String {
    let moments = list_of(document, "timeline");
    let several = list_of(document, "attempts").len() > 1;
    let mut rows = Vec::new();
    let mut before: Option<u64> = None;
    for moment in moments {
        let at = moment["at"].as_u64();
        let since = match (before, at) {
            (Some(before), Some(at)) => format!("+{}", span(at.saturating_sub(before))),
            _ => String::new(),
        };
        before = at.or(before);
        let mut row = vec![time(&moment["at"]), since, word(moment, "phase").to_owned()];
        if several {
            row.push(format!("attempt {}", moment["attempt"]));
        }
        row.push(format!("#{}", moment["index"]));
        // So that every row is as wide as the widest: the text follows it.
        row.push("|".to_owned());
        rows.push(row);
    }
    let columns = print::columns(&rows);
    let mut out = String::from("\n");
    for (line, moment) in columns.lines().zip(moments) {
        let (paint, mark) = mark(word(moment, "outcome"));
        let head = line.strip_suffix('|').unwrap_or(line);
        let head = format!("  {}  {}", look.paint(paint, mark), head);
        let probe = if is_probe(moment) { " (says it is a probe)" } else { "" };
        out.push_str(&look.hang(&head, &format!("{}{probe}", print::clean(word(moment, "text")))));
    }
    out
}

fn approvals(document: &Value, look: Look) -> String {
    let approvals = list_of(document, "approvals");
    let mut out = String::new();
    if !approvals.is_empty() {
        let _ = writeln!(out, "\n{}", look.paint(Paint::Strong, "Approvals"));
    }
    for approval in approvals {
        let counts = approval["counts"].as_bool() == Some(true);
        let (paint, mark) = match word(approval, "decided") {
            "refused" => (Paint::Bad, "✗"),
            _ if counts => (Paint::Good, "✓"),
            _ => (Paint::Quiet, "·"),
        };
        let head = format!("  {} {:8} ", look.paint(paint, mark), print::short(word(approval, "grade"), 8));
        out.push_str(&look.hang(&head, &approval_text(approval)));
    }
    for attempt in list_of(document, "attempts") {
        let coverage = &attempt["approval"];
        let missing: Vec<String> =
            list_of(coverage, "missing").iter().filter_map(Value::as_str).map(print::clean).collect();
        if coverage["executed"].is_u64() && coverage["needed"].as_bool() == Some(true) && !missing.is_empty() {
            let text = format!("attempt {} was executed without: {}", attempt["attempt"], missing.join("; "));
            out.push_str(&look.hang(&format!("  {} ", look.paint(Paint::Bad, "✗")), &text));
        }
    }
    out
}

fn approval_text(approval: &Value) -> String {
    let decision = match word(approval, "decision") {
        "" => "no decision",
        decision => decision,
    };
    let mut text = format!("{} by {}", print::short(decision, 24), print::short(word(approval, "approver"), 48));
    for (before, member, width) in
        [(" as ", "role", 48), (", of plan ", "plan_digest", 24), (", until ", "expires", 32)]
    {
        let value = word(approval, member);
        if !value.is_empty() {
            let _ = write!(text, "{before}{}", print::short(value, width));
        }
    }
    let _ = write!(text, "  #{}", approval["index"]);
    let lacks: Vec<&str> = list_of(approval, "lacks")
        .iter()
        .filter_map(|lack| serde_json::from_value::<Lack>(lack.clone()).ok())
        .map(Lack::as_text)
        .collect();
    if !lacks.is_empty() {
        let _ = write!(text, " ({})", lacks.join("; "));
    }
    text
}

fn mark(outcome: &str) -> (Paint, &'static str) {
    match outcome {
        "passed" => (Paint::Good, "✓"),
        "failed" | "refused" | "rollback_failed" => (Paint::Bad, "✗"),
        "rolled_back" => (Paint::Warn, "↩"),
        _ => (Paint::Quiet, "·"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn document() -> Value {
        let evil = "red\u{1b}[31m\nsecond line";
        json!({
            "change": "c-1", "state": "closed", "initiator": evil, "source": "api", "request": evil, "visibility": "private",
            "attempts": [{"attempt": 1, "state": "closed", "reached": "verified", "entries": [1, 2],
                "approval": {"attempt": 1, "executed": 2, "needed": true, "approved": false, "missing": ["0 of 1 approval that count (recorded or better)"]}}],
            "timeline": [
                {"index": 1, "at": 1_777_885_200_000_u64, "phase": "plan", "attempt": 1, "outcome": "passed", "text": "Plan of 1 command."},
                {"index": 2, "at": 1_777_885_392_000_u64, "phase": "execute", "attempt": 1, "outcome": "failed", "text": evil},
            ],
            "approvals": [
                {"index": 1, "approver": evil, "role": "cab", "decision": "approved", "decided": "approved", "grade": "claimed", "counts": false,
                 "lacks": ["no_producer", "no_plan_digest"]},
                {"index": 2, "approver": "bob", "role": "cab", "decision": "yes", "decided": "approved", "grade": "signed", "counts": true},
            ],
            "anomalies": [{"code": "x", "index": 2, "text": "Executed without preflight."}],
        })
    }

    #[test]
    fn a_change_is_told_and_nothing_in_it_steers_the_terminal() {
        insta::assert_snapshot!(tell(&document(), Look::plain()), @r"
        c-1  closed (it was verified)
          red\u{1b}[31m\u{a}second line
          asked by red\u{1b}[31m\u{a}second line · through api · visible to private

        Worth a look
          ! Executed without preflight.  #2

          ✓  2026-05-04 09:00:00Z          plan     #1  Plan of 1 command.
          ✗  2026-05-04 09:03:12Z  +3m12s  execute  #2  red\u{1b}[31m\u{a}second line

        Approvals
          · claimed  approved by red\u{1b}[31m\u{a}second line as cab  #1 (the road does not say who sent it; it names no plan)
          ✓ signed   yes by bob as cab  #2
          ✗ attempt 1 was executed without: 0 of 1 approval that count (recorded or better)
        ");
    }

    #[test]
    fn colours_and_width_are_only_for_terminals() {
        let wide = tell(&document(), Look { colours: true, width: Some(60) });
        assert!(wide.contains("\u{1b}[31m✗\u{1b}[0m"), "{wide}");
        assert!(!wide.contains("red\u{1b}[31m"), "{wide}");
        let plain: String = tell(&document(), Look { colours: false, width: Some(60) });
        assert!(plain.lines().all(|line| line.chars().count() <= 60), "{plain}");
    }

    #[test]
    fn a_change_that_calls_itself_a_probe_is_told_as_one() {
        let mut probe = document();
        probe["probe"] = json!(true);
        probe["timeline"][1]["probe"] = json!(true);
        let told = tell(&probe, Look { colours: false, width: Some(200) });
        assert!(
            told.lines().next().is_some_and(|line| line.ends_with("calls itself a probe: no figure counts it")),
            "{told}"
        );
        assert_eq!(told.matches("(says it is a probe)").count(), 1, "{told}");
        assert!(!tell(&document(), Look { colours: false, width: Some(200) }).contains("probe"));
    }
}

//! What an approver reads before signing, and after.

use projector::approval::Statement;
use serde_json::Value;

use super::list_of;
use crate::cli::client::print;

/// Commands, rollback steps and resources that are shown at most; the entry has them all.
const LINES_MAX: usize = 200;
/// Characters of a resource without a name that are shown.
const SHOWN_MAX: usize = 200;

/// The plan with what is asked for, and with what became another `since` the one before it.
pub(super) fn plan(told: &Value, payload: &Value, since: &[String]) -> String {
    let event = &payload["provisioning_event"];
    let (plan, target) = (&event["plan"], &event["target"]);
    let mut rows = vec![row(
        "change",
        &format!("{}, attempt {}, {}", text(&told["change"]), told["attempt"], text(&told["state"])),
    )];
    let asked = [
        ("asked", &told["request"]),
        ("by", &told["initiator"]),
        ("environment", &told["environment"]),
        ("class", &event["change_class"]),
        ("cloud", &target["cloud"]),
        ("endpoint", &target["cluster_endpoint_id"]),
        ("reason", &event["intent"]["reason"]),
        ("ticket", &event["intent"]["ticket"]),
        ("variant", &plan["variant"]),
        ("window", &plan["window"]),
        ("impact", &plan["impact"]),
        ("cost", &plan["cost"]),
        ("simulation", &plan["simulation"]),
    ];
    rows.extend(asked.into_iter().filter(|(_, value)| !value.is_null()).map(|(name, value)| row(name, &text(value))));
    rows.push(row("plan", &format!("{} (entry {})", text(&told["plan_digest"]), told["plan_entry"])));
    let mut out = vec![print::columns(&rows)];
    // What the digest covers, but for the graph, which is in the order of the commands.
    out.extend(numbered("resources", list_of(target, "resources"), resource));
    out.extend(numbered("commands, in order", list_of(plan, "commands"), text));
    // Of a plan that is covered whole, how it is run, too. What is not covered is run by nobody.
    if schemas::plan::is_whole(&plan["digest_version"]) {
        out.extend(numbered("steps", list_of(plan, "steps"), step));
        out.extend(numbered("waves", list_of(plan, "waves"), wave));
    }
    out.extend(numbered("artifacts", list_of(plan, "artifacts"), text));
    out.extend(numbered("rollback", list_of(&event["rollback"], "plan"), text));
    out.extend(numbered("left by a rollback", list_of(&event["rollback"], "left"), left));
    out.extend((!since.is_empty()).then(|| since.join("\n")));
    out.push(print::columns(&asked_for(told, plan)));
    out.join("\n\n")
}

/// Who has to approve, who did, and what is missing.
fn asked_for(told: &Value, plan: &Value) -> Vec<Vec<String>> {
    let rule = &told["rule"];
    let names = |value: &Value, member: &str| list_of(value, member).iter().map(text).collect::<Vec<_>>().join(", ");
    let count = rule["count"].as_u64().unwrap_or(1);
    let persons = if count == 1 { "one person".to_owned() } else { format!("{count} persons") };
    let mut needs = vec![persons, format!("{} or better", text(&rule["grade"]))];
    for (word, list) in [("as", names(rule, "roles")), ("the plan asks for", names(plan, "approvals"))] {
        if !list.is_empty() {
            needs.push(format!("{word} {list}"));
        }
    }
    let mut rows =
        vec![row("needs", &if told["needed"] == false { "no approval".to_owned() } else { needs.join(", ") })];
    rows.extend(list_of(told, "given").iter().map(|given| row("given", &one(given))));
    let house = &told["preflight"];
    rows.extend(house_asks(told));
    let told_of = [("risk", &house["risk"]), ("waits for", &house["waits_for"])];
    rows.extend(told_of.into_iter().filter(|(_, value)| !value.is_null()).map(|(name, value)| row(name, &text(value))));
    let missing = names(told, "missing");
    if !missing.is_empty() {
        rows.push(row("missing", &missing));
    }
    rows
}

/// What the house asks for on top of the tenant's rule, as the plan's preflight says.
fn house_asks(told: &Value) -> impl Iterator<Item = Vec<String>> {
    let asks = list_of(&told["preflight"], "approvals_needed").iter();
    asks.map(|one| row("house asks", &format!("{}: {}", text(&one["name"]), text(&one["asks"]))))
}

fn one(given: &Value) -> String {
    let lacks = list_of(given, "lacks").iter().map(text).collect::<Vec<_>>().join(", ").replace('_', " ");
    let role = if given["role"].is_null() { String::new() } else { format!(" as {}", text(&given["role"])) };
    let line = format!(
        "{} by {}{role}, {} (entry {})",
        text(&given["decided"]),
        text(&given["approver"]),
        text(&given["grade"]),
        given["index"]
    );
    if lacks.is_empty() { line } else { format!("{line}: {lacks}") }
}

/// What is about to be signed.
pub(super) fn statement(said: &Statement, key: &str) -> String {
    let words = |text: &Option<String>| text.clone().unwrap_or_default();
    let mut rows = vec![
        row("you sign", &format!("{} by {} as {}", words(&said.decision), words(&said.approver), words(&said.role))),
        row("at", &words(&said.at)),
    ];
    rows.extend(said.expires.as_ref().map(|end| row("until", end)));
    rows.push(row("log", &said.origin));
    rows.push(row("key", key));
    format!("\n{}", print::columns(&rows))
}

/// What became of it. The tenant's rule is the ledger's; whether the house's is met too, the next preflight says.
pub(super) fn recorded(answer: &Value, told: &Value) -> String {
    let before = if answer["status"] == "duplicate" { ", as before" } else { "" };
    let lacks = list_of(answer, "lacks").iter().map(text).collect::<Vec<_>>().join(", ").replace('_', " ");
    let lacks = if lacks.is_empty() { String::new() } else { format!(": {lacks}") };
    let mut rows = vec![
        row("recorded", &format!("entry {}{before}, with a receipt", answer["index"])),
        row("worth", &format!("{}{lacks}", text(&answer["grade"]))),
    ];
    let missing = list_of(answer, "missing").iter().map(text).collect::<Vec<_>>().join("; ");
    rows.push(match (answer["approved"] == true, missing.is_empty()) {
        (true, _) => row("approved", "by the tenant's rule nothing is missing"),
        (false, true) => row("missing", "nothing"),
        (false, false) => row("missing", &missing),
    });
    rows.extend(house_asks(told));
    format!("\n{}", print::columns(&rows))
}

/// What is done to what; a resource that is not named so, as JSON.
fn resource(value: &Value) -> String {
    let said = ["action", "type", "name"].into_iter().filter_map(|member| value[member].as_str());
    let words: Vec<String> = said.map(print::clean).collect();
    if words.is_empty() { print::short(&value.to_string(), SHOWN_MAX) } else { words.join(" ") }
}

/// How the command of its place is run.
fn step(value: &Value) -> String {
    let check = &value["check"];
    let parts = [("check", &check["command"]), ("then", &check["then"]), ("read back", &value["read_back"])];
    let after = list_of(value, "depends_on").iter().map(text).collect::<Vec<_>>().join(", ");
    let mut told = format!("{} {}", text(&value["action"]), text(&value["id"]));
    told.extend((!after.is_empty()).then(|| format!(", after {after}")));
    for (name, value) in parts.into_iter().filter(|(_, value)| !value.is_null()) {
        told.extend([format!("; {name}: {}", text(value))]);
    }
    told
}

fn wave(value: &Value) -> String {
    let steps = list_of(value, "steps").iter().map(text).collect::<Vec<_>>().join(", ");
    format!("{}: {steps}; gate: {}", text(&value["name"]), text(&value["gate"]["read_back"]))
}

fn left(value: &Value) -> String {
    format!("{}: {}", text(&value["step"]), text(&value["reason"]))
}

fn numbered(title: &str, lines: &[Value], told: fn(&Value) -> String) -> Option<String> {
    if lines.is_empty() {
        return None;
    }
    let shown = lines.iter().zip(1..).take(LINES_MAX).map(|(line, place)| format!("{place:>3}  {}", told(line)));
    let more = lines.len().saturating_sub(LINES_MAX);
    let rest = (more > 0).then(|| format!("     and {more} more, which the digest covers too: upm change events"));
    Some([title.to_owned()].into_iter().chain(shown).chain(rest).collect::<Vec<_>>().join("\n"))
}

fn row(name: &str, value: &str) -> Vec<String> {
    vec![name.to_owned(), value.to_owned()]
}

/// A text as it is, a list of them with semicolons between, anything else as JSON; clean for a terminal.
fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => print::clean(text),
        Value::Array(items) if items.iter().all(Value::is_string) => {
            items.iter().map(text).collect::<Vec<_>>().join("; ")
        }
        other => print::clean(&other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_plan_is_shown_with_all_that_an_approval_binds() {
        let told = json!({"change": "c-1", "attempt": 1, "state": "planned", "plan_digest": "sha256:00", "plan_entry": 4, "request": "make it\u{1b}[2J",
            "initiator": "ines", "needed": true, "rule": {"count": 2, "roles": ["owners"], "grade": "signed"},
            "missing": ["1 of 2 approvals that count (signed or better)"],
            "preflight": {"approvals_needed": [{"name": "production", "asks": "one other person, signed"}], "risk": {"points": 30}, "waits_for": ["one", "two"]},
            "given": [{"decided": "approved", "approver": "eve", "role": "owners", "grade": "bound", "index": 5, "lacks": ["no_signature"]}]});
        let payload = json!({"provisioning_event": {"target": {"cloud": "aws", "resources": [{"type": "aws_s3_bucket", "name": "logs"}, {"action": "delete", "type": "aws_sqs", "name": "q"}, 7]}, "rollback": {"plan": ["undo it"]},
            "plan": {"commands": ["make it", "check it"], "impact": {"description": "none"}, "approvals": ["security"]}}});
        insta::assert_snapshot!(plan(&told, &payload, &[]), @r#"
        change  c-1, attempt 1, planned
        asked   make it\u{1b}[2J
        by      ines
        cloud   aws
        impact  {"description":"none"}
        plan    sha256:00 (entry 4)

        resources
          1  aws_s3_bucket logs
          2  delete aws_sqs q
          3  7

        commands, in order
          1  make it
          2  check it

        rollback
          1  undo it

        needs       2 persons, signed or better, as owners, the plan asks for security
        given       approved by eve as owners, bound (entry 5): no signature
        house asks  production: one other person, signed
        risk        {"points":30}
        waits for   one; two
        missing     1 of 2 approvals that count (signed or better)
        "#);
    }

    #[test]
    fn of_a_plan_that_is_covered_whole_it_is_shown_how_it_runs() {
        let told = json!({"change": "c-1", "attempt": 1, "state": "planned", "plan_digest": "sha256:00", "plan_entry": 4, "needed": false});
        let payload = json!({"provisioning_event": {"change_class": "emergency", "target": {},
            "plan": {"digest_version": 2, "commands": ["make a", "make b"], "window": {"start": "s"},
                "steps": [{"id": "x/a", "action": "create", "check": {"command": "look a", "then": "skip if it is there"}, "read_back": "read a"},
                          {"id": "x/b", "action": "create", "depends_on": ["x/a"]}],
                "waves": [{"name": "all", "steps": ["x/a", "x/b"], "gate": {"read_back": ["x/a"]}}]},
            "rollback": {"plan": ["undo a"], "left": [{"step": "x/b", "reason": "it is kept"}]}}});
        let since =
            ["since the plan of entry 2, which is another one:".to_owned(), "     plan.window: nothing → s".to_owned()];
        insta::assert_snapshot!(plan(&told, &payload, &since), @r#"
        change  c-1, attempt 1, planned
        class   emergency
        window  {"start":"s"}
        plan    sha256:00 (entry 4)

        commands, in order
          1  make a
          2  make b

        steps
          1  create x/a; check: look a; then: skip if it is there; read back: read a
          2  create x/b, after x/a

        waves
          1  all: x/a, x/b; gate: x/a

        rollback
          1  undo a

        left by a rollback
          1  x/b: it is kept

        since the plan of entry 2, which is another one:
             plan.window: nothing → s

        needs  no approval
        "#);
    }

    #[test]
    fn what_became_of_it_is_told() {
        let answer = json!({"status": "accepted", "index": 7, "grade": "signed", "approved": false, "missing": ["nobody approved as security"]});
        insta::assert_snapshot!(recorded(&answer, &Value::Null), @r"

        recorded  entry 7, with a receipt
        worth     signed
        missing   nobody approved as security
        ");
        let answer = json!({"status": "duplicate", "index": 7, "grade": "bound", "approved": true, "missing": [], "lacks": ["unknown_signer"]});
        let told =
            json!({"preflight": {"approvals_needed": [{"name": "production", "asks": "one other person, signed"}]}});
        insta::assert_snapshot!(recorded(&answer, &told), @r"

        recorded    entry 7, as before, with a receipt
        worth       bound: unknown signer
        approved    by the tenant's rule nothing is missing
        house asks  production: one other person, signed
        ");
    }
}

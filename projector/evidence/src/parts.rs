//! The five parts of a pack (`plan/ approvals/ logs/ verify/ rollback/`): sections of the payloads, cut out for people and
//! scripts.
//!
//! A `.json` file is the section exactly as its producer wrote it, byte for byte; a `.txt` file is text out of it for people,
//! with what cannot be seen shown ([`crate::text`]). Names are made of the entry's index, fixed words and step numbers, never of an event's own text. Nothing is computed here but the
//! plan digest.
//!
//! | file | content |
//! |---|---|
//! | `plan/N-plan.json`, `plan/N-target.json` | sections `plan` and, where there is a plan, `target` |
//! | `plan/N-commands.txt` | the plan's commands, one a line |
//! | `plan/N-digest.txt` | the plan digest that an approval must name |
//! | `approvals/N-required.json` | `plan.approvals`: who must approve |
//! | `approvals/N-given.json` | `preflight.approvals`: who did, or refused |
//! | `approvals/N-preflight.json` | section `preflight`: checks, policies, approvals |
//! | `logs/N-execution.json`, `logs/N-audit-trace.json` | sections `execution` and `audit_trace` |
//! | `logs/N-step-NNN-stdout.txt`, `…-stderr.txt` | what a step printed, where the event carries it |
//! | `verify/N-verification.json` | section `verification`: checks, drift |
//! | `rollback/N-rollback.json` | section `rollback`: plan and what was executed |

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::text::{visible, visible_lines};

/// A file of a pack: name and content.
pub(crate) type PackFile = (String, Vec<u8>);

/// Index as it stands in file names: at least ten digits, so that names sort as numbers.
pub(crate) fn number(index: u64) -> String {
    format!("{index:010}")
}

/// The files that one payload gives, in no particular order.
pub(crate) fn files(index: u64, payload: &[u8]) -> Result<Vec<PackFile>, serde_json::Error> {
    let Document { provisioning_event: event } = serde_json::from_slice(payload)?;
    let n = number(index);
    let mut out = Vec::new();
    let mut section = |name: String, raw: Option<&RawValue>| {
        if let Some(raw) = raw {
            out.push((name, raw.get().as_bytes().to_vec()));
        }
    };
    section(format!("plan/{n}-plan.json"), event.plan);
    section(format!("plan/{n}-target.json"), event.plan.and(event.target));
    section(format!("approvals/{n}-preflight.json"), event.preflight);
    section(format!("logs/{n}-execution.json"), event.execution);
    section(format!("logs/{n}-audit-trace.json"), event.audit_trace);
    section(format!("verify/{n}-verification.json"), event.verification);
    section(format!("rollback/{n}-rollback.json"), event.rollback);

    let plan: Plan<'_> = inner(event.plan);
    section(format!("approvals/{n}-required.json"), plan.approvals);
    let preflight: Preflight<'_> = inner(event.preflight);
    section(format!("approvals/{n}-given.json"), preflight.approvals);
    if let Some(commands) = plan.commands.and_then(commands_text) {
        out.push((format!("plan/{n}-commands.txt"), commands));
    }
    if let Some(digest) = schemas::plan::digest(payload) {
        out.push((format!("plan/{n}-digest.txt"), format!("{digest}\n").into_bytes()));
    }
    let execution: Execution<'_> = inner(event.execution);
    let steps: Vec<&RawValue> = inner(execution.steps);
    for (step, raw) in steps.into_iter().enumerate() {
        let Step { stdout, stderr } = inner(Some(raw));
        for (stream, text) in [("stdout", stdout), ("stderr", stderr)] {
            if let Some(text) = text {
                out.push((format!("logs/{n}-step-{:03}-{stream}.txt", step + 1), visible_lines(&text).into_bytes()));
            }
        }
    }
    Ok(out)
}

#[derive(Deserialize)]
struct Document<'a> {
    #[serde(borrow)]
    provisioning_event: Sections<'a>,
}

#[derive(Deserialize)]
struct Sections<'a> {
    #[serde(borrow)]
    target: Option<&'a RawValue>,
    #[serde(borrow)]
    plan: Option<&'a RawValue>,
    #[serde(borrow)]
    preflight: Option<&'a RawValue>,
    #[serde(borrow)]
    execution: Option<&'a RawValue>,
    #[serde(borrow)]
    verification: Option<&'a RawValue>,
    #[serde(borrow)]
    audit_trace: Option<&'a RawValue>,
    #[serde(borrow)]
    rollback: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
struct Plan<'a> {
    #[serde(borrow)]
    commands: Option<&'a RawValue>,
    #[serde(borrow)]
    approvals: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
struct Preflight<'a> {
    #[serde(borrow)]
    approvals: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
struct Execution<'a> {
    #[serde(borrow)]
    steps: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
struct Step {
    stdout: Option<String>,
    stderr: Option<String>,
}

/// Reads what it can. A section that admission lets pass but that has another shape than expected gives no extracted file;
/// it is still in the pack, in the payload and in its section's own file.
fn inner<'a, T: Default + Deserialize<'a>>(raw: Option<&'a RawValue>) -> T {
    raw.and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or_default()
}

/// One command a line: what is no text stays JSON, and a line feed inside a command cannot make two of one.
fn commands_text(raw: &RawValue) -> Option<Vec<u8>> {
    let commands: Vec<&RawValue> = serde_json::from_str(raw.get()).ok()?;
    let mut out = String::new();
    for command in commands {
        let text = serde_json::from_str::<String>(command.get()).unwrap_or_else(|_| command.get().to_owned());
        out.push_str(&visible(&text));
        out.push('\n');
    }
    Some(out.into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(event: &str, expect: &[(&str, &str)]) {
        let payload = format!(r#"{{"provisioning_event":{event}}}"#);
        let mut found: Vec<(String, String)> = files(7, payload.as_bytes())
            .unwrap()
            .into_iter()
            .filter(|(name, _)| !name.ends_with("digest.txt"))
            .map(|(name, bytes)| (name, String::from_utf8(bytes).unwrap()))
            .collect();
        found.sort();
        let expect: Vec<(String, String)> = expect.iter().map(|(n, t)| ((*n).to_owned(), (*t).to_owned())).collect();
        assert_eq!(found, expect);
    }

    #[test]
    fn sections_are_cut_out_byte_for_byte() {
        check("{}", &[]);
        check(r#"{"plan":null,"target":{}}"#, &[]);
        check(
            r#"{"plan": {"commands" : ["a\nb", "ü", 3], "approvals":["x"]} ,"target":{ }}"#,
            &[
                ("approvals/0000000007-required.json", r#"["x"]"#),
                ("plan/0000000007-commands.txt", "a\\u{a}b\nü\n3\n"),
                ("plan/0000000007-plan.json", r#"{"commands" : ["a\nb", "ü", 3], "approvals":["x"]}"#),
                ("plan/0000000007-target.json", "{ }"),
            ],
        );
        check(
            r#"{"execution":{"steps":[{"rc":0},{"stdout":"hi\n\u001b[2J","stderr":""}]},"rollback":{}}"#,
            &[
                ("logs/0000000007-execution.json", r#"{"steps":[{"rc":0},{"stdout":"hi\n\u001b[2J","stderr":""}]}"#),
                ("logs/0000000007-step-002-stderr.txt", ""),
                ("logs/0000000007-step-002-stdout.txt", "hi\n\\u{1b}[2J"),
                ("rollback/0000000007-rollback.json", "{}"),
            ],
        );
    }

    #[test]
    fn unexpected_shapes_still_give_a_pack() {
        check(r#"{"plan":[1]}"#, &[("plan/0000000007-plan.json", "[1]")]);
        check(r#"{"execution":{"steps":{}}}"#, &[("logs/0000000007-execution.json", r#"{"steps":{}}"#)]);
        check(
            r#"{"execution":{"steps":[1,{"stdout":5}]}}"#,
            &[("logs/0000000007-execution.json", r#"{"steps":[1,{"stdout":5}]}"#)],
        );
    }

    #[test]
    fn names_take_nothing_from_the_event() {
        let event = r#"{"provisioning_event":{"id":"../../x","execution":{"steps":[{"cmd":"../x","stdout":""}]}}}"#;
        for (name, _) in files(u64::MAX, event.as_bytes()).unwrap() {
            assert_eq!(crate::zip::bad_name(name.as_bytes()), None, "{name}");
        }
    }
}

//! The five parts of a pack (`plan/ approvals/ logs/ verify/ rollback/`) as far as one payload gives them: its sections, cut out for
//! people and scripts. What is told over several entries is [`crate::summary`]'s.
//!
//! A `.json` file is the section exactly as its producer wrote it, byte for byte; a `.txt` file is text out of it for people,
//! with what cannot be seen shown ([`crate::text`]). Names are made of the entry's index, fixed words and numbers, never of an event's own
//! text. Nothing is computed here but the plan digest and the statement that an approver signed. The list is in
//! `docs/evidence-pack.md`, "Extracts".

use projector::approval;
use schemas::event::Approval;
use schemas::ids::ChangeId;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::text::{visible, visible_lines};
use crate::zip::MAX_FILES;

/// A file of a pack: name and content.
pub(crate) type PackFile = (String, Vec<u8>);

/// Index as it stands in file names: at least ten digits, so that names sort as numbers.
pub(crate) fn number(index: u64) -> String {
    format!("{index:010}")
}

/// Most files that are cut out of all payloads of a pack. A payload of a megabyte can hold 100,000 steps, and a pack has room for 65,534
/// files, of which each entry needs three.
pub(crate) const FILES_MAX: usize = 30_000;

/// Room for the files that a pack has whatever is in its events, and for those of later headers: 12, a list of objects, a chain of keys, and
/// 500,000 headers at 16,384 a file.
pub(crate) const OTHERS_MAX: usize = 60;

/// Most entries of a change that a pack holds.
pub const ENTRIES_MAX: usize = (MAX_FILES - OTHERS_MAX) / 3;

/// How many files the events of a pack may still give.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Room {
    /// Cut out of one event.
    pub(crate) parts: usize,
    /// Differences between plans.
    pub(crate) diffs: usize,
}

impl Room {
    /// In the pack of a change of so many entries and objects.
    pub(crate) fn of(entries: usize, objects: usize) -> Self {
        let free = (MAX_FILES - OTHERS_MAX).saturating_sub(3 * entries + objects);
        let parts = free.min(FILES_MAX);
        Self { parts, diffs: free - parts }
    }
}

/// The files that one payload gives, in no particular order.
pub(crate) fn files(
    origin: &str,
    change: &ChangeId,
    index: u64,
    payload: &[u8],
) -> Result<Vec<PackFile>, serde_json::Error> {
    let Document { provisioning_event: event } = serde_json::from_slice(payload)?;
    let n = number(index);
    let plan: Plan<'_> = inner(event.plan);
    let preflight: Preflight<'_> = inner(event.preflight);
    let rollback: Rollback<'_> = inner(event.rollback);
    let mut out = Vec::new();
    for (name, raw) in [
        (format!("plan/{n}-plan.json"), event.plan),
        (format!("plan/{n}-target.json"), event.plan.and(event.target)),
        (format!("approvals/{n}-required.json"), plan.approvals),
        (format!("approvals/{n}-given.json"), preflight.approvals),
        (format!("approvals/{n}-preflight.json"), event.preflight),
        (format!("logs/{n}-execution.json"), event.execution),
        (format!("logs/{n}-audit-trace.json"), event.audit_trace),
        (format!("verify/{n}-verification.json"), event.verification),
        (format!("rollback/{n}-rollback.json"), event.rollback),
        (format!("rollback/{n}-dry-run.json"), rollback.dry_run),
        (format!("rollback/{n}-executed.json"), rollback.executed),
    ] {
        out.extend(raw.map(|raw| (name, raw.get().as_bytes().to_vec())));
    }
    out.extend(commands(plan.commands).map(|text| (format!("plan/{n}-commands.txt"), text)));
    let digest = schemas::plan::digest(payload);
    out.extend(digest.map(|digest| (format!("plan/{n}-digest.txt"), format!("{digest}\n").into_bytes())));
    out.extend(commands(rollback.plan).map(|text| (format!("rollback/{n}-commands.txt"), text)));
    signed(origin, change, &n, preflight.approvals, &mut out);
    steps(&format!("logs/{n}"), event.execution, &mut out);
    steps(&format!("rollback/{n}"), rollback.executed, &mut out);
    Ok(out)
}

/// What each approver signed and the signature, so that `ssh-keygen -Y verify` checks it without us.
fn signed(origin: &str, change: &ChangeId, n: &str, given: Option<&RawValue>, out: &mut Vec<PackFile>) {
    let given: Vec<Approval<'_>> = inner(given);
    for (at, approval) in (1..).zip(&given) {
        if let Some(signature) = &approval.signature {
            let name = format!("approvals/{n}-signed-{at:03}");
            out.push((format!("{name}.json"), approval::statement(origin, change, approval)));
            out.push((format!("{name}.sig"), signature.as_bytes().to_vec()));
        }
    }
}

/// What the steps of a section printed, as far as the event carries it.
fn steps(name: &str, section: Option<&RawValue>, out: &mut Vec<PackFile>) {
    let Execution { steps }: Execution<'_> = inner(section);
    let steps: Vec<&RawValue> = inner(steps);
    for (at, raw) in (1..).zip(steps) {
        let Step { stdout, stderr } = inner(Some(raw));
        for (stream, text) in [("stdout", stdout), ("stderr", stderr)] {
            out.extend(text.map(|text| step_file(name, at, stream, &text)));
        }
    }
}

fn step_file(name: &str, at: usize, stream: &str, text: &str) -> PackFile {
    (format!("{name}-step-{at:03}-{stream}.txt"), visible_lines(text).into_bytes())
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
struct Rollback<'a> {
    #[serde(borrow)]
    plan: Option<&'a RawValue>,
    #[serde(borrow)]
    dry_run: Option<&'a RawValue>,
    #[serde(borrow)]
    executed: Option<&'a RawValue>,
}

/// `execution` and `rollback.executed`.
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
fn commands(raw: Option<&RawValue>) -> Option<Vec<u8>> {
    let commands: Vec<&RawValue> = serde_json::from_str(raw?.get()).ok()?;
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

    fn change() -> ChangeId {
        ChangeId::parse("c").unwrap()
    }

    #[track_caller]
    fn check(event: &str, expect: &[(&str, &str)]) {
        let payload = format!(r#"{{"provisioning_event":{event}}}"#);
        let mut found: Vec<(String, String)> = files("l/acme", &change(), 7, payload.as_bytes())
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
    fn a_rollback_has_its_plan_its_dry_run_and_its_execution() {
        check(
            r#"{"rollback":{"plan":["undo\ta"],"dry_run":{"ok":true},"executed":{"steps":[{"stderr":"x"}]}}}"#,
            &[
                ("rollback/0000000007-commands.txt", "undo\\u{9}a\n"),
                ("rollback/0000000007-dry-run.json", r#"{"ok":true}"#),
                ("rollback/0000000007-executed.json", r#"{"steps":[{"stderr":"x"}]}"#),
                (
                    "rollback/0000000007-rollback.json",
                    r#"{"plan":["undo\ta"],"dry_run":{"ok":true},"executed":{"steps":[{"stderr":"x"}]}}"#,
                ),
                ("rollback/0000000007-step-001-stderr.txt", "x"),
            ],
        );
    }

    #[test]
    fn a_signed_approval_has_what_was_signed_beside_it() {
        check(
            r#"{"preflight":{"approvals":[{"approver":"bob"},{"role":"r","approver":"eve","signature":"S\nIG"}]}}"#,
            &[
                (
                    "approvals/0000000007-given.json",
                    r#"[{"approver":"bob"},{"role":"r","approver":"eve","signature":"S\nIG"}]"#,
                ),
                (
                    "approvals/0000000007-preflight.json",
                    r#"{"approvals":[{"approver":"bob"},{"role":"r","approver":"eve","signature":"S\nIG"}]}"#,
                ),
                (
                    "approvals/0000000007-signed-002.json",
                    r#"{"approver":"eve","change":"c","origin":"l/acme","role":"r","v":1}"#,
                ),
                ("approvals/0000000007-signed-002.sig", "S\nIG"),
            ],
        );
    }

    #[test]
    fn every_pack_has_room_for_its_files() {
        for (entries, parts, diffs) in
            [(1, 30_000, 35_471), (8_868, 30_000, 8_870), (11_824, 30_000, 2), (11_825, 29_999, 0), (21_824, 2, 0)]
        {
            let room = Room::of(entries, 0);
            assert_eq!(room, Room { parts, diffs }, "{entries}");
            assert!(OTHERS_MAX + 3 * entries + room.parts + room.diffs <= MAX_FILES);
        }
        assert_eq!(ENTRIES_MAX, 21_824);
        assert_eq!(Room::of(1, 10_000), Room { parts: 30_000, diffs: 25_471 });
        assert_eq!(Room::of(21_824, 2), Room { parts: 0, diffs: 0 });
    }

    #[test]
    fn unexpected_shapes_still_give_a_pack() {
        check(r#"{"plan":[1]}"#, &[("plan/0000000007-plan.json", "[1]")]);
        check(
            r#"{"rollback":{"plan":{},"executed":[]},"preflight":{"approvals":[{"signature":1}]}}"#,
            &[
                ("approvals/0000000007-given.json", r#"[{"signature":1}]"#),
                ("approvals/0000000007-preflight.json", r#"{"approvals":[{"signature":1}]}"#),
                ("rollback/0000000007-executed.json", "[]"),
                ("rollback/0000000007-rollback.json", r#"{"plan":{},"executed":[]}"#),
            ],
        );
        check(r#"{"execution":{"steps":{}}}"#, &[("logs/0000000007-execution.json", r#"{"steps":{}}"#)]);
        check(
            r#"{"execution":{"steps":[1,{"stdout":5}]}}"#,
            &[("logs/0000000007-execution.json", r#"{"steps":[1,{"stdout":5}]}"#)],
        );
    }

    #[test]
    fn names_take_nothing_from_the_event() {
        let event = r#"{"provisioning_event":{"id":"../../x","execution":{"steps":[{"cmd":"../x","stdout":""}]}}}"#;
        for (name, _) in files("l/acme", &change(), u64::MAX, event.as_bytes()).unwrap() {
            assert_eq!(crate::zip::bad_name(name.as_bytes()), None, "{name}");
        }
    }
}

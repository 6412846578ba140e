//! What people see of a pack: nothing unseen in it, and frozen.

use sha2::{Digest, Sha256};

use crate::world::{Files, World, event};
use evidence::Verdict;

/// One of each kind that drives a terminal, turns or breaks a line, or cannot be seen, as a JSON string says them; after the last,
/// a line of its own.
const UNSEEN: &str = r"\u034f\u115f\u1160\u17b4\u180b\u2800\u3164\ufe0f\uffa0\ufff0\udb40\udd01\u0000\u0007\b\t\u000b\r\u001b[2J\u007f\u0085\u009b\u00ad\u061c\u180e\u200b\u200d\u200e\u200f\u2028\u2029\u202a\u202e\u2060\u2064\u2066\u2069\ufeff\ufff9\udb40\udc41\nNEXT";

fn unseen(c: char) -> bool {
    c.is_control()
        || "\u{ad}\u{61c}\u{180e}\u{200b}\u{200c}\u{200d}\u{200e}\u{200f}\u{2028}\u{2029}\u{feff}\u{fff9}".contains(c)
        || ('\u{202a}'..='\u{202e}').contains(&c)
        || ('\u{2060}'..='\u{206f}').contains(&c)
        || "\u{34f}\u{115f}\u{1160}\u{17b4}\u{17b5}\u{2800}\u{3164}\u{ffa0}".contains(c)
        || ('\u{fe00}'..='\u{fe0f}').contains(&c)
        || ('\u{e0000}'..='\u{e0fff}').contains(&c)
}

fn text<'a>(files: &'a Files, name: &str) -> &'a str {
    std::str::from_utf8(&files[name]).unwrap()
}

/// A pack whose events have [`UNSEEN`] in every text that admission lets pass.
fn hostile() -> World {
    let sections = [
        (
            "plan",
            r#""target":{"resources":[{"type":"?","name":"?"},{"?":{"?":"?"}}]},"plan":{"commands":["a?","b?"],"approvals":["?"]},"governance":{"owner":"?"}"#,
        ),
        ("plan", r#""plan":{"commands":["a?","c?"],"approvals":["?"]}"#),
        (
            "preflight",
            r#""preflight":{"checks":[{"type":"?","result":"?","x":"?","?":["?"]}],"policies":[{"name":"?","decision":"?"}],"approvals":[{"approver":"?","role":"?","decision":"?","at":"?","plan_digest":"?"},{"approver":"?","decision":"approved","role":"?"}]}"#,
        ),
        (
            "execute",
            r#""execution":{"agent":"?","steps":[{"cmd":"?","rc":1,"stdout":"?","stderr":"?","stdout_ref":"?"},{"cmd":"?"}]}"#,
        ),
        (
            "verify",
            r#""verification":{"checks":[{"type":"?","ok":false,"target":"?"}],"slo":[{"name":"?","status":"?"}],"drift":{"baseline_hash":"?","diff":["?",{"?":"?"}]}}"#,
        ),
        (
            "execute",
            r#""rollback":{"available":true,"plan":["?"],"dry_run":{"ok":true,"?":"?"},"executed":{"steps":[{"cmd":"?","rc":1,"?":"?"}],"outcome":"?"}}"#,
        ),
        ("audit", r#""audit_trace":[{"ts":"?","msg":"?","?":"?"}]"#),
    ];
    let mut world = World::new();
    for (phase, sections) in sections {
        let sent = String::from_utf8(event(phase, "a", sections)).unwrap();
        let sent = sent
            .replace("<b>one</b>", "?")
            .replace(r#""source":"api","initiator":"user-123""#, r#""source":"?","initiator":"?""#);
        world.add(sent.replace('?', UNSEEN).as_bytes());
    }
    world
}

#[test]
fn nothing_unseen_is_in_what_people_read() {
    let world = hostile();
    let files = world.files("a");
    let report = world.verify(&files);
    assert_eq!(report.verdict, Verdict::Ok, "{report}");
    let mut read = 0;
    for name in files.keys().filter(|name| [".html", ".md", ".txt"].iter().any(|end| name.ends_with(end))) {
        let found = text(&files, name).chars().find(|&c| c != '\n' && unseen(c));
        assert_eq!(found, None, "{name}");
        read += 1;
    }
    assert_eq!(read, 10, "{:?}", files.keys());
    let page = text(&files, "index.html");
    assert!(!page.contains("\nNEXT"), "a value breaks its line");
    for kind in [r"\u{1b}[2J", r"\u{9b}", r"\u{202e}", r"\u{2028}", r"\u{200b}", r"\u{e0041}\u{a}NEXT"] {
        assert!(page.matches(kind).count() > 40, "{kind}: {}", page.matches(kind).count());
    }
    assert!(text(&files, "logs/0000000004-step-001-stdout.txt").ends_with("\\u{e0041}\nNEXT"));
    assert_eq!(text(&files, "plan/0000000001-commands.txt").lines().count(), 2);
    // What is cut out stays as it was sent.
    assert!(text(&files, "logs/0000000004-execution.json").contains(UNSEEN));
    assert!(!report.to_string().chars().any(|c| c != '\n' && unseen(c)));
}

/// Two commands that look the same once shown are still two.
#[test]
fn a_plan_is_compared_as_sent() {
    let mut world = World::new();
    world.add(&event("plan", "a", r#""plan":{"commands":["x\u202e"]}"#));
    world.add(&event("plan", "a", r#""plan":{"commands":["x\\u{202e}"]}"#));
    assert!(
        text(&world.files("a"), "index.html").contains("<pre>- command: x\\u{202e}\n+ command: x\\u{202e}\n</pre>")
    );
}

/// `index.html` and `change.json` are derived again by every verifier for as long as there are packs. If this fails, a change was made
/// that refutes all packs written before: take it back, or make it a new version of the report or the fold. The tree's root, which
/// also depends on the rules of admission, is left out.
#[test]
fn the_report_and_the_fold_are_frozen() {
    let digest = |world: &World, name: &str| {
        let root = world.input("a").root.to_string();
        let bytes = text(&world.files("a"), name).replace(&root, "ROOT");
        format!("{name} {}", hex::encode(Sha256::digest(bytes)))
    };
    let found: Vec<String> = [("full", World::full()), ("hostile", hostile())]
        .iter()
        .flat_map(|(of, world)| ["index.html", "change.json"].map(|name| format!("{of} {}", digest(world, name))))
        .collect();
    insta::assert_snapshot!("frozen", found.join("\n"));
}

#[test]
fn a_change_that_calls_itself_a_probe_says_so_to_people_and_programs() {
    let told = |probe: &str| {
        let mut world = World::new();
        world.add(&event("execute", "a", &format!(r#"{probe}"execution":{{"steps":[{{"cmd":"drop","rc":0}}]}}"#)));
        let files = world.files("a");
        assert_eq!(world.verify(&files).verdict, Verdict::Ok);
        [("index.html", "every event says so; no figure counts this change"), ("change.json", r#""probe": true"#)]
            .map(|(name, words)| text(&files, name).contains(words))
    };
    assert_eq!(told(r#""probe":true,"#), [true, true]);
    assert_eq!(told(""), [false, false]);
}

//! Samples and work sheets: anyone draws the same, and the sheet says what packs say.

use std::io::{self, Cursor};
use std::process::Command;

use evidence::population::read_changes;
use evidence::sample::{By, Sample, SampleError, draw, pack_name};
use evidence::worksheet::{self, Found};
use serde_json::Value;

use crate::population::{BORN_MS, honest, input, made};
use crate::world::{World, event, files_of};

fn sample(zip: &[u8], world: &World, seed: &str, size: u64, by: Option<By>) -> Result<Sample, SampleError> {
    let population = read_changes(Cursor::new(zip), &world.trust(), &mut |_, _| {});
    let document = population.document.clone().unwrap();
    draw(&document, || population.changes(), seed, size, by)
}

/// Forty changes in three environments, some of them with several.
fn many() -> (World, Vec<u8>) {
    let mut world = World::new();
    world.beat();
    for n in 0..40 {
        let change = format!("chg-{n}-\u{e9}");
        world.add(&event("plan", &change, r#""plan":{"commands":["true"]}"#));
        let environment = ["prod", "staging", "dev", "prod"][n % 4];
        let second = event("execute", &change, r#""execution":{"steps":[{"cmd":"true","rc":0}]}"#);
        let second = String::from_utf8(second)
            .unwrap()
            .replace(r#""environment":"prod""#, &format!(r#""environment":"{environment}""#));
        world.add(second.as_bytes());
    }
    world.beat();
    let size = world.size();
    let period = evidence::population::Period::between(BORN_MS + 1_500, BORN_MS + (size - 1) * 1_000).unwrap();
    let zip = made(&world, &input(&world, period, 1, size)).unwrap();
    (world, zip)
}

#[test]
fn a_sample_is_a_function_of_root_seed_and_changes() {
    let (world, zip) = many();
    let drawn = |seed: &str, size, by| sample(&zip, &world, seed, size, by).unwrap();
    let one = drawn("audit 2026", 7, None);
    assert_eq!(one, drawn("audit 2026", 7, None));
    assert_eq!((one.drawn.len(), one.population), (7, 40));
    assert_ne!(one.drawn, drawn("audit 2027", 7, None).drawn);
    // A larger sample holds the smaller one.
    let larger = drawn("audit 2026", 20, None);
    assert!(one.drawn.iter().all(|small| larger.drawn.iter().any(|large| large.change == small.change)));
    assert_eq!(drawn("x", 99, None).drawn.len(), 40);
    let spread = drawn("audit 2026", 8, Some(By::Environment));
    assert_eq!(spread.strata.iter().map(|stratum| stratum.drawn).sum::<u64>(), 8);
    assert!(spread.strata.len() == 3 && spread.strata.iter().all(|stratum| stratum.drawn > 0), "{:?}", spread.strata);
    assert_eq!(Sample::parse(spread.to_json().unwrap().as_bytes()), Ok(spread.clone()));
    let csv = drawn("audit 2026", 3, None).to_csv();
    assert!(csv.starts_with("\"number\",\"change\"") && csv.lines().count() == 4, "{csv}");
    for (seed, size) in [("", 1), ("a\nb", 1), ("x", 0)] {
        assert!(sample(&zip, &world, seed, size, None).is_err(), "{seed:?} {size}");
    }
}

/// The second implementation, in Python, from `docs/sampling.md` alone.
#[test]
fn python_draws_the_same() {
    let (world, zip) = many();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("population.zip");
    std::fs::write(&path, &zip).unwrap();
    let script = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/python/sample.py");
    for (seed, size, by) in [
        ("audit 2026", 7, None),
        ("\u{fc}ber", 40, None),
        ("s", 1, Some(By::Environment)),
        ("s", 2, Some(By::Environment)),
        ("audit 2026", 11, Some(By::Environment)),
        ("audit 2026", 9, Some(By::Outcome)),
        ("audit 2026", 9, Some(By::Class)),
    ] {
        let ours = sample(&zip, &world, seed, size, by).unwrap();
        let kind = by.map(|by| serde_json::to_value(by).unwrap().as_str().unwrap().to_owned());
        let mut command = Command::new("python3");
        command.arg(&script).arg(&path).arg(seed).arg(size.to_string()).args(kind);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let theirs: Vec<String> = String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect();
        let ours: Vec<String> = ours.drawn.iter().map(|one| format!("{} {}", one.rank, one.change.change)).collect();
        assert_eq!(theirs, ours, "{seed} {size} {by:?}");
    }
}

#[test]
fn a_sheet_says_what_packs_say() {
    let (world, zip) = honest();
    let sample = sample(&zip, &world, "seed", 3, None).unwrap();
    let sheets = worksheet::sheet(&sample, &world.trust(), |drawn| {
        if drawn.change.change != "a" {
            return Err(io::ErrorKind::NotFound.into());
        }
        let sealed = evidence::plan(&world.input_at("a", 11)).unwrap().seal(&world.signer).unwrap();
        Ok(Cursor::new(crate::world::zipped(&files_of(&sealed))))
    });
    let of_a = sheets.iter().find(|sheet| sheet.drawn.change.change == "a").unwrap();
    let found: Vec<(&str, Found)> = of_a.tested.iter().map(|one| (one.attribute, one.found)).collect();
    assert_eq!(
        found,
        [
            ("reason", Found::NotEvidenced),
            ("impact", Found::NotEvidenced),
            ("tested", Found::NotEvidenced),
            ("separation", Found::NotEvidenced),
            ("digest", Found::NotEvidenced),
            ("back-out", Found::NotEvidenced),
            ("verified", Found::Pass),
            ("emergency", Found::NotApplicable),
        ]
    );
    let other = sheets.iter().find(|sheet| sheet.pack.is_none()).unwrap();
    assert!(other.tested.iter().all(|one| one.found == Found::NotEvidenced));
    assert!(worksheet::to_csv(&sheets).contains("\"'=c\""), "no spreadsheet runs the name of a change");
}

/// One change whose sections are given, through the whole way: log, pack, sheet.
fn tested(events: &[(&str, String)]) -> Vec<(String, Found, Option<u64>, Option<String>)> {
    let mut world = World::new();
    world.beat();
    for (phase, sections) in events {
        world.add(&event(phase, "a", sections));
    }
    world.beat();
    let size = world.size();
    let period = evidence::population::Period::between(BORN_MS + 1_500, BORN_MS + (size - 1) * 1_000).unwrap();
    let zip = made(&world, &input(&world, period, 1, size)).unwrap();
    let sample = sample(&zip, &world, "seed", 1, None).unwrap();
    let sheets = worksheet::sheet(&sample, &world.trust(), |_| Ok(Cursor::new(world.pack("a"))));
    assert_eq!(sheets[0].pack, Some(evidence::Verdict::Ok));
    sheets[0].tested.iter().map(|one| (one.attribute.to_owned(), one.found, one.entry, one.pointer.clone())).collect()
}

#[test]
fn a_change_that_did_everything_passes_and_one_that_did_not_is_an_exception() {
    let plan = r#""plan":{"commands":["true"],"impact":{"security":"none"}},"rollback":{"available":true,"plan":["undo"]},"intent":{"request":"r","reason":"capacity","source":"api","initiator":"ann","tenant":"acme"}"#;
    let digest = {
        let payload =
            event("plan", "a", r#""plan":{"commands":["true"]},"rollback":{"available":true,"plan":["undo"]}"#);
        schemas::plan::digest(&payload).unwrap()
    };
    // The world's own intent stands first; a second member of the name would be a duplicate.
    let plan = plan.split(",\"intent\"").next().unwrap().to_owned();
    let approvals = |approver: &str, digest: &str| {
        format!(
            r#""preflight":{{"checks":[{{"type":"dry-run","ok":true}}],"approvals":[{{"approver":"{approver}","decision":"approved","plan_digest":"{digest}"}}]}}"#
        )
    };
    let execute =
        |executor: &str| format!(r#""execution":{{"executor":"{executor}","steps":[{{"cmd":"true","rc":0}}]}}"#);
    let verify = r#""verification":{"checks":[{"type":"x","ok":true}]}"#.to_owned();
    let good = tested(&[
        ("plan", plan.clone()),
        ("preflight", approvals("eve", &digest)),
        ("execute", execute("bot")),
        ("verify", verify.clone()),
    ]);
    let of = |rows: &[(String, Found, Option<u64>, Option<String>)], name: &str| {
        rows.iter().find(|row| row.0 == name).unwrap().clone()
    };
    for name in ["impact", "tested", "separation", "digest", "back-out", "verified"] {
        assert_eq!(of(&good, name).1, Found::Pass, "{name}: {good:?}");
    }
    assert_eq!(of(&good, "back-out").3.as_deref(), Some("/provisioning_event/rollback/plan"));
    assert_eq!(of(&good, "impact").2, Some(2));
    // The initiator approves, another plan, and the check after it fails.
    let bad = tested(&[
        ("plan", format!(r#"{plan},"change_class":"emergency""#)),
        ("preflight", approvals("user-123", "sha256:00")),
        ("execute", execute("bot")),
        ("verify", verify.replace("true", "false")),
    ]);
    for name in ["separation", "digest", "verified"] {
        assert_eq!(of(&bad, name).1, Found::Exception, "{name}: {bad:?}");
    }
    assert_eq!(of(&bad, "emergency").1, Found::Pass);
    // Tested after it was approved.
    let late = tested(&[
        ("plan", plan),
        ("preflight", r#""preflight":{"approvals":[{"approver":"eve","decision":"approved"}]}"#.to_owned()),
        ("preflight", r#""preflight":{"checks":[{"type":"dry-run","ok":true}]}"#.to_owned()),
    ]);
    assert_eq!(of(&late, "tested").1, Found::Exception);
}

#[test]
fn every_test_that_stands_before_an_approval_is_looked_at() {
    let preflight = |sections: &str| ("preflight", format!(r#""preflight":{{{sections}}}"#));
    let checks = |list: &str| preflight(&format!(r#""checks":[{list}]"#));
    let approved = || preflight(r#""approvals":[{"approver":"eve","decision":"approved"}]"#);
    let plan = || ("plan", r#""plan":{"commands":["true"]}"#.to_owned());
    let again = |(phase, sections): (&'static str, String)| (phase, format!(r#""attempt":2,{sections}"#));
    let (good, bad) = (r#"{"type":"quota","ok":true}"#, r#"{"type":"quota","ok":false}"#);
    let first = || vec![plan(), checks(good), approved()];
    let and = |mut events: Vec<(&'static str, String)>, more: Vec<(&'static str, String)>| {
        events.extend(more);
        events
    };
    for (case, events, found, at) in [
        ("one", first(), Found::Pass, Some((3, "/preflight/checks"))),
        (
            "a second list",
            vec![plan(), checks(good), checks(&format!(r#"{{"type":"dry-run","ok":true}},{bad}"#)), approved()],
            Found::Exception,
            Some((4, "/preflight/checks/1")),
        ),
        (
            "done again",
            vec![plan(), checks(bad), checks(good), approved()],
            Found::Pass,
            Some((4, "/preflight/checks")),
        ),
        (
            "another one done",
            vec![plan(), checks(bad), checks(r#"{"type":"quota","target":"eu","ok":true}"#), approved()],
            Found::Exception,
            Some((3, "/preflight/checks/0")),
        ),
        (
            "done again too late",
            vec![plan(), checks(bad), approved(), checks(good)],
            Found::Exception,
            Some((3, "/preflight/checks/0")),
        ),
        ("failed afterwards", and(first(), vec![checks(bad)]), Found::Pass, Some((3, "/preflight/checks"))),
        (
            "failed before another approval",
            and(first(), vec![checks(bad), approved()]),
            Found::Exception,
            Some((5, "/preflight/checks/0")),
        ),
        (
            "a policy's word",
            vec![plan(), preflight(r#""policies":[{"name":"p","decision":"deny"}]"#), approved()],
            Found::Exception,
            Some((3, "/preflight/policies/0")),
        ),
        (
            "a policy that may say no",
            vec![plan(), preflight(r#""policies":[{"name":"p","ok":false,"mandatory":false}]"#), approved()],
            Found::Pass,
            Some((3, "/preflight/policies")),
        ),
        (
            "a simulation",
            vec![("plan", r#""plan":{"commands":["true"],"simulation":{"ok":false}}"#.to_owned()), approved()],
            Found::Exception,
            Some((2, "/plan/simulation")),
        ),
        ("not before", vec![plan(), approved(), checks(good)], Found::Exception, Some((4, "/preflight/checks"))),
        (
            "an attempt of which no test is on record",
            and(first(), vec![again(plan()), again(approved())]),
            Found::NotEvidenced,
            Some((6, "/preflight/approvals")),
        ),
        (
            "an attempt whose test failed",
            and(first(), vec![again(plan()), again(checks(bad)), again(approved())]),
            Found::Exception,
            Some((6, "/preflight/checks/0")),
        ),
        ("nobody approved", vec![plan(), checks(bad)], Found::NotEvidenced, Some((3, "/preflight/checks"))),
        ("nothing", vec![plan(), approved()], Found::NotEvidenced, None),
    ] {
        let row = tested(&events).into_iter().find(|row| row.0 == "tested").unwrap();
        let at = at.map(|(entry, pointer)| (entry, format!("/provisioning_event{pointer}")));
        assert_eq!((row.1, row.2.zip(row.3)), (found, at), "{case}");
    }
}

/// The pack of a change whose verification failed, made as of the tree before that: sound, signed, and not all of it.
#[test]
fn a_pack_that_was_cut_short_fills_no_row() {
    let mut world = World::new();
    world.beat();
    world.add(&event("plan", "a", r#""plan":{"commands":["true"],"impact":{"security":"none"}}"#));
    let early = world.size();
    world.add(&event("verify", "a", r#""verification":{"checks":[{"type":"x","ok":false}]}"#));
    world.beat();
    let size = world.size();
    let period = evidence::population::Period::between(BORN_MS + 1_500, BORN_MS + (size - 1) * 1_000).unwrap();
    let zip = made(&world, &input(&world, period, 1, size)).unwrap();
    let sample = sample(&zip, &world, "seed", 1, None).unwrap();
    let sheet = |size: u64| {
        let sealed = evidence::plan(&world.input_at("a", size)).unwrap().seal(&world.signer).unwrap();
        let mut sheets =
            worksheet::sheet(&sample, &world.trust(), |_| Ok(Cursor::new(crate::world::zipped(&files_of(&sealed)))));
        let sheet = sheets.remove(0);
        assert_eq!(sheet.pack, Some(evidence::Verdict::Ok));
        sheet.tested
    };
    for row in sheet(early) {
        assert_eq!(row.found, Found::NotEvidenced, "{row:?}");
        assert!(row.seen.contains("it has 1 of the 2 that the population counts from 2 to 3"), "{row:?}");
    }
    let whole = sheet(size);
    let found = |name: &str| whole.iter().find(|row| row.attribute == name).unwrap().found;
    assert_eq!((found("impact"), found("verified")), (Found::Pass, Found::Exception), "{whole:?}");
    // A pack that can't be opened is not the same as none.
    let sheets =
        worksheet::sheet(&sample, &world.trust(), |_| Err::<Cursor<Vec<u8>>, _>(io::Error::other("permission denied")));
    assert!(sheets[0].tested[0].seen.contains("cannot be read: permission denied"), "{:?}", sheets[0].tested[0]);
}

/// Packs of a history that the same key signed, in which everything went well, beside a population of the one in which it did not.
#[test]
fn a_pack_of_another_history_fills_no_row() {
    let history = |ok: &str, more: bool| {
        let mut world = World::new();
        world.beat();
        world.add(&event("plan", "a", r#""plan":{"commands":["true"],"impact":{"security":"none"}}"#));
        world.add(&event("verify", "a", &format!(r#""verification":{{"checks":[{{"type":"x","ok":{ok}}}]}}"#)));
        world.beat();
        if more {
            world.beat();
        }
        world
    };
    let world = history("false", false);
    let size = world.size();
    let period = evidence::population::Period::between(BORN_MS + 1_500, BORN_MS + (size - 1) * 1_000).unwrap();
    let zip = made(&world, &input(&world, period, 1, size)).unwrap();
    let sample = sample(&zip, &world, "seed", 1, None).unwrap();
    let sheet = |other: &World| {
        let sheets = worksheet::sheet(&sample, &world.trust(), |_| Ok(Cursor::new(other.pack("a"))));
        assert_eq!(sheets[0].pack, Some(evidence::Verdict::Ok));
        sheets[0].tested.iter().map(|row| (row.found, row.seen.clone())).collect::<Vec<_>>()
    };
    assert!(sheet(&world).iter().any(|(found, _)| *found == Found::Exception));
    for (other, why) in [
        (history("true", false), "of another history than the population: at size 5 they have two roots"),
        (history("false", true), "of the tree of size 6, the population of 5, and nothing ties them together"),
    ] {
        for (found, seen) in sheet(&other) {
            assert!(found == Found::NotEvidenced && seen.contains(why), "{found:?} {seen}");
        }
    }
}

#[test]
fn names_of_packs_are_safe_and_apart() {
    assert_eq!(pack_name(1, "../../etc"), "0001-.._.._etc.zip");
    assert_ne!(pack_name(1, "a/b"), pack_name(2, "a_b"));
    let json: Value = serde_json::to_value(By::Class).unwrap();
    assert_eq!(json, "class");
}

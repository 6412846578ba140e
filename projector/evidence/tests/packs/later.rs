//! Whether a pack's last entry is the change's last: by a population, and by the headers that the pack itself carries.

use std::io::Cursor;

use evidence::population::{Period, verify_pack_with};
use evidence::{KeyFile, PackInput, Reach, Report, Status, Trust, Verdict};
use ledger::frontier::Frontier;
use ledger::hash;

use crate::population::{BORN_MS, honest, input, made, period};
use crate::witnessed::{cosigner, lines, policy};
use crate::world::{Files, World, event, files_of, zipped};

fn with(pack: &[u8], population: &[u8], world: &World) -> Report {
    verify_pack_with(Cursor::new(pack), Cursor::new(population), &world.trust(), &mut |_, _| {})
}

/// The pack that an operator makes who leaves out the change's entries from `size` on, and signs what is left honestly.
fn cut(world: &World, change: &str, size: u64) -> Vec<u8> {
    let sealed = evidence::plan(&world.input_at(change, size)).unwrap().seal(&world.signer).unwrap();
    zipped(&files_of(&sealed))
}

/// The same at the log's full size, with the later entries simply absent.
fn short(world: &World, change: &str, keep: usize) -> Vec<u8> {
    let mut input = world.input(change);
    input.log.entries.truncate(keep);
    let sealed = evidence::plan(&input).unwrap().seal(&world.signer).unwrap();
    zipped(&files_of(&sealed))
}

#[test]
fn a_population_shows_that_the_last_entry_is_the_last() {
    let (world, population) = honest();
    let report = with(&cut(&world, "a", 11), &population, &world);
    assert_eq!(report.verdict, Verdict::Ok, "{report}");
    assert_eq!(report.later_entries.as_deref(), Some("later entries of this change up to size 11: none (proved)"));
    // A pack as of an older tree, whose change went on: refuted, whoever signed.
    let report = with(&cut(&world, "a", 6), &population, &world);
    assert!(report.refuted().contains(&"population.pack"), "{report}");
    assert_eq!(report.later_entries.as_deref(), Some("later entries of this change up to size 11: NOT PROVED"));
    assert_eq!(report.reach, "nothing (refuted)");
}

#[test]
fn a_pack_cut_short_and_honestly_signed_is_refuted_by_a_population() {
    let (world, population) = honest();
    // Alone it holds, and says what it does not prove.
    let pack = short(&world, "a", 3);
    let alone = crate::world::verify(&pack, &world.trust());
    assert_eq!(alone.verdict, Verdict::Ok, "{alone}");
    assert!(alone.later_entries.unwrap().contains("NOT PROVED"));
    let report = with(&pack, &population, &world);
    assert!(report.refuted().contains(&"population.pack"), "{report}");
}

#[test]
fn a_population_of_another_time_another_key_or_a_fork_proves_nothing() {
    let (world, population) = honest();
    // The change's last entry (11) lies behind the population.
    let report = with(&cut(&world, "b", 12), &population, &world);
    assert_eq!((report.verdict, report.exit_code()), (Verdict::Undecided, 2), "{report}");
    assert!(report.later_entries.unwrap().ends_with("NOT PROVED"));
    let mut bad = population.clone();
    bad[60] ^= 1;
    let report = with(&cut(&world, "a", 11), &bad, &world);
    assert!(report.refuted().contains(&"population.holds"), "{report}");
    // Two histories under one key: entries that differ, or roots that do.
    let mut fork = World::new();
    fork.add(&event("plan", "a", r#""plan":{"commands":["false"]}"#));
    (0..3).for_each(|_| fork.beat());
    fork.add(&event("execute", "a", r#""execution":{"steps":[]}"#));
    (0..6).for_each(|_| fork.beat());
    let forked = made(&fork, &input(&fork, period(), 2, 11)).unwrap();
    let report = with(&cut(&world, "a", 11), &forked, &world);
    assert!(report.refuted().contains(&"population.pack"), "{report}");
}

/// A key without a name (PEM) fits every log that it signs. A header does not say of which log it is, so an operator could write the same
/// entries into a second log, in which the change never goes on.
#[test]
fn a_population_of_another_log_under_the_same_key_proves_nothing() {
    let log = |origin: &str, goes_on: bool| {
        let mut world = World::of(origin);
        world.beat();
        world.add(&event("plan", "a", r#""plan":{"commands":["true"]}"#));
        world.beat();
        if goes_on {
            world.add(&event("execute", "a", r#""execution":{"steps":[{"cmd":"true","rc":1}]}"#));
            world.beat();
        }
        world
    };
    let (honest, other) = (log("test-ledger/acme", true), log("test-ledger/other", false));
    let nameless = KeyFile::parse(&honest.signer.verifier().spki_pem()).unwrap();
    let trust = Trust { key: Some(nameless), ..Trust::default() };
    let period = Period::between(BORN_MS + 1_500, BORN_MS + 2_500).unwrap();
    let population = made(&other, &input(&other, period, 1, 4)).unwrap();
    assert_eq!(crate::population::check(&population, &trust).verdict, Verdict::Ok);
    let pack = short(&honest, "a", 1);
    assert_eq!(crate::world::verify(&pack, &trust).verdict, Verdict::Ok);
    let report = verify_pack_with(Cursor::new(pack), Cursor::new(population), &trust, &mut |_, _| {});
    assert_eq!(report.refuted(), ["population.pack"], "{report}");
    assert!(
        report.to_string().contains("the population is of test-ledger/other, the pack of test-ledger/acme"),
        "{report}"
    );
    assert!(report.later_entries.unwrap().ends_with("NOT PROVED"));
}

/// Witnesses saw the pack's tree. Of a larger one that the operator signs beside it they said nothing, and it could be another history.
#[test]
fn what_witnesses_say_of_a_pack_is_not_said_of_a_larger_population() {
    let (world, population) = honest();
    let witness = cosigner(1);
    let cosigned = |size: u64| {
        let mut input = world.input_at("a", size);
        input.cosignatures = lines(&input.checkpoint, &[&witness]);
        zipped(&files_of(&evidence::plan(&input).unwrap().seal(&world.signer).unwrap()))
    };
    let check = |size: u64, require: Option<Reach>| {
        let trust = Trust { policy: Some(policy(&[&witness], "quorum w0")), require, ..world.trust() };
        verify_pack_with(Cursor::new(cosigned(size)), Cursor::new(&population), &trust, &mut |_, _| {})
    };
    let unsaid = |report: &Report| report.not_proved.iter().any(|line| line.contains("the one that others were shown"));
    for require in [None, Some(Reach::Witnessed)] {
        let same = check(11, require);
        assert_eq!((same.verdict, unsaid(&same)), (Verdict::Ok, false), "{same}");
        assert!(same.later_entries.as_deref().unwrap().ends_with("none (proved)"), "{same}");
    }
    // As of the whole log, of which the population is the beginning, if the operator is to be believed.
    let size = world.size();
    assert!(size > 11);
    let other = check(size, None);
    assert_eq!((other.verdict, unsaid(&other)), (Verdict::Ok, true), "{other}");
    let required = check(size, Some(Reach::Witnessed));
    assert_eq!((required.exit_code(), required.refuted()), (2, Vec::new()), "{required}");
    assert!(required.later_entries.as_deref().unwrap().ends_with("NOT PROVED"), "{required}");
    assert!(required.to_string().contains("upm pack --at 11"), "{required}");
}

/// The tree up to an entry, and all entries behind it.
fn headers(world: &World, first: u64, size: u64) -> (Frontier, Vec<Vec<u8>>) {
    let mut frontier = Frontier::default();
    world.bytes(first).iter().for_each(|entry| frontier.push(hash::leaf(entry)));
    (frontier, world.bytes(size).split_off(usize::try_from(first).unwrap()))
}

/// Asks for a pack with every header behind the last entry.
fn ask(input: &mut PackInput, world: &World) {
    let first = input.log.entries.last().unwrap().index + 1;
    let (frontier, behind) = headers(world, first, world.size());
    input.headers = Some(frontier);
    input.log.behind = behind;
}

pub(crate) fn with_headers(world: &World, change: &str) -> Files {
    let mut input = world.input(change);
    ask(&mut input, world);
    files_of(&evidence::plan(&input).unwrap().seal(&world.signer).unwrap())
}

#[test]
fn headers_in_the_pack_show_it_too() {
    let world = World::full();
    let files = with_headers(&world, "a");
    let report = world.verify(&files);
    assert_eq!(report.verdict, Verdict::Ok, "{report}");
    assert!(
        report.later_entries.as_deref().unwrap().contains("up to size 10: none (proved: every entry behind"),
        "{report}"
    );
    assert!(report.checks.iter().any(|check| check.id == "headers.later" && check.status == Status::Ok));
}

#[test]
fn a_pack_cut_short_cannot_carry_headers_that_hold() {
    let world = World::full();
    let honest = with_headers(&world, "a");
    // The writer refuses to make it.
    let mut input = world.input("a");
    input.log.entries.pop();
    let first = input.log.entries.last().unwrap().index + 1;
    ask(&mut input, &world);
    let error = evidence::plan(&input).unwrap_err().to_string();
    assert!(error.contains("is of this change, and the pack leaves it out"), "{error}");
    // Made all the same: a short pack with true headers, with headers that leave the entry out, and with none of some.
    input.headers = None;
    let short: Files = files_of(&evidence::plan(&input).unwrap().seal(&world.signer).unwrap());
    let line = |entry: &Vec<u8>| [entry.as_slice(), b"\n"].concat();
    let (tree, behind) = headers(&world, first, world.size());
    let frontier: Vec<u8> = tree.peaks().iter().flat_map(|hash| (hash.to_base64() + "\n").into_bytes()).collect();
    let name = format!("headers/{first:010}.ndjson");
    for skip in [None, Some(0), Some(1)] {
        let kept = behind.iter().enumerate().filter(|(at, _)| Some(*at) != skip);
        let mut files = short.clone();
        files.insert("headers/frontier".into(), frontier.clone());
        files.insert(name.clone(), kept.flat_map(|(_, entry)| line(entry)).collect());
        let report = world.verify(&world.resigned(files));
        assert!(report.refuted().contains(&"headers.later"), "{skip:?}: {report}");
    }
    for gone in ["headers/frontier", "headers/0000000009.ndjson"] {
        let mut files = honest.clone();
        assert!(files.remove(gone).is_some(), "{gone}");
        assert_eq!(world.verify(&world.resigned(files)).verdict, Verdict::Refuted, "{gone}");
    }
}

/// An entry of a later version says to nobody here of what change it is: neither headers nor a population prove that it is of another.
#[test]
fn an_entry_of_an_unknown_kind_may_be_of_any_change() {
    let mut world = World::new();
    world.add(&event("plan", "a", r#""plan":{"commands":["true"]}"#));
    world.beat();
    let files = with_headers(&world, "a");
    let known = world.verify(&files);
    assert!(known.later_entries.as_deref().unwrap().contains("none (proved"), "{known}");
    world.respell(2, |_| br#"{"change":"a","kind":"event","v":2}"#.to_vec());
    // The honest writer does not know it either; the operator puts it there.
    let mut input = world.input("a");
    ask(&mut input, &world);
    assert!(evidence::plan(&input).unwrap_err().to_string().contains("may be of this change"));
    input.headers = None;
    let plain: Files = files_of(&evidence::plan(&input).unwrap().seal(&world.signer).unwrap());
    let mut files: Files = files.into_iter().filter(|(name, _)| name.starts_with("headers/")).chain(plain).collect();
    files.insert("headers/0000000002.ndjson".into(), b"{\"change\":\"a\",\"kind\":\"event\",\"v\":2}\n".to_vec());
    let report = world.verify(&world.resigned(files));
    assert_eq!((report.exit_code(), report.refuted()), (2, Vec::new()), "{report}");
    assert!(report.later_entries.as_deref().unwrap().contains("NOT PROVED"), "{report}");
    // In a population.
    let (mut world, _) = honest();
    world.respell(10, |_| br#"{"kind":"later","v":2}"#.to_vec());
    let population = made(&world, &input_of(&world));
    let report = with(&cut(&world, "a", 11), &population.unwrap(), &world);
    assert_eq!((report.exit_code(), report.refuted()), (2, Vec::new()), "{report}");
    assert!(report.later_entries.as_deref().unwrap().contains("NOT PROVED"), "{report}");
}

fn input_of(world: &World) -> evidence::population::PopulationInput {
    input(world, period(), 2, 11)
}

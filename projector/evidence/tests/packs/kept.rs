//! Logs that are kept by reference: in the pack where the ledger has them, said to be missing where it has not, and never anything else than
//! what the event names.

use std::convert::Infallible;
use std::io::{self, Cursor, Read};
use std::ops::Range;

use evidence::{InMemory, KeptObject, PackInput, PackLog, Report, Status, Verdict, kept_logs};
use ledger::entry::Salt;
use ledger::hash::Hash;
use schemas::object::ObjectRef;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::world::{Files, World, event, files_of, zipped};

const FULL: &[u8] = b"line 1\nline 2\n";
const ERRORS: &[u8] = b"\x00 not text at all \xff";

fn reference(bytes: &[u8]) -> ObjectRef {
    let sha256: [u8; 32] = Sha256::digest(bytes).into();
    ObjectRef { sha256, size: bytes.len() as u64, bucket: "upm-acme".into(), name: "build.log".into() }
}

/// A change whose one execution refers to two logs, and whose rollback refers to the first again.
fn world() -> World {
    let (full, errors) = (reference(FULL), reference(ERRORS));
    let mut world = World::new();
    let steps = format!(r#"[{{"cmd":"make","rc":1,"stdout_ref":"{full}"}},{{"rc":0,"stderr_ref":"{errors}"}}]"#);
    world.add(&event("execute", "a", &format!(r#""execution":{{"steps":{steps}}}"#)));
    let undone = format!(r#"{{"outcome":"ok","steps":[{{"rc":0,"stdout_ref":"{full}"}}]}}"#);
    world.add(&event("execute", "a", &format!(r#""rollback":{{"executed":{undone}}}"#)));
    world
}

fn keep(world: &mut World, bytes: &[u8]) {
    world.objects.insert(reference(bytes).sha256, bytes.to_vec());
}

fn name(bytes: &[u8]) -> String {
    format!("logs/objects/{}", reference(bytes).hex())
}

fn status(report: &Report, id: &str) -> Option<Status> {
    report.checks.iter().find(|check| check.id == id).map(|check| check.status)
}

fn here(files: &Files) -> Vec<bool> {
    let list: Value = serde_json::from_slice(&files["logs/objects.json"]).unwrap();
    list["logs"].as_array().unwrap().iter().map(|row| row["here"].as_bool().unwrap()).collect()
}

#[test]
fn a_log_that_the_ledger_has_is_in_the_pack() {
    let mut world = world();
    keep(&mut world, FULL);
    keep(&mut world, ERRORS);
    keep(&mut world, b"of another change");
    let files = world.files("a");
    assert_eq!((&*files[&name(FULL)], &*files[&name(ERRORS)]), (FULL, ERRORS));
    assert_eq!(files.keys().filter(|name| name.starts_with("logs/objects/")).count(), 2);
    assert_eq!(here(&files), [true, true, true]);
    let list: Value = serde_json::from_slice(&files["logs/objects.json"]).unwrap();
    assert_eq!(
        list["logs"][1],
        json!({"index": 1, "section": "execution", "step": 2, "stream": "stderr", "here": true,
            "sha256": reference(ERRORS).hex(), "size": ERRORS.len()})
    );
    let report = world.verify(&files);
    assert_eq!(report.verdict, Verdict::Ok, "{report}");
    assert_eq!(status(&report, "objects.digests"), Some(Status::Ok), "{report}");
    assert_eq!(report.says, [""; 0]);
    let page = String::from_utf8(files["index.html"].clone()).unwrap();
    assert!(page.contains(&format!("<a href=\"{}\">full stdout</a>", name(FULL))), "{page}");
    assert!(!page.contains("not in this pack"), "{page}");
}

#[test]
fn a_log_that_the_ledger_has_not_is_said_to_be_missing() {
    let mut world = world();
    keep(&mut world, ERRORS);
    // Other bytes under its digest: they can't be, and their length gives them away.
    world.objects.insert(reference(FULL).sha256, b"x".to_vec());
    let files = world.files("a");
    assert_eq!(here(&files), [false, true, false]);
    let report = world.verify(&files);
    assert_eq!(report.verdict, Verdict::Ok, "{report}");
    assert!(report.says.iter().any(|line| line.starts_with("1 log that events refer to")), "{report}");
    let page = String::from_utf8(files["index.html"].clone()).unwrap();
    assert!(page.contains("full stdout: not in this pack"), "{page}");
    assert!(!page.contains("full stderr: not in this pack"), "{page}");
}

#[test]
fn a_pack_without_references_has_no_word_of_them() {
    let report = World::full().verify(&World::full().files("a"));
    assert_eq!(status(&report, "objects.digests"), None);
    assert!(!World::full().files("a").contains_key("logs/objects.json"));
}

#[test]
fn an_object_is_the_one_that_its_event_names_or_the_pack_is_refuted() {
    type Change = fn(&mut Files, &mut Value);
    let object = |bytes: &[u8]| json!({"sha256": reference(bytes).hex(), "size": bytes.len()});
    let cases: [(&str, Change, &str); 13] = [
        ("other bytes", |files, _| files.get_mut(&name(FULL)).unwrap()[3] ^= 1, "objects.digests"),
        ("a byte more", |files, _| files.get_mut(&name(FULL)).unwrap().push(0), "objects.digests"),
        ("left out", |files, _| drop(files.remove(&name(FULL))), "objects.digests"),
        (
            "left out, and listed no more",
            |files, pack| {
                files.remove(&name(FULL));
                pack["objects"].as_array_mut().unwrap().retain(|row| row["size"] != FULL.len());
            },
            "derived.parts",
        ),
        (
            "there but not listed",
            |_, pack| {
                pack["objects"].as_array_mut().unwrap().retain(|row| row["size"] != FULL.len());
            },
            "files.complete",
        ),
        (
            "of no event",
            |files, pack| {
                files.insert(name(b"x"), b"x".to_vec());
                let list = pack["objects"].as_array_mut().unwrap();
                list.push(json!({"sha256": reference(b"x").hex(), "size": 1}));
                list.sort_by_key(|row| row["sha256"].as_str().map(str::to_owned));
            },
            "objects.digests",
        ),
        ("out of order", |_, pack| pack["objects"].as_array_mut().unwrap().reverse(), "objects.digests"),
        (
            "twice",
            |_, pack| {
                let list = pack["objects"].as_array_mut().unwrap();
                list.insert(0, list[0].clone());
            },
            "objects.digests",
        ),
        ("of another length", |_, pack| pack["objects"][0]["size"] = json!(7), "objects.digests"),
        ("of a petabyte", |_, pack| pack["objects"][0]["size"] = json!(1_u64 << 50), "objects.digests"),
        (
            "one for the other",
            |files, _| {
                let (full, errors) = (files[&name(FULL)].clone(), files[&name(ERRORS)].clone());
                files.insert(name(FULL), errors);
                files.insert(name(ERRORS), full);
            },
            "objects.digests",
        ),
        (
            "under capitals",
            |files, _| {
                let bytes = files.remove(&name(FULL)).unwrap();
                files.insert(format!("logs/objects/{}", reference(FULL).hex().to_uppercase()), bytes);
            },
            "objects.digests",
        ),
        (
            "once more in a folder",
            |files, _| {
                let bytes = files[&name(FULL)].clone();
                files.insert(format!("logs/objects/more/{}", reference(FULL).hex()), bytes);
            },
            "files.complete",
        ),
    ];
    let mut world = world();
    keep(&mut world, FULL);
    keep(&mut world, ERRORS);
    assert!(world.files("a")["pack.json"].windows(9).any(|part| part == b"\"objects\""));
    for (what, change, id) in cases {
        let mut files = world.files("a");
        let mut pack: Value = serde_json::from_slice(&files["pack.json"]).unwrap();
        let mut listed = [object(FULL), object(ERRORS)];
        listed.sort_by_key(|row| row["sha256"].as_str().map(str::to_owned));
        assert_eq!(pack["objects"], json!(listed));
        change(&mut files, &mut pack);
        files.insert("pack.json".into(), serde_json_canonicalizer::to_vec(&pack).unwrap());
        let report = world.verify(&world.resigned(files));
        assert_eq!(report.verdict, Verdict::Refuted, "{what}: {report}");
        assert_eq!(status(&report, id), Some(Status::Refuted), "{what}: {report}");
    }
    for bad in
        [json!([{"sha256": "00", "size": 1}]), json!([1]), json!([{"sha256": reference(FULL).hex(), "size": -1}])]
    {
        let mut files = world.files("a");
        let mut pack: Value = serde_json::from_slice(&files["pack.json"]).unwrap();
        pack["objects"] = bad;
        files.insert("pack.json".into(), serde_json_canonicalizer::to_vec(&pack).unwrap());
        let report = world.verify(&world.resigned(files));
        assert_eq!(status(&report, "pack.document"), Some(Status::Refuted), "{report}");
    }
}

#[test]
fn a_length_that_an_event_lies_about_makes_no_object() {
    let mut world = World::new();
    let lie = ObjectRef { size: 3, ..reference(FULL) };
    world.add(&event("execute", "a", &format!(r#""execution":{{"steps":[{{"stdout_ref":"{lie}"}}]}}"#)));
    keep(&mut world, FULL);
    let files = world.files("a");
    assert_eq!(here(&files), [false]);
    assert_eq!(world.verify(&files).verdict, Verdict::Ok);
}

#[test]
fn any_part_of_a_pack_with_objects_is_a_part_of_the_whole() {
    let mut world = world();
    let long: Vec<u8> = (0..200_000_u32).flat_map(u32::to_le_bytes).collect();
    let at = format!(r#""execution":{{"steps":[{{"stdout_ref":"{}"}}]}}"#, reference(&long));
    world.add(&event("execute", "a", &at));
    keep(&mut world, &long);
    let sealed = evidence::plan(&world.input("a")).unwrap().seal(&world.signer).unwrap();
    let whole = zipped(&files_of(&sealed));
    assert_eq!(whole.len() as u64, sealed.length());
    let start = whole.windows(64).position(|part| part == &long[..64]).unwrap() as u64;
    let length = long.len() as u64;
    for (from, to) in [
        (0, sealed.length()),
        (start, start + length),
        (start + 65_536, start + 65_537),
        (start - 10, start + 1),
        (start + length - 1, start + length + 20),
        (start + 70_000, start + 300_000),
    ] {
        let mut out = Vec::new();
        sealed.copy(from..to, &mut out).unwrap();
        let (from, to) = (usize::try_from(from).unwrap(), usize::try_from(to).unwrap());
        assert!(out == whole[from..to], "{from}..{to}");
    }
}

#[test]
fn an_object_that_was_damaged_since_ends_the_copying_before_its_end() {
    let mut world = world();
    keep(&mut world, FULL);
    for damage in [&b"line 1\nline 3\n"[..], b"line 1", b"line 1\nline 2\n and more"] {
        let input = world.input("a");
        let later = Later { log: input.log, object: damage.to_vec() };
        let input = PackInput {
            log: later,
            origin: input.origin,
            change: input.change,
            size: input.size,
            root: input.root,
            checkpoint: input.checkpoint,
            cosignatures: input.cosignatures,
            context: input.context,
            verifier: input.verifier,
            keys: input.keys,
            headers: input.headers,
        };
        let sealed = evidence::plan(&input).unwrap().seal(&world.signer).unwrap();
        let mut out = Vec::new();
        let error = sealed.copy(0..sealed.length(), &mut out).unwrap_err().to_string();
        assert!(error.contains(&name(FULL)) && error.contains("upm fsck"), "{error}");
        assert!(!out.windows(6).any(|part| part == b"line 1"), "some of it was handed out");
    }
}

/// A log beside which an object has other bytes than when they were noted.
#[derive(Clone)]
struct Later {
    log: InMemory,
    object: Vec<u8>,
}

impl PackLog for Later {
    type Error = Infallible;

    fn indices(&self) -> Vec<u64> {
        self.log.indices()
    }

    fn entry(&self, place: usize) -> Result<Vec<u8>, Infallible> {
        self.log.entry(place)
    }

    fn stored(&self, place: usize) -> Result<(Salt, Vec<u8>), Infallible> {
        self.log.stored(place)
    }

    fn path(&self, place: usize) -> Result<Vec<Hash>, Infallible> {
        self.log.path(place)
    }

    fn behind(&self, range: Range<u64>) -> Result<Vec<Vec<u8>>, Infallible> {
        self.log.behind(range)
    }

    fn object(&self, sha256: &[u8; 32]) -> Result<Option<KeptObject>, Infallible> {
        self.log.object(sha256)
    }

    fn open_object(&self, _: &[u8; 32]) -> io::Result<Box<dyn Read>> {
        Ok(Box::new(Cursor::new(self.object.clone())))
    }
}

#[test]
fn what_a_payload_refers_to_is_listed_for_everybody() {
    let world = world();
    let found: Vec<_> = world.payloads("a").iter().flat_map(|payload| kept_logs(payload)).collect();
    let places: Vec<_> = found.iter().map(|log| (log.section, log.step, log.stream)).collect();
    assert_eq!(places, [("execution", 1, "stdout"), ("execution", 2, "stderr"), ("rollback", 1, "stdout")]);
}

//! The story of a lost disk: a producer publishes as fast as it can while the ledger is checked and backed up; the backup is cut
//! off and goes on; a bit flips in it; it is restored, holds everything that was confirmed before, is served, and goes on. And what
//! has to be refused: damage, another history, a backup older than a checkpoint that was kept, a ledger that is there already.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ledger::birth;
use ledger::note::VerifierKey;
use ledger::read::Log;
use ledger::receipt::Receipt;
use ledger_rocks::Rocks;
use schemas::ids::Tenant;
use serde_json::Value;
use upm_tests::{Server, ok, python, run, upm, wait_for};

fn burst(server: &Server, run: &str, count: &str, out: &Path) -> Child {
    let arguments = [server.nats(), "acme", run, count];
    python("burst.py").args(arguments).arg(out).stderr(Stdio::null()).spawn().expect("python starts")
}

fn answers(out: &Path) -> Vec<Value> {
    let text = fs::read_to_string(out).unwrap_or_default();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// Runs `upm` with arguments of which some are paths.
fn told(arguments: &[&dyn AsRef<std::ffi::OsStr>]) -> (i32, String, String) {
    run(&mut upm(arguments.iter().map(|argument| argument.as_ref().to_owned())))
}

fn sound(root: &Path) -> Value {
    let (code, out, err) = told(&[&"fsck", &"--store", &root, &"--json"]);
    let report = json(&out);
    assert_eq!(code, 0, "{report:#}{err}");
    report
}

#[test]
fn a_backup_taken_under_load_brings_everything_back_that_was_confirmed() {
    let folder = tempfile::tempdir().expect("a folder");
    let (data, backup, out) = (folder.path().join("data"), folder.path().join("backup"), folder.path().join("answers"));
    let server = Server::start(&data, &["--tenant", "acme"]);
    let mut producer = burst(&server, "run1", "6000", &out);

    // Beside the server that writes all the time: never a false alarm, and every backup larger than the one before.
    let mut copied = 0;
    for round in 1..=3 {
        wait_for("more answers", || {
            let ended = producer.try_wait().expect("the producer can be asked").is_some();
            (ended || answers(&out).len() > round * 500).then_some(())
        });
        let report = sound(&data);
        assert_eq!(report["beside_server"], true);
        let made = json(&ok(server.upm(&["backup", "--json"]).arg(&backup)));
        assert_eq!(made["before"], copied, "only what is new is copied: {made}");
        copied += made["copied"].as_u64().expect("a number");
    }
    let confirmed = answers(&out);
    ok(server.upm(&["backup", "--json"]).arg(&backup));
    // Cut off again and again, it goes on where it stood.
    wait_for("the producer to end", || producer.try_wait().expect("the producer can be asked"));
    for patience in 1..=4 {
        let mut cut = server.upm(&["backup"]);
        let mut cut = cut.arg(&backup).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("upm starts");
        std::thread::sleep(std::time::Duration::from_millis(15 * patience));
        cut.kill().expect("it can be killed");
        cut.wait().expect("it can be waited for");
    }
    ok(server.upm(&["backup", "--json"]).arg(&backup));
    let report = sound(&backup);
    assert_eq!(report["beside_server"], false);
    let key = VerifierKey::parse(server.vkey("acme")).expect("a vkey");
    let (_, newest) = server.get("/logs/acme/checkpoint");
    assert_eq!(server.stop(), 0);

    let restored = folder.path().join("restored");
    fs::write(folder.path().join("newest"), &newest).expect("writable");
    let known = folder.path().join("newest");
    let (code, text, err) = told(&[&"restore", &backup, &"--data", &restored, &"--known-checkpoint", &known]);
    assert_eq!(code, 0, "{err}");
    let missing = ["acme.log.pem", "_ledger.log.pem", "admin.pem"];
    assert!(missing.iter().all(|name| text.contains(name)), "what is missing is named: {text}");
    assert_eq!(mode(&restored.join("keys/acme.dedupe")), 0o600);
    every_answer_is_held(&restored, &key, &confirmed);

    // With the keys that were kept elsewhere it goes on, on a road of its own.
    for name in missing {
        fs::copy(data.join("keys").join(name), restored.join("keys").join(name)).expect("the keys are copied");
    }
    let server = Server::start(&restored, &["--tenant", "acme"]);
    let after = folder.path().join("after");
    burst(&server, "run2", "50", &after).wait().expect("the producer ends");
    assert_eq!(answers(&after).len(), 50);
    // The same bytes again are what they were before.
    let repeated = folder.path().join("repeated");
    burst(&server, "run1", "50", &repeated).wait().expect("the producer ends");
    assert!(answers(&repeated).iter().all(|answer| answer["status"] == "duplicate"), "{:?}", answers(&repeated));
    assert_eq!(server.stop(), 0);
    sound(&restored);
}

fn every_answer_is_held(data: &Path, key: &VerifierKey, answers: &[Value]) {
    assert!(answers.len() > 500, "only {} answers", answers.len());
    let store = Rocks::open_read_only(&data.join("ledger")).expect("the store opens");
    let tenant = Tenant::parse("acme").expect("a name");
    let log = birth::log_of(&store, &tenant).expect("readable").expect("acme has a log");
    let log = Log::open(&store, log).expect("readable");
    for answer in answers {
        let event = STANDARD.decode(answer["event"].as_str().expect("text")).expect("base64");
        let receipt = Receipt::parse(answer["receipt"].as_str().expect("text")).expect("a receipt");
        receipt.verify(key, &event).unwrap_or_else(|error| panic!("{error}: {answer}"));
        assert_eq!(log.entry(receipt.index).expect("readable"), Some(receipt.entry), "{answer}");
    }
}

/// A small ledger at rest, with its backup and a checkpoint that is newer than the backup.
struct Saved {
    folder: tempfile::TempDir,
    data: PathBuf,
    backup: PathBuf,
    newer: PathBuf,
}

fn saved() -> Saved {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    let (data, backup, newer) = (path("data"), path("backup"), path("newer"));
    let server = Server::start(&data, &["--tenant", "acme"]);
    burst(&server, "run1", "700", &path("answers")).wait().expect("the producer ends");
    ok(server.upm(&["backup", "--with-keys"]).arg(&backup));
    burst(&server, "run2", "10", &path("more")).wait().expect("the producer ends");
    fs::write(&newer, server.get("/logs/acme/checkpoint").1).expect("writable");
    assert_eq!(server.stop(), 0);
    Saved { folder, data, backup, newer }
}

#[test]
fn what_speaks_against_a_backup_is_said_and_nothing_is_put_in_place() {
    let Saved { folder, data, backup, newer } = saved();
    let target = folder.path().join("target");
    let refused = |arguments: &[&dyn AsRef<std::ffi::OsStr>], expect_code: i32, expect: &str| {
        let all: Vec<&dyn AsRef<std::ffi::OsStr>> =
            [&"restore" as &dyn AsRef<std::ffi::OsStr>].into_iter().chain(arguments.iter().copied()).collect();
        let (code, _, err) = told(&all);
        assert_eq!(code, expect_code, "{err}");
        assert!(err.contains(expect), "{expect:?} in {err}");
        assert!(!target.join("ledger").join("CURRENT").exists() && !target.join("ledger.restoring").exists());
    };
    refused(&[&backup, &"--data", &target, &"--known-checkpoint", &newer], 1, "the backup is older than");
    // A checkpoint by somebody else in this log's name.
    let forged = folder.path().join("forged");
    let note = fs::read_to_string(&newer).expect("readable");
    fs::write(&forged, note.replacen("\n7", "\n6", 1)).expect("writable");
    refused(&[&backup, &"--data", &target, &"--known-checkpoint", &forged], 2, "is not signed by the key of");
    refused(&[&folder.path(), &"--data", &target], 2, "holds no finished backup");
    let (code, _, err) = told(&[&"restore", &backup, &"--data", &data]);
    assert_eq!(code, 2, "{err}");
    assert!(err.contains("there is a ledger in"), "{err}");
    // Another ledger is no newer state of this one.
    let other = folder.path().join("other");
    let server = Server::start(&other, &["--tenant", "acme"]);
    let (code, _, err) = run(server.upm(&["backup"]).arg(&backup));
    assert_eq!(code, 2, "{err}");
    assert_eq!(server.stop(), 0);
    // After all that the backup is as good as before: with the signing keys in it nothing is missing.
    let (code, text, err) = told(&[&"restore", &backup, &"--data", &target]);
    assert_eq!(code, 0, "{err}");
    assert!(!text.contains("missing:"), "{text}");
    assert!(!target.join("keys/recovery.pem").exists());
    sound(&target);
}

#[test]
fn a_backup_with_a_flipped_bit_is_refused_and_its_place_named() {
    let Saved { folder, data, backup, .. } = saved();
    let target = folder.path().join("target");
    let mut tried = 0;
    for entry in fs::read_dir(backup.join("ledger")).expect("readable") {
        let path = entry.expect("readable").path();
        if path.extension().is_none_or(|extension| extension != "sst") {
            continue;
        }
        let whole = fs::read(&path).expect("readable");
        let mut flipped = whole.clone();
        flipped[whole.len() / 3] ^= 4;
        fs::write(&path, flipped).expect("writable");
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        // An earlier table is kept by the next backup, so that has to look at it as well: nobody else will until it is needed.
        for arguments in [
            [&"restore" as &dyn AsRef<std::ffi::OsStr>, &backup, &"--data", &target],
            [&"backup", &backup, &"--data", &data],
        ] {
            let (code, _, err) = told(&arguments);
            assert_eq!(code, 1, "{}: {err}", path.display());
            assert!(err.contains(&name) && err.contains("damaged"), "{name} in {err}");
        }
        let (code, out, err) = told(&[&"fsck", &"--store", &backup]);
        assert!(code == 1 && (out + &err).contains(&name), "{name}");
        assert!(!target.exists());
        fs::write(&path, whole).expect("writable");
        tried += 1;
    }
    assert!(tried > 2, "only {tried} tables");
    assert_eq!(told(&[&"restore", &backup, &"--data", &target]).0, 0);
    assert_eq!(told(&[&"backup", &backup, &"--data", &data]).0, 0);
}

/// A table that a run which was cut off had written is in no manifest: what is in it is read before it is kept.
#[test]
fn a_damaged_table_that_no_manifest_lists_is_not_kept() {
    let Saved { folder: _folder, data, backup, .. } = saved();
    fs::remove_file(backup.join("manifest.json")).expect("removed");
    let tables = fs::read_dir(backup.join("ledger")).expect("readable").map(|entry| entry.expect("readable").path());
    let is_table = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "sst");
    let largest = tables.filter(is_table).max_by_key(|path| fs::metadata(path).expect("there").len()).expect("a table");
    let whole = fs::read(&largest).expect("readable");
    let mut flipped = whole.clone();
    flipped[whole.len() / 3] ^= 4;
    fs::write(&largest, flipped).expect("writable");
    let (code, _, err) = told(&[&"backup", &backup, &"--data", &data]);
    let name = largest.file_name().expect("a name").to_string_lossy().into_owned();
    assert!(code == 1 && err.contains("is damaged") && err.contains(&name), "{name}: {code} {err}");
    assert!(!backup.join("manifest.json").exists());
    fs::write(&largest, whole).expect("writable");
    assert_eq!(told(&[&"backup", &backup, &"--data", &data]).0, 0);
}

/// The manifest is held against the store that it is of, and against itself: whatever was changed in it is named, by everybody who reads it.
#[test]
fn a_manifest_that_was_changed_is_refused_and_the_place_named() {
    let Saved { folder, data, backup, .. } = saved();
    let target = folder.path().join("target");
    let path = backup.join("manifest.json");
    let whole = fs::read_to_string(&path).expect("readable");
    let manifest = json(&whole);
    let refused = |text: &str, expected: &[&str]| {
        fs::write(&path, text).expect("writable");
        let (code, _, err) = told(&[&"restore", &backup, &"--data", &target]);
        assert_eq!(code, 1, "{expected:?}: {err}");
        assert!(expected.iter().all(|expected| err.contains(expected)), "{expected:?} in {err}");
        assert!(!target.exists(), "{expected:?}");
        let (code, _, err) = told(&[&"backup", &backup, &"--data", &data]);
        assert!(code == 1 && expected.iter().all(|expected| err.contains(expected)), "{expected:?}: {code} {err}");
        let (code, out, err) = told(&[&"fsck", &"--store", &backup, &"--json"]);
        assert_eq!(code, 1, "{expected:?}: {err}");
        let found = json(&out)["findings"].to_string();
        assert!(found.contains("manifest"), "{expected:?}: {found}");
    };
    let name = manifest["ledger"].as_str().expect("a name");
    let other = format!("{}x", &name[..name.len() - 1]);
    let in_ledger = whole.replacen(&format!("\"ledger\": \"{name}\""), &format!("\"ledger\": \"{other}\""), 1);
    refused(&in_ledger, &["ledger: expected", &format!("{name:?}"), &format!("found {other:?}")]);
    let at_ms = manifest["at_ms"].to_string();
    let later = (manifest["at_ms"].as_u64().expect("a time") + 1).to_string();
    refused(&whole.replacen(&at_ms, &later, 1), &["check: expected", "at_ms"]);
    let check = manifest["check"].as_str().expect("a check value");
    let wrong = check.replacen(&check[..1], if check.starts_with('0') { "1" } else { "0" }, 1);
    refused(&whole.replacen(check, &wrong, 1), &["check: expected", check, &wrong]);
    let (table, digest) = manifest["tables"].as_object().expect("tables").iter().next().expect("one");
    let digest = digest.as_str().expect("a digest");
    refused(&whole.replacen(digest, check, 1), &["check: expected", "tables"]);
    refused(&whole.replacen(table, "999999.sst", 1), &["check: expected"]);
    // Each line of a checkpoint: origin, size, root, signature.
    let note = manifest["checkpoints"][1].as_str().expect("a note").to_owned();
    let lines: Vec<&str> = note.lines().collect();
    let size: u64 = lines[1].parse().expect("a size");
    let with = |line: usize, text: &str| {
        let mut changed = lines.clone();
        changed[line] = text;
        let changed = serde_json::to_string(&(changed.join("\n") + "\n")).expect("JSON");
        whole.replacen(&serde_json::to_string(&note).expect("JSON"), &changed, 1)
    };
    let flipped = |text: &str, at: usize| {
        let other = if &text[at..=at] == "A" { "B" } else { "A" };
        format!("{}{other}{}", &text[..at], &text[at + 1..])
    };
    refused(&with(0, &format!("{name}/acmf")), &["checkpoints[1]: expected", &format!("{name}/acmf")]);
    refused(&with(1, &(size + 1).to_string()), &["checkpoints[1]: expected", &format!("at most {size}")]);
    refused(&with(2, &flipped(lines[2], 7)), &["checkpoints[1]: expected line 3", lines[2]]);
    let signature = flipped(lines[4], lines[4].len() - 20);
    refused(&with(4, &signature), &["checkpoints[1]: expected line 5", lines[4], &signature]);
    refused(&whole.replacen(&serde_json::to_string(&note).expect("JSON"), "\"\"", 1), &["checkpoints[1]: expected"]);
    // The same said otherwise, no JSON at all.
    refused(&whole.replacen("  \"at_ms\"", "   \"at_ms\"", 1), &["its form: expected"]);
    refused(&whole.replacen(':', ";", 1), &["manifest.json is damaged"]);
    // Every so many bytes, whatever stands there.
    for byte in (0..whole.len()).step_by(97) {
        let mut flipped = whole.clone().into_bytes();
        flipped[byte] ^= 2;
        fs::write(&path, flipped).expect("writable");
        let (code, _, err) = told(&[&"restore", &backup, &"--data", &target]);
        assert!(code != 0 && err.contains("manifest") && !target.exists(), "byte {byte}: {code} {err}");
    }
    fs::write(&path, &whole).expect("writable");
    assert_eq!(told(&[&"backup", &backup, &"--data", &data]).0, 0);
    assert_eq!(told(&[&"restore", &backup, &"--data", &target]).0, 0);
}

/// What is refused says what it is about, and leaves things as they were.
#[test]
fn what_is_refused_leaves_nothing_behind() {
    let Saved { folder, data, backup, newer } = saved();
    let at = |name: &str| folder.path().join(name);
    fs::write(at("file"), "a file").expect("writable");
    fs::write(at("junk"), "no checkpoint\n\nat all\n").expect("writable");
    fs::write(at("binary"), [0xff, 0xfe, 0]).expect("writable");
    let refused = |arguments: &[&dyn AsRef<std::ffi::OsStr>], expect_code: i32, expected: &str| {
        let (code, _, err) = told(arguments);
        assert!(code == expect_code && err.contains(expected), "{expected:?}: {code} {err}");
        assert!(!err.contains("can't use the data directory"), "{err}");
    };
    refused(&[&"backup", &at("file"), &"--data", &data], 2, "is no directory");
    refused(&[&"backup", &at("file/below"), &"--data", &data], 2, "is no directory");
    refused(&[&"backup", &data.join("backup"), &"--data", &data], 2, "are inside each other");
    refused(&[&"backup", &at("fresh"), &"--data", &at("nothing")], 2, "there is no ledger in");
    assert!(!data.join("backup").exists() && !at("fresh").exists());

    let target = at("deep/target");
    let known = |file: &Path, expect_code, expected: &str| {
        refused(&[&"restore", &backup, &"--data", &target, &"--known-checkpoint", &file], expect_code, expected);
        assert!(!at("deep").exists(), "{expected}: nothing was there before");
    };
    known(&newer, 1, "the backup is older than");
    known(&at("junk"), 2, "holds no checkpoint");
    known(&at("binary"), 2, "not text");
    known(Path::new("/dev/zero"), 2, "more than 1048576 bytes");
    known(&at("none"), 2, "No such file");
    // An empty directory that was there stays.
    fs::create_dir(at("empty")).expect("made");
    refused(&[&"restore", &backup, &"--data", &at("empty"), &"--known-checkpoint", &newer], 1, "older than");
    assert_eq!(fs::read_dir(at("empty")).expect("there").count(), 0);
    for inside in [backup.join("restored"), backup.join("ledger/deep"), backup.clone()] {
        refused(&[&"restore", &backup, &"--data", &inside], 2, "are inside each other");
    }
    assert!(!backup.join("restored").exists());
    assert_eq!(told(&[&"restore", &backup, &"--data", &target]).0, 0);
}

/// A dedupe key that is no key is not said to be missing.
#[test]
fn a_dedupe_key_that_can_not_be_used_is_named_with_the_reason() {
    let Saved { folder: _folder, backup, .. } = saved();
    let key = backup.join("keys/acme.dedupe");
    let right = fs::read_to_string(&key).expect("readable");
    fs::write(&key, &right[..20]).expect("writable");
    let (code, out, err) = told(&[&"fsck", &"--store", &backup]);
    assert!(code == 2 && out.contains("acme.dedupe is not 64 hex digits"), "{code} {out}{err}");
    fs::write(&key, "0".repeat(64)).expect("writable");
    let (code, out, err) = told(&[&"fsck", &"--store", &backup]);
    assert!(code == 1 && out.contains("the check value of the key keys/acme.dedupe"), "{code} {out}{err}");
    fs::write(&key, right).expect("writable");
    sound(&backup);
}

/// The story of a restore that was cut off, beside a unit that starts the server again and again: what the refused starts leave is
/// no ledger, and the advised way on stays open.
#[test]
fn a_restore_that_was_cut_off_is_done_again_whoever_tried_to_serve_meanwhile() {
    let Saved { folder, backup, .. } = saved();
    let target = folder.path().join("target");
    fs::create_dir_all(target.join("ledger")).expect("made");
    fs::create_dir(target.join("ledger.restoring")).expect("made");
    fs::copy(backup.join("ledger/CURRENT"), target.join("ledger.restoring/CURRENT")).expect("copied");
    for _ in 0..2 {
        let (code, _, err) = told(&[&"serve", &"--listen", &"127.0.0.1:0", &"--tenant", &"acme", &"--data", &target]);
        assert!(code == 2 && err.contains("run `upm restore` again"), "{code} {err}");
    }
    // An earlier version opened the store before it looked: an empty one was made.
    drop(Rocks::open(&target.join("ledger")).expect("made"));
    let (code, _, err) = told(&[&"serve", &"--listen", &"127.0.0.1:0", &"--tenant", &"acme", &"--data", &target]);
    assert!(code == 2 && err.contains("run `upm restore` again"), "{code} {err}");
    assert_eq!(told(&[&"restore", &backup, &"--data", &target]).0, 0);
    sound(&target);
    let left = |name: &str| target.join(name).exists();
    assert!(!left("ledger.restoring") && !left("ledger.unwritten"));
    let (code, _, err) = told(&[&"restore", &backup, &"--data", &target]);
    assert!(code == 2 && err.contains("there is a ledger in"), "{code} {err}");

    // A start that was refused for its name left a store, and no ledger.
    let other = folder.path().join("other");
    let (code, _, err) = told(&[&"serve", &"--listen", &"127.0.0.1:0", &"--name", &"a b", &"--data", &other]);
    assert!(code == 2 && err.contains("can't be the name"), "{code} {err}");
    assert_eq!(told(&[&"restore", &backup, &"--data", &other]).0, 0);
    // What can't be read may be one.
    fs::remove_file(other.join("ledger/CURRENT")).expect("removed");
    let (code, _, err) = told(&[&"restore", &backup, &"--data", &other]);
    assert!(code == 2 && err.contains("there is a ledger in"), "{code} {err}");
}

fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt as _;
    fs::metadata(path).expect("it is there").permissions().mode() & 0o777
}

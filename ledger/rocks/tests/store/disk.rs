//! What is on disk: it outlives the process, belongs to one process, and damage is noticed.

use std::fs;
use std::path::{Path, PathBuf};

use ledger::append::load_heads;
use ledger::kv::{Batch, Kv, Space};
use ledger::layout::{FORMAT_VERSION, Key};
use ledger_rocks::{OpenError, Rocks};

use crate::oracle;
use crate::world::{Rng, World};

fn put(kv: &Rocks, space: Space, key: &[u8], value: &[u8]) {
    let mut batch = Batch::default();
    batch.put(space, key, &[value]);
    kv.write(batch).unwrap();
}

/// The write-ahead log that is written now: the one with the highest number.
fn newest_log(dir: &Path) -> PathBuf {
    let files = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|path| path.extension().is_some_and(|extension| extension == "log")).max().unwrap()
}

/// Copies the files as they are on disk now, as a loss of power would leave them.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
    }
}

#[test]
fn what_was_written_outlives_the_process_closed_or_not() {
    let dir = tempfile::tempdir().unwrap();
    let killed = dir.path().join("killed");
    let kv = Rocks::open(&dir.path().join("a")).unwrap();
    put(&kv, Space::Meta, b"k", b"1");
    copy(kv.path(), &killed);
    put(&kv, Space::Meta, b"k", b"2");
    let path = kv.path().to_owned();
    kv.close().unwrap();
    assert_eq!(Rocks::open(&path).unwrap().get(Space::Meta, b"k").unwrap().as_deref(), Some(&b"2"[..]));
    assert_eq!(Rocks::open(&killed).unwrap().get(Space::Meta, b"k").unwrap().as_deref(), Some(&b"1"[..]));
}

#[test]
fn one_process_has_it_open() {
    let dir = tempfile::tempdir().unwrap();
    let _held = Rocks::open(dir.path()).unwrap();
    assert!(matches!(Rocks::open(dir.path()), Err(OpenError::Locked { path }) if path == dir.path()));
}

/// What is in tables and what is only in the write-ahead log is read beside the writer, as of one moment; nothing is written.
#[test]
fn a_store_is_read_beside_its_writer() {
    let dir = tempfile::tempdir().unwrap();
    let (path, scratch) = (dir.path().join("store"), dir.path().join("scratch"));
    let writer = Rocks::open(&path).unwrap();
    put(&writer, Space::Meta, b"in a table", b"1");
    writer.close().unwrap();
    let writer = Rocks::open(&path).unwrap();
    put(&writer, Space::Index, b"in the log", b"2");
    let reader = Rocks::open_secondary(&path, &scratch).unwrap();
    put(&writer, Space::Meta, b"later", b"3");
    assert_eq!(reader.get(Space::Meta, b"in a table").unwrap().unwrap(), b"1");
    assert_eq!(reader.get(Space::Index, b"in the log").unwrap().unwrap(), b"2");
    assert_eq!(reader.range(Space::Index, b"", b"z", 1_000).unwrap().len(), 1);
    assert_eq!(reader.get(Space::Meta, b"later").unwrap(), None);
    let mut batch = Batch::default();
    batch.put(Space::Meta, b"mine", &[b"4"]);
    assert!(reader.write(batch).is_err());
    reader.close().unwrap();
    put(&writer, Space::Meta, b"still writing", b"5");
}

#[test]
fn a_store_at_rest_is_read_with_its_write_ahead_log() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let writer = Rocks::open(&path).unwrap();
    put(&writer, Space::Meta, b"first", b"1");
    put(&writer, Space::Meta, b"second", b"2");
    drop(writer);
    let reader = Rocks::open_read_only(&path).unwrap();
    assert_eq!(reader.get(Space::Meta, b"second").unwrap().unwrap(), b"2");
    drop(reader);
    // A record before the end that is damaged was confirmed: it must not be skipped in silence.
    let log = newest_log(&path);
    let mut bytes = fs::read(&log).unwrap();
    bytes[20] ^= 1;
    fs::write(&log, bytes).unwrap();
    assert!(matches!(Rocks::open_read_only(&path), Err(OpenError::Damaged { .. })));
    assert!(Rocks::open_read_only(&dir.path().join("none")).is_err());
    assert!(Rocks::open_secondary(&dir.path().join("none"), &dir.path().join("scratch")).is_err());
}

/// Opened as a new store, its tables would be deleted.
#[test]
fn a_store_that_lost_its_current_file_is_refused_and_left_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let kv = Rocks::open(dir.path()).unwrap();
    put(&kv, Space::Meta, b"key", b"value");
    kv.close().unwrap();
    let (current, aside) = (dir.path().join("CURRENT"), dir.path().join("aside"));
    std::fs::rename(&current, &aside).unwrap();
    for _ in 0..2 {
        let refused = Rocks::open(dir.path()).map(drop).unwrap_err();
        assert!(matches!(&refused, OpenError::Damaged { detail, .. } if detail.contains("CURRENT")), "{refused}");
    }
    std::fs::rename(&aside, &current).unwrap();
    assert_eq!(Rocks::open(dir.path()).unwrap().get(Space::Meta, b"key").unwrap().as_deref(), Some(&b"value"[..]));
}

/// The story of a first start that was killed: the manifest is there, `CURRENT` is not, and nothing was ever written. Whatever else
/// is there besides says that the store was open once.
#[test]
fn a_store_whose_very_first_opening_was_cut_off_is_opened() {
    let dir = tempfile::tempdir().unwrap();
    let born = dir.path().join("born");
    drop(Rocks::open(&born).unwrap());
    assert!(!born.join("MANIFEST-000001").exists(), "a store that was opened has a later manifest");
    let cut = |name: &str, more: &[&str]| {
        let path = dir.path().join(name);
        fs::create_dir(&path).unwrap();
        for file in ["IDENTITY", "LOCK", "LOG", "000001.dbtmp"].iter().chain(more) {
            fs::write(path.join(file), "cut off").unwrap();
        }
        path
    };
    for (name, more) in [("early", &[][..]), ("late", &["MANIFEST-000001"][..])] {
        let path = cut(name, more);
        assert!(Rocks::is_unwritten(&path).unwrap());
        let kv = Rocks::open(&path).unwrap();
        put(&kv, Space::Meta, b"key", b"value");
        drop(kv);
        assert!(!Rocks::is_unwritten(&path).unwrap());
        assert_eq!(Rocks::open(&path).unwrap().get(Space::Meta, b"key").unwrap().as_deref(), Some(&b"value"[..]));
    }
    for other in ["MANIFEST-000005", "000004.log", "000009.sst"] {
        let path = cut(other, &["MANIFEST-000001", other]);
        assert!(!Rocks::is_unwritten(&path).unwrap(), "{other}");
        let refused = Rocks::open(&path).map(drop).unwrap_err();
        assert!(matches!(&refused, OpenError::Damaged { detail, .. } if detail.contains(other)), "{refused}");
    }
    // Opened and never written to, and not there at all.
    assert!(Rocks::is_unwritten(&born).unwrap() && Rocks::is_unwritten(&dir.path().join("none")).unwrap());
    for space in Space::ALL {
        let path = dir.path().join(space.name());
        put(&Rocks::open(&path).unwrap(), space, b"key", b"value");
        assert!(!Rocks::is_unwritten(&path).unwrap(), "{space:?}");
    }
}

#[test]
fn another_format_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    for other in [FORMAT_VERSION + 1, FORMAT_VERSION - 1] {
        let path = dir.path().join(other.to_string());
        let kv = Rocks::open(&path).unwrap();
        put(&kv, Space::Meta, &Key::Format.bytes(), &other.to_be_bytes());
        drop(kv);
        let refused = Rocks::open(&path).map(drop).unwrap_err();
        assert!(matches!(refused, OpenError::OtherFormat { found, known: FORMAT_VERSION, .. } if found == other));
    }
}

#[test]
fn a_path_that_can_be_no_directory_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "x").unwrap();
    assert!(matches!(Rocks::open(&file), Err(OpenError::Directory { path, .. }) if path == file));
}

/// A batch over all spaces is there wholly or not at all, wherever the log of it is cut.
#[test]
fn a_write_cut_off_anywhere_is_no_write() {
    let dir = tempfile::tempdir().unwrap();
    let kv = Rocks::open(&dir.path().join("a")).unwrap();
    put(&kv, Space::Meta, b"before", b"1");
    let before = fs::metadata(newest_log(kv.path())).unwrap().len();
    let mut batch = Batch::default();
    for space in Space::ALL {
        batch.put(space, b"key", &[&[7; 300]]);
    }
    kv.write(batch).unwrap();
    let after = fs::metadata(newest_log(kv.path())).unwrap().len();
    assert!(after > before + 1_500);
    for (number, length) in (before..after).step_by(97).chain([after - 1, after]).enumerate() {
        let cut = dir.path().join(format!("cut-{number}"));
        copy(kv.path(), &cut);
        fs::File::options().write(true).open(newest_log(&cut)).unwrap().set_len(length).unwrap();
        let found = Rocks::open(&cut).unwrap();
        assert!(found.get(Space::Meta, b"before").unwrap().is_some());
        let there = Space::ALL.map(|space| found.get(space, b"key").unwrap().is_some());
        assert_eq!(there, [length == after; 5], "cut at {length} of {after}");
    }
}

/// A flipped bit in what was confirmed must never look like a shorter log: we would sign another history over it.
#[test]
fn damage_in_the_write_ahead_log_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let kv = Rocks::open(&dir.path().join("a")).unwrap();
    for number in 0..50_u8 {
        put(&kv, Space::Entries, &[number], &[number; 400]);
    }
    let length = fs::metadata(newest_log(kv.path())).unwrap().len() as usize;
    for (number, place) in (length / 4..length / 2).step_by(521).enumerate() {
        let hurt = dir.path().join(format!("hurt-{number}"));
        copy(kv.path(), &hurt);
        let path = newest_log(&hurt);
        let mut bytes = fs::read(&path).unwrap();
        bytes[place] ^= 0x10;
        fs::write(&path, bytes).unwrap();
        let found = Rocks::open(&hurt);
        assert!(matches!(found, Err(OpenError::Damaged { .. })), "flipped at {place}: {:?}", found.err());
    }
}

#[test]
fn damage_in_a_table_is_an_error_not_an_answer() {
    let dir = tempfile::tempdir().unwrap();
    let kv = Rocks::open(dir.path()).unwrap();
    for number in 0..200_u8 {
        put(&kv, Space::Payloads, &[number], &[number; 400]);
    }
    kv.close().unwrap();
    let tables = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path());
    for table in tables.filter(|path| path.extension().is_some_and(|extension| extension == "sst")) {
        let mut bytes = fs::read(&table).unwrap();
        bytes[100] ^= 1;
        fs::write(&table, bytes).unwrap();
    }
    let read = Rocks::open(dir.path()).map(|kv| kv.range(Space::Payloads, &[0], &[255], 999).map(drop));
    assert!(!matches!(read, Ok(Ok(()))));
}

/// A whole history, closed and opened between its parts, with everything flushed to tables.
#[test]
fn a_history_survives_restarts_and_flushes() {
    let dir = tempfile::tempdir().unwrap();
    let (world, mut told, mut rng) = (World::new(5, 2, 400), Vec::new(), Rng(5));
    let kv = Rocks::open(dir.path()).unwrap();
    world.found(&kv, &mut rng).unwrap();
    kv.close().unwrap();
    let kv = Rocks::open(dir.path()).unwrap();
    world.live(&kv, &mut rng, &mut told).unwrap();
    let heads = load_heads(&kv).unwrap();
    kv.close().unwrap();
    let kv = Rocks::open(dir.path()).unwrap();
    assert_eq!(load_heads(&kv).unwrap(), heads);
    oracle::check(&world, &kv, &told);
}

//! `manifest.json`: what the last finished run of a backup left there.
//!
//! It says nothing that is believed because it stands there. Names and checkpoints are compared with the backup's store, byte for byte; the tables of
//! the store, which never change once they are written, with their digests; and the whole file with a check value of its own (as rows of the
//! store have that nothing else vouches for), which finds a flipped bit and is no defence against people.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use ledger::birth::{self, BirthError, LEDGER_LOG};
use ledger::checkpoint::{self, Origin};
use ledger::layout::LogId;
use ledger::read::{Log, ReadError};
use ledger_rocks::Rocks;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::backup_dir::{BackupError, at, replace};
use crate::bounded::{self, DOCUMENT_MAX};

/// Version of the manifest.
const FORMAT: u32 = 2;

/// Name of its file.
pub const NAME: &str = "manifest.json";

/// What a finished backup holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    format: u32,
    /// The ledger's name.
    pub ledger: String,
    /// When the backup was finished, milliseconds since 1970.
    pub at_ms: u64,
    /// The newest checkpoint of each log, a signed note, `_ledger`'s first.
    pub checkpoints: Vec<String>,
    /// The tables of the store by name, each with the SHA-256 of its file in hex.
    pub tables: BTreeMap<String, String>,
    /// SHA-256 of this file with an empty text here, hex.
    check: String,
}

/// A manifest as it was found.
#[derive(Debug)]
pub struct Found {
    /// What it says.
    pub manifest: Manifest,
    /// Why it is not what was written, if so.
    damage: Option<Difference>,
}

/// A place where a backup is not what its manifest says, or the manifest not what the backup says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Member of the manifest, or a file.
    pub place: String,
    /// What should be there.
    pub expected: String,
    /// What is there.
    pub found: String,
}

/// Why a manifest could not be compared.
#[derive(Debug, thiserror::Error)]
pub enum CompareError {
    /// The store does not say which logs it has.
    #[error(transparent)]
    Birth(#[from] BirthError),
    /// A log could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: expected {}, found {}", self.place, self.expected, self.found)
    }
}

impl Manifest {
    /// What a store holds at `at_ms`; `known` are digests of its tables as far as they are known.
    pub fn of(kv: &Rocks, at_ms: u64, tables: BTreeMap<String, String>) -> Result<Self, CompareError> {
        let ledger = birth::ledger_name(kv)?.unwrap_or_default();
        let tenants = birth::list_tenants(kv)?.into_iter().map(|(_, log, _)| log);
        let newest = |log| Log::open(kv, log)?.newest_checkpoint();
        let checkpoints = [LogId::LEDGER].into_iter().chain(tenants).map(newest).collect::<Result<_, ReadError>>()?;
        let mut manifest = Self { format: FORMAT, ledger, at_ms, checkpoints, tables, check: String::new() };
        manifest.check = manifest.check_value();
        Ok(manifest)
    }

    /// The logs with their sizes, as their checkpoints say.
    pub fn logs(&self) -> Vec<(String, u64)> {
        let heads = self.checkpoints.iter().filter_map(|note| checkpoint::peek(note).ok());
        heads.map(|head| (head.origin.to_string(), head.size)).collect()
    }

    /// Puts the manifest in place, whole or not at all, durable when it returns.
    pub fn write(&self, dir: &Path) -> Result<(), BackupError> {
        replace(&dir.join(NAME), &self.text())
    }

    fn text(&self) -> Vec<u8> {
        // Texts and numbers: nothing that JSON has no form for.
        let mut text = serde_json::to_vec_pretty(self).unwrap_or_default();
        text.push(b'\n');
        text
    }

    fn check_value(&self) -> String {
        hex::encode(Sha256::digest(Self { check: String::new(), ..self.clone() }.text()))
    }
}

impl Found {
    /// The manifest of the backup in `dir`.
    pub fn read(dir: &Path) -> Result<Self, BackupError> {
        #[derive(Deserialize)]
        struct Version {
            format: u32,
        }
        let path = dir.join(NAME);
        let text = match bounded::read(&path, DOCUMENT_MAX) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(BackupError::Unfinished(dir.to_owned()));
            }
            read => read.map_err(at(&path))?,
        };
        let broken = |error: serde_json::Error| BackupError::Manifest { path: path.clone(), found: error.to_string() };
        let Version { format } = serde_json::from_slice(&text).map_err(broken)?;
        if format != FORMAT {
            return Err(BackupError::OtherFormat { path, found: format, known: FORMAT });
        }
        let manifest: Manifest = serde_json::from_slice(&text).map_err(broken)?;
        let damage = damage(&manifest, &text);
        Ok(Self { manifest, damage })
    }

    /// Tables in `store` that are not what they were when the backup was finished. One that is gone was merged into others by a run that
    /// was cut off, or is missed by the store itself. None where the manifest is damaged: then nobody knows which of the two is.
    pub fn changed_tables(&self, store: &Path) -> Result<Vec<Difference>, BackupError> {
        let mut changed = Vec::new();
        for name in table_names(store)? {
            let Some(expected) = self.manifest.tables.get(&name).filter(|_| self.damage.is_none()) else { continue };
            let found = digest(&store.join(&name))?;
            if found != *expected {
                let (expected, found) = (format!("the SHA-256 {expected}, as {NAME} says"), found);
                changed.push(Difference { place: format!("ledger/{name}"), expected, found });
            }
        }
        Ok(changed)
    }

    /// Where the manifest is not what the store `kv` of its backup says: empty for a sound one. The store may be ahead of it.
    pub fn differences(&self, kv: &Rocks) -> Result<Vec<Difference>, CompareError> {
        let mut differences = Vec::new();
        let mut differ = |place: String, expected: String, found: String| {
            differences.push(Difference { place, expected, found });
        };
        let name = birth::ledger_name(kv)?.unwrap_or_default();
        if self.manifest.ledger != name {
            differ("ledger".to_owned(), format!("{name:?}, as its store says"), format!("{:?}", self.manifest.ledger));
        }
        let mut named = BTreeSet::new();
        for (number, note) in self.manifest.checkpoints.iter().enumerate() {
            let place = format!("checkpoints[{number}]");
            match compare_checkpoint(kv, note)? {
                Ok(origin) => drop(named.insert(origin)),
                Err((expected, found)) => differ(place, expected, found),
            }
        }
        if differences.is_empty() && !named.iter().any(|origin| origin.log() == LEDGER_LOG) {
            let expected = format!("a checkpoint of {name}/{LEDGER_LOG}");
            differences.push(Difference { place: "checkpoints".to_owned(), expected, found: "none".to_owned() });
        }
        differences.extend(self.damage.clone());
        Ok(differences)
    }
}

/// Whether the text is what would be written for what it says, to the last byte.
fn damage(manifest: &Manifest, text: &[u8]) -> Option<Difference> {
    let expected = manifest.check_value();
    if manifest.check != expected {
        let found =
            format!("{:?}: at_ms, tables, check, or another member that is named above, was changed", manifest.check);
        return Some(Difference { place: "check".to_owned(), expected: format!("{expected:?}"), found });
    }
    (manifest.text() != text).then(|| Difference {
        place: "its form".to_owned(),
        expected: "the bytes that `upm backup` writes".to_owned(),
        found: "the same members, written otherwise".to_owned(),
    })
}

/// Whether a note is the checkpoint that the store has for its size: its log, or what was expected and what was found.
fn compare_checkpoint(kv: &Rocks, note: &str) -> Result<Result<Origin, (String, String)>, CompareError> {
    let head = match checkpoint::peek(note) {
        Ok(head) => head,
        Err(error) => return Ok(Err(("a checkpoint".to_owned(), format!("{error} in {note:?}")))),
    };
    let Some(log) = log_named(kv, &head.origin)? else {
        return Ok(Err(("the origin of a log of its store".to_owned(), format!("{:?}", head.origin.as_str()))));
    };
    let size = log.head()?.size;
    if head.size > size {
        let expected = format!("a size that {} has, at most {size}", head.origin);
        return Ok(Err((expected, head.size.to_string())));
    }
    let Some(stored) = log.checkpoint(head.size)? else {
        let expected = format!("a size of {} that was signed", head.origin);
        return Ok(Err((expected, head.size.to_string())));
    };
    if stored == note {
        return Ok(Ok(head.origin));
    }
    let differ = stored.lines().zip(note.lines()).zip(1..).find(|((stored, found), _)| stored != found);
    let ((expected, found), line) = differ.unwrap_or(((stored.as_str(), note), 0));
    Ok(Err((format!("line {line} {expected:?}, as its store has it"), format!("{found:?}"))))
}

/// The log of this name in a store.
pub fn log_named<'a>(kv: &'a Rocks, origin: &Origin) -> Result<Option<Log<&'a Rocks>>, CompareError> {
    let own = origin.log() == LEDGER_LOG;
    let id = match birth::list_tenants(kv)?.into_iter().find(|(.., found)| found == origin) {
        Some((_, log, _)) => log,
        None if own => LogId::LEDGER,
        None => return Ok(None),
    };
    let log = Log::open(kv, id)?;
    let named = log.first()?.origin;
    Ok((named == *origin).then_some(log))
}

/// The tables of a store, each with the SHA-256 of its file. Those of `known` are taken as they are: a table never changes.
pub fn tables(store: &Path, known: &BTreeMap<String, String>) -> Result<BTreeMap<String, String>, BackupError> {
    let one = |name: String| {
        let digest = known.get(&name).map_or_else(|| digest(&store.join(&name)), |known| Ok(known.clone()))?;
        Ok((name, digest))
    };
    table_names(store)?.into_iter().map(one).collect()
}

/// Names of the tables of a store; none where there is no store yet.
pub fn table_names(store: &Path) -> Result<BTreeSet<String>, BackupError> {
    let entries = match fs::read_dir(store) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeSet::new()),
        read => read.map_err(at(store))?,
    };
    let mut names = BTreeSet::new();
    for entry in entries {
        let path = PathBuf::from(entry.map_err(at(store))?.file_name());
        if path.extension().is_some_and(|extension| extension == "sst") {
            names.insert(path.to_string_lossy().into_owned());
        }
    }
    Ok(names)
}

fn digest(path: &Path) -> Result<String, BackupError> {
    let mut file = File::open(path).map_err(at(path))?;
    let (mut hash, mut buffer) = (Sha256::new(), vec![0; 1 << 18]);
    loop {
        match file.read(&mut buffer).map_err(at(path))? {
            0 => return Ok(hex::encode(hash.finalize())),
            read => hash.update(&buffer[..read]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest() -> Manifest {
        let checkpoints = vec!["here/_ledger\n1\nAAAA\n\n— here/_ledger BBBB\n".to_owned()];
        let tables = BTreeMap::from([("000012.sst".to_owned(), hex::encode([7; 32]))]);
        let mut manifest =
            Manifest { format: FORMAT, ledger: "here".into(), at_ms: 7, checkpoints, tables, check: String::new() };
        manifest.check = manifest.check_value();
        manifest
    }

    #[test]
    fn a_manifest_reads_back_and_others_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(Found::read(dir.path()), Err(BackupError::Unfinished(_))));
        let manifest = manifest();
        manifest.write(dir.path()).unwrap();
        let found = Found::read(dir.path()).unwrap();
        assert_eq!((found.manifest, found.damage), (manifest, None));
        for other in ["{}", "", "[]", "{\"format\": 2}"] {
            fs::write(dir.path().join(NAME), other).unwrap();
            assert!(matches!(Found::read(dir.path()), Err(BackupError::Manifest { .. })), "{other}");
        }
        fs::write(dir.path().join(NAME), "{\"format\": 1, \"logs\": []}").unwrap();
        assert!(matches!(Found::read(dir.path()), Err(BackupError::OtherFormat { found: 1, .. })));
    }

    /// Every bit of the file.
    #[test]
    fn no_flipped_bit_of_a_manifest_is_believed() {
        let dir = tempfile::tempdir().unwrap();
        let manifest = manifest();
        manifest.write(dir.path()).unwrap();
        let whole = fs::read(dir.path().join(NAME)).unwrap();
        for byte in 0..whole.len() {
            for bit in 0..8 {
                let mut flipped = whole.clone();
                flipped[byte] ^= 1 << bit;
                fs::write(dir.path().join(NAME), &flipped).unwrap();
                if let Ok(found) = Found::read(dir.path()) {
                    assert!(found.damage.is_some(), "{}", String::from_utf8_lossy(&flipped));
                }
            }
        }
    }

    #[test]
    fn a_table_that_was_changed_is_named() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["000001.sst", "000002.sst", "LOG"] {
            fs::write(dir.path().join(name), name).unwrap();
        }
        let listed = tables(dir.path(), &BTreeMap::new()).unwrap();
        assert_eq!(listed.keys().collect::<Vec<_>>(), ["000001.sst", "000002.sst"]);
        let found = Found { manifest: Manifest { tables: listed.clone(), ..manifest() }, damage: None };
        assert_eq!(found.changed_tables(dir.path()).unwrap(), []);
        fs::write(dir.path().join("000002.sst"), "000003.sst").unwrap();
        fs::remove_file(dir.path().join("000001.sst")).unwrap();
        let changed = found.changed_tables(dir.path()).unwrap();
        assert!(changed.len() == 1 && changed[0].place == "ledger/000002.sst", "{changed:?}");
        // What is known is not read again: whoever knows it has just compared it.
        assert_eq!(tables(dir.path(), &listed).unwrap()["000002.sst"], listed["000002.sst"]);
        assert_eq!(tables(&dir.path().join("none"), &listed).unwrap(), BTreeMap::new());
    }
}

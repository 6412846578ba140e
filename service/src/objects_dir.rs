//! Logs that are kept beside the ledger: what events refer to by digest, as files that are named by it.
//!
//! ```text
//! objects/TENANT/       0700
//!   next                the first entry whose references are not noted yet
//!   waiting/HEX         what is looked for, as JSON (`Record`)
//!   AB/HEX              an object; AB are the first two digits of its digest HEX
//!   AB/HEX.json         what became of a reference: the object is here, or missing and why (`Record`)
//!   partial             an object while it is copied
//! ```
//!
//! An object is synced before its record says that it is here, and the record before nothing is looked for any more, so a crash at any point
//! leaves either the object or somebody who still looks for it. Nothing here has to be trusted: the log commits to the digest, and whoever
//! reads an object compares. Left out: where objects come from (`taking`).

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use schemas::ids::Tenant;
use schemas::object::{ObjectRef, parse_digest};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::bounded::{self, NOTE_MAX};
use crate::data_dir;

/// The folder of a data directory or backup that all of it is in.
const FOLDER: &str = "objects";

/// The objects of one tenant.
#[derive(Clone, Debug)]
pub struct ObjectDir {
    root: PathBuf,
}

/// References to one digest that are kept, at most; the newest of them.
const REFERENCES_MAX: usize = 16;

/// What became of a reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// It is looked for.
    Waiting,
    /// Its bytes are here.
    Here,
    /// It was looked for, and is not here.
    Missing,
}

/// A reference and what became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// What became of it.
    pub standing: Standing,
    /// The reference, as the event has it; of several the newest, and of an object that is here the one that led to it.
    pub reference: String,
    /// Other references to the same digest, by another name or of another length: one that is wrong must not hide one that is right.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub others: Vec<String>,
    /// The entry that brought it.
    pub entry: u64,
    /// When that was noted, milliseconds since 1970.
    pub since_ms: u64,
    /// CRC-32 of the bytes, where they are here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crc32: Option<u32>,
    /// Why it is missing, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

impl Record {
    /// Of a reference that is to be looked for.
    pub fn waiting(reference: &ObjectRef, entry: u64, since_ms: u64) -> Self {
        let (standing, reference) = (Standing::Waiting, reference.to_string());
        Self { standing, reference, others: Vec::new(), entry, since_ms, crc32: None, why: None }
    }

    /// All references to the digest, the newest first.
    pub fn references(&self) -> Vec<ObjectRef> {
        std::iter::once(&self.reference).chain(&self.others).filter_map(|text| ObjectRef::parse(text)).collect()
    }

    fn knows(&self, reference: &str) -> bool {
        self.reference == reference || self.others.iter().any(|other| other == reference)
    }

    /// This one, with the references of an earlier one behind its own.
    fn before(&self, earlier: &Record) -> Self {
        let others = std::iter::once(&earlier.reference).chain(&earlier.others);
        let others = others.filter(|other| **other != self.reference).take(REFERENCES_MAX - 1).cloned().collect();
        Self { others, ..self.clone() }
    }

    /// The reference; none where the file was not written by us.
    pub fn parsed(&self) -> Option<ObjectRef> {
        ObjectRef::parse(&self.reference)
    }
}

/// A fault of a stored object.
#[derive(Debug, PartialEq, Eq)]
pub struct Fault {
    /// The tenant's folder and the file in it.
    pub file: String,
    /// What should be there.
    pub expected: String,
    /// What is there.
    pub found: String,
}

/// What was copied from one ledger's objects to another's.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Copied {
    /// Objects that were not there before.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// What was left behind because it is not what its name says.
    pub damaged: Vec<Fault>,
}

impl ObjectDir {
    /// The objects of a tenant in the data directory or backup `root`. Nothing has to be there.
    pub fn of(root: &Path, tenant: &Tenant) -> Self {
        Self { root: root.join(FOLDER).join(tenant.as_str()) }
    }

    /// Those of every tenant that has any, in order.
    pub fn all(root: &Path) -> io::Result<Vec<(Tenant, Self)>> {
        let mut found = Vec::new();
        for name in names(&root.join(FOLDER))? {
            if let Ok(tenant) = Tenant::parse(&name) {
                found.push((tenant.clone(), Self::of(root, &tenant)));
            }
        }
        Ok(found)
    }

    /// Where they lie.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Makes it, private to its owner, and takes away what a crash left half copied.
    pub fn prepare(&self) -> io::Result<()> {
        for dir in [self.root.parent().unwrap_or(&self.root), &self.root, &self.root.join("waiting")] {
            data_dir::make_private(dir).map_err(io::Error::other)?;
        }
        match fs::remove_file(self.partial()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// What became of a digest; none where nobody referred to it.
    pub fn record(&self, hex: &str) -> io::Result<Option<Record>> {
        match read_record(&self.place(hex, ".json"))? {
            None => read_record(&self.waiting_place(hex)),
            // It was referred to again after it had been given up.
            Some(record) if record.standing == Standing::Missing => {
                Ok(Some(read_record(&self.waiting_place(hex))?.unwrap_or(record)))
            }
            settled => Ok(settled),
        }
    }

    /// Length and CRC-32 of an object that is here.
    pub fn kept(&self, hex: &str) -> io::Result<Option<(u64, u32)>> {
        let record = read_record(&self.place(hex, ".json"))?;
        let Some(Record { standing: Standing::Here, crc32: Some(crc32), .. }) = record else { return Ok(None) };
        match fs::metadata(self.place(hex, "")) {
            Ok(found) => Ok(Some((found.len(), crc32))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// An object's bytes, which the reader has to hash.
    pub fn open(&self, hex: &str) -> io::Result<File> {
        File::open(self.place(hex, ""))
    }

    /// The first entry whose references are not noted yet.
    pub fn next(&self) -> io::Result<u64> {
        match bounded::text(&self.root.join("next"), NOTE_MAX) {
            Ok(text) => text.trim().parse().map_err(|_| io::Error::other(format!("objects/…/next holds {text:?}"))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
            Err(error) => Err(error),
        }
    }

    /// Notes up to where references are noted.
    pub fn set_next(&self, next: u64) -> io::Result<()> {
        replace(&self.root.join("next"), format!("{next}\n").as_bytes())
    }

    /// Notes a reference that is to be looked for, unless its object is here or it was noted before. Gives what is noted of its digest now.
    pub fn note(&self, record: &Record) -> io::Result<Option<Record>> {
        let Some(reference) = record.parsed() else { return Ok(None) };
        let hex = reference.hex();
        let record = match self.record(&hex)? {
            Some(found) if found.standing == Standing::Here => return Ok(None),
            // Entries are read again after a crash.
            Some(found) if found.entry > record.entry => return Ok(None),
            Some(found) if found.entry == record.entry && found.knows(&record.reference) => return Ok(None),
            Some(found) => record.before(&found),
            None => record.clone(),
        };
        replace(&self.waiting_place(&hex), &serde_json::to_vec(&record)?)?;
        Ok(Some(record))
    }

    /// Everything that is looked for.
    pub fn waiting(&self) -> io::Result<Vec<Record>> {
        let mut found = Vec::new();
        for name in names(&self.root.join("waiting"))?.into_iter().filter(|name| parse_digest(name).is_some()) {
            found.extend(read_record(&self.waiting_place(&name))?);
        }
        found.sort_by_key(|record| record.entry);
        Ok(found)
    }

    /// A place to copy an object to before it is known to be the right one.
    pub fn begin(&self) -> io::Result<Copying> {
        Ok(Copying {
            file: File::create(self.partial())?,
            sha256: Sha256::new(),
            crc32: crc32fast::Hasher::new(),
            size: 0,
        })
    }

    /// Puts a copied object in its place and notes that it is here.
    pub fn keep(&self, record: &Record, copied: &File, crc32: u32) -> io::Result<()> {
        let Some(reference) = record.parsed() else { return Err(io::Error::other("no reference")) };
        copied.sync_all()?;
        let place = self.place(&reference.hex(), "");
        self.folder_of(&place)?;
        fs::rename(self.partial(), &place)?;
        sync_parent(&place)?;
        self.settle(&Record { standing: Standing::Here, crc32: Some(crc32), why: None, ..record.clone() })
    }

    /// Notes that an object is missing, and why.
    pub fn give_up(&self, record: &Record, why: &str) -> io::Result<()> {
        let why = Some(why.to_owned());
        self.settle(&Record { standing: Standing::Missing, crc32: None, why, ..record.clone() })
    }

    fn settle(&self, record: &Record) -> io::Result<()> {
        let Some(reference) = record.parsed() else { return Err(io::Error::other("no reference")) };
        let hex = reference.hex();
        let place = self.place(&hex, ".json");
        self.folder_of(&place)?;
        replace(&place, &serde_json::to_vec(record)?)?;
        match fs::remove_file(self.waiting_place(&hex)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Reads every object and compares it with its name; gives the number of objects and what is wrong.
    pub fn check(&self, tenant: &Tenant) -> io::Result<(u64, Vec<Fault>)> {
        let (mut count, mut faults) = (0, Vec::new());
        for (folder, hex) in self.settled()? {
            let name = format!("{tenant}/{folder}/{hex}");
            let fault =
                |expected: &str, found: String| Fault { file: name.clone(), expected: expected.to_owned(), found };
            let record = match read_record(&self.place(&hex, ".json")) {
                Ok(Some(record)) if record.parsed().is_some_and(|reference| reference.hex() == hex) => record,
                Ok(_) => {
                    faults.push(fault("a record of this digest", "a record of another".to_owned()));
                    continue;
                }
                Err(error) => {
                    faults.push(fault("a record", error.to_string()));
                    continue;
                }
            };
            if record.standing != Standing::Here {
                continue;
            }
            count += 1;
            match self.open(&hex).and_then(|mut file| digest(&mut file)) {
                Ok((found, crc32)) if hex::encode(found) == hex => {
                    if record.crc32 != Some(crc32) {
                        let found = format!("{:?} in its record", record.crc32);
                        faults.push(fault(&format!("CRC-32 {crc32}"), found));
                    }
                }
                Ok((found, _)) => {
                    faults.push(fault("bytes with the digest of its name", format!("SHA-256 {}", hex::encode(found))));
                }
                Err(error) => faults.push(fault("an object that can be read", error.to_string())),
            }
        }
        Ok((count, faults))
    }

    /// Whether an object is here, with the digest of its name and the checksum that was noted.
    fn is_sound(&self, hex: &str) -> bool {
        let Ok(Some(Record { standing: Standing::Here, crc32: Some(noted), .. })) =
            read_record(&self.place(hex, ".json"))
        else {
            return false;
        };
        let found = self.open(hex).and_then(|mut file| digest(&mut file));
        found.is_ok_and(|(sha256, crc32)| hex::encode(sha256) == hex && crc32 == noted)
    }

    /// Copies to another directory what is not there yet, or no more what its name says: objects, each compared with its name on the way, and
    /// what became of the others.
    fn copy_to(&self, tenant: &Tenant, to: &Self, copied: &mut Copied) -> io::Result<()> {
        to.prepare()?;
        for (folder, hex) in self.settled()? {
            let damaged = |expected: &str, found: String| Fault {
                file: format!("{tenant}/{folder}/{hex}"),
                expected: expected.to_owned(),
                found,
            };
            let record = match read_record(&self.place(&hex, ".json")) {
                Ok(Some(record)) if record.parsed().is_some_and(|reference| reference.hex() == hex) => record,
                Ok(Some(_)) => {
                    copied.damaged.push(damaged("a record of this digest", "a record of another".to_owned()));
                    continue;
                }
                Ok(None) => continue,
                Err(error) => {
                    copied.damaged.push(damaged("a record", error.to_string()));
                    continue;
                }
            };
            if record.standing != Standing::Here {
                if !matches!(to.record(&hex), Ok(Some(_))) {
                    to.settle(&record)?;
                }
                continue;
            }
            if to.is_sound(&hex) {
                continue;
            }
            let bytes = "bytes with the digest of its name";
            let mut file = match self.open(&hex) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    copied.damaged.push(damaged(bytes, "no file".to_owned()));
                    continue;
                }
                file => file?,
            };
            let mut copying = to.begin()?;
            io::copy(&mut file, &mut copying)?;
            let done = copying.end()?;
            if hex::encode(done.sha256) == hex {
                to.keep(&record, &done.file, done.crc32)?;
                copied.objects += 1;
                copied.bytes += done.size;
            } else {
                copied.damaged.push(damaged(bytes, format!("SHA-256 {}", hex::encode(done.sha256))));
            }
        }
        for record in self.waiting()? {
            to.note(&record)?;
        }
        to.set_next(self.next()?)
    }

    /// Folder and digest of every record that is settled.
    fn settled(&self) -> io::Result<Vec<(String, String)>> {
        let mut found = Vec::new();
        for folder in names(&self.root)?.into_iter().filter(|name| name.len() == 2) {
            for name in names(&self.root.join(&folder))? {
                if let Some(hex) = name.strip_suffix(".json").filter(|hex| parse_digest(hex).is_some()) {
                    found.push((folder.clone(), hex.to_owned()));
                }
            }
        }
        Ok(found)
    }

    fn place(&self, hex: &str, suffix: &str) -> PathBuf {
        self.root.join(hex.get(..2).unwrap_or_default()).join(format!("{hex}{suffix}"))
    }

    fn waiting_place(&self, hex: &str) -> PathBuf {
        self.root.join("waiting").join(hex)
    }

    fn partial(&self) -> PathBuf {
        self.root.join("partial")
    }

    fn folder_of(&self, place: &Path) -> io::Result<()> {
        let Some(folder) = place.parent().filter(|folder| !folder.is_dir()) else { return Ok(()) };
        data_dir::make_private(folder).map_err(io::Error::other)?;
        File::open(&self.root)?.sync_all()
    }
}

/// Copies the objects of every tenant from one data directory or backup to another.
pub fn copy_all(from: &Path, to: &Path) -> io::Result<Copied> {
    let mut copied = Copied::default();
    for (tenant, dir) in ObjectDir::all(from)? {
        dir.copy_to(&tenant, &ObjectDir::of(to, &tenant), &mut copied)?;
    }
    Ok(copied)
}

/// An object while it is copied: hashed as it comes.
pub struct Copying {
    file: File,
    sha256: Sha256,
    crc32: crc32fast::Hasher,
    size: u64,
}

/// An object that was copied whole.
pub struct CopiedObject {
    /// Its file.
    pub file: File,
    /// SHA-256 of its bytes.
    pub sha256: [u8; 32],
    /// Their CRC-32.
    pub crc32: u32,
    /// Their number.
    pub size: u64,
}

impl Copying {
    /// Nothing comes any more.
    pub fn end(mut self) -> io::Result<CopiedObject> {
        self.file.flush()?;
        let (sha256, crc32) = (self.sha256.finalize().into(), self.crc32.finalize());
        Ok(CopiedObject { file: self.file, sha256, crc32, size: self.size })
    }
}

impl Write for Copying {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        let bytes = &bytes[..written];
        self.sha256.update(bytes);
        self.crc32.update(bytes);
        self.size += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// SHA-256 and CRC-32 of what is read.
fn digest(from: &mut impl Read) -> io::Result<([u8; 32], u32)> {
    let (mut sha256, mut crc32, mut piece) = (Sha256::new(), crc32fast::Hasher::new(), vec![0; 64 * 1024]);
    loop {
        match from.read(&mut piece) {
            Ok(0) => return Ok((sha256.finalize().into(), crc32.finalize())),
            Ok(read) => {
                sha256.update(&piece[..read]);
                crc32.update(&piece[..read]);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// The names in a folder, in order; none where there is no such folder.
fn names(folder: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut names = Vec::new();
    for entry in entries {
        names.extend(entry?.file_name().into_string().ok());
    }
    names.sort();
    Ok(names)
}

fn read_record(path: &Path) -> io::Result<Option<Record>> {
    match bounded::read(path, NOTE_MAX) {
        Ok(text) => serde_json::from_slice(&text).map(Some).map_err(io::Error::from),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Writes a file whole or not at all, durable when it returns.
fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut partial = path.as_os_str().to_owned();
    partial.push(".partial");
    let partial = PathBuf::from(partial);
    File::create(&partial).and_then(|mut file| file.write_all(content).and_then(|()| file.sync_all()))?;
    fs::rename(&partial, path)?;
    sync_parent(path)
}

fn sync_parent(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant() -> Tenant {
        Tenant::parse("acme").unwrap()
    }

    fn reference(bytes: &[u8]) -> ObjectRef {
        ObjectRef::own(&tenant(), Sha256::digest(bytes).into(), bytes.len() as u64)
    }

    fn keep(dir: &ObjectDir, bytes: &[u8], entry: u64) -> Record {
        let record = Record::waiting(&reference(bytes), entry, 1);
        dir.note(&record).unwrap();
        let mut copying = dir.begin().unwrap();
        copying.write_all(bytes).unwrap();
        let done = copying.end().unwrap();
        assert_eq!((done.sha256, done.size), (reference(bytes).sha256, bytes.len() as u64));
        dir.keep(&record, &done.file, done.crc32).unwrap();
        record
    }

    #[test]
    fn a_reference_waits_until_its_object_is_here_or_given_up() {
        let temp = tempfile::tempdir().unwrap();
        let dir = ObjectDir::of(temp.path(), &tenant());
        dir.prepare().unwrap();
        let (one, two) = (reference(b"one"), reference(b"two"));
        assert_eq!(dir.record(&one.hex()).unwrap(), None);
        let record = Record::waiting(&one, 4, 1);
        assert!(dir.note(&record).unwrap().is_some());
        assert_eq!(dir.note(&record).unwrap(), None, "read again after a crash");
        assert_eq!(dir.waiting().unwrap(), [record]);
        keep(&dir, b"one", 4);
        assert_eq!(dir.waiting().unwrap(), []);
        assert_eq!(dir.kept(&one.hex()).unwrap(), Some((3, crc32fast::hash(b"one"))));
        assert_eq!(dir.note(&Record::waiting(&one, 9, 1)).unwrap(), None, "it is here");

        let record = Record::waiting(&two, 5, 1);
        dir.note(&record).unwrap();
        dir.give_up(&record, "not found").unwrap();
        assert_eq!(dir.waiting().unwrap(), []);
        let found = dir.record(&two.hex()).unwrap().unwrap();
        assert_eq!((found.standing, found.why.as_deref()), (Standing::Missing, Some("not found")));
        assert_eq!(dir.kept(&two.hex()).unwrap(), None);
        assert_eq!(dir.note(&record).unwrap(), None);
        assert!(dir.note(&Record::waiting(&two, 6, 1)).unwrap().is_some(), "a later event refers to it again");
        assert_eq!(dir.record(&two.hex()).unwrap().unwrap().standing, Standing::Waiting);
    }

    /// Whoever names a digest with another length or name does not take the place of who named it rightly.
    #[test]
    fn references_to_one_digest_are_kept_beside_each_other() {
        let temp = tempfile::tempdir().unwrap();
        let dir = ObjectDir::of(temp.path(), &tenant());
        dir.prepare().unwrap();
        let right = reference(b"one");
        let wrong = |size: u64| ObjectRef { size, ..right.clone() };
        dir.note(&Record::waiting(&right, 4, 1)).unwrap();
        let noted = dir.note(&Record::waiting(&wrong(9), 4, 1)).unwrap().unwrap();
        assert_eq!(noted.references(), [wrong(9), right.clone()], "of the same event, too");
        assert_eq!(dir.note(&Record::waiting(&right, 4, 1)).unwrap(), None);
        for entry in 5..90 {
            dir.note(&Record::waiting(&wrong(entry), entry, 1)).unwrap();
        }
        let found = dir.record(&right.hex()).unwrap().unwrap();
        assert_eq!((found.references().len(), found.reference), (REFERENCES_MAX, wrong(89).to_string()));
        dir.note(&Record::waiting(&right, 90, 1)).unwrap();
        let found = dir.waiting().unwrap().remove(0);
        assert_eq!((found.parsed(), found.references().len()), (Some(right), REFERENCES_MAX));
    }

    #[test]
    fn a_damaged_object_is_found_and_copied_nowhere() {
        let temp = tempfile::tempdir().unwrap();
        let (from, to) = (temp.path().join("from"), temp.path().join("to"));
        fs::create_dir_all(&from).unwrap();
        fs::create_dir_all(&to).unwrap();
        let dir = ObjectDir::of(&from, &tenant());
        dir.prepare().unwrap();
        keep(&dir, b"sound", 1);
        keep(&dir, b"rotten", 2);
        dir.give_up(&Record::waiting(&reference(b"gone"), 3, 1), "not found").unwrap();
        dir.set_next(4).unwrap();
        assert_eq!(dir.check(&tenant()).unwrap(), (2, Vec::new()));
        let noted = dir.place(&reference(b"sound").hex(), ".json");
        let text = fs::read_to_string(&noted).unwrap();
        fs::write(&noted, text.replace(&crc32fast::hash(b"sound").to_string(), "7")).unwrap();
        assert!(dir.check(&tenant()).unwrap().1[0].found.contains('7'), "a checksum that no zip would hold");
        fs::write(&noted, text).unwrap();
        fs::write(dir.place(&reference(b"rotten").hex(), ""), b"rottem").unwrap();
        let (count, faults) = dir.check(&tenant()).unwrap();
        assert_eq!((count, faults.len()), (2, 1));
        assert!(faults[0].file.ends_with(&reference(b"rotten").hex()), "{faults:?}");

        let copied = copy_all(&from, &to).unwrap();
        assert_eq!((copied.objects, copied.bytes, copied.damaged.len()), (1, 5, 1));
        let copy = ObjectDir::of(&to, &tenant());
        assert_eq!(copy.next().unwrap(), 4);
        assert_eq!(copy.check(&tenant()).unwrap(), (1, Vec::new()));
        assert_eq!(copy.record(&reference(b"gone").hex()).unwrap().unwrap().standing, Standing::Missing);
        assert_eq!(copy.record(&reference(b"rotten").hex()).unwrap(), None);
        assert_eq!(copy_all(&from, &to).unwrap().objects, 0, "again, only what is new");
        fs::remove_file(dir.place(&reference(b"sound").hex(), "")).unwrap();
        assert_eq!(dir.check(&tenant()).unwrap().1.len(), 2, "one that is gone is found, too");
    }

    #[test]
    fn a_copy_is_looked_at_again_and_what_is_lost_is_named() {
        let temp = tempfile::tempdir().unwrap();
        let (from, to) = (temp.path().join("from"), temp.path().join("to"));
        fs::create_dir_all(&from).unwrap();
        fs::create_dir_all(&to).unwrap();
        let (dir, copy) = (ObjectDir::of(&from, &tenant()), ObjectDir::of(&to, &tenant()));
        dir.prepare().unwrap();
        for (entry, bytes) in [(1, &b"one"[..]), (2, b"two")] {
            keep(&dir, bytes, entry);
        }
        assert_eq!(copy_all(&from, &to).unwrap().objects, 2);
        let (one, two) = (reference(b"one").hex(), reference(b"two").hex());
        fs::write(copy.place(&one, ""), b"ene").unwrap();
        fs::write(copy.place(&two, ".json"), b"{}").unwrap();
        let again = copy_all(&from, &to).unwrap();
        assert_eq!((again.objects, again.damaged), (2, Vec::new()), "rot in a copy is no reason to lose both");
        assert_eq!(copy.check(&tenant()).unwrap(), (2, Vec::new()));

        let elsewhere = temp.path().join("elsewhere");
        fs::create_dir_all(&elsewhere).unwrap();
        fs::remove_file(dir.place(&one, "")).unwrap();
        fs::write(dir.place(&two, ".json"), b"{}").unwrap();
        assert_eq!(copy_all(&from, &to).unwrap().damaged.len(), 1, "only a record: the copy of the other is sound");
        let lost = copy_all(&from, &elsewhere).unwrap();
        let named: Vec<&str> = lost.damaged.iter().filter_map(|fault| fault.file.rsplit('/').next()).collect();
        assert_eq!((lost.objects, named.len()), (0, 2), "{lost:?}");
        assert!(named.contains(&one.as_str()) && named.contains(&two.as_str()), "{lost:?}");
    }
}

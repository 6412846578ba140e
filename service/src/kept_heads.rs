//! The highest signed head of each log as files outside the data directory (`--kept-heads DIR`): what tells a store that was
//! restored from an older copy from one that is whole, before it signs a second history.
//!
//! ```text
//! DIR/<origin, percent-encoded>.head    the signed note of the highest head that was ever shown
//! DIR/<ledger, percent-encoded>.lock    locked by the server of this ledger
//! DATA/kept-heads                       says where the heads of this ledger are kept, so that an empty DIR is noticed
//! ```
//!
//! A file is replaced whole (written beside, synced, renamed, the directory synced), and only where it still holds what we put
//! there last. Who keeps first and releases then is the pipeline's matter ([`pipeline::KeptHeads`]); births are ours.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use ledger::append::LogId;
use ledger::checkpoint::{Origin, peek};
use ledger::kv::Kv;
use ledger::read::{Ceiling, Log, ReadError};
use pipeline::{KeepError, KeptHeads};

/// A directory of kept heads, taken for one ledger.
pub struct KeptDir {
    dir: PathBuf,
    ledger: String,
    state: Mutex<State>,
}

struct State {
    lock: File,
    /// What we kept last, by origin.
    notes: BTreeMap<String, String>,
    ceilings: BTreeMap<String, Ceiling>,
}

/// Why a ledger is not opened beside its kept heads, or a head is not kept.
#[derive(Debug, thiserror::Error)]
pub enum KeptError {
    /// It is not there.
    #[error("there is no directory {0} to keep signed heads in: mount it, or make it")]
    Absent(PathBuf),
    /// It would be lost and restored together with the store.
    #[error(
        "{kept} lies in the data directory {data}: heads have to be kept where restoring the data does not reach them"
    )]
    Inside {
        /// The directory.
        kept: PathBuf,
        /// The data directory.
        data: PathBuf,
    },
    /// Another server keeps heads of the same ledger there.
    #[error("another server keeps the heads of ledger {ledger} in {dir}: two servers must not sign the same logs")]
    InUse {
        /// The ledger.
        ledger: String,
        /// The directory.
        dir: PathBuf,
    },
    /// Heads were kept there, and are no more.
    #[error(
        "the signed heads of ledger {ledger} were kept in {dir}, and none is there: mount it; if they are lost, remove {marker} to keep heads anew"
    )]
    Gone {
        /// The ledger.
        ledger: String,
        /// The directory.
        dir: PathBuf,
        /// What says that heads were kept.
        marker: PathBuf,
    },
    /// A file that holds no signed head of its log.
    #[error("{path} holds no signed head of {origin}: restore it from a copy of the directory")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Which log.
        origin: String,
    },
    /// The store has less than was shown to others.
    #[error(
        "{origin}: this data directory holds {found} entries, but a head of {kept} was signed and shown (kept in {path})"
    )]
    Behind {
        /// Which log.
        origin: String,
        /// Entries in the store.
        found: u64,
        /// Entries of the kept head.
        kept: u64,
        /// Where it is kept.
        path: PathBuf,
    },
    /// The store has another history than was shown to others.
    #[error(
        "{origin}: of the first {size} entries this data directory has the root {found}, but {kept} was signed and shown (kept in {path})"
    )]
    Differs {
        /// Which log.
        origin: String,
        /// Entries of the kept head.
        size: u64,
        /// Root in the store.
        found: String,
        /// Root of the kept head.
        kept: String,
        /// Where it is kept.
        path: PathBuf,
    },
    /// No head of it was kept yet.
    #[error("no head of {origin} is kept in {dir} yet, so nothing of it may be shown: the next `upm serve` keeps it")]
    Unshown {
        /// Which log.
        origin: String,
        /// Where heads are kept.
        dir: PathBuf,
    },
    /// The log could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A head could not be kept.
    #[error(transparent)]
    Keep(#[from] KeepError),
    /// The system refused.
    #[error("can't use the kept heads: {path}: {source}")]
    Io {
        /// What was touched.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl KeptError {
    /// The ways out, for a person; empty where the message says it all.
    pub fn ways_out(&self) -> String {
        match self {
            Self::Behind { origin, .. } => format!(
                "It was restored from an older copy, or rows were lost. Nothing was signed. Ways out:\n  \
                 - copy what is missing from a follower or a newer backup, then start again:\n      \
                 upm catch-up --from URL|DIR\n  \
                 - there is no such copy: then the log {origin} ends here. It can't be gone on with: what was shown of it would be \
                 contradicted.\n    Keep this data directory for reading (upm pack, upm log), and begin a new ledger under another name:\n      \
                 upm serve --data OTHER --name ANOTHER-NAME --kept-heads DIR"
            ),
            Self::Differs { origin, .. } => format!(
                "Two histories of {origin} were signed. Nothing more was signed now. Ways out:\n  \
                 - this is the wrong data directory, or a forked copy: use the one that the kept head is of, or restore it\n    \
                 from a follower or a backup into an empty directory (upm restore, upm catch-up)\n  \
                 - there is none: then the log {origin} ends, and a new ledger begins under another name:\n      \
                 upm serve --data OTHER --name ANOTHER-NAME --kept-heads DIR"
            ),
            _ => String::new(),
        }
    }
}

impl KeptDir {
    /// Takes the directory for the ledger, until it is dropped. `data` is the data directory, which it must not lie in.
    pub fn take(dir: &Path, data: &Path, ledger: &str) -> Result<Self, KeptError> {
        let found = fs::canonicalize(dir).map_err(|_| KeptError::Absent(dir.to_owned()))?;
        if !found.is_dir() {
            return Err(KeptError::Absent(dir.to_owned()));
        }
        let data = fs::canonicalize(data).map_err(at(data))?;
        if found.starts_with(&data) {
            return Err(KeptError::Inside { kept: found, data });
        }
        let lock = lock(&found, ledger)?;
        let state = State { lock, notes: BTreeMap::new(), ceilings: BTreeMap::new() };
        let kept = Self { dir: found, ledger: ledger.to_owned(), state: Mutex::new(state) };
        kept.refuse_gone(&data)?;
        Ok(kept)
    }

    /// Compares the kept heads with the store's logs and keeps the newest of each. After an error nothing may be signed.
    pub fn check<'a, K: Kv>(
        &self,
        kv: &K,
        data: &Path,
        logs: impl IntoIterator<Item = (LogId, &'a Origin)>,
    ) -> Result<(), KeptError> {
        let mut unknown = self.origins()?;
        let logs: Vec<_> = logs.into_iter().collect();
        // All are looked at before any is replaced.
        for (log, origin) in &logs {
            unknown.remove(origin.as_str());
            self.compare(kv, *log, origin)?;
        }
        if let Some((origin, path)) = unknown.pop_first() {
            let kept = read(&path, &origin)?.map_or(0, |(size, _, _)| size);
            return Err(KeptError::Behind { origin, found: 0, kept, path });
        }
        for (log, origin) in logs {
            self.release(kv, log, origin)?;
        }
        let marker = marker(data);
        fs::write(&marker, format!("{}\n", self.dir.display())).map_err(at(&marker))
    }

    /// Keeps the newest head of a log, so that it may be shown.
    pub fn release<K: Kv>(&self, kv: &K, log: LogId, origin: &Origin) -> Result<(), KeptError> {
        let log = Log::open(kv, log)?;
        let size = log.head()?.size;
        if self.ceiling(origin).load(Ordering::Acquire) < size {
            let note = log.checkpoint(size)?.unwrap_or_default();
            self.keep(origin, size, &note)?;
        }
        Ok(())
    }

    /// Up to where a log may be shown.
    pub fn ceiling(&self, origin: &Origin) -> Ceiling {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(state.ceilings.entry(origin.to_string()).or_insert_with(|| Arc::new(AtomicU64::new(0))))
    }

    fn compare<K: Kv>(&self, kv: &K, log: LogId, origin: &Origin) -> Result<(), KeptError> {
        let path = self.path(origin.as_str());
        let Some((size, root, note)) = read(&path, origin.as_str())? else { return Ok(()) };
        let log = Log::open(kv, log)?;
        let head = log.head()?;
        let origin_text = origin.to_string();
        if size > head.size {
            return Err(KeptError::Behind { origin: origin_text, found: head.size, kept: size, path });
        }
        let found = log.root(size)?.to_string();
        if found != root {
            return Err(KeptError::Differs { origin: origin_text, size, found, kept: root, path });
        }
        self.ceiling(origin).store(size, Ordering::Release);
        self.state.lock().unwrap_or_else(PoisonError::into_inner).notes.insert(origin_text, note);
        Ok(())
    }

    /// The logs of this ledger that a head is kept of.
    fn origins(&self) -> Result<BTreeMap<String, PathBuf>, KeptError> {
        origins(&self.dir, &self.ledger)
    }

    fn refuse_gone(&self, data: &Path) -> Result<(), KeptError> {
        let marker = marker(data);
        if !marker.exists() || !self.origins()?.is_empty() {
            return Ok(());
        }
        Err(KeptError::Gone { ledger: self.ledger.clone(), dir: self.dir.clone(), marker })
    }

    fn path(&self, origin: &str) -> PathBuf {
        self.dir.join(format!("{}.head", encoded(origin)))
    }

    fn swap(&self, state: &mut State, origin: &Origin, size: u64, note: &str) -> Result<(), KeepError> {
        let unavailable = |error: &dyn std::fmt::Display| KeepError::Unavailable {
            origin: origin.clone(),
            reason: error.to_string(),
        };
        let conflict = |reason: String| KeepError::Conflict { origin: origin.clone(), reason };
        self.hold_lock(state).map_err(|error| match error {
            KeptError::InUse { .. } => conflict(error.to_string()),
            error => unavailable(&error),
        })?;
        // Several threads may bring the same log's head; a kept head never goes back.
        let ceiling = state.ceilings.get(origin.as_str()).map_or(0, |ceiling| ceiling.load(Ordering::Acquire));
        if ceiling >= size && state.notes.contains_key(origin.as_str()) {
            return Ok(());
        }
        let path = self.path(origin.as_str());
        let found = match fs::read_to_string(&path) {
            Ok(found) => Some(found),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(unavailable(&format!("{}: {error}", path.display()))),
        };
        let known = state.notes.get(origin.as_str());
        match (&found, known) {
            // Renamed the last time, when only the directory could not be synced.
            (Some(found), _) if found == note => {}
            (None, Some(_)) => return Err(unavailable(&format!("{} is gone", path.display()))),
            (Some(found), known) if Some(found) != known => {
                let found = peek(found)
                    .map_or_else(|_| "no head".to_owned(), |head| format!("a head of {} entries", head.size));
                return Err(conflict(format!("{} holds {found}", path.display())));
            }
            _ => {}
        }
        replace(&self.dir, &path, note).map_err(|error| unavailable(&format!("{}: {error}", path.display())))?;
        state.notes.insert(origin.to_string(), note.to_owned());
        let ceiling = state.ceilings.entry(origin.to_string()).or_insert_with(|| Arc::new(AtomicU64::new(0)));
        ceiling.store(size, Ordering::Release);
        Ok(())
    }

    /// Our lock is on a file: where the place was away and came back, it may be on one that is not there any more.
    fn hold_lock(&self, state: &mut State) -> Result<(), KeptError> {
        let path = lock_path(&self.dir, &self.ledger);
        let ours = state.lock.metadata().map_err(at(&path))?;
        let there = fs::metadata(&path).map_err(at(&path));
        match there {
            Ok(there) if (there.dev(), there.ino()) == (ours.dev(), ours.ino()) => return Ok(()),
            Err(KeptError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
            Ok(_) => {}
        }
        state.lock = lock(&self.dir, &self.ledger)?;
        Ok(())
    }
}

impl KeptHeads for KeptDir {
    fn keep(&self, origin: &Origin, size: u64, note: &str) -> Result<(), KeepError> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        self.swap(&mut state, origin, size, note)
    }
}

/// Size, root and text of a kept head. Its signature is not asked: what counts is that it is of the store's own tree.
fn read(path: &Path, origin: &str) -> Result<Option<(u64, String, String)>, KeptError> {
    let note = match fs::read_to_string(path) {
        Ok(note) => note,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(KeptError::Io { path: path.to_owned(), source }),
    };
    let head = peek(&note).ok().filter(|head| head.origin.as_str() == origin);
    let head = head.ok_or_else(|| KeptError::Damaged { path: path.to_owned(), origin: origin.to_owned() })?;
    Ok(Some((head.size, head.root.to_string(), note)))
}

/// What may be shown of a data directory by whoever only reads it: no more than the heads that were kept last, where heads are
/// kept at all. What is durable beyond them was shown to nobody yet, and may never be.
pub struct Bounds {
    dir: PathBuf,
    heads: BTreeMap<String, (u64, String)>,
}

impl Bounds {
    /// The bounds of a data directory; none where no heads are kept.
    pub fn of(data: &Path, ledger: &str) -> Result<Option<Self>, KeptError> {
        let Some(dir) = marked(data)? else { return Ok(None) };
        if !dir.is_dir() {
            return Err(KeptError::Absent(dir));
        }
        let mut heads = BTreeMap::new();
        for (origin, path) in origins(&dir, ledger)? {
            if let Some((size, root, _)) = read(&path, &origin)? {
                heads.insert(origin, (size, root));
            }
        }
        if heads.is_empty() {
            return Err(KeptError::Gone { ledger: ledger.to_owned(), dir, marker: marker(data) });
        }
        Ok(Some(Self { dir, heads }))
    }

    /// Up to where a log may be shown. A store that has less than was kept is shown whole; one with another history is not.
    pub fn ceiling<K: Kv>(&self, log: &Log<K>) -> Result<Ceiling, KeptError> {
        let head = log.head()?;
        let origin = head.origin.to_string();
        let Some((size, root)) = self.heads.get(&origin) else {
            return Err(KeptError::Unshown { origin, dir: self.dir.clone() });
        };
        if *size <= head.size {
            let found = log.root(*size)?.to_string();
            if found != *root {
                let (kept, path) = (root.clone(), self.dir.join(format!("{}.head", encoded(&origin))));
                return Err(KeptError::Differs { origin, size: *size, found, kept, path });
            }
        }
        Ok(Arc::new(AtomicU64::new(*size)))
    }
}

/// The logs of a ledger that a head is kept of.
fn origins(dir: &Path, ledger: &str) -> Result<BTreeMap<String, PathBuf>, KeptError> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).map_err(at(dir))? {
        let path = entry.map_err(at(dir))?.path();
        let name = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_suffix(".head"));
        let origin = name.and_then(decoded).and_then(|origin| Origin::parse(&origin).ok());
        if let Some(origin) = origin.filter(|origin| origin.ledger() == ledger) {
            found.insert(origin.to_string(), path);
        }
    }
    Ok(found)
}

/// The directory that the heads of this data directory were kept in last, where they were.
pub fn marked(data: &Path) -> Result<Option<PathBuf>, KeptError> {
    let marker = marker(data);
    match fs::read_to_string(&marker) {
        Ok(dir) => Ok(Some(PathBuf::from(dir.trim_end_matches('\n')))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(at(&marker)(error)),
    }
}

/// Where a data directory says that its heads are kept.
pub fn marker(data: &Path) -> PathBuf {
    data.join("kept-heads")
}

fn lock_path(dir: &Path, ledger: &str) -> PathBuf {
    dir.join(format!("{}.lock", encoded(ledger)))
}

fn lock(dir: &Path, ledger: &str) -> Result<File, KeptError> {
    let path = lock_path(dir, ledger);
    let file =
        OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path).map_err(at(&path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(KeptError::InUse { ledger: ledger.to_owned(), dir: dir.to_owned() }),
        Err(TryLockError::Error(source)) => Err(KeptError::Io { path, source }),
    }
}

/// The whole new file or the whole old one, whatever happens.
fn replace(dir: &Path, path: &Path, text: &str) -> io::Result<()> {
    let partial = path.with_extension("partial");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&partial)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&partial, path)?;
    File::open(dir)?.sync_all()
}

/// A name as a file name: everything but letters, digits, `-`, `_` and `.` percent-encoded.
fn encoded(name: &str) -> String {
    crate::http::segment(name)
}

/// The inverse of [`encoded`]; none for what it never writes.
fn decoded(file: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = file.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        if byte == b'%' {
            let (digits, after) = after.split_at_checked(2)?;
            bytes.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
            rest = after;
        } else {
            bytes.push(byte);
            rest = after;
        }
    }
    String::from_utf8(bytes).ok().filter(|name| encoded(name) == file)
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> KeptError {
    let path = path.to_owned();
    move |source| KeptError::Io { path, source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ledger::checkpoint::Checkpoint;
    use ledger::hash::Hash;
    use ledger::signing::Signer;

    fn origin() -> Origin {
        Origin::parse("here/acme").unwrap()
    }

    fn note(size: u64) -> String {
        let head = Checkpoint { origin: origin(), size, root: Hash([u8::try_from(size).unwrap(); 32]) };
        Signer::from_seed(&origin(), [1; 32]).sign_checkpoint(&head)
    }

    fn places() -> (tempfile::TempDir, PathBuf, PathBuf) {
        let temp = tempfile::tempdir().unwrap();
        let (kept, data) = (temp.path().join("kept"), temp.path().join("data"));
        fs::create_dir(&kept).unwrap();
        fs::create_dir(&data).unwrap();
        (temp, kept, data)
    }

    #[test]
    fn a_head_is_kept_and_lifts_the_ceiling() {
        let (_temp, kept, data) = places();
        let dir = KeptDir::take(&kept, &data, "here").unwrap();
        let ceiling = dir.ceiling(&origin());
        for size in [1, 2, 7] {
            dir.keep(&origin(), size, &note(size)).unwrap();
            assert_eq!(ceiling.load(Ordering::Acquire), size);
            assert_eq!(fs::read_to_string(kept.join("here%2Facme.head")).unwrap(), note(size));
        }
        assert_eq!(dir.origins().unwrap().into_keys().collect::<Vec<_>>(), ["here/acme"]);
    }

    #[test]
    fn what_somebody_else_kept_is_never_replaced() {
        let (_temp, kept, data) = places();
        let dir = KeptDir::take(&kept, &data, "here").unwrap();
        dir.keep(&origin(), 1, &note(1)).unwrap();
        fs::write(dir.path("here/acme"), note(9)).unwrap();
        let refused = dir.keep(&origin(), 2, &note(2)).unwrap_err();
        assert!(
            matches!(&refused, KeepError::Conflict { reason, .. } if reason.ends_with("a head of 9 entries")),
            "{refused}"
        );
        assert_eq!(dir.ceiling(&origin()).load(Ordering::Acquire), 1);
    }

    #[test]
    fn a_place_that_is_gone_is_waited_for() {
        let (temp, kept, data) = places();
        let dir = KeptDir::take(&kept, &data, "here").unwrap();
        dir.keep(&origin(), 1, &note(1)).unwrap();
        let away = temp.path().join("away");
        fs::rename(&kept, &away).unwrap();
        assert!(matches!(dir.keep(&origin(), 2, &note(2)).unwrap_err(), KeepError::Unavailable { .. }));
        // Something else is mounted there.
        fs::create_dir(&kept).unwrap();
        assert!(matches!(dir.keep(&origin(), 2, &note(2)).unwrap_err(), KeepError::Unavailable { .. }));
        fs::remove_dir_all(&kept).unwrap();
        fs::rename(&away, &kept).unwrap();
        // Our lock was on the other file meanwhile; it is taken again.
        dir.keep(&origin(), 2, &note(2)).unwrap();
        assert!(matches!(KeptDir::take(&kept, &data, "here"), Err(KeptError::InUse { .. })));
    }

    #[test]
    fn a_rename_that_was_not_synced_is_no_conflict() {
        let (_temp, kept, data) = places();
        let dir = KeptDir::take(&kept, &data, "here").unwrap();
        dir.keep(&origin(), 1, &note(1)).unwrap();
        fs::write(dir.path("here/acme"), note(2)).unwrap();
        dir.keep(&origin(), 2, &note(2)).unwrap();
    }

    #[test]
    fn places_that_keep_nothing_are_refused() {
        let (temp, kept, data) = places();
        let refusal = |dir: &Path| KeptDir::take(dir, &data, "here").map(|_| ()).unwrap_err();
        assert!(matches!(refusal(&temp.path().join("none")), KeptError::Absent(_)));
        fs::create_dir(data.join("inside")).unwrap();
        assert!(matches!(refusal(&data.join("inside")), KeptError::Inside { .. }));
        assert!(matches!(refusal(&data), KeptError::Inside { .. }));
        let held = KeptDir::take(&kept, &data, "here").unwrap();
        assert!(matches!(refusal(&kept), KeptError::InUse { .. }));
        KeptDir::take(&kept, &data, "another").unwrap();
        drop(held);
        fs::write(marker(&data), "somewhere\n").unwrap();
        assert!(matches!(refusal(&kept), KeptError::Gone { .. }));
    }

    #[test]
    fn file_names_lead_back_to_their_names() {
        for name in ["here/acme", "a.b/c_d-e", "x%/y", "é/ü"] {
            assert_eq!(decoded(&encoded(name)).as_deref(), Some(name));
        }
        for file in ["a%2", "a%zz", "a/b", "%41"] {
            assert_eq!(decoded(file), None, "{file}");
        }
    }
}

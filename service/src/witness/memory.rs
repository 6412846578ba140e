//! What a witness has cosigned, one file a log: the checkpoint with the log's and its own signatures.
//!
//! ```text
//! DIR/witness/<SHA-256 of the origin>     the newest cosigned checkpoint, a signed note
//! DIR/witness/<SHA-256 of the origin>.new while it is written; left by a crash, never released, removed at start
//! ```
//!
//! Written whole under another name, synced, renamed, the directory synced; only then is a cosignature released. A file that is
//! not a note cosigned by our own keys is damage: the witness then refuses to start, because whoever forgets may cosign a fork.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ledger::cosignature::{CosignerKey, Statement, cosignatures};
use ledger::note::SignedNote;
use ledger::witness::Seen;
use sha2::{Digest as _, Sha256};

/// The files, and what stands in them.
pub struct Memory {
    dir: PathBuf,
    /// By the hash of the origin.
    logs: Mutex<HashMap<String, Arc<Mutex<Kept>>>>,
}

/// What is known of one log.
#[derive(Debug, Default)]
struct Kept {
    seen: Seen,
    note: Option<String>,
}

/// Why the memory can't be used.
#[derive(Debug, thiserror::Error)]
pub enum MemoryError {
    /// The system refused.
    #[error("{path}: {source}")]
    Io {
        /// What was touched.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file that this witness never wrote.
    #[error(
        "{path} is damaged ({reason}): restore it from a backup that is no older. A witness that forgot what it cosigned could \
         cosign a fork, so it does not go on without"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

impl Memory {
    /// The memory in a directory that exists.
    pub fn at(dir: PathBuf) -> Memory {
        Memory { dir, logs: Mutex::default() }
    }

    /// Reads what was cosigned of these logs, and checks that it was, with the witness's own keys.
    pub fn read_back<'o>(
        &self,
        origins: impl Iterator<Item = &'o str>,
        keys: &[CosignerKey],
    ) -> Result<(), MemoryError> {
        for origin in origins {
            let hash = hash_of(origin);
            remove_left_over(&partial(&self.dir.join(&hash)))?;
            let path = self.dir.join(&hash);
            let kept = match fs::read(&path) {
                Ok(bytes) => read_kept(bytes, origin, keys).map_err(|reason| MemoryError::Damaged { path, reason })?,
                Err(error) if error.kind() == io::ErrorKind::NotFound => Kept::default(),
                Err(source) => return Err(MemoryError::Io { path, source }),
            };
            lock(&self.logs).insert(hash, Arc::new(Mutex::new(kept)));
        }
        Ok(())
    }

    /// The size that was seen of a log.
    pub fn size(&self, origin: &str) -> u64 {
        self.find(&hash_of(origin)).map_or(0, |log| lock(&log).seen.size)
    }

    /// The newest cosigned checkpoint of the log with this origin hash.
    pub fn note(&self, origin_hash: &str) -> Option<String> {
        self.find(origin_hash).and_then(|log| lock(&log).note.clone())
    }

    /// Moves a log on: `decide` sees what was cosigned last, and gives the new head, its cosigned note, and an answer; the
    /// answer comes back only when the note is on disk. Other requests for the log wait from before `decide` until then, so
    /// that none of them decides on a head that is being replaced.
    pub fn advance<T, E: From<MemoryError>>(
        &self,
        origin: &str,
        decide: impl FnOnce(&Seen) -> Result<(Seen, String, T), E>,
    ) -> Result<T, E> {
        let hash = hash_of(origin);
        let log = Arc::clone(lock(&self.logs).entry(hash.clone()).or_default());
        let mut kept = lock(&log);
        let (seen, note, answer) = decide(&kept.seen)?;
        write_durably(&self.dir, &hash, note.as_bytes())?;
        *kept = Kept { seen, note: Some(note) };
        Ok(answer)
    }

    fn find(&self, hash: &str) -> Option<Arc<Mutex<Kept>>> {
        lock(&self.logs).get(hash).cloned()
    }
}

/// The name of a log in files and URLs (C2SP tlog-witness): SHA-256 of its origin, lowercase hex.
pub fn hash_of(origin: &str) -> String {
    hex::encode(Sha256::digest(origin))
}

fn read_kept(bytes: Vec<u8>, origin: &str, keys: &[CosignerKey]) -> Result<Kept, String> {
    let text = String::from_utf8(bytes).map_err(|_| "not UTF-8".to_owned())?;
    let note = SignedNote::parse(&text).map_err(|error| error.to_string())?;
    let statement = Statement::parse(note.text()).map_err(|error| error.to_string())?;
    if statement.origin != origin {
        return Err(format!("it is about {:?}, expected {origin:?}", statement.origin));
    }
    let ours = cosignatures(&note, keys).map_err(|error| error.to_string())?;
    if ours.is_empty() {
        return Err("not cosigned by a key of this witness".to_owned());
    }
    Ok(Kept { seen: Seen { size: statement.size, root: statement.root }, note: Some(text) })
}

/// Replaces a file, whole or not at all; durable when it returns.
fn write_durably(dir: &Path, name: &str, content: &[u8]) -> Result<(), MemoryError> {
    let path = dir.join(name);
    let partial = partial(&path);
    let mut options = OpenOptions::new();
    let file = options.write(true).create(true).truncate(true).mode(0o600).open(&partial);
    let written = file.and_then(|mut file| file.write_all(content).and_then(|()| file.sync_all()));
    written.map_err(at(&partial))?;
    fs::rename(&partial, &path).map_err(at(&path))?;
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(at(dir))
}

fn partial(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    PathBuf::from(name)
}

fn remove_left_over(path: &Path) -> Result<(), MemoryError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(at(path)(error)),
        _ => Ok(()),
    }
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> MemoryError {
    let path = path.to_owned();
    move |source| MemoryError::Io { path, source }
}

/// A holder that panicked has changed nothing: what is kept is replaced in one assignment, after the disk has it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ledger::cosignature::Cosigner;
    use ledger::hash::Hash;
    use ledger::note::KeyName;

    const ORIGIN: &str = "go.sum database tree";

    fn cosigner() -> Cosigner {
        Cosigner::ed25519(KeyName::parse("w.example").unwrap(), [1; 32])
    }

    fn note(size: u64) -> (Seen, String) {
        let root = Hash([7; 32]);
        let text = format!("{ORIGIN}\n{size}\n{}\n", root.to_base64());
        let line = cosigner().cosign(&Statement::parse(&text).unwrap(), 1).unwrap();
        (Seen { size, root }, format!("{text}\n{}", line.to_line()))
    }

    fn open(dir: &Path) -> Result<Memory, MemoryError> {
        let memory = Memory::at(dir.to_owned());
        memory.read_back([ORIGIN].into_iter(), &[cosigner().verifier()])?;
        Ok(memory)
    }

    fn advance(memory: &Memory, size: u64) -> Result<u64, MemoryError> {
        let (seen, text) = note(size);
        memory.advance(ORIGIN, |before| Ok((seen, text, before.size)))
    }

    #[test]
    fn what_was_cosigned_is_found_again() {
        let dir = tempfile::tempdir().unwrap();
        let memory = open(dir.path()).unwrap();
        assert_eq!((memory.size(ORIGIN), memory.note(&hash_of(ORIGIN))), (0, None));
        assert_eq!(advance(&memory, 4).unwrap(), 0);
        assert_eq!(advance(&memory, 9).unwrap(), 4);
        // A crash while writing leaves this: it was never released.
        fs::write(dir.path().join(format!("{}.new", hash_of(ORIGIN))), "half").unwrap();
        let again = open(dir.path()).unwrap();
        assert_eq!((again.size(ORIGIN), again.note(&hash_of(ORIGIN))), (9, Some(note(9).1)));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_can_not_be_written_is_not_answered() {
        let dir = tempfile::tempdir().unwrap();
        let memory = open(dir.path()).unwrap();
        advance(&memory, 4).unwrap();
        // A directory in its place: no file can be opened there.
        fs::create_dir(dir.path().join(format!("{}.new", hash_of(ORIGIN)))).unwrap();
        assert!(matches!(advance(&memory, 9), Err(MemoryError::Io { .. })));
        assert_eq!((memory.size(ORIGIN), memory.note(&hash_of(ORIGIN))), (4, Some(note(4).1)));
    }

    #[test]
    fn any_flipped_bit_is_damage() {
        let dir = tempfile::tempdir().unwrap();
        advance(&open(dir.path()).unwrap(), 4).unwrap();
        let path = dir.path().join(hash_of(ORIGIN));
        let good = fs::read(&path).unwrap();
        for at in 0..good.len() {
            let mut flipped = good.clone();
            flipped[at] ^= 1;
            fs::write(&path, flipped).unwrap();
            assert!(matches!(open(dir.path()), Err(MemoryError::Damaged { .. })), "byte {at}");
        }
        fs::write(&path, b"").unwrap();
        assert!(open(dir.path()).err().unwrap().to_string().contains("could cosign a fork"));
        fs::write(&path, good).unwrap();
        assert_eq!(open(dir.path()).unwrap().size(ORIGIN), 4);
    }
}

//! What a witness has cosigned, one file a log: the checkpoint with the log's and its own signatures.
//!
//! ```text
//! DIR/witness/<SHA-256 of the origin>     the newest cosigned checkpoint, a signed note
//! DIR/witness/<SHA-256 of the origin>.new while it is written; left by a crash, never released, removed at start
//! DIR/witness/<…>.fork.<size>-<digest>.cosigned and .refused: two checkpoints that the log signed and that contradict each other
//! DIR/witness.logs                        the logs that were ever cosigned, one a line: SHA-256 of the origin, space, origin
//! ```
//!
//! Written whole under another name, synced, renamed, the directory synced; only then is a cosignature released. A file that is
//! not a note cosigned by our own keys is damage, and one that is not there although its log was cosigned is lost: the witness then
//! refuses to start, because whoever forgets may cosign a fork.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ledger::cosignature::{CosignerKey, Statement, cosignatures};
use ledger::note::SignedNote;
use ledger::witness::Seen;
use sha2::{Digest as _, Sha256};

/// Proofs that are kept of one log. One is enough; whoever has its key must not fill our disk with more.
const PROOFS_MAX: usize = 16;

/// The files, and what stands in them.
pub struct Memory {
    dir: PathBuf,
    /// By the hash of the origin.
    logs: Mutex<HashMap<String, Arc<Mutex<Kept>>>>,
    /// The logs that were ever cosigned: origins by their hash.
    cosigned: Mutex<BTreeMap<String, String>>,
}

/// What is known of one log.
#[derive(Debug, Default)]
pub struct Kept {
    /// The newest tree that was cosigned.
    pub seen: Seen,
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
    /// What was cosigned of a log is not there any more.
    #[error(
        "{path} is missing, and {list} says that this witness has cosigned {origin:?}: restore it from a backup that is no older. A \
         witness that forgot what it cosigned could cosign a fork, so it does not go on without; begin anew under another name, or \
         watch this log no more"
    )]
    Forgotten {
        /// The file.
        path: PathBuf,
        /// What remembers that there was one.
        list: PathBuf,
        /// The log.
        origin: String,
    },
}

impl Memory {
    /// The memory in a directory that exists; which logs were ever cosigned stands in a file beside it.
    pub fn at(dir: PathBuf) -> Memory {
        Memory { dir, logs: Mutex::default(), cosigned: Mutex::default() }
    }

    /// Reads what was cosigned of these logs, and checks that it was, with the witness's own keys.
    pub fn read_back<'o>(
        &self,
        origins: impl Iterator<Item = &'o str>,
        keys: &[CosignerKey],
    ) -> Result<(), MemoryError> {
        let mut cosigned = lock(&self.cosigned);
        *cosigned = self.read_list()?;
        let listed = cosigned.len();
        for origin in origins {
            let hash = hash_of(origin);
            remove_left_over(&partial(&self.dir.join(&hash)))?;
            let path = self.dir.join(&hash);
            let kept = match fs::read(&path) {
                Ok(bytes) => read_kept(bytes, origin, keys).map_err(|reason| MemoryError::Damaged { path, reason })?,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    if cosigned.contains_key(&hash) {
                        return Err(MemoryError::Forgotten { path, list: self.list(), origin: origin.to_owned() });
                    }
                    Kept::default()
                }
                Err(source) => return Err(MemoryError::Io { path, source }),
            };
            if kept.note.is_some() {
                cosigned.insert(hash.clone(), origin.to_owned());
            }
            lock(&self.logs).insert(hash, Arc::new(Mutex::new(kept)));
        }
        // A crash between a note and its line in the list.
        if cosigned.len() > listed { self.write_list(&cosigned) } else { Ok(()) }
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
        decide: impl FnOnce(&Kept) -> Result<(Seen, String, T), E>,
    ) -> Result<T, E> {
        let hash = hash_of(origin);
        let log = Arc::clone(lock(&self.logs).entry(hash.clone()).or_default());
        let mut kept = lock(&log);
        let (seen, note, answer) = decide(&kept)?;
        write_durably(&self.dir, &hash, note.as_bytes())?;
        // The note first: a line without one would mean that it was lost.
        self.list_cosigned(hash, origin)?;
        *kept = Kept { seen, note: Some(note) };
        Ok(answer)
    }

    /// Keeps a checkpoint that the log signed and that contradicts `before`, beside the one that was cosigned of it: together they
    /// convince anybody. Gives the files; none where enough proofs of this log are kept already. To be called from within
    /// [`Memory::advance`], so that `before` is what was contradicted.
    pub fn keep_proof(
        &self,
        origin: &str,
        refused: &str,
        size: u64,
        before: &Kept,
    ) -> Result<Vec<PathBuf>, MemoryError> {
        let (hash, digest) = (hash_of(origin), hex::encode(Sha256::digest(refused)));
        let name = format!("{hash}.fork.{size}-{}", &digest[..16]);
        let mut files = vec![(format!("{name}.refused"), refused)];
        files.extend(before.note.as_deref().map(|note| (format!("{name}.cosigned"), note)));
        let paths = files.iter().map(|(name, _)| self.dir.join(name)).collect();
        if self.dir.join(&files[0].0).exists() {
            return Ok(paths);
        }
        if self.proofs(&hash)? >= PROOFS_MAX {
            return Ok(Vec::new());
        }
        // What makes it count as kept comes last.
        for (name, note) in files.iter().rev() {
            write_durably(&self.dir, name, note.as_bytes())?;
        }
        Ok(paths)
    }

    /// How many proofs are kept of a log.
    fn proofs(&self, hash: &str) -> Result<usize, MemoryError> {
        let (prefix, mut count) = (format!("{hash}.fork."), 0);
        for entry in fs::read_dir(&self.dir).map_err(at(&self.dir))? {
            let name = entry.map_err(at(&self.dir))?.file_name();
            let name = name.to_string_lossy();
            count += usize::from(name.starts_with(&prefix) && name.ends_with(".refused"));
        }
        Ok(count)
    }

    fn list(&self) -> PathBuf {
        self.dir.with_extension("logs")
    }

    fn read_list(&self) -> Result<BTreeMap<String, String>, MemoryError> {
        let path = self.list();
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
            Err(source) => return Err(MemoryError::Io { path, source }),
        };
        let damaged = |reason: String| MemoryError::Damaged { path: path.clone(), reason };
        let text = String::from_utf8(text).map_err(|_| damaged("not UTF-8".to_owned()))?;
        let lines = text.strip_suffix('\n').ok_or_else(|| damaged("its last line has no end".to_owned()))?;
        let line = |(number, line): (usize, &str)| match line.split_once(' ') {
            Some((hash, origin)) if hash == hash_of(origin) => Ok((hash.to_owned(), origin.to_owned())),
            _ => Err(damaged(format!("line {} is no origin behind its SHA-256", number + 1))),
        };
        lines.split('\n').enumerate().map(line).collect()
    }

    /// Whoever asks first for a log that was never cosigned waits for the list; nobody else does.
    fn list_cosigned(&self, hash: String, origin: &str) -> Result<(), MemoryError> {
        let mut cosigned = lock(&self.cosigned);
        if cosigned.contains_key(&hash) {
            return Ok(());
        }
        let mut more = cosigned.clone();
        more.insert(hash, origin.to_owned());
        self.write_list(&more)?;
        *cosigned = more;
        Ok(())
    }

    fn write_list(&self, cosigned: &BTreeMap<String, String>) -> Result<(), MemoryError> {
        let path = self.list();
        let text: String = cosigned.iter().flat_map(|(hash, origin)| [hash, " ", origin, "\n"]).collect();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        write_durably(path.parent().unwrap_or(Path::new(".")), &name, text.as_bytes())
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

    /// A temporary directory with that of the files in it.
    fn place() -> (tempfile::TempDir, PathBuf) {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("witness");
        fs::create_dir(&dir).unwrap();
        (temp, dir)
    }

    fn open(dir: &Path) -> Result<Memory, MemoryError> {
        let memory = Memory::at(dir.to_owned());
        memory.read_back([ORIGIN].into_iter(), &[cosigner().verifier()])?;
        Ok(memory)
    }

    fn advance(memory: &Memory, size: u64) -> Result<u64, MemoryError> {
        let (seen, text) = note(size);
        memory.advance(ORIGIN, |before| Ok((seen, text, before.seen.size)))
    }

    #[test]
    fn what_was_cosigned_is_found_again() {
        let (_temp, dir) = place();
        let memory = open(&dir).unwrap();
        assert_eq!((memory.size(ORIGIN), memory.note(&hash_of(ORIGIN))), (0, None));
        assert_eq!(advance(&memory, 4).unwrap(), 0);
        assert_eq!(advance(&memory, 9).unwrap(), 4);
        // A crash while writing leaves this: it was never released.
        fs::write(dir.join(format!("{}.new", hash_of(ORIGIN))), "half").unwrap();
        let again = open(&dir).unwrap();
        assert_eq!((again.size(ORIGIN), again.note(&hash_of(ORIGIN))), (9, Some(note(9).1)));
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 1);
    }

    #[test]
    fn what_can_not_be_written_is_not_answered() {
        let (_temp, dir) = place();
        let memory = open(&dir).unwrap();
        advance(&memory, 4).unwrap();
        // A directory in its place: no file can be opened there.
        fs::create_dir(dir.join(format!("{}.new", hash_of(ORIGIN)))).unwrap();
        assert!(matches!(advance(&memory, 9), Err(MemoryError::Io { .. })));
        assert_eq!((memory.size(ORIGIN), memory.note(&hash_of(ORIGIN))), (4, Some(note(4).1)));
    }

    #[test]
    fn any_flipped_bit_is_damage() {
        let (_temp, dir) = place();
        advance(&open(&dir).unwrap(), 4).unwrap();
        let path = dir.join(hash_of(ORIGIN));
        let good = fs::read(&path).unwrap();
        for at in 0..good.len() {
            let mut flipped = good.clone();
            flipped[at] ^= 1;
            fs::write(&path, flipped).unwrap();
            assert!(matches!(open(&dir), Err(MemoryError::Damaged { .. })), "byte {at}");
        }
        fs::write(&path, b"").unwrap();
        assert!(open(&dir).err().unwrap().to_string().contains("could cosign a fork"));
        fs::write(&path, good).unwrap();
        assert_eq!(open(&dir).unwrap().size(ORIGIN), 4);
    }

    #[test]
    fn what_is_lost_is_not_taken_for_what_never_was() {
        let (temp, dir) = place();
        let list = temp.path().join("witness.logs");
        advance(&open(&dir).unwrap(), 4).unwrap();
        assert_eq!(fs::read_to_string(&list).unwrap(), format!("{} {ORIGIN}\n", hash_of(ORIGIN)));
        let path = dir.join(hash_of(ORIGIN));
        let note = fs::read(&path).unwrap();
        // One file, or all of them.
        fs::remove_file(&path).unwrap();
        let told = open(&dir).err().unwrap().to_string();
        assert!(
            told.contains(&format!("{} is missing", path.display())) && told.contains("could cosign a fork"),
            "{told}"
        );
        fs::write(&path, &note).unwrap();
        // Killed between a note and its line, and from before there was a list: what is found is listed.
        fs::remove_file(&list).unwrap();
        assert_eq!(open(&dir).unwrap().size(ORIGIN), 4);
        fs::remove_file(&path).unwrap();
        assert!(matches!(open(&dir), Err(MemoryError::Forgotten { .. })));
        // A log that is not watched any more is nobody's concern.
        Memory::at(dir.clone()).read_back(["another"].into_iter(), &[cosigner().verifier()]).unwrap();
        for damage in ["", "x", &format!("{} other\n", hash_of(ORIGIN))] {
            fs::write(&list, damage).unwrap();
            assert!(matches!(open(&dir), Err(MemoryError::Damaged { .. })), "{damage:?}");
        }
    }

    #[test]
    fn proofs_are_kept_once_and_not_without_end() {
        let (_temp, dir) = place();
        let memory = open(&dir).unwrap();
        advance(&memory, 4).unwrap();
        let keep = |refused: &str| {
            let mut kept = Vec::new();
            let refusal = memory.advance(ORIGIN, |before| -> Result<(Seen, String, ()), MemoryError> {
                kept = memory.keep_proof(ORIGIN, refused, 4, before)?;
                Err(MemoryError::Damaged { path: PathBuf::new(), reason: "refused".to_owned() })
            });
            assert!(refusal.unwrap_err().to_string().contains("refused"));
            kept
        };
        let first = keep("a fork");
        assert_eq!(
            first.iter().map(|path| fs::read_to_string(path).unwrap()).collect::<Vec<_>>(),
            ["a fork", &note(4).1]
        );
        assert_eq!(keep("a fork"), first);
        for number in 1..PROOFS_MAX {
            assert_eq!(keep(&format!("fork {number}")).len(), 2);
        }
        assert_eq!(keep("one too many"), Vec::<PathBuf>::new());
        assert_eq!(keep("a fork"), first);
        assert_eq!(open(&dir).unwrap().size(ORIGIN), 4, "they are in nobody's way");
    }
}

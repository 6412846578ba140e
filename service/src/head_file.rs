//! `DATA/ledger.heads`: how far each log was committed, noted beside the store after every round. A store that has less than is noted
//! has lost rounds that may have been confirmed: the tail of its write-ahead log was cut, or an older `ledger/` was put back. `RocksDB`
//! takes such a store for whole, and going on would sign a second history.
//!
//! ```text
//! one slot of 64 bytes for each log, at log × 64; numbers big-endian
//!  0  size         u64
//!  8  root         32 bytes
//! 40  origin       the first 8 bytes of SHA-256(origin)
//! 48  check        the first 16 bytes of SHA-256("upm-heads-1" ‖ log u32 ‖ what stands before)
//! ```
//!
//! Nothing is synced: a slot is written after its round is durable, so that whatever a crash leaves of it, it is never ahead of an
//! honest store. A slot that is empty says nothing; a damaged one says nothing that is believed, and is told ([`Heads::damaged`]).
//!
//! Left out: who replaces the file together with the store. Heads that are kept elsewhere tell that (`--kept-heads`, witnesses, monitors).

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use ledger::append::{Committed, LogId};
use ledger::birth;
use ledger::checkpoint::Origin;
use ledger::hash::Hash;
use ledger::kv::Kv;
use ledger::read::{Log, ReadError};

const SLOT: usize = 64;
const SAID: usize = 48;

/// The file of a data directory, opened to note in.
pub struct HeadFile {
    file: File,
    path: PathBuf,
    failing: AtomicBool,
}

/// How far a log was committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Noted {
    /// Its entries.
    pub size: u64,
    /// Root of its tree.
    pub root: Hash,
    origin: [u8; 8],
}

/// What a data directory's file says.
#[derive(Debug, Default)]
pub struct Heads {
    /// What is noted, by log.
    pub noted: BTreeMap<LogId, Noted>,
    /// Logs whose slot is neither empty nor whole: a disk or a hand changed it, and whatever it said of a lost tail is lost too.
    pub damaged: Vec<LogId>,
}

/// Why a store is not gone on with.
#[derive(Debug, thiserror::Error)]
pub enum LostError {
    /// It has less than was committed.
    #[error(
        "{origin}: this data directory holds {found} entries, but {noted} were committed here ({evidence} says so): the newest are lost"
    )]
    Behind {
        /// Which log.
        origin: String,
        /// Entries in the store.
        found: u64,
        /// Entries that were committed.
        noted: u64,
        /// What says so.
        evidence: PathBuf,
    },
    /// It has something else than was committed.
    #[error(
        "{origin}: of the first {size} entries this data directory has the root {found}, but {noted} was committed here ({evidence} says so)"
    )]
    Differs {
        /// Which log.
        origin: String,
        /// Number of entries.
        size: u64,
        /// Root in the store.
        found: String,
        /// Root that was committed.
        noted: String,
        /// What says so.
        evidence: PathBuf,
    },
    /// The log could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The logs could not be listed.
    #[error(transparent)]
    Birth(#[from] birth::BirthError),
    /// The system refused.
    #[error("can't use {path}: {source}")]
    Io {
        /// What was touched.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl LostError {
    /// The ways out, for a person; empty where the message says it all.
    pub fn ways_out(&self) -> String {
        let (Self::Behind { origin, evidence, .. } | Self::Differs { origin, evidence, .. }) = self else {
            return String::new();
        };
        let evidence = evidence.display();
        format!(
            "The tail of the store was cut off, or an older `ledger/` was put into this data directory. Nothing was signed. Ways out:\n  \
             - put the newer store back, or copy what is missing from a follower or a newer backup, then start again:\n      \
             upm catch-up --from URL|DIR\n  \
             - there is no such copy, and somebody may have seen what is missing (a receipt, a checkpoint): then the log {origin} ends here.\n    \
             Keep this directory for reading, and begin a new ledger under another name: upm serve --data OTHER --name ANOTHER-NAME\n  \
             - it is certain that nobody saw it: remove {evidence} and start again"
        )
    }
}

/// Where the file lies.
pub fn path(data: &Path) -> PathBuf {
    data.join("ledger.heads")
}

/// What is noted in a data directory; nothing where there is no file.
pub fn read(data: &Path) -> Result<Heads, LostError> {
    let path = path(data);
    let bytes = match std::fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Heads::default()),
        Err(source) => return Err(LostError::Io { path, source }),
    };
    let mut heads = Heads::default();
    for (log, slot) in (0..).map(LogId).zip(bytes.chunks(SLOT)) {
        match decode(log, slot) {
            Some(noted) => drop(heads.noted.insert(log, noted)),
            // Of a log that nothing was noted of yet.
            None if slot.iter().all(|byte| *byte == 0) => {}
            None => heads.damaged.push(log),
        }
    }
    Ok(heads)
}

/// Every log of which the store has less than is noted, or something else. `evidence` is what says so.
pub fn compare<K: Kv>(kv: &K, heads: &Heads, evidence: &Path) -> Result<Vec<LostError>, LostError> {
    let name = birth::ledger_name(kv)?.ok_or(birth::BirthError::NoLedger)?;
    let own = Origin::of(&name, birth::LEDGER_LOG).map_err(birth::BirthError::Origin)?;
    let mut origins: BTreeMap<LogId, Origin> =
        birth::list_tenants(kv)?.into_iter().map(|(_, log, origin)| (log, origin)).collect();
    origins.insert(LogId::LEDGER, own);
    // The slots are of one ledger, and any of a log that is here says whether of this one. Where none does, it is taken for this
    // one's: a slot that is damaged must not silence the others.
    let foreign = |(log, origin): (&LogId, &Origin)| Some(heads.noted.get(log)?.origin != short(origin));
    if origins.iter().find_map(foreign) == Some(true) {
        // Of another ledger that was in this directory before.
        return Ok(Vec::new());
    }
    let mut lost = Vec::new();
    for (log, noted) in &heads.noted {
        let evidence = evidence.to_owned();
        let Some(origin) = origins.get(log) else {
            // A log that was born after what the store holds.
            let origin = format!("log {} of {name}", log.0);
            lost.push(LostError::Behind { origin, found: 0, noted: noted.size, evidence });
            continue;
        };
        let reader = Log::open(kv, *log)?;
        let head = reader.head()?;
        let origin = origin.to_string();
        if noted.size > head.size {
            lost.push(LostError::Behind { origin, found: head.size, noted: noted.size, evidence });
        } else {
            let found = if noted.size == head.size { head.edge.root() } else { reader.root(noted.size)? };
            if found != noted.root {
                lost.push(LostError::Differs {
                    origin,
                    size: noted.size,
                    found: found.to_string(),
                    noted: noted.root.to_string(),
                    evidence,
                });
            }
        }
    }
    Ok(lost)
}

impl HeadFile {
    /// Opens the file of a data directory, or makes it.
    pub fn open(data: &Path) -> Result<Self, LostError> {
        let path = path(data);
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
        let file = file.map_err(|source| LostError::Io { path: path.clone(), source })?;
        Ok(Self { file, path, failing: AtomicBool::new(false) })
    }

    /// Notes what the store has of every log, and forgets what was noted before.
    pub fn renew<K: Kv>(&self, kv: &K) -> Result<(), LostError> {
        self.file.set_len(0).map_err(|source| LostError::Io { path: self.path.clone(), source })?;
        let tenants = birth::list_tenants(kv)?;
        for log in tenants.into_iter().map(|(_, log, _)| log).chain([LogId::LEDGER]) {
            self.note(kv, log)?;
        }
        Ok(())
    }

    /// Notes the logs of a round that is durable. That it can't be noted stops nothing: it is said once.
    pub fn committed(&self, round: &Committed) {
        for log in round.logs().iter().filter(|log| log.head.size != log.base_size) {
            self.put(log.head.log, &log.head.origin, log.head.size, &log.head.edge.root());
        }
    }

    /// Notes what the store has of a log.
    pub fn note<K: Kv>(&self, kv: &K, log: LogId) -> Result<(), ReadError> {
        let head = Log::open(kv, log)?.head()?;
        self.put(log, &head.origin, head.size, &head.edge.root());
        Ok(())
    }

    fn put(&self, log: LogId, origin: &Origin, size: u64, root: &Hash) {
        let slot = encode(log, &Noted { size, root: *root, origin: short(origin) });
        let written = self.file.write_all_at(&slot, u64::from(log.0) * SLOT as u64);
        if let Err(error) = &written
            && !self.failing.swap(true, Ordering::Relaxed)
        {
            tracing::warn!(path = %self.path.display(), %error, "it can't be noted beside the store how far it was committed");
        }
        if written.is_ok() {
            self.failing.store(false, Ordering::Relaxed);
        }
    }
}

fn encode(log: LogId, noted: &Noted) -> [u8; SLOT] {
    let mut slot = [0; SLOT];
    slot[..8].copy_from_slice(&noted.size.to_be_bytes());
    slot[8..40].copy_from_slice(&noted.root.0);
    slot[40..SAID].copy_from_slice(&noted.origin);
    let check = check(log, &slot[..SAID]);
    slot[SAID..].copy_from_slice(&check);
    slot
}

fn decode(log: LogId, slot: &[u8]) -> Option<Noted> {
    let (said, found) = slot.split_at_checked(SAID)?;
    if check(log, said) != *found {
        return None;
    }
    let (size, rest) = said.split_first_chunk()?;
    let (root, origin) = rest.split_first_chunk()?;
    Some(Noted { size: u64::from_be_bytes(*size), root: Hash(*root), origin: origin.try_into().ok()? })
}

fn check(log: LogId, said: &[u8]) -> [u8; 16] {
    first(&[b"upm-heads-1", &log.0.to_be_bytes()[..], said].concat())
}

fn short(origin: &Origin) -> [u8; 8] {
    first(origin.as_str().as_bytes())
}

fn first<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let Hash(digest) = Hash::of(bytes);
    std::array::from_fn(|place| digest[place])
}

#[cfg(test)]
mod tests {
    use ledger::birth::{LedgerBirth, LogBirth};
    use ledger::dedupe::DedupeKey;
    use ledger::entry::Salt;
    use ledger::kv::MemKv;
    use ledger::signing::Signer;
    use schemas::ids::Tenant;

    use super::*;

    #[test]
    fn a_slot_reads_back_and_no_changed_byte_of_it_does() {
        let noted = Noted { size: 7, root: Hash([3; 32]), origin: [9; 8] };
        let slot = encode(LogId(2), &noted);
        assert_eq!(decode(LogId(2), &slot), Some(noted));
        assert_eq!(decode(LogId(3), &slot), None, "another log's");
        for place in 0..SLOT {
            let mut changed = slot;
            changed[place] ^= 1;
            assert_eq!(decode(LogId(2), &changed), None, "byte {place}");
        }
        assert_eq!(decode(LogId(0), &[0; SLOT]), None, "what was never noted");
    }

    /// A ledger of two tenants, or of the first alone.
    fn ledger(name: &str, tenants: usize) -> MemKv {
        let kv = MemKv::new();
        let origin = |log: &str| Origin::of(name, log).unwrap();
        let signer = |log: &str, seed| Signer::from_seed(&origin(log), [seed; 32]);
        let (own, admin, recovery) = (signer("_ledger", 1), signer("_ledger", 2), signer("_ledger", 3));
        let (admin_keys, recovery_key) = ([admin.public_key()], recovery.public_key());
        let rules = Hash([9; 32]);
        let founding = LedgerBirth { name, signer: &own, admin_keys: &admin_keys, recovery_key, rules, at_ms: 1 };
        birth::found_ledger(&kv, &founding).unwrap();
        for (number, tenant) in (4..).zip(["acme", "beta"]).take(tenants) {
            let born = LogBirth {
                tenant: &Tenant::parse(tenant).unwrap(),
                signer: &signer(tenant, number),
                dedupe: &DedupeKey::new([number; 32]),
                ledger_signer: &own,
                admin: &admin,
                rules,
                stream_created_ms: None,
                opening_salt: Salt([number; 16]),
                envelope_salt: Salt([number + 1; 16]),
                at_ms: 2,
            };
            birth::found_log(&kv, &born).unwrap();
        }
        kv
    }

    /// Whichever slot is damaged, the others tell what is lost.
    #[test]
    fn a_damaged_slot_silences_no_other() {
        let data = tempfile::tempdir().unwrap();
        let (older, newer, other) = (ledger("here", 1), ledger("here", 2), ledger("there", 2));
        let lost = |kv: &MemKv| -> Vec<String> {
            let heads = read(data.path()).unwrap();
            compare(kv, &heads, &path(data.path())).unwrap().iter().map(ToString::to_string).collect()
        };
        for damaged in [None, Some(0), Some(1), Some(2)] {
            HeadFile::open(data.path()).unwrap().renew(&newer).unwrap();
            let mut bytes = std::fs::read(path(data.path())).unwrap();
            assert_eq!(bytes.len(), 3 * SLOT);
            if let Some(slot) = damaged {
                bytes[slot * SLOT] ^= 1;
            }
            std::fs::write(path(data.path()), bytes).unwrap();
            assert_eq!(lost(&newer), [""; 0], "slot {damaged:?}");
            assert_eq!(lost(&other), [""; 0], "another ledger's file says nothing, slot {damaged:?}");
            let lost = lost(&older);
            let tells = |text: &str| lost.iter().any(|line| line.contains(text));
            assert_eq!(tells("here/_ledger"), damaged != Some(0), "slot {damaged:?}: {lost:?}");
            assert_eq!(tells("log 2 of here"), damaged != Some(2), "slot {damaged:?}: {lost:?}");
        }
        // All that is left says nothing of a log that is here: it is believed.
        HeadFile::open(data.path()).unwrap().renew(&newer).unwrap();
        let mut bytes = std::fs::read(path(data.path())).unwrap();
        (bytes[0], bytes[SLOT]) = (bytes[0] ^ 1, bytes[SLOT] ^ 1);
        std::fs::write(path(data.path()), bytes).unwrap();
        assert_eq!(lost(&older).len(), 1);
    }

    #[test]
    fn what_was_noted_is_read_by_log_and_holes_say_nothing() {
        let data = tempfile::tempdir().unwrap();
        assert!(read(data.path()).unwrap().noted.is_empty());
        let file = HeadFile::open(data.path()).unwrap();
        let origin = Origin::parse("here/acme").unwrap();
        file.put(LogId(4), &origin, 5, &Hash([1; 32]));
        file.put(LogId(1), &origin, 9, &Hash([2; 32]));
        file.put(LogId(4), &origin, 6, &Hash([3; 32]));
        let heads = read(data.path()).unwrap();
        let sizes: Vec<_> = heads.noted.iter().map(|(log, noted)| (log.0, noted.size)).collect();
        assert_eq!(sizes, [(1, 9), (4, 6)]);
        assert!(heads.damaged.is_empty(), "holes were never written");
        // Cut in the middle of a slot.
        std::fs::File::options().write(true).open(path(data.path())).unwrap().set_len(300).unwrap();
        let heads = read(data.path()).unwrap();
        assert_eq!((heads.noted.len(), heads.damaged), (1, vec![LogId(4)]));
    }
}

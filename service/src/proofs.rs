//! Proofs out of a log, as the HTTP API and the command line show them: that an entry is in it, that it only grew; and which entries
//! hold a given event. What a proof is, is `ledger`'s.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ledger::consistency::ConsistencyProof;
use ledger::entry::Header;
use ledger::hash::{self, Hash};
use ledger::kv::Kv;
use ledger::proof::{self, Unproved};
use ledger::read::{Log, ReadError};
use projector_sqlite::{Reader, ViewError};
use schemas::admit::{self, Rejection, Scratch};
use schemas::ids::EventId;
use serde::{Deserialize, Serialize};

/// Entries looked at in one go, where the views don't reach yet.
const BATCH: usize = 1_000;

/// That an entry is in a log of a certain size.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inclusion {
    /// Index of the entry.
    pub index: u64,
    /// Tree size.
    pub size: u64,
    /// Kind of the entry.
    pub kind: String,
    /// The entry, base64.
    pub entry: String,
    /// Its leaf hash.
    pub leaf: Hash,
    /// Root of the tree.
    pub root: Hash,
    /// Audit path, the leaf's sibling first.
    pub path: Vec<Hash>,
    /// The same as C2SP tlog-proof, a receipt; absent where no checkpoint of this size was signed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proof: Option<String>,
}

/// That a log only grew from one size to another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Consistency {
    /// The older size.
    pub from: u64,
    /// The newer size.
    pub to: u64,
    /// Root of the older tree.
    pub from_root: Hash,
    /// Root of the newer tree.
    pub to_root: Hash,
    /// RFC 6962 §2.1.2.
    pub path: Vec<Hash>,
    /// The same as the body of a C2SP tlog-witness add-checkpoint request; absent where no checkpoint of the newer size was
    /// signed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proof: Option<String>,
}

/// Why an event could not be looked for.
#[derive(Debug, thiserror::Error)]
pub enum LookupError {
    /// The log could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The views could not be read.
    #[error(transparent)]
    Views(#[from] ViewError),
}

/// The proof that entry `index` is in the tree of `size` entries, signed or not; without a size, of the newest.
pub fn inclusion<K: Kv>(log: &Log<K>, index: u64, size: Option<u64>) -> Result<Inclusion, ReadError> {
    let newest = log.head()?.size;
    let size = size.unwrap_or(newest);
    let path = log.inclusion(index, size)?;
    let entry = log.entry(index)?.ok_or(ReadError::BeyondSize { asked: index, size: newest })?;
    let header = log.header(index)?.ok_or(ReadError::BeyondSize { asked: index, size: newest })?;
    let signed = log.checkpoint(size)?.is_some();
    Ok(Inclusion {
        index,
        size,
        kind: header.kind().to_owned(),
        entry: STANDARD.encode(&entry),
        leaf: hash::leaf(&entry),
        root: log.root(size)?,
        path,
        proof: if signed { Some(log.receipt_at(index, size)?.to_text()) } else { None },
    })
}

/// The proof that the tree of `from` entries is a prefix of that of `to`, signed or not; without `to`, of the newest.
pub fn consistency<K: Kv>(log: &Log<K>, from: u64, to: Option<u64>) -> Result<Consistency, ReadError> {
    let to = to.map_or_else(|| log.head().map(|head| head.size), Ok)?;
    let path = log.consistency(from, to)?;
    let proof = |checkpoint| ConsistencyProof { old: from, path: path.clone(), checkpoint }.to_text();
    Ok(Consistency {
        from,
        to,
        from_root: log.root(from)?,
        to_root: log.root(to)?,
        proof: log.checkpoint_with_cosignatures(to)?.map(proof),
        path,
    })
}

/// Entries with this event id, ascending, from entry `from` on: up to `limit`. Asks the views, and the log itself for what they don't
/// hold yet (all of it without views).
pub fn by_event_id<K: Kv>(
    log: &Log<K>,
    views: Option<&Reader>,
    id: &EventId,
    from: u64,
    limit: usize,
) -> Result<Vec<u64>, LookupError> {
    let (mut found, mut next) = (Vec::new(), from);
    if let Some(views) = views {
        // The cursor first: what is projected meanwhile is then seen twice rather than never.
        next = views.core_cursor()?.max(from);
        found.extend(views.events_by_id(id, from, limit)?.into_iter().map(|event| event.index).filter(|at| *at < next));
    }
    let size = log.head()?.size;
    while next < size && found.len() < limit {
        let entries = log.entries(next..size, BATCH)?;
        for (index, entry) in &entries {
            let header = Header::decode(entry);
            let header = header.map_err(|source| ReadError::Entry { log: log.id(), index: *index, source })?;
            if matches!(header, Header::Event(event) if event.id == *id) {
                found.push(*index);
            }
        }
        next = entries.last().map_or(size, |(index, _)| index + 1);
    }
    found.truncate(limit);
    Ok(found)
}

/// Entries that hold this very event: its bytes are what was sent, or what admission made of it. Ascending.
pub fn of_event<K: Kv>(
    log: &Log<K>,
    views: Option<&Reader>,
    event: &[u8],
) -> Result<Result<Vec<u64>, Rejection>, LookupError> {
    let mut scratch = Scratch::default();
    let admitted = match admit::admit_unaddressed(event, &mut scratch) {
        Ok((_, admitted)) => admitted,
        Err(rejection) => return Ok(Err(rejection)),
    };
    let mut same = Vec::new();
    for index in by_event_id(log, views, &admitted.facts.id, 0, usize::MAX)? {
        let stored = log.stored(index)?;
        if stored.is_some_and(|stored| stored.payload == event || stored.payload == *admitted.payload) {
            same.push(index);
        }
    }
    Ok(Ok(same))
}

impl Inclusion {
    /// Whether the path leads from the leaf to the root: what a server answers is not believed.
    pub fn check(&self) -> Result<(), Unproved> {
        proof::verify_inclusion(self.index, self.size, &self.leaf, &self.path, &self.root)
    }
}

impl Consistency {
    /// Whether the path leads from one root to the other. From the empty tree there is nothing to prove.
    pub fn check(&self) -> Result<(), Unproved> {
        if self.from == 0 && self.from_root == hash::empty_root() && self.path.is_empty() {
            return Ok(());
        }
        proof::verify_consistency(self.from, self.to, &self.from_root, &self.to_root, &self.path)
    }
}

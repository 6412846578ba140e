//! Proofs out of a log, as the HTTP API and the command line show them: that an entry is in it, that it only grew; and which entries
//! hold a given event. What a proof is, is `ledger`'s.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ledger::consistency::ConsistencyProof;
use ledger::dedupe::DedupeKey;
use ledger::entry::{EventHeader, Header};
use ledger::hash::{self, Hash};
use ledger::kv::Kv;
use ledger::proof::{self, Unproved};
use ledger::read::{Log, ReadError};
use projector_sqlite::{Reader, ViewError};
use schemas::admit::{self, Rejection, Scratch};
use schemas::ids::{EventId, Producer, Subject};
use serde::{Deserialize, Serialize};

/// Entries looked at in one go, where the views don't reach yet.
const BATCH: usize = 1_000;
/// Entries with an event's id that are looked at for one question about its bytes. Ids are not unique, and anybody who may publish can
/// make as many entries of one id as he likes.
const CANDIDATES: usize = 10_000;
/// How many of them are taken from the views at a time.
const CANDIDATES_PAGE: usize = 500;

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
    /// What the entry has to do with the bytes that were asked about; absent where none were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holds: Option<Holds>,
}

/// What an entry has to do with an event's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Holds {
    /// It was made from these very bytes.
    Sent,
    /// They are what is kept of it, with masked places in them; what was sent may have been other bytes.
    Stored,
    /// Masked they are what is kept of it. Whether they are what was sent only the tenant's dedupe key tells, which is not here.
    Masked,
}

/// Entries that hold an event's bytes.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Holding {
    /// Ascending.
    pub entries: Vec<(u64, Holds)>,
    /// Where to go on looking; none when all were looked at.
    pub next: Option<u64>,
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
        holds: None,
    })
}

/// The same of an entry that holds an event's bytes.
pub fn held<K: Kv>(log: &Log<K>, (index, holds): (u64, Holds), size: Option<u64>) -> Result<Inclusion, ReadError> {
    Ok(Inclusion { holds: Some(holds), ..inclusion(log, index, size)? })
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

/// Entries that hold these very bytes, from entry `from` on: up to `limit`, out of at most [`CANDIDATES`] with the event's id.
///
/// With `dedupe` it is known which entry was made from them: an accepted event is found by the keyed hash of its subject and bytes, and
/// the subjects are those of the entries with its id. Without it, of masked entries only what is kept can be compared.
pub fn of_event<K: Kv>(
    log: &Log<K>,
    views: Option<&Reader>,
    dedupe: Option<&DedupeKey>,
    event: &[u8],
    from: u64,
    limit: usize,
) -> Result<Result<Holding, Rejection>, LookupError> {
    let mut scratch = Scratch::default();
    let (subject, admitted) = match admit::admit_unaddressed(event, &mut scratch) {
        Ok(admitted) => admitted,
        Err(rejection) => return Ok(Err(rejection)),
    };
    let mut asked = Asked { log, dedupe, event, masked: &admitted.payload, subject, sent: BTreeMap::new() };
    let (mut holding, mut next, mut looked_at) = (Holding::default(), from, 0);
    loop {
        let candidates = by_event_id(log, views, &admitted.facts.id, next, CANDIDATES_PAGE)?;
        for index in &candidates {
            if holding.entries.len() == limit || looked_at == CANDIDATES {
                holding.next = Some(*index);
                return Ok(Ok(holding));
            }
            looked_at += 1;
            holding.entries.extend(asked.holds(*index)?.map(|holds| (*index, holds)));
        }
        match candidates.last() {
            Some(last) if candidates.len() == CANDIDATES_PAGE => next = last + 1,
            _ => return Ok(Ok(holding)),
        }
    }
}

/// A question about an event's bytes.
struct Asked<'a, K> {
    log: &'a Log<K>,
    dedupe: Option<&'a DedupeKey>,
    event: &'a [u8],
    /// What admission makes of them.
    masked: &'a [u8],
    subject: Subject,
    /// The entry made from them under the subject of each producer that was met.
    sent: BTreeMap<Option<Producer>, Option<u64>>,
}

impl<K: Kv> Asked<'_, K> {
    fn holds(&mut self, index: u64) -> Result<Option<Holds>, ReadError> {
        let Some(Header::Event(header)) = self.log.header(index)? else { return Ok(None) };
        if header.phase != self.subject.phase {
            return Ok(None);
        }
        if self.made_by(&header)? == Some(index) {
            return Ok(Some(Holds::Sent));
        }
        // Without a key only what is kept is left to compare; nothing is read whose length tells enough.
        let (event, masked) = (self.event, self.masked);
        if ![event.len(), masked.len()].contains(&usize::try_from(header.size).unwrap_or(usize::MAX)) {
            return Ok(None);
        }
        let Some(stored) = self.log.stored(index)? else { return Ok(None) };
        if stored.payload == event {
            // Where nothing was masked, what is kept is what was sent.
            return Ok(Some(if header.masked == 0 { Holds::Sent } else { Holds::Stored }));
        }
        Ok((self.dedupe.is_none() && stored.payload == masked).then_some(Holds::Masked))
    }

    /// The entry made from these bytes as the producer of `header` would have sent them; none where that can't be known.
    fn made_by(&mut self, header: &EventHeader) -> Result<Option<u64>, ReadError> {
        let Some(dedupe) = self.dedupe else { return Ok(None) };
        if let Some(known) = self.sent.get(&header.producer) {
            return Ok(*known);
        }
        let subject = Subject { producer: header.producer.clone(), ..self.subject.clone() };
        let found = self.log.duplicate_of(&dedupe.fingerprint(&subject.to_string(), self.event))?;
        self.sent.insert(header.producer.clone(), found);
        Ok(found)
    }
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

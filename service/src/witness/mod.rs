//! A witness for the logs of others, C2SP tlog-witness: `upm witness`. What is decided is `ledger::witness`; here it gets its
//! files, its keys, the clock, and HTTP.

mod memory;
mod server;

use memory::Kept;
pub use memory::{Memory, MemoryError};
pub use server::{Limits, router};

use std::path::PathBuf;
use std::sync::Arc;

use ledger::cosignature::{CosignatureError, Cosigner, CosignerKey};
use ledger::note::NoteSignature;
use ledger::witness::{Refusal, Request, WatchedLogs};

use crate::clock;

/// A witness at work.
pub struct Witness {
    logs: WatchedLogs,
    cosigners: Vec<Cosigner>,
    memory: Memory,
}

/// Why a request is not answered with a cosignature.
#[derive(Debug, thiserror::Error)]
pub enum NotCosigned {
    /// The specification says so.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// A log signed what contradicts what was cosigned of it.
    #[error("{refusal}")]
    Accused {
        /// What is answered.
        refusal: Box<Refusal>,
        /// The log.
        origin: String,
        /// The two notes, as files; none where enough of them are kept already.
        proof: Result<Vec<PathBuf>, MemoryError>,
    },
    /// Its own files; nothing was released.
    #[error("the witness can't remember this checkpoint, so it does not cosign it: {0}")]
    Memory(#[from] MemoryError),
    /// A name that can't be cosigned.
    #[error(transparent)]
    Cosignature(#[from] CosignatureError),
    /// Without a clock no cosignature has a time.
    #[error("the witness's clock is not set")]
    NoTime,
}

impl Witness {
    /// A witness of these logs. What it cosigned before is read back and checked with its own keys.
    pub fn new(logs: WatchedLogs, cosigners: Vec<Cosigner>, memory: Memory) -> Result<Arc<Witness>, MemoryError> {
        let keys: Vec<CosignerKey> = cosigners.iter().map(Cosigner::verifier).collect();
        memory.read_back(logs.origins(), &keys)?;
        Ok(Arc::new(Witness { logs, cosigners, memory }))
    }

    /// Its public keys.
    pub fn keys(&self) -> Vec<CosignerKey> {
        self.cosigners.iter().map(Cosigner::verifier).collect()
    }

    /// The logs that it watches, each with the size it has seen.
    pub fn seen(&self) -> Vec<(String, u64)> {
        self.logs.origins().map(|origin| (origin.to_owned(), self.memory.size(origin))).collect()
    }

    /// Answers an `add-checkpoint` request: the cosignature lines. Blocking: the checkpoint is on disk before they are given.
    pub fn add_checkpoint(&self, body: &[u8]) -> Result<String, NotCosigned> {
        let request = Request::admit(body, &self.logs)?;
        let statement = request.statement().map_err(Refusal::from)?;
        self.memory.advance(statement.origin, |before| {
            request
                .extends(&before.seen)
                .map_err(|refusal| self.refused(refusal, &request, statement.origin, before))?;
            let time = clock::unix_ms() / 1000;
            if time == 0 {
                return Err(NotCosigned::NoTime);
            }
            let lines = self.cosigners.iter().map(|cosigner| cosigner.cosign(&statement, time));
            let lines: Vec<NoteSignature> = lines.collect::<Result<_, _>>()?;
            let answer = lines.iter().map(NoteSignature::to_line).collect();
            Ok((request.head(), request.cosigned(&lines), answer))
        })
    }

    /// A refusal, and where it accuses the log, the proof of it on disk.
    fn refused(&self, refusal: Refusal, request: &Request, origin: &str, before: &Kept) -> NotCosigned {
        if !refusal.accuses_the_log() {
            return NotCosigned::Refused(refusal);
        }
        let proof = self.memory.keep_proof(origin, &request.cosigned(&[]), request.head().size, before);
        NotCosigned::Accused { refusal: Box::new(refusal), origin: origin.to_owned(), proof }
    }

    /// The newest cosigned checkpoint of the log whose origin has this SHA-256, lowercase hex.
    pub fn checkpoint(&self, origin_hash: &str) -> Option<String> {
        self.memory.note(origin_hash)
    }
}

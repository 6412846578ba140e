//! Acts of whoever holds the store, while no server runs: on the ledger's own log, which has no road, and the declaration that a
//! log key is lost or compromised, without which nothing could be signed.
//!
//! One round, one synced write, like any other: the act's entry, its listing in `_ledger`, the new checkpoints.

use ledger::append::{
    self, ActError, Desk, DeskError, ExtendError, Extension, Item, LoadError, LogId, PendingControl, Poisoned, Sealed,
    Turn,
};
use ledger::control::ControlError;
use ledger::dedupe::Fingerprint;
use ledger::entry::Salt;
use ledger::governance::{Act, envelope_of, message};
use ledger::hash::Hash;
use ledger::note::VerifierKey;
use ledger::read::{Log, ReadError};
use ledger::signing::Signer;

use crate::clock;
use crate::home::Home;

/// Why an act was not appended.
#[derive(Debug, thiserror::Error)]
pub enum OfflineError {
    /// The store could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The head is not sound.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// `_ledger` could not be opened.
    #[error(transparent)]
    Desk(#[from] DeskError),
    /// The act is refused.
    #[error("the ledger refuses it: {0}")]
    Refused(#[from] ControlError),
    /// The act is refused on `_ledger`.
    #[error("the ledger refuses it: {0}")]
    Act(#[from] ActError),
    /// The act is refused on a tenant's log.
    #[error(transparent)]
    Extend(#[from] ExtendError),
    /// A key that has to sign is not here.
    #[error("the secret of log key {} is not in keys/, and it has to sign", .0.to_vkey())]
    NoKey(VerifierKey),
    /// It could not be written.
    #[error(transparent)]
    Poisoned(#[from] Poisoned),
    /// No randomness.
    #[error("the system gives no randomness: {0}")]
    NoEntropy(getrandom::Error),
}

/// Appends an act to `_ledger` itself. Gives the index of its entry.
pub fn on_ledger(home: &Home, act: &Act, signers: &[&Signer]) -> Result<u64, OfflineError> {
    let log = Log::open(&*home.kv, LogId::LEDGER)?;
    let envelope = envelope_of(act, &log.governance()?.place(), signers);
    let mut desk = Desk::open(&*home.kv)?;
    let index = desk.head().size;
    desk.act(envelope, &|size| log.root(size).ok(), salt()?, clock::unix_ms())?;
    let (extension, guard) = desk.finish();
    append::commit(&*home.kv, vec![seal(home, extension)?])?;
    drop(guard);
    home.note(LogId::LEDGER)?;
    Ok(index)
}

/// Appends an act to a tenant's log, and its listing to `_ledger`. Gives the index of its entry.
pub fn on_log(home: &Home, id: LogId, act: &Act, signers: &[&Signer], lister: &Signer) -> Result<u64, OfflineError> {
    let kv = &*home.kv;
    let on = Log::open(kv, id)?.governance()?.place();
    let ledger = Log::open(kv, LogId::LEDGER)?.governance()?.place();
    let bytes = message(act, &on, signers, &ledger, lister, salt()?)?.print();
    let head = append::load_head(kv, id)?;
    let control = PendingControl {
        road_sequence: None,
        at_ms: clock::unix_ms(),
        // Nobody sends it again: it came by no road.
        fingerprint: Fingerprint::default(),
        salt: salt()?,
        listing_salt: salt()?,
        subject: String::new(),
        message: bytes,
        new_key_here: true,
        rules: Hash(schemas::rules::current().name),
    };
    let turns = [Turn { log: id, items: vec![Item::Control(control)], cursor: head.cursor, answered: head.answered }];
    let known = append::look_up(kv, &turns)?;
    let [turn] = turns;
    let mut desk = Desk::open(kv)?;
    let extension = append::extend_listing(&head, turn, known.first().unwrap_or(&append::Known::default()), &mut desk)?;
    let (listing, guard) = desk.finish();
    append::commit(kv, vec![seal(home, extension)?, seal(home, listing)?])?;
    drop(guard);
    home.note(id)?;
    home.note(LogId::LEDGER)?;
    Ok(head.size)
}

/// Signs with every key that has to, as the log's keys are after the act.
fn seal(home: &Home, extension: Extension) -> Result<Sealed, OfflineError> {
    let governance = extension.governance().cloned().ok_or(ExtendError::NoGovernance)?;
    let (origin, find) = (governance.origin().clone(), home.find_signer());
    let mut signers = Vec::new();
    for key in governance.log_keys().signing(extension.head().size) {
        let named = || VerifierKey::new(origin.key_name().clone(), key.key);
        signers.push(find(&origin, &key.key).ok_or_else(|| OfflineError::NoKey(named()))?);
    }
    Ok(extension.seal_by(&signers.iter().collect::<Vec<_>>()))
}

fn salt() -> Result<Salt, OfflineError> {
    let mut salt = Salt([0; 16]);
    clock::fill(&mut salt.0).map_err(OfflineError::NoEntropy)?;
    Ok(salt)
}

//! From the key that was given to the key that signs: over the changes of keys that a pack carries, or that the verifier brought.

use ledger::checkpoint::{self, Checkpoint, Verified};
use ledger::governance::{KeyChain, KeyEnd, LogKey, LogKeys, LogKeysError};
use ledger::note::VerifierKey;

use crate::files;
use crate::report::{Id, Log};
use crate::trust::Trust;

/// The keys to check an object with.
pub(crate) struct Keys {
    /// The key that signs: the newest of those that sign the object's tree size.
    pub(crate) signing: VerifierKey,
    /// All keys of the log, where it is known that there are several.
    pub(crate) all: Option<LogKeys>,
    /// What tells of them: the pack's own chain, and the one that the verifier brought.
    chains: Vec<KeyChain>,
}

impl Keys {
    /// Reads a checkpoint and checks that everybody signed who has to.
    pub(crate) fn open(&self, note: &str) -> Result<Verified<Checkpoint>, LogKeysError> {
        match &self.all {
            Some(all) => all.open(note),
            None => Ok(checkpoint::open(note, &self.signing)?),
        }
    }

    /// What is to be said where the only key that signs this head was stolen or lost later: nothing but its own signature, which its
    /// thief can make too, tells that the head is older than the theft. None where the head is known to be of the log that others
    /// signed since.
    pub(super) fn doubt(&self, head: &Checkpoint) -> Option<Doubt> {
        let all = self.all.as_ref()?;
        let key = all.doubtful(head.size)?;
        let end = key.end?;
        if self.chains.iter().any(|chain| chain.continues(all, head)) {
            return None;
        }
        let id = hex::encode(VerifierKey::new(self.signing.name().clone(), key.key).id());
        let status = end.status.as_str();
        let KeyEnd { from, index, .. } = end;
        Some(Doubt {
            words: format!("operator only, or whoever has key {id}, which was declared {status} past size {from}"),
            unproved: format!(
                "that this was signed before key {id} was declared {status} (entry {index}): sizes up to {from} still count, and \
                 whoever has that key can sign others of these sizes today. A checkpoint that you kept, a witness, or a consistency proof \
                 to a checkpoint that a later key signed (--known-checkpoint, --consistency) closes this"
            ),
        })
    }

    /// The newest of the keys that sign a tree size.
    pub(super) fn signing_at(&self, size: u64) -> VerifierKey {
        let newest = self.all.as_ref().and_then(|all| all.signing(size).last().map(|key| key.key));
        newest.map_or_else(|| self.signing.clone(), |key| VerifierKey::new(self.signing.name().clone(), key))
    }

    /// The keys that sign a tree size.
    pub(crate) fn all_signing(&self, size: u64) -> Vec<VerifierKey> {
        let named = |all: &LogKeys| {
            all.signing(size).map(|key| VerifierKey::new(self.signing.name().clone(), key.key)).collect()
        };
        self.all.as_ref().map_or_else(|| vec![self.signing.clone()], named)
    }
}

/// A signature that counts, by a key that somebody else may have.
pub(super) struct Doubt {
    /// How far trust reaches, instead of the operator alone.
    pub(super) words: String,
    /// What is not proved because of it.
    pub(super) unproved: String,
}

/// The keys of a pack under `note`, from the key `given`; `chain` is what the pack itself tells of changes of keys. None where the pack's own changes of keys do not lead there.
pub(crate) fn of_pack(
    given: VerifierKey,
    note: Option<&str>,
    chain: Option<&[u8]>,
    trust: &Trust,
    log: &mut Log,
) -> Option<Keys> {
    let Some(bytes) = chain else { return of_note(given, note, trust, log) };
    let established = KeyChain::parse(bytes).map_err(|error| error.to_string()).and_then(|chain| {
        // Cosignatures may follow there: they were made later, and by others.
        if !note.is_some_and(|note| note.starts_with(chain.checkpoint())) {
            return Err("it is about another checkpoint than the pack's".to_owned());
        }
        let all = chain.establish(&given).map_err(|error| error.to_string())?;
        Ok((chain, all))
    });
    match established {
        Ok((_, all)) if all.history().len() == 1 => {
            log.refute(Id::TrustKeys, format!("{} names one key only, and then it must not be there", files::CHAIN));
            None
        }
        Ok((chain, all)) => {
            let (all, brought) = agreed(&given, &chain, all, trust, log)?;
            Some(found(&given, note, all, [chain].into_iter().chain(brought).collect(), log))
        }
        Err(error) => {
            log.refute(Id::TrustKeys, format!("{}: {error}", files::CHAIN));
            None
        }
    }
}

/// The pack's history of keys and the one that the verifier brought have to be one. Whoever stole a key can begin a log of their
/// own with it, or go on from it, and carry that history in a pack; the chain from elsewhere is what tells.
fn agreed(
    given: &VerifierKey,
    chain: &KeyChain,
    all: LogKeys,
    trust: &Trust,
    log: &mut Log,
) -> Option<(LogKeys, Option<KeyChain>)> {
    let Some(bytes) = &trust.keys else { return Some((all, None)) };
    let established =
        KeyChain::parse(bytes).and_then(|brought| brought.establish(given).map(|history| (brought, history)));
    let (brought, history) = match established {
        Ok(established) => established,
        Err(error) => {
            log.not_done(Id::TrustKeys, format!("the chain of keys that was given leads nowhere: {error}"));
            return None;
        }
    };
    // Up to which size a key counts, a later recovery may have lowered; whether and by which entry it ended, never.
    let ended = |key: &LogKey| key.end.map(|end| (end.status, end.index));
    let other_end = |a: &LogKey, b: &LogKey| ended(a).zip(ended(b)).is_some_and(|(a, b)| a != b);
    let differ = |a: &LogKey, b: &LogKey| (&a.key, a.since) != (&b.key, b.since) || other_end(a, b);
    let mut both = all.history().iter().zip(history.history());
    if brought.first_entry() != chain.first_entry() || both.any(|(a, b)| differ(a, b)) {
        log.refute(
            Id::TrustKeys,
            format!("{} tells another history than the chain of keys that was given", files::CHAIN),
        );
        return None;
    }
    let newer = if history.history().len() < all.history().len() { all } else { history };
    Some((newer, Some(brought)))
}

/// The keys of any signed note, from the key `given` and what the verifier brought.
pub(crate) fn of_note(given: VerifierKey, note: Option<&str>, trust: &Trust, log: &mut Log) -> Option<Keys> {
    let Some(bytes) = &trust.keys else { return Some(Keys { signing: given, all: None, chains: Vec::new() }) };
    let established = KeyChain::parse(bytes).and_then(|chain| chain.establish(&given).map(|all| (chain, all)));
    match established {
        Ok((chain, all)) => Some(found(&given, note, all, vec![chain], log)),
        // Nothing is said against the object by a file that somebody brought beside it.
        Err(error) => {
            log.not_done(Id::TrustKeys, format!("the chain of keys that was given leads nowhere: {error}"));
            None
        }
    }
}

/// Says what was found. The signatures themselves are checked where those of every other object are.
fn found(given: &VerifierKey, note: Option<&str>, all: LogKeys, chains: Vec<KeyChain>, log: &mut Log) -> Keys {
    let size = note.and_then(|note| checkpoint::peek(note).ok()).map_or(u64::MAX, |head| head.size);
    let signing =
        all.signing(size).last().map_or_else(|| all.verifier(), |key| VerifierKey::new(given.name().clone(), key.key));
    let told = if signing == *given {
        format!("it signs itself, one of {} keys that the log has had", all.history().len())
    } else {
        format!("over {} changes of keys, to {}", all.history().len() - 1, hex::encode(signing.id()))
    };
    log.ok(Id::TrustKeys, told);
    Keys { signing, all: Some(all), chains }
}

//! Control entries as fsck judges them: who has to sign what, whose turn it is, what fits what holds, what lists what, and which key
//! signs which tree size. Decided here a second time, from docs/log-format.md: `governance`, which accepted these entries, is not
//! asked. Shared with it are formats alone: the messages and their bodies, envelopes and what of them is signed, notes.
//!
//! Left out: whether the root that a change of key names is this log's. Whoever wrote the entry compared it; here every root is
//! compared with what was signed.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::Place;
use crate::append::Head;
use crate::birth::LEDGER_LOG;
use crate::checkpoint::Origin;
use crate::control::{self, ControlMessage, ControlOp};
use crate::dsse::{Envelope, pae};
use crate::entry::{First, Header, commitment};
use crate::governance::{Act, KeyChange, KeyStatus, MAX_FACTS, Message};
use crate::hash::Hash;
use crate::key::PublicKey;
use crate::kv::{Kv, Space};
use crate::layout::{BLOCK_SPAN, Block, Key, read_u64};
use crate::note::{SignedNote, VerifierKey, key_id};

/// The keys that sign checkpoints, oldest first, each with the tree sizes that it signs.
#[derive(Clone, Debug)]
pub(super) struct Signers {
    origin: Origin,
    keys: Vec<Signer>,
}

#[derive(Clone, Debug)]
struct Signer {
    key: VerifierKey,
    first: u64,
    /// None for the newest.
    last: Option<u64>,
    retired: bool,
}

impl Signers {
    /// Those of a log's birth.
    pub(super) fn born(first: &First) -> Self {
        let key = VerifierKey::new(first.origin.key_name().clone(), first.log_key);
        Self { origin: first.origin.clone(), keys: vec![Signer { key, first: 0, last: None, retired: false }] }
    }

    /// Those that the log's control entries name, up to the first one that can't be read. Whether they may is judged in their turn.
    pub(super) fn of<K: Kv>(place: &Place<'_, K>, first: &First, head: &Head) -> Self {
        let mut signers = Self::born(first);
        for counter in 1..=head.control_counter {
            let Some((index, message)) = key_message(place, counter) else { break };
            if let Some(Act::Key(change)) = message.and_then(|message| signers.act(&message)) {
                signers.change(index, &change);
            }
        }
        signers
    }

    fn act(&self, message: &[u8]) -> Option<Act> {
        let in_ledger = self.origin.log() == LEDGER_LOG;
        let envelope = if in_ledger { Envelope::parse(message).ok()? } else { Message::parse(message).ok()?.act };
        let (_, said) = control::peek(&envelope).ok()?;
        Act::parse(said.op, &said.body, in_ledger).ok()
    }

    /// The old key signs up to the change; a retired one with the new one up to the end of the overlap, which any later loss of a key ends.
    fn change(&mut self, index: u64, change: &KeyChange) {
        let retired = change.status == KeyStatus::Retired;
        if !retired {
            for signer in self.keys.iter_mut().filter(|signer| signer.retired) {
                signer.last = signer.last.map(|last| last.min(index));
            }
        }
        if let Some(newest) = self.keys.last_mut() {
            (newest.retired, newest.last) = (retired, Some(if retired { change.from.max(index) } else { index }));
        }
        let key = VerifierKey::new(self.origin.key_name().clone(), change.new);
        self.keys.push(Signer { key, first: index + 1, last: None, retired: false });
    }

    fn newest(&self) -> &PublicKey {
        // Never empty: the first key is there, and none is taken away.
        self.keys[self.keys.len() - 1].key.key()
    }

    fn ever(&self, key: &PublicKey) -> bool {
        self.keys.iter().any(|signer| signer.key.key() == key)
    }

    fn signing(&self, size: u64) -> impl Iterator<Item = &VerifierKey> {
        let signs = move |signer: &&Signer| signer.first <= size && signer.last.is_none_or(|last| size <= last);
        self.keys.iter().filter(signs).map(|signer| &signer.key)
    }

    /// Whether a checkpoint of `size` is signed by all keys that sign this size, and by nobody else; an error in words.
    pub(super) fn signed(&self, size: u64, note: &SignedNote) -> Result<(), String> {
        let signing: Vec<VerifierKey> = self.signing(size).cloned().collect();
        let found = note.verify(&signing).map_err(|error| error.to_string())?;
        if let Some(missing) = signing.iter().find(|key| !found.contains(key)) {
            return Err(format!("no signature of {missing}"));
        }
        if note.signatures().len() > signing.len() {
            return Err("a signature by somebody else beside it".to_owned());
        }
        Ok(())
    }
}

/// The index of a control entry, and its message where it changes the key; none where it can't be read.
fn key_message<K: Kv>(place: &Place<'_, K>, counter: u64) -> Option<(u64, Option<Vec<u8>>)> {
    let log = place.log;
    let index = read_u64("control", &place.kv.get(Space::Tree, &Key::Control(log, counter).bytes()).ok()??).ok()?;
    let entry = place.kv.get(Space::Entries, &Key::Entry(log, index).bytes()).ok()??;
    let Ok(Header::Control(header)) = Header::decode(&entry) else { return None };
    if header.op != ControlOp::Key {
        return Some((index, None));
    }
    let (from, to) = (Key::Payload(log, index), Key::Payload(log, index.saturating_add(BLOCK_SPAN)));
    let (key, row) = place.kv.range(Space::Payloads, &from.bytes(), &to.bytes(), 1).ok()?.pop()?;
    let stored = Block::decode(&Key::decode(Space::Payloads, &key).ok()?, &row).ok()?.find(index)?;
    Some((index, Some(stored.payload)))
}

/// What holds in a log behind some of its control entries.
pub(super) struct Acts {
    signers: Signers,
    admin: Vec<PublicKey>,
    recovery: PublicKey,
    facts: BTreeSet<String>,
    holds: BTreeSet<String>,
    counter: u64,
    prev: Hash,
}

/// A control entry that is in order.
#[derive(Debug)]
pub(super) struct Judged {
    pub(super) op: ControlOp,
    /// What the listing of an act in `_ledger` has to open to.
    pub(super) opening: Option<Vec<u8>>,
    /// Of a listing in `_ledger`: what it commits to.
    pub(super) listed: Option<Hash>,
}

impl Acts {
    /// Behind the first entry, whose leaf hash is `leaf`.
    pub(super) fn born(first: &First, leaf: Hash) -> Self {
        Self {
            signers: Signers::born(first),
            admin: first.admin_keys.clone(),
            recovery: first.recovery_key,
            facts: BTreeSet::new(),
            holds: BTreeSet::new(),
            counter: 0,
            prev: leaf,
        }
    }

    /// Leaf hash of the newest control entry, or of the first entry.
    pub(super) fn prev(&self) -> Hash {
        self.prev
    }

    /// Goes past the control entry with this leaf hash.
    pub(super) fn pass(&mut self, leaf: Hash) {
        (self.counter, self.prev) = (self.counter + 1, leaf);
    }

    /// Judges the message of entry `index`, and lets it hold where it is in order; what is wrong with it in words.
    pub(super) fn judge(&mut self, message: &[u8], index: u64) -> Result<Judged, String> {
        let in_ledger = self.signers.origin.log() == LEDGER_LOG;
        let (envelope, message) = if in_ledger {
            (Envelope::parse(message).map_err(|error| error.to_string())?, None)
        } else {
            let message = Message::parse(message).map_err(|error| error.to_string())?;
            (message.act.clone(), Some(message))
        };
        let said = self.said(&envelope)?;
        self.is_signed(&envelope, &said)?;
        let act = Act::parse(said.op, &said.body, in_ledger).map_err(|error| error.to_string())?;
        self.fits(&act, index, in_ledger)?;
        let opening = message.map(|message| self.opening(&message, &said)).transpose()?;
        let listed = if let Act::Listed(commit) = &act { Some(*commit) } else { None };
        self.let_hold(act, index);
        Ok(Judged { op: said.op, opening, listed })
    }

    /// What the envelope says, which has to be for this log and the next one.
    fn said(&self, envelope: &Envelope) -> Result<ControlMessage, String> {
        let (origin, said) = control::peek(envelope).map_err(|error| error.to_string())?;
        if origin != self.signers.origin.as_str() {
            return Err(format!("one for {origin:?}"));
        }
        if (said.counter, said.prev) != (self.counter + 1, self.prev) {
            let (counter, prev) = (self.counter + 1, self.prev);
            return Err(format!("number {} on top of {}, not {counter} on top of {prev}", said.counter, said.prev));
        }
        Ok(said)
    }

    /// Signed by everybody whom the op asks for; every signature by a key with a role here, once, and right.
    fn is_signed(&self, envelope: &Envelope, said: &ControlMessage) -> Result<(), String> {
        let text = pae(&envelope.payload_type, &envelope.payload);
        let log_key = *self.signers.newest();
        let mut signed: Vec<PublicKey> = Vec::new();
        for signature in &envelope.signatures {
            let id = signature.keyid.as_deref().unwrap_or_default();
            let named = |key: &&PublicKey| hex::encode(key_id(self.signers.origin.as_str(), key)) == id;
            let known = self.admin.iter().chain([&self.recovery, &log_key]).find(named);
            let known = known.filter(|key| !signed.contains(key)).ok_or_else(|| format!("signed by key id {id:?}"))?;
            let fits =
                <&[u8; 64]>::try_from(signature.sig.as_slice()).is_ok_and(|sig| known.verify(&text, sig).is_ok());
            if !fits {
                return Err(format!("a signature of key id {id} that does not fit"));
            }
            signed.push(*known);
        }
        let admin = self.admin.iter().any(|key| signed.contains(key));
        let recovery = signed.contains(&self.recovery);
        let without_old = matches!(said.body.get("status").and_then(Value::as_str), Some("lost" | "compromised"));
        let enough = match said.op {
            ControlOp::Rules | ControlOp::Tenant | ControlOp::Hold | ControlOp::Release => admin,
            ControlOp::Key => recovery && (without_old || signed.contains(&log_key)),
            ControlOp::Admin | ControlOp::Recovery => recovery,
            ControlOp::Erase => return Err("an act that no version carries out".to_owned()),
        };
        if enough { Ok(()) } else { Err(format!("op {} without the signature of who may", said.op.as_str())) }
    }

    fn fits(&self, act: &Act, index: u64, in_ledger: bool) -> Result<(), String> {
        let key_is_new =
            |key: &PublicKey| !self.signers.ever(key) && !self.admin.contains(key) && self.recovery != *key;
        let fits = match act {
            Act::Rules(_) | Act::Listed(_) => true,
            Act::Facts { set, unset } => {
                let left = self.facts.iter().filter(|fact| !unset.contains(*fact) && !set.contains_key(*fact)).count();
                unset.is_subset(&self.facts) && left + set.len() <= MAX_FACTS
            }
            Act::Hold(hold) => !self.holds.contains(&hold.id),
            Act::Release { id, .. } => self.holds.contains(id),
            Act::Key(change) => {
                let ends = match change.status {
                    KeyStatus::Retired if in_ledger => change.from == index,
                    KeyStatus::Retired => change.from >= index,
                    KeyStatus::Lost | KeyStatus::Compromised => change.from <= index,
                };
                change.old == *self.signers.newest() && key_is_new(&change.new) && ends && change.size <= index
            }
            // An admin key may stay one.
            Act::Admin(keys) => keys.iter().all(|key| *key != self.recovery && !self.signers.ever(key)),
            Act::Recovery(key) => key_is_new(key),
        };
        if fits { Ok(()) } else { Err(format!("op {} that does not fit what holds", act.op().as_str())) }
    }

    /// What the listing opens to, which the message carries and which has to commit to this very act.
    fn opening(&self, message: &Message, said: &ControlMessage) -> Result<Vec<u8>, String> {
        let origin = &self.signers.origin;
        let (act, op) = (Hash::of(&message.act.print()), said.op.as_str());
        let opening = json!({ "act": act, "counter": said.counter, "op": op, "origin": origin.as_str() });
        let opening = serde_json_canonicalizer::to_vec(&opening).map_err(|error| error.to_string())?;
        let (listing_origin, listing) = control::peek(&message.listing).map_err(|error| error.to_string())?;
        let commits = json!({ "commit": commitment(&message.salt, &opening) });
        let own = format!("{}/{LEDGER_LOG}", origin.ledger());
        if (listing_origin.as_str(), listing.op, &listing.body) == (own.as_str(), ControlOp::Tenant, &commits) {
            Ok(opening)
        } else {
            Err("a listing of something else".to_owned())
        }
    }

    fn let_hold(&mut self, act: Act, index: u64) {
        match act {
            Act::Rules(_) | Act::Listed(_) => {}
            Act::Facts { set, unset } => {
                self.facts.retain(|fact| !unset.contains(fact));
                self.facts.extend(set.into_keys());
            }
            Act::Hold(hold) => drop(self.holds.insert(hold.id)),
            Act::Release { id, .. } => drop(self.holds.remove(&id)),
            Act::Key(change) => self.signers.change(index, &change),
            Act::Admin(keys) => self.admin = keys,
            Act::Recovery(key) => self.recovery = key,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::checkpoint::Checkpoint;
    use crate::entry::Salt;
    use crate::governance::{Governance, Hold, Place as Standing, Roots, Scope, envelope_of, message};
    use crate::hash::leaf;
    use crate::signing::Signer as Secret;

    const LOG: &str = "ledger.example/acme";
    const LEDGER: &str = "ledger.example/_ledger";
    const ADMIN: u8 = 1;
    const RECOVERY: u8 = 3;
    const FIRST_KEY: u8 = 4;

    /// Splitmix64.
    struct Rng(u64);

    impl Rng {
        fn below(&mut self, bound: u64) -> u64 {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = self.0;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            (z ^ (z >> 31)) % bound
        }

        fn byte(&mut self, bound: u64) -> u8 {
            u8::try_from(self.below(bound)).unwrap()
        }
    }

    fn secret(log: &str, seed: u8) -> Secret {
        Secret::from_seed(&Origin::parse(log).unwrap(), [seed; 32])
    }

    fn first(log: &str) -> First {
        let key = |seed| secret(log, seed).public_key();
        First {
            at: 1,
            origin: Origin::parse(log).unwrap(),
            log_key: key(FIRST_KEY),
            admin_keys: vec![key(ADMIN)],
            recovery_key: key(RECOVERY),
            rules: Hash([0; 32]),
            stream_created_ms: None,
        }
    }

    /// An act that may fit what holds, or not.
    fn act(log: &str, rng: &mut Rng, now: u8, index: u64) -> Act {
        let mut key = |bound| secret(log, 1 + rng.byte(bound)).public_key();
        let (new, other) = (key(30), key(12));
        let id = format!("case-{}", rng.below(3));
        match rng.below(8) {
            0 => Act::Hold(Hold { id, scope: Scope::All, reason: "audit".to_owned() }),
            1 => Act::Release { id, reason: "over".to_owned() },
            2 => Act::Facts { set: BTreeMap::from([(id, "x".to_owned())]), unset: BTreeSet::new() },
            3 => Act::Facts { set: BTreeMap::new(), unset: [id].into() },
            4 => Act::Admin(vec![new]),
            5 => Act::Recovery(new),
            6 => Act::Rules(Hash(schemas::rules::current().name)),
            _ => {
                let status = [KeyStatus::Retired, KeyStatus::Lost, KeyStatus::Compromised][usize::from(rng.byte(3))];
                let from = (index + rng.below(5)).saturating_sub(2 * rng.below(2)).max(1);
                let old = if rng.below(4) > 0 { secret(log, now).public_key() } else { other };
                Act::Key(KeyChange {
                    new,
                    old,
                    status,
                    from,
                    size: from.min(index + rng.below(2)),
                    root: Hash([7; 32]),
                })
            }
        }
    }

    /// Messages of all kinds, good and bad in every way that is checked: the judge and the decider, who share no decision, agree on
    /// each of them, on what holds after it, and on who signs which size.
    #[test]
    fn invariant_judged_as_decided() {
        let (mut good, mut bad) = (0, 0);
        let secrets = |log: &str| (0..40).map(|seed| secret(log, seed)).collect::<Vec<_>>();
        let (of_log, of_ledger) = (secrets(LOG), secrets(LEDGER));
        for seed in 0..60 {
            let (log, secrets) = if seed % 3 == 0 { (LEDGER, &of_ledger) } else { (LOG, &of_log) };
            let (mut rng, first, born) = (Rng(seed), first(log), leaf(b"entry 0"));
            let (mut governance, mut acts) = (Governance::new(&first, born), Acts::born(&first, born));
            let (mut admin, mut recovery, mut now) = (ADMIN, RECOVERY, FIRST_KEY);
            for index in (1..120).map(|step| step * 3) {
                let act = act(log, &mut rng, now, index);
                // Mostly by those who have to sign.
                let mut by: Vec<u8> = match act.op() {
                    ControlOp::Key => vec![recovery, now],
                    ControlOp::Admin | ControlOp::Recovery => vec![recovery],
                    _ => vec![admin],
                };
                match rng.below(10) {
                    0 => by = vec![1 + rng.byte(30)],
                    1 => by.push(1 + rng.byte(30)),
                    2 => drop(by.pop()),
                    3 => by.push(by[0]),
                    _ => {}
                }
                let by: Vec<&Secret> = by.into_iter().map(|seed| &secrets[usize::from(seed)]).collect();
                let mut on = governance.place();
                match rng.below(12) {
                    0 => on.counter += 1,
                    1 => on.prev = Hash([9; 32]),
                    2 => on.origin = Origin::parse("ledger.example/beta").unwrap(),
                    _ => {}
                }
                let bytes = sent(log, &act, &on, &by, &mut rng);
                let Some(bytes) = bytes else { continue };
                let decided = governance.decide(&bytes, index, Roots::Compared);
                let judged = acts.judge(&bytes, index);
                let context = format!("seed {seed}, entry {index}: {act:?}\n{judged:?}\n{decided:?}");
                assert_eq!(judged.is_ok(), decided.is_ok(), "{context}");
                let (Ok(decided), Ok(judged)) = (decided, judged) else {
                    bad += 1;
                    continue;
                };
                good += 1;
                assert_eq!(judged.op, act.op(), "{context}");
                assert_eq!(judged.opening, decided.listing.map(|listing| listing.opening), "{context}");
                let after = leaf(&bytes);
                governance.apply(&decided.act, index, after);
                acts.pass(after);
                let seed_of = |key: &PublicKey| {
                    u8::try_from(secrets.iter().position(|secret| secret.public_key() == *key).unwrap()).unwrap()
                };
                (admin, recovery) = (seed_of(&governance.admin_keys()[0]), seed_of(governance.recovery_key()));
                now = seed_of(governance.log_keys().current());
                assert_eq!((acts.counter, acts.prev()), (governance.counter(), *governance.prev()), "{context}");
            }
            for size in 1..400 {
                let expected: Vec<PublicKey> = governance.log_keys().signing(size).map(|signing| signing.key).collect();
                let found: Vec<PublicKey> = acts.signers.signing(size).map(|key| *key.key()).collect();
                assert_eq!(found, expected, "seed {seed}, size {size}");
                if size % 50 > 0 {
                    continue;
                }
                let signers: Vec<&Secret> = secrets.iter().filter(|s| expected.contains(&s.public_key())).collect();
                let stranger = secrets.iter().find(|s| !expected.contains(&s.public_key())).unwrap();
                let checkpoint = Checkpoint { origin: first.origin.clone(), size, root: Hash([1; 32]) };
                let signed = |signers: &[&Secret]| {
                    let note = SignedNote::parse(&Secret::sign_checkpoint_by(signers, &checkpoint)).unwrap();
                    acts.signers.signed(size, &note)
                };
                assert_eq!(signed(&signers), Ok(()), "seed {seed}, size {size}");
                assert!(signed(&[&signers[..], &[stranger]].concat()).is_err());
                assert!(signed(&[stranger]).is_err());
                assert!(signers.len() == 1 || signed(&signers[1..]).is_err());
            }
        }
        assert!(good > 1_000 && bad > 1_000, "{good} good and {bad} bad messages");
    }

    /// A message, now and then with a listing of something else; none for an act that the log can't have.
    fn sent(log: &str, act: &Act, on: &Standing, by: &[&Secret], rng: &mut Rng) -> Option<Vec<u8>> {
        if log == LEDGER {
            return Some(envelope_of(act, on, by));
        }
        let ledger = Standing { origin: Origin::parse(LEDGER).unwrap(), counter: 4, prev: Hash([5; 32]) };
        let lister = secret(LEDGER, ADMIN);
        let mut message = message(act, on, by, &ledger, &lister, Salt([rng.byte(200); 16])).ok()?;
        match rng.below(15) {
            0 => message.salt.0[3] ^= 1,
            1 => message.listing = message.act.clone(),
            _ => {}
        }
        Some(message.print())
    }
}

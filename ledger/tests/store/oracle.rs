//! What the roads say must be in the logs, computed the naive way: one walk over all messages with plain vectors and maps, hashes
//! by the definition. Compared with everything that the store holds and with everything that producers were told.

use std::collections::{BTreeMap, BTreeSet};

use ledger::append::{Disposition, LogId, load_heads};
use ledger::birth;
use ledger::checkpoint::{self, Checkpoint};
use ledger::dedupe::Fingerprint;
use ledger::entry::{Epoch, EventHeader, Gap, Header, RejectionHeader, Road, commitment};
use ledger::hash::Hash;
use ledger::kv::{Kv, Space};
use ledger::layout::{Key, SignedAt};
use ledger::proof;
use ledger::read::Log;
use ledger::receipt::Receipt;
use ledger::tiles::TiledLog;
use schemas::ids::ChangeId;
use schemas::reason::Reason;
use sha2::{Digest, Sha256};

use crate::world::{Message, RULES, Rng, TenantWorld, Told, World, event_index, facts, subject};

/// What one log must hold.
#[derive(Default)]
struct Expected {
    /// Message (none for first, gap, epoch) and place of each entry.
    entries: Vec<Entry>,
    dispositions: BTreeMap<(usize, u64), Disposition>,
    accepted: BTreeMap<Fingerprint, u64>,
    changes: BTreeMap<ChangeId, Vec<u64>>,
}

enum Entry {
    First,
    Event { message: Message, road: Road, at: u64, place: usize, previous: Option<u64> },
    Rejection { message: Message, road: Road, at: u64 },
    Gap { from: u64, to: u64, at: u64 },
    Epoch { epoch: u32, created_ns: u64, at: u64 },
}

/// Compares everything.
pub(crate) fn check<K: Kv>(world: &World, kv: &K, told: &[Told]) {
    let heads = load_heads(kv).unwrap();
    let tenants = world.tenants.len() as u64;
    // Each tenant is listed once, however often its birth was tried.
    assert_eq!((heads.len() as u64, heads[0].size, heads[0].control_counter), (tenants + 1, tenants + 1, tenants));
    for (number, tenant) in world.tenants.iter().enumerate() {
        let log = Log::open(kv, birth::log_of(kv, &tenant.tenant).unwrap().unwrap()).unwrap();
        let expected = expect(tenant);
        let entries = check_entries(&log, &expected);
        check_beside(kv, &log, tenant, &expected);
        check_reading(&log, tenant, &expected);
        check_checkpoints(kv, &log, tenant, &entries);
        check_told(number, tenant, &expected, &entries, told);
    }
    check_index_rows(world, kv);
}

fn expect(tenant: &TenantWorld) -> Expected {
    let mut expected = Expected { entries: vec![Entry::First], ..Expected::default() };
    // Births are at 2,000 and a little: every road is later.
    let mut now = 2_000;
    for (life, stream) in tenant.streams.iter().enumerate() {
        let first = stream.messages.first_key_value().unwrap().1;
        let epoch = u32::try_from(life).unwrap();
        if life > 0 {
            now = now.max(first.at_ms);
            expected.note((life, 0), Entry::Epoch { epoch, created_ns: stream.created_ns, at: now });
        }
        let mut next = 1;
        for (&sequence, message) in &stream.messages {
            if sequence > next {
                now = now.max(message.at_ms);
                expected.note((life, sequence - 1), Entry::Gap { from: next, to: sequence - 1, at: now });
            }
            next = sequence + 1;
            expected.message(tenant, (life, sequence), message, Road { epoch, sequence }, &mut now);
        }
    }
    expected
}

impl Expected {
    fn note(&mut self, place: (usize, u64), entry: Entry) {
        self.dispositions.insert(place, Disposition::Noted { index: self.entries.len() as u64 });
        self.entries.push(entry);
    }

    fn message(&mut self, tenant: &TenantWorld, key: (usize, u64), message: &Message, road: Road, at: &mut u64) {
        let index = self.entries.len() as u64;
        let duplicate = self.accepted.get(&tenant.fingerprint(message)).filter(|_| message.good);
        if let Some(&index) = duplicate {
            // Without an entry, its time moves nothing.
            self.dispositions.insert(key, Disposition::Duplicate { index });
            return;
        }
        *at = message.at_ms.max(*at);
        let disposition = if message.good {
            self.accepted.insert(tenant.fingerprint(message), index);
            let chain = self.changes.entry(message.change.clone()).or_default();
            let (place, previous) = (chain.len(), chain.last().copied());
            chain.push(index);
            self.entries.push(Entry::Event { message: message.clone(), road, at: *at, place, previous });
            Disposition::Accepted { index }
        } else {
            self.entries.push(Entry::Rejection { message: message.clone(), road, at: *at });
            Disposition::Rejected { index }
        };
        self.dispositions.insert(key, disposition);
    }
}

/// Every entry is, byte for byte, the header that the road asks for, over the salt and payload kept beside it.
fn check_entries<K: Kv>(log: &Log<&K>, expected: &Expected) -> Vec<Vec<u8>> {
    let found: Vec<Vec<u8>> =
        log.entries(0..u64::MAX, usize::MAX).unwrap().into_iter().map(|(_, entry)| entry).collect();
    assert_eq!(found.len(), expected.entries.len(), "each message is there at most once, and none is lost");
    assert_eq!(log.head().unwrap().size, found.len() as u64);
    for (index, wanted) in expected.entries.iter().enumerate() {
        let stored = log.stored(index as u64).unwrap();
        let commit = |message: &Message| {
            let stored = stored.as_ref().unwrap();
            assert_eq!(stored.payload, message.payload);
            (commitment(&stored.salt, &message.payload), message.payload.len() as u64)
        };
        let header = match wanted {
            Entry::First => {
                assert!(matches!(Header::decode(&found[0]).unwrap(), Header::First(_)));
                continue;
            }
            Entry::Event { message, road, at, place, previous } => {
                let (commit, size) = commit(message);
                assert_eq!(stored.as_ref().unwrap().previous, *previous);
                let prev = previous.map(|previous| leaf(&found[previous as usize]));
                event(message, EventParts { road: *road, at: *at, seq: *place as u64, prev, commit, size })
            }
            Entry::Rejection { message, road, at } => {
                let (commit, size) = commit(message);
                let (masked, reason) = (message.masked, Reason::NotJson);
                Header::Rejection(RejectionHeader { at: *at, road: *road, reason, commit, size, masked, rules: RULES })
            }
            Entry::Gap { from, to, at } => Header::Gap(Gap { at: *at, from: *from, to: *to }),
            Entry::Epoch { epoch, created_ns, at } => {
                Header::Epoch(Epoch { at: *at, epoch: *epoch, stream_created_ms: created_ns / 1_000_000 })
            }
        };
        let wanted = String::from_utf8(header.encode().unwrap()).unwrap();
        assert_eq!(String::from_utf8_lossy(&found[index]), wanted, "entry {index}");
    }
    found
}

#[derive(Clone, Copy)]
struct EventParts {
    road: Road,
    at: u64,
    seq: u64,
    prev: Option<Hash>,
    commit: Hash,
    size: u64,
}

fn event(message: &Message, parts: EventParts) -> Header {
    let facts = facts(message);
    Header::Event(EventHeader {
        change: facts.change,
        seq: parts.seq,
        prev: parts.prev,
        id: facts.id,
        phase: facts.phase,
        env: None,
        class: None,
        probe: false,
        producer: None,
        has: facts.has,
        outcome: facts.outcome,
        ts: facts.ts,
        at: parts.at,
        road: parts.road,
        commit: parts.commit,
        size: parts.size,
        masked: message.masked,
        rules: RULES,
    })
}

/// Payload rows, fingerprints and details stand exactly where they must.
fn check_beside<K: Kv>(kv: &K, log: &Log<&K>, tenant: &TenantWorld, expected: &Expected) {
    let payloads: Vec<u64> = log.stored_range(0..u64::MAX, usize::MAX).unwrap().iter().map(|row| row.0).collect();
    let mut with_payload = Vec::new();
    let mut rejected = Vec::new();
    for (index, entry) in (0..).zip(&expected.entries) {
        let stored = log.stored(index).unwrap();
        match entry {
            Entry::Event { message, .. } => {
                assert_eq!(stored.unwrap().fingerprint, tenant.fingerprint(message));
                with_payload.push(index);
            }
            Entry::Rejection { message, road, at } => {
                assert_eq!(stored.unwrap().fingerprint, Fingerprint::default());
                let (row, bytes) = log.rejection(index).unwrap().unwrap();
                assert_eq!((row.index, row.at_ms, row.road, row.reason), (index, *at, *road, Reason::NotJson));
                assert_eq!((bytes, row.masked), (message.payload.clone(), message.masked));
                assert_eq!(row.details.subject, subject(&tenant.tenant));
                assert_eq!(row.details.found, format!("found {}", road.sequence));
                assert_eq!((row.details.path.as_str(), row.details.expected.as_str()), ("/a", "é"));
                with_payload.push(index);
                rejected.push(row);
            }
            _ => assert!(stored.is_none() && log.rejection(index).unwrap().is_none()),
        }
    }
    assert_eq!(payloads, with_payload);
    assert_eq!(log.rejections(0, usize::MAX).unwrap(), rejected);
    if let [_, second, ..] = &rejected[..] {
        assert_eq!(log.rejections(second.index, 1).unwrap(), std::slice::from_ref(second));
    }
    let heads = kv.range(Space::Meta, &Key::Head(log.id()).bytes(), &Key::Head(LogId(log.id().0 + 1)).bytes(), 9);
    assert_eq!(heads.unwrap().len(), 1);
}

/// Chains and roads read back as walked, also as of an earlier size.
fn check_reading<K: Kv>(log: &Log<&K>, tenant: &TenantWorld, expected: &Expected) {
    let size = expected.entries.len() as u64;
    for (change, indices) in &expected.changes {
        assert_eq!(&log.change_indices(change, &tenant.dedupe, size).unwrap(), indices);
        let half: Vec<u64> = indices.iter().copied().filter(|index| *index < size / 2).collect();
        assert_eq!(log.change_indices(change, &tenant.dedupe, size / 2).unwrap(), half);
    }
    let unknown = ChangeId::parse("never-seen").unwrap();
    assert!(log.change_indices(&unknown, &tenant.dedupe, size).unwrap().is_empty());

    let life = tenant.streams.len() - 1;
    let (from, to) = (5, 1 + *tenant.streams[life].messages.last_key_value().unwrap().0);
    let own = |disposition: &Disposition| match disposition {
        Disposition::Accepted { index } | Disposition::Rejected { index } => Some(*index),
        Disposition::Duplicate { .. } | Disposition::Noted { .. } => None,
    };
    let wanted = expected.dispositions.range((life, from)..(life, to));
    let wanted: BTreeMap<u64, u64> = wanted.filter_map(|((_, sequence), d)| Some((*sequence, own(d)?))).collect();
    assert_eq!(log.by_road(from..to).unwrap(), wanted);
}

/// Every checkpoint is signed, has the naive root of its size, and any two are consistent.
fn check_checkpoints<K: Kv>(kv: &K, log: &Log<&K>, tenant: &TenantWorld, entries: &[Vec<u8>]) {
    let (from, to) = (Key::Checkpoint(log.id(), 0).bytes(), Key::Checkpoint(log.id(), u64::MAX).bytes());
    let rows = kv.range(Space::Tree, &from, &to, usize::MAX).unwrap();
    let leaves: Vec<Hash> = entries.iter().map(|entry| leaf(entry)).collect();
    let mut last: Option<(u64, Hash)> = None;
    for (key, row) in &rows {
        let row = SignedAt::decode(row).unwrap();
        assert_eq!(row.previous, last.map_or(0, |(size, _)| size), "each names the one before");
        let signed = checkpoint::open(&row.note, &tenant.signer.verifier()).unwrap().into_inner();
        assert_eq!(Key::decode(Space::Tree, key).unwrap(), Key::Checkpoint(log.id(), signed.size));
        assert_eq!(signed.root, naive_root(&leaves[..signed.size as usize]), "root of size {}", signed.size);
        assert_eq!(log.root(signed.size).unwrap(), signed.root);
        check_published(log, &signed, entries);
        if let Some((size, root)) = last {
            let path = log.consistency(size, signed.size).unwrap();
            proof::verify_consistency(size, signed.size, &root, &signed.root, &path).unwrap();
            let (found, _) = log.checkpoint_at_or_after(size + 1).unwrap().unwrap();
            assert_eq!(found, signed.size);
        }
        last = Some((signed.size, signed.root));
    }
    let sizes: Vec<u64> =
        rows.iter().map(|(_, row)| checkpoint::peek(&SignedAt::decode(row).unwrap().note).unwrap().size).collect();
    assert_eq!(log.signed_sizes(0, usize::MAX).unwrap(), sizes);
    let (size, root) = last.unwrap();
    assert_eq!(size, entries.len() as u64);
    assert_eq!(log.checkpoint_at_or_after(size + 1).unwrap(), None);
    assert_eq!(log.newest_checkpoint().unwrap(), SignedAt::decode(&rows.last().unwrap().1).unwrap().note);
    let indices: Vec<u64> = (0..size).collect();
    let paths = log.inclusions(&indices, size).unwrap();
    for (index, path) in paths.iter().enumerate() {
        proof::verify_inclusion(index as u64, size, &leaves[index], path, &root).unwrap();
    }
    let mut rng = Rng(size);
    for _ in 0..20 {
        let size = 1 + rng.below(size);
        let index = rng.below(size);
        let (path, root) = (log.inclusion(index, size).unwrap(), naive_root(&leaves[..size as usize]));
        proof::verify_inclusion(index, size, &leaves[index as usize], &path, &root).unwrap();
    }
}

/// What is published as of a signed size is what a stranger can check, entries, history and receipts of any age.
fn check_published<K: Kv>(log: &Log<&K>, signed: &Checkpoint, entries: &[Vec<u8>]) {
    let published = TiledLog::open(log, signed).unwrap();
    let index = Rng(signed.size).below(signed.size);
    let (number, whole) = (index / 256, signed.size == entries.len() as u64);
    // One bundle of each older size, all of the newest.
    for number in if whole { 0..signed.size.div_ceil(256) } else { number..number + 1 } {
        let (from, to) = (number * 256, (number * 256 + 256).min(signed.size));
        assert_eq!(published.bundle(number).unwrap(), entries[from as usize..to as usize]);
    }
    let path = log.inclusion(index, signed.size).unwrap();
    assert_eq!(published.inclusion(index).unwrap(), (leaf(&entries[index as usize]), path));
    let receipt = log.receipt_at(index, signed.size).unwrap();
    assert_eq!(
        (receipt.entry.as_slice(), Some(receipt.checkpoint)),
        (entries[index as usize].as_slice(), log.checkpoint(signed.size).unwrap())
    );
    proof::verify_inclusion(index, signed.size, &leaf(&receipt.entry), &receipt.path, &signed.root).unwrap();
}

/// Whoever was told something was told the truth, and each receipt still proves it.
fn check_told(number: usize, tenant: &TenantWorld, expected: &Expected, entries: &[Vec<u8>], told: &[Told]) {
    let mut heard = BTreeSet::new();
    for told in told.iter().filter(|told| told.tenant == number) {
        let key = (told.stream, told.sequence);
        assert_eq!(Some(&told.disposition), expected.dispositions.get(&key), "told {key:?}");
        heard.insert(key);
        let Some(receipt) = &told.receipt else { continue };
        let message = &tenant.streams[told.stream].messages[&told.sequence];
        let receipt = Receipt::parse(receipt).unwrap();
        assert_eq!(Some(receipt.index), event_index(&told.disposition));
        assert_eq!(receipt.entry, entries[receipt.index as usize]);
        assert_eq!(receipt.payload.is_some(), message.masked > 0);
        receipt.verify(&tenant.signer.verifier(), &message.payload).unwrap();
    }
    // All but the last messages of an earlier life of the stream: what is cut off can't be asked again.
    let last = tenant.streams.len() - 1;
    for key in
        expected.dispositions.keys().filter(|key| key.0 == last && tenant.streams[last].messages.contains_key(&key.1))
    {
        assert!(heard.contains(key), "{key:?} was never answered");
    }
}

/// The index holds a row for each accepted event and each change, and no other.
fn check_index_rows<K: Kv>(world: &World, kv: &K) {
    let mut wanted: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
    for tenant in &world.tenants {
        let expected = expect(tenant);
        let id = birth::log_of(kv, &tenant.tenant).unwrap().unwrap();
        let log = Log::open(kv, id).unwrap();
        for (fingerprint, index) in &expected.accepted {
            wanted.insert(Key::Dedupe(id, *fingerprint).bytes().to_vec(), index.to_be_bytes().to_vec());
        }
        for (change, indices) in &expected.changes {
            let last = *indices.last().unwrap();
            let leaf = leaf(&log.entry(last).unwrap().unwrap());
            let row = [&(indices.len() as u64 - 1).to_be_bytes()[..], &last.to_be_bytes(), &leaf.0].concat();
            wanted.insert(Key::Chain(id, tenant.dedupe.change_key(change)).bytes().to_vec(), row);
        }
    }
    let found = kv.range(Space::Index, &[0], &[255], usize::MAX).unwrap();
    assert_eq!(found, wanted.into_iter().collect::<Vec<_>>());
}

fn leaf(entry: &[u8]) -> Hash {
    Hash(Sha256::new().chain_update([0]).chain_update(entry).finalize().into())
}

/// RFC 6962 §2.1, as written there.
fn naive_root(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => Hash(Sha256::digest([]).into()),
        [one] => *one,
        _ => {
            let split = 1 << (usize::BITS - 1 - (leaves.len() - 1).leading_zeros());
            let (left, right) = (naive_root(&leaves[..split]), naive_root(&leaves[split..]));
            Hash(Sha256::new().chain_update([1]).chain_update(left.0).chain_update(right.0).finalize().into())
        }
    }
}

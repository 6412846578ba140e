//! The worked example of `docs/log-format.md`: a small log made here of fixed inputs, each of whose bytes the page shows. What the page
//! says is derived again; a page that says anything else fails, and the text that it should have lies in the target directory.

use std::fmt::Write as _;
use std::path::Path;

use ledger::append::{Cursor, Head, Item, PendingEvent, PendingRejection, Turn, commit, extend, load_head, look_up};
use ledger::birth::{self, LedgerBirth, LogBirth};
use ledger::checkpoint::Origin;
use ledger::consistency::ConsistencyProof;
use ledger::dedupe::DedupeKey;
use ledger::entry::{Header, Salt, commitment};
use ledger::hash::{Hash, leaf, node};
use ledger::kv::MemKv;
use ledger::read::Log;
use ledger::signing::Signer;
use ledger::tiles::{Resource, ResourcePath};
use ledger::tree::TileId;
use schemas::admit::{self, Scratch};
use schemas::ids::{Subject, Tenant};

const PLAN: &str = r#"{"provisioning_event":{"id":"e-1","change_id":"c-42","timestamp":"2026-01-02T03:04:05Z","phase":"plan","intent":{"source":"api","initiator":"jane","tenant":"acme"},"plan":{"commands":["deploy web"]}}}"#;
const EXECUTE: &str = r#"{"provisioning_event":{"id":"e-2","change_id":"c-42","timestamp":"2026-01-02T03:05:00Z","phase":"execute","intent":{"source":"api","initiator":"jane","tenant":"acme"},"execution":{"steps":[{"cmd":"deploy web --password=hunter2","rc":0}]}}}"#;
const BAD: &str = r#"{"provisioning_event":{"id":"e-3","id":"e-4"}}"#;

fn origin(log: &str) -> Origin {
    Origin::of("ledger.example", log).unwrap()
}

/// The log of the page, its key and store.
struct Example {
    kv: MemKv,
    signer: Signer,
    dedupe: DedupeKey,
    tenant: Tenant,
}

impl Example {
    fn new() -> Example {
        let (kv, tenant) = (MemKv::new(), Tenant::parse("acme").unwrap());
        let (own, admin) =
            (Signer::from_seed(&origin("_ledger"), [1; 32]), Signer::from_seed(&origin("_ledger"), [2; 32]));
        let rules = Hash(schemas::rules::current().name);
        let birth = LedgerBirth {
            name: "ledger.example",
            signer: &own,
            admin_keys: &[admin.public_key()],
            recovery_key: Signer::from_seed(&origin("_ledger"), [3; 32]).public_key(),
            rules,
            at_ms: 1_767_323_000_000,
        };
        birth::found_ledger(&kv, &birth).unwrap();
        let (signer, dedupe) = (Signer::from_seed(&origin("acme"), [4; 32]), DedupeKey::new([5; 32]));
        let birth = LogBirth {
            tenant: &tenant,
            signer: &signer,
            dedupe: &dedupe,
            ledger_signer: &own,
            admin: &admin,
            rules,
            stream_created_ms: Some(1_767_323_000_000),
            opening_salt: Salt([6; 16]),
            envelope_salt: Salt([7; 16]),
            at_ms: 1_767_323_001_000,
        };
        birth::found_log(&kv, &birth).unwrap();
        let example = Example { kv, signer, dedupe, tenant };
        example.round(&[(1, PLAN), (2, EXECUTE)], Vec::new());
        let gap = Item::Gap { from: 4, to: 5, at_ms: 1_767_323_400_000 };
        example.round(&[(3, BAD)], vec![gap, Item::Heartbeat { at_ms: 1_767_326_400_000, cosigned: None }]);
        example
    }

    fn head(&self) -> Head {
        load_head(&self.kv, birth::log_of(&self.kv, &self.tenant).unwrap().unwrap()).unwrap()
    }

    fn log(&self) -> Log<&MemKv> {
        Log::open(&self.kv, self.head().log).unwrap()
    }

    /// One round: messages by road sequence, then what the signer writes itself.
    fn round(&self, messages: &[(u64, &str)], own: Vec<Item>) {
        let head = self.head();
        let mut items: Vec<Item> = messages.iter().map(|(sequence, message)| self.item(*sequence, message)).collect();
        let skipped = own.iter().find_map(|item| if let Item::Gap { to, .. } = item { Some(*to) } else { None });
        let sequence = skipped.or(messages.last().map(|(sequence, _)| *sequence)).unwrap();
        items.extend(own);
        let cursor = Cursor {
            stream_created_ns: 1_767_323_000_000_000_000,
            sequence,
            at_ns: 0,
            digest: self.dedupe.fingerprint("last", b""),
        };
        let turn = Turn { log: head.log, items, cursor, answered: 0 };
        let known = look_up(&self.kv, std::slice::from_ref(&turn)).unwrap();
        let sealed = extend(&head, turn, &known[0]).unwrap().seal(&self.signer);
        commit(&self.kv, vec![sealed]).unwrap();
    }

    fn item(&self, road_sequence: u64, message: &str) -> Item {
        let rules = Hash(schemas::rules::current().name);
        let salt = Salt([0xa0 + u8::try_from(road_sequence).unwrap(); 16]);
        let at_ms = 1_767_323_000_000 + road_sequence * 60_000;
        let mut scratch = Scratch::default();
        match admit::admit_unaddressed(message.as_bytes(), &mut scratch) {
            Ok((subject, admitted)) => Item::Event(PendingEvent {
                road_sequence,
                at_ms,
                fingerprint: self.dedupe.fingerprint(&subject.to_string(), message.as_bytes()),
                change_key: self.dedupe.change_key(&admitted.facts.change),
                salt,
                commit: commitment(&salt, &admitted.payload),
                producer: None,
                facts: admitted.facts,
                payload: admitted.payload.into_owned().into(),
                masked: admitted.masked,
                rules,
            }),
            Err(rejection) => Item::Rejection(PendingRejection {
                road_sequence,
                at_ms,
                salt,
                subject: Subject { tenant: self.tenant.clone(), phase: schemas::ids::Phase::Plan, producer: None }
                    .to_string(),
                reason: rejection.reason,
                path: rejection.path,
                found: rejection.found,
                expected: rejection.expected,
                payload: rejection.payload,
                masked: rejection.masked,
                rules,
            }),
        }
    }
}

fn block(out: &mut String, text: &str) {
    let _ = write!(out, "```text\n{}\n```\n", text.trim_end_matches('\n'));
}

/// The page's example, derived.
fn derived(example: &Example) -> String {
    let log = example.log();
    let entries: Vec<Vec<u8>> = (0..6).map(|index| log.entry(index).unwrap().unwrap()).collect();
    let leaves: Vec<Hash> = entries.iter().map(|entry| leaf(entry)).collect();
    let mut out = String::new();
    let mut say = |text: &str| {
        out.push_str(text);
        out.push('\n');
    };
    say("The verifier key (the public key belongs to the Ed25519 seed of 32 bytes `04`):\n");
    let mut text = String::new();
    block(&mut text, &example.signer.verifier().to_vkey());
    say(&text);

    say(
        "`tile/entries/000.p/6` holds six entries. Each with its index, the two bytes before it in the bundle, and its leaf hash:\n",
    );
    let mut text = String::new();
    for (index, (entry, leaf)) in entries.iter().zip(&leaves).enumerate() {
        let length = u16::try_from(entry.len()).unwrap().to_be_bytes();
        let _ =
            write!(text, "{index}  {}  {}\n   leaf {leaf}\n", hex::encode(length), std::str::from_utf8(entry).unwrap());
    }
    let mut shown = String::new();
    block(&mut shown, &text);
    say(&shown);
    let bundle = log.resource(&ResourcePath { resource: Resource::Entries(0), width: 6 }).unwrap().unwrap();
    say(&format!("The bundle has {} bytes and the SHA-256 `{}`.\n", bundle.len(), Hash::of(&bundle)));
    let tile = log.resource(&ResourcePath { resource: Resource::Tile(TileId { level: 0, index: 0 }), width: 6 });
    let tile = tile.unwrap().unwrap();
    assert_eq!(tile, leaves.iter().flat_map(|leaf| leaf.0).collect::<Vec<u8>>());
    say(&format!(
        "`tile/0/000.p/6` is the six leaf hashes in a row: {} bytes, SHA-256 `{}`.\n",
        tile.len(),
        Hash::of(&tile)
    ));

    say("The tree: two leaves make a node, four a subtree, and the two that are left hang beside it (RFC 6962).\n");
    let pairs: Vec<Hash> = leaves.chunks(2).map(|pair| node(&pair[0], &pair[1])).collect();
    let four = node(&pairs[0], &pairs[1]);
    let root = node(&four, &pairs[2]);
    assert_eq!(root, log.root(6).unwrap());
    let mut text = String::new();
    block(
        &mut text,
        &format!(
            "0..2  {}\n2..4  {}\n4..6  {}\n0..4  {four}\n0..6  {root}   root, base64 {}",
            pairs[0],
            pairs[1],
            pairs[2],
            root.to_base64()
        ),
    );
    say(&text);
    say("The checkpoint:\n");
    let mut text = String::new();
    block(&mut text, &log.newest_checkpoint().unwrap());
    say(&text);

    let stored = log.stored(1).unwrap().unwrap();
    let Some(Header::Event(header)) = log.header(1).unwrap() else { panic!("entry 1 is an event") };
    assert_eq!(
        (stored.payload.as_slice(), header.commit),
        (PLAN.as_bytes(), commitment(&stored.salt, PLAN.as_bytes()))
    );
    say(&format!(
        "Entry 1 commits to {} bytes of payload, which are as their producer sent them; the salt is 16 bytes `a1`, and SHA-256(salt ‖ payload) is its `commit`:\n",
        header.size
    ));
    let mut text = String::new();
    block(&mut text, PLAN);
    say(&text);
    let stored = log.stored(2).unwrap().unwrap();
    say(
        "Entry 2 is of the same change: `seq` 1, and `prev` is the leaf hash of entry 1. A secret was masked, so its payload is not what was sent; the salt is 16 bytes `a2`:\n",
    );
    let mut text = String::new();
    block(&mut text, std::str::from_utf8(&stored.payload).unwrap());
    say(&text);
    say(
        "Its receipt under this checkpoint. The `extra` line is the base64 of the entry, the salt and, because of the masking, the payload:\n",
    );
    let receipt = log.receipt(2).unwrap();
    receipt.verify(&example.signer.verifier(), EXECUTE.as_bytes()).unwrap();
    let mut text = String::new();
    block(&mut text, &receipt.to_text());
    say(&text);
    say(
        "Entry 3 is a rejection (a key twice); its bytes are kept beside the tree and never leave in the clear but to who may see them. A checkpoint was signed at size 3 too; that the tree only grew from 3 to 6 is proved by:\n",
    );
    let path = log.consistency(3, 6).unwrap();
    let mut text = String::new();
    block(&mut text, &ConsistencyProof { old: 3, path, checkpoint: log.newest_checkpoint().unwrap() }.to_text());
    say(&text);
    out
}

#[test]
fn the_example_of_the_page_is_derived_again() {
    const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/log-format.md");
    let expect = derived(&Example::new());
    let page = std::fs::read_to_string(PAGE).unwrap();
    let (_, rest) = page.split_once("<!-- example -->\n").unwrap();
    let (found, _) = rest.split_once("<!-- /example -->").unwrap();
    if found.trim() != expect.trim() {
        let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join("log-format-example.md");
        std::fs::write(&place, &expect).unwrap();
        panic!("docs/log-format.md shows another example than the one that is made; it should be {}", place.display());
    }
}

//! A small log in memory: what the tests prove things about.

use std::collections::HashMap;
use std::convert::Infallible;

use ledger::checkpoint::{Checkpoint, Origin};
use ledger::entry::{EventHeader, Header, Road, Salt, commitment};
use ledger::hash::{self, Hash};
use ledger::proof;
use ledger::receipt::Receipt;
use ledger::signing::Signer;
use ledger::tree::{Edge, TileId, TileSource};
use schemas::admit::{self, Scratch};

/// Full tiles as they fell out of an edge, and the edge.
#[derive(Default, Clone)]
pub(crate) struct MemTiles {
    pub(crate) full: HashMap<TileId, Vec<Hash>>,
    pub(crate) edge: Edge,
}

impl MemTiles {
    pub(crate) fn push(&mut self, leaf: Hash) {
        let full = &mut self.full;
        self.edge.push(leaf, &mut |id, hashes| assert!(full.insert(id, hashes.to_vec()).is_none(), "{id:?} twice"));
    }
}

impl TileSource for MemTiles {
    type Error = Infallible;

    fn tile(&self, id: TileId, _width: u16) -> Result<Vec<Hash>, Infallible> {
        let partial =
            || if self.edge.tile_id(id.level) == id { self.edge.level(id.level).to_vec() } else { Vec::new() };
        Ok(self.full.get(&id).cloned().unwrap_or_else(partial))
    }
}

pub(crate) fn origin(text: &str) -> Origin {
    Origin::parse(text).unwrap()
}

pub(crate) fn signer(name: &str, seed: u8) -> Signer {
    Signer::from_seed(&origin(name), [seed; 32])
}

/// A log of one tenant with real entries.
pub(crate) struct Log {
    pub(crate) signer: Signer,
    pub(crate) tiles: MemTiles,
    pub(crate) entries: Vec<Vec<u8>>,
}

impl Log {
    pub(crate) fn new(name: &str) -> Log {
        Log { signer: signer(name, 1), tiles: MemTiles::default(), entries: Vec::new() }
    }

    pub(crate) fn append(&mut self, entry: Vec<u8>) -> u64 {
        self.tiles.push(hash::leaf(&entry));
        self.entries.push(entry);
        self.entries.len() as u64 - 1
    }

    /// Leaves that nobody looks at.
    pub(crate) fn pad(&mut self, count: u64) {
        for n in 0..count {
            self.append(format!("filler {n} {}", self.entries.len()).into_bytes());
        }
    }

    pub(crate) fn append_event(&mut self, event: &[u8], salt: Salt) -> (u64, Vec<u8>) {
        let (entry, payload) = event_entry(event, salt);
        (self.append(entry), payload)
    }

    pub(crate) fn checkpoint(&self, size: u64) -> String {
        let root = proof::root(&self.tiles, size).unwrap();
        self.signer.sign_checkpoint(&Checkpoint { origin: self.signer.name().clone(), size, root })
    }

    pub(crate) fn receipt(&self, index: u64, size: u64, salt: Salt, payload: Option<Vec<u8>>) -> Receipt {
        Receipt {
            index,
            entry: self.entries[usize::try_from(index).unwrap()].clone(),
            salt: Some(salt),
            payload,
            path: proof::inclusion(&self.tiles, index, size).unwrap(),
            checkpoint: self.checkpoint(size),
        }
    }
}

/// The header of an event as admission makes it, and the payload as stored.
pub(crate) fn event_header(event: &[u8], salt: Salt) -> (EventHeader, Vec<u8>) {
    let mut scratch = Scratch::default();
    let Ok((_, admitted)) = admit::admit_unaddressed(event, &mut scratch) else { panic!("not admitted") };
    let facts = admitted.facts;
    let payload = admitted.payload.into_owned();
    let header = EventHeader {
        change: facts.change,
        seq: 0,
        prev: None,
        id: facts.id,
        phase: facts.phase,
        env: facts.environment,
        class: facts.class,
        probe: facts.probe,
        producer: None,
        has: facts.has,
        outcome: facts.outcome,
        ts: facts.ts,
        at: 1_767_000_000_000,
        road: Road { epoch: 0, sequence: 7 },
        commit: commitment(&salt, &payload),
        size: payload.len() as u64,
        masked: admitted.masked,
        rules: Hash(schemas::rules::current().name),
    };
    (header, payload)
}

pub(crate) fn event_entry(event: &[u8], salt: Salt) -> (Vec<u8>, Vec<u8>) {
    let (header, payload) = event_header(event, salt);
    (Header::Event(header).encode().unwrap(), payload)
}

/// An event of tenant `acme`; `command` may hold a secret.
pub(crate) fn event(id: &str, command: &str) -> Vec<u8> {
    format!(
        r#"{{"provisioning_event":{{"id":"{id}","timestamp":"2026-01-02T03:04:05Z","phase":"plan","environment":"prod","intent":{{"source":"api","initiator":"jane","tenant":"acme"}},"plan":{{"commands":["{command}"]}}}}}}"#
    )
    .into_bytes()
}

//! What must hold in the end, derived from the roads alone, with nothing of the appender's.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use ledger::append::{Disposition, LogId, load_heads};
use ledger::birth;
use ledger::checkpoint;
use ledger::cosignature::cosignatures;
use ledger::entry::{Header, commitment};
use ledger::kv::Kv;
use ledger::note::SignedNote;
use ledger::read::Log;
use ledger::receipt::Receipt;
use projector_sqlite::Views;
use schemas::admit::{Scratch, admit};
use schemas::ids::{ChangeId, Subject};
use sha2::{Digest, Sha256};

use super::world::{Message, Outside, Road, World, project, witness};

/// What a walk over a tenant's roads puts into the log, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Wanted {
    First,
    Epoch {
        epoch: u32,
        created_ms: u64,
    },
    Gap {
        from: u64,
        to: u64,
    },
    Event {
        epoch: u32,
        sequence: u64,
    },
    Rejection {
        epoch: u32,
        sequence: u64,
    },
    Control {
        epoch: u32,
        sequence: u64,
    },
    /// Written by the signer whenever it likes.
    Heartbeat,
}

pub(super) fn check<K: Kv>(world: &World, kv: &K, outside: &Outside) {
    load_heads(kv).expect("every head is sound");
    let listed = birth::list_tenants(kv).expect("tenants are listed");
    assert_eq!(listed.len(), world.roads.len(), "each log is born once");
    let mut acts = 0;
    for (number, road) in world.roads.iter().enumerate() {
        let id = birth::log_of(kv, &road.tenant).expect("readable").expect("the log is there");
        let log = Log::open(kv, id).expect("readable");
        let size = log.head().expect("readable").size;
        let entries: Vec<Vec<u8>> =
            log.entries(0..size, usize::MAX).expect("readable").into_iter().map(|(_, entry)| entry).collect();
        check_entries(&log, road, &entries);
        if entries.iter().any(|entry| matches!(of_entry(entry), Wanted::Control { .. })) {
            acts += 1;
        }
        check_seen(road, number, &entries, outside);
        check_cosigned(&log);
        check_told(&log, road, number, &entries, outside);
        if Outside::views(number) {
            check_views(kv, &log, road, outside);
        }
    }
    // First, a listing for each birth, and one for each act that was carried out.
    let own = Log::open(kv, LogId::LEDGER).expect("readable").head().expect("readable").size;
    assert_eq!(own, 1 + world.roads.len() as u64 + acts, "the ledger's own log lists what was done, once");
}

/// The log is what a walk over the roads gives: nothing twice, nothing missing, in order.
fn check_entries<K: Kv>(log: &Log<&K>, road: &Road, entries: &[Vec<u8>]) {
    let wanted = walk(road);
    let found: Vec<Wanted> =
        entries.iter().map(|entry| of_entry(entry)).filter(|entry| *entry != Wanted::Heartbeat).collect();
    assert_eq!(found, wanted, "{}, with {:#?}", road.tenant, log.rejections(0, 100).expect("readable"));
    let mut at_ms = 0;
    for (index, entry) in (0..).zip(entries) {
        let header = Header::decode(entry).expect("an entry decodes");
        let (commit, road_at) = match &header {
            Header::Event(event) => (event.commit, event.at),
            Header::Rejection(rejection) => (rejection.commit, rejection.at),
            Header::Control(control) => (control.commit, control.at),
            _ => continue,
        };
        let stored = log.stored(index).expect("readable").expect("a payload");
        assert_eq!(commit, commitment(&stored.salt, &stored.payload), "entry {index} commits to its payload");
        assert!(road_at >= at_ms, "time never goes back");
        at_ms = road_at;
    }
}

fn of_entry(entry: &[u8]) -> Wanted {
    match Header::decode(entry).expect("an entry decodes") {
        Header::First(_) => Wanted::First,
        Header::Epoch(epoch) => Wanted::Epoch { epoch: epoch.epoch, created_ms: epoch.stream_created_ms },
        Header::Gap(gap) => Wanted::Gap { from: gap.from, to: gap.to },
        Header::Event(event) => Wanted::Event { epoch: event.road.epoch, sequence: event.road.sequence },
        Header::Rejection(no) => Wanted::Rejection { epoch: no.road.epoch, sequence: no.road.sequence },
        Header::Control(control) => {
            let road = control.road.expect("an act that came by the road");
            Wanted::Control { epoch: road.epoch, sequence: road.sequence }
        }
        Header::Heartbeat(_) => Wanted::Heartbeat,
        other @ Header::Unknown { .. } => panic!("nobody asked for {other:?}"),
    }
}

fn walk(road: &Road) -> Vec<Wanted> {
    let mut wanted = vec![Wanted::First];
    let mut accepted = BTreeSet::new();
    for (epoch, stream) in (0..).zip(&road.streams) {
        if epoch > 0 {
            wanted.push(Wanted::Epoch { epoch, created_ms: stream.created_ns / 1_000_000 });
        }
        let mut last = 0;
        for (sequence, message) in &stream.messages {
            if *sequence > last + 1 {
                wanted.push(Wanted::Gap { from: last + 1, to: sequence - 1 });
            }
            last = *sequence;
            if message.is_control() {
                let act = road.act.as_ref() == Some(&message.bytes);
                if !act {
                    wanted.push(Wanted::Rejection { epoch, sequence: *sequence });
                } else if accepted.insert((&message.subject, &message.bytes)) {
                    wanted.push(Wanted::Control { epoch, sequence: *sequence });
                }
            } else if !is_good(message) {
                wanted.push(Wanted::Rejection { epoch, sequence: *sequence });
            } else if accepted.insert((&message.subject, &message.bytes)) {
                wanted.push(Wanted::Event { epoch, sequence: *sequence });
            }
        }
    }
    wanted
}

fn is_good(message: &Message) -> bool {
    let subject = Subject::parse(&message.subject).expect("a subject of ours");
    admit(&subject, &message.bytes, &mut Scratch::default()).is_ok()
}

/// Whatever checkpoint was ever seen is of a beginning of this log.
fn check_seen(road: &Road, number: usize, entries: &[Vec<u8>], outside: &Outside) {
    let roots = roots(entries);
    let key = road.signer.verifier();
    for (_, note) in outside.seen.iter().filter(|(of, _)| *of == number) {
        let seen = checkpoint::open(note, &key).expect("the log's own signature").into_inner();
        let root = usize::try_from(seen.size).ok().and_then(|size| roots.get(size)).copied();
        assert_eq!(root, Some(seen.root.0), "{}: the checkpoint of size {} was seen", road.tenant, seen.size);
    }
}

/// What stands beside a checkpoint is the witness's line over it, once, or nothing.
fn check_cosigned<K: Kv>(log: &Log<&K>) {
    let known = [witness().verifier()];
    for size in log.signed_sizes(0, usize::MAX).expect("readable") {
        let note = log.checkpoint_with_cosignatures(size).expect("readable").expect("a checkpoint");
        let note = SignedNote::parse(&note).expect("a note");
        let lines = cosignatures(&note, &known).expect("lines that hold").len();
        assert!(lines <= 1 && note.signatures().len() == 1 + lines, "size {size}: {:?}", note.signatures());
    }
    log.newest_cosigned().expect("readable");
}

/// Roots of every size, as RFC 6962 §2.1 says: peaks of full subtrees, joined from the right.
fn roots(entries: &[Vec<u8>]) -> Vec<[u8; 32]> {
    let join = |left: [u8; 32], right: [u8; 32]| -> [u8; 32] {
        Sha256::new_with_prefix([1]).chain_update(left).chain_update(right).finalize().into()
    };
    let mut peaks: Vec<(u32, [u8; 32])> = Vec::new();
    let mut roots = vec![Sha256::digest([]).into()];
    for entry in entries {
        let mut node = (0, Sha256::new_with_prefix([0]).chain_update(entry).finalize().into());
        while let Some((_, left)) = peaks.pop_if(|peak| peak.0 == node.0) {
            node = (node.0 + 1, join(left, node.1));
        }
        peaks.push(node);
        let root = peaks.iter().rev().map(|peak| peak.1).reduce(|right, left| join(left, right));
        roots.extend(root);
    }
    roots
}

/// Whoever was told something was told the truth.
fn check_told<K: Kv>(log: &Log<&K>, road: &Road, number: usize, entries: &[Vec<u8>], outside: &Outside) {
    let mut accepted: BTreeMap<u64, &Message> = BTreeMap::new();
    for told in outside.told.iter().filter(|told| told.road == number) {
        let (index, wants_event) = match told.disposition {
            Disposition::Accepted { index } | Disposition::Duplicate { index } => (index, true),
            Disposition::Rejected { index } => (index, false),
            Disposition::Noted { .. } => continue,
        };
        let entry = entries.get(index as usize).unwrap_or_else(|| panic!("entry {index} was acknowledged and is gone"));
        let header = Header::decode(entry).expect("an entry decodes");
        assert_eq!(matches!(header, Header::Event(_) | Header::Control(_)), wants_event, "entry {index} is {header:?}");
        if !wants_event {
            continue;
        }
        let stored = log.stored(index).expect("readable").expect("a payload");
        assert_eq!(
            stored.fingerprint,
            road.fingerprint(&told.message),
            "entry {index} is the message that was confirmed"
        );
        let same = accepted.insert(index, &told.message).is_none_or(|other| other.bytes == told.message.bytes);
        assert!(same, "entry {index} was confirmed to two different messages");
        if let Some(receipt) = &told.receipt {
            let receipt = Receipt::parse(receipt).expect("a receipt");
            assert_eq!((receipt.index, &receipt.entry), (index, entry));
            receipt.verify(&road.signer.verifier(), &told.message.bytes).expect("the receipt proves the event");
        }
    }
    // Everything on the last stream was answered at least once: nobody waits for ever.
    let last = road.streams.last().expect("a road has a stream");
    let heard: BTreeSet<(&String, &Vec<u8>)> = outside
        .told
        .iter()
        .filter(|told| told.road == number)
        .map(|told| (&told.message.subject, &told.message.bytes))
        .collect();
    for message in last.messages.values() {
        assert!(heard.contains(&(&message.subject, &message.bytes)), "{}: nobody was told of {message:?}", road.tenant);
    }
}

/// The views are what a rebuild makes.
fn check_views<K: Kv>(kv: &K, log: &Log<&K>, road: &Road, outside: &Outside) {
    let path = outside.views.join(format!("{}.db", road.tenant));
    let rebuilt = outside.views.join(format!("{}.rebuilt.db", road.tenant));
    let mut views = Views::recreate(&rebuilt).expect("new views");
    project(&kv, log.id(), &mut views).expect("nothing fails any more");
    drop(views);
    assert_eq!(dump(&path, road), dump(&rebuilt, road), "{}: views are what a rebuild makes", road.tenant);
}

fn dump(path: &std::path::Path, road: &Road) -> String {
    let reader = Views::open_read_only(path).expect("views open");
    let page = reader.changes(&projector_sqlite::Filter::default(), None, 1_000).expect("changes are listed");
    let mut text = format!("{page:#?}\n");
    let changes: BTreeSet<u64> = (0..=road.streams.iter().map(|stream| stream.messages.len() as u64).sum()).collect();
    for number in changes {
        let change = ChangeId::parse(&format!("change-{number}")).expect("a change");
        let row = reader.change(&change).expect("readable");
        let events = reader.events(&change, 0, 1_000).expect("readable");
        writeln!(text, "{row:#?}\n{events:#?}").expect("a text takes all");
    }
    text
}
